/* SPDX-License-Identifier: Apache-2.0 */
#include "reconciler/controller.h"

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <time.h>

#include "common/api/names.h"
#include "common/base/clock.h"
#include "common/base/fault.h"
#include "common/base/log.h"
#include "common/base/metrics.h"
#include "common/base/random.h"
#include "common/base/strbuf.h"
#include "common/kube/event_sender.h"
#include "common/kube/informer.h"
#include "reconciler/cache.h"
#include "reconciler/meters.h"
#include "reconciler/pass.h"
#include "reconciler/queue.h"
#include "reconciler/secrets.h"

#define CONTROLLER_SLOW_MS    300000
#define CONTROLLER_PODLESS_MS 3000

/* A pass has a dozen requests of milliseconds. One that takes minutes is given up, between two
 * requests or within one, so a worker that is busy for longer than that hangs. */
#define CONTROLLER_PASS_MS 120000
#define CONTROLLER_HUNG_MS 300000

/* See informer_health.last_turn_ms. */
#define CONTROLLER_WATCH_HUNG_MS 900000

/* An event takes about 1 KiB; one thread sends some 200 a second. */
#define CONTROLLER_EVENTS_MAX 4096

/* Of the 30 s that the kubelet gives: for passes under way, then for events that are left. The rest
 * is for the certificates' keeper and for giving back the Lease. */
#define CONTROLLER_FINISH_MS 15000
#define CONTROLLER_FLUSH_MS  3000

#define CONTROLLER_REPORTER DBUPGRADE_GROUP "/dbupgrade-operator"

/* Between two lines about failing passes. */
#define CONTROLLER_LOG_MS 1000

/* One informer and its thread. */
struct watch_thread {
        struct controller *controller;
        enum cache_kind kind;
        const char *namespace_; /* NULL: all */
        struct informer *informer;
        unsigned mark; /* of the list under way; 0: none */
        atomic_bool synced;
        pthread_t thread;
        bool started;
};

struct worker {
        struct controller *controller;
        struct kube kube;
        _Atomic int64_t busy_since_us; /* monotonic; 0: idle */
        pthread_t thread;
        bool started;
};

struct controller {
        struct controller_opts opts;
        struct cache *cache;
        struct work_queue *queue;
        struct secrets *secrets;
        struct watch_thread *watches;
        size_t watch_count;
        struct worker *workers;
        size_t worker_count;
        struct event_sender *events;
        struct log_limit failures;
        pthread_mutex_t mutex; /* guards the condition only: what it is about is atomic */
        pthread_cond_t changed;
        atomic_bool leading, stopping;
};

/* ---- watches ---- */

static void enqueue(struct watch_thread *w, const char *key) {
        struct controller *c = w->controller;

        work_queue_add(c->queue, key, atomic_load(&w->synced) ? QUEUE_FRESH : QUEUE_LOW, 0);
}

/* Of the first list, only what is not done goes on. A fault will be the pass's to tell. */
static void enqueue_listed(struct watch_thread *w, const char *key) {
        const struct pass_deps deps = { .cache = w->controller->cache,
                                        .clock = w->controller->opts.clock };
        struct fault f = FAULT_INIT;
        bool settled;

        if (pass_settle(&deps, key, &settled, &f) || !settled)
                enqueue(w, key);
}

/* What could not be understood is logged and passed over: listing again would bring the same. */
static int on_upsert(void *ctx, const char *json, size_t len, struct fault *f) {
        struct watch_thread *w = ctx;
        CLEANUP(free_p) char *key = NULL;
        int r = cache_upsert(w->controller->cache, w->kind, json, len, w->mark, &key, f);

        if (r == -FAULT_INVALID) {
                log_error("an object of a watch was passed over", LOG_STR("error", f->text));
                return 0;
        }
        if (r)
                return r;
        if (key && w->kind == CACHE_OBJECT && !atomic_load(&w->synced))
                enqueue_listed(w, key);
        else if (key)
                enqueue(w, key);
        return 0;
}

