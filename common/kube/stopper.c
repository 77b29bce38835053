/* SPDX-License-Identifier: Apache-2.0 */
#include "common/kube/stopper.h"

#include <time.h>

int stopper_init(struct stopper *s) {
        pthread_condattr_t attr;
        int r = pthread_condattr_init(&attr);

        if (r)
                return r;
        s->stopped = false;
        r = pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
        if (!r)
                r = pthread_cond_init(&s->wake, &attr);
        (void)pthread_condattr_destroy(&attr);
        if (r)
                return r;
        r = pthread_mutex_init(&s->mutex, NULL);
        if (r)
                (void)pthread_cond_destroy(&s->wake);
        return r;
}

void stopper_done(struct stopper *s) {
        (void)pthread_cond_destroy(&s->wake);
        (void)pthread_mutex_destroy(&s->mutex);
}

void stopper_stop(struct stopper *s) {
        (void)pthread_mutex_lock(&s->mutex);
        s->stopped = true;
        (void)pthread_cond_signal(&s->wake);
        (void)pthread_mutex_unlock(&s->mutex);
}

bool stopper_wait(struct stopper *s, int64_t ms) {
        struct timespec end;
        bool stopped;
        int r = 0;

        (void)clock_gettime(CLOCK_MONOTONIC, &end);
        end.tv_sec += (time_t)(ms / 1000);
        end.tv_nsec += (long)(ms % 1000) * 1000000;
        if (end.tv_nsec >= 1000000000) {
                end.tv_sec++;
                end.tv_nsec -= 1000000000;
        }
        (void)pthread_mutex_lock(&s->mutex);
        while (!s->stopped && r == 0)
                r = pthread_cond_timedwait(&s->wake, &s->mutex, &end);
        stopped = s->stopped;
        (void)pthread_mutex_unlock(&s->mutex);
        return stopped;
}
