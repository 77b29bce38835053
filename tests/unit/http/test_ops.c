/* SPDX-License-Identifier: Apache-2.0 */
#include "common/http/ops.h"

#include <arpa/inet.h>
#include <check.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "common/base/fault.h"
#include "common/base/metrics.h"
#include "common/base/strbuf.h"
#include "tests/unit/exposition.h"

/* ---- both servers on loopback, with checks that the test switches ---- */

static atomic_bool alive, ready, certified;
static struct ops *ops;
static struct metrics *metrics;
static uint16_t health_port, metrics_port;

static int check(void *ctx, struct fault *f) {
        return atomic_load((const atomic_bool *)ctx) ? 0 : fault_set(f, FAULT_IO, "not \"so\" now");
}

static const struct ops_check checks[] = {
        { .name = "alive", .check = check, .ctx = &alive, .for_liveness = true },
        { .name = "ready", .check = check, .ctx = &ready },
        { .name = "certificate", .check = check, .ctx = &certified },
        { .name = NULL },
};

static int loopback(uint16_t port, struct sockaddr_in *ret_address) {
        *ret_address = (struct sockaddr_in){ .sin_family = AF_INET,
                                             .sin_port = htons(port),
                                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
        return socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
}

/* A port that nobody has; 0, which means "none" to ops, cannot be asked for. */
static uint16_t free_port(void) {
        struct sockaddr_in address;
        socklen_t len = sizeof(address);
        CLEANUP(close_p) int fd = loopback(0, &address);

        ck_assert_int_ge(fd, 0);
        ck_assert_int_eq(bind(fd, (struct sockaddr *)&address, len), 0);
        ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&address, &len), 0);
        return ntohs(address.sin_port);
}

/* The list of checks ends before the server does, as in a main that leaves its block. */
static int start(const char *health, const char *scrape, struct fault *f) {
        struct ops_check passing[sizeof(checks) / sizeof(checks[0])];
        const struct ops_opts opts = {
                .health_address = health,
                .metrics_address = scrape,
                .checks = passing,
                .metrics = metrics,
        };
        int r;

        memcpy(passing, checks, sizeof(checks));
        r = ops_new(&opts, &ops, f);
        memset(passing, 0, sizeof(passing));
        return r;
}

#define ADDRESS_SIZE 32 /* "127.0.0.1:65535" */

static void setup(void) {
        static const struct metric_spec spec = { .name = "tests_total",
                                                 .help = "Help.",
                                                 .type = METRIC_COUNTER };
        static const char *const none[] = { NULL };
        char health[ADDRESS_SIZE], scrape[ADDRESS_SIZE];
        struct fault f = FAULT_INIT;
        int r = -1;

        alive = ready = certified = true;
        metrics = metrics_new();
        ck_assert_ptr_nonnull(metric_series(metric_add_spec(metrics, &spec), none));
        /* Somebody may take a port between the look and the use. */
        for (int i = 0; i < 10 && r; i++) {
                health_port = free_port();
                metrics_port = free_port();
                (void)snprintf(health, sizeof(health), "127.0.0.1:%u", health_port);
                (void)snprintf(scrape, sizeof(scrape), "127.0.0.1:%u", metrics_port);
                r = start(health, scrape, &f);
        }
        ck_assert_msg(r == 0, "%s", f.text);
}

static void teardown(void) {
        ops_free(ops);
        ops = NULL;
        metrics_free(metrics);
}

/* ---- a client ---- */

static int dial(uint16_t port) {
        struct sockaddr_in address;
        int fd = loopback(port, &address);

        ck_assert_int_ge(fd, 0);
        if (connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0)
                return fd;
        (void)close(fd);
        return -1;
}

#define ANSWER_MAX 65536

/* Sends these bytes and reads until the server closes. */
static void exchange(uint16_t port, const char *bytes, size_t len, struct strbuf *answer) {
        CLEANUP(close_p) int fd = dial(port);
        char buffer[4096];
        ssize_t n;

        ck_assert_int_ge(fd, 0);
        strbuf_reset(answer);
        while (len > 0 && (n = send(fd, bytes, len, MSG_NOSIGNAL)) > 0) {
                bytes += n;
                len -= (size_t)n;
        }
        (void)shutdown(fd, SHUT_WR);
        while ((n = recv(fd, buffer, sizeof(buffer), 0)) > 0)
                strbuf_add(answer, buffer, (size_t)n);
        ck_assert_int_eq(strbuf_check(answer, NULL), 0);
}

