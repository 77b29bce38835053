/* SPDX-License-Identifier: Apache-2.0 */
#include "common/base/log.h"

#include <errno.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "common/base/fault.h"
#include "common/base/strbuf.h"
#include "common/base/utf8.h"

#define LOG_LINE_MAX 8192
/* What stays of the message of a line that is too long; escaped, six times as many bytes fit. */
#define LOG_CUT_MSG_MAX 1024

/* stderr is the process's; so is its log. Set once before threads, but for the level. */
static const char *log_logger = "";
static bool log_json;
static _Atomic int log_level_now = LOG_INFO;
static _Thread_local const struct log_field *log_context;

static const char *const level_names[] = { "debug", "info", "warning", "error" };

void log_init(const char *logger, enum log_level level, enum log_format format) {
        log_logger = logger;
        log_json =
                format == LOG_FORMAT_JSON || (format == LOG_FORMAT_AUTO && !isatty(STDERR_FILENO));
        log_set_level(level);
}

void log_set_level(enum log_level level) {
        atomic_store(&log_level_now, (int)level);
}

enum log_level log_get_level(void) {
        return (enum log_level)atomic_load(&log_level_now);
}

bool log_level_parse(const char *text, enum log_level *ret_level) {
        if (strcmp(text, "warn") == 0)
                text = "warning";
        for (size_t i = 0; i < sizeof(level_names) / sizeof(level_names[0]); i++) {
                if (strcmp(text, level_names[i]) == 0) {
                        *ret_level = (enum log_level)i;
                        return true;
                }
        }
        return false;
}

int log_start(const char *logger, const char *level, const char *format, struct fault *f) {
        static const char *const formats[] = {
                [LOG_FORMAT_AUTO] = "auto", [LOG_FORMAT_JSON] = "json", [LOG_FORMAT_TEXT] = "text"
        };
        enum log_level parsed;
        int i = 0;

        if (!log_level_parse(level, &parsed))
                return fault_set(f, FAULT_INVALID,
                                 "--log-level=%s: must be debug, info, warning or error", level);
        while (i < 3 && strcmp(formats[i], format) != 0)
                i++;
        if (i == 3)
                return fault_set(f, FAULT_INVALID, "--log-format=%s: must be auto, json or text",
                                 format);
        log_init(logger, parsed, (enum log_format)i);
        return 0;
}

void log_context_set(const struct log_field *fields) {
        log_context = fields;
}

/* One line, before it becomes text. */
struct entry {
        const char *level, *time, *msg;
        size_t msg_len;
        const struct log_field *fields, *context;
};

/* The inside of a JSON string: escaped, invalid UTF-8 replaced. */
static void put_escaped(struct strbuf *line, const char *text, size_t len) {
        for (size_t i = 0; i < len;) {
                unsigned char c = (unsigned char)text[i];
                size_t n = utf8_char(text + i, len - i);

                if (n == 0) {
                        strbuf_str(line, "\xef\xbf\xbd"); /* U+FFFD */
                        n = 1;
                } else if (c == '"' || c == '\\') {
                        strbuf_printf(line, "\\%c", c);
                } else if (c == '\n') {
                        strbuf_str(line, "\\n");
                } else if (c < 0x20 || c == 0x7f) {
                        strbuf_printf(line, "\\u%04x", c);
                } else {
                        strbuf_add(line, text + i, n);
                }
                i += n;
        }
}

static void put_json_fields(struct strbuf *line, const struct log_field *fields) {
        for (; fields && fields->key; fields++) {
                strbuf_printf(line, ",\"%s\":", fields->key);
                if (fields->is_number) {
                        strbuf_printf(line, "%" PRId64, fields->number);
                } else if (!fields->text) {
                        strbuf_str(line, "null");
                } else {
                        strbuf_char(line, '"');
                        put_escaped(line, fields->text, strlen(fields->text));
                        strbuf_char(line, '"');
                }
        }
}

static void put_json(struct strbuf *line, const struct entry *e) {
        strbuf_printf(line, "{\"level\":\"%s\",\"ts\":\"%s\",\"logger\":\"%s\",\"msg\":\"",
                      e->level, e->time, log_logger);
        put_escaped(line, e->msg, e->msg_len);
        strbuf_char(line, '"');
        put_json_fields(line, e->fields);
        put_json_fields(line, e->context);
        strbuf_str(line, "}\n");
}

static void put_text_fields(struct strbuf *line, const struct log_field *fields) {
        for (; fields && fields->key; fields++) {
                const char *text = fields->text ? fields->text : "-";

                strbuf_printf(line, "  %s=", fields->key);
                if (fields->is_number)
                        strbuf_printf(line, "%" PRId64, fields->number);
                else
                        put_escaped(line, text, strlen(text));
        }
}

static void put_text(struct strbuf *line, const struct entry *e) {
        /* On a terminal the time of day is enough. */
        strbuf_printf(line, "%.12s %-7s ", e->time + 11, e->level);
        put_escaped(line, e->msg, e->msg_len);
        put_text_fields(line, e->fields);
        put_text_fields(line, e->context);
        strbuf_char(line, '\n');
}

static void write_whole(const char *text, size_t len) {
        while (len > 0) {
                ssize_t n = write(STDERR_FILENO, text, len);

                if (n < 0 && errno == EINTR)
                        continue;
                if (n <= 0)
                        return; /* nowhere to say so */
                text += n;
                len -= (size_t)n;
        }
}

void log_write(enum log_level level, const char *msg, const struct log_field *fields) {
        CLEANUP(strbuf_done) struct strbuf line = STRBUF_INIT(LOG_LINE_MAX);
        const struct log_field cut[] = {
                LOG_STR("error", "the line was too long: its fields were dropped"), LOG_END
        };
        void (*put)(struct strbuf * line, const struct entry *e) = log_json ? put_json : put_text;
        char time[CLOCK_MICRO_TIME_SIZE];
        struct entry e = { .level = level_names[level],
                           .time = time,
                           .msg = msg,
                           .msg_len = strlen(msg),
                           .fields = fields,
                           .context = log_context };
        int saved_errno = errno;

        if (level < log_get_level())
                return;
        clock_format_micro_time(clock_wall_us(clock_system()), time);
        put(&line, &e);
        if (line.bad) {
                e.msg_len = utf8_floor(msg, e.msg_len, LOG_CUT_MSG_MAX);
                e.fields = cut;
                e.context = NULL;
                strbuf_reset(&line);
                put(&line, &e);
        }
        /* Without memory there is no line rather than half a one. */
        if (!line.bad)
                write_whole(line.ptr, line.len);
        errno = saved_errno;
}

bool log_limit_pass(struct log_limit *limit, int64_t period_ms, int64_t *ret_suppressed) {
        int64_t now_ms = clock_mono_ms(clock_system());
        int64_t next_ms = __atomic_load_n(&limit->next_ms, __ATOMIC_RELAXED);

        if (now_ms < next_ms ||
            !__atomic_compare_exchange_n(&limit->next_ms, &next_ms, now_ms + period_ms, false,
                                         __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
                __atomic_add_fetch(&limit->suppressed, 1, __ATOMIC_RELAXED);
                return false;
        }
        *ret_suppressed = __atomic_exchange_n(&limit->suppressed, 0, __ATOMIC_RELAXED);
        return true;
}
