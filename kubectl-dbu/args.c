/* SPDX-License-Identifier: Apache-2.0 */
#include "kubectl-dbu/args.h"

#include <stdio.h>
#include <string.h>

#include "common/api/dbupgrade.h"
#include "common/api/syntax.h"
#include "common/base/fault.h"
#include "common/base/flags.h"
#include "common/base/strbuf.h"

struct command_row {
        const char *name, *argument, *help;
        const char *text; /* the paragraphs of its own --help */
};

static const struct command_row commands[COMMAND_COUNT] = {
        [COMMAND_HELP] = { NULL, "", "", "" },
        [COMMAND_LIST] = { "list", "",
                           "List what there is, what waits and why; what needs you comes first",
                           "Shows the DBUpgrades of all namespaces, or of one with -n: failed, "
                           "blocked, waiting,\nrunning, done.\n" },
        [COMMAND_STATUS] = { "status", "NAME",
                             "Show what is asked, what stands, what happened, and what to do next",
                             "Reads the object, its Job, Pods and events. The exit code is 0 when it "
                             "could be shown;\n`wait NAME --timeout=0` tells by its exit code how it "
                             "stands.\n" },
        [COMMAND_LOGS] = { "logs", "NAME", "Print what the current or last migration printed",
                           "Prints the log of the container `migrate` of the newest Pod of the "
                           "current or last Job,\nas kubectl logs does. With -f it also waits until "
                           "that container has started.\nWhen the Pod is gone, what the operator "
                           "recorded of it goes to stderr and the exit code is 5.\n" },
        [COMMAND_RETRY] = { "retry", "NAME", "Run a failed migration again",
                            "Sets the annotation " DBUPGRADE_ANNOTATION_RETRY
                            " to the time of now.\nRefuses with exit code 7 unless the last run has "
                            "failed; --force asks for a run all the same.\n" },
        [COMMAND_WAIT] = { "wait", "NAME", "Wait until the present spec is applied or has failed",
                           "Waits for the spec as it is now: a Ready of an older spec does not "
                           "count, nor one from before\na retry that is not handled yet. "
                           "--timeout=0 judges once.\n" },
        [COMMAND_COMPLETION] = { "completion", "bash|zsh|fish",
                                 "Print a completion script for kubectl-dbu",
                                 "kubectl's own completion completes `kubectl dbu` when "
                                 "kubectl_complete-dbu is in PATH too.\n" },
        [COMMAND_VERSION] = { "version", "", "Print the version", "" },
};

enum option {
        OPTION_HELP,
        OPTION_OUTPUT,
        OPTION_NAMESPACE,
        OPTION_ALL_NAMESPACES,
        OPTION_SELECTOR,
        OPTION_FOLLOW,
        OPTION_TAIL,
        OPTION_TIMESTAMPS,
        OPTION_FORCE,
        OPTION_WAIT,
        OPTION_TIMEOUT,
        OPTION_QUIET,
        OPTION_THROUGH, /* kubectl's */
};

#define FOR(command) (1U << (command))
#define FOR_NAMED    (FOR(COMMAND_STATUS) | FOR(COMMAND_LOGS) | FOR(COMMAND_RETRY) | FOR(COMMAND_WAIT))
#define FOR_CLUSTER  (FOR_NAMED | FOR(COMMAND_LIST))
#define FOR_ALL      (FOR(COMMAND_COUNT) - 1)

struct option_row {
        const char *name;
        char letter; /* 0: none */
        bool value;
        enum option option;
        unsigned commands;
        enum args_wanted wanted; /* its value */
        const char *help;
};

