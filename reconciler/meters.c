/* SPDX-License-Identifier: Apache-2.0 */
#include "reconciler/meters.h"

#include <stdio.h>

#include "common/api/dbupgrade.h"
#include "common/base/fault.h"
#include "common/base/metrics.h"
#include "common/kube/kube_curl.h"

#define METERS_CONTROLLER "dbupgrade"

static const double reconcile_buckets[] = { 0.005, 0.01, 0.025, 0.05, 0.1,  0.15, 0.2, 0.25,
                                            0.3,   0.35, 0.4,   0.45, 0.5,  0.6,  0.7, 0.8,
                                            0.9,   1.0,  1.25,  1.5,  1.75, 2.0,  2.5, 3.0,
                                            3.5,   4.0,  4.5,   5,    6,    7,    8,   9,
                                            10,    15,   20,    25,   30,   40,   50,  60 };
static const double work_buckets[] = { 1e-8, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3,
                                       0.01, 0.1,  1,    10,   100,  1000 };
static const double request_buckets[] = {
        0.005, 0.025, 0.1, 0.25, 0.5, 1, 2, 4, 8, 15, 30, 45, 60
};
static const double migration_buckets[] = { 1, 2, 5, 10, 30, 60, 120, 300, 600, 1800, 3600 };

#define BUCKETS(b) .buckets = (b), .bucket_count = sizeof(b) / sizeof((b)[0])

static const char *const by_controller[] = { "controller", NULL };
static const char *const by_controller_result[] = { "controller", "result", NULL };
static const char *const by_queue[] = { "controller", "name", NULL };
static const char *const by_name[] = { "name", NULL };
static const char *const by_result[] = { "result", NULL };
static const char *const by_kind[] = { "kind", NULL };
static const char *const by_code[] = { "code", "method", "host", NULL };
static const char *const by_verb[] = { "verb", "host", NULL };

static const char *const controller[] = { METERS_CONTROLLER, NULL };
static const char *const queue[] = { METERS_CONTROLLER, METERS_CONTROLLER, NULL };
static const char *const none[] = { NULL };

/* A metric of one series. */
static struct series *single(struct meters *m, enum metric_type type, const char *name,
                             const char *help, const char *const *labels,
                             const char *const *values) {
        const struct metric_spec spec = {
                .name = name, .help = help, .type = type, .labels = labels
        };

        return metric_series(metric_add_spec(m->metrics, &spec), values);
}

static void add_reconcile(struct meters *m, int64_t workers) {
        static const char *const results[METERS_RESULTS] = { "success", "error", "requeue",
                                                             "requeue_after" };
        const struct metric_spec reconciles = {
                .name = "controller_runtime_reconcile_total",
                .help = "Reconcile passes, by result.",
                .type = METRIC_COUNTER,
                .labels = by_controller_result,
        };
        const struct metric_spec seconds = {
                .name = "controller_runtime_reconcile_time_seconds",
                .help = "How long a reconcile pass takes.",
                .type = METRIC_HISTOGRAM,
                .labels = by_controller,
                BUCKETS(reconcile_buckets),
        };
        struct metric *metric = metric_add_spec(m->metrics, &reconciles);

        for (size_t i = 0; i < METERS_RESULTS; i++) {
                const char *const values[] = { METERS_CONTROLLER, results[i], NULL };

                m->reconciles[i] = metric_series(metric, values);
        }
        m->reconcile_seconds = metric_series(metric_add_spec(m->metrics, &seconds), controller);
        m->reconcile_errors =
                single(m, METRIC_COUNTER, "controller_runtime_reconcile_errors_total",
                       "Reconcile passes that ended in an error.", by_controller, controller);
        m->max_workers = single(m, METRIC_GAUGE, "controller_runtime_max_concurrent_reconciles",
                                "Worker threads.", by_controller, controller);
        m->active_workers = single(m, METRIC_GAUGE, "controller_runtime_active_workers",
                                   "Worker threads in a pass.", by_controller, controller);
        series_set(m->max_workers, (double)workers);
}

static void add_queue(struct meters *m) {
        const struct metric_spec seconds = {
                .name = "workqueue_work_duration_seconds",
                .help = "How long a key is worked on.",
                .type = METRIC_HISTOGRAM,
                .labels = by_queue,
                BUCKETS(work_buckets),
        };

        m->queue_depth = single(m, METRIC_GAUGE, "workqueue_depth",
                                "Keys that are due and not worked on.", by_queue, queue);
        m->queue_adds =
                single(m, METRIC_COUNTER, "workqueue_adds_total", "Keys added.", by_queue, queue);
        m->queue_retries = single(m, METRIC_COUNTER, "workqueue_retries_total",
                                  "Keys added again after a failure.", by_queue, queue);
        m->work_seconds = metric_series(metric_add_spec(m->metrics, &seconds), queue);
}

