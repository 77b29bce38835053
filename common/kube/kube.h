/* SPDX-License-Identifier: Apache-2.0 */
/* The one function for requests to the API server, behind a table, so that tests hand in a fake.
 *
 * A struct kube belongs to one thread (its connection does). Requests block until the answer is
 * whole, the time-out, or kube_interrupt. Answers are checked (size, content type, strict JSON when
 * it is JSON) before a caller sees them.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/cleanup.h"
#include "common/base/strbuf.h"

struct fault;

enum kube_method { KUBE_GET, KUBE_POST, KUBE_PUT, KUBE_PATCH, KUBE_DELETE };

/* Answers that callers branch on. */
enum {
        KUBE_E_NOT_FOUND = 1, /* 404 */
        KUBE_E_CONFLICT,  /* 409: AlreadyExists (POST) or a stale resourceVersion or precondition */
        KUBE_E_GONE,      /* 410: the resourceVersion or continue token is too old */
        KUBE_E_INVALID,   /* 400, 422: refused for good */
        KUBE_E_FORBIDDEN, /* 403 */
        KUBE_E_EXPIRED_WRITE, /* the write gate is closed (lease deadline): nothing was sent */
        KUBE_E_STOPPED,       /* kube_interrupt */
        KUBE_E_SILENT,        /* a stream: nothing came for idle_timeout_ms */
};

struct kube_request {
        enum kube_method method;
        const char *path;         /* "/apis/batch/v1/namespaces/x/jobs", encoded */
        const char *query;        /* without '?', encoded; NULL: none */
        const char *content_type; /* of body; NULL: application/json */
        const char *body;         /* NULL: none; borrowed during the call */
        size_t body_len;
        int64_t timeout_ms;  /* 0: 30 s */
        size_t max_response; /* 0: 8 MiB */
};

#define KUBE_MERGE_PATCH "application/merge-patch+json"
#define KUBE_JSON_PATCH  "application/json-patch+json"

/* What the API server said. For a refused request (4xx, 5xx) the metav1.Status is read into the
 * status_* members. */
struct kube_response {
        int http;               /* HTTP status, 0 when none was received */
        struct strbuf body;     /* the checked JSON of a success; wiped by kube_response_done */
        bool body_is_json;      /* Content-Type was application/json */
        int64_t retry_after_ms; /* Retry-After, capped at 60 s; 0 when there was none */
        char *status_message;   /* heap; NULL when there was no Status */
        char *status_reason;    /* "AlreadyExists", … heap; NULL likewise */
        bool status_has_name; /* details.name was there: an admission or quota refusal of an object
                                 carries it, an RBAC refusal of a POST does not */
        bool status_namespace_terminating; /* details.causes has NamespaceTerminating */
        bool status_version_too_large;     /* details.causes has ResourceVersionTooLarge */
};

void kube_response_done(struct kube_response *response);
#define KUBE_RESPONSE_INIT                                                                         \
        { .body = STRBUF_INIT(SIZE_MAX) }

/* Called with each piece of a streamed answer (watch). Return: 0 to go on, otherwise the stream
 * ends and kube_stream returns that value: a fault, or an outcome of the caller's own, from
 * KUBE_E_CALLER up. */
#define KUBE_E_CALLER 100
typedef int (*kube_on_bytes)(void *ctx, const char *bytes, size_t len, struct fault *f);

/* What moves the bytes; what they mean is for kube_request. body, body_is_json, http and
 * retry_after_ms of the response are theirs to fill, the status_* members are not. */
struct kube_ops {
        /* Return: 0 when an answer came whole, whatever its HTTP status; KUBE_E_EXPIRED_WRITE,
         * KUBE_E_STOPPED; -FAULT_*. */
        int (*request)(void *ctx, const struct kube_request *request,
                       struct kube_response *response, struct fault *f);
        /* A 200 answer goes to on_bytes as it comes; any other is read whole into response.
         * idle_timeout_ms: the longest wait between two pieces. Return: 0 at the server's end of
         * stream, KUBE_E_SILENT, otherwise like request or what on_bytes returned. */
        int (*stream)(void *ctx, const struct kube_request *request, int64_t idle_timeout_ms,
                      kube_on_bytes on_bytes, void *on_bytes_ctx, struct kube_response *response,
                      struct fault *f);
        void (*interrupt)(void *ctx);
        void (*close)(void *ctx);
};

struct kube {
        const struct kube_ops *ops;
        void *ctx;
};

/* Sends one request. response must be KUBE_RESPONSE_INIT or done.
 * Return: 0 (2xx), a KUBE_E_* outcome, or
 *   -FAULT_IO      no answer, 429 or 5xx (also when retries within the time-out did not help),
 *   -FAULT_DENIED  401,
 *   -FAULT_PROTO   not the answer of an API server, or above max_response,
 *   -FAULT_NOMEM.
 * For outcomes and faults f holds a sentence with method, path and the server's words. A write may
 * have been executed although a fault is returned; it has not been executed twice. */
int kube_request(const struct kube *k, const struct kube_request *request,
                 struct kube_response *response, struct fault *f) MUST_CHECK;

/* Like kube_request for a request whose 200 answer is a stream: see kube_ops.stream. The stream's
 * bytes are not checked. on_bytes must not use k. */
int kube_stream(const struct kube *k, const struct kube_request *request, int64_t idle_timeout_ms,
                kube_on_bytes on_bytes, void *on_bytes_ctx, struct kube_response *response,
                struct fault *f) MUST_CHECK;

/* From any thread, but not after kube_close: the running call returns KUBE_E_STOPPED within a
 * millisecond, later ones at once. */
void kube_interrupt(const struct kube *k);

/* Frees the implementation and sets *k to zero; accepts a zero one. */
void kube_close(struct kube *k);

/* Maps an HTTP status to the return value above; the one place that does. Pure. Return for 2xx: 0.
 */
int kube_outcome(int http);

/* "GET", "POST", … Static storage. */
const char *kube_method_name(enum kube_method method);

/* Reads a metav1.Status into the status_* members (retry_after_ms too, unless it is set). Text that
 * is none leaves them alone. Return: 0, -FAULT_NOMEM. Pure. */
int kube_response_read_status(struct kube_response *response, const char *json, size_t len,
                              struct fault *f) MUST_CHECK;
