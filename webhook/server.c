/* SPDX-License-Identifier: Apache-2.0 */
#include "webhook/server.h"

#include <errno.h>
#include <microhttpd.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <time.h>

#include "common/base/clock.h"
#include "common/base/fault.h"
#include "common/base/log.h"
#include "common/base/metrics.h"
#include "common/base/strbuf.h"
#include "common/http/reaper.h"

/* Headers of the API server are below 2 KiB; more than the pool is 431. */
#define SERVER_POOL_BYTES 32768
/* json_check and cJSON recurse to a depth of 64. */
#define SERVER_STACK_BYTES (512 * 1024)

/* TLS 1.2 with AEAD ciphers and 1.3, which has no others. */
#define SERVER_PRIORITIES                                                                          \
        "SECURE128:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2:-CIPHER-ALL:+AES-128-GCM:+AES-256-GCM:"     \
        "+CHACHA20-POLY1305:%SERVER_PRECEDENCE"

/* Larger bodies are judged one at a time: their trees take several times as much memory. */
#define SERVER_LARGE_BYTES (256 * 1024)
/* How long after its end a connection may stay open before its thread is taken to hang: larger than
 * any pause of a process that gets hardly any processor time. */
#define SERVER_HUNG_MS 60000

struct server {
        struct server_opts opts;
        struct server_route *routes;
        struct MHD_Daemon *daemon;
        struct reaper *reaper;
        pthread_mutex_t large; /* held while a large body is judged */
        atomic_bool draining;
        atomic_size_t body_bytes; /* reserved by requests under way */
        atomic_size_t requests;
        atomic_uint_fast64_t refused[SERVER_REFUSALS];
};

