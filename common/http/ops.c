/* SPDX-License-Identifier: Apache-2.0 */
#include "common/http/ops.h"

#include <errno.h>
#include <microhttpd.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>

#include "common/base/clock.h"
#include "common/base/fault.h"
#include "common/base/flags.h"
#include "common/base/metrics.h"
#include "common/base/strbuf.h"
#include "common/http/reaper.h"

/* The kubelet and a few scrapers; each idle connection costs its pool. */
#define OPS_CONNECTIONS 128
#define OPS_POOL_BYTES  8192
#define OPS_TIMEOUT_S   10
/* One that is silent, or drips, makes room from here on. */
#define OPS_CROWD 96
/* A crowd that comes at once does not push out the probe that has just come and is about to ask:
 * there is room for some more. */
#define OPS_GRACE_MS 1000

/* 1,024 series a metric and a few dozen metrics would be below this. */
#define OPS_BODY_MAX (16U << 20)

struct ops {
        struct ops_opts opts;
        struct ops_check *checks;
        struct MHD_Daemon *health, *metrics;
        struct reaper *health_reaper, *metrics_reaper;
};

/* ---- deadlines, as in webhook/server.c: libmicrohttpd's own restart with every byte ---- */

static void on_connection(void *ctx, struct MHD_Connection *connection, void **entry,
                          enum MHD_ConnectionNotificationCode code) {
        if (code == MHD_CONNECTION_NOTIFY_CLOSED)
                reaper_remove(ctx, *entry);
        else
                *entry = reaper_add(
                        ctx,
                        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD)
                                ->connect_fd,
                        OPS_TIMEOUT_S * 1000);
}

static void on_completed(void *ctx, struct MHD_Connection *connection, void **state,
                         enum MHD_RequestTerminationCode code) {
        (void)state;
        (void)code;
        reaper_served(ctx,
                      MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT)
                              ->socket_context,
                      OPS_TIMEOUT_S * 1000);
}

/* ---- answers ---- */

static enum MHD_Result answer(struct MHD_Connection *connection, unsigned status,
                              const char *content_type, struct strbuf *body) {
        struct MHD_Response *response;
        enum MHD_Result queued;
        char *text;

        if (strbuf_take(body, &text, NULL))
                return MHD_NO;
        response = MHD_create_response_from_buffer(strlen(text), text, MHD_RESPMEM_MUST_FREE);
        if (!response) {
                free(text);
                return MHD_NO;
        }
        (void)MHD_add_response_header(response, "Content-Type", content_type);
        (void)MHD_add_response_header(response, "X-Content-Type-Options", "nosniff");
        if (status == MHD_HTTP_METHOD_NOT_ALLOWED)
                (void)MHD_add_response_header(response, "Allow", "GET, HEAD");
        queued = MHD_queue_response(connection, status, response);
        MHD_destroy_response(response);
        return queued;
}

static enum MHD_Result answer_text(struct MHD_Connection *connection, unsigned status,
                                   const char *text) {
        CLEANUP(strbuf_done) struct strbuf body = STRBUF_INIT(OPS_BODY_MAX);

        strbuf_str(&body, text);
        return answer(connection, status, "text/plain; charset=utf-8", &body);
}

/* An argument that is looked for: by name, and by value unless that is NULL. */
struct argument {
        const char *name, *value;
        bool found;
};

static enum MHD_Result find_argument(void *ctx, enum MHD_ValueKind kind, const char *name,
                                     const char *value) {
        struct argument *a = ctx;

        (void)kind;
        a->found |= strcmp(name, a->name) == 0 &&
                    (!a->value || (value && strcmp(value, a->value) == 0));
        return MHD_YES;
}

static bool has_argument(struct MHD_Connection *connection, const char *name, const char *value) {
        struct argument a = { .name = name, .value = value, .found = false };

        (void)MHD_get_connection_values(connection, MHD_GET_ARGUMENT_KIND, find_argument, &a);
        return a.found;
}

