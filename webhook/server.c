/* SPDX-License-Identifier: Apache-2.0 */
#include "webhook/server.h"

#include <errno.h>
#include <microhttpd.h>
#include <stdatomic.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "common/base/clock.h"
#include "common/base/fault.h"
#include "common/base/log.h"
#include "common/base/metrics.h"
#include "common/base/strbuf.h"
#include "webhook/reaper.h"

/* Headers of the API server are below 2 KiB; more than the pool is 431. */
#define SERVER_POOL_BYTES 32768
/* json_check and cJSON recurse to a depth of 64. */
#define SERVER_STACK_BYTES (512 * 1024)

struct server {
        struct server_opts opts;
        struct MHD_Daemon *daemon;
        struct reaper *reaper;
        atomic_bool draining;
        atomic_size_t body_bytes; /* reserved by requests under way */
        atomic_size_t requests;
};

/* One request, from its header to its end. */
struct request {
        struct server *server;
        const struct server_route *route; /* NULL: refused */
        unsigned refusal;                 /* HTTP status, when refused */
        char *body;
        size_t len, reserved;
        int64_t start_us;
};

/* ---- deadlines ---- */

static void on_connection(void *ctx, struct MHD_Connection *connection, void **entry,
                          enum MHD_ConnectionNotificationCode code) {
        struct server *server = ctx;
        const union MHD_ConnectionInfo *info;

        if (code == MHD_CONNECTION_NOTIFY_CLOSED) {
                reaper_remove(server->reaper, *entry);
                return;
        }
        info = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
        *entry = reaper_add(server->reaper, info->connect_fd, server->opts.header_ms);
}

static struct reaper_entry *entry_of(struct MHD_Connection *connection) {
        return MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT)
                ->socket_context;
}

/* The request line is there: from its first byte the whole request has its time. */
static void *on_request_line(void *ctx, const char *uri, struct MHD_Connection *connection) {
        struct server *server = ctx;

        (void)uri;
        reaper_set(server->reaper, entry_of(connection), server->opts.request_ms);
        return NULL;
}

static void request_free(struct request *request) {
        free(request->body);
        atomic_fetch_sub(&request->server->body_bytes, request->reserved);
        if (request->route)
                series_add(request->route->in_flight, -1);
        atomic_fetch_sub(&request->server->requests, 1);
        free(request);
}

static void on_completed(void *ctx, struct MHD_Connection *connection, void **state,
                         enum MHD_RequestTerminationCode code) {
        struct server *server = ctx;

        (void)code;
        if (*state)
                request_free(*state);
        *state = NULL;
        reaper_served(server->reaper, entry_of(connection), server->opts.idle_ms);
}

/* ---- answers ---- */

static const char *status_text(unsigned status) {
        switch (status) {
        case MHD_HTTP_BAD_REQUEST:
                return "bad request: one Content-Length or chunks, nothing else\n";
        case MHD_HTTP_NOT_FOUND:
                return "not found\n";
        case MHD_HTTP_METHOD_NOT_ALLOWED:
                return "use POST\n";
        case MHD_HTTP_CONTENT_TOO_LARGE:
                return "the body is too large\n";
        case MHD_HTTP_UNSUPPORTED_MEDIA_TYPE:
                return "the content type must be application/json\n";
        case MHD_HTTP_SERVICE_UNAVAILABLE:
                return "too many requests under way\n";
        default:
                return "internal error\n";
        }
}

/* Queues text (taken: released by libmicrohttpd). */
static enum MHD_Result queue(struct server *server, struct MHD_Connection *connection,
                             unsigned status, char *text, size_t len, bool close) {
        struct MHD_Response *response =
                MHD_create_response_from_buffer(len, text, MHD_RESPMEM_MUST_FREE);
        enum MHD_Result queued;

        if (!response) {
                free(text);
                return MHD_NO;
        }
        (void)MHD_add_response_header(response, "Content-Type",
                                      status == MHD_HTTP_OK ? "application/json"
                                                            : "text/plain; charset=utf-8");
        if (status == MHD_HTTP_METHOD_NOT_ALLOWED)
                (void)MHD_add_response_header(response, "Allow", "POST");
        if (status == MHD_HTTP_SERVICE_UNAVAILABLE)
                (void)MHD_add_response_header(response, "Retry-After", "1");
        if (close || atomic_load(&server->draining))
                (void)MHD_add_response_header(response, "Connection", "close");
        queued = MHD_queue_response(connection, status, response);
        MHD_destroy_response(response);
        return queued;
}

