/* SPDX-License-Identifier: Apache-2.0 */
/* The HTTPS server of the webhook (libmicrohttpd): moves bytes, decides nothing about objects.
 *
 * Order of calls: server_new, then server_drain and server_stop, server_free. Requests run in
 * libmicrohttpd's worker threads.
 *
 * A refused body is read to its end, up to twice the limit, so that its client sees the refusal.
 *
 * Limits: connections; the body (413); all bodies in memory together (503); the time for handshake
 * and header, for a whole request, for an idle connection. What RFC 9112 leaves open to request
 * smuggling (two lengths, a length and chunks, other transfer codings) is refused with 400.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/cleanup.h"

struct clock;
struct fault;
struct server;
struct series;
struct strbuf;

/* One path and who answers it. */
struct server_route {
        const char *path; /* NULL ends a list */
        /* Appends the answer (application/json when *ret_status is 200, else plain text) to out.
         * Called by several threads. Return: 0, or a fault: 500. */
        int (*answer)(void *ctx, const char *body, size_t len, struct strbuf *out,
                      unsigned *ret_status, struct fault *f);
        void *ctx;
        struct series *latency, *in_flight; /* histogram in seconds, gauge; NULL: none */
        /* Counts an answer by its HTTP status; NULL: nobody does. */
        void (*count)(void *ctx, unsigned status);
};

struct server_opts {
        uint16_t port;                     /* 0: any (tests) */
        const struct server_route *routes; /* copied; what they point to is borrowed until
                                              server_free */
        void *cert_callback;               /* of tls_store */
        struct series *handshake_failures; /* counter; NULL: none */
        const struct clock *clock;
        unsigned threads;     /* at least 2 */
        unsigned connections; /* at most these at a time */
        size_t body_max;      /* bytes */
        size_t bodies_max;    /* bytes of all bodies under way */
        size_t small_max;     /* up to here a body needs no room in that: it is always taken */
        size_t answer_max;    /* bytes */
        int64_t header_ms;    /* handshake and header */
        int64_t request_ms;   /* header and body */
        int64_t idle_ms;      /* between requests; above the 90 s of the API server's client */
};

/* Return: 0, -FAULT_IO (the port cannot be had), -FAULT_NOMEM. */
int server_new(const struct server_opts *opts, struct server **ret_server, struct fault *f)
        MUST_CHECK;

/* The port that it listens on. */
uint16_t server_port(const struct server *server);

/* From now on every answer ends its connection, so that clients go elsewhere; new ones are still
 * accepted. */
void server_drain(struct server *server);

/* Accepts no more, waits for the requests under way (at most within_ms). Return: whether all ended.
 */
bool server_stop(struct server *server, int64_t within_ms);

/* Accepts NULL. */
void server_free(struct server *server);
DEFINE_CLEANUP(struct server *, server_free)

/* Why a request was refused before it was judged. */
enum server_refusal {
        SERVER_BAD_FRAMING, /* 400 */
        SERVER_NO_PATH,     /* 404 */
        SERVER_NO_METHOD,   /* 405 */
        SERVER_NO_JSON,     /* 415 */
        SERVER_TOO_LARGE,   /* 413 */
        SERVER_BUSY,        /* 503: bodies take all the memory they may */
        SERVER_REFUSALS
};
/* A word for a label. */
const char *server_refusal_name(enum server_refusal refusal);

struct server_load {
        size_t connections;
        uint64_t slow, crowded; /* connections ended for slowness, and to make room */
        size_t body_bytes;
        size_t requests; /* under way */
        uint64_t refused[SERVER_REFUSALS];
};
struct server_load server_load(struct server *server);

/* An ops_check for liveness: fails when a thread hangs. Return: 0, -FAULT_BUG. */
int server_check(void *server, struct fault *f) MUST_CHECK;
