/* SPDX-License-Identifier: Apache-2.0 */
/* JSON in one form only, for hashing: members in byte order of their names at every
 * level, no white space, null members left out (Kubernetes treats them as absent), numbers without
 * fraction as integers.
 *
 * Trees come from text that json_check has accepted and are at most JSON_MAX_DEPTH - 1 deep. Pure.
 * Thread-safe.
 */
#pragma once

#include "common/base/cleanup.h"

struct cJSON;
struct fault;
struct strbuf;

/* Appends node, "{}" when it is NULL or null. Return: 0, -FAULT_NOMEM. */
int canonical_json(const struct cJSON *node, struct strbuf *out, struct fault *f) MUST_CHECK;

/* Like canonical_json, for the value of spec.runner, with the default of activeDeadlineSeconds
 * filled in. */
int canonical_runner(const struct cJSON *runner, struct strbuf *out, struct fault *f) MUST_CHECK;
