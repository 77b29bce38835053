/* SPDX-License-Identifier: Apache-2.0 */
/* When a missing connection Secret is to be read again.
 *
 * Secrets are read by GET only (the operator must not be able to enumerate them), so what is
 * missing is asked for again after 1, 2, 4, 8, 15, then every 30 s with jitter. Objects that wait
 * for the same Secret and key share one GET, and all together make at most 20 a second.
 *
 * Holds names and reasons, never a value. Thread-safe.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/cleanup.h"

struct secrets;

/* Return: NULL when out of memory. */
struct secrets *secrets_new(void);
void secrets_free(struct secrets *s);
DEFINE_CLEANUP(struct secrets *, secrets_free)

/* Whether the Secret is known to be missing and not due yet. Then *ret_why (SECRETS_WHY_SIZE bytes)
 * says what was wrong with it and *ret_wait_ms how long until it is due; otherwise the caller reads
 * it and reports by one of the calls below. */
#define SECRETS_WHY_SIZE 1024 /* two names of 253 bytes, a namespace of 63, and the words */
bool secrets_is_missing(struct secrets *s, const char *namespace_, const char *name,
                        const char *key, int64_t now_ms, char ret_why[SECRETS_WHY_SIZE],
                        int64_t *ret_wait_ms);

/* It was read and found wanting. Return: milliseconds until it is due again. */
int64_t secrets_missing(struct secrets *s, const char *namespace_, const char *name,
                        const char *key, const char *why, int64_t now_ms, uint32_t random);

/* It is there. */
void secrets_found(struct secrets *s, const char *namespace_, const char *name, const char *key);

/* The delay before the given attempt (from 0). Pure. */
int64_t secrets_delay_ms(unsigned attempt, uint32_t random);
