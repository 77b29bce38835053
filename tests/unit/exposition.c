/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/exposition.h"

#include <math.h>
#include <regex.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/cleanup.h"
#include "common/base/utf8.h"

#define NAME  "[a-zA-Z_:][a-zA-Z0-9_:]*"
#define LABEL "[a-zA-Z_][a-zA-Z0-9_]*=\"([^\"\\\\]|\\\\[\\\\\"n])*\""

#define METRICS_MAX 256
#define SERIES_MAX  8192

/* What has been seen so far. */
struct judge {
        char fault[1024];
        char *metrics[METRICS_MAX], *series[SERIES_MAX]; /* point into the text */
        size_t metric_count, series_count;
        /* The metric whose samples come now. */
        const char *name;
        char type[16];
        bool typed;
        /* Of the histogram series that is being read. */
        double last_le, last_total;
        bool in_buckets, ended;
};

static bool blame(struct judge *j, const char *fmt, ...) FORMAT(2, 3);
static bool blame(struct judge *j, const char *fmt, ...) {
        va_list ap;

        va_start(ap, fmt);
        (void)vsnprintf(j->fault, sizeof(j->fault), fmt, ap);
        va_end(ap);
        return false;
}

static bool matches(const char *text, const char *pattern) {
        regex_t compiled;
        bool found;

        if (regcomp(&compiled, pattern, REG_EXTENDED | REG_NOSUB))
                abort();
        found = regexec(&compiled, text, 0, NULL, 0) == 0;
        regfree(&compiled);
        return found;
}

static bool ends_with(const char *text, const char *end) {
        size_t len = strlen(text), end_len = strlen(end);

        return len >= end_len && strcmp(text + len - end_len, end) == 0;
}

static bool is_known(char *const *list, size_t count, const char *text) {
        for (size_t i = 0; i < count; i++)
                if (strcmp(list[i], text) == 0)
                        return true;
        return false;
}

/* promtool's lint of a name. */
static bool judge_name(struct judge *j) {
        static const char *const units[] = { "milliseconds", "microseconds", "minutes",   "hours",
                                             "days",         "kilobytes",    "megabytes", "bits" };
        static const char *const ends[] = { "_gauge",  "_counter", "_histogram",
                                            "_bucket", "_count",   "_sum" };

        for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++)
                if (strstr(j->name, units[i]))
                        return blame(j, "%s: no base unit", j->name);
        for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++)
                if (ends_with(j->name, ends[i]))
                        return blame(j, "%s: must not end with %s", j->name, ends[i]);
        if (matches(j->name, "[A-Z]"))
                return blame(j, "%s: no snake_case", j->name);
        return true;
}

/* "name text", behind "# HELP ". */
static bool judge_help(struct judge *j, char *line) {
        char *text = strchr(line, ' ');

        if (!text || !text[1])
                return blame(j, "no help text");
        *text++ = '\0';
        if (!matches(line, "^" NAME "$"))
                return blame(j, "%s is no name", line);
        if (!matches(text, "^([^\\\\]|\\\\[\\\\n])*$"))
                return blame(j, "an escape that HELP does not know");
        if (is_known(j->metrics, j->metric_count, line))
                return blame(j, "%s comes twice", line);
        if (j->metric_count == METRICS_MAX)
                return blame(j, "too many metrics");
        j->metrics[j->metric_count++] = line;
        j->name = line;
        j->typed = false;
        return judge_name(j);
}

/* "name type", behind "# TYPE ". */
static bool judge_type(struct judge *j, char *line) {
        char *type = strchr(line, ' ');

        if (!type)
                return blame(j, "no type");
        *type++ = '\0';
        if (!j->name || strcmp(line, j->name) != 0 || j->typed)
                return blame(j, "the TYPE of %s is out of place", line);
        if (!matches(type, "^(counter|gauge|histogram)$"))
                return blame(j, "%s is no type", type);
        if ((strcmp(type, "counter") == 0) != ends_with(line, "_total"))
                return blame(j, "%s: counters, and they alone, end with _total", line);
        (void)snprintf(j->type, sizeof(j->type), "%s", type);
        j->typed = true;
        j->in_buckets = false;
        j->ended = true;
        return true;
}

