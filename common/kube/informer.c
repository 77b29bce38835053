/* SPDX-License-Identifier: Apache-2.0 */
#include "common/kube/informer.h"

#include <pthread.h>
#include <string.h>

#include "common/base/clock.h"
#include "common/base/fault.h"
#include "common/base/log.h"
#include "common/base/random.h"
#include "common/kube/stopper.h"
#include "common/kube/watch.h"

/* After a failed allocation. */
#define NOMEM_WAIT_MS 1000

struct informer {
        struct kube kube;
        char *path, *label_selector, *field_selector;
        struct informer_handler handler;
        const struct clock *clock;
        const struct random *random;
        struct watch watch; /* of the thread of informer_run */
        struct log_limit log_limit;

        struct stopper stopper;
        pthread_mutex_t mutex; /* of health */
        struct informer_health health;
};

static int init_locks(struct informer *in) {
        int r = stopper_init(&in->stopper);

        if (r)
                return r;
        r = pthread_mutex_init(&in->mutex, NULL);
        if (r)
                stopper_done(&in->stopper);
        return r;
}

int informer_new(struct informer_opts *opts, struct informer **ret_informer, struct fault *f) {
        struct informer *in = calloc(1, sizeof(*in));

        if (!in || init_locks(in)) {
                free(in);
                kube_close(&opts->kube);
                return fault_set(f, FAULT_NOMEM, "out of memory");
        }
        in->kube = opts->kube;
        opts->kube = (struct kube){ 0 };
        in->path = strdup(opts->path);
        in->label_selector = opts->label_selector ? strdup(opts->label_selector) : NULL;
        in->field_selector = opts->field_selector ? strdup(opts->field_selector) : NULL;
        in->handler = opts->handler;
        in->clock = opts->clock;
        in->random = opts->random;
        watch_init(&in->watch, &in->handler, in->label_selector, in->field_selector,
                   opts->consistent);
        if (!in->path || (opts->label_selector && !in->label_selector) ||
            (opts->field_selector && !in->field_selector)) {
                informer_free(in);
                return fault_set(f, FAULT_NOMEM, "out of memory");
        }
        *ret_informer = in;
        return 0;
}

void informer_free(struct informer *in) {
        if (!in)
                return;
        kube_close(&in->kube);
        watch_done(&in->watch);
        stopper_done(&in->stopper);
        (void)pthread_mutex_destroy(&in->mutex);
        free(in->path);
        free(in->label_selector);
        free(in->field_selector);
        free(in);
}

void informer_stop(struct informer *in) {
        stopper_stop(&in->stopper);
        kube_interrupt(&in->kube);
}

/* heard: the server has just said something. */
static void note_health(struct informer *in, bool heard) {
        const struct watch *w = &in->watch;
        struct informer_health *health = &in->health;
        int64_t now_ms = clock_mono_ms(in->clock);

        (void)pthread_mutex_lock(&in->mutex);
        health->synced = w->listed;
        health->lists = w->lists;
        health->watches = w->watches;
        health->events = w->events;
        health->failures = w->failures;
        health->last_turn_ms = now_ms;
        if (heard)
                health->last_byte_ms = now_ms;
        (void)pthread_mutex_unlock(&in->mutex);
}

void informer_read_health(struct informer *in, struct informer_health *ret_health) {
        (void)pthread_mutex_lock(&in->mutex);
        *ret_health = in->health;
        (void)pthread_mutex_unlock(&in->mutex);
}

static int on_bytes(void *ctx, const char *bytes, size_t len, struct fault *f) {
        struct informer *in = ctx;
        int r = watch_feed(&in->watch, bytes, len, f);

        note_health(in, true);
        return r;
}

/* Sends what the machine asks for and feeds it the answer. */
static int informer_send(struct informer *in, const struct watch_step *step,
                         struct kube_response *response, struct fault *f) {
        const struct kube_request request = {
                .method = KUBE_GET,
                .path = in->path,
                .query = step->query,
                .timeout_ms = step->timeout_ms,
                .max_response = step->max_response,
        };
        int r;

        if (step->action == WATCH_STREAM)
                return kube_stream(&in->kube, &request, step->idle_timeout_ms, on_bytes, in,
                                   response, f);
        r = kube_request(&in->kube, &request, response, f);
        return r ? r : watch_page(&in->watch, response->body.ptr, response->body.len, f);
}

static void informer_log(struct informer *in, const struct fault *f) {
        int64_t suppressed = 0;

        if (log_limit_pass(&in->log_limit, 60000, &suppressed))
                log_warning("watching failed, will try again", LOG_STR("path", in->path),
                            LOG_STR("error", f->text[0] ? f->text : "the stream ended at once"),
                            LOG_INT("suppressed", suppressed));
}

static void informer_step(struct informer *in) {
        CLEANUP(kube_response_done) struct kube_response response = KUBE_RESPONSE_INIT;
        struct fault f = FAULT_INIT;
        struct watch_step step;
        int r = watch_next(&in->watch, clock_mono_ms(in->clock), in->random->u32(in->random->ctx),
                           &step, &f);

        note_health(in, false);
        if (r || step.action == WATCH_WAIT) {
                (void)stopper_wait(&in->stopper, r ? NOMEM_WAIT_MS : step.wait_ms);
                return;
        }
        r = informer_send(in, &step, &response, &f);
        if (watch_end(&in->watch, clock_mono_ms(in->clock), in->random->u32(in->random->ctx), r,
                      &response))
                informer_log(in, &f);
        note_health(in, response.http != 0);
}

void informer_run(struct informer *in) {
        while (!stopper_wait(&in->stopper, 0))
                informer_step(in);
}