static void on_remove(void *ctx, const char *json, size_t len) {
        struct watch_thread *w = ctx;
        CLEANUP(free_p) char *key = NULL;
        struct fault f = FAULT_INIT;

        if (cache_remove(w->controller->cache, w->kind, json, len, &key, &f))
                log_error("a deletion was not understood", LOG_STR("error", f.text));
        if (key)
                enqueue(w, key);
}

static void on_list_begin(void *ctx) {
        struct watch_thread *w = ctx;

        w->mark = cache_list_begin(w->controller->cache);
}

static void on_gone(void *ctx, const char *key) {
        enqueue(ctx, key);
}

static void tell_workers(struct controller *c) {
        pthread_mutex_lock(&c->mutex);
        pthread_cond_broadcast(&c->changed);
        pthread_mutex_unlock(&c->mutex);
}

static void on_list_end(void *ctx) {
        struct watch_thread *w = ctx;
        struct controller *c = w->controller;

        cache_list_end(c->cache, w->kind, w->namespace_, w->mark, on_gone, w);
        w->mark = 0;
        if (!atomic_exchange(&w->synced, true))
                tell_workers(c);
}

static void *watch_main(void *ctx) {
        struct watch_thread *w = ctx;

        informer_run(w->informer);
        return NULL;
}

static int watch_path(enum cache_kind kind, const char *namespace_, struct strbuf *path,
                      struct fault *f) {
        static const char *const groups[] = { "/apis/" DBUPGRADE_API_VERSION, "/apis/batch/v1",
                                              "/api/v1" };
        static const char *const resources[] = { DBUPGRADE_PLURAL, "jobs", "pods" };

        strbuf_str(path, groups[kind]);
        if (namespace_) {
                strbuf_str(path, "/namespaces/");
                strbuf_url(path, namespace_);
        }
        strbuf_char(path, '/');
        strbuf_str(path, resources[kind]);
        return strbuf_check(path, f);
}

static int watch_init(struct watch_thread *w, struct controller *c, enum cache_kind kind,
                      const char *namespace_, struct fault *f) {
        static const char *const components[] = { "watch-dbupgrades", "watch-jobs", "watch-pods" };
        CLEANUP(strbuf_done) struct strbuf path = STRBUF_INIT(512); /* a namespace has at most 63 */
        struct kube_curl_opts kube = c->opts.kube;
        struct informer_opts opts = {
                .label_selector = kind == CACHE_OBJECT ? c->opts.selector
                                                       : NAMES_LABEL_MANAGED_BY
                                          "=" NAMES_MANAGED_BY_VALUE,
                .consistent = true,
                .handler = { w, on_upsert, on_remove, on_list_begin, on_list_end },
                .clock = c->opts.clock,
                .random = c->opts.random,
        };
        int r = watch_path(kind, namespace_, &path, f);

        if (r)
                return r;
        w->controller = c;
        w->kind = kind;
        w->namespace_ = namespace_;
        opts.path = path.ptr;
        kube.component = components[kind];
        r = kube_curl_new(&kube, &opts.kube, f);
        return r ? r : informer_new(&opts, &w->informer, f);
}

/* ---- workers ---- */

/* How a pass ends: finish or retry, and the result for the metrics. */
static enum meters_result finish(struct controller *c, const char *key,
                                 const struct pass_result *result) {
        switch (result->requeue) {
        case REQUEUE_NEVER:
                work_queue_finish(c->queue, key, -1);
                return METERS_SUCCESS;
        case REQUEUE_NOW:
                work_queue_finish(c->queue, key, 0);
                return METERS_REQUEUE;
        case REQUEUE_BACKOFF:
                break;
        case REQUEUE_SECRET:
                work_queue_finish(c->queue, key, result->after_ms);
                return METERS_REQUEUE_AFTER;
        case REQUEUE_SLOW:
                work_queue_finish(c->queue, key, CONTROLLER_SLOW_MS);
                return METERS_REQUEUE_AFTER;
        case REQUEUE_PODLESS:
                work_queue_finish(c->queue, key, CONTROLLER_PODLESS_MS);
                return METERS_REQUEUE_AFTER;
        }
        (void)work_queue_retry(c->queue, key, c->opts.random->u32(c->opts.random->ctx));
        return METERS_REQUEUE;
}