/* Runs the checks of one endpoint; only: the one that was asked for, "" for all. */
static enum MHD_Result answer_health(const struct ops *ops, struct MHD_Connection *connection,
                                     bool liveness, const char *only) {
        CLEANUP(strbuf_done) struct strbuf body = STRBUF_INIT(OPS_BODY_MAX);
        bool failed = false, found = *only == '\0';
        bool verbose = has_argument(connection, "verbose", NULL);

        for (const struct ops_check *c = ops->checks; c->name; c++) {
                struct fault f = FAULT_INIT;

                if ((liveness && !c->for_liveness) || (*only && strcmp(only, c->name) != 0))
                        continue;
                found = true;
                if (has_argument(connection, "exclude", c->name)) {
                        strbuf_printf(&body, "[+]%s excluded: ok\n", c->name);
                } else if (c->check(c->ctx, &f)) {
                        failed = true;
                        strbuf_printf(&body, "[-]%s failed: %s\n", c->name, f.text);
                } else {
                        strbuf_printf(&body, "[+]%s ok\n", c->name);
                }
        }
        if (!found)
                return answer_text(connection, MHD_HTTP_NOT_FOUND, "not found\n");
        if (!failed && !verbose)
                return answer_text(connection, MHD_HTTP_OK, "ok");
        strbuf_printf(&body, "%s check %s\n", liveness ? "healthz" : "readyz",
                      failed ? "failed" : "passed");
        return answer(connection, failed ? MHD_HTTP_INTERNAL_SERVER_ERROR : MHD_HTTP_OK,
                      "text/plain; charset=utf-8", &body);
}

/* Whether path is prefix or prefix/rest; *ret_rest is then the rest, "" for none. */
static bool is_below(const char *path, const char *prefix, const char **ret_rest) {
        size_t len = strlen(prefix);

        if (strncmp(path, prefix, len) != 0 || (path[len] && path[len] != '/'))
                return false;
        *ret_rest = path[len] ? path + len + 1 : "";
        return true;
}

static bool is_read(const char *method) {
        return strcmp(method, "GET") == 0 || strcmp(method, "HEAD") == 0;
}

static enum MHD_Result serve_health(void *ctx, struct MHD_Connection *connection, const char *url,
                                    const char *method, const char *version,
                                    const char *upload_data, size_t *upload_data_size,
                                    void **state) {
        const struct ops *ops = ctx;
        const char *only;

        (void)version;
        (void)upload_data;
        (void)upload_data_size;
        (void)state;
        if (!is_read(method))
                return answer_text(connection, MHD_HTTP_METHOD_NOT_ALLOWED, "use GET\n");
        if (is_below(url, "/healthz", &only))
                return answer_health(ops, connection, true, only);
        if (is_below(url, "/readyz", &only))
                return answer_health(ops, connection, false, only);
        return answer_text(connection, MHD_HTTP_NOT_FOUND, "not found\n");
}

static enum MHD_Result serve_metrics(void *ctx, struct MHD_Connection *connection, const char *url,
                                     const char *method, const char *version,
                                     const char *upload_data, size_t *upload_data_size,
                                     void **state) {
        const struct ops *ops = ctx;
        CLEANUP(strbuf_done) struct strbuf body = STRBUF_INIT(OPS_BODY_MAX);

        (void)version;
        (void)upload_data;
        (void)upload_data_size;
        (void)state;
        if (!is_read(method))
                return answer_text(connection, MHD_HTTP_METHOD_NOT_ALLOWED, "use GET\n");
        if (strcmp(url, "/metrics") != 0)
                return answer_text(connection, MHD_HTTP_NOT_FOUND, "not found\n");
        metrics_write(ops->opts.metrics, &body);
        return answer(connection, MHD_HTTP_OK, "text/plain; version=0.0.4; charset=utf-8", &body);
}

