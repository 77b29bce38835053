/* SPDX-License-Identifier: Apache-2.0 */
/* The health and metrics endpoints of a process: plain HTTP for the kubelet and Prometheus.
 *
 *     /healthz, /readyz            200 "ok", or 500 and the failed checks; ?verbose lists all,
 *                                  ?exclude=name leaves one out (repeatable)
 *     /healthz/name, /readyz/name  one check
 *     /metrics                     text format 0.0.4
 *
 * Health and metrics are two daemons of one thread each, so that a slow scraper never makes the
 * kubelet wait. Connections are few, small and short-lived, and one that stays silent or drips
 * bytes is ended after 10 s, or earlier to make room; requests have no body.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "common/base/cleanup.h"

struct fault;
struct metrics;
struct ops;

struct ops_check {
        const char *name; /* NULL ends a list */
        /* Return: 0, or a fault that says what is wrong. Called in the server's thread; must be
         * quick and thread-safe. */
        int (*check)(void *ctx, struct fault *f);
        void *ctx;
        bool for_liveness; /* part of /healthz too; all are part of /readyz */
};

struct ops_opts {
        const char *health_address; /* as flags_parse_address takes it; "0" disables */
        const char *metrics_address;
        const struct ops_check *checks; /* copied; what they point to is borrowed until ops_free */
        struct metrics *metrics;        /* borrowed likewise */
};

/* Starts both. Return: 0, -FAULT_INVALID (an address), -FAULT_IO (the port cannot be had),
 * -FAULT_NOMEM. */
int ops_new(const struct ops_opts *opts, struct ops **ret_ops, struct fault *f) MUST_CHECK;
/* Stops and waits for answers under way. Accepts NULL. */
void ops_free(struct ops *ops);
DEFINE_CLEANUP(struct ops *, ops_free)