/* Every failing pass is worth a line, but not hundreds of them when the API server is down. */
static void log_failure(struct controller *c, const struct fault *f, int64_t delay_ms) {
        int64_t suppressed = 0;
        bool pass = log_limit_pass(&c->failures, CONTROLLER_LOG_MS, &suppressed);

        log_write(pass ? LOG_ERROR : LOG_DEBUG, "the pass failed and will be repeated",
                  (const struct log_field[]){ LOG_STR("error", f->text),
                                              LOG_STR("kind", fault_kind_name(f->kind)),
                                              LOG_INT("retryAfterMs", delay_ms),
                                              LOG_INT("suppressed", suppressed), LOG_END });
}

/* What stays wrong until somebody edits the object is looked at again seldom, in case it was the
 * CRD or an admission webhook. */
static enum meters_result fail(struct controller *c, const char *key, int r, int64_t took_us,
                               const struct fault *f) {
        struct meters *m = c->opts.meters;
        int64_t delay_ms = CONTROLLER_SLOW_MS;

        if (r == -FAULT_INVALID) {
                series_add(m->terminal_errors, 1);
                work_queue_finish(c->queue, key, delay_ms);
        } else {
                delay_ms =
                        work_queue_retry(c->queue, key, c->opts.random->u32(c->opts.random->ctx));
        }
        if (took_us >= CONTROLLER_PASS_MS * INT64_C(1000))
                series_add(m->timeouts, 1);
        series_add(m->reconcile_errors, 1);
        log_failure(c, f, delay_ms);
        return METERS_ERROR;
}

static void on_event(void *ctx, const struct event *event) {
        struct controller *c = ctx;

        event_sender_add(c->events, event);
}

static void on_outcome(void *ctx, int run_result, double duration_s) {
        struct controller *c = ctx;

        meters_migration(c->opts.meters, run_result, duration_s);
}

static void work(struct worker *w, const char *key) {
        struct controller *c = w->controller;
        struct meters *m = c->opts.meters;
        const struct pass_deps deps = {
                .kube = &w->kube,
                .clock = c->opts.clock,
                .cache = c->cache,
                .secrets = c->secrets,
                .random = c->opts.random,
                .hooks = { .event = on_event, .outcome = on_outcome, .ctx = c },
                .timeout_ms = CONTROLLER_PASS_MS,
        };
        struct pass_result result = { .requeue = REQUEUE_NEVER };
        struct fault f = FAULT_INIT;
        int64_t start_us = clock_mono_us(c->opts.clock), took_us;
        enum meters_result outcome;
        int r;

        atomic_store(&w->busy_since_us, start_us);
        series_add(m->active_workers, 1);
        r = pass_run(&deps, key, &result, &f);
        took_us = clock_mono_us(c->opts.clock) - start_us;
        series_add(m->active_workers, -1);
        atomic_store(&w->busy_since_us, 0);
        outcome = r ? fail(c, key, r, took_us, &f) : finish(c, key, &result);
        series_add(m->reconciles[outcome], 1);
        series_observe(m->reconcile_seconds, (double)took_us / 1e6);
        series_observe(m->work_seconds, (double)took_us / 1e6);
}

/* Waits until every first list is complete and this process leads. Return: false when the
 * controller stops before. */
static bool await_work(struct controller *c) {
        pthread_mutex_lock(&c->mutex);
        while (!(controller_is_synced(c) && atomic_load(&c->leading)) && !atomic_load(&c->stopping))
                pthread_cond_wait(&c->changed, &c->mutex);
        pthread_mutex_unlock(&c->mutex);
        return !atomic_load(&c->stopping);
}

/* Eight hex digits are enough to find the lines of one pass. */
#define RECONCILE_ID_SIZE 9

