/* SPDX-License-Identifier: Apache-2.0 */
#include "reconciler/meters.h"

#include <stdio.h>

#include "common/api/dbupgrade.h"
#include "common/base/fault.h"
#include "common/base/metrics.h"
#include "common/kube/kube_curl.h"

/* Buckets of controller-runtime and client-go: dashboards are drawn over them. */
static const double reconcile_buckets[] = { 0.005, 0.01, 0.025, 0.05, 0.1,  0.15, 0.2, 0.25,
                                            0.3,   0.35, 0.4,   0.45, 0.5,  0.6,  0.7, 0.8,
                                            0.9,   1.0,  1.25,  1.5,  1.75, 2.0,  2.5, 3.0,
                                            3.5,   4.0,  4.5,   5,    6,    7,    8,   9,
                                            10,    15,   20,    25,   30,   40,   50,  60 };
static const double queue_buckets[] = { 1e-8, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3,
                                        0.01, 0.1,  1,    10,   100,  1000 };
static const double request_buckets[] = { 0.005, 0.025, 0.1, 0.25, 0.5, 1, 2, 4, 8, 15, 30, 60 };
static const double migration_buckets[] = { 1, 2, 5, 10, 30, 60, 120, 300, 600, 1800, 3600 };

#define BUCKETS(b) .buckets = (b), .bucket_count = sizeof(b) / sizeof((b)[0])

static const char *const by_controller[] = { "controller", NULL };
static const char *const by_controller_result[] = { "controller", "result", NULL };
static const char *const by_queue[] = { "name", "controller", NULL };
static const char *const by_queue_priority[] = { "name", "controller", "priority", NULL };
static const char *const by_name[] = { "name", NULL };
static const char *const by_result[] = { "result", NULL };
static const char *const by_state[] = { "state", NULL };
static const char *const by_kind[] = { "kind", NULL };
static const char *const by_code[] = { "code", "method", "host", NULL };
static const char *const by_code_verb[] = { "code", "verb", "host", NULL };
static const char *const by_verb[] = { "verb", "host", NULL };

static const char *const controller[] = { METERS_CONTROLLER, NULL };
static const char *const queue[] = { METERS_CONTROLLER, METERS_CONTROLLER, NULL };
static const char *const none[] = { NULL };

static struct metric *add(struct meters *m, const struct metric_spec *spec) {
        return metric_add_spec(m->metrics, spec);
}

/* A metric of one series. */
static struct series *single(struct meters *m, enum metric_type type, const char *name,
                             const char *help, const char *const *labels,
                             const char *const *values) {
        const struct metric_spec spec = {
                .name = name, .help = help, .type = type, .labels = labels
        };

        return metric_series(add(m, &spec), values);
}

/* A metric of one series for each of count values of its one label. */
static void add_each(struct meters *m, enum metric_type type, const char *name, const char *help,
                     const char *const *label, const char *const *names, size_t count,
                     struct series **ret_series) {
        const struct metric_spec spec = {
                .name = name, .help = help, .type = type, .labels = label
        };
        struct metric *metric = add(m, &spec);

        for (size_t i = 0; i < count; i++) {
                const char *const values[] = { names[i], NULL };

                ret_series[i] = metric_series(metric, values);
        }
}

static void add_reconcile(struct meters *m) {
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
        struct metric *metric = add(m, &reconciles);

        for (size_t i = 0; i < METERS_RESULTS; i++) {
                const char *const values[] = { METERS_CONTROLLER, results[i], NULL };

                m->reconciles[i] = metric_series(metric, values);
        }
        m->reconcile_seconds = metric_series(add(m, &seconds), controller);
}

