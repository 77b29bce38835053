/* SPDX-License-Identifier: Apache-2.0 */
/* Randomness: a seam, so that tests are repeatable. For jitter and names, not for keys. */
#pragma once

#include <stdint.h>

struct random {
        uint32_t (*u32)(void *ctx); /* evenly spread over all values */
        void *ctx;
};

/* The kernel's random numbers. Thread-safe. Static storage. */
const struct random *random_system(void);

/* A value in [0, limit), 0 < limit <= 2^32. The bias of the remainder does not matter here. */
static inline int64_t random_below(const struct random *r, int64_t limit) {
        return (int64_t)r->u32(r->ctx) % limit;
}