static const struct option_row options[] = {
        { "output", 'o', true, OPTION_OUTPUT,
          FOR(COMMAND_LIST) | FOR(COMMAND_STATUS) | FOR(COMMAND_WAIT), WANTED_OUTPUT,
          "json: for programs" },
        { "namespace", 'n', true, OPTION_NAMESPACE, FOR_CLUSTER, WANTED_NAMESPACE,
          "The namespace" },
        { "all-namespaces", 'A', false, OPTION_ALL_NAMESPACES, FOR(COMMAND_LIST), WANTED_NOTHING,
          "All namespaces; so it is without -n" },
        { "selector", 'l', true, OPTION_SELECTOR, FOR(COMMAND_LIST), WANTED_NOTHING,
          "Only those with these labels" },
        { "follow", 'f', false, OPTION_FOLLOW, FOR(COMMAND_LOGS), WANTED_NOTHING,
          "Wait for the Pod, then print until it ends" },
        { "tail", 0, true, OPTION_TAIL, FOR(COMMAND_LOGS), WANTED_NOTHING,
          "Only so many of the last lines" },
        { "timestamps", 0, false, OPTION_TIMESTAMPS, FOR(COMMAND_LOGS), WANTED_NOTHING,
          "A time before each line" },
        { "force", 0, false, OPTION_FORCE, FOR(COMMAND_RETRY), WANTED_NOTHING,
          "Also when the last run has not failed" },
        { "wait", 0, false, OPTION_WAIT, FOR(COMMAND_RETRY), WANTED_NOTHING,
          "Wait for the outcome, and exit as `wait` does" },
        { "timeout", 0, true, OPTION_TIMEOUT, FOR(COMMAND_RETRY) | FOR(COMMAND_WAIT),
          WANTED_NOTHING, "How long to wait: 90s, 1h30m (default 15m)" },
        { "quiet", 'q', false, OPTION_QUIET, FOR(COMMAND_RETRY) | FOR(COMMAND_WAIT), WANTED_NOTHING,
          "No progress on stderr" },
        { "help", 'h', false, OPTION_HELP, FOR_ALL, WANTED_NOTHING, "Print this" },

        { "kubeconfig", 0, true, OPTION_THROUGH, FOR_CLUSTER, WANTED_FILE, NULL },
        { "context", 0, true, OPTION_THROUGH, FOR_CLUSTER, WANTED_CONTEXT, NULL },
        { "cluster", 0, true, OPTION_THROUGH, FOR_CLUSTER, WANTED_NOTHING, NULL },
        { "user", 0, true, OPTION_THROUGH, FOR_CLUSTER, WANTED_NOTHING, NULL },
        { "as", 0, true, OPTION_THROUGH, FOR_CLUSTER, WANTED_NOTHING, NULL },
        { "as-group", 0, true, OPTION_THROUGH, FOR_CLUSTER, WANTED_NOTHING, NULL },
        { "as-uid", 0, true, OPTION_THROUGH, FOR_CLUSTER, WANTED_NOTHING, NULL },
        { "server", 's', true, OPTION_THROUGH, FOR_CLUSTER, WANTED_NOTHING, NULL },
        { "token", 0, true, OPTION_THROUGH, FOR_CLUSTER, WANTED_NOTHING, NULL },
        { "certificate-authority", 0, true, OPTION_THROUGH, FOR_CLUSTER, WANTED_FILE, NULL },
        { "client-certificate", 0, true, OPTION_THROUGH, FOR_CLUSTER, WANTED_FILE, NULL },
        { "client-key", 0, true, OPTION_THROUGH, FOR_CLUSTER, WANTED_FILE, NULL },
        { "tls-server-name", 0, true, OPTION_THROUGH, FOR_CLUSTER, WANTED_NOTHING, NULL },
        { "insecure-skip-tls-verify", 0, false, OPTION_THROUGH, FOR_CLUSTER, WANTED_NOTHING, NULL },
        { "disable-compression", 0, false, OPTION_THROUGH, FOR_CLUSTER, WANTED_NOTHING, NULL },
        { "request-timeout", 0, true, OPTION_THROUGH, FOR_CLUSTER, WANTED_NOTHING, NULL },
        { "cache-dir", 0, true, OPTION_THROUGH, FOR_CLUSTER, WANTED_FILE, NULL },
        { "kuberc", 0, true, OPTION_THROUGH, FOR_CLUSTER, WANTED_FILE, NULL },
        { "v", 'v', true, OPTION_THROUGH, FOR_CLUSTER, WANTED_NOTHING, NULL },
};
#define OPTION_COUNT (sizeof(options) / sizeof(options[0]))

const char *args_command_name(enum command command) {
        return commands[command].name;
}

const char *args_command_help(enum command command) {
        return commands[command].help;
}

static enum command find_command(const char *word) {
        for (enum command c = COMMAND_LIST; c < COMMAND_COUNT; c++)
                if (strcmp(commands[c].name, word) == 0)
                        return c;
        return strcmp(word, "help") == 0 ? COMMAND_HELP : COMMAND_COUNT;
}

/* One word of the command line, and its value where that stands in it: --tail=5, -n=shop, -nshop.
 */
struct word {
        const struct option_row *row; /* NULL: an unknown option */
        const char *value;            /* NULL: none in this word */
};