/* The value of le="…", which stands last. */
static bool take_le(char *series, double *ret_le) {
        char *le = strstr(series, "le=\""), *end;

        if (!le)
                return false;
        *ret_le = strcmp(le + 4, "+Inf\"}") == 0 ? INFINITY : strtod(le + 4, &end);
        return *ret_le == INFINITY || strcmp(end, "\"}") == 0;
}

static bool judge_histogram(struct judge *j, char *series, const char *suffix, double value) {
        double le;

        if (strcmp(suffix, "_bucket") == 0) {
                if (!take_le(series, &le))
                        return blame(j, "%s: a bucket without a bound", series);
                if (j->in_buckets && (le <= j->last_le || value < j->last_total))
                        return blame(j, "%s: buckets must rise", series);
                if (!j->in_buckets && !j->ended)
                        return blame(j, "%s: the one before did not end with its count", series);
                j->in_buckets = le != INFINITY;
                j->ended = false;
                j->last_le = le;
                j->last_total = value;
                return true;
        }
        if (strcmp(suffix, "_sum") == 0)
                return !j->in_buckets && !j->ended ? true : blame(j, "%s: no +Inf before", series);
        if (strcmp(suffix, "_count") != 0)
                return blame(j, "%s: not of a histogram", series);
        if (j->in_buckets || j->ended || value != j->last_total)
                return blame(j, "%s: differs from +Inf", series);
        j->ended = true;
        return true;
}

static bool judge_sample(struct judge *j, char *line) {
        char *value_text = strrchr(line, ' '), *end;
        size_t len = j->name ? strlen(j->name) : 0;
        double value;

        if (!matches(line, "^" NAME "(\\{" LABEL "(," LABEL ")*\\})? [^ ]+$"))
                return blame(j, "no sample: %s", line);
        *value_text++ = '\0';
        value = strtod(value_text, &end);
        if (*end || matches(value_text, "^[-+]?(inf|nan)"))
                return blame(j, "%s is no value", value_text);
        if (!j->typed || strncmp(line, j->name, len) != 0)
                return blame(j, "%s: a sample without HELP and TYPE", line);
        if (is_known(j->series, j->series_count, line))
                return blame(j, "%s comes twice", line);
        if (j->series_count == SERIES_MAX)
                return blame(j, "too many series");
        j->series[j->series_count++] = line;
        if (strcmp(j->type, "histogram") == 0) {
                char suffix[8] = ""; /* "_bucket" */

                (void)snprintf(suffix, sizeof(suffix), "%.*s", (int)strcspn(line + len, "{"),
                               line + len);
                return judge_histogram(j, line, suffix, value);
        }
        if (line[len] && line[len] != '{')
                return blame(j, "%s: not of %s", line, j->name);
        if (strcmp(j->type, "counter") == 0 && value < 0)
                return blame(j, "%s is negative", line);
        return true;
}

static bool judge_line(struct judge *j, char *line) {
        if (!utf8_valid(line, strlen(line)))
                return blame(j, "no UTF-8");
        if (strncmp(line, "# HELP ", 7) == 0 || *line != '#') {
                if (j->typed && !j->ended && *line == '#')
                        return blame(j, "the histogram before did not end with its count");
                return *line == '#' ? judge_help(j, line + 7) : judge_sample(j, line);
        }
        if (strncmp(line, "# TYPE ", 7) == 0)
                return judge_type(j, line + 7);
        return blame(j, "a comment");
}

const char *exposition_fault(const char *text) {
        static char fault[1100];
        CLEANUP(free_p) char *copy = strdup(text);
        CLEANUP(free_p) struct judge *j = calloc(1, sizeof(*j));
        size_t number = 0;
        char *line, *rest = copy;

        if (!copy || !j)
                abort();
        if (*text && !ends_with(text, "\n"))
                return "the last line does not end";
        while ((line = strsep(&rest, "\n")) && rest) {
                number++;
                if (!judge_line(j, line)) {
                        (void)snprintf(fault, sizeof(fault), "line %zu: %s", number, j->fault);
                        return fault;
                }
        }
        return j->typed && !j->ended ? "the last histogram does not end with its count" : NULL;
}
