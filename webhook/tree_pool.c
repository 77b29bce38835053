/* SPDX-License-Identifier: Apache-2.0 */
#include "webhook/tree_pool.h"

#include <cjson/cJSON.h>
#include <stdalign.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

static _Thread_local struct {
        alignas(max_align_t) char bytes[TREE_POOL_SIZE];
        size_t used, pieces; /* taken, and not given back */
} pool;

static void *tree_pool_take(size_t size) {
        size_t align = alignof(max_align_t), room = sizeof(pool.bytes) - pool.used;
        void *piece = pool.bytes + pool.used;

        if (size >= room)
                return malloc(size);
        /* Both the block's size and what is used of it are multiples of this. */
        pool.used += (size + align - 1) / align * align;
        pool.pieces++;
        return piece;
}

static bool tree_pool_has(const void *piece) {
        uintptr_t at = (uintptr_t)piece, start = (uintptr_t)pool.bytes;

        return at >= start && at - start < sizeof(pool.bytes);
}

static void tree_pool_give(void *piece) {
        if (!tree_pool_has(piece))
                free(piece);
        else if (--pool.pieces == 0)
                pool.used = 0;
}

void tree_pool_start(void) {
        cJSON_Hooks hooks = { .malloc_fn = tree_pool_take, .free_fn = tree_pool_give };

        cJSON_InitHooks(&hooks);
}