static bool is_option(const char *text) {
        return text[0] == '-' && text[1] != '\0';
}

static struct word read_word(const char *text) {
        bool is_long = text[1] == '-';
        const char *name = text + (is_long ? 2 : 1);
        size_t len = is_long ? strcspn(name, "=") : 1;
        struct word word = { .row = NULL, .value = NULL };

        for (size_t i = 0; i < OPTION_COUNT; i++) {
                const struct option_row *row = &options[i];

                if (is_long ? strlen(row->name) == len && strncmp(row->name, name, len) == 0
                            : row->letter != '\0' && row->letter == name[0])
                        word.row = row;
        }
        if (name[len] == '=')
                word.value = name + len + 1;
        else if (!is_long && name[len] != '\0')
                word.value = name + len;
        return word;
}

static int add_through(struct args_through *through, const struct option_row *row,
                       const char *value, struct fault *f) {
        char *item;

        if (through->count == ARGS_THROUGH_MAX)
                return fault_set(f, FAULT_INVALID, "more than %d options of kubectl",
                                 ARGS_THROUGH_MAX);
        if (asprintf(&item, "--%s%s%s", row->name, value ? "=" : "", value ? value : "") < 0)
                return fault_set(f, FAULT_NOMEM, "out of memory");
        through->items[through->count++] = item;
        return 0;
}

static void through_done(struct args_through *through) {
        for (size_t i = 0; i < through->count; i++)
                free(through->items[i]);
        through->count = 0;
}

static int set_tail(struct args *args, const char *value, struct fault *f) {
        if (!*value || strlen(value) > 9 || value[strspn(value, "0123456789")] != '\0')
                return fault_set(f, FAULT_INVALID, "--tail must be a number of lines");
        args->tail = value;
        return 0;
}

static int set_namespace(struct args *args, const char *value, struct fault *f) {
        if (!syntax_subdomain(value))
                return fault_set(f, FAULT_INVALID, "\"%s\" is no name of a namespace", value);
        args->namespace_ = value;
        return 0;
}

static int set_option(struct args *args, const struct option_row *row, const char *value,
                      struct fault *f) {
        switch (row->option) {
        case OPTION_HELP:
                args->help = true;
                return 0;
        case OPTION_OUTPUT:
                if (strcmp(value, "json") != 0)
                        return fault_set(f, FAULT_INVALID, "-o knows only json");
                args->json = true;
                return 0;
        case OPTION_NAMESPACE:
                return set_namespace(args, value, f);
        case OPTION_ALL_NAMESPACES:
                args->namespace_ = NULL;
                return 0;
        case OPTION_SELECTOR:
                args->selector = value;
                return 0;
        case OPTION_FOLLOW:
                args->follow = true;
                return 0;
        case OPTION_TAIL:
                return set_tail(args, value, f);
        case OPTION_TIMESTAMPS:
                args->timestamps = true;
                return 0;
        case OPTION_FORCE:
                args->force = true;
                return 0;
        case OPTION_WAIT:
                args->wait = true;
                return 0;
        case OPTION_QUIET:
                args->quiet = true;
                return 0;
        case OPTION_TIMEOUT:
                if (!flags_parse_duration(value, &args->timeout_ms))
                        return fault_set(f, FAULT_INVALID,
                                         "--timeout must be a duration such as 90s or 1h30m");
                return 0;
        case OPTION_THROUGH:
                return add_through(&args->through, row, value, f);
        }
        return 0;
}

/* "shop", or as kubectl prints it: "dbupgrade.dbupgrade.subbug.learning/shop". */
static int set_name(struct args *args, const char *text, struct fault *f) {
        static const char *const kinds[] = { "dbu/", "dbupgrade/", "dbupgrades/",
                                             "dbupgrade." DBUPGRADE_GROUP "/",
                                             "dbupgrades." DBUPGRADE_GROUP "/" };
        const char *command = commands[args->command].name;

        if (!*commands[args->command].argument)
                return fault_set(f, FAULT_INVALID, "%s takes no argument: \"%s\"", command, text);
        if (args->name)
                return fault_set(f, FAULT_INVALID, "%s takes one argument, not also \"%s\"",
                                 command, text);
        if (args->command == COMMAND_COMPLETION) {
                args->name = text;
                return 0;
        }
        for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
                if (strncmp(text, kinds[i], strlen(kinds[i])) == 0)
                        text += strlen(kinds[i]);
        if (!syntax_subdomain(text) || strlen(text) > 253)
                return fault_set(f, FAULT_INVALID, "\"%s\" is no name of a DBUpgrade", text);
        args->name = text;
        return 0;
}

