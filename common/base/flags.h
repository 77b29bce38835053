/* SPDX-License-Identifier: Apache-2.0 */
/* Command-line flags with environment variables, from one table.
 *
 * `--metrics-bind-address=:8080` or `--metrics-bind-address :8080`; a bool may stand alone.
 * `--x` may be given as DBUPGRADE_X in the environment (upper case, '-' becomes '_'); the command
 * line wins. `--help` prints the table by groups, `--version` the version. Positional arguments are
 * refused. Not thread-safe: call before threads.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "common/base/cleanup.h"

struct fault;

enum flag_type {
        FLAG_STRING,   /* const char **: borrowed from argv, the environment or the default */
        FLAG_BOOL,     /* bool * */
        FLAG_INT,      /* int64_t *, with min and max */
        FLAG_DURATION, /* int64_t *, milliseconds, with min and max; text as Go's: 500ms, 1m30s, 24h
                        */
        FLAG_LIST,     /* struct flag_list *: repeatable, or a comma-separated list */
};

#define FLAG_LIST_MAX 256
struct flag_list {
        char *items[FLAG_LIST_MAX + 1]; /* owned, NULL-terminated */
        size_t count;
};

struct flag {
        const char *group; /* heading in --help; equal groups stand together in the table */
        const char *name;  /* without "--"; NULL ends the table */
        enum flag_type type;
        void *value;              /* where it goes, by type; holds the default before the call */
        const char *default_text; /* as shown by --help; NULL: none shown */
        const char *help;         /* one sentence */
        int64_t min, max;         /* FLAG_INT, FLAG_DURATION */
};

enum {
        FLAGS_E_EXIT = 1, /* --help or --version was answered on out: exit with 0 */
};

/* Fills the values. program and about head the help text. Return: 0, FLAGS_E_EXIT, or
 * -FAULT_INVALID naming the flag or variable and what is wrong with it (the caller exits with 2).
 */
int flags_parse(const struct flag *table, const char *program, const char *about, int argc,
                char **argv, FILE *out, struct fault *f) MUST_CHECK;

/* Releases the items of a FLAG_LIST. */
void flag_list_done(struct flag_list *list);

/* Go's duration text ("1m30s", "500ms", "0") in milliseconds. Return: false when it is none, is
 * negative, or does not fit. Pure. */
bool flags_parse_duration(const char *text, int64_t *ret_ms);

/* "host:port", ":port", "[v6]:port" or "0" (disabled: port 0, host ""). The host goes to ret_host
 * (up to 255 bytes, the longest DNS name, and NUL), "" for all addresses. Return: false when it is
 * none of these. Pure. */
#define FLAGS_HOST_SIZE 256
bool flags_parse_address(const char *text, char ret_host[FLAGS_HOST_SIZE], uint16_t *ret_port);