static void *worker_main(void *ctx) {
        struct worker *w = ctx;
        struct controller *c = w->controller;

        if (!await_work(c))
                return NULL;
        for (;;) {
                int64_t waited_us;
                CLEANUP(free_p) char *key = work_queue_take(c->queue, &waited_us);
                if (!key)
                        return NULL;
                const char *slash = strchr(key, '/');
                CLEANUP(free_p) char *namespace_ = strndup(key, (size_t)(slash - key));
                char id[RECONCILE_ID_SIZE];
                struct log_field fields[] = {
                        LOG_STR("controller", METERS_CONTROLLER),
                        LOG_STR("controllerGroup", DBUPGRADE_GROUP),
                        LOG_STR("controllerKind", DBUPGRADE_KIND),
                        LOG_STR("namespace", namespace_),
                        LOG_STR("name", slash + 1),
                        LOG_STR("reconcileID", id),
                        LOG_END,
                };

                (void)snprintf(id, sizeof(id), "%08x", c->opts.random->u32(c->opts.random->ctx));
                log_context_set(fields);
                series_observe(c->opts.meters->queue_seconds, (double)waited_us / 1e6);
                work(w, key);
                log_context_set(NULL);
        }
}

/* ---- gauges ---- */

static void read_objects(struct controller *c) {
        struct meters *m = c->opts.meters;
        struct cache_counts counts;
        int64_t age_s;

        cache_count(c->cache, &counts);
        for (size_t i = 0; i < CACHE_KINDS; i++)
                series_set(m->cached[i], (double)counts.kinds[i]);
        for (size_t i = 0; i < PASS_STATES; i++)
                series_set(m->objects[i], (double)counts.states[i]);
        age_s = counts.oldest_run_s ? clock_wall_s(c->opts.clock) - counts.oldest_run_s : 0;
        series_set(m->oldest_run_seconds, age_s > 0 ? (double)age_s : 0);
}

static void read_queue(struct controller *c) {
        struct meters *m = c->opts.meters;
        const struct queue_stats stats = work_queue_read_stats(c->queue);
        int64_t now_us = clock_mono_us(c->opts.clock), sum_us = 0, longest_us = 0;

        for (size_t i = 0; i < QUEUE_PRIORITIES; i++)
                series_set(m->queue_depth[i], (double)stats.depth[i]);
        series_set(m->queue_adds, (double)stats.adds);
        series_set(m->queue_retries, (double)stats.retries);
        for (size_t i = 0; i < c->worker_count; i++) {
                int64_t since_us = atomic_load(&c->workers[i].busy_since_us);
                int64_t took_us = since_us ? now_us - since_us : 0;

                sum_us += took_us;
                longest_us = took_us > longest_us ? took_us : longest_us;
        }
        series_set(m->unfinished_seconds, (double)sum_us / 1e6);
        series_set(m->longest_seconds, (double)longest_us / 1e6);
}

/* Of several namespaces the sums, and the watch that has been silent for longest. */
static void read_watches(struct controller *c, enum cache_kind kind) {
        struct meters *m = c->opts.meters;
        int64_t now_ms = clock_mono_ms(c->opts.clock), silent_ms = 0;
        uint64_t events = 0, lists = 0, failures = 0;

        for (size_t i = 0; i < c->watch_count; i++) {
                struct informer_health health;

                if (c->watches[i].kind != kind)
                        continue;
                informer_read_health(c->watches[i].informer, &health);
                events += health.events;
                lists += health.lists;
                failures += health.failures;
                if (health.last_byte_ms && now_ms - health.last_byte_ms > silent_ms)
                        silent_ms = now_ms - health.last_byte_ms;
        }
        series_set(m->watch_events[kind], (double)events);
        series_set(m->watch_lists[kind], (double)lists);
        series_set(m->watch_failures[kind], (double)failures);
        series_set(m->watch_silence_seconds[kind], (double)silent_ms / 1000);
}

