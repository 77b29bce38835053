/* SPDX-License-Identifier: Apache-2.0 */
#include "common/kube/event_sender.h"

#include <pthread.h>
#include <stdatomic.h>
#include <time.h>

#include "common/base/clock.h"
#include "common/base/fault.h"
#include "common/base/log.h"
#include "common/base/metrics.h"
#include "common/base/random.h"
#include "common/kube/event_queue.h"

#define TIMEOUT_MS    10000
#define HUNG_MS       60000
#define LOG_PERIOD_MS 60000

struct event_sender {
        struct event_sender_opts opts;
        struct log_limit log_limit;
        pthread_mutex_t mutex;  /* of what follows, down to `ended` */
        pthread_cond_t changed; /* on the monotonic clock */
        struct event_queue *queue;
        bool stopping;
        int64_t end_ms; /* once stopping: until when to send */
        bool ended;
        _Atomic int64_t busy_since_ms; /* monotonic; 0: not in a request */
        pthread_t thread;
        bool started;
};

static int init_locks(struct event_sender *s) {
        pthread_condattr_t attributes;
        int error = pthread_mutex_init(&s->mutex, NULL);

        if (error)
                return error;
        (void)pthread_condattr_init(&attributes);
        (void)pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
        error = pthread_cond_init(&s->changed, &attributes);
        (void)pthread_condattr_destroy(&attributes);
        if (error)
                (void)pthread_mutex_destroy(&s->mutex);
        return error;
}

int event_sender_new(struct event_sender_opts *opts, struct event_sender **ret_sender,
                     struct fault *f) {
        struct event_sender *s = calloc(1, sizeof(*s));
        struct event_queue *queue = event_queue_new(opts->max);

        if (!s || !queue || init_locks(s)) {
                free(s);
                event_queue_free(queue);
                kube_close(&opts->kube);
                return fault_set(f, FAULT_NOMEM, "out of memory");
        }
        s->opts = *opts;
        s->queue = queue;
        opts->kube = (struct kube){ 0 };
        *ret_sender = s;
        return 0;
}

void event_sender_free(struct event_sender *s) {
        if (!s)
                return;
        event_sender_stop(s, 0);
        event_queue_free(s->queue);
        kube_close(&s->opts.kube);
        (void)pthread_cond_destroy(&s->changed);
        (void)pthread_mutex_destroy(&s->mutex);
        free(s);
}

static int64_t now_ms(const struct event_sender *s) {
        return clock_mono_ms(s->opts.clock);
}

static void tell_dropped(struct event_sender *s, const char *reason, const char *why) {
        int64_t suppressed;

        series_add(s->opts.dropped, 1);
        if (log_limit_pass(&s->log_limit, LOG_PERIOD_MS, &suppressed))
                log_warning("an event was dropped", LOG_STR("reason", reason),
                            LOG_STR("error", why), LOG_INT("suppressed", suppressed));
}

void event_sender_add(struct event_sender *s, const struct event *event) {
        int64_t wall_us = clock_wall_us(s->opts.clock);
        enum event_taken taken;

        pthread_mutex_lock(&s->mutex);
        taken = event_queue_add(s->queue, event, wall_us, now_ms(s));
        pthread_cond_broadcast(&s->changed);
        pthread_mutex_unlock(&s->mutex);
        if (taken == EVENT_DROPPED)
                tell_dropped(s, event->reason, "too many events wait to be sent");
}

size_t event_sender_waiting(struct event_sender *s) {
        size_t waiting;

        pthread_mutex_lock(&s->mutex);
        waiting = event_queue_waiting(s->queue);
        pthread_mutex_unlock(&s->mutex);
        return waiting;
}

/* Waits for a change, or until that time. The mutex is held. */
static void wait_until(struct event_sender *s, int64_t until_ms) {
        const struct timespec t = { .tv_sec = (time_t)(until_ms / 1000),
                                    .tv_nsec = (long)(until_ms % 1000) * 1000000 };

        if (until_ms == INT64_MAX)
                (void)pthread_cond_wait(&s->changed, &s->mutex);
        else
                (void)pthread_cond_timedwait(&s->changed, &s->mutex, &t);
}

