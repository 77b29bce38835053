/* SPDX-License-Identifier: Apache-2.0 */
/* The log: one JSON object a line on stderr, text when stderr is a terminal.
 *
 *     log_info("job created", LOG_STR("namespace", ns), LOG_STR("name", name), LOG_INT("run", 3));
 *
 * Members: level, ts (RFC 3339, microseconds, UTC), logger, msg, then the fields given, then those
 * of the thread's context (log_context_set). One write(2) a line, so lines of threads never mix;
 * control bytes are escaped and invalid UTF-8 is replaced. A line ends at 8 KiB. Never pass a
 * secret. Thread-safe. The level can change at any time (log_set_level is async-signal-safe).
 *
 * Process-wide by nature (stderr is), so this module is the one place with mutable statics.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARNING, LOG_ERROR };
enum log_format { LOG_FORMAT_AUTO, LOG_FORMAT_JSON, LOG_FORMAT_TEXT };

struct log_field {
        const char *key;  /* NULL ends a list */
        const char *text; /* borrowed; NULL is written as null; used unless is_number */
        int64_t number;
        bool is_number;
};

#define LOG_STR(k, v)                                                                              \
        ((struct log_field){ .key = (k), .text = (v), .number = 0, .is_number = false })
#define LOG_INT(k, v)                                                                              \
        ((struct log_field){ .key = (k), .text = NULL, .number = (v), .is_number = true })

/* Call once, before threads. logger names the process ("webhook"); static storage. */
void log_init(const char *logger, enum log_level level, enum log_format format);

/* log_init from the texts of --log-level and --log-format (auto, json, text). Return: 0,
 * -FAULT_INVALID naming the flag. */
struct fault;
int log_start(const char *logger, const char *level, const char *format, struct fault *f);

void log_set_level(enum log_level level);
enum log_level log_get_level(void);

/* Return: false when text is none of debug, info, warning (or warn), error. */
bool log_level_parse(const char *text, enum log_level *ret_level);

/* Fields that every line of this thread carries until the next call (a reconcile pass sets
 * namespace, name and reconcileID). The array is borrowed and ends with a NULL key; NULL removes
 * it. */
void log_context_set(const struct log_field *fields);

/* Writes a line when level is enabled. fields ends with a NULL key. */
void log_write(enum log_level level, const char *msg, const struct log_field *fields);

#define LOG_END ((struct log_field){ .key = NULL, .text = NULL, .number = 0, .is_number = false })
#define LOG_AT_(level, msg, ...)                                                                   \
        log_write((level), (msg), (const struct log_field[]){ __VA_ARGS__ })
#define log_debug(...)   LOG_AT_(LOG_DEBUG, __VA_ARGS__, LOG_END)
#define log_info(...)    LOG_AT_(LOG_INFO, __VA_ARGS__, LOG_END)
#define log_warning(...) LOG_AT_(LOG_WARNING, __VA_ARGS__, LOG_END)
#define log_error(...)   LOG_AT_(LOG_ERROR, __VA_ARGS__, LOG_END)

/* Limits repeats of one message: at most one a period. Keep one static per call site.
 * Return: whether to log now; *ret_suppressed counts those left out since the last one. */
struct log_limit {
        int64_t next_ms; /* both are changed atomically */
        int64_t suppressed;
};
bool log_limit_pass(struct log_limit *limit, int64_t period_ms, int64_t *ret_suppressed);
