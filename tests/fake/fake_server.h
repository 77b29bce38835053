/* SPDX-License-Identifier: Apache-2.0 */
/* An HTTPS server on loopback that answers as a test says, faults included.
 *
 * It serves one connection at a time, in its own thread, unless the test asks for more: the test's
 * function is called for each with the TLS handshake done. Certificates are made when it starts.
 * Failures of the machinery abort: these are tests.
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

#include "common/base/cleanup.h"

struct fake_server;
struct fake_conn;

/* Serves one connection: reads requests and writes answers until it returns, which closes it. */
typedef void (*fake_serve)(void *ctx, struct fake_conn *conn);

struct fake_server *fake_server_new(fake_serve serve, void *ctx);
/* Serves any number of connections at a time, each in a thread of its own: serve must be able to.
 */
struct fake_server *fake_server_new_threads(fake_serve serve, void *ctx);
/* Waits for the connections under way: their peers must have closed them, or serve must end by
 * itself. */
void fake_server_free(struct fake_server *server);
DEFINE_CLEANUP(struct fake_server *, fake_server_free)

/* "https://127.0.0.1:port" */
const char *fake_server_url(const struct fake_server *server);
/* The certificate (PEM) that clients have to trust. */
const char *fake_server_ca(const struct fake_server *server);
/* Connections accepted so far; from any thread. */
unsigned fake_server_connections(const struct fake_server *server);
/* Waits until so many of them have been closed on this side. */
void fake_server_await_closed(const struct fake_server *server, unsigned count);

/* One request as it came, NUL-terminated. */
struct fake_request {
        char head[8192]; /* request line and headers, as libcurl never sends longer ones here */
        char body[8192];
};

/* Return: false at the end of the connection. */
bool fake_read(struct fake_conn *conn, struct fake_request *ret_request);
void fake_write(struct fake_conn *conn, const char *bytes, size_t len);
void fake_print(struct fake_conn *conn, const char *text);
/* A whole answer: "200 OK" and the like, headers ("" or lines ending with \r\n), JSON. */
void fake_answer(struct fake_conn *conn, const char *status, const char *headers, const char *json);
/* Blocks until the peer closes. */
void fake_await_close(struct fake_conn *conn);
/* Drops all that the peer sends from now on, as a machine does that has gone: nothing of it is
 * acknowledged. Blocks until fake_server_free. */
void fake_play_dead(struct fake_conn *conn);
/* Resets the connection instead of closing it in order. */
void fake_reset(struct fake_conn *conn);

/* A fake_serve that follows a script: ctx is a struct fake_script. */
enum fake_then { FAKE_KEEP, FAKE_CLOSE, FAKE_RESET, FAKE_SILENCE, FAKE_DEAD };
struct fake_act {
        const char *answer; /* raw bytes; NULL: no request is expected, it aborts */
        enum fake_then then;
};

#define FAKE_SCRIPT_MAX 8
struct fake_script {
        struct fake_act acts[FAKE_SCRIPT_MAX]; /* by request, counted over all connections */
        struct fake_request requests[FAKE_SCRIPT_MAX]; /* as they came */
        atomic_uint count;                             /* requests answered */
};
void fake_script_serve(void *ctx, struct fake_conn *conn);