static int set_argument(struct args *args, bool *has_command, const char *text, struct fault *f) {
        enum command command;

        if (*has_command && args->command == COMMAND_HELP && args->help) { /* help COMMAND */
                command = find_command(text);
                if (command != COMMAND_COUNT)
                        args->command = command;
                return command != COMMAND_COUNT
                               ? 0
                               : fault_set(f, FAULT_INVALID, "unknown command \"%s\"", text);
        }
        if (*has_command)
                return set_name(args, text, f);
        command = find_command(text);
        if (command == COMMAND_COUNT)
                return fault_set(f, FAULT_INVALID, "unknown command \"%s\"", text);
        args->command = command;
        args->help |= command == COMMAND_HELP;
        *has_command = true;
        return 0;
}

/* The option at argv[*i], whose value may be the next word. used collects which were given, since
 * the command that must know them may come later. */
static int read_option(struct args *args, int argc, char **argv, int *i, bool *used,
                       struct fault *f) {
        struct word word = read_word(argv[*i]);

        if (!word.row)
                return fault_set(f, FAULT_INVALID, "unknown option %s", argv[*i]);
        if (!word.row->value && word.value)
                return fault_set(f, FAULT_INVALID, "--%s takes no value", word.row->name);
        if (word.row->value && !word.value) {
                if (*i + 1 >= argc)
                        return fault_set(f, FAULT_INVALID, "--%s needs a value", word.row->name);
                word.value = argv[++*i];
        }
        used[word.row - options] = true;
        return set_option(args, word.row, word.value, f);
}

static int check(const struct args *args, const bool *used, struct fault *f) {
        const struct command_row *row = &commands[args->command];

        if (args->help)
                return 0;
        for (size_t i = 0; i < OPTION_COUNT; i++)
                if (used[i] && !(options[i].commands & FOR(args->command)))
                        return fault_set(f, FAULT_INVALID, "%s takes no --%s",
                                         row->name ? row->name : "kubectl dbu", options[i].name);
        if (args->command == COMMAND_COMPLETION &&
            (!args->name || (strcmp(args->name, "bash") != 0 && strcmp(args->name, "zsh") != 0 &&
                             strcmp(args->name, "fish") != 0)))
                return fault_set(f, FAULT_INVALID, "completion needs bash, zsh or fish");
        if (*row->argument && !args->name)
                return fault_set(f, FAULT_INVALID, "%s needs the NAME of a DBUpgrade", row->name);
        return 0;
}

int args_parse(struct args *args, int argc, char **argv, struct fault *f) {
        bool used[OPTION_COUNT] = { false };
        bool has_command = false, only_arguments = false;
        int r = 0;

        *args = (struct args){ .command = COMMAND_HELP, .timeout_ms = ARGS_DEFAULT_TIMEOUT_MS };
        for (int i = 1; !r && i < argc; i++) {
                if (!only_arguments && strcmp(argv[i], "--") == 0)
                        only_arguments = true;
                else if (!only_arguments && is_option(argv[i]))
                        r = read_option(args, argc, argv, &i, used, f);
                else
                        r = set_argument(args, &has_command, argv[i], f);
        }
        if (r)
                return r;
        args->help |= !has_command;
        return check(args, used, f);
}

void args_done(struct args *args) {
        through_done(&args->through);
}

bool args_option_next(enum command command, size_t *cursor, struct args_option_text *ret_option) {
        while (*cursor < OPTION_COUNT) {
                const struct option_row *row = &options[(*cursor)++];

                if (!(row->commands & FOR(command)))
                        continue;
                *ret_option = (struct args_option_text){
                        .name = row->name,
                        .value = row->value,
                        .help = row->help ? row->help : "As for kubectl",
                };
                return true;
        }
        return false;
}