static void add_controller(struct meters *m, int64_t workers) {
        m->reconcile_errors =
                single(m, METRIC_COUNTER, "controller_runtime_reconcile_errors_total",
                       "Reconcile passes that ended in an error.", by_controller, controller);
        m->terminal_errors =
                single(m, METRIC_COUNTER, "controller_runtime_terminal_reconcile_errors_total",
                       "Of these, those that only a change of the object can mend.", by_controller,
                       controller);
        (void)single(m, METRIC_COUNTER, "controller_runtime_reconcile_panics_total",
                     "Always 0: a crash ends the process.", by_controller, controller);
        m->timeouts = single(m, METRIC_COUNTER, "controller_runtime_reconcile_timeouts_total",
                             "Reconcile passes that were given up for their time.", by_controller,
                             controller);
        series_set(single(m, METRIC_GAUGE, "controller_runtime_max_concurrent_reconciles",
                          "Worker threads.", by_controller, controller),
                   (double)workers);
        m->active_workers = single(m, METRIC_GAUGE, "controller_runtime_active_workers",
                                   "Worker threads in a pass.", by_controller, controller);
}

static void add_depth(struct meters *m) {
        static const char *const priorities[QUEUE_PRIORITIES] = {
                [QUEUE_FRESH] = "0", [QUEUE_LOW] = "-100"
        };
        const struct metric_spec depth = {
                .name = "workqueue_depth",
                .help = "Keys that are due and not worked on; -100: of a first list.",
                .type = METRIC_GAUGE,
                .labels = by_queue_priority,
        };
        struct metric *metric = add(m, &depth);

        for (size_t i = 0; i < QUEUE_PRIORITIES; i++) {
                const char *const values[] = { METERS_CONTROLLER, METERS_CONTROLLER, priorities[i],
                                               NULL };

                m->queue_depth[i] = metric_series(metric, values);
        }
}

static void add_queue(struct meters *m) {
        const struct metric_spec waited = {
                .name = "workqueue_queue_duration_seconds",
                .help = "How long a key is due before it is worked on.",
                .type = METRIC_HISTOGRAM,
                .labels = by_queue,
                BUCKETS(queue_buckets),
        };
        const struct metric_spec worked = {
                .name = "workqueue_work_duration_seconds",
                .help = "How long a key is worked on.",
                .type = METRIC_HISTOGRAM,
                .labels = by_queue,
                BUCKETS(queue_buckets),
        };

        add_depth(m);
        m->queue_adds = single(m, METRIC_COUNTER, "workqueue_adds_total",
                               "Times that a key became due.", by_queue, queue);
        m->queue_retries = single(m, METRIC_COUNTER, "workqueue_retries_total",
                                  "Keys added again after a failure.", by_queue, queue);
        m->queue_seconds = metric_series(add(m, &waited), queue);
        m->work_seconds = metric_series(add(m, &worked), queue);
        m->unfinished_seconds =
                single(m, METRIC_GAUGE, "workqueue_unfinished_work_seconds",
                       "How long the passes under way have taken, together.", by_queue, queue);
        m->longest_seconds =
                single(m, METRIC_GAUGE, "workqueue_longest_running_processor_seconds",
                       "How long the longest pass under way has taken.", by_queue, queue);
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
        const struct metric_spec retries = {
                .name = "rest_client_request_retries_total",
                .help = "Of the requests, those that repeated one, by status code, verb and host.",
                .type = METRIC_COUNTER,
                .labels = by_code_verb,
        };

        m->requests = add(m, &requests);
        m->request_seconds = add(m, &seconds);
        m->request_retries = add(m, &retries);
}

static void add_migrations(struct meters *m) {
        static const char *const results[] = { "Succeeded", "Failed", "Lost" };
        const char *states[PASS_STATES];
        const struct metric_spec seconds = {
                .name = "dbupgrade_migration_duration_seconds",
                .help = "From the start of a run to its end.",
                .type = METRIC_HISTOGRAM,
                BUCKETS(migration_buckets),
        };

        add_each(m, METRIC_COUNTER, "dbupgrade_migrations_total",
                 "Runs whose outcome was recorded, by result.", by_result, results, 3,
                 m->migrations);
        m->migration_seconds = metric_series(add(m, &seconds), none);
        for (unsigned i = 0; i < PASS_STATES; i++)
                states[i] = pass_state_name(i);
        add_each(m, METRIC_GAUGE, "dbupgrade_objects", "DBUpgrades, by what their status says.",
                 by_state, states, PASS_STATES, m->objects);
        m->oldest_run_seconds =
                single(m, METRIC_GAUGE, "dbupgrade_oldest_run_seconds",
                       "How long ago the oldest run that has no outcome yet was started; 0: there "
                       "is none.",
                       NULL, none);
}