static void add_requests(struct meters *m) {
        const struct metric_spec requests = {
                .name = "rest_client_requests_total",
                .help = "Requests to the API server, by status code, method and host.",
                .type = METRIC_COUNTER,
                .labels = by_code,
        };
        const struct metric_spec seconds = {
                .name = "rest_client_request_duration_seconds",
                .help = "How long the API server takes to answer, by verb and host.",
                .type = METRIC_HISTOGRAM,
                .labels = by_verb,
                BUCKETS(request_buckets),
        };

        m->requests = metric_add_spec(m->metrics, &requests);
        m->request_seconds = metric_add_spec(m->metrics, &seconds);
}

static void add_own(struct meters *m) {
        static const char *const results[] = { "Succeeded", "Failed", "Lost" };
        static const char *const kinds[METERS_KINDS] = { "DBUpgrade", "Job", "Pod" };
        static const char *const lease[] = { "dbupgrade-controller-manager.subbug.learning", NULL };
        const struct metric_spec migrations = {
                .name = "dbupgrade_migrations_total",
                .help = "Runs whose outcome was recorded, by result.",
                .type = METRIC_COUNTER,
                .labels = by_result,
        };
        const struct metric_spec seconds = {
                .name = "dbupgrade_migration_duration_seconds",
                .help = "From the start of a run to its end.",
                .type = METRIC_HISTOGRAM,
                BUCKETS(migration_buckets),
        };
        const struct metric_spec cached = {
                .name = "dbupgrade_cached_objects",
                .help = "Objects in the cache, by kind.",
                .type = METRIC_GAUGE,
                .labels = by_kind,
        };
        struct metric *metric = metric_add_spec(m->metrics, &migrations);

        for (size_t i = 0; i < 3; i++) {
                const char *const values[] = { results[i], NULL };

                m->migrations[i] = metric_series(metric, values);
        }
        m->migration_seconds = metric_series(metric_add_spec(m->metrics, &seconds), none);
        metric = metric_add_spec(m->metrics, &cached);
        for (size_t i = 0; i < METERS_KINDS; i++) {
                const char *const values[] = { kinds[i], NULL };

                m->cached[i] = metric_series(metric, values);
        }
        m->leader = single(m, METRIC_GAUGE, "leader_election_master_status",
                           "1 while this process leads.", by_name, lease);
        m->cert_expiry =
                single(m, METRIC_GAUGE, "dbupgrade_webhook_cert_expiry_timestamp_seconds",
                       "When the serving certificate ends, Unix time; 0: unknown.", NULL, none);
}

int meters_new(int64_t workers, struct meters **ret_meters, struct fault *f) {
        CLEANUP(meters_free_p) struct meters *m = calloc(1, sizeof(*m));
        int r;

        if (m)
                m->metrics = metrics_new();
        if (!m || !m->metrics)
                return fault_set(f, FAULT_NOMEM, "out of memory");
        add_reconcile(m, workers);
        add_queue(m);
        add_requests(m);
        add_own(m);
        r = metrics_add_process(m->metrics, "reconciler", f);
        if (!r)
                r = metrics_complete(m->metrics, f);
        if (r)
                return r;
        *ret_meters = TAKE(m);
        return 0;
}

void meters_free(struct meters *m) {
        if (!m)
                return;
        metrics_free(m->metrics);
        free(m);
}

static const char *method_name(enum kube_method method) {
        switch (method) {
        case KUBE_GET:
                return "GET";
        case KUBE_POST:
                return "POST";
        case KUBE_PUT:
                return "PUT";
        case KUBE_PATCH:
                return "PATCH";
        case KUBE_DELETE:
                return "DELETE";
        }
        return "";
}

void meters_request(void *ctx, const struct kube_observation *o) {
        struct meters *m = ctx;
        char code[12]; /* an int and NUL */
        const char *const by[] = { code, method_name(o->method), o->host, NULL };
        const char *const verb[] = { method_name(o->method), o->host, NULL };

        /* client-go says "<error>" where no answer came. */
        (void)snprintf(code, sizeof(code), o->http ? "%d" : "<error>", o->http);
        series_add(metric_series(m->requests, by), 1);
        if (!o->stream)
                series_observe(metric_series(m->request_seconds, verb),
                               (double)o->duration_us / 1e6);
}

void meters_migration(struct meters *m, int run_result, double duration_s) {
        switch ((enum run_result)run_result) {
        case RUN_SUCCEEDED:
                series_add(m->migrations[0], 1);
                break;
        case RUN_FAILED:
                series_add(m->migrations[1], 1);
                break;
        case RUN_LOST:
                series_add(m->migrations[2], 1);
                return;
        case RUN_NONE:
        case RUN_STARTING:
        case RUN_RUNNING:
        case RUN_SUPERSEDING:
        case RUN_SUPERSEDED:
                return;
        }
        series_observe(m->migration_seconds, duration_s);
}