/* A refusal ends the connection: what else the client sends belongs to the refused request. */
static enum MHD_Result refuse(struct server *server, struct MHD_Connection *connection,
                              unsigned status) {
        char *text = strdup(status_text(status));

        return text ? queue(server, connection, status, text, strlen(text), true) : MHD_NO;
}

/* ---- the header ---- */

struct framing {
        unsigned lengths, codings;
        bool chunked;
};

static enum MHD_Result look_at_header(void *ctx, enum MHD_ValueKind kind, const char *name,
                                      const char *value) {
        struct framing *framing = ctx;

        (void)kind;
        if (strcasecmp(name, "Content-Length") == 0)
                framing->lengths++;
        if (strcasecmp(name, "Transfer-Encoding") == 0) {
                framing->codings++;
                framing->chunked = value && strcasecmp(value, "chunked") == 0;
        }
        return MHD_YES;
}

static bool is_framed_well(struct MHD_Connection *connection) {
        struct framing framing = { 0 };

        (void)MHD_get_connection_values(connection, MHD_HEADER_KIND, look_at_header, &framing);
        return framing.lengths + framing.codings <= 1 && (!framing.codings || framing.chunked);
}

static bool is_json(struct MHD_Connection *connection) {
        static const char type[] = "application/json";
        const char *value =
                MHD_lookup_connection_value(connection, MHD_HEADER_KIND, "Content-Type");
        size_t len = sizeof(type) - 1;

        if (!value || strncasecmp(value, type, len) != 0)
                return false;
        value += len + strspn(value + len, " \t");
        return *value == '\0' || *value == ';';
}

/* The announced length; 0 when there is none (chunks, or no body). */
static size_t announced_length(struct MHD_Connection *connection) {
        const char *value =
                MHD_lookup_connection_value(connection, MHD_HEADER_KIND, "Content-Length");
        unsigned long long length;

        if (!value)
                return 0;
        errno = 0;
        length = strtoull(value, NULL, 10);
        return errno ? SIZE_MAX : (size_t)length;
}

/* Makes room for size bytes of body, in memory and in the budget of all. */
static bool reserve(struct request *request, size_t size) {
        struct server *server = request->server;
        size_t more = size - request->reserved;
        char *body;

        if (atomic_fetch_add(&server->body_bytes, more) + more > server->opts.bodies_max) {
                atomic_fetch_sub(&server->body_bytes, more);
                return false;
        }
        request->reserved = size;
        body = realloc(request->body, size);
        if (!body)
                return false;
        request->body = body;
        return true;
}

static const struct server_route *route_of(const struct server *server, const char *path) {
        for (const struct server_route *route = server->opts.routes; route->path; route++)
                if (strcmp(route->path, path) == 0)
                        return route;
        return NULL;
}

/* Judges the header. Return: 0 to go on, or the HTTP status of the refusal. */
static unsigned judge_header(struct request *request, struct MHD_Connection *connection,
                             const char *path, const char *method) {
        const struct server *server = request->server;
        const struct server_route *route = route_of(server, path);
        size_t length = announced_length(connection);

        if (!is_framed_well(connection))
                return MHD_HTTP_BAD_REQUEST;
        if (!route)
                return MHD_HTTP_NOT_FOUND;
        if (strcmp(method, "POST") != 0)
                return MHD_HTTP_METHOD_NOT_ALLOWED;
        if (!is_json(connection))
                return MHD_HTTP_UNSUPPORTED_MEDIA_TYPE;
        if (length > server->opts.body_max)
                return MHD_HTTP_CONTENT_TOO_LARGE;
        /* Once more than announced is never sent; the answer needs at least one byte. */
        if (!reserve(request, length + 1))
                return MHD_HTTP_SERVICE_UNAVAILABLE;
        request->route = route;
        series_add(route->in_flight, 1);
        return 0;
}