/* One request, from its header to its end. */
struct request {
        struct server *server;
        const struct server_route *route; /* NULL: none of ours */
        enum server_refusal refusal;      /* SERVER_REFUSALS: none */
        char *body;
        size_t announced; /* as far as a length was, 0 otherwise */
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

/* Gives back what the body takes. */
static void drop_body(struct request *request) {
        free(request->body);
        request->body = NULL;
        atomic_fetch_sub(&request->server->body_bytes, request->reserved);
        request->reserved = 0;
}

static void request_free(struct request *request) {
        drop_body(request);
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

static const struct refusal {
        unsigned status;
        const char *name, *text;
} refusals[SERVER_REFUSALS] = {
        [SERVER_BAD_FRAMING] = { MHD_HTTP_BAD_REQUEST, "framing",
                                 "bad request: one Content-Length or chunks, nothing else\n" },
        [SERVER_NO_PATH] = { MHD_HTTP_NOT_FOUND, "path", "not found\n" },
        [SERVER_NO_METHOD] = { MHD_HTTP_METHOD_NOT_ALLOWED, "method", "use POST\n" },
        [SERVER_NO_JSON] = { MHD_HTTP_UNSUPPORTED_MEDIA_TYPE, "content_type",
                             "the content type must be application/json\n" },
        [SERVER_TOO_LARGE] = { MHD_HTTP_CONTENT_TOO_LARGE, "size", "the body is too large\n" },
        [SERVER_BUSY] = { MHD_HTTP_SERVICE_UNAVAILABLE, "memory", "too many requests under way\n" },
};

const char *server_refusal_name(enum server_refusal refusal) {
        return refusals[refusal].name;
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

static void count(const struct request *request, unsigned status) {
        const struct server_route *route = request->route;

        if (route && route->count)
                route->count(route->ctx, status);
}

/* From here on the request is only read to its end. */
static void set_refusal(struct request *request, enum server_refusal refusal) {
        request->refusal = refusal;
        atomic_fetch_add(&request->server->refused[refusal], 1);
        drop_body(request);
}

/* A refusal ends the connection: what else the client sends belongs to the refused request. */
static enum MHD_Result answer_refusal(struct request *request, struct MHD_Connection *connection) {
        const struct refusal *refusal = &refusals[request->refusal];
        char *text = strdup(refusal->text);

        count(request, refusal->status);
        return text ? queue(request->server, connection, refusal->status, text, strlen(text), true)
                    : MHD_NO;
}

/* ---- the header ---- */

/* What is looked at; values are those of the first field of the name, NULL without one. */
struct header {
        unsigned lengths, codings; /* how many fields */
        bool chunked, expects;     /* expects: the client waits for 100 (Continue) */
        const char *length, *type;
};

static enum MHD_Result look_at_header(void *ctx, enum MHD_ValueKind kind, const char *name,
                                      const char *value) {
        struct header *header = ctx;

        (void)kind;
        if (strcasecmp(name, "Content-Length") == 0) {
                if (header->lengths++ == 0)
                        header->length = value;
        } else if (strcasecmp(name, "Transfer-Encoding") == 0) {
                header->codings++;
                header->chunked = value && strcasecmp(value, "chunked") == 0;
        } else if (strcasecmp(name, "Expect") == 0) {
                header->expects = true;
        } else if (strcasecmp(name, "Content-Type") == 0 && !header->type) {
                header->type = value;
        }
        return MHD_YES;
}

static bool is_framed_well(const struct header *header) {
        return header->lengths + header->codings <= 1 && (!header->codings || header->chunked);
}

static bool is_json(const struct header *header) {
        static const char type[] = "application/json";
        const char *value = header->type;
        size_t len = sizeof(type) - 1;

        if (!value || strncasecmp(value, type, len) != 0)
                return false;
        value += len + strspn(value + len, " \t");
        return *value == '\0' || *value == ';';
}

/* The announced length; 0 when there is none (chunks, or no body). */
static size_t announced_length(const struct header *header) {
        unsigned long long length;

        if (!header->length)
                return 0;
        errno = 0;
        length = strtoull(header->length, NULL, 10);
        return errno ? SIZE_MAX : (size_t)length;
}

/* Makes room for size bytes of body, in memory and in the budget of all. */
static bool reserve(struct request *request, size_t size) {
        struct server *server = request->server;
        size_t more = size - request->reserved;
        char *body;

        if (atomic_fetch_add(&server->body_bytes, more) + more > server->opts.bodies_max &&
            size > server->opts.small_max) {
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

/* Makes room for a piece of len bytes and the NUL behind the body. What was only announced takes no
 * memory, or few that announce much and send nothing would use up the budget. */
static bool make_room(struct request *request, size_t len) {
        size_t needed = request->len + len + 1, size = 2 * needed;

        if (needed <= request->reserved)
                return true;
        if (size < request->server->opts.small_max)
                size = request->server->opts.small_max;
        if (request->announced >= needed - 1 && size > request->announced + 1)
                size = request->announced + 1;
        return reserve(request, size);
}

static const struct server_route *route_of(const struct server *server, const char *path) {
        for (const struct server_route *route = server->routes; route->path; route++)
                if (strcmp(route->path, path) == 0)
                        return route;
        return NULL;
}

static enum server_refusal judge_header(struct request *request, const struct header *header,
                                        const char *method) {
        if (!is_framed_well(header))
                return SERVER_BAD_FRAMING;
        if (!request->route)
                return SERVER_NO_PATH;
        if (strcmp(method, "POST") != 0)
                return SERVER_NO_METHOD;
        if (!is_json(header))
                return SERVER_NO_JSON;
        if (request->announced > request->server->opts.body_max)
                return SERVER_TOO_LARGE;
        return make_room(request, 0) ? SERVER_REFUSALS : SERVER_BUSY;
}

/* The most that is read of a body, so that its client gets to see the refusal: a connection that is
 * closed while the client still writes is reset, and the reset destroys the answer (RFC 9112,
 * section 9.6). */
static size_t read_max(const struct request *request) {
        return 2 * request->server->opts.body_max;
}

/* Whether to refuse before the body: the client waits for that, or would not get to the end. */
static bool refuse_at_once(const struct request *request, const struct header *header) {
        return request->refusal == SERVER_BAD_FRAMING || header->expects ||
               request->announced > read_max(request);
}

static enum MHD_Result begin(struct server *server, struct MHD_Connection *connection,
                             const char *path, const char *method, void **state) {
        struct request *request = calloc(1, sizeof(*request));
        struct header header = { 0 };
        enum server_refusal refusal;

        if (!request)
                return MHD_NO;
        request->server = server;
        request->route = route_of(server, path);
        request->start_us = clock_mono_us(server->opts.clock);
        atomic_fetch_add(&server->requests, 1);
        if (request->route)
                series_add(request->route->in_flight, 1);
        *state = request;
        request->refusal = SERVER_REFUSALS;
        (void)MHD_get_connection_values(connection, MHD_HEADER_KIND, look_at_header, &header);
        request->announced = announced_length(&header);
        refusal = judge_header(request, &header, method);
        if (refusal == SERVER_REFUSALS)
                return MHD_YES;
        set_refusal(request, refusal);
        return refuse_at_once(request, &header) ? answer_refusal(request, connection) : MHD_YES;
}

/* ---- the body ---- */

/* Takes in a piece; of a refused request it is dropped. Return: whether to go on. */
static bool take_piece(struct request *request, const char *bytes, size_t len) {
        const struct server_opts *opts = &request->server->opts;
        size_t total = request->len + len;

        if (total > read_max(request))
                return false;
        if (request->refusal == SERVER_REFUSALS) {
                if (total > opts->body_max)
                        set_refusal(request, SERVER_TOO_LARGE);
                else if (!make_room(request, len))
                        set_refusal(request, SERVER_BUSY);
                else
                        memcpy(request->body + request->len, bytes, len);
        }
        request->len = total;
        return true;
}

/* Has the body judged. Return: the HTTP status; *ret_text is the caller's, NULL without memory. */
static unsigned judge(struct request *request, char **ret_text, size_t *ret_len) {
        static struct log_limit limit;
        struct server *server = request->server;
        CLEANUP(strbuf_done) struct strbuf out = STRBUF_INIT(server->opts.answer_max);
        bool large = request->len > SERVER_LARGE_BYTES;
        struct fault f = FAULT_INIT;
        unsigned status = MHD_HTTP_INTERNAL_SERVER_ERROR;
        int64_t suppressed;
        int r;

        request->body[request->len] = '\0';
        if (large)
                pthread_mutex_lock(&server->large);
        r = request->route->answer(request->route->ctx, request->body, request->len, &out, &status,
                                   &f);
        if (large)
                pthread_mutex_unlock(&server->large);
        *ret_len = out.len;
        if (!r)
                r = strbuf_take(&out, ret_text, &f);
        if (!r)
                return status;
        if (log_limit_pass(&limit, 1000, &suppressed))
                log_error("a request could not be answered", LOG_STR("error", f.text),
                          LOG_INT("suppressed", suppressed));
        *ret_text = strdup("internal error\n");
        *ret_len = *ret_text ? strlen(*ret_text) : 0;
        return MHD_HTTP_INTERNAL_SERVER_ERROR;
}

static enum MHD_Result finish(struct request *request, struct MHD_Connection *connection) {
        struct server *server = request->server;
        char *text = NULL;
        unsigned status;
        size_t len;

        if (request->refusal != SERVER_REFUSALS)
                return answer_refusal(request, connection);
        status = judge(request, &text, &len);
        count(request, status);
        series_observe(request->route->latency,
                       (double)(clock_mono_us(server->opts.clock) - request->start_us) / 1e6);
        return text ? queue(server, connection, status, text, len, status >= 500) : MHD_NO;
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

        /* The only message of a handshake that failed. */
        if (strstr(format, "handshake"))
                series_add(((struct server *)ctx)->opts.handshake_failures, 1);
        if (log_get_level() > LOG_DEBUG || !log_limit_pass(&limit, 10000, &suppressed))
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
                        on_log, server, MHD_OPTION_THREAD_POOL_SIZE, o->threads,
                        MHD_OPTION_THREAD_STACK_SIZE, (size_t)SERVER_STACK_BYTES,
                        MHD_OPTION_CONNECTION_LIMIT, o->connections,
                        MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)SERVER_POOL_BYTES,
                        MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)(o->idle_ms / 1000 + 1),
                        MHD_OPTION_HTTPS_PRIORITIES, SERVER_PRIORITIES,
                        MHD_OPTION_HTTPS_CERT_CALLBACK, o->cert_callback,
                        MHD_OPTION_STRICT_FOR_CLIENT, 1, MHD_OPTION_UNESCAPE_CALLBACK, keep_escapes,
                        NULL, MHD_OPTION_NOTIFY_CONNECTION, on_connection, server,
                        MHD_OPTION_NOTIFY_COMPLETED, on_completed, server,
                        MHD_OPTION_URI_LOG_CALLBACK, on_request_line, server, MHD_OPTION_END);
        return daemon;
}

static struct server_route *copy_routes(const struct server_route *routes) {
        size_t count = 0;
        struct server_route *copy;

        while (routes[count].path)
                count++;
        copy = calloc(count + 1, sizeof(*copy));
        if (copy)
                memcpy(copy, routes, count * sizeof(*copy));
        return copy;
}

int server_new(const struct server_opts *opts, struct server **ret_server, struct fault *f) {
        CLEANUP(server_free_p) struct server *server = calloc(1, sizeof(*server));
        int r;

        if (!server)
                return fault_set(f, FAULT_NOMEM, "out of memory");
        server->opts = *opts;
        pthread_mutex_init(&server->large, NULL);
        server->routes = copy_routes(opts->routes);
        if (!server->routes)
                return fault_set(f, FAULT_NOMEM, "out of memory");
        /* Below the limit of libmicrohttpd's single threads, which share it out: at that they would
         * accept nobody any more. */
        r = reaper_new(opts->clock, opts->connections / 4 * 3, 0, &server->reaper, f);
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
        /* A thread that still polls it would keep it listening after it is closed. */
        if (fd >= 0)
                (void)shutdown(fd, SHUT_RD);
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
        pthread_mutex_destroy(&server->large);
        free(server->routes);
        free(server);
}

struct server_load server_load(struct server *server) {
        struct reaper_load connections = reaper_load(server->reaper);
        struct server_load load = {
                .connections = connections.connections,
                .slow = connections.slow,
                .crowded = connections.crowded,
                .body_bytes = atomic_load(&server->body_bytes),
                .requests = atomic_load(&server->requests),
        };

        for (size_t i = 0; i < SERVER_REFUSALS; i++)
                load.refused[i] = atomic_load(&server->refused[i]);
        return load;
}

int server_check(void *server, struct fault *f) {
        struct reaper_load load = reaper_load(((struct server *)server)->reaper);

        if (load.overdue_ms >= SERVER_HUNG_MS)
                return fault_set(f, FAULT_BUG,
                                 "a connection that was to end %d s ago is still open: its thread "
                                 "hangs",
                                 (int)(load.overdue_ms / 1000));
        return 0;
}