/* Waits for something to send. The mutex is held. Return: false when the thread is to end. */
static bool await_task(struct event_sender *s, struct event_task *ret_task) {
        int64_t next_ms;

        while (!event_queue_next(s->queue, now_ms(s), ret_task, &next_ms)) {
                if (s->stopping && next_ms >= s->end_ms)
                        return false;
                wait_until(s, next_ms);
        }
        if (!s->stopping || now_ms(s) < s->end_ms)
                return true;
        (void)event_queue_done(s->queue, now_ms(s), 0, EVENT_LATER);
        return false;
}

static enum event_result result_of(int r) {
        switch (r) {
        case 0:
                return EVENT_SENT;
        case EVENT_E_GONE:
                return EVENT_GONE;
        case EVENT_E_LATER:
                return EVENT_LATER;
        default:
                return EVENT_REFUSED;
        }
}

/* The mutex is held, but for the request. */
static void send(struct event_sender *s, const struct event_task *task) {
        const struct random *random = s->opts.random;
        int64_t timeout_ms = TIMEOUT_MS;
        struct fault f = FAULT_INIT;
        const char *reason = task->event->reason;
        char lost[64]; /* a reason; the event may be gone when it is told of */
        bool dropped;
        int r;

        (void)snprintf(lost, sizeof(lost), "%s", reason);
        if (s->stopping && s->end_ms - now_ms(s) < timeout_ms)
                timeout_ms = s->end_ms - now_ms(s);
        pthread_mutex_unlock(&s->mutex);
        atomic_store(&s->busy_since_ms, now_ms(s));
        r = event_send(&s->opts.kube, task->event, &s->opts.reporter, &task->when, task->patch,
                       timeout_ms > 0 ? timeout_ms : 1, &f);
        atomic_store(&s->busy_since_ms, 0);
        pthread_mutex_lock(&s->mutex);
        dropped = event_queue_done(s->queue, now_ms(s), random->u32(random->ctx), result_of(r));
        if (r == 0)
                series_add(s->opts.sent, 1);
        if (dropped)
                tell_dropped(s, lost, f.text);
}

static void *sender_main(void *ctx) {
        struct event_sender *s = ctx;
        struct event_task task;

        pthread_mutex_lock(&s->mutex);
        while (await_task(s, &task))
                send(s, &task);
        s->ended = true;
        pthread_cond_broadcast(&s->changed);
        pthread_mutex_unlock(&s->mutex);
        return NULL;
}

int event_sender_start(struct event_sender *s, struct fault *f) {
        int error = pthread_create(&s->thread, NULL, sender_main, s);

        if (error)
                return fault_set_errno(f, FAULT_IO, error, "start a thread");
        s->started = true;
        return 0;
}

void event_sender_stop(struct event_sender *s, int64_t flush_ms) {
        size_t left;

        if (!s->started)
                return;
        pthread_mutex_lock(&s->mutex);
        s->stopping = true;
        s->end_ms = now_ms(s) + flush_ms;
        event_queue_hurry(s->queue);
        pthread_cond_broadcast(&s->changed);
        while (!s->ended && now_ms(s) < s->end_ms)
                wait_until(s, s->end_ms);
        left = event_queue_waiting(s->queue);
        pthread_mutex_unlock(&s->mutex);
        kube_interrupt(&s->opts.kube);
        pthread_join(s->thread, NULL);
        s->started = false;
        series_add(s->opts.dropped, (double)left);
        if (left > 0)
                log_warning("events were not sent before the end", LOG_INT("count", (int64_t)left));
}

int event_sender_check(void *sender, struct fault *f) {
        struct event_sender *s = sender;
        int64_t since_ms = atomic_load(&s->busy_since_ms);
        int64_t busy_ms = since_ms ? now_ms(s) - since_ms : 0;

        if (busy_ms > HUNG_MS)
                return fault_set(f, FAULT_BUG, "an event has been under way for %lld s",
                                 (long long)busy_ms / 1000);
        return 0;
}
