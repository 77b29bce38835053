/* SPDX-License-Identifier: Apache-2.0 */
#include "kubectl-dbu/text.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "common/base/clock.h"
#include "common/base/strbuf.h"
#include "common/base/utf8.h"

void text_begin(struct strbuf *out, const struct look *look, enum style style) {
        static const char *const codes[] = {
                [STYLE_PLAIN] = "",         [STYLE_BOLD] = "\x1b[1m",    [STYLE_DIM] = "\x1b[2m",
                [STYLE_RED] = "\x1b[1;31m", [STYLE_YELLOW] = "\x1b[33m", [STYLE_BLUE] = "\x1b[34m",
                [STYLE_GREEN] = "\x1b[32m",
        };

        if (look->colour)
                strbuf_str(out, codes[style]);
}

void text_end(struct strbuf *out, const struct look *look, enum style style) {
        if (look->colour && style != STYLE_PLAIN)
                strbuf_str(out, "\x1b[0m");
}

static uint32_t code_point(const unsigned char *p, size_t len) {
        switch (len) {
        case 1:
                return p[0];
        case 2:
                return (uint32_t)(p[0] & 0x1f) << 6 | (p[1] & 0x3f);
        case 3:
                return (uint32_t)(p[0] & 0x0f) << 12 | (uint32_t)(p[1] & 0x3f) << 6 | (p[2] & 0x3f);
        default:
                return (uint32_t)(p[0] & 0x07) << 18 | (uint32_t)(p[1] & 0x3f) << 12 |
                       (uint32_t)(p[2] & 0x3f) << 6 | (p[3] & 0x3f);
        }
}

/* What a terminal acts on, or what makes text read as another: C0, DEL, C1, line and paragraph
 * separators, marks and overrides of direction, the byte order mark. */
static bool is_unsafe(uint32_t c) {
        return c < 0x20 || (c >= 0x7f && c <= 0x9f) || c == 0x61c || (c >= 0x200e && c <= 0x200f) ||
               (c >= 0x2028 && c <= 0x202e) || (c >= 0x2066 && c <= 0x2069) || c == 0xfeff;
}

void text_clean(struct strbuf *out, const char *text) {
        size_t left = strlen(text);
        bool space = false, begun = false;

        while (left > 0) {
                size_t len = utf8_char(text, left);
                bool white = strchr(" \t\r\n\v\f", *text) != NULL;

                if (white) {
                        space = begun;
                } else {
                        if (space)
                                strbuf_char(out, ' ');
                        space = false;
                        begun = true;
                        if (len == 0 || is_unsafe(code_point((const unsigned char *)text, len)))
                                strbuf_char(out, '?');
                        else
                                strbuf_add(out, text, len);
                }
                len = len == 0 ? 1 : len;
                text += len;
                left -= len;
        }
}

/* Outside of strings JSON has no byte that needs it but line ends, and those are ours. */
void text_json(struct strbuf *out, const char *json) {
        size_t left = strlen(json);

        while (left > 0) {
                size_t len = utf8_char(json, left);
                uint32_t c = len > 0 ? code_point((const unsigned char *)json, len) : 0xfffd;

                if (*json == '\n' || !is_unsafe(c))
                        strbuf_add(out, json, len > 0 ? len : 1);
                else
                        strbuf_printf(out, "\\u%04x", (unsigned)c);
                len = len == 0 ? 1 : len;
                json += len;
                left -= len;
        }
}

/* Continuation bytes begin nothing. */
static bool begins(char c) {
        return ((unsigned char)c & 0xc0) != 0x80;
}

size_t text_width(const char *text) {
        size_t width = 0;

        for (; *text; text++)
                width += begins(*text);
        return width;
}

/* The bytes of the first `width` columns of text. */
static size_t head(const char *text, size_t width) {
        size_t at = 0;

        for (; text[at]; at++)
                if (begins(text[at]) && width-- == 0)
                        return at;
        return at;
}

/* The bytes of the next line of text: up to the last space that fits; in the middle of a word that
 * is longer than a line. */
static size_t line_len(const char *text, size_t width) {
        size_t fits = head(text, width);
        size_t at = fits;

        if (!text[fits] || text[fits] == ' ')
                return fits;
        while (at > 0 && text[at] != ' ')
                at--;
        return at > 0 ? at : fits;
}

void text_wrap(struct strbuf *out, const char *text, const struct text_box *box) {
        size_t width = box->width > 4 ? box->width : 4;

        for (size_t line = 1;; line++) {
                size_t len = line_len(text, width);
                bool last = line == box->max_lines;

                if (last && text[len]) {
                        strbuf_add(out, text, head(text, width - 3));
                        strbuf_str(out, "...");
                        return;
                }
                strbuf_add(out, text, len);
                text += len + (text[len] == ' ');
                if (!*text)
                        return;
                strbuf_char(out, '\n');
                text_pad(out, box->indent);
        }
}

void text_shorten(struct strbuf *out, const char *text, size_t max) {
        size_t width = text_width(text);
        size_t first = max / 3;

        if (width <= max) {
                strbuf_str(out, text);
                return;
        }
        strbuf_add(out, text, head(text, first));
        strbuf_str(out, " ... ");
        strbuf_str(out, text + head(text, width - (max - first - 5)));
}

void text_append(struct strbuf *out, const struct strbuf *from) {
        strbuf_add(out, strbuf_text(from), from->len);
        out->bad |= from->bad;
}

void text_span(int64_t s, char ret_text[TEXT_SPAN_SIZE]) {
        s = s < 0 ? 0 : s;
        if (s < 60)
                (void)snprintf(ret_text, TEXT_SPAN_SIZE, "%" PRId64 "s", s);
        else if (s < 3600)
                (void)snprintf(ret_text, TEXT_SPAN_SIZE, "%" PRId64 "m%" PRId64 "s", s / 60,
                               s % 60);
        else if (s < 86400)
                (void)snprintf(ret_text, TEXT_SPAN_SIZE, "%" PRId64 "h%" PRId64 "m", s / 3600,
                               s / 60 % 60);
        else
                (void)snprintf(ret_text, TEXT_SPAN_SIZE, "%" PRId64 "d%" PRId64 "h", s / 86400,
                               s / 3600 % 24);
}

bool text_time(const char *text, int64_t *ret_unix_us) {
        return clock_parse_time(text, strlen(text), ret_unix_us);
}

void text_pad(struct strbuf *out, size_t n) {
        while (n-- > 0)
                strbuf_char(out, ' ');
}