static enum MHD_Result begin(struct server *server, struct MHD_Connection *connection,
                             const char *path, const char *method, void **state) {
        struct request *request = calloc(1, sizeof(*request));

        if (!request)
                return MHD_NO;
        request->server = server;
        request->start_us = clock_mono_us(server->opts.clock);
        atomic_fetch_add(&server->requests, 1);
        *state = request;
        request->refusal = judge_header(request, connection, path, method);
        /* Only before the body can it be refused at once. */
        return request->refusal ? refuse(server, connection, request->refusal) : MHD_YES;
}

/* ---- the body ---- */

/* Takes in a piece. What is over the limit is read and dropped, up to twice the limit, so that the
 * client gets to see the answer. Return: whether to go on. */
static bool take_piece(struct request *request, const char *bytes, size_t len) {
        const struct server_opts *opts = &request->server->opts;
        size_t total = request->len + len;

        if (total > 2 * opts->body_max)
                return false;
        if (total > opts->body_max)
                request->refusal = MHD_HTTP_CONTENT_TOO_LARGE;
        if (!request->refusal && total + 1 > request->reserved) {
                size_t wanted = 2 * total + 1;

                if (!reserve(request, wanted))
                        request->refusal = MHD_HTTP_SERVICE_UNAVAILABLE;
        }
        if (!request->refusal)
                memcpy(request->body + request->len, bytes, len);
        request->len = total;
        return true;
}

static enum MHD_Result finish(struct request *request, struct MHD_Connection *connection) {
        struct server *server = request->server;
        const struct server_route *route = request->route;
        CLEANUP(strbuf_done) struct strbuf out = STRBUF_INIT(server->opts.answer_max);
        struct fault f = FAULT_INIT;
        unsigned status = MHD_HTTP_INTERNAL_SERVER_ERROR;
        char *text = NULL;
        size_t len;
        int r = request->refusal ? -FAULT_INVALID : 0;

        if (request->refusal) {
                status = request->refusal;
        } else {
                request->body[request->len] = '\0';
                r = route->answer(route->ctx, request->body, request->len, &out, &status, &f);
                len = out.len;
                if (!r)
                        r = strbuf_take(&out, &text, &f);
                if (r) {
                        status = MHD_HTTP_INTERNAL_SERVER_ERROR;
                        log_error("a request could not be answered", LOG_STR("error", f.text));
                }
        }
        if (route->count)
                route->count(route->ctx, status);
        series_observe(route->latency,
                       (double)(clock_mono_us(server->opts.clock) - request->start_us) / 1e6);
        return r ? refuse(server, connection, status)
                 : queue(server, connection, status, text, len, false);
}

static enum MHD_Result on_request(void *ctx, struct MHD_Connection *connection, const char *path,
                                  const char *method, const char *version, const char *upload_data,
                                  size_t *upload_data_size, void **state) {
        struct server *server = ctx;
        struct request *request = *state;

        (void)version;
        if (!request)
                return begin(server, connection, path, method, state);
        if (*upload_data_size == 0)
                return finish(request, connection);
        if (!take_piece(request, upload_data, *upload_data_size))
                return MHD_NO;
        *upload_data_size = 0;
        return MHD_YES;
}

/* ---- start and stop ---- */

/* Paths are compared as they came: a decoded %00 would end the string early. */
static size_t keep_escapes(void *ctx, struct MHD_Connection *connection, char *text) {
        (void)ctx;
        (void)connection;
        return strlen(text);
}

/* Failed handshakes of scanners and probes come by the thousand. */
static void on_log(void *ctx, const char *format, va_list ap) FORMAT(2, 0);
static void on_log(void *ctx, const char *format, va_list ap) {
        static struct log_limit limit;
        int64_t suppressed;
        char text[FAULT_TEXT_MAX];

        (void)ctx;
        if (!log_limit_pass(&limit, 10000, &suppressed))
                return;
        (void)vsnprintf(text, sizeof(text), format, ap);
        text[strcspn(text, "\n")] = '\0';
        log_debug("libmicrohttpd", LOG_STR("text", text), LOG_INT("suppressed", suppressed));
}

