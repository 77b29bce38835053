/* SPDX-License-Identifier: Apache-2.0 */
/* What the watches have told: DBUpgrades with their Jobs and Pods, by key.
 *
 * A key is "<namespace>/<name label>": the label that Jobs and Pods carry stands for the object's
 * name (names_label), so all three meet under one key, also when the object is gone.
 *
 * Newer wins: resourceVersions of one resource compare as decimal numbers (KEP-5504; true in
 * practice before). A deleted UID is remembered for 5 minutes, so that the late answer of an own
 * write does not bring it back; what the watch brings back is back. An object that is done keeps no
 * text ("settled"): a finished migration costs a few hundred bytes.
 *
 * Thread-safe; no lock is held across anything slow.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/cleanup.h"
#include "reconciler/record.h"

struct cache;
struct clock;
struct fault;

enum cache_kind { CACHE_OBJECT, CACHE_JOB, CACHE_POD };
#define CACHE_KINDS 3

/* Return: NULL when out of memory. clock is borrowed. */
struct cache *cache_new(const struct clock *clock);
void cache_free(struct cache *c);
DEFINE_CLEANUP(struct cache *, cache_free)

/* Takes in one object, Job or Pod as JSON from a list (its mark; 0: from a watch). What is older
 * than known is passed over, but of a list that began since, content is the truth: a restored etcd
 * counts resourceVersions anew. Return: 0 and the key to be looked at (to be freed), NULL when
 * nothing is new; -FAULT_INVALID, -FAULT_NOMEM. A Job or Pod without our name label is no business
 * of ours: no key. */
int cache_upsert(struct cache *c, enum cache_kind kind, const char *json, size_t len,
                 unsigned list_mark, char **ret_key, struct fault *f) MUST_CHECK;

/* Takes in the answer of an own write or GET, unless the watch was faster (or resourceVersions are
 * no numbers). Return: 0, or likewise. */
int cache_learn(struct cache *c, enum cache_kind kind, const char *json, size_t len,
                struct fault *f) MUST_CHECK;

/* Forgets it, by the last state that the watch gave. Return: likewise. */
int cache_remove(struct cache *c, enum cache_kind kind, const char *json, size_t len,
                 char **ret_key, struct fault *f) MUST_CHECK;

/* A list begins. Return: its mark, not 0. */
unsigned cache_list_begin(struct cache *c);
/* The list of that kind, of one namespace (NULL: all), is complete: what has not been upserted
 * since the mark has vanished. gone(ctx, key) is called for each, outside of the lock. */
void cache_list_end(struct cache *c, enum cache_kind kind, const char *namespace_, unsigned mark,
                    void (*gone)(void *ctx, const char *key), void *ctx);

/* Copies of what is known under a key. */
struct cache_view {
        bool has_object;
        bool settled; /* the object is done, its text was dropped */
        char *name;   /* owned; of the object, NULL when absent */
        char *text;   /* owned; the object as JSON, NULL when absent or settled */
        size_t len;
        struct job_list jobs;
        struct pod_list pods;
};
int cache_look(struct cache *c, const char *key, struct cache_view *ret_view, struct fault *f)
        MUST_CHECK;
void cache_view_done(struct cache_view *view);

/* What a pass found about the object, if its resourceVersion is still this one: its state (any
 * number below CACHE_STATES, for cache_count), since when a run of it is under way (Unix seconds;
 * 0: none is), and whether it is done, so that its text may be dropped. */
#define CACHE_STATES 16
struct cache_finding {
        unsigned state;
        int64_t run_since_s;
        bool settled;
};
void cache_note(struct cache *c, const char *key, const char *resource_version,
                const struct cache_finding *finding);

/* How many there are of each kind, how many objects in each state (those that no pass has looked at
 * yet are in state 0), and since when the oldest run is under way (0: none is). Looks at each
 * object. */
struct cache_counts {
        size_t kinds[CACHE_KINDS];
        size_t states[CACHE_STATES];
        int64_t oldest_run_s;
};
void cache_count(struct cache *c, struct cache_counts *ret_counts);

/* The key of an object, to be freed; NULL when out of memory. */
char *cache_key(const char *namespace_, const char *object_name);

/* Whether resourceVersion a is newer than b; false when they are equal. *ret_comparable: whether
 * both are decimal numbers. Pure. */
bool cache_version_newer(const char *a, const char *b, bool *ret_comparable);
