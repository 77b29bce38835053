/* SPDX-License-Identifier: Apache-2.0 */
/* SHA-256 as lower-case hex: for keys and names, never for secrets. Pure. Thread-safe. */
#pragma once

#include <stddef.h>

#include "common/base/cleanup.h"

struct fault;

#define HASH_HEX_SIZE 65

/* Return: 0, -FAULT_NOMEM (OpenSSL allocates its context). */
int hash_hex(const char *text, size_t len, char ret_hex[HASH_HEX_SIZE], struct fault *f) MUST_CHECK;

/* Like hash_hex, for callers that cannot fail: aborts when out of memory, since a wrong name must
 * not go out, and a restart continues from what the cluster says. */
void hash_hex_or_abort(const char *text, size_t len, char ret_hex[HASH_HEX_SIZE]);
