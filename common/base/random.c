/* SPDX-License-Identifier: Apache-2.0 */
#include "common/base/random.h"

#include <assert.h>
#include <stddef.h>
#include <sys/random.h>

static uint32_t random_kernel(void *ctx) {
        uint32_t value = 0;
        /* Requests of up to 256 bytes are never cut short or interrupted once the pool is ready,
         * which it is long before containers start (getrandom(2)). */
        ssize_t got = getrandom(&value, sizeof(value), 0);

        (void)ctx;
        assert(got == (ssize_t)sizeof(value));
        (void)got;
        return value;
}

const struct random *random_system(void) {
        static const struct random system = { .u32 = random_kernel, .ctx = NULL };

        return &system;
}