static void ask(uint16_t port, const char *method, const char *target, struct strbuf *answer) {
        CLEANUP(strbuf_done) struct strbuf request = STRBUF_INIT(10000);

        strbuf_printf(&request, "%s %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", method,
                      target);
        exchange(port, request.ptr, request.len, answer);
}

/* The status of an answer; 0 when there was none. */
static int status_of(const struct strbuf *answer) {
        const char *text = strbuf_text(answer);

        return strncmp(text, "HTTP/1.1 ", 9) == 0 ? atoi(text + 9) : 0;
}

static const char *body_of(const struct strbuf *answer) {
        const char *end = strstr(strbuf_text(answer), "\r\n\r\n");

        return end ? end + 4 : "";
}

/* ---- health ---- */

static const struct probe {
        const char *target;
        bool alive, ready, certified;
        int status;
        const char *body;
} probes[] = {
        { "/healthz", true, true, true, 200, "ok" },
        { "/readyz", true, true, true, 200, "ok" },
        { "/healthz", true, false, false, 200, "ok" }, /* a restart would not help */
        { "/readyz", true, false, true, 500,
          "[+]alive ok\n[-]ready failed: not \"so\" now\n[+]certificate ok\nreadyz check failed\n" },
        { "/healthz", false, true, true, 500,
          "[-]alive failed: not \"so\" now\nhealthz check failed\n" },
        { "/readyz", false, true, true, 500,
          "[-]alive failed: not \"so\" now\n[+]ready ok\n[+]certificate ok\nreadyz check failed\n" },
        { "/healthz?verbose", true, true, true, 200, "[+]alive ok\nhealthz check passed\n" },
        { "/readyz?verbose", true, true, true, 200,
          "[+]alive ok\n[+]ready ok\n[+]certificate ok\nreadyz check passed\n" },
        { "/readyz?verbose=", true, true, true, 200,
          "[+]alive ok\n[+]ready ok\n[+]certificate ok\nreadyz check passed\n" },
        { "/readyz?verbose=1&x=y", true, true, true, 200,
          "[+]alive ok\n[+]ready ok\n[+]certificate ok\nreadyz check passed\n" },
        { "/readyz?verboser", true, true, true, 200, "ok" },
        { "/readyz?x", true, true, true, 200, "ok" },
        { "/readyz?", true, true, true, 200, "ok" },
        { "/readyz?exclude=ready", true, false, true, 200, "ok" },
        { "/readyz?verbose&exclude=ready", true, false, true, 200,
          "[+]alive ok\n[+]ready excluded: ok\n[+]certificate ok\nreadyz check passed\n" },
        { "/readyz?exclude=ready&exclude=certificate", true, false, false, 200, "ok" },
        { "/readyz?exclude=ready", true, false, false, 500,
          "[+]alive ok\n[+]ready excluded: ok\n[-]certificate failed: not \"so\" now\n"
          "readyz check failed\n" },
        { "/readyz?exclude=read", true, false, true, 500,
          "[+]alive ok\n[-]ready failed: not \"so\" now\n[+]certificate ok\nreadyz check failed\n" },
        { "/readyz?exclude", true, false, true, 500,
          "[+]alive ok\n[-]ready failed: not \"so\" now\n[+]certificate ok\nreadyz check failed\n" },
        { "/readyz/ready", false, true, false, 200, "ok" },
        { "/readyz/ready", true, false, true, 500,
          "[-]ready failed: not \"so\" now\nreadyz check failed\n" },
        { "/readyz/ready?verbose", true, true, true, 200, "[+]ready ok\nreadyz check passed\n" },
        { "/healthz/alive", true, false, false, 200, "ok" },
        { "/healthz/ready", true, true, true, 404, "not found\n" }, /* no part of liveness */
        { "/readyz/unknown", true, true, true, 404, "not found\n" },
        { "/readyz/ready/", true, true, true, 404, "not found\n" },
        { "/readyz/", true, true, true, 200, "ok" },
        { "/readyzz", true, true, true, 404, "not found\n" },
        { "/ready", true, true, true, 404, "not found\n" },
        { "/READYZ", true, true, true, 404, "not found\n" },
        { "//readyz", true, true, true, 404, "not found\n" },
        { "/", true, true, true, 404, "not found\n" },
        { "/metrics", true, true, true, 404, "not found\n" }, /* on its own port */
        { "/../readyz", true, true, true, 404, "not found\n" },
        { "/readyz/%72eady", true, true, true, 200, "ok" },
};

