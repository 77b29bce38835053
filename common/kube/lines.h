/* SPDX-License-Identifier: Apache-2.0 */
/* Cuts a stream of bytes into lines. Pure but for the buffer. Not shared between threads. */
#pragma once

#include <stddef.h>

#include "common/base/cleanup.h"
#include "common/base/strbuf.h"

struct fault;

struct lines {
        struct strbuf partial; /* the line under way; its max is the longest line allowed */
};

#define LINES_INIT(max_line)                                                                       \
        { .partial = STRBUF_INIT(max_line) }

/* A whole line, without its '\n'; empty ones are left out. Borrowed. Return: 0 to go on. */
typedef int (*lines_fn)(void *ctx, const char *line, size_t len, struct fault *f);

/* Calls fn for each line that bytes complete. Lines that lie whole in bytes are not copied.
 * Return: 0; what fn returned, and the rest of bytes is lost; -FAULT_PROTO: a line is too long;
 * -FAULT_NOMEM. */
int lines_feed(struct lines *l, const char *bytes, size_t len, lines_fn fn, void *ctx,
               struct fault *f) MUST_CHECK;

/* Forgets the line under way and releases its memory; may be called twice. */
void lines_done(struct lines *l);