static void add_watches(struct meters *m) {
        static const char *const kinds[CACHE_KINDS] = { "DBUpgrade", "Job", "Pod" };

        add_each(m, METRIC_GAUGE, "dbupgrade_cached_objects", "Objects in the cache, by kind.",
                 by_kind, kinds, CACHE_KINDS, m->cached);
        add_each(m, METRIC_COUNTER, "dbupgrade_watch_events_total",
                 "Objects and deletions that the watches have told of, by kind.", by_kind, kinds,
                 CACHE_KINDS, m->watch_events);
        add_each(m, METRIC_COUNTER, "dbupgrade_watch_lists_total",
                 "Times that everything was listed, by kind.", by_kind, kinds, CACHE_KINDS,
                 m->watch_lists);
        add_each(m, METRIC_COUNTER, "dbupgrade_watch_failures_total",
                 "Requests of the watches that failed, by kind.", by_kind, kinds, CACHE_KINDS,
                 m->watch_failures);
        add_each(m, METRIC_GAUGE, "dbupgrade_watch_silence_seconds",
                 "Since when nothing was heard of the API server on a watch, by kind.", by_kind,
                 kinds, CACHE_KINDS, m->watch_silence_seconds);
}

static void add_own(struct meters *m, const char *lease) {
        static const char *const results[] = { "sent", "dropped" };
        const char *const leases[] = { lease, NULL };
        struct series *events[2];

        add_each(m, METRIC_COUNTER, "dbupgrade_events_total",
                 "Events for people, by what became of them.", by_result, results, 2, events);
        m->events_sent = events[0];
        m->events_dropped = events[1];
        m->events_waiting = single(m, METRIC_GAUGE, "dbupgrade_events_waiting",
                                   "Events that wait to be sent.", NULL, none);
        m->leader = single(m, METRIC_GAUGE, "leader_election_master_status",
                           "1 while this process leads.", by_name, leases);
        m->cert_expiry =
                single(m, METRIC_GAUGE, "dbupgrade_webhook_cert_expiry_timestamp_seconds",
                       "When the serving certificate ends, Unix time; 0: unknown.", NULL, none);
}

int meters_new(int64_t workers, const char *lease, struct meters **ret_meters, struct fault *f) {
        CLEANUP(meters_free_p) struct meters *m = calloc(1, sizeof(*m));
        int r;

        if (m)
                m->metrics = metrics_new();
        if (!m || !m->metrics)
                return fault_set(f, FAULT_NOMEM, "out of memory");
        add_reconcile(m);
        add_controller(m, workers);
        add_queue(m);
        add_requests(m);
        add_migrations(m);
        add_watches(m);
        add_own(m, lease);
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

void meters_request(void *ctx, const struct kube_observation *o) {
        struct meters *m = ctx;
        char code[12]; /* an int and NUL */
        const char *const by[] = { code, kube_method_name(o->method), o->host, NULL };
        const char *const verb[] = { kube_method_name(o->method), o->host, NULL };

        /* client-go says "<error>" where no answer came. */
        (void)snprintf(code, sizeof(code), o->http ? "%d" : "<error>", o->http);
        series_add(metric_series(m->requests, by), 1);
        if (o->number > 1)
                series_add(metric_series(m->request_retries, by), 1);
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
        /* The two times are of different clocks. */
        series_observe(m->migration_seconds, duration_s > 0 ? duration_s : 0);
}
