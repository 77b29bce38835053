/* SPDX-License-Identifier: Apache-2.0 */
/* Events that wait to be sent: bounded, in order, repeats folded into series.
 *
 * The core of common/kube/event_sender.h: no I/O, no threads, no clock. Times are monotonic
 * milliseconds, but for wall_us, which readers of the event will see.
 *
 * An event has a key that says which occurrence it is. The same key again is the same occurrence,
 * told twice: nothing happens. Another key is another occurrence with an event of its own, unless
 * the event `repeats`: then one with the same object, reason, action, type and note within 6
 * minutes of the last one counts up the series of the first (events.k8s.io: series.count,
 * lastObservedTime), which is sent at once and then once a minute.
 *
 *     while (event_queue_next(q, now, &task, &next))    send task (POST or PATCH)
 *             event_queue_done(q, now, random, result)  … how that went
 *
 * What nobody could take is tried again, first, after 1, 2, 4, … 30 s; meanwhile nothing else is
 * sent, so that the order stays. After 12 times it is dropped.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/cleanup.h"
#include "common/kube/event.h"

struct event_queue;

/* At most max events wait; what comes then is dropped. Return: NULL when out of memory. */
struct event_queue *event_queue_new(size_t max);
void event_queue_free(struct event_queue *q);
DEFINE_CLEANUP(struct event_queue *, event_queue_free)

enum event_taken {
        EVENT_QUEUED,
        EVENT_REPEATED, /* counted as a repeat of an earlier one */
        EVENT_KNOWN,    /* the same occurrence as before */
        EVENT_DROPPED,  /* the queue is full, or out of memory */
};

/* Copies what it needs. */
enum event_taken event_queue_add(struct event_queue *q, const struct event *event, int64_t wall_us,
                                 int64_t now_ms);

struct event_task {
        const struct event *event; /* valid until event_queue_done, whatever is added meanwhile */
        struct event_when when;
        bool patch; /* of the series; else POST */
};

/* What is to be sent next. One at a time: event_queue_done before the next call. Return: false when
 * there is nothing now; *ret_next_ms says when there may be (INT64_MAX: when something is added).
 */
bool event_queue_next(struct event_queue *q, int64_t now_ms, struct event_task *ret_task,
                      int64_t *ret_next_ms);

enum event_result {
        EVENT_SENT,
        EVENT_GONE,    /* EVENT_E_GONE */
        EVENT_LATER,   /* EVENT_E_LATER */
        EVENT_REFUSED, /* for good */
};

/* How sending went. Return: whether the event was dropped. */
bool event_queue_done(struct event_queue *q, int64_t now_ms, uint32_t random,
                      enum event_result result);

/* For the end: no series is kept back any more, and what failed last is tried once more at once. */
void event_queue_hurry(struct event_queue *q);

/* How many wait to be sent. */
size_t event_queue_waiting(const struct event_queue *q);
