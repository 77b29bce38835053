/* SPDX-License-Identifier: Apache-2.0 */
#include "certs/keeper_loop.h"

#include <pthread.h>
#include <stdbool.h>
#include <time.h>

#include "common/base/clock.h"
#include "common/base/fault.h"
#include "common/base/log.h"
#include "common/base/strbuf.h"
#include "common/kube/informer.h"

#define KEEPER_RETRY_FIRST_MS 500
#define KEEPER_RETRY_LAST_MS  30000

/* Between two passes that changes ask for: somebody who takes back every repair is not answered
 * more often. */
#define KEEPER_SPACING_MS 500

/* All there is to do, done in a row, is six. After more, somebody undoes each as it is made. */
#define KEEPER_STEPS_MAX 8

struct keeper_watch {
        struct informer *informer;
        pthread_t thread;
        bool started;
};

struct keeper_loop {
        struct keeper_opts opts;
        _Atomic int64_t *busy_since_ms;
        struct keeper_watch watches[RENEW_CONFIGURATIONS];
        pthread_mutex_t mutex;
        pthread_cond_t changed; /* on CLOCK_MONOTONIC */
        bool stopping, dirty;
        pthread_t thread;
        bool started;
        unsigned steps; /* of the thread: taken since it last waited */
};

/* ---- the watches ---- */

static void mark_dirty(struct keeper_loop *loop) {
        pthread_mutex_lock(&loop->mutex);
        loop->dirty = true;
        pthread_cond_broadcast(&loop->changed);
        pthread_mutex_unlock(&loop->mutex);
}

/* What it is now, the pass reads: what has changed does not matter. */
static int on_upsert(void *ctx, const char *json, size_t len, struct fault *f) {
        (void)json;
        (void)len;
        (void)f;
        mark_dirty(ctx);
        return 0;
}

static void on_remove(void *ctx, const char *json, size_t len) {
        (void)json;
        (void)len;
        mark_dirty(ctx);
}

static void on_list(void *ctx) {
        (void)ctx;
}

static void *watch_main(void *ctx) {
        informer_run(ctx);
        return NULL;
}

static int watch_start(struct keeper_loop *loop, int which, struct keeper_loop_opts *from,
                       struct fault *f) {
        struct keeper_watch *w = &loop->watches[which];
        CLEANUP(strbuf_done) struct strbuf selector = STRBUF_INIT(512); /* a name has at most 253 */
        struct informer_opts opts = {
                .kube = from->watches[which],
                .path = keeper_collection(which),
                .consistent = true,
                .handler = { loop, on_upsert, on_remove, on_list, on_list },
                .clock = from->keeper.clock,
                .random = from->random,
        };
        int error;
        int r;

        from->watches[which] = (struct kube){ 0 };
        strbuf_printf(&selector, "metadata.name=%s", from->keeper.configurations[which]);
        opts.field_selector = strbuf_text(&selector);
        r = informer_new(&opts, &w->informer, f);
        if (r)
                return r;
        error = pthread_create(&w->thread, NULL, watch_main, w->informer);
        w->started = !error;
        return error ? fault_set_errno(f, FAULT_IO, error, "start a thread") : 0;
}

static void watch_stop(struct keeper_watch *w) {
        if (w->started) {
                informer_stop(w->informer);
                pthread_join(w->thread, NULL);
        }
        informer_free(w->informer);
}

/* ---- the keeper ---- */

static int64_t now_ms(const struct keeper_loop *loop) {
        return clock_mono_ms(loop->opts.clock);
}

static void wait_until(struct keeper_loop *loop, int64_t ms) {
        const struct timespec until = { .tv_sec = (time_t)(ms / 1000),
                                        .tv_nsec = (long)(ms % 1000) * 1000000 };

        (void)pthread_cond_timedwait(&loop->changed, &loop->mutex, &until);
}

/* Waits until a pass is due, or sooner for a change. Return: whether to go on. */
static bool await_turn(struct keeper_loop *loop, int64_t last_ms, int64_t due_ms) {
        bool go_on;

        pthread_mutex_lock(&loop->mutex);
        for (;;) {
                int64_t turn_ms = due_ms;

                if (loop->dirty && last_ms + KEEPER_SPACING_MS < turn_ms)
                        turn_ms = last_ms + KEEPER_SPACING_MS;
                if (loop->stopping || now_ms(loop) >= turn_ms)
                        break;
                wait_until(loop, turn_ms);
        }
        loop->dirty = false;
        go_on = !loop->stopping;
        pthread_mutex_unlock(&loop->mutex);
        return go_on;
}