START_TEST(probes_are_answered) {
        const struct probe *p = &probes[_i];
        CLEANUP(strbuf_done) struct strbuf answer = STRBUF_INIT(ANSWER_MAX);

        alive = p->alive;
        ready = p->ready;
        certified = p->certified;
        ask(health_port, "GET", p->target, &answer);
        ck_assert_msg(status_of(&answer) == p->status, "%s: %s", p->target, answer.ptr);
        ck_assert_msg(strcmp(body_of(&answer), p->body) == 0, "%s: %s", p->target, answer.ptr);
        ck_assert_ptr_nonnull(
                strstr(answer.ptr, "\r\nContent-Type: text/plain; charset=utf-8\r\n"));
        ck_assert_ptr_nonnull(strstr(answer.ptr, "\r\nX-Content-Type-Options: nosniff\r\n"));
}
END_TEST

/* ---- metrics ---- */

START_TEST(metrics_are_scraped) {
        CLEANUP(strbuf_done) struct strbuf answer = STRBUF_INIT(ANSWER_MAX);

        ask(metrics_port, "GET", "/metrics", &answer);
        ck_assert_int_eq(status_of(&answer), 200);
        ck_assert_ptr_nonnull(strstr(
                answer.ptr, "\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\n"));
        ck_assert_str_eq(body_of(&answer), "# HELP tests_total Help.\n"
                                           "# TYPE tests_total counter\n"
                                           "tests_total 0\n");
        ck_assert_ptr_null(exposition_fault(body_of(&answer)));
}
END_TEST

START_TEST(other_paths_of_the_metrics_port_are_none) {
        static const char *const targets[] = { "/",         "/metric",  "/metrics/",
                                               "/metricsx", "/healthz", "/readyz" };
        CLEANUP(strbuf_done) struct strbuf answer = STRBUF_INIT(ANSWER_MAX);

        ask(metrics_port, "GET", targets[_i], &answer);
        ck_assert_msg(status_of(&answer) == 404, "%s: %s", targets[_i], answer.ptr);
}
END_TEST

/* ---- methods ---- */

START_TEST(head_has_the_head_of_get) {
        static const char *const targets[] = { "/readyz?verbose", "/metrics" };
        uint16_t port = _i == 0 ? health_port : metrics_port;
        CLEANUP(strbuf_done) struct strbuf get = STRBUF_INIT(ANSWER_MAX);
        CLEANUP(strbuf_done) struct strbuf head = STRBUF_INIT(ANSWER_MAX);
        CLEANUP(strbuf_done) struct strbuf length = STRBUF_INIT(100);

        ask(port, "GET", targets[_i], &get);
        ask(port, "HEAD", targets[_i], &head);
        ck_assert_int_eq(status_of(&head), 200);
        ck_assert_str_eq(body_of(&head), "");
        strbuf_printf(&length, "\r\nContent-Length: %zu\r\n", strlen(body_of(&get)));
        ck_assert_ptr_nonnull(strstr(head.ptr, strbuf_text(&length)));
}
END_TEST

START_TEST(other_methods_are_refused) {
        static const char *const methods[] = { "POST",  "PUT",     "DELETE", "PATCH",
                                               "TRACE", "OPTIONS", "get",    "BREW" };
        CLEANUP(strbuf_done) struct strbuf answer = STRBUF_INIT(ANSWER_MAX);

        ask(health_port, methods[_i], "/readyz", &answer);
        ck_assert_msg(status_of(&answer) == 405, "%s: %s", methods[_i], answer.ptr);
        ck_assert_ptr_nonnull(strstr(answer.ptr, "\r\nAllow: GET, HEAD\r\n"));
        ask(metrics_port, methods[_i], "/metrics", &answer);
        ck_assert_msg(status_of(&answer) == 405, "%s: %s", methods[_i], answer.ptr);
}
END_TEST

/* ---- hostile ---- */

#define HEADERS "Host: x\r\nConnection: close\r\n"

