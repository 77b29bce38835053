/* SPDX-License-Identifier: Apache-2.0 */
#include "webhook/meters.h"

#include <stdio.h>

#include "common/base/fault.h"
#include "common/base/metrics.h"
#include "webhook/review.h"
#include "webhook/server.h"

static const char *const by_webhook[] = { "webhook", NULL };
static const char *const by_code[] = { "webhook", "code", NULL };
static const char *const none[] = { NULL };

static const double latency_buckets[] = { 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01,
                                          0.025,  0.05,    0.1,    0.25,  0.5,    1,     2.5 };

static struct series *single(struct webhook_meters *m, enum metric_type type, const char *name,
                             const char *help) {
        const struct metric_spec spec = { .name = name, .help = help, .type = type };

        return metric_series(metric_add_spec(m->metrics, &spec), none);
}

static void add_paths(struct webhook_meters *m) {
        static const char *const names[] = {
                [REVIEW_MUTATE] = "/mutate-dbupgrade-subbug-learning-v1alpha1-dbupgrade",
                [REVIEW_VALIDATE] = "/validate-dbupgrade-subbug-learning-v1alpha1-dbupgrade",
        };
        static const struct metric_spec requests = {
                .name = "controller_runtime_webhook_requests_total",
                .help = "Admission requests, by HTTP status code.",
                .type = METRIC_COUNTER,
                .labels = by_code,
        };
        static const struct metric_spec latency = {
                .name = "controller_runtime_webhook_latency_seconds",
                .help = "From the header of an admission request to its answer.",
                .type = METRIC_HISTOGRAM,
                .labels = by_webhook,
                .buckets = latency_buckets,
                .bucket_count = sizeof(latency_buckets) / sizeof(latency_buckets[0]),
        };
        static const struct metric_spec in_flight = {
                .name = "controller_runtime_webhook_requests_in_flight",
                .help = "Admission requests under way.",
                .type = METRIC_GAUGE,
                .labels = by_webhook,
        };
        struct metric *counts = metric_add_spec(m->metrics, &requests);
        struct metric *latencies = metric_add_spec(m->metrics, &latency);
        struct metric *gauges = metric_add_spec(m->metrics, &in_flight);

        for (size_t i = 0; i < 2; i++) {
                const char *const path[] = { names[i], NULL };
                const char *const ok[] = { names[i], "200", NULL };
                const char *const error[] = { names[i], "500", NULL };

                m->paths[i] = (struct meters_path){
                        .name = names[i],
                        .requests = counts,
                        .latency = metric_series(latencies, path),
                        .in_flight = metric_series(gauges, path),
                };
                (void)metric_series(counts, ok);
                (void)metric_series(counts, error);
        }
}

int webhook_meters_new(struct webhook_meters **ret_meters, struct fault *f) {
        CLEANUP(webhook_meters_free_p) struct webhook_meters *m = calloc(1, sizeof(*m));
        int r;

        if (m)
                m->metrics = metrics_new();
        if (!m || !m->metrics)
                return fault_set(f, FAULT_NOMEM, "out of memory");
        add_paths(m);
        m->cert_expiry = single(m, METRIC_GAUGE, "dbupgrade_webhook_cert_expiry_timestamp_seconds",
                                "When the serving certificate ends, Unix time; 0: unknown.");
        m->cert_reads = single(m, METRIC_COUNTER, "certwatcher_read_certificate_total",
                               "Serving certificates loaded.");
        m->cert_errors = single(m, METRIC_COUNTER, "certwatcher_read_certificate_errors_total",
                                "Serving certificates that could not be loaded.");
        m->connections =
                single(m, METRIC_GAUGE, "dbupgrade_webhook_connections", "Open connections.");
        m->connections_max = single(m, METRIC_GAUGE, "dbupgrade_webhook_connections_max",
                                    "Connections that are taken at a time.");
        m->reaped = single(m, METRIC_COUNTER, "dbupgrade_webhook_slow_connections_total",
                           "Connections that were ended because they took too long.");
        m->body_bytes = single(m, METRIC_GAUGE, "dbupgrade_webhook_body_bytes",
                               "Memory of all bodies under way.");
        r = metrics_add_process(m->metrics, "webhook", f);
        if (r)
                return r;
        *ret_meters = TAKE(m);
        return 0;
}

void webhook_meters_free(struct webhook_meters *m) {
        if (!m)
                return;
        metrics_free(m->metrics);
        free(m);
}

static void read_load(void *ctx) {
        struct webhook_meters *m = ctx;
        struct server_load load = server_load(m->server);

        series_set(m->connections, (double)load.connections);
        series_set(m->reaped, (double)load.reaped);
        series_set(m->body_bytes, (double)load.body_bytes);
}

int webhook_meters_watch(struct webhook_meters *m, struct server *server, int64_t connections_max,
                         struct fault *f) {
        m->server = server;
        series_set(m->connections_max, (double)connections_max);
        return metrics_on_write(m->metrics, read_load, m)
                       ? fault_set(f, FAULT_NOMEM, "too many hooks")
                       : metrics_complete(m->metrics, f);
}

void meters_count(void *ctx, unsigned status) {
        struct meters_path *path = ctx;
        char code[12]; /* an unsigned and NUL */
        const char *const values[] = { path->name, code, NULL };

        (void)snprintf(code, sizeof(code), "%u", status);
        series_add(metric_series(path->requests, values), 1);
}
