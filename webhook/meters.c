/* SPDX-License-Identifier: Apache-2.0 */
#include "webhook/meters.h"

#include <stdio.h>

#include "common/base/fault.h"
#include "common/base/metrics.h"

static const char *const none[] = { NULL };

/* Those that controller-runtime had until 2026 (Prometheus' defaults), for its dashboards and
 * recording rules, and finer ones below: an answer takes microseconds. */
static const double latency_buckets[] = { 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005,
                                          0.01,   0.025,   0.05,   0.1,   0.25,   0.5,
                                          1,      2.5,     5,      10 };

static struct series *single(struct webhook_meters *m, enum metric_type type, const char *name,
                             const char *help) {
        const struct metric_spec spec = { .name = name, .help = help, .type = type };

        return metric_series(metric_add_spec(m->metrics, &spec), none);
}

/* A metric with one or two labels. */
static struct metric *labelled(struct webhook_meters *m, enum metric_type type, const char *name,
                               const char *help, const char *const *labels) {
        const struct metric_spec spec = {
                .name = name, .help = help, .type = type, .labels = labels
        };

        return metric_add_spec(m->metrics, &spec);
}

static struct metric *add_latency(struct webhook_meters *m, const char *const *labels) {
        const struct metric_spec spec = {
                .name = "controller_runtime_webhook_latency_seconds",
                .help = "From the header of an admission request to its answer.",
                .type = METRIC_HISTOGRAM,
                .labels = labels,
                .buckets = latency_buckets,
                .bucket_count = sizeof(latency_buckets) / sizeof(latency_buckets[0]),
        };

        return metric_add_spec(m->metrics, &spec);
}

static struct series *of_path(struct metric *metric, const char *path, const char *value) {
        const char *const values[] = { path, value, NULL };

        return metric_series(metric, values);
}

static void add_paths(struct webhook_meters *m) {
        static const char *const names[] = {
                [REVIEW_MUTATE] = "/mutate-dbupgrade-subbug-learning-v1alpha1-dbupgrade",
                [REVIEW_VALIDATE] = "/validate-dbupgrade-subbug-learning-v1alpha1-dbupgrade",
        };
        static const char *const by_webhook[] = { "webhook", NULL };
        static const char *const by_code[] = { "webhook", "code", NULL };
        static const char *const by_verdict[] = { "webhook", "allowed", NULL };
        static const char *const by_reason[] = { "webhook", "reason", NULL };
        struct metric *requests =
                labelled(m, METRIC_COUNTER, "controller_runtime_webhook_requests_total",
                         "Admission requests, by HTTP status code.", by_code);
        struct metric *latencies = add_latency(m, by_webhook);
        struct metric *gauges =
                labelled(m, METRIC_GAUGE, "controller_runtime_webhook_requests_in_flight",
                         "Admission requests under way.", by_webhook);
        struct metric *reviews = labelled(m, METRIC_COUNTER, "dbupgrade_webhook_reviews_total",
                                          "Reviews, by what they came to.", by_verdict);
        struct metric *causes =
                labelled(m, METRIC_COUNTER, "dbupgrade_webhook_denial_causes_total",
                         "Mistakes in reviews that were denied, by their reason.", by_reason);

        for (size_t i = 0; i < 2; i++) {
                struct meters_path *path = &m->paths[i];

                *path = (struct meters_path){
                        .name = names[i],
                        .requests = requests,
                        .latency = of_path(latencies, names[i], NULL),
                        .in_flight = of_path(gauges, names[i], NULL),
                        .allowed = of_path(reviews, names[i], "true"),
                        .denied = of_path(reviews, names[i], "false"),
                };
                path->ok = of_path(requests, names[i], "200");
                (void)of_path(requests, names[i], "500");
                for (enum review_cause k = 0; k < REVIEW_CAUSES; k++)
                        path->causes[k] = of_path(causes, names[i], review_cause_name(k));
        }
}

