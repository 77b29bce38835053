/* SPDX-License-Identifier: Apache-2.0 */
#include "common/json/json_write.h"

#include <assert.h>
#include <inttypes.h>
#include <string.h>

#include "common/base/strbuf.h"
#include "common/base/utf8.h"
#include "common/json/json_check.h"

/* Writes the comma that is due before a value or a name. */
static void json_separate(struct json_writer *w) {
        uint64_t bit = UINT64_C(1) << w->depth;

        if (w->after_key) {
                w->after_key = false;
                return;
        }
        if (w->has_items & bit)
                strbuf_char(w->out, ',');
        w->has_items |= bit;
}

static void json_open(struct json_writer *w, char bracket) {
        json_separate(w);
        strbuf_char(w->out, bracket);
        assert(w->depth < 63);
        w->depth++;
        w->has_items &= ~(UINT64_C(1) << w->depth);
}

static void json_close(struct json_writer *w, char bracket) {
        assert(w->depth > 0 && !w->after_key);
        w->depth--;
        strbuf_char(w->out, bracket);
}

void json_object(struct json_writer *w) {
        json_open(w, '{');
}

void json_end_object(struct json_writer *w) {
        json_close(w, '}');
}

void json_array(struct json_writer *w) {
        json_open(w, '[');
}

void json_end_array(struct json_writer *w) {
        json_close(w, ']');
}

static void json_quote(struct strbuf *out, const char *text, size_t len) {
        size_t plain = 0; /* where the bytes begin that need no change and are not written yet */

        strbuf_char(out, '"');
        for (size_t i = 0; i < len;) {
                unsigned char c = (unsigned char)text[i];
                size_t n = c < 0x80 ? 1 : utf8_char(text + i, len - i);

                if (n > 0 && c >= 0x20 && c != '"' && c != '\\') {
                        i += n;
                        continue;
                }
                strbuf_add(out, text + plain, i - plain);
                if (n == 0)
                        strbuf_str(out, "\xef\xbf\xbd"); /* U+FFFD */
                else if (c == '"' || c == '\\')
                        strbuf_printf(out, "\\%c", c);
                else if (c == '\n')
                        strbuf_str(out, "\\n");
                else if (c == '\t')
                        strbuf_str(out, "\\t");
                else
                        strbuf_printf(out, "\\u%04x", c);
                plain = ++i;
        }
        strbuf_add(out, text + plain, len - plain);
        strbuf_char(out, '"');
}

void json_key(struct json_writer *w, const char *name) {
        assert(!w->after_key);
        json_separate(w);
        json_quote(w->out, name, strlen(name));
        strbuf_char(w->out, ':');
        w->after_key = true;
}

void json_put_string(struct json_writer *w, const char *text) {
        json_put_string_len(w, text, strlen(text));
}

void json_put_string_len(struct json_writer *w, const char *text, size_t len) {
        json_separate(w);
        json_quote(w->out, text, len);
}

void json_put_int(struct json_writer *w, int64_t value) {
        json_separate(w);
        strbuf_printf(w->out, "%" PRId64, value);
}

void json_put_bool(struct json_writer *w, bool value) {
        json_separate(w);
        strbuf_str(w->out, value ? "true" : "false");
}

void json_put_null(struct json_writer *w) {
        json_separate(w);
        strbuf_str(w->out, "null");
}

void json_put_raw(struct json_writer *w, const char *text, size_t len) {
        json_separate(w);
        strbuf_add(w->out, text, len);
}

void json_kv_string(struct json_writer *w, const char *name, const char *text) {
        json_key(w, name);
        json_put_string(w, text);
}

void json_kv_int(struct json_writer *w, const char *name, int64_t value) {
        json_key(w, name);
        json_put_int(w, value);
}

void json_kv_bool(struct json_writer *w, const char *name, bool value) {
        json_key(w, name);
        json_put_bool(w, value);
}

void json_kv_span(struct json_writer *w, const char *name, const struct json_span *span) {
        if (!span->text)
                return;
        json_key(w, name);
        json_put_raw(w, span->text, span->len);
}

void json_kv_object(struct json_writer *w, const char *name) {
        json_key(w, name);
        json_object(w);
}

void json_kv_array(struct json_writer *w, const char *name) {
        json_key(w, name);
        json_array(w);
}