/* One pass. Return: when the next one is due. */
static int64_t pass(struct keeper_loop *loop, int64_t *retry_ms) {
        struct fault f = FAULT_INIT;
        int64_t again_ms;
        int r = keeper_pass(&loop->opts, &again_ms, &f);

        if (r == 0) {
                *retry_ms = KEEPER_RETRY_FIRST_MS;
                loop->steps = again_ms ? 0 : loop->steps + 1;
                if (loop->steps <= KEEPER_STEPS_MAX)
                        return now_ms(loop) + again_ms;
                loop->steps = 0;
                log_warning("what is written for the webhook's certificates does not stay");
                return now_ms(loop) + KEEPER_RETRY_LAST_MS;
        }
        again_ms = *retry_ms;
        *retry_ms = *retry_ms * 2 < KEEPER_RETRY_LAST_MS ? *retry_ms * 2 : KEEPER_RETRY_LAST_MS;
        log_write(r == KEEPER_E_RACED ? LOG_DEBUG : LOG_ERROR,
                  "the webhook's certificates cannot be kept",
                  (const struct log_field[]){ LOG_STR("error", f.text),
                                              LOG_INT("retryAfterMs", again_ms), LOG_END });
        return now_ms(loop) + again_ms;
}

static void *keeper_main(void *ctx) {
        struct keeper_loop *loop = ctx;
        int64_t retry_ms = KEEPER_RETRY_FIRST_MS;
        int64_t last_ms = now_ms(loop);
        int64_t due_ms = last_ms;

        while (await_turn(loop, last_ms, due_ms)) {
                last_ms = now_ms(loop);
                atomic_store(loop->busy_since_ms, last_ms);
                due_ms = pass(loop, &retry_ms);
                atomic_store(loop->busy_since_ms, 0);
        }
        return NULL;
}

static int init_locks(struct keeper_loop *loop) {
        pthread_condattr_t attributes;
        int error = pthread_mutex_init(&loop->mutex, NULL);

        if (error)
                return error;
        pthread_condattr_init(&attributes);
        pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
        error = pthread_cond_init(&loop->changed, &attributes);
        pthread_condattr_destroy(&attributes);
        if (error)
                pthread_mutex_destroy(&loop->mutex);
        return error;
}

static void close_watches(struct keeper_loop_opts *opts) {
        for (int i = 0; i < RENEW_CONFIGURATIONS; i++)
                kube_close(&opts->watches[i]);
}

int keeper_loop_start(struct keeper_loop_opts *opts, struct keeper_loop **ret_loop,
                      struct fault *f) {
        struct keeper_loop *loop = calloc(1, sizeof(*loop));
        int error;
        int r = 0;

        if (!loop || init_locks(loop)) {
                free(loop);
                close_watches(opts);
                return fault_set(f, FAULT_NOMEM, "out of memory");
        }
        loop->opts = opts->keeper;
        loop->busy_since_ms = opts->busy_since_ms;
        for (int i = 0; i < RENEW_CONFIGURATIONS && !r; i++)
                r = watch_start(loop, i, opts, f);
        if (!r) {
                error = pthread_create(&loop->thread, NULL, keeper_main, loop);
                loop->started = !error;
                r = error ? fault_set_errno(f, FAULT_IO, error, "start a thread") : 0;
        }
        if (r) {
                keeper_loop_stop(loop);
                close_watches(opts);
                return r;
        }
        *ret_loop = loop;
        return 0;
}

void keeper_loop_stop(struct keeper_loop *loop) {
        if (!loop)
                return;
        pthread_mutex_lock(&loop->mutex);
        loop->stopping = true;
        pthread_cond_broadcast(&loop->changed);
        pthread_mutex_unlock(&loop->mutex);
        kube_interrupt(loop->opts.kube);
        if (loop->started)
                pthread_join(loop->thread, NULL);
        for (int i = 0; i < RENEW_CONFIGURATIONS; i++)
                watch_stop(&loop->watches[i]);
        pthread_cond_destroy(&loop->changed);
        pthread_mutex_destroy(&loop->mutex);
        free(loop);
}