static void read_gauges(void *ctx) {
        struct controller *c = ctx;

        read_objects(c);
        read_queue(c);
        for (int kind = 0; kind < CACHE_KINDS; kind++)
                read_watches(c, (enum cache_kind)kind);
        series_set(c->opts.meters->events_waiting, (double)event_sender_waiting(c->events));
}

/* ---- the whole ---- */

static int add_events(struct controller *c, struct fault *f) {
        struct kube_curl_opts kube = c->opts.kube;
        struct event_sender_opts opts = {
                .reporter = { .controller = CONTROLLER_REPORTER,
                              .instance = c->opts.instance,
                              .field_manager = NAMES_FIELD_MANAGER },
                .max = CONTROLLER_EVENTS_MAX,
                .clock = c->opts.clock,
                .random = c->opts.random,
                .sent = c->opts.meters->events_sent,
                .dropped = c->opts.meters->events_dropped,
        };
        int r;

        kube.component = "events";
        r = kube_curl_new(&kube, &opts.kube, f);
        return r ? r : event_sender_new(&opts, &c->events, f);
}

static int add_watches(struct controller *c, struct fault *f) {
        static const char *const everywhere[] = { NULL };
        const char *const *namespaces = c->opts.namespaces ? c->opts.namespaces : everywhere;
        size_t count = 0;

        while (namespaces[count])
                count++;
        c->watches = calloc((count ? count : 1) * CACHE_KINDS, sizeof(*c->watches));
        if (!c->watches)
                return fault_set(f, FAULT_NOMEM, "out of memory");
        for (size_t i = 0; i == 0 || i < count; i++) {
                for (int kind = 0; kind < CACHE_KINDS; kind++) {
                        int r = watch_init(&c->watches[c->watch_count++], c, (enum cache_kind)kind,
                                           count ? namespaces[i] : NULL, f);

                        if (r)
                                return r;
                }
        }
        return 0;
}

static int add_workers(struct controller *c, struct fault *f) {
        c->workers = calloc((size_t)c->opts.workers, sizeof(*c->workers));
        if (!c->workers)
                return fault_set(f, FAULT_NOMEM, "out of memory");
        for (int64_t i = 0; i < c->opts.workers; i++) {
                struct kube_curl_opts kube = c->opts.kube;
                struct worker *w = &c->workers[c->worker_count++];
                int r;

                w->controller = c;
                kube.component = "controller";
                r = kube_curl_new(&kube, &w->kube, f);
                if (r)
                        return r;
        }
        return 0;
}

int controller_new(const struct controller_opts *opts, struct controller **ret_controller,
                   struct fault *f) {
        CLEANUP(controller_free_p) struct controller *c = calloc(1, sizeof(*c));
        int r;

        if (!c)
                return fault_set(f, FAULT_NOMEM, "out of memory");
        c->opts = *opts;
        atomic_init(&c->leading, !opts->elected);
        pthread_mutex_init(&c->mutex, NULL);
        pthread_cond_init(&c->changed, NULL);
        c->cache = cache_new(opts->clock);
        c->secrets = secrets_new();
        if (!c->cache || !c->secrets)
                return fault_set(f, FAULT_NOMEM, "out of memory");
        r = work_queue_new(opts->clock, &c->queue, f);
        if (!r)
                r = add_events(c, f);
        if (!r)
                r = add_watches(c, f);
        if (!r)
                r = add_workers(c, f);
        if (!r && metrics_on_write(opts->meters->metrics, read_gauges, c))
                r = fault_set(f, FAULT_NOMEM, "too many gauges");
        if (r)
                return r;
        *ret_controller = TAKE(c);
        return 0;
}

int controller_start(struct controller *c, struct fault *f) {
        int error = 0;

        for (size_t i = 0; i < c->watch_count && !error; i++) {
                error = pthread_create(&c->watches[i].thread, NULL, watch_main, &c->watches[i]);
                c->watches[i].started = !error;
        }
        for (size_t i = 0; i < c->worker_count && !error; i++) {
                error = pthread_create(&c->workers[i].thread, NULL, worker_main, &c->workers[i]);
                c->workers[i].started = !error;
        }
        return error ? fault_set_errno(f, FAULT_IO, error, "start a thread")
                     : event_sender_start(c->events, f);
}

