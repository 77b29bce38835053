/* SPDX-License-Identifier: Apache-2.0 */
/* Text for a terminal: harmless, coloured where wanted, wrapped, and times in words.
 *
 * What others wrote (messages, names) passes text_clean, which leaves no byte that a terminal could
 * act on. Widths count code points. Pure.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct strbuf;

/* How it is shown. */
struct look {
        bool colour;
        bool terminal; /* otherwise nothing is cut or wrapped */
        size_t width;  /* columns */
        int64_t now_s; /* Unix time, for ages */
};

enum style { STYLE_PLAIN, STYLE_BOLD, STYLE_DIM, STYLE_RED, STYLE_YELLOW, STYLE_BLUE, STYLE_GREEN };

/* Bytes around what is printed until the next text_end; nothing without colour. */
void text_begin(struct strbuf *out, const struct look *look, enum style style);
void text_end(struct strbuf *out, const struct look *look, enum style style);

/* Appends text with white space and line ends as single spaces, none at the ends; control bytes,
 * C1 controls, direction overrides and invalid UTF-8 become '?'. */
void text_clean(struct strbuf *out, const char *text);

/* Appends JSON with all of what text_clean would replace as \u escapes instead: the same value, and
 * harmless on a terminal. */
void text_json(struct strbuf *out, const char *json);

/* Code points. */
size_t text_width(const char *text);

/* Appends clean text as lines of at most width columns, broken at spaces, those after the first
 * begun by indent spaces; no line end behind the last. With max_lines > 0 the rest is cut and "..."
 * says so. */
struct text_box {
        size_t indent, width, max_lines;
};
void text_wrap(struct strbuf *out, const char *text, const struct text_box *box);

/* Appends clean text of more than max code points without its middle: "abc ... xyz", two thirds of
 * it from the end, where the cause of a failure stands. */
void text_shorten(struct strbuf *out, const char *text, size_t max);

/* Appends what another buffer holds, and its failure if it has failed. */
void text_append(struct strbuf *out, const struct strbuf *from);

/* Writes "12s", "4m12s", "2h5m", "3d4h"; a negative span counts as 0. */
#define TEXT_SPAN_SIZE 32
void text_span(int64_t seconds, char ret_text[TEXT_SPAN_SIZE]);

/* Reads a metav1.Time or MicroTime. Return: false when text is none. */
bool text_time(const char *text, int64_t *ret_unix_us);

/* Appends n spaces. */
void text_pad(struct strbuf *out, size_t n);
