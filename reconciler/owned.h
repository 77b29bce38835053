/* SPDX-License-Identifier: Apache-2.0 */
/* Which Jobs of a namespace are still at work for whom, as one LIST has shown.
 *
 * Jobs of the Go program carry no labels of ours: whether one is still at work for an object is
 * seen only by listing all Jobs of the namespace. When thousands of objects are taken over, they
 * share that LIST for some seconds, or the cost of each would grow with their number. That loses
 * nothing: the Go program must have been stopped before, so its Jobs only become fewer.
 *
 * Holds UIDs, no Jobs. Thread-safe.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "common/base/cleanup.h"

struct owned;

/* Return: NULL when out of memory. */
struct owned *owned_new(void);
void owned_free(struct owned *o);
DEFINE_CLEANUP(struct owned *, owned_free)

/* Whether a recent LIST has shown that no Job is at work for that UID. False: it has to be listed.
 */
bool owned_is_free(struct owned *o, const char *namespace_, const char *uid, int64_t now_ms);

/* A LIST that began at began_ms (monotonic) has shown Jobs at work for these UIDs, each followed by
 * a line break. Without memory nothing is learned. */
void owned_learn(struct owned *o, const char *namespace_, const char *uids, int64_t began_ms);
