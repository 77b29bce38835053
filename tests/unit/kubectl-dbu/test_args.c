/* SPDX-License-Identifier: Apache-2.0 */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/fault.h"
#include "common/base/strbuf.h"
#include "kubectl-dbu/args.h"

#define WORDS_MAX 80

/* Splits at spaces; "''" is an empty word. */
static int split(char *line, char **words) {
        int count = 0;
        char *save = NULL;

        for (char *word = strtok_r(line, " ", &save); word && count < WORDS_MAX;
             word = strtok_r(NULL, " ", &save))
                words[count++] = strcmp(word, "''") == 0 ? word + 2 : word;
        return count;
}

static int parse(const char *line, char **copy, struct args *args, struct fault *f) {
        char *words[WORDS_MAX];

        *copy = strdup(line);
        ck_assert_ptr_nonnull(*copy);
        return args_parse(args, split(*copy, words), words, f);
}

struct good_row {
        const char *line, *want;
};

static const struct good_row goods[] = {
        { "dbu list", "list" },
        { "dbu list -n shop", "list ns=shop" },
        { "dbu list -nshop -l=a=b", "list ns=shop l=a=b" },
        { "dbu list -n shop -A", "list" },
        { "dbu -n shop list -o json", "list ns=shop json" },
        { "dbu list -ojson --context=c --as x --as-group=a --as-group b",
          "list json --context=c --as=x --as-group=a --as-group=b" },
        { "dbu list --insecure-skip-tls-verify -v 6 -s https://h",
          "list --insecure-skip-tls-verify --v=6 --server=https://h" },
        { "dbu status shop", "status shop" },
        { "dbu status dbu/shop", "status shop" },
        { "dbu status dbupgrade.dbupgrade.subbug.learning/shop", "status shop" },
        { "dbu logs shop -f --tail=5 --timestamps", "logs shop follow tail=5 timestamps" },
        { "dbu retry --force shop --wait -q --timeout 1h30m",
          "retry shop force wait quiet 5400000" },
        { "dbu wait shop --timeout=0", "wait shop 0" },
        { "dbu wait -- shop", "wait shop" },
        { "dbu completion zsh", "completion zsh" },
        { "dbu version", "version" },
        { "dbu", "help help" },
        { "dbu help", "help help" },
        { "dbu help wait", "wait help" },
        { "dbu --help", "help help" },
        { "dbu wait --help", "wait help" },
};

static void describe(struct strbuf *out, const struct args *args) {
        const char *command = args_command_name(args->command);

        strbuf_str(out, command ? command : "help");
        if (args->name)
                strbuf_printf(out, " %s", args->name);
        if (args->namespace_)
                strbuf_printf(out, " ns=%s", args->namespace_);
        if (args->selector)
                strbuf_printf(out, " l=%s", args->selector);
        if (args->tail && args->follow)
                strbuf_printf(out, " follow tail=%s", args->tail);
        strbuf_printf(out, "%s%s%s%s%s%s", args->json ? " json" : "",
                      args->timestamps ? " timestamps" : "", args->force ? " force" : "",
                      args->wait ? " wait" : "", args->quiet ? " quiet" : "",
                      args->help ? " help" : "");
        if (args->timeout_ms != ARGS_DEFAULT_TIMEOUT_MS)
                strbuf_printf(out, " %lld", (long long)args->timeout_ms);
        for (size_t i = 0; i < args->through.count; i++)
                strbuf_printf(out, " %s", args->through.items[i]);
}

START_TEST(command_lines_are_understood) {
        CLEANUP(strbuf_done) struct strbuf out = STRBUF_INIT(4096);
        CLEANUP(free_p) char *copy = NULL;
        CLEANUP(args_done) struct args args;
        struct fault f = FAULT_INIT;
        int r = parse(goods[_i].line, &copy, &args, &f);

        describe(&out, &args);
        ck_assert_msg(r == 0 && strcmp(strbuf_text(&out), goods[_i].want) == 0, "%s: %s; %s",
                      goods[_i].line, strbuf_text(&out), f.text);
}
END_TEST

static const struct good_row bads[] = {
        { "dbu nonsense", "unknown command \"nonsense\"" },
        { "dbu help nonsense", "unknown command \"nonsense\"" },
        { "dbu status", "status needs the NAME" },
        { "dbu status a b", "takes one argument" },
        { "dbu list a", "takes no argument" },
        { "dbu list -f", "list takes no --follow" },
        { "dbu version -n a", "version takes no --namespace" },
        { "dbu status a -o yaml", "-o knows only json" },
        { "dbu status a -o", "--output needs a value" },
        { "dbu list -A=1", "--all-namespaces takes no value" },
        { "dbu list -x", "unknown option -x" },
        { "dbu list --name", "unknown option --name" },
        { "dbu list --namespacex=a", "unknown option --namespacex=a" },
        { "dbu status A", "\"A\" is no name of a DBUpgrade" },
        { "dbu status pod/a", "\"pod/a\" is no name of a DBUpgrade" },
        { "dbu status -- --all", "\"--all\" is no name of a DBUpgrade" },
        { "dbu list -n --all", "\"--all\" is no name of a namespace" },
        { "dbu logs a --tail=-1", "--tail must be" },
        { "dbu logs a --tail=1234567890", "--tail must be" },
        { "dbu wait a --timeout=soon", "--timeout must be" },
        { "dbu wait a --timeout=-1s", "--timeout must be" },
        { "dbu completion", "completion needs bash" },
        { "dbu completion csh", "completion needs bash" },
};