void controller_lead(struct controller *c) {
        atomic_store(&c->leading, true);
        tell_workers(c);
}

bool controller_is_synced(struct controller *c) {
        for (size_t i = 0; i < c->watch_count; i++)
                if (!atomic_load(&c->watches[i].synced))
                        return false;
        return true;
}

int controller_check_synced(void *controller, struct fault *f) {
        if (!controller_is_synced(controller))
                return fault_set(f, FAULT_IO, "the first lists are not complete");
        return 0;
}

static int check_watch(const struct watch_thread *w, int64_t now_ms, struct fault *f) {
        struct informer_health health;

        informer_read_health(w->informer, &health);
        if (health.last_turn_ms && now_ms - health.last_turn_ms > CONTROLLER_WATCH_HUNG_MS)
                return fault_set(f, FAULT_BUG, "a watch has not moved for %lld s",
                                 (long long)(now_ms - health.last_turn_ms) / 1000);
        return 0;
}

int controller_check_alive(void *controller, struct fault *f) {
        struct controller *c = controller;
        int64_t now_ms = clock_mono_ms(c->opts.clock);
        int r = event_sender_check(c->events, f);

        for (size_t i = 0; i < c->watch_count && !r; i++)
                r = check_watch(&c->watches[i], now_ms, f);
        for (size_t i = 0; i < c->worker_count && !r; i++) {
                int64_t since_ms = atomic_load(&c->workers[i].busy_since_us) / 1000;

                if (since_ms && now_ms - since_ms > CONTROLLER_HUNG_MS)
                        r = fault_set(f, FAULT_BUG, "a worker has been in one pass for %lld s",
                                      (long long)(now_ms - since_ms) / 1000);
        }
        return r;
}

/* Waits for a thread until the time of CLOCK_MONOTONIC. */
static bool join_until(pthread_t thread, int64_t until_ms) {
        const struct timespec until = { .tv_sec = until_ms / 1000,
                                        .tv_nsec = until_ms % 1000 * 1000000 };

        return pthread_clockjoin_np(thread, NULL, CLOCK_MONOTONIC, &until) == 0;
}

/* A pass that an API server holds up is cut off: it can end anywhere, as by a kill, and the next
 * leader need not wait for a Lease that nobody gave back. */
static void stop_workers(struct controller *c) {
        int64_t until_ms = clock_mono_ms(clock_system()) + CONTROLLER_FINISH_MS;

        for (size_t i = 0; i < c->worker_count; i++) {
                struct worker *w = &c->workers[i];

                if (w->started && !join_until(w->thread, until_ms)) {
                        kube_interrupt(&w->kube);
                        pthread_join(w->thread, NULL);
                }
                w->started = false;
        }
}

void controller_stop(struct controller *c) {
        atomic_store(&c->stopping, true);
        tell_workers(c);
        work_queue_stop(c->queue);
        for (size_t i = 0; i < c->watch_count; i++) {
                if (!c->watches[i].started)
                        continue;
                informer_stop(c->watches[i].informer);
                pthread_join(c->watches[i].thread, NULL);
                c->watches[i].started = false;
        }
        stop_workers(c);
        event_sender_stop(c->events, CONTROLLER_FLUSH_MS);
}

void controller_free(struct controller *c) {
        if (!c)
                return;
        for (size_t i = 0; i < c->watch_count; i++)
                informer_free(c->watches[i].informer);
        for (size_t i = 0; i < c->worker_count; i++)
                kube_close(&c->workers[i].kube);
        event_sender_free(c->events);
        free(c->watches);
        free(c->workers);
        work_queue_free(c->queue);
        secrets_free(c->secrets);
        cache_free(c->cache);
        pthread_cond_destroy(&c->changed);
        pthread_mutex_destroy(&c->mutex);
        free(c);
}
