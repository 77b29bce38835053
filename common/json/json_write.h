/* SPDX-License-Identifier: Apache-2.0 */
/* Streaming JSON output into a strbuf; no tree. Commas and quoting are the writer's business.
 *
 *     struct json_writer w = JSON_WRITER_INIT(&out);
 *     json_object(&w);
 *     json_key(&w, "name"); json_put_string(&w, name);
 *     json_end_object(&w);
 *
 * or, for the common pair, json_kv_string(&w, "name", name). Errors are the strbuf's (sticky).
 * Calls out of order are programmer errors and assert. Not shared between threads.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct json_span;
struct strbuf;

struct json_writer {
        struct strbuf *out; /* borrowed */
        uint64_t has_items; /* bit d: the container at depth d has an item already */
        unsigned depth;     /* at most 63 */
        bool after_key;
};

#define JSON_WRITER_INIT(buf)                                                                      \
        { .out = (buf), .has_items = 0, .depth = 0, .after_key = false }

void json_object(struct json_writer *w);
void json_end_object(struct json_writer *w);
void json_array(struct json_writer *w);
void json_end_array(struct json_writer *w);
void json_key(struct json_writer *w, const char *name);

/* Invalid UTF-8 in text is replaced by U+FFFD, control bytes are escaped. */
void json_put_string(struct json_writer *w, const char *text);
void json_put_string_len(struct json_writer *w, const char *text, size_t len);
void json_put_int(struct json_writer *w, int64_t value);
void json_put_bool(struct json_writer *w, bool value);
void json_put_null(struct json_writer *w);
/* Bytes that are JSON already (a checked span), copied as they are. */
void json_put_raw(struct json_writer *w, const char *text, size_t len);

void json_kv_string(struct json_writer *w, const char *name, const char *text);
void json_kv_int(struct json_writer *w, const char *name, int64_t value);
void json_kv_bool(struct json_writer *w, const char *name, bool value);
/* Nothing when the span is absent. */
void json_kv_span(struct json_writer *w, const char *name, const struct json_span *span);
/* Key and opening bracket. */
void json_kv_object(struct json_writer *w, const char *name);
void json_kv_array(struct json_writer *w, const char *name);
