/* SPDX-License-Identifier: Apache-2.0 */
#include "certs/keeper_loop.h"

#include <pthread.h>
#include <stdbool.h>
#include <time.h>

#include "common/base/fault.h"
#include "common/base/log.h"
#include "common/kube/kube.h"

#define KEEPER_RETRY_FIRST_MS 500
#define KEEPER_RETRY_LAST_MS  30000

struct keeper_loop {
        struct keeper_opts opts;
        pthread_mutex_t mutex;
        pthread_cond_t changed; /* on CLOCK_MONOTONIC */
        bool stopping;
        pthread_t thread;
};

/* Return: whether to go on. */
static bool sleep_ms(struct keeper_loop *loop, int64_t ms) {
        struct timespec until;
        bool go_on;

        clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_sec += (time_t)(ms / 1000);
        until.tv_nsec += (long)(ms % 1000) * 1000000;
        if (until.tv_nsec >= 1000000000) {
                until.tv_sec++;
                until.tv_nsec -= 1000000000;
        }
        pthread_mutex_lock(&loop->mutex);
        while (!loop->stopping)
                if (pthread_cond_timedwait(&loop->changed, &loop->mutex, &until))
                        break;
        go_on = !loop->stopping;
        pthread_mutex_unlock(&loop->mutex);
        return go_on;
}

static void *keeper_main(void *ctx) {
        struct keeper_loop *loop = ctx;
        int64_t retry_ms = KEEPER_RETRY_FIRST_MS;
        int64_t again_ms = 0;

        while (sleep_ms(loop, again_ms)) {
                struct fault f = FAULT_INIT;

                if (keeper_pass(&loop->opts, &again_ms, &f) == 0) {
                        retry_ms = KEEPER_RETRY_FIRST_MS;
                        continue;
                }
                log_error("the webhook's certificates cannot be kept", LOG_STR("error", f.text),
                          LOG_INT("retryAfterMs", retry_ms));
                again_ms = retry_ms;
                retry_ms =
                        retry_ms * 2 < KEEPER_RETRY_LAST_MS ? retry_ms * 2 : KEEPER_RETRY_LAST_MS;
        }
        return NULL;
}

int keeper_loop_start(const struct keeper_opts *opts, struct keeper_loop **ret_loop,
                      struct fault *f) {
        CLEANUP(free_p) struct keeper_loop *loop = calloc(1, sizeof(*loop));
        pthread_condattr_t attributes;
        int error;

        if (!loop)
                return fault_set(f, FAULT_NOMEM, "out of memory");
        loop->opts = *opts;
        pthread_mutex_init(&loop->mutex, NULL);
        pthread_condattr_init(&attributes);
        pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
        pthread_cond_init(&loop->changed, &attributes);
        pthread_condattr_destroy(&attributes);
        error = pthread_create(&loop->thread, NULL, keeper_main, loop);
        if (error)
                return fault_set_errno(f, FAULT_IO, error, "start a thread");
        *ret_loop = TAKE(loop);
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
        pthread_join(loop->thread, NULL);
        pthread_cond_destroy(&loop->changed);
        pthread_mutex_destroy(&loop->mutex);
        free(loop);
}
