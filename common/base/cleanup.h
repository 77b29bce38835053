/* SPDX-License-Identifier: Apache-2.0 */
/* Ownership by attribute: an owning local names its destructor where it is declared. */
#pragma once

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define CLEANUP(fn)     __attribute__((cleanup(fn)))
#define MUST_CHECK      __attribute__((warn_unused_result))
#define FORMAT(fmt, va) __attribute__((format(printf, fmt, va)))

/* For `void drop(T)` makes `drop_p(T *)`, usable in CLEANUP(); NULL is skipped. */
#define DEFINE_CLEANUP(T, drop)                                                                    \
        static inline void drop##_p(T *p) {                                                        \
                if (*p)                                                                            \
                        drop(*p);                                                                  \
        }

/* Moves out of an owning pointer: yields the value, leaves NULL behind. */
#define TAKE(p)                                                                                    \
        __extension__({                                                                            \
                __typeof__(p) take_ = (p);                                                         \
                (p) = NULL;                                                                        \
                take_;                                                                             \
        })

static inline void free_p(void *p) {
        free(*(void **)p);
}

static inline void fclose_p(FILE **p) {
        if (*p)
                (void)fclose(*p);
}

/* Closes the descriptor unless it is negative. Not retried on EINTR: Linux has closed it by then.
 */
static inline void close_p(int *fd) {
        if (*fd >= 0)
                (void)close(*fd);
}
