/* SPDX-License-Identifier: Apache-2.0 */
/* The queue of keys to reconcile: each once, one worker a key at a time, in order.
 *
 * struct queue is the core: no locks, no clock; times are monotonic microseconds given by the
 * caller. struct work_queue wraps it for threads.
 *
 * A key added while it is being worked on is done once more afterwards. A delayed add keeps the
 * earliest time. Fresh keys go before keys of a first list (`low`).
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/cleanup.h"

struct clock;
struct fault;
struct queue;

/* Return: NULL when out of memory. */
struct queue *queue_new(void);
void queue_free(struct queue *q);
DEFINE_CLEANUP(struct queue *, queue_free)

enum queue_priority { QUEUE_FRESH, QUEUE_LOW };
#define QUEUE_PRIORITIES 2

/* Makes the key due at due_us (not after now_us: at once). The key is copied. Return: 0,
 * -FAULT_NOMEM. */
int queue_add(struct queue *q, const char *key, enum queue_priority priority, int64_t now_us,
              int64_t due_us, struct fault *f) MUST_CHECK;

/* Takes the next due key for a worker. Return: the key, valid until queue_done of it, and since
 * when it was due; or NULL, and *ret_us says when the next delayed one is due (INT64_MAX: none). */
const char *queue_next(struct queue *q, int64_t now_us, int64_t *ret_us);

/* The worker has finished with the key: one added meanwhile becomes due again. */
void queue_done(struct queue *q, const char *key, int64_t now_us);

/* The key being worked on has failed once more. Return: how long to wait before the next try: the
 * longer of its own queue_backoff_ms and what lets all keys together fail 10 times a second (100
 * times before that counts), so that a server in trouble is not kept there. */
int64_t queue_failed_ms(struct queue *q, const char *key, int64_t now_us, uint32_t random);
/* Forgets the failures of the key being worked on. */
void queue_forget(struct queue *q, const char *key);

struct queue_stats {
        size_t depth[QUEUE_PRIORITIES]; /* keys that are due and not taken */
        uint64_t adds;                  /* times that a key became due */
        uint64_t retries;               /* failures */
};
struct queue_stats queue_read_stats(const struct queue *q);

/* The delay after that many failures: 5 ms doubled each time, at most 5 minutes. random is any
 * number; it spreads the delay by up to a quarter. Pure. */
int64_t queue_backoff_ms(unsigned failures, uint32_t random);

/* The thread-safe wrapper. */
struct work_queue;

/* Return: 0, -FAULT_NOMEM. */
int work_queue_new(const struct clock *clock, struct work_queue **ret_queue, struct fault *f)
        MUST_CHECK;
void work_queue_free(struct work_queue *w);
DEFINE_CLEANUP(struct work_queue *, work_queue_free)

/* Out of memory makes the process fail loudly in the one place that can: a key is never lost in
 * silence. delay_ms 0: now. */
void work_queue_add(struct work_queue *w, const char *key, enum queue_priority priority,
                    int64_t delay_ms);

/* Blocks until a key is due. Return: a copy of the key, to be freed, and how long it has been due;
 * NULL after work_queue_stop. */
char *work_queue_take(struct work_queue *w, int64_t *ret_waited_us);

/* Ends the work on a key. again_ms < 0: nothing more is to be done, and failures are forgotten;
 * otherwise the key is due again then. */
void work_queue_finish(struct work_queue *w, const char *key, int64_t again_ms);

/* The same with the delay of a failure, queue_failed_ms. Return: the delay. */
int64_t work_queue_retry(struct work_queue *w, const char *key, uint32_t random);

struct queue_stats work_queue_read_stats(struct work_queue *w);

/* All takers return NULL from now on. */
void work_queue_stop(struct work_queue *w);
