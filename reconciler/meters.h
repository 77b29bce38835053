/* SPDX-License-Identifier: Apache-2.0 */
/* The reconciler's metrics: the names of controller-runtime that dashboards exist for, and its own.
 *
 * All series exist from the start with 0. Thread-safe after meters_new.
 */
#pragma once

#include <stdint.h>

#include "common/base/cleanup.h"
#include "reconciler/cache.h"
#include "reconciler/pass.h"
#include "reconciler/queue.h"

struct fault;
struct kube_observation;
struct metrics;
struct series;

/* The label `controller`, also in the log. */
#define METERS_CONTROLLER "dbupgrade"

enum meters_result { METERS_SUCCESS, METERS_ERROR, METERS_REQUEUE, METERS_REQUEUE_AFTER };
#define METERS_RESULTS 4

struct meters {
        struct metrics *metrics; /* owned */

        struct series *reconciles[METERS_RESULTS], *reconcile_seconds, *active_workers;
        struct series *reconcile_errors, *terminal_errors, *timeouts;

        struct series *queue_depth[QUEUE_PRIORITIES], *queue_adds, *queue_retries;
        struct series *queue_seconds, *work_seconds, *unfinished_seconds, *longest_seconds;

        struct series *migrations[3]; /* Succeeded, Failed, Lost */
        struct series *migration_seconds;
        struct series *objects[PASS_STATES], *oldest_run_seconds;

        struct series *cached[CACHE_KINDS];
        struct series *watch_events[CACHE_KINDS], *watch_lists[CACHE_KINDS];
        struct series *watch_failures[CACHE_KINDS], *watch_silence_seconds[CACHE_KINDS];

        struct series *events_sent, *events_dropped, *events_waiting;
        struct series *leader, *cert_expiry;
        struct metric *requests, *request_seconds, *request_retries;
};

/* lease: the Lease's name, borrowed. Return: 0, -FAULT_NOMEM. */
int meters_new(int64_t workers, const char *lease, struct meters **ret_meters, struct fault *f)
        MUST_CHECK;
void meters_free(struct meters *m);
DEFINE_CLEANUP(struct meters *, meters_free)

/* A struct kube_observer's request function; ctx is the struct meters. */
void meters_request(void *ctx, const struct kube_observation *observation);

/* run_result: enum run_result, a final one. */
void meters_migration(struct meters *m, int run_result, double duration_s);
