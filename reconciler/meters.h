/* SPDX-License-Identifier: Apache-2.0 */
/* The reconciler's metrics: the names of controller-runtime that dashboards exist for, and its own.
 *
 * All series exist from the start with 0. Thread-safe after meters_new.
 */
#pragma once

#include <stdint.h>

#include "common/base/cleanup.h"

struct fault;
struct kube_observation;
struct metrics;
struct series;

enum meters_result { METERS_SUCCESS, METERS_ERROR, METERS_REQUEUE, METERS_REQUEUE_AFTER };
#define METERS_RESULTS 4

/* Which kind of cached thing a gauge counts: the order of enum cache_kind. */
#define METERS_KINDS 3

struct meters {
        struct metrics *metrics; /* owned */
        struct series *reconciles[METERS_RESULTS];
        struct series *reconcile_errors, *reconcile_seconds, *active_workers, *max_workers;
        struct series *queue_depth, *queue_adds, *queue_retries, *work_seconds;
        struct series *leader;
        struct series *migrations[3]; /* Succeeded, Failed, Lost */
        struct series *migration_seconds;
        struct series *cached[METERS_KINDS];
        struct series *cert_expiry;
        struct metric *requests, *request_seconds;
};

/* Return: 0, -FAULT_NOMEM. */
int meters_new(int64_t workers, struct meters **ret_meters, struct fault *f) MUST_CHECK;
void meters_free(struct meters *m);
DEFINE_CLEANUP(struct meters *, meters_free)

/* A struct kube_observer's request function; ctx is the struct meters. */
void meters_request(void *ctx, const struct kube_observation *observation);

/* run_result: enum run_result, a final one. */
void meters_migration(struct meters *m, int run_result, double duration_s);
