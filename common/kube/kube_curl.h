/* SPDX-License-Identifier: Apache-2.0 */
/* The API server over libcurl: HTTP/1.1, TLS 1.2 or newer, one kept connection a struct kube.
 *
 * HTTP/1.1 because libcurl 7.88.1 loses streams of an HTTP/2 connection when another one pauses,
 * and every thread has its connection anyway. No proxy (HTTPS_PROXY is not looked at), no
 * redirection, no compression: list pages are bounded by their limit, and so is memory.
 *
 * Files (token, CA, client certificate) are read again once a minute; when that fails the old
 * content stays and observer.stale says so. A 401 has the token read at once and, if it is
 * another one, the request sent again.
 *
 * Sent again within the request's time-out: answers 429 and 5xx that have a Retry-After, after that
 * time; a GET whose connection was lost (streams are not). A request with a body is never sent
 * again once a byte of it may have been read by a server that gave no answer.
 *
 * A peer that has gone is noticed within 20 s (TCP_USER_TIMEOUT, keepalive), and told within 30 s.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "common/base/cleanup.h"
#include "common/kube/kube.h"

struct clock;
struct fault;
struct kube_config;
struct random;
struct warnings;

/* One exchange, each try of its own. */
struct kube_observation {
        enum kube_method method;
        const char *path; /* as in the request */
        const char *host; /* "10.96.0.1:443" */
        int http;         /* 0: no answer came */
        unsigned number;  /* of the try, from 1 */
        int64_t duration_us;
        bool stream; /* the duration of a watch is no latency */
};

/* Called in the thread of the request. Members may be NULL. */
struct kube_observer {
        void (*request)(void *ctx, const struct kube_observation *observation);
        /* The text of a Warning header of the server. */
        void (*warning)(void *ctx, const char *text);
        /* A credential's file could not be read again: each minute in each thread. */
        void (*stale)(void *ctx, const char *text);
        void *ctx;
};

struct kube_curl_opts {
        const struct kube_config *config; /* borrowed until kube_close, as all pointers here */
        const char *program;              /* "dbupgrade-reconciler" */
        const char *component;            /* the thread's part in it, such as "controller" */
        const struct clock *clock;
        const struct random *random;
        struct kube_observer observer;
        struct warnings *warnings; /* those that were observed; NULL: each is observed each time */
        /* The write gate: on the boot clock, until when requests other than GET may be under way.
         * Past it they get KUBE_E_EXPIRED_WRITE, before it their time-out ends with it. NULL: no
         * gate. Called in the thread of the request. */
        int64_t (*write_deadline_ms)(void *ctx);
        void *write_deadline_ctx;
};

/* Connects at the first request. The result belongs to one thread at a time. Return: 0,
 * -FAULT_INVALID (a server that is not https), -FAULT_NOMEM. */
int kube_curl_new(const struct kube_curl_opts *opts, struct kube *ret_kube, struct fault *f)
        MUST_CHECK;

/* What decides on another try. */
struct kube_try {
        unsigned number; /* tries made, from 1 */
        enum kube_method method;
        int http;               /* 0: no answer */
        bool connection_lost;   /* reset or end of file before the whole answer */
        int64_t retry_after_ms; /* 0: no such header */
        int64_t left_ms;        /* of the request's time-out */
};

/* Return: how long to wait before the next try, or -1: none. random: any number. Pure. */
int64_t kube_curl_retry_ms(const struct kube_try *t, uint32_t random);
