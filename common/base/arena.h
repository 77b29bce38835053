/* SPDX-License-Identifier: Apache-2.0 */
/* Memory that is released all at once: for the strings of one reconcile pass or one admission
 * review.
 *
 * Strings never come back as NULL: when memory or the cap runs out, `bad` is set and "" (static) is
 * returned; the one check at the end is arena_check. Only arena_alloc returns NULL. Not shared
 * between threads.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "common/base/cleanup.h"

struct arena_block;
struct fault;

struct arena {
        struct arena_block *blocks;
        size_t used; /* bytes handed out */
        size_t max;  /* used never gets above this */
        bool bad;    /* an allocation was refused */
};

#define ARENA_INIT(max_bytes)                                                                      \
        { .blocks = NULL, .used = 0, .max = (max_bytes), .bad = false }

/* Releases everything; may be called twice. */
void arena_done(struct arena *a);

/* Zeroed memory aligned for any type, or NULL (and bad is set). */
void *arena_alloc(struct arena *a, size_t size) MUST_CHECK;

/* Copies; "" when refused. */
const char *arena_strdup(struct arena *a, const char *text);
const char *arena_strndup(struct arena *a, const char *text, size_t len);
const char *arena_printf(struct arena *a, const char *fmt, ...) FORMAT(2, 3);

/* Return: 0, or -FAULT_NOMEM when an allocation was refused. */
int arena_check(const struct arena *a, struct fault *f) MUST_CHECK;