static struct MHD_Daemon *start(struct server *server) {
        const struct server_opts *o = &server->opts;
        /* poll: with epoll half a ClientHello keeps a core busy (libmicrohttpd 0.9.75). */
        unsigned flags = MHD_USE_TLS | MHD_USE_POLL_INTERNAL_THREAD | MHD_USE_ITC |
                         MHD_USE_ERROR_LOG | MHD_USE_DUAL_STACK;
        struct MHD_Daemon *daemon = NULL;

        /* Without IPv6 in the kernel the second try is IPv4. */
        for (int i = 0; i < 2 && !daemon; i++, flags &= ~(unsigned)MHD_USE_DUAL_STACK)
                daemon = MHD_start_daemon(
                        flags, o->port, NULL, NULL, on_request, server, MHD_OPTION_EXTERNAL_LOGGER,
                        on_log, NULL, MHD_OPTION_THREAD_POOL_SIZE, o->threads,
                        MHD_OPTION_THREAD_STACK_SIZE, (size_t)SERVER_STACK_BYTES,
                        MHD_OPTION_CONNECTION_LIMIT, o->connections,
                        MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)SERVER_POOL_BYTES,
                        MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)(o->idle_ms / 1000 + 1),
                        MHD_OPTION_HTTPS_PRIORITIES,
                        "SECURE128:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2:%SERVER_PRECEDENCE",
                        MHD_OPTION_HTTPS_CERT_CALLBACK, o->cert_callback,
                        MHD_OPTION_STRICT_FOR_CLIENT, 1, MHD_OPTION_UNESCAPE_CALLBACK, keep_escapes,
                        NULL, MHD_OPTION_NOTIFY_CONNECTION, on_connection, server,
                        MHD_OPTION_NOTIFY_COMPLETED, on_completed, server,
                        MHD_OPTION_URI_LOG_CALLBACK, on_request_line, server, MHD_OPTION_END);
        return daemon;
}

int server_new(const struct server_opts *opts, struct server **ret_server, struct fault *f) {
        CLEANUP(server_free_p) struct server *server = calloc(1, sizeof(*server));
        int r;

        if (!server)
                return fault_set(f, FAULT_NOMEM, "out of memory");
        server->opts = *opts;
        /* Below the limit of libmicrohttpd's single threads, which share it out: at that they would
         * accept nobody any more. */
        r = reaper_new(opts->clock, opts->connections / 4 * 3, &server->reaper, f);
        if (r)
                return r;
        server->daemon = start(server);
        if (!server->daemon)
                return fault_set_errno(f, FAULT_IO, errno, "serve HTTPS on port %u", opts->port);
        *ret_server = TAKE(server);
        return 0;
}

uint16_t server_port(const struct server *server) {
        const union MHD_DaemonInfo *info =
                MHD_get_daemon_info(server->daemon, MHD_DAEMON_INFO_BIND_PORT);

        return info->port;
}

void server_drain(struct server *server) {
        atomic_store(&server->draining, true);
}

bool server_stop(struct server *server, int64_t within_ms) {
        const struct timespec pause = { .tv_sec = 0, .tv_nsec = 10000000 };
        int64_t until_ms = clock_mono_ms(server->opts.clock) + within_ms;
        int fd;

        server_drain(server);
        fd = MHD_quiesce_daemon(server->daemon);
        close_p(&fd);
        /* libmicrohttpd counts idle connections too, so requests are counted here. */
        while (atomic_load(&server->requests) > 0 && clock_mono_ms(server->opts.clock) < until_ms)
                (void)nanosleep(&pause, NULL);
        return atomic_load(&server->requests) == 0;
}

void server_free(struct server *server) {
        if (!server)
                return;
        if (server->daemon)
                MHD_stop_daemon(server->daemon);
        reaper_free(server->reaper);
        free(server);
}

struct server_load server_load(struct server *server) {
        return (struct server_load){
                .connections = reaper_count(server->reaper),
                .reaped = reaper_reaped(server->reaper),
                .body_bytes = atomic_load(&server->body_bytes),
                .requests = atomic_load(&server->requests),
        };
}
