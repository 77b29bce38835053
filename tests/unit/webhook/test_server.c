/* SPDX-License-Identifier: Apache-2.0 */
/* What tests of the whole webhook cannot reach: small limits, routes that block or fail, and the
 * server's own accounts. Over real TLS. */
#include "webhook/server.h"

#include <arpa/inet.h>
#include <check.h>
#include <gnutls/gnutls.h>
#include <netinet/in.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#include "certs/issue.h"
#include "common/base/clock.h"
#include "common/base/fault.h"
#include "common/base/log.h"
#include "common/base/metrics.h"
#include "common/base/strbuf.h"
#include "webhook/tls_store.h"

#define LIMIT_MS 60000 /* of waits */

#define BODY_MAX   1000
#define BODIES_MAX 4000
#define ANSWER_MAX 500

/* ---- routes ---- */

static atomic_int calls;
static sem_t entered, leave; /* of /block */
static struct metrics *metrics;
static struct series *in_flight, *latency;
static atomic_uint counted[600]; /* by HTTP status */

static void count(void *ctx, unsigned status) {
        (void)ctx;
        atomic_fetch_add(&counted[status], 1);
}

/* Answers with the length of the body and its first byte. */
static int answer_echo(void *ctx, const char *body, size_t len, struct strbuf *out,
                       unsigned *ret_status, struct fault *f) {
        (void)ctx;
        atomic_fetch_add(&calls, 1);
        if (body[len] != '\0')
                return fault_set(f, FAULT_BUG, "the body has no end");
        strbuf_printf(out, "%zu %.1s", len, body);
        *ret_status = 200;
        return 0;
}

static int answer_block(void *ctx, const char *body, size_t len, struct strbuf *out,
                        unsigned *ret_status, struct fault *f) {
        ck_assert_int_eq(sem_post(&entered), 0);
        ck_assert_int_eq(sem_wait(&leave), 0);
        return answer_echo(ctx, body, len, out, ret_status, f);
}

static int answer_refusal(void *ctx, const char *body, size_t len, struct strbuf *out,
                          unsigned *ret_status, struct fault *f) {
        (void)ctx;
        (void)body;
        (void)len;
        (void)f;
        strbuf_str(out, "no review\n");
        *ret_status = 400;
        return 0;
}

static int answer_fault(void *ctx, const char *body, size_t len, struct strbuf *out,
                        unsigned *ret_status, struct fault *f) {
        (void)ctx;
        (void)body;
        (void)len;
        strbuf_str(out, "half an answer");
        *ret_status = 200;
        return fault_set(f, FAULT_NOMEM, "out of memory");
}

static int answer_too_much(void *ctx, const char *body, size_t len, struct strbuf *out,
                           unsigned *ret_status, struct fault *f) {
        (void)ctx;
        (void)body;
        (void)len;
        (void)f;
        strbuf_printf(out, "%0501d", 0); /* ANSWER_MAX and 1 */
        *ret_status = 200;
        return 0;
}

static struct server_route routes[] = {
        { .path = "/echo", .answer = answer_echo },
        { .path = "/block", .answer = answer_block },
        { .path = "/refusal", .answer = answer_refusal },
        { .path = "/fault", .answer = answer_fault },
        { .path = "/much", .answer = answer_too_much },
        { .path = NULL },
};

/* ---- the server ---- */

static char dir[64], cert_path[96], key_path[96];
static struct tls_store *store;
static struct server *server;

static void put(const char *path, const char *text) {
        FILE *file = fopen(path, "we");

        ck_assert_ptr_nonnull(file);
        ck_assert_int_ge(fputs(text, file), 0);
        ck_assert_int_eq(fclose(file), 0);
}

