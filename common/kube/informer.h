/* SPDX-License-Identifier: Apache-2.0 */
/* Keeps somebody informed about all objects of one resource: list, then watch, for ever.
 *
 * The shell around common/kube/watch.h: it sends the requests that the state machine asks for and
 * waits as long as it says. It keeps no objects, so its memory is bounded by one object (or one
 * page of a list, where the server has no streaming lists).
 *
 * Order of calls: informer_new; informer_run in a thread that the caller makes (it blocks);
 * informer_stop from any other; after the thread has ended informer_free. The handler is called in
 * the thread of informer_run only.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/cleanup.h"
#include "common/kube/kube.h"

struct clock;
struct fault;
struct informer;
struct random;

struct informer_handler {
        void *ctx;
        /* An object as it is now: strict JSON, borrowed during the call. The same state may come
         * more than once. Objects of a paged list have no kind and apiVersion. Return: 0; a fault
         * makes the informer list everything again after a backoff, so an object that cannot be
         * understood should be logged and answered with 0. */
        int (*upsert)(void *ctx, const char *json, size_t len, struct fault *f);
        /* An object is gone (or no longer selected); its last state. */
        void (*remove)(void *ctx, const char *json, size_t len);
        /* A (re)list begins; again when a list had to start over. What it brings is the truth even
         * where a resourceVersion is lower than one seen before (etcd restored from a backup). */
        void (*list_begin)(void *ctx);
        /* It is complete: objects not seen since list_begin are gone. The first one: synced. */
        void (*list_end)(void *ctx);
};

struct informer_opts {
        struct kube kube; /* taken, also when informer_new fails */
        const char *path; /* "/apis/batch/v1/jobs" or "/api/v1/namespaces/x/pods"; copied */
        const char *label_selector; /* not encoded; NULL: everything; copied */
        const char *field_selector; /* likewise: "metadata.name=x" for one object */
        bool consistent; /* the first list must not be older than its start (a leader); otherwise
                            what the server has cached will do */
        struct informer_handler handler;
        const struct clock *clock;   /* borrowed */
        const struct random *random; /* borrowed */
};

/* Return: 0, -FAULT_NOMEM. */
int informer_new(struct informer_opts *opts, struct informer **ret_informer, struct fault *f)
        MUST_CHECK;
/* Accepts NULL. Closes the kube. */
void informer_free(struct informer *informer);
DEFINE_CLEANUP(struct informer *, informer_free)

/* Lists and watches until informer_stop. Troubles are logged (the first of a row at once, then one
 * a minute) and retried. */
void informer_run(struct informer *informer);

/* From any thread, also before or after informer_run: it returns within milliseconds, or when the
 * handler call under way does. */
void informer_stop(struct informer *informer);

struct informer_health {
        bool synced;          /* a list has been completed */
        int64_t last_byte_ms; /* monotonic: when the server was last heard of; 0: never */
        int64_t last_turn_ms; /* likewise: when the thread last began a request or a wait, or took
                                 in bytes; the longest of these, a silent watch, ends after 11 min
                               */
        uint64_t lists;       /* lists begun */
        uint64_t watches;     /* watch requests sent */
        uint64_t events;      /* objects handed to the handler, and deletions */
        uint64_t failures;    /* requests that ended in a backoff */
};

/* From any thread. */
void informer_read_health(struct informer *informer, struct informer_health *ret_health);
