/* SPDX-License-Identifier: Apache-2.0 */
/* The thread that sends events, so that nobody who has something to tell waits for it.
 *
 * The shell around common/kube/event_queue.h. Order of calls: event_sender_new, event_sender_start,
 * event_sender_add from any thread, event_sender_stop once nobody adds any more, event_sender_free.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "common/base/cleanup.h"
#include "common/kube/event.h"
#include "common/kube/kube.h"

struct clock;
struct event_sender;
struct fault;
struct random;
struct series;

struct event_sender_opts {
        struct kube kube;               /* taken, also when event_sender_new fails */
        struct event_reporter reporter; /* its strings are borrowed, as all pointers here */
        size_t max;                     /* events that may wait */
        const struct clock *clock;
        const struct random *random;
        struct series *sent, *dropped; /* counters; NULL: none */
};

/* Return: 0, -FAULT_NOMEM. */
int event_sender_new(struct event_sender_opts *opts, struct event_sender **ret_sender,
                     struct fault *f) MUST_CHECK;
/* Accepts NULL. Stops it, without sending what is left, and closes the kube. */
void event_sender_free(struct event_sender *sender);
DEFINE_CLEANUP(struct event_sender *, event_sender_free)

/* Return: 0, -FAULT_IO (no thread). */
int event_sender_start(struct event_sender *sender, struct fault *f) MUST_CHECK;

/* Copies the event and returns at once; when there are too many it is dropped, counted and logged.
 * Its time is now. Thread-safe. */
void event_sender_add(struct event_sender *sender, const struct event *event);

/* Sends what is left for at most flush_ms, and waits for the thread. */
void event_sender_stop(struct event_sender *sender, int64_t flush_ms);

/* How many wait to be sent. Thread-safe. */
size_t event_sender_waiting(struct event_sender *sender);

/* Fails when the thread has been in one request for more than a minute, six times its limit: an
 * ops_check for liveness. Thread-safe. */
int event_sender_check(void *sender, struct fault *f) MUST_CHECK;
