/* SPDX-License-Identifier: Apache-2.0 */
/* A wait that another thread can end for good. */
#pragma once

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "common/base/cleanup.h"

struct stopper {
        pthread_mutex_t mutex;
        pthread_cond_t wake; /* on the monotonic clock */
        bool stopped;
};

/* Return: 0, or an errno value: nothing to release then. */
int stopper_init(struct stopper *s) MUST_CHECK;
void stopper_done(struct stopper *s);

/* From any thread, any number of times. */
void stopper_stop(struct stopper *s);

/* Waits for ms (0: not at all) or stopper_stop. Return: whether it has been stopped. */
bool stopper_wait(struct stopper *s, int64_t ms);
