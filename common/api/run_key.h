/* SPDX-License-Identifier: Apache-2.0 */
/* The keys of the ledger: what must have been applied, and how.
 *
 * The canonical texts are part of the stored data: a change of them would run every migration
 * again. tests/data holds known keys. Pure. Thread-safe.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "common/base/cleanup.h"

struct dbupgrade_spec;
struct cJSON;
struct fault;

#define RUN_KEY_SIZE   65 /* lower-case hex of SHA-256 and NUL */
#define RUN_HASH8_SIZE 9

/* SHA-256 over the canonical text of migrations and database: defaults filled in, members in a
 * fixed order, unknown members do not count; connection.urlSecretRef.optional does not either (it
 * changes nothing of what is applied). Return: 0, -FAULT_NOMEM. */
int run_key(const struct dbupgrade_spec *spec, char ret_key[RUN_KEY_SIZE], struct fault *f)
        MUST_CHECK;

/* SHA-256 over run key, canonical runner (members by name in byte order at every level, no white
 * space, defaults filled in, absent equals {}) and the retry value (NULL: none).
 * spec_tree is the spec as parsed. Return: 0, -FAULT_NOMEM. */
int attempt_key(const char *run_key_hex, const struct cJSON *spec_tree, const char *retry,
                char ret_key[RUN_KEY_SIZE], struct fault *f) MUST_CHECK;

/* The first 8 hex digits of SHA-256(owner UID, attempt key, run number). */
void run_hash8(const char *owner_uid, const char *attempt_key_hex, int64_t run_number,
               char ret_hash[RUN_HASH8_SIZE]);
