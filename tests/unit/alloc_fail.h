/* SPDX-License-Identifier: Apache-2.0 */
/* Makes the n-th allocation fail, to prove that every one of them is checked:
 *
 *     for (size_t n = 1;; n++) {
 *             alloc_fail_arm(n);
 *             r = call_under_test(…);
 *             if (!alloc_fail_disarm())
 *                     break;
 *             ck_assert_int_eq(r, -FAULT_NOMEM);
 *     }
 *
 * For programs that link with the meson dependency `alloc_fail`: it wraps malloc, calloc, realloc,
 * strdup, strndup and free of the project's own objects, and gives cJSON its hooks; other libraries
 * are not touched. Not for threads.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

/* The n-th allocation from now on fails, and no other. */
void alloc_fail_arm(size_t n);

/* Return: whether an allocation has failed since. */
bool alloc_fail_disarm(void);

/* From now on each block that is freed is searched for text (borrowed): for what promises to wipe.
 */
void alloc_secret_arm(const char *text);

/* Return: how many of them still held it. */
size_t alloc_secret_disarm(void);
