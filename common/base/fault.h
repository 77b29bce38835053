/* SPDX-License-Identifier: Apache-2.0 */
/* Why a call failed, in a form that decides what to do about it.
 *
 * Return values, everywhere in this tree:
 *   0    success; every ret_* argument is set.
 *   < 0  -(enum fault_kind). Fatal for this pass: release, add context, return it. ret_* untouched.
 *   > 0  an outcome listed in the callee's own header (KUBE_E_GONE, ...). The caller handles it on
 *        the spot and never passes the number on.
 *
 * A fault owns nothing and lives on the caller's stack. A NULL fault is allowed everywhere: the
 * kind is in the return value, only the text is lost. Not shared between threads.
 */
#pragma once

#include "common/base/cleanup.h"

enum fault_kind {
        FAULT_NONE,
        FAULT_NOMEM,   /* an allocation failed, or a size cap was hit */
        FAULT_IO,      /* socket, TLS, file, HTTP 5xx or 429: retry with backoff */
        FAULT_PROTO,   /* the peer broke the protocol: drop the connection */
        FAULT_DENIED,  /* HTTP 401 or 403: retry slowly, show it */
        FAULT_INVALID, /* the input stays wrong until somebody edits it: no retry */
        FAULT_BUG,     /* an outcome that nobody handled */
};

/* Holds one Status message of the API server whole: status messages and event notes end at 1,024
 * bytes (events.k8s.io validation), so no reader could show more. */
#define FAULT_TEXT_MAX 1024

struct fault {
        enum fault_kind kind;
        char text[FAULT_TEXT_MAX + 1]; /* NUL-terminated, cut on a UTF-8 boundary */
};

#define FAULT_INIT                                                                                 \
        { .kind = FAULT_NONE, .text = "" }

/* Starts a fault; never allocates. Return: -kind. */
int fault_set(struct fault *f, enum fault_kind kind, const char *fmt, ...) FORMAT(3, 4);

/* Like fault_set, with ": strerror(errnum)" at the end. Return: -kind. */
int fault_set_errno(struct fault *f, enum fault_kind kind, int errnum, const char *fmt, ...)
        FORMAT(4, 5);

/* Prefixes "context: " to the text of f. r is the value being returned: an outcome that reached
 * here unhandled (r > 0) becomes FAULT_BUG. Return: r, or -FAULT_BUG; 0 stays 0 and changes
 * nothing. */
int fault_wrap(struct fault *f, int r, const char *fmt, ...) FORMAT(3, 4);

/* The kind's name for logs, such as "Io". Static storage. */
const char *fault_kind_name(enum fault_kind kind);
