/* SPDX-License-Identifier: Apache-2.0 */
#include "common/base/arena.h"

#include <stdalign.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include "common/base/fault.h"

/* A pass needs two or three of these. */
#define ARENA_BLOCK_BYTES 4000

struct arena_block {
        struct arena_block *next;
        size_t used, cap;
        max_align_t bytes[];
};

void arena_done(struct arena *a) {
        struct arena_block *block = a->blocks;

        while (block) {
                struct arena_block *next = block->next;

                free(block);
                block = next;
        }
        *a = (struct arena)ARENA_INIT(a->max);
}

static struct arena_block *arena_block_new(size_t size) {
        size_t cap = size > ARENA_BLOCK_BYTES ? size : ARENA_BLOCK_BYTES;
        struct arena_block *block = malloc(sizeof(*block) + cap);

        if (!block)
                return NULL;
        block->used = 0;
        block->cap = cap;
        return block;
}

void *arena_alloc(struct arena *a, size_t size) {
        size_t align = alignof(max_align_t);
        size_t rounded = size > SIZE_MAX - align ? SIZE_MAX : (size + align - 1) / align * align;
        struct arena_block *block = a->blocks;
        char *memory;

        if (a->bad || rounded > a->max - a->used) {
                a->bad = true;
                return NULL;
        }
        if (!block || rounded > block->cap - block->used) {
                block = arena_block_new(rounded);
                if (!block) {
                        a->bad = true;
                        return NULL;
                }
                block->next = a->blocks;
                a->blocks = block;
        }
        memory = (char *)block->bytes + block->used;
        block->used += rounded;
        a->used += rounded;
        memset(memory, 0, rounded);
        return memory;
}

const char *arena_strndup(struct arena *a, const char *text, size_t len) {
        char *copy = arena_alloc(a, len + 1);

        if (!copy)
                return "";
        memcpy(copy, text, len);
        return copy;
}

const char *arena_strdup(struct arena *a, const char *text) {
        return arena_strndup(a, text, strlen(text));
}

const char *arena_printf(struct arena *a, const char *fmt, ...) {
        va_list ap;
        char *text;
        int len;

        va_start(ap, fmt);
        len = vsnprintf(NULL, 0, fmt, ap);
        va_end(ap);
        text = len < 0 ? NULL : arena_alloc(a, (size_t)len + 1);
        if (!text) {
                a->bad = true;
                return "";
        }
        va_start(ap, fmt);
        (void)vsnprintf(text, (size_t)len + 1, fmt, ap);
        va_end(ap);
        return text;
}

int arena_check(const struct arena *a, struct fault *f) {
        if (a->bad)
                return fault_set(f, FAULT_NOMEM, "out of memory, or more than %zu bytes", a->max);
        return 0;
}