static void add_certificate(struct webhook_meters *m) {
        m->cert_expiry = single(m, METRIC_GAUGE, "dbupgrade_webhook_cert_expiry_timestamp_seconds",
                                "When the serving certificate ends, Unix time; 0: unknown.");
        m->cert_reads = single(m, METRIC_COUNTER, "certwatcher_read_certificate_total",
                               "Looks at the serving certificate's files.");
        m->cert_errors = single(m, METRIC_COUNTER, "certwatcher_read_certificate_errors_total",
                                "Looks at the serving certificate's files that failed.");
}

static void add_server(struct webhook_meters *m) {
        static const char *const by_reason[] = { "reason", NULL };
        struct metric *refused =
                labelled(m, METRIC_COUNTER, "dbupgrade_webhook_refused_requests_total",
                         "Requests that were refused before they were judged.", by_reason);

        for (enum server_refusal i = 0; i < SERVER_REFUSALS; i++) {
                const char *const reason[] = { server_refusal_name(i), NULL };

                m->refused[i] = metric_series(refused, reason);
        }
        m->connections =
                single(m, METRIC_GAUGE, "dbupgrade_webhook_connections", "Open connections.");
        m->connections_max = single(m, METRIC_GAUGE, "dbupgrade_webhook_connections_max",
                                    "Connections that are taken at a time.");
        m->slow = single(m, METRIC_COUNTER, "dbupgrade_webhook_slow_connections_total",
                         "Connections that were ended because they took too long.");
        m->crowded = single(m, METRIC_COUNTER, "dbupgrade_webhook_crowded_connections_total",
                            "Connections that were ended to make room for others.");
        m->handshake_failures =
                single(m, METRIC_COUNTER, "dbupgrade_webhook_handshake_failures_total",
                       "TLS handshakes that failed.");
        m->body_bytes = single(m, METRIC_GAUGE, "dbupgrade_webhook_body_bytes",
                               "Memory of all bodies under way.");
        m->body_bytes_max = single(m, METRIC_GAUGE, "dbupgrade_webhook_body_bytes_max",
                                   "Memory of all bodies under way, above which larger ones get "
                                   "503.");
}

int webhook_meters_new(struct webhook_meters **ret_meters, struct fault *f) {
        CLEANUP(webhook_meters_free_p) struct webhook_meters *m = calloc(1, sizeof(*m));
        int r;

        if (m)
                m->metrics = metrics_new();
        if (!m || !m->metrics)
                return fault_set(f, FAULT_NOMEM, "out of memory");
        add_paths(m);
        add_certificate(m);
        add_server(m);
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
        series_set(m->slow, (double)load.slow);
        series_set(m->crowded, (double)load.crowded);
        series_set(m->body_bytes, (double)load.body_bytes);
        for (size_t i = 0; i < SERVER_REFUSALS; i++)
                series_set(m->refused[i], (double)load.refused[i]);
}

int webhook_meters_watch(struct webhook_meters *m, struct server *server,
                         const struct server_opts *limits, struct fault *f) {
        m->server = server;
        series_set(m->connections_max, (double)limits->connections);
        series_set(m->body_bytes_max, (double)limits->bodies_max);
        return metrics_on_write(m->metrics, read_load, m)
                       ? fault_set(f, FAULT_NOMEM, "too many hooks")
                       : metrics_complete(m->metrics, f);
}

void meters_count(void *ctx, unsigned status) {
        struct meters_path *path = ctx;
        char code[12]; /* an unsigned and NUL */

        if (status == 200) {
                series_add(path->ok, 1);
                return;
        }
        (void)snprintf(code, sizeof(code), "%u", status);
        series_add(of_path(path->requests, path->name, code), 1);
}

void meters_review(const struct meters_path *path, const struct review_outcome *outcome) {
        if (outcome->http_status != 200)
                return;
        series_add(outcome->allowed ? path->allowed : path->denied, 1);
        for (size_t i = 0; !outcome->allowed && i < REVIEW_CAUSES; i++)
                if (outcome->causes[i])
                        series_add(path->causes[i], outcome->causes[i]);
}
