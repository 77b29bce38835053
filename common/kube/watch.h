/* SPDX-License-Identifier: Apache-2.0 */
/* The protocol of a list that is kept current: LIST, then WATCH, and what to do when it breaks.
 *
 * A state machine without I/O: it says what to do next, is fed what came, and is told how it ended.
 * Time (monotonic milliseconds) and random numbers come as arguments; equal input gives equal
 * output.
 *
 *     struct watch_step step;
 *     watch_next(w, now, random, &step)      WATCH_WAIT: wait, and ask again
 *                                            otherwise send GET path?query, and
 *     watch_feed / watch_page                … what comes of a stream / a whole page,
 *     watch_end(w, now, random, …)           how it ended; then watch_next again
 *
 * Where the server can (Kubernetes 1.34, and 1.32 by default), a list is the beginning of a watch
 * (KEP-3157, sendInitialEvents): one object in memory at a time. Elsewhere it is read in pages of
 * 500 that are consistent with each other. A watch that ends is taken up from the last
 * resourceVersion seen, bookmarks included; a new list is begun when that is too old (410, as an
 * answer or as an ERROR event), unknown to the server (504 with ResourceVersionTooLarge) or not
 * accepted, when the stream cannot be understood, when the handler refuses an object, or when not
 * even a bookmark has come for longer than there should be none: so does a server that was restored
 * from a backup treat a resourceVersion that it has not reached again.
 *
 * Not shared between threads.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/cleanup.h"
#include "common/base/strbuf.h"
#include "common/kube/informer.h"
#include "common/kube/lines.h"

struct fault;
struct kube_response;

enum watch_action {
        WATCH_WAIT,   /* wait_ms */
        WATCH_PAGE,   /* GET, the answer read whole */
        WATCH_STREAM, /* GET, the answer fed as it comes */
};

struct watch_step {
        enum watch_action action;
        int64_t wait_ms;
        const char *query;       /* valid until the next call */
        int64_t timeout_ms;      /* of the request */
        int64_t idle_timeout_ms; /* of a stream */
        size_t max_response;     /* of a page */
};

enum watch_phase {
        WATCH_BEGIN,          /* a list is to begin */
        WATCH_LISTING_STREAM, /* initial events of a streaming list */
        WATCH_LISTING_PAGES,
        WATCH_WATCHING,
};

/* The longest event: an object of etcd's 1.5 MiB limit, escaped and wrapped. */
#define WATCH_LINE_MAX (8UL * 1024 * 1024)

struct watch {
        const struct informer_handler *handler; /* borrowed */
        const char *label_selector;             /* borrowed, as field_selector; NULL: all */
        const char *field_selector;
        bool consistent; /* the first list must not be stale */

        enum watch_phase phase;
        bool listed;              /* a list has been completed */
        bool no_stream_lists;     /* the server has refused one */
        bool bookmarks;           /* the server has sent one: silence means something */
        unsigned stream_failures; /* streaming lists in a row that broke off */
        unsigned page_limit;
        struct strbuf resource_version; /* to watch from */
        struct strbuf continue_token;   /* of the next page */
        struct strbuf query;
        struct lines lines;

        int64_t ready_ms; /* no request before */
        int64_t backoff_ms, backed_off_ms;
        bool streaming; /* of the request under way, as the next three */
        int64_t started_ms;
        uint64_t stream_events;
        bool relist;            /* what came cannot be taken up from where it ended */
        int error_http;         /* of an ERROR event; 0: none came */
        int64_t retry_after_ms; /* of it */

        uint64_t lists, watches, events, failures; /* see informer_health */
};

void watch_init(struct watch *w, const struct informer_handler *handler, const char *label_selector,
                const char *field_selector, bool consistent);
void watch_done(struct watch *w);

/* Return: 0, -FAULT_NOMEM (wait a little and ask again). */
int watch_next(struct watch *w, int64_t now_ms, uint32_t random, struct watch_step *ret_step,
               struct fault *f) MUST_CHECK;

/* A watch_feed that ends the stream: what came last was an ERROR event. */
#define WATCH_E_ERROR (KUBE_E_CALLER + 1)

/* Bytes of the stream. Return: 0, WATCH_E_ERROR, -FAULT_*: then end the stream and tell
 * watch_end. */
int watch_feed(struct watch *w, const char *bytes, size_t len, struct fault *f) MUST_CHECK;

/* A page of a list, checked JSON. Return: 0, -FAULT_*: tell watch_end. */
int watch_page(struct watch *w, const char *json, size_t len, struct fault *f) MUST_CHECK;

/* The request has ended with this return value (of kube_request, kube_stream or watch_page) and
 * this response. Return: whether it counts as a failure, after which there is a wait. */
bool watch_end(struct watch *w, int64_t now_ms, uint32_t random, int result,
               const struct kube_response *response);
