/* SPDX-License-Identifier: Apache-2.0 */
/* One reconcile pass over one DBUpgrade: observe, then decide and act in turn, then one status
 * write.
 *
 * Begins from what the cluster says; a crash between any two steps needs no journal but the status.
 * Runs in one thread with its own struct kube; passes of different keys may run at the same time.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "common/base/cleanup.h"
#include "reconciler/plan.h"

struct cache;
struct clock;
struct event;
struct fault;
struct kube;
struct random;
struct secrets;

/* Who is told of what happened. Members may be NULL. Called in the thread of the pass: they must
 * not block. */
struct pass_hooks {
        void (*event)(void *ctx, const struct event *event); /* borrowed during the call */
        /* Once for each run whose outcome was written to the ledger. */
        void (*outcome)(void *ctx, int run_result, double duration_s);
        void *ctx;
};

struct pass_deps {
        const struct kube *kube;
        const struct clock *clock;
        struct cache *cache;
        struct secrets *secrets;
        const struct random *random;
        struct pass_hooks hooks;
        int64_t timeout_ms; /* a pass that takes longer fails; 0: no limit */
};

struct pass_result {
        enum plan_requeue requeue;
        int64_t after_ms;              /* REQUEUE_SECRET: when the Secret is due */
        enum plan_situation situation; /* what the status says now; SITUATION_NONE: unchanged */
};

/* The states of metric dbupgrade_objects: what an object's status says. Static storage. */
#define PASS_STATES 15
const char *pass_state_name(unsigned state);

/* Return: 0 and what is to follow, or a fault (look again with backoff). */
int pass_run(const struct pass_deps *deps, const char *key, struct pass_result *ret_result,
             struct fault *f) MUST_CHECK;

/* Whether an object of the first list is done as it stands, so that no pass is needed and the cache
 * may drop its text at once: the memory for a list of any size stays that of what is not done.
 * Return: 0, or a fault. */
int pass_settle(const struct pass_deps *deps, const char *key, bool *ret_settled, struct fault *f)
        MUST_CHECK;
