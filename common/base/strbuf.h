/* SPDX-License-Identifier: Apache-2.0 */
/* A growing string with a hard cap and a sticky error.
 *
 * Appends return nothing: when memory or the cap runs out, `bad` is set, further appends do
 * nothing, and the one check at the end (strbuf_take, strbuf_check) reports it. The content is
 * always NUL-terminated; it may hold NUL bytes itself. Not shared between threads.
 */
#pragma once

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>

#include "common/base/cleanup.h"

struct fault;

struct strbuf {
        char *ptr;  /* NULL until the first append */
        size_t len; /* bytes without the final NUL */
        size_t cap; /* bytes allocated */
        size_t max; /* len never gets above this */
        bool bad;   /* an append was refused */
};

#define STRBUF_INIT(max_bytes)                                                                     \
        { .ptr = NULL, .len = 0, .cap = 0, .max = (max_bytes), .bad = false }

/* Releases the content and makes it empty; may be called twice. */
void strbuf_done(struct strbuf *b);

/* Overwrites the content with zeros, then releases it: for secrets. Appends to a buffer that is to
 * be wiped leave no copies behind (growing copies and wipes). */
void strbuf_wipe(struct strbuf *b);

/* Empties it and clears `bad`; keeps the memory. */
void strbuf_reset(struct strbuf *b);

void strbuf_add(struct strbuf *b, const void *bytes, size_t len);
void strbuf_str(struct strbuf *b, const char *text);
void strbuf_char(struct strbuf *b, char c);
void strbuf_printf(struct strbuf *b, const char *fmt, ...) FORMAT(2, 3);
void strbuf_vprintf(struct strbuf *b, const char *fmt, va_list ap) FORMAT(2, 0);

/* Percent-encodes all but the unreserved characters of RFC 3986: for a path segment or query value.
 */
void strbuf_url(struct strbuf *b, const char *text);

/* Cuts to len bytes (no effect when it is shorter). */
void strbuf_truncate(struct strbuf *b, size_t len);

/* The content, "" while nothing was added. Valid until the next append. */
const char *strbuf_text(const struct strbuf *b);

/* Return: 0, or -FAULT_NOMEM when an append was refused ("… is longer than N bytes"). */
int strbuf_check(const struct strbuf *b, struct fault *f) MUST_CHECK;

/* Hands the content over as a NUL-terminated heap string, to be released with free(), and leaves
 * the buffer empty. Return: 0, -FAULT_NOMEM. */
int strbuf_take(struct strbuf *b, char **ret_text, struct fault *f) MUST_CHECK;