static int listen_on(const char *host, uint16_t port, int *ret_fd, struct fault *f) {
        CLEANUP(close_p) int fd = -1;
        const struct addrinfo hints = { .ai_flags = AI_PASSIVE | AI_NUMERICSERV,
                                        .ai_socktype = SOCK_STREAM };
        struct addrinfo *found = NULL;
        char service[6]; /* 65535 and NUL */
        int on = 1, off = 0, error;

        (void)snprintf(service, sizeof(service), "%u", port);
        /* All addresses: IPv6 that takes IPv4 too, where there is IPv6. */
        error = getaddrinfo(*host ? host : "::", service, &hints, &found);
        if (error)
                return fault_set(f, FAULT_INVALID, "address %s: %s", host, gai_strerror(error));
        fd = socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (fd < 0 && !*host) {
                freeaddrinfo(found);
                return listen_on("0.0.0.0", port, ret_fd, f);
        }
        if (found->ai_family == AF_INET6)
                (void)setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off));
        (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
        error = bind(fd, found->ai_addr, found->ai_addrlen) || listen(fd, SOMAXCONN) ? errno : 0;
        freeaddrinfo(found);
        if (error)
                return fault_set_errno(f, FAULT_IO, error, "listen on %s:%u", host, port);
        *ret_fd = fd;
        fd = -1; /* taken */
        return 0;
}

static int start(struct ops *ops, const char *address, MHD_AccessHandlerCallback serve,
                 struct reaper **ret_reaper, struct MHD_Daemon **ret_daemon, struct fault *f) {
        char host[FLAGS_HOST_SIZE];
        uint16_t port;
        int fd, r;

        if (!flags_parse_address(address, host, &port))
                return fault_set(f, FAULT_INVALID,
                                 "\"%s\" is no address: use host:port, :port, or 0 for none",
                                 address);
        if (port == 0)
                return 0;
        r = reaper_new(clock_system(), OPS_CROWD, OPS_GRACE_MS, ret_reaper, f);
        if (!r)
                r = listen_on(host, port, &fd, f);
        if (r)
                return r;
        /* poll: epoll spins (see webhook/server.c). */
        *ret_daemon = MHD_start_daemon(
                MHD_USE_POLL_INTERNAL_THREAD | MHD_USE_ITC, 0, NULL, NULL, serve, ops,
                MHD_OPTION_LISTEN_SOCKET, fd, MHD_OPTION_CONNECTION_LIMIT,
                (unsigned)OPS_CONNECTIONS, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
                (size_t)OPS_POOL_BYTES, MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)OPS_TIMEOUT_S,
                MHD_OPTION_NOTIFY_CONNECTION, on_connection, *ret_reaper,
                MHD_OPTION_NOTIFY_COMPLETED, on_completed, *ret_reaper, MHD_OPTION_END);
        if (!*ret_daemon) {
                (void)close(fd);
                return fault_set(f, FAULT_IO, "start the server on %s", address);
        }
        return 0;
}

static struct ops_check *copy_checks(const struct ops_check *checks) {
        size_t count = 0;
        struct ops_check *copy;

        while (checks[count].name)
                count++;
        copy = calloc(count + 1, sizeof(*copy));
        if (copy)
                memcpy(copy, checks, count * sizeof(*copy));
        return copy;
}

int ops_new(const struct ops_opts *opts, struct ops **ret_ops, struct fault *f) {
        CLEANUP(ops_free_p) struct ops *ops = calloc(1, sizeof(*ops));
        int r;

        if (ops)
                ops->checks = copy_checks(opts->checks);
        if (!ops || !ops->checks)
                return fault_set(f, FAULT_NOMEM, "out of memory");
        ops->opts = *opts;
        r = start(ops, opts->health_address, serve_health, &ops->health_reaper, &ops->health, f);
        if (!r)
                r = start(ops, opts->metrics_address, serve_metrics, &ops->metrics_reaper,
                          &ops->metrics, f);
        if (r)
                return r;
        *ret_ops = TAKE(ops);
        return 0;
}

void ops_free(struct ops *ops) {
        if (!ops)
                return;
        if (ops->health)
                MHD_stop_daemon(ops->health);
        if (ops->metrics)
                MHD_stop_daemon(ops->metrics);
        reaper_free(ops->health_reaper);
        reaper_free(ops->metrics_reaper);
        free(ops->checks);
        free(ops);
}
