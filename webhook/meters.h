/* SPDX-License-Identifier: Apache-2.0 */
/* The webhook's metrics: the names of controller-runtime that dashboards exist for, and its own.
 * All series exist from the start with 0. Thread-safe after webhook_meters_new. */
#pragma once

#include <stdint.h>

#include "common/base/cleanup.h"
#include "webhook/review.h"
#include "webhook/server.h"

struct fault;
struct metric;
struct metrics;
struct series;

/* One path of the webhook. */
struct meters_path {
        const char *name; /* label webhook: the path itself */
        struct metric *requests;
        struct series *ok; /* of requests: HTTP 200 */
        struct series *latency, *in_flight;
        struct series *allowed, *denied; /* reviews */
        struct series *causes[REVIEW_CAUSES];
};

struct webhook_meters {
        struct metrics *metrics;     /* owned */
        struct meters_path paths[2]; /* in the order of enum review_path */
        struct series *cert_expiry, *cert_reads, *cert_errors;
        struct series *connections, *connections_max, *slow, *crowded, *handshake_failures;
        struct series *body_bytes, *body_bytes_max;
        struct series *refused[SERVER_REFUSALS];
        struct server *server;
};

/* Return: 0, -FAULT_NOMEM. */
int webhook_meters_new(struct webhook_meters **ret_meters, struct fault *f) MUST_CHECK;
void webhook_meters_free(struct webhook_meters *m);
DEFINE_CLEANUP(struct webhook_meters *, webhook_meters_free)

/* Reads the server's load at each scrape; it must outlive the last scrape. limits: those that it
 * was made with. */
int webhook_meters_watch(struct webhook_meters *m, struct server *server,
                         const struct server_opts *limits, struct fault *f) MUST_CHECK;

/* A server_route's count function; ctx is the struct meters_path. */
void meters_count(void *ctx, unsigned status);

/* Counts what a review came to. */
void meters_review(const struct meters_path *path, const struct review_outcome *outcome);