START_TEST(mistakes_are_named) {
        CLEANUP(free_p) char *copy = NULL;
        CLEANUP(args_done) struct args args;
        struct fault f = FAULT_INIT;
        int r = parse(bads[_i].line, &copy, &args, &f);

        ck_assert_msg(r == -FAULT_INVALID && strstr(f.text, bads[_i].want), "%s: %d %s",
                      bads[_i].line, r, f.text);
}
END_TEST

START_TEST(kubectls_options_have_a_limit) {
        char *words[ARGS_THROUGH_MAX + 3] = { (char *)"dbu", (char *)"list" };
        CLEANUP(args_done) struct args args;

        for (size_t i = 2; i < ARGS_THROUGH_MAX + 3; i++)
                words[i] = (char *)"--as-group=a";
        ck_assert_int_eq(args_parse(&args, ARGS_THROUGH_MAX + 3, words, NULL), -FAULT_INVALID);
}
END_TEST

START_TEST(every_command_has_help) {
        for (enum command c = COMMAND_HELP; c < COMMAND_COUNT; c++) {
                CLEANUP(strbuf_done) struct strbuf out = STRBUF_INIT(65536);

                args_help(&out, c);
                ck_assert_int_eq(strbuf_check(&out, NULL), 0);
                ck_assert_ptr_nonnull(strstr(strbuf_text(&out), "Usage: kubectl dbu"));
                for (const char *p = strbuf_text(&out); p && *p; p = strchr(p, '\n')) {
                        p += *p == '\n';
                        ck_assert_uint_le(strcspn(p, "\n"), 110);
                }
        }
}
END_TEST

struct unfinished_row {
        const char *line;
        enum args_wanted wanted;
        const char *prefix, *namespace_, *through; /* the first one */
};

static const struct unfinished_row unfinished[] = {
        { "''", WANTED_COMMAND, "", NULL, NULL },
        { "li", WANTED_COMMAND, "li", NULL, NULL },
        { "help ''", WANTED_COMMAND, "", NULL, NULL },
        { "-", WANTED_OPTION, "-", NULL, NULL },
        { "list --co", WANTED_OPTION, "--co", NULL, NULL },
        { "list ''", WANTED_NOTHING, "", NULL, NULL },
        { "status ''", WANTED_NAME, "", NULL, NULL },
        { "status shop ''", WANTED_NOTHING, "", NULL, NULL },
        { "status -n shop --context=c a", WANTED_NAME, "a", "shop", "--context=c" },
        { "-n shop status a", WANTED_NAME, "a", "shop", NULL },
        { "status -n ''", WANTED_NAMESPACE, "", NULL, NULL },
        { "status -nk", WANTED_NAMESPACE, "k", NULL, NULL },
        { "status --namespace=k", WANTED_NAMESPACE, "k", NULL, NULL },
        { "status --context ''", WANTED_CONTEXT, "", NULL, NULL },
        { "status --kubeconfig=/e", WANTED_FILE, "/e", NULL, NULL },
        { "list -o=", WANTED_OUTPUT, "", NULL, NULL },
        { "completion ''", WANTED_SHELL, "", NULL, NULL },
        { "nonsense ''", WANTED_NOTHING, "", NULL, NULL },
        { "--nonsense status ''", WANTED_NAME, "", NULL, NULL },
};

START_TEST(an_unfinished_line_says_what_may_come) {
        const struct unfinished_row *row = &unfinished[_i];
        CLEANUP(free_p) char *copy = strdup(row->line);
        CLEANUP(args_unfinished_done) struct args_unfinished u;
        char *words[WORDS_MAX];

        args_unfinished(&u, split(copy, words), words);
        ck_assert_msg(u.wanted == row->wanted, "%s: %d", row->line, (int)u.wanted);
        ck_assert_str_eq(u.prefix, row->prefix);
        ck_assert_pstr_eq(u.namespace_, row->namespace_);
        ck_assert_pstr_eq(u.through.items[0], row->through);
}
END_TEST

#define COUNT(array) ((int)(sizeof(array) / sizeof((array)[0])))

int main(void) {
        Suite *suite = suite_create("plugin_args");
        TCase *tcase = tcase_create("args");
        SRunner *runner = srunner_create(suite);
        int failed;

        tcase_add_loop_test(tcase, command_lines_are_understood, 0, COUNT(goods));
        tcase_add_loop_test(tcase, mistakes_are_named, 0, COUNT(bads));
        tcase_add_test(tcase, kubectls_options_have_a_limit);
        tcase_add_test(tcase, every_command_has_help);
        tcase_add_loop_test(tcase, an_unfinished_line_says_what_may_come, 0, COUNT(unfinished));
        suite_add_tcase(suite, tcase);
        srunner_run_all(runner, CK_ENV);
        failed = srunner_ntests_failed(runner);
        srunner_free(runner);
        return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