static void make_certificate(void) {
        static const char *const names[] = { "localhost", NULL };
        CLEANUP(cert_pair_done) struct cert_pair ca = { 0 };
        CLEANUP(cert_pair_done) struct cert_pair leaf = { 0 };
        int64_t now_s = (int64_t)time(NULL);

        (void)snprintf(dir, sizeof(dir), "/tmp/test_server.XXXXXX");
        ck_assert_ptr_nonnull(mkdtemp(dir));
        (void)snprintf(cert_path, sizeof(cert_path), "%s/tls.crt", dir);
        (void)snprintf(key_path, sizeof(key_path), "%s/tls.key", dir);
        ck_assert_int_eq(issue_ca(now_s, 86400, &ca, NULL), 0);
        ck_assert_int_eq(issue_leaf(&ca, names, now_s, 86400, &leaf, NULL), 0);
        put(cert_path, leaf.cert);
        put(key_path, leaf.key);
}

static void make_meters(void) {
        static const double buckets[] = { 1 };
        static const char *const none[] = { NULL };
        const struct metric_spec gauge = { .name = "a", .help = "Help.", .type = METRIC_GAUGE };
        const struct metric_spec histogram = { .name = "b_seconds",
                                               .help = "Help.",
                                               .type = METRIC_HISTOGRAM,
                                               .buckets = buckets,
                                               .bucket_count = 1 };

        metrics = metrics_new();
        ck_assert_ptr_nonnull(metrics);
        in_flight = metric_series(metric_add_spec(metrics, &gauge), none);
        latency = metric_series(metric_add_spec(metrics, &histogram), none);
        for (struct server_route *route = routes; route->path; route++) {
                route->in_flight = in_flight;
                route->latency = latency;
                route->count = count;
        }
}

static struct server_opts opts_of(void) {
        return (struct server_opts){ .port = 0,
                                     .routes = routes,
                                     .cert_callback = tls_store_callback(),
                                     .clock = clock_system(),
                                     .threads = 2,
                                     .connections = 32,
                                     .body_max = BODY_MAX,
                                     .bodies_max = BODIES_MAX,
                                     .answer_max = ANSWER_MAX,
                                     .header_ms = LIMIT_MS,
                                     .request_ms = LIMIT_MS,
                                     .idle_ms = LIMIT_MS };
}

/* The list of routes ends before the server does, as in a main that leaves its block. */
static void start(const struct server_opts *opts) {
        struct server_route passing[sizeof(routes) / sizeof(routes[0])];
        struct server_opts passed = *opts;
        const struct tls_store_opts tls_opts = { .cert_path = cert_path,
                                                 .key_path = key_path,
                                                 .clock = clock_system() };
        struct fault f = FAULT_INIT;

        ck_assert_msg(tls_store_new(&tls_opts, &store, &f) == 0, "%s", f.text);
        memcpy(passing, routes, sizeof(routes));
        passed.routes = passing;
        ck_assert_msg(server_new(&passed, &server, &f) == 0, "%s", f.text);
        memset(passing, 0, sizeof(passing));
}

static void prepare(void) {
        log_init("unit", LOG_ERROR, LOG_FORMAT_JSON);
        make_certificate();
        make_meters();
        atomic_store(&calls, 0);
        for (size_t i = 0; i < sizeof(counted) / sizeof(counted[0]); i++)
                atomic_store(&counted[i], 0);
        ck_assert_int_eq(sem_init(&entered, 0, 0), 0);
        ck_assert_int_eq(sem_init(&leave, 0, 0), 0);
}

static void setup(void) {
        const struct server_opts opts = opts_of();

        prepare();
        start(&opts);
}

static void teardown(void) {
        server_free(server);
        tls_store_free(store);
        metrics_free(metrics);
        (void)sem_destroy(&entered);
        (void)sem_destroy(&leave);
        (void)unlink(cert_path);
        (void)unlink(key_path);
        (void)rmdir(dir);
        server = NULL;
        store = NULL;
}

/* ---- a client ---- */

struct client {
        int fd;
        gnutls_session_t tls;
        gnutls_certificate_credentials_t credentials;
};

