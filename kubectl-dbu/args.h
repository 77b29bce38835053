/* SPDX-License-Identifier: Apache-2.0 */
/* The command line of `kubectl dbu`: commands, their options, and kubectl's own options.
 *
 * One table says what each command takes; parsing, --help and completion read it. What belongs to
 * kubectl (--context, --as …) is not looked into but handed on to the kubectl that is started.
 * Pure. Strings are borrowed from argv.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/cleanup.h"

struct fault;
struct strbuf;

enum command {
        COMMAND_HELP,
        COMMAND_LIST,
        COMMAND_STATUS,
        COMMAND_LOGS,
        COMMAND_RETRY,
        COMMAND_WAIT,
        COMMAND_COMPLETION,
        COMMAND_VERSION,
        COMMAND_COUNT
};

/* The exit codes, documented in --help: what a script wants to tell apart. */
enum exit_code {
        CODE_OK = 0,        /* done: the object is ready, or what was asked for was shown */
        CODE_FAILED = 1,    /* failed for good: nothing more happens until somebody acts */
        CODE_USAGE = 2,     /* the command line is wrong */
        CODE_TIMEOUT = 3,   /* still waiting or running when the time was up */
        CODE_BLOCKED = 4,   /* held back by its own spec: suspended, or a check that blocks */
        CODE_NOT_FOUND = 5, /* no such DBUpgrade, or it has no logs */
        CODE_TROUBLE = 6,   /* kubectl is missing, or could not ask the cluster */
        CODE_REFUSED = 7,   /* retry: there is nothing to retry */
};

/* Long enough for a run of the default deadline and for its Pod to be scheduled. */
#define ARGS_DEFAULT_TIMEOUT_MS (15 * 60 * 1000)

/* Options of kubectl that are handed on; a repeatable one counts each time. */
#define ARGS_THROUGH_MAX 64

/* As kubectl gets them: "--context=staging". Each is owned by the args. */
struct args_through {
        char *items[ARGS_THROUGH_MAX];
        size_t count;
};

struct args {
        enum command command;
        bool help;              /* --help: of the command, of all for COMMAND_HELP */
        const char *name;       /* of the DBUpgrade; the shell for COMMAND_COMPLETION; or NULL */
        const char *namespace_; /* -n; NULL: all for list, kubectl's default otherwise */
        const char *selector;   /* -l; or NULL */
        bool json;              /* -o json */
        bool follow;            /* -f */
        const char *tail;       /* --tail, a number of lines; or NULL */
        bool timestamps;
        bool force;
        bool wait;
        bool quiet;
        int64_t timeout_ms;
        struct args_through through;
};

/* Reads argv[1..argc). Return: 0, -FAULT_INVALID naming what is wrong (the caller exits with
 * CODE_USAGE), -FAULT_NOMEM. args_done releases it in each case. */
int args_parse(struct args *ret_args, int argc, char **argv, struct fault *f) MUST_CHECK;
void args_done(struct args *args);

/* Appends the help of a command, of the whole program for COMMAND_HELP. */
void args_help(struct strbuf *out, enum command command);

/* "list", …; NULL for COMMAND_HELP, which has no word. */
const char *args_command_name(enum command command);

/* What stands at the end of an unfinished command line, for completion. */
enum args_wanted {
        WANTED_NOTHING,
        WANTED_COMMAND,
        WANTED_OPTION,    /* those of the command, by args_option_next */
        WANTED_NAME,      /* a DBUpgrade */
        WANTED_SHELL,     /* bash, zsh, fish */
        WANTED_OUTPUT,    /* the value of -o */
        WANTED_NAMESPACE, /* the value of -n */
        WANTED_CONTEXT,   /* the value of --context */
        WANTED_FILE,      /* the value of an option that names a file */
};

struct args_unfinished {
        enum args_wanted wanted;
        enum command command;
        const char *prefix; /* what is there of the word, behind "--context=" too */
        /* What stands before the value in the same word, such as "--context="; "" for none. */
        const char *lead;
        size_t lead_len;
        struct args_through through; /* as far as typed: asks the right cluster for names */
        const char *namespace_;
};

/* Judges words[0..count); the last is the one to complete, maybe "". Never fails: what is wrong
 * before it is passed over. args_unfinished_done releases it. */
void args_unfinished(struct args_unfinished *ret_unfinished, int count, char **words);
void args_unfinished_done(struct args_unfinished *unfinished);

/* Steps through the options of a command. *cursor begins at 0. text is "--follow" or
 * "--timeout=". Return: false at the end. */
struct args_option_text {
        const char *name; /* without "--" */
        bool value;
        const char *help;
};
bool args_option_next(enum command command, size_t *cursor, struct args_option_text *ret_option);
/* "List what …": one line. Static storage. */
const char *args_command_help(enum command command);