static void help_of_all(struct strbuf *out) {
        strbuf_str(out, "kubectl dbu: what database migrations do, did, and wait for\n\n"
                        "Usage: kubectl dbu COMMAND [NAME] [options]\n\nCommands:\n");
        for (enum command c = COMMAND_LIST; c < COMMAND_COUNT; c++)
                strbuf_printf(out, "  %-12s %s\n", commands[c].name, commands[c].help);
        strbuf_str(out,
                   "\nExit codes:\n"
                   "  0  done: it is ready, or what was asked for was shown\n"
                   "  1  failed for good: nothing more happens until somebody acts\n"
                   "  2  the command line is wrong\n"
                   "  3  still waiting or running when the time was up\n"
                   "  4  blocked by its own spec: suspended, or with a check or database type\n"
                   "     that this version does not know\n"
                   "  5  no such DBUpgrade, or it has no logs (any more)\n"
                   "  6  kubectl is missing or could not ask the cluster\n"
                   "  7  retry: refused, there is nothing to retry\n\n"
                   "kubectl dbu COMMAND --help says more.\n"
                   "Options of kubectl (--context, --kubeconfig, --as ...) are handed on to it.\n"
                   "Colours are for terminals only; NO_COLOR turns them off.\n");
}

static void help_of_options(struct strbuf *out, enum command command) {
        strbuf_str(out, "\nOptions:\n");
        for (size_t i = 0; i < OPTION_COUNT; i++) {
                const struct option_row *row = &options[i];
                char letter[5] = "    ";
                char name[32];

                if (!row->help || !(row->commands & FOR(command)))
                        continue;
                if (row->letter)
                        (void)snprintf(letter, sizeof(letter), "-%c, ", row->letter);
                (void)snprintf(name, sizeof(name), "--%s%s", row->name, row->value ? "=..." : "");
                strbuf_printf(out, "  %s%-18s %s\n", letter, name, row->help);
        }
        if (FOR_CLUSTER & FOR(command))
                strbuf_str(out, "  and those of kubectl that say which cluster and as whom\n");
}

void args_help(struct strbuf *out, enum command command) {
        const struct command_row *row = &commands[command];

        if (command == COMMAND_HELP) {
                help_of_all(out);
                return;
        }
        strbuf_printf(out, "%s\n\nUsage: kubectl dbu %s%s%s [options]\n", row->help, row->name,
                      *row->argument ? " " : "", row->argument);
        if (*row->text)
                strbuf_printf(out, "\n%s", row->text);
        help_of_options(out, command);
}

/* The value of an option is being typed. */
static void want_value(struct args_unfinished *u, const struct option_row *row, const char *lead,
                       const char *value) {
        u->wanted = row->wanted;
        u->lead = lead;
        u->lead_len = (size_t)(value - lead);
        u->prefix = value;
}

static void want_argument(struct args_unfinished *u, bool has_command, bool has_name,
                          const char *last) {
        u->prefix = last;
        if (is_option(last) || strcmp(last, "-") == 0)
                u->wanted = WANTED_OPTION;
        else if (!has_command || (u->command == COMMAND_HELP && !has_name))
                u->wanted = WANTED_COMMAND;
        else if (u->command == COMMAND_COMPLETION && !has_name)
                u->wanted = WANTED_SHELL;
        else if ((FOR_NAMED & FOR(u->command)) && !has_name)
                u->wanted = WANTED_NAME;
}

/* Keeps what names the cluster. */
static void note_option(struct args_unfinished *u, const struct option_row *row,
                        const char *value) {
        if (row->option == OPTION_NAMESPACE && syntax_subdomain(value))
                u->namespace_ = value;
        if (row->option == OPTION_THROUGH)
                (void)add_through(&u->through, row, value, NULL); /* fewer names, no error */
}

void args_unfinished(struct args_unfinished *u, int count, char **words) {
        const char *last = count > 0 ? words[count - 1] : "";
        bool has_command = false, has_name = false;
        struct word word;

        *u = (struct args_unfinished){ .command = COMMAND_HELP, .lead = "", .prefix = last };
        for (int i = 0; i + 1 < count; i++) {
                if (!is_option(words[i])) {
                        enum command command = has_command ? COMMAND_COUNT : find_command(words[i]);

                        has_name = has_command;
                        has_command = true;
                        u->command = has_name ? u->command : command;
                        continue;
                }
                word = read_word(words[i]);
                if (!word.row)
                        continue;
                if (word.row->value && !word.value) {
                        if (i + 2 == count) {
                                want_value(u, word.row, last, last);
                                return;
                        }
                        word.value = words[++i];
                }
                note_option(u, word.row, word.value);
        }
        word = is_option(last) ? read_word(last) : (struct word){ .row = NULL, .value = NULL };
        if (word.row && word.row->value && word.value)
                want_value(u, word.row, last, word.value);
        else
                want_argument(u, has_command, has_name, last);
}

void args_unfinished_done(struct args_unfinished *u) {
        through_done(&u->through);
}