static int dial(void) {
        const struct sockaddr_in address = { .sin_family = AF_INET,
                                             .sin_port = htons(server_port(server)),
                                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

        ck_assert_int_ge(fd, 0);
        ck_assert_int_eq(connect(fd, (const struct sockaddr *)&address, sizeof(address)), 0);
        return fd;
}

static void client_open(struct client *c) {
        int code;

        c->fd = dial();
        ck_assert_int_eq(gnutls_certificate_allocate_credentials(&c->credentials), 0);
        ck_assert_int_eq(gnutls_init(&c->tls, GNUTLS_CLIENT | GNUTLS_NO_SIGNAL), 0);
        ck_assert_int_eq(gnutls_set_default_priority(c->tls), 0);
        ck_assert_int_eq(gnutls_credentials_set(c->tls, GNUTLS_CRD_CERTIFICATE, c->credentials), 0);
        gnutls_transport_set_int(c->tls, c->fd);
        do
                code = gnutls_handshake(c->tls);
        while (code < 0 && !gnutls_error_is_fatal(code));
        ck_assert_msg(code == 0, "%s", gnutls_strerror(code));
}

static void client_close(struct client *c) {
        gnutls_deinit(c->tls);
        gnutls_certificate_free_credentials(c->credentials);
        (void)close(c->fd);
}

/* Return: false when the connection ended before; the answer says why. */
static bool client_send(struct client *c, const char *bytes, size_t len) {
        while (len > 0) {
                ssize_t n = gnutls_record_send(c->tls, bytes, len);

                if (n == GNUTLS_E_AGAIN || n == GNUTLS_E_INTERRUPTED)
                        continue;
                if (n <= 0)
                        return false;
                bytes += n;
                len -= (size_t)n;
        }
        return true;
}

/* Appends what comes. Return: false at the end. */
static bool client_receive(struct client *c, struct strbuf *answer) {
        char bytes[4096];
        ssize_t n;

        do
                n = gnutls_record_recv(c->tls, bytes, sizeof(bytes));
        while (n == GNUTLS_E_AGAIN || n == GNUTLS_E_INTERRUPTED);
        if (n <= 0)
                return false;
        strbuf_add(answer, bytes, (size_t)n);
        return true;
}

/* One whole answer, which announces its length. */
static void client_answer(struct client *c, struct strbuf *answer) {
        const char *head_end, *length;

        strbuf_reset(answer);
        while (!(head_end = strstr(strbuf_text(answer), "\r\n\r\n")))
                if (!client_receive(c, answer))
                        return;
        length = strstr(answer->ptr, "\r\nContent-Length: ");
        ck_assert_ptr_nonnull(length);
        while (answer->len < (size_t)(head_end + 4 - answer->ptr) + (size_t)atoi(length + 18)) {
                size_t at = (size_t)(head_end - answer->ptr),
                       where = (size_t)(length - answer->ptr);

                if (!client_receive(c, answer))
                        return;
                head_end = answer->ptr + at;
                length = answer->ptr + where;
        }
}

static int status_of(const struct strbuf *answer) {
        const char *text = strbuf_text(answer);

        return strncmp(text, "HTTP/1.1 ", 9) == 0 ? atoi(text + 9) : 0;
}

static const char *body_of(const struct strbuf *answer) {
        const char *end = strstr(strbuf_text(answer), "\r\n\r\n");

        return end ? end + 4 : "";
}

static bool has(const struct strbuf *answer, const char *header) {
        return strcasestr(strbuf_text(answer), header) != NULL;
}

/* A request with a body of so many 'b'. */
static void put_request(struct strbuf *request, const char *path, size_t size) {
        strbuf_printf(request,
                      "POST %s HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                      "Content-Length: %zu\r\n\r\n",
                      path, size);
        for (size_t i = 0; i < size; i++)
                strbuf_char(request, 'b');
}

static void client_post(struct client *c, const char *path, size_t size) {
        CLEANUP(strbuf_done) struct strbuf request = STRBUF_INIT(100000);

        put_request(&request, path, size);
        client_send(c, request.ptr, request.len);
}

#define TEXT_MAX 100000

#define POST_ECHO "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"

/* One request on a connection of its own. */
static void exchange(const char *bytes, size_t len, struct strbuf *answer) {
        CLEANUP(client_close) struct client c;

        client_open(&c);
        client_send(&c, bytes, len);
        client_answer(&c, answer);
}

static void post(const char *path, size_t size, struct strbuf *answer) {
        CLEANUP(strbuf_done) struct strbuf request = STRBUF_INIT(TEXT_MAX);

        put_request(&request, path, size);
        exchange(request.ptr, request.len, answer);
}

static void pause_briefly(void) {
        const struct timespec pause = { .tv_sec = 0, .tv_nsec = 2000000 };

        (void)nanosleep(&pause, NULL);
}

/* Until all that was reserved and counted has been given back. */
static void await_idle(void) {
        int64_t until_ms = clock_mono_ms(clock_system()) + LIMIT_MS;
        struct server_load load = server_load(server);

        while (load.body_bytes || load.requests || load.connections) {
                ck_assert_msg(clock_mono_ms(clock_system()) < until_ms,
                              "%zu bytes, %zu requests, %zu connections", load.body_bytes,
                              load.requests, load.connections);
                pause_briefly();
                load = server_load(server);
        }
        ck_assert(series_value(in_flight) == 0);
}

/* ---- answers ---- */

static const struct answer_row {
        const char *name, *path;
        size_t size;
        int status;
        const char *body, *type;
} answers[] = {
        { "an answer", "/echo", 5, 200, "5 b", "application/json" },
        { "no body", "/echo", 0, 200, "0 ", "application/json" },
        { "the largest body", "/echo", BODY_MAX, 200, "1000 b", "application/json" },
        { "a byte more", "/echo", BODY_MAX + 1, 413, "the body is too large\n", "text/plain" },
        { "a refusal by the route", "/refusal", 5, 400, "no review\n", "text/plain" },
        { "a fault of the route", "/fault", 5, 500, "internal error\n", "text/plain" },
        { "an answer too long", "/much", 5, 500, "internal error\n", "text/plain" },
        { "no such path", "/", 5, 404, "not found\n", "text/plain" },
};

START_TEST(each_outcome_has_its_answer) {
        const struct answer_row *row = &answers[_i];
        CLEANUP(strbuf_done) struct strbuf answer = STRBUF_INIT(TEXT_MAX);
        CLEANUP(strbuf_done) struct strbuf type = STRBUF_INIT(100);
        bool routed = row->status != 404, judged = routed && row->status != 413;

        post(row->path, row->size, &answer);
        ck_assert_msg(status_of(&answer) == row->status, "%s: %s", row->name, strbuf_text(&answer));
        ck_assert_msg(strcmp(body_of(&answer), row->body) == 0, "%s: %s", row->name, answer.ptr);
        strbuf_printf(&type, "\r\nContent-Type: %s", row->type);
        ck_assert(has(&answer, type.ptr));
        /* The route's own refusal leaves the connection in order; the server's ends it. */
        ck_assert_msg(has(&answer, "\r\nConnection: close") == (row->status > 400), "%s",
                      answer.ptr);
        await_idle();
        ck_assert_uint_eq(atomic_load(&counted[row->status]), routed);
        ck_assert(series_value(latency) == (double)judged);
}
END_TEST

/* Chunks of so many bytes each; the body's length is not announced. */
static void put_chunks(struct strbuf *request, size_t size, size_t chunk) {
        strbuf_str(request, "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                            "Transfer-Encoding: chunked\r\n\r\n");
        for (size_t sent = 0; sent < size; sent += chunk) {
                size_t n = size - sent < chunk ? size - sent : chunk;

                strbuf_printf(request, "%zx\r\n%0*d\r\n", n, (int)n, 0);
        }
        strbuf_str(request, "0\r\n\r\n");
}

static const struct chunk_row {
        size_t size, chunk;
        int status;
} chunks[] = {
        { 0, 1, 200 },
        { 1, 1, 200 },
        { BODY_MAX, 1, 200 },
        { BODY_MAX, 7, 200 },
        { BODY_MAX, 1000, 200 },
        { BODY_MAX + 1, 7, 413 },
        { BODY_MAX + 1, 1001, 413 },
        { 2 * BODY_MAX, 100, 413 },
};

START_TEST(chunks_have_the_same_limit) {
        const struct chunk_row *row = &chunks[_i];
        CLEANUP(strbuf_done) struct strbuf request = STRBUF_INIT(TEXT_MAX);
        CLEANUP(strbuf_done) struct strbuf answer = STRBUF_INIT(TEXT_MAX);

        put_chunks(&request, row->size, row->chunk);
        exchange(request.ptr, request.len, &answer);
        ck_assert_msg(status_of(&answer) == row->status, "%zu in chunks of %zu: %s", row->size,
                      row->chunk, strbuf_text(&answer));
        ck_assert_int_eq(atomic_load(&calls), row->status == 200);
        await_idle();
}
END_TEST

START_TEST(more_than_twice_the_limit_ends_the_connection) {
        CLEANUP(strbuf_done) struct strbuf request = STRBUF_INIT(TEXT_MAX);
        CLEANUP(strbuf_done) struct strbuf answer = STRBUF_INIT(TEXT_MAX);

        put_chunks(&request, 20 * BODY_MAX, 1000);
        exchange(request.ptr, request.len, &answer);
        ck_assert(status_of(&answer) != 200);
        ck_assert_int_eq(atomic_load(&calls), 0);
        await_idle();
}
END_TEST

/* A client that writes on while the connection is closed would see a reset, and no answer. */
START_TEST(a_refused_body_is_read_to_its_end) {
        CLEANUP(strbuf_done) struct strbuf request = STRBUF_INIT(TEXT_MAX);
        CLEANUP(strbuf_done) struct strbuf answer = STRBUF_INIT(TEXT_MAX);
        const size_t size = 2 * BODY_MAX;
        CLEANUP(client_close) struct client c;

        put_request(&request, "/echo", size);
        client_open(&c);
        client_send(&c, request.ptr, request.len - size);
        while (server_load(server).refused[SERVER_TOO_LARGE] == 0)
                pause_briefly();
        for (size_t sent = 0; sent < size; sent += 100) {
                ck_assert(client_send(&c, request.ptr + request.len - size + sent, 100));
                pause_briefly();
        }
        client_answer(&c, &answer);
        ck_assert_msg(status_of(&answer) == 413, "%s", strbuf_text(&answer));
        ck_assert(!client_receive(&c, &answer));
        await_idle();
        ck_assert_int_eq(atomic_load(&calls), 0);
}
END_TEST

/* Each is only the header: the answer does not wait for the body. */
static const struct at_once_row {
        const char *request;
        int status;
} at_once[] = {
        { POST_ECHO "Content-Length: 1001\r\nExpect: 100-continue\r\n\r\n", 413 },
        { POST_ECHO "Content-Length: 2001\r\n\r\n", 413 },
        { POST_ECHO "Content-Length: 99999999999999999999999\r\n\r\n", 413 },
        { "PUT /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\nExpect: 100-continue\r\n\r\n",
          405 },
        { "GET /echo HTTP/1.1\r\nHost: x\r\n\r\n", 405 },
};

START_TEST(what_nobody_will_send_is_not_waited_for) {
        CLEANUP(strbuf_done) struct strbuf answer = STRBUF_INIT(TEXT_MAX);

        exchange(at_once[_i].request, strlen(at_once[_i].request), &answer);
        ck_assert_msg(status_of(&answer) == at_once[_i].status, "%s: %s", at_once[_i].request,
                      strbuf_text(&answer));
        await_idle();
}
END_TEST

/* Every place at which a client may go away. */
START_TEST(a_request_cut_anywhere_leaves_nothing_behind) {
        CLEANUP(strbuf_done) struct strbuf request = STRBUF_INIT(TEXT_MAX);

        put_request(&request, "/echo", 100);
        for (size_t cut = 0; cut < request.len; cut += 13) {
                CLEANUP(client_close) struct client c;

                client_open(&c);
                client_send(&c, request.ptr, cut);
        }
        await_idle();
        ck_assert_int_eq(atomic_load(&calls), 0);
}
END_TEST

/* ---- smuggling: what two servers in a row could read differently ---- */

#define SECOND "POST /echo HTTP/1.1\r\nHost: x\r\n"

static const char *const smuggled[] = {
        POST_ECHO "Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
        POST_ECHO "Content-Length: 5\r\ncontent-length: 50\r\n\r\nhello",
        POST_ECHO "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" SECOND,
        POST_ECHO "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n" SECOND,
        POST_ECHO "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        POST_ECHO "Transfer-Encoding: identity\r\n\r\n" SECOND,
        POST_ECHO "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        POST_ECHO "Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        POST_ECHO "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        POST_ECHO "Transfer-Encoding:\r\n\r\n0\r\n\r\n",
};

/* One answer, 400, and the end: what follows is never read as a request. */
START_TEST(ambiguous_framing_is_refused) {
        CLEANUP(strbuf_done) struct strbuf answer = STRBUF_INIT(TEXT_MAX);
        CLEANUP(client_close) struct client c;

        client_open(&c);
        client_send(&c, smuggled[_i], strlen(smuggled[_i]));
        while (client_receive(&c, &answer))
                ;
        ck_assert_msg(status_of(&answer) == 400, "%s: %s", smuggled[_i], strbuf_text(&answer));
        ck_assert_ptr_null(strstr(answer.ptr + 1, "HTTP/1.1 "));
        ck_assert_int_eq(atomic_load(&calls), 0);
}
END_TEST

/* ---- all bodies together ---- */

START_TEST(bodies_share_a_budget) {
        CLEANUP(strbuf_done) struct strbuf answer = STRBUF_INIT(TEXT_MAX);
        struct client waiting[4];

        /* Each sends 998 of the 999 bytes that it announces: 4 times 1,000 are reserved. */
        for (size_t i = 0; i < 4; i++) {
                CLEANUP(strbuf_done) struct strbuf request = STRBUF_INIT(TEXT_MAX);

                strbuf_printf(&request, POST_ECHO "Content-Length: 999\r\n\r\n%0998d", 0);
                client_open(&waiting[i]);
                client_send(&waiting[i], request.ptr, request.len);
        }
        while (server_load(server).body_bytes < BODIES_MAX)
                pause_briefly();
        ck_assert_uint_eq(server_load(server).requests, 4);
        ck_assert(series_value(in_flight) == 4);
        post("/echo", 1, &answer);
        ck_assert_int_eq(status_of(&answer), 503);
        ck_assert(has(&answer, "\r\nRetry-After: 1\r\n") && has(&answer, "\r\nConnection: close"));
        /* One goes, and there is room again. */
        client_close(&waiting[0]);
        while (server_load(server).body_bytes == BODIES_MAX)
                pause_briefly();
        post("/echo", 1, &answer);
        ck_assert_int_eq(status_of(&answer), 200);
        for (size_t i = 1; i < 4; i++)
                client_close(&waiting[i]);
        await_idle();
}
END_TEST

START_TEST(what_is_only_announced_takes_no_room) {
        static const char head[] = POST_ECHO "Content-Length: 999\r\n\r\n";
        CLEANUP(strbuf_done) struct strbuf answer = STRBUF_INIT(TEXT_MAX);
        struct client waiting[8];

        for (size_t i = 0; i < 8; i++) {
                client_open(&waiting[i]);
                client_send(&waiting[i], head, sizeof(head) - 1);
        }
        while (server_load(server).requests < 8)
                pause_briefly();
        ck_assert_uint_lt(server_load(server).body_bytes, 100);
        post("/echo", 999, &answer);
        ck_assert_int_eq(status_of(&answer), 200);
        for (size_t i = 0; i < 8; i++)
                client_close(&waiting[i]);
        await_idle();
}
END_TEST

/* ---- drain and stop ---- */

START_TEST(connections_are_kept_until_the_drain) {
        CLEANUP(strbuf_done) struct strbuf answer = STRBUF_INIT(TEXT_MAX);
        CLEANUP(client_close) struct client c;

        client_open(&c);
        for (int i = 0; i < 3; i++) {
                client_post(&c, "/echo", 3);
                client_answer(&c, &answer);
                ck_assert_int_eq(status_of(&answer), 200);
                ck_assert(!has(&answer, "\r\nConnection: close"));
        }
        server_drain(server);
        client_post(&c, "/echo", 3);
        client_answer(&c, &answer);
        ck_assert_int_eq(status_of(&answer), 200);
        ck_assert(has(&answer, "\r\nConnection: close"));
        ck_assert(!client_receive(&c, &answer));
        /* New ones are still taken: not everybody knows yet. */
        post("/echo", 3, &answer);
        ck_assert_int_eq(status_of(&answer), 200);
        ck_assert(has(&answer, "\r\nConnection: close"));
}
END_TEST

static void await(sem_t *semaphore) {
        struct timespec until;

        ck_assert_int_eq(clock_gettime(CLOCK_REALTIME, &until), 0);
        until.tv_sec += LIMIT_MS / 1000;
        ck_assert_int_eq(sem_timedwait(semaphore, &until), 0);
}

static void *let_go(void *ctx) {
        (void)ctx;
        pause_briefly();
        (void)sem_post(&leave);
        return NULL;
}

START_TEST(stop_waits_for_the_request_under_way) {
        CLEANUP(strbuf_done) struct strbuf answer = STRBUF_INIT(TEXT_MAX);
        CLEANUP(client_close) struct client c;
        pthread_t thread;

        client_open(&c);
        client_post(&c, "/block", 3);
        await(&entered);
        ck_assert(!server_stop(server, 0)); /* not in no time */
        ck_assert_uint_eq(server_load(server).requests, 1);
        ck_assert_int_eq(pthread_create(&thread, NULL, let_go, NULL), 0);
        ck_assert(server_stop(server, LIMIT_MS));
        ck_assert_int_eq(pthread_join(thread, NULL), 0);
        client_answer(&c, &answer);
        ck_assert_int_eq(status_of(&answer), 200);
        ck_assert_str_eq(body_of(&answer), "3 b");
        ck_assert(has(&answer, "\r\nConnection: close"));
}
END_TEST

/* The kernel takes connections until the last worker has let go of the socket; it resets them. */
START_TEST(after_stop_nobody_is_accepted) {
        const struct sockaddr_in address = { .sin_family = AF_INET,
                                             .sin_port = htons(server_port(server)),
                                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
        int64_t until_ms = clock_mono_ms(clock_system()) + LIMIT_MS;
        bool taken = true;

        ck_assert(server_stop(server, LIMIT_MS));
        while (taken) {
                CLEANUP(close_p) int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

                taken = connect(fd, (const struct sockaddr *)&address, sizeof(address)) == 0;
                ck_assert_int_lt(clock_mono_ms(clock_system()), until_ms);
        }
        ck_assert_int_eq(atomic_load(&calls), 0);
}
END_TEST

/* ---- deadlines ---- */

/* What is sent before the silence. */
static const char *const beginnings[] = {
        NULL,                /* not even TLS */
        "",                  /* TLS alone */
        "POST /echo HTTP/1", /* half a header */
        POST_ECHO "Content-Length: 5\r\n\r\nhel",
};

START_TEST(silence_ends_at_the_deadline) {
        struct server_opts opts = opts_of();
        CLEANUP(close_p) int raw = -1;
        CLEANUP(strbuf_done) struct strbuf answer = STRBUF_INIT(TEXT_MAX);
        struct client c;
        char byte;

        opts.header_ms = opts.request_ms = opts.idle_ms = 2000;
        prepare();
        start(&opts);
        if (beginnings[_i]) {
                client_open(&c);
                client_send(&c, beginnings[_i], strlen(beginnings[_i]));
                while (client_receive(&c, &answer))
                        ;
                client_close(&c);
        } else {
                raw = dial();
                ck_assert_int_le(recv(raw, &byte, 1, 0), 0);
        }
        ck_assert_int_ne(status_of(&answer), 200);
        await_idle();
        ck_assert_uint_eq(server_load(server).slow, 1);
        teardown();
}
END_TEST

/* ---- start ---- */

START_TEST(a_taken_port_is_said) {
        struct server_opts opts = opts_of();
        struct server *other = NULL;
        struct fault f = FAULT_INIT;

        opts.port = server_port(server);
        ck_assert_int_eq(server_new(&opts, &other, &f), -FAULT_IO);
        ck_assert_ptr_null(other);
        ck_assert_ptr_eq(strstr(f.text, "serve HTTPS on port "), f.text);
}
END_TEST

static void *ask_often(void *ctx) {
        (void)ctx;
        for (int i = 0; i < 10; i++) {
                CLEANUP(strbuf_done) struct strbuf answer = STRBUF_INIT(TEXT_MAX);

                post(i % 3 ? "/echo" : "/refusal", 10, &answer);
                if (status_of(&answer) != (i % 3 ? 200 : 400))
                        return routes; /* anything but NULL */
        }
        return NULL;
}

START_TEST(many_ask_at_a_time) {
        pthread_t threads[4];

        for (size_t i = 0; i < 4; i++)
                ck_assert_int_eq(pthread_create(&threads[i], NULL, ask_often, NULL), 0);
        for (size_t i = 0; i < 4; i++) {
                void *fault;

                ck_assert_int_eq(pthread_join(threads[i], &fault), 0);
                ck_assert_ptr_null(fault);
        }
        await_idle();
        ck_assert_uint_eq(atomic_load(&counted[200]), 24);
        ck_assert_uint_eq(atomic_load(&counted[400]), 16);
        ck_assert(series_value(latency) == 40);
}
END_TEST

#define COUNT(table) ((int)(sizeof(table) / sizeof((table)[0])))

int main(void) {
        Suite *suite = suite_create("server");
        TCase *tcase = tcase_create("server"), *slow = tcase_create("deadlines");
        SRunner *runner = srunner_create(suite);
        int failed;

        suite_add_tcase(suite, tcase);
        suite_add_tcase(suite, slow);
        tcase_set_timeout(tcase, 120);
        tcase_set_timeout(slow, 120);
        tcase_add_checked_fixture(tcase, setup, teardown);
        tcase_add_loop_test(tcase, each_outcome_has_its_answer, 0, COUNT(answers));
        tcase_add_loop_test(tcase, chunks_have_the_same_limit, 0, COUNT(chunks));
        tcase_add_test(tcase, more_than_twice_the_limit_ends_the_connection);
        tcase_add_test(tcase, a_refused_body_is_read_to_its_end);
        tcase_add_loop_test(tcase, what_nobody_will_send_is_not_waited_for, 0, COUNT(at_once));
        tcase_add_test(tcase, a_request_cut_anywhere_leaves_nothing_behind);
        tcase_add_loop_test(tcase, ambiguous_framing_is_refused, 0, COUNT(smuggled));
        tcase_add_test(tcase, bodies_share_a_budget);
        tcase_add_test(tcase, what_is_only_announced_takes_no_room);
        tcase_add_test(tcase, connections_are_kept_until_the_drain);
        tcase_add_test(tcase, stop_waits_for_the_request_under_way);
        tcase_add_test(tcase, after_stop_nobody_is_accepted);
        tcase_add_test(tcase, a_taken_port_is_said);
        tcase_add_test(tcase, many_ask_at_a_time);
        tcase_add_loop_test(slow, silence_ends_at_the_deadline, 0, COUNT(beginnings));
        srunner_run_all(runner, CK_ENV);
        failed = srunner_ntests_failed(runner);
        srunner_free(runner);
        return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