static const struct attack {
        const char *name, *bytes;
        size_t len; /* 0: strlen(bytes) */
} attacks[] = {
        { "nothing", "", 0 },
        { "no HTTP", "hello\r\n\r\n", 0 },
        { "TLS", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 11 },
        { "HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 0 },
        { "half a request line", "GET /rea", 0 },
        { "half a header", "GET /readyz HTTP/1.1\r\nHost:", 0 },
        { "no target", "GET\r\n\r\n", 0 },
        { "a NUL in the path", "GET /ready\0z HTTP/1.1\r\n" HEADERS "\r\n", 53 },
        { "an escaped NUL", "GET /readyz%00/x HTTP/1.1\r\n" HEADERS "\r\n", 0 },
        { "a bad escape", "GET /readyz%zz?%=%&exclude=%f HTTP/1.1\r\n" HEADERS "\r\n", 0 },
        { "an absolute target", "GET http://x/readyz HTTP/1.1\r\n" HEADERS "\r\n", 0 },
        { "a body", "GET /readyz HTTP/1.1\r\n" HEADERS "Content-Length: 5\r\n\r\nhello", 0 },
        { "less body than announced",
          "POST /readyz HTTP/1.1\r\n" HEADERS "Content-Length: 50\r\n\r\nhello", 0 },
        { "an endless body announced",
          "POST /readyz HTTP/1.1\r\n" HEADERS "Content-Length: 18446744073709551615\r\n\r\n", 0 },
        { "bad chunks",
          "POST /readyz HTTP/1.1\r\n" HEADERS "Transfer-Encoding: chunked\r\n\r\nzz\r\n", 0 },
        { "control bytes", "GET /\x01\x02\xff HTTP/1.1\r\n" HEADERS "\r\n", 0 },
};

/* Whatever it is told, it answers the next one. */
START_TEST(hostile_bytes_do_not_hurt) {
        const struct attack *a = &attacks[_i];
        CLEANUP(strbuf_done) struct strbuf answer = STRBUF_INIT(ANSWER_MAX);

        exchange(health_port, a->bytes, a->len ? a->len : strlen(a->bytes), &answer);
        exchange(metrics_port, a->bytes, a->len ? a->len : strlen(a->bytes), &answer);
        ask(health_port, "GET", "/readyz", &answer);
        ck_assert_msg(status_of(&answer) == 200, "after %s: %s", a->name, strbuf_text(&answer));
        ask(metrics_port, "GET", "/metrics", &answer);
        ck_assert_msg(status_of(&answer) == 200, "after %s: %s", a->name, strbuf_text(&answer));
}
END_TEST

START_TEST(a_long_request_line_or_header_is_refused) {
        CLEANUP(strbuf_done) struct strbuf request = STRBUF_INIT(100000);
        CLEANUP(strbuf_done) struct strbuf answer = STRBUF_INIT(ANSWER_MAX);

        strbuf_printf(&request, "GET /%020000d HTTP/1.1\r\n" HEADERS "\r\n", 0);
        exchange(health_port, request.ptr, request.len, &answer);
        ck_assert_int_ne(status_of(&answer), 200);
        strbuf_reset(&request);
        strbuf_printf(&request, "GET /readyz HTTP/1.1\r\n" HEADERS "X: %020000d\r\n\r\n", 0);
        exchange(health_port, request.ptr, request.len, &answer);
        ck_assert_int_ne(status_of(&answer), 200);
        ask(health_port, "GET", "/readyz", &answer);
        ck_assert_int_eq(status_of(&answer), 200);
}
END_TEST

/* Those who are silent on the metrics port take nothing from the kubelet. */
START_TEST(silent_connections_to_metrics_leave_health_alone) {
        CLEANUP(strbuf_done) struct strbuf answer = STRBUF_INIT(ANSWER_MAX);
        int silent[40];

        for (size_t i = 0; i < 40; i++)
                silent[i] = dial(metrics_port);
        ask(health_port, "GET", "/readyz", &answer);
        ck_assert_int_eq(status_of(&answer), 200);
        for (size_t i = 0; i < 40; i++)
                close_p(&silent[i]);
        ask(metrics_port, "GET", "/metrics", &answer);
        ck_assert_int_eq(status_of(&answer), 200);
}
END_TEST

/* ---- many at a time ---- */

static void *ask_often(void *ctx) {
        (void)ctx;
        for (int i = 0; i < 25; i++) {
                CLEANUP(strbuf_done) struct strbuf answer = STRBUF_INIT(ANSWER_MAX);

                ask(i % 2 ? health_port : metrics_port, "GET", i % 2 ? "/readyz" : "/metrics",
                    &answer);
                /* The checks that are failing just then are answered too. */
                if (status_of(&answer) != 200 && status_of(&answer) != 500)
                        return (void *)(uintptr_t) "no answer";
        }
        return NULL;
}

START_TEST(checks_change_while_many_ask) {
        pthread_t threads[4];

        for (size_t i = 0; i < 4; i++)
                ck_assert_int_eq(pthread_create(&threads[i], NULL, ask_often, NULL), 0);
        for (int i = 0; i < 1000; i++)
                atomic_store(&alive, i % 2 == 0);
        for (size_t i = 0; i < 4; i++) {
                void *fault;

                ck_assert_int_eq(pthread_join(threads[i], &fault), 0);
                ck_assert_msg(!fault, "%s", (const char *)fault);
        }
}
END_TEST

/* ---- start ---- */

static const struct refusal {
        const char *health, *metrics;
        int r;
        const char *text;
} refusals[] = {
        { "x", "0", -FAULT_INVALID, "\"x\" is no address: use host:port, :port, or 0 for none" },
        { "0", ":0", -FAULT_INVALID, "\":0\" is no address" },
        { "127.0.0.1:99999", "0", -FAULT_INVALID, "is no address" },
        { "nobody.invalid:8081", "0", -FAULT_INVALID, "address nobody.invalid: " },
        { "192.0.2.1:8081", "0", -FAULT_IO, "listen on 192.0.2.1:8081: Cannot assign" },
};

START_TEST(addresses_that_cannot_be_had_are_named) {
        const struct refusal *row = &refusals[_i];
        struct ops *running = ops;
        struct fault f = FAULT_INIT;

        ck_assert_msg(start(row->health, row->metrics, &f) == row->r, "%s", f.text);
        ck_assert_msg(strstr(f.text, row->text) != NULL, "%s", f.text);
        ck_assert_int_eq(start(row->health, row->metrics, NULL), row->r);
        ck_assert_ptr_eq(ops, running);
}
END_TEST

START_TEST(a_taken_port_is_said_and_the_first_server_stops) {
        char taken[ADDRESS_SIZE], other[ADDRESS_SIZE];
        struct ops *running = ops;
        uint16_t port = free_port();
        struct fault f = FAULT_INIT;

        (void)snprintf(taken, sizeof(taken), "127.0.0.1:%u", metrics_port);
        (void)snprintf(other, sizeof(other), "127.0.0.1:%u", port);
        ck_assert_int_eq(start(other, taken, &f), -FAULT_IO);
        ck_assert_ptr_nonnull(strstr(f.text, "Address already in use"));
        ck_assert_ptr_eq(ops, running);
        ck_assert_int_lt(dial(port), 0);
}
END_TEST

START_TEST(zero_means_no_server) {
        struct ops *running = ops;

        ck_assert_int_eq(start("0", "0", NULL), 0);
        ops_free(ops);
        ops = running;
}
END_TEST

/* Without a host: every address, IPv4 too. */
START_TEST(a_port_alone_is_every_address) {
        CLEANUP(strbuf_done) struct strbuf answer = STRBUF_INIT(ANSWER_MAX);
        char address[ADDRESS_SIZE];
        struct ops *running = ops;
        uint16_t port;
        int r = -1;

        for (int i = 0; i < 10 && r; i++) {
                port = free_port();
                (void)snprintf(address, sizeof(address), ":%u", port);
                r = start(address, "0", NULL);
        }
        ck_assert_int_eq(r, 0);
        ask(port, "GET", "/readyz", &answer);
        ck_assert_int_eq(status_of(&answer), 200);
        ops_free(ops);
        ops = running;
}
END_TEST

#define COUNT(rows) ((int)(sizeof(rows) / sizeof((rows)[0])))

int main(void) {
        Suite *suite = suite_create("ops");
        TCase *tcase = tcase_create("ops");
        SRunner *runner = srunner_create(suite);
        int failed;

        suite_add_tcase(suite, tcase);
        tcase_set_timeout(tcase, 60);
        tcase_add_checked_fixture(tcase, setup, teardown);
        tcase_add_loop_test(tcase, probes_are_answered, 0, COUNT(probes));
        tcase_add_test(tcase, metrics_are_scraped);
        tcase_add_loop_test(tcase, other_paths_of_the_metrics_port_are_none, 0, 6);
        tcase_add_loop_test(tcase, head_has_the_head_of_get, 0, 2);
        tcase_add_loop_test(tcase, other_methods_are_refused, 0, 8);
        tcase_add_loop_test(tcase, hostile_bytes_do_not_hurt, 0, COUNT(attacks));
        tcase_add_test(tcase, a_long_request_line_or_header_is_refused);
        tcase_add_test(tcase, silent_connections_to_metrics_leave_health_alone);
        tcase_add_test(tcase, checks_change_while_many_ask);
        tcase_add_loop_test(tcase, addresses_that_cannot_be_had_are_named, 0, COUNT(refusals));
        tcase_add_test(tcase, a_taken_port_is_said_and_the_first_server_stops);
        tcase_add_test(tcase, zero_means_no_server);
        tcase_add_test(tcase, a_port_alone_is_every_address);
        srunner_run_all(runner, CK_ENV);
        failed = srunner_ntests_failed(runner);
        srunner_free(runner);
        return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
