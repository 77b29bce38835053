/* SPDX-License-Identifier: Apache-2.0 */
/* The webhook's metrics: the names of controller-runtime that dashboards exist for, and its own.
 * All series exist from the start with 0. Thread-safe after webhook_meters_new. */
#pragma once

#include <stdint.h>

#include "common/base/cleanup.h"

struct fault;
struct metric;
struct metrics;
struct series;
struct server;

/* One path of the webhook. */
struct meters_path {
        const char *name; /* label webhook: the path itself */
        struct metric *requests;
        struct series *latency, *in_flight;
};

struct webhook_meters {
        struct metrics *metrics;     /* owned */
        struct meters_path paths[2]; /* in the order of enum review_path */
        struct series *cert_expiry, *cert_reads, *cert_errors;
        struct series *connections, *connections_max, *reaped, *body_bytes;
        struct server *server;
};

/* Return: 0, -FAULT_NOMEM. */
int webhook_meters_new(struct webhook_meters **ret_meters, struct fault *f) MUST_CHECK;
void webhook_meters_free(struct webhook_meters *m);
DEFINE_CLEANUP(struct webhook_meters *, webhook_meters_free)

/* Reads the server's load at each scrape; it must outlive the last scrape. */
int webhook_meters_watch(struct webhook_meters *m, struct server *server, int64_t connections_max,
                         struct fault *f) MUST_CHECK;

/* A server_route's count function; ctx is the struct meters_path. */
void meters_count(void *ctx, unsigned status);
