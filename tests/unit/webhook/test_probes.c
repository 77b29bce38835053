/* SPDX-License-Identifier: Apache-2.0 */
/* What readiness and liveness find: a port that answers, a certificate, a thread that hangs. */
#include <arpa/inet.h>
#include <check.h>
#include <gnutls/gnutls.h>
#include <microhttpd.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#include "certs/issue.h"
#include "common/base/clock.h"
#include "common/base/fault.h"
#include "common/base/strbuf.h"
#include "webhook/self_dial.h"
#include "webhook/server.h"
#include "webhook/tls_store.h"

#define DAY_S        86400
#define PATIENCE_MS  30000
#define SERVER_HOST  "webhook.test"
#define CERTIFICATES 2

DEFINE_CLEANUP(gnutls_session_t, gnutls_deinit)

static _Atomic int64_t ahead_ms;
static sem_t asked, go_on;
static char dir[] = "/tmp/test_probes.XXXXXX";
static char cert_path[64], key_path[64];
static struct cert_pair pairs[CERTIFICATES];
static struct tls_store *tls;
static struct server *server;
static struct self_dial *dial;

static int64_t mono_us(void *ctx) {
        (void)ctx;
        return clock_mono_us(clock_system()) + atomic_load(&ahead_ms) * 1000;
}

static int64_t wall_us(void *ctx) {
        (void)ctx;
        return clock_wall_us(clock_system()) + atomic_load(&ahead_ms) * 1000;
}

static const struct clock test_clock = { mono_us, mono_us, wall_us, NULL };

static void write_file(const char *path, const char *text) {
        FILE *file = fopen(path, "we");

        ck_assert_ptr_nonnull(file);
        ck_assert_int_ge(fputs(text, file), 0);
        ck_assert_int_eq(fclose(file), 0);
}

/* Hangs until it is told to go on. */
static int answer(void *ctx, const char *body, size_t len, struct strbuf *out, unsigned *ret_status,
                  struct fault *f) {
        (void)ctx;
        (void)body;
        (void)len;
        (void)f;
        ck_assert_int_eq(sem_post(&asked), 0);
        ck_assert_int_eq(sem_wait(&go_on), 0);
        strbuf_str(out, "{}");
        *ret_status = 200;
        return 0;
}

static const struct server_route routes[] = { { .path = "/hang", .answer = answer },
                                              { .path = NULL } };

static void start_server(void) {
        const struct server_opts opts = {
                .routes = routes,
                .cert_callback = tls_store_callback(),
                .clock = &test_clock,
                .threads = 2,
                .connections = 16,
                .body_max = 1000,
                .bodies_max = 10000,
                .answer_max = 1000,
                .header_ms = 10000,
                .request_ms = 15000,
                .idle_ms = 120000,
        };
        struct fault f = FAULT_INIT;

        ck_assert_msg(server_new(&opts, &server, &f) == 0, "%s", f.text);
}

static void dial_to(uint16_t port, int64_t within_ms) {
        const struct self_dial_opts opts = {
                .port = port,
                .tls = tls,
                .clock = &test_clock,
                .within_ms = within_ms,
        };

        self_dial_free(dial);
        ck_assert_int_eq(self_dial_new(&opts, &dial, NULL), 0);
}

static void setup(void) {
        static const char *const names[] = { SERVER_HOST, NULL };
        const struct tls_store_opts opts = {
                .cert_path = cert_path,
                .key_path = key_path,
                .clock = &test_clock,
        };

        ck_assert_int_eq(sem_init(&asked, 0, 0), 0);
        ck_assert_int_eq(sem_init(&go_on, 0, 0), 0);
        ck_assert_ptr_nonnull(mkdtemp(dir));
        (void)snprintf(cert_path, sizeof(cert_path), "%s/tls.crt", dir);
        (void)snprintf(key_path, sizeof(key_path), "%s/tls.key", dir);
        for (size_t i = 0; i < CERTIFICATES; i++) {
                struct cert_pair ca = { NULL, NULL };
                int64_t now_s = clock_wall_s(clock_system());

                ck_assert_int_eq(issue_ca(now_s, DAY_S, &ca, NULL), 0);
                ck_assert_int_eq(issue_leaf(&ca, names, now_s, DAY_S, &pairs[i], NULL), 0);
                cert_pair_done(&ca);
        }
        write_file(key_path, pairs[0].key);
        write_file(cert_path, pairs[0].cert);
        ck_assert_int_eq(tls_store_new(&opts, &tls, NULL), 0);
        start_server();
        dial_to(server_port(server), PATIENCE_MS);
}

static void teardown(void) {
        self_dial_free(dial);
        dial = NULL;
        server_free(server);
        tls_store_free(tls);
        for (size_t i = 0; i < CERTIFICATES; i++)
                cert_pair_done(&pairs[i]);
        (void)unlink(cert_path);
        (void)unlink(key_path);
        (void)rmdir(dir);
        memcpy(dir + strlen(dir) - 6, "XXXXXX", 6);
        atomic_store(&ahead_ms, 0);
        sem_destroy(&asked);
        sem_destroy(&go_on);
}

static void fails_with(int (*check)(void *, struct fault *), void *ctx, const char *words) {
        struct fault f = FAULT_INIT;

        ck_assert_int_lt(check(ctx, &f), 0);
        ck_assert_msg(strstr(f.text, words) != NULL, "%s", f.text);
}

START_TEST(a_server_that_answers_is_found) {
        struct fault f = FAULT_INIT;

        ck_assert_msg(self_dial_check(dial, &f) == 0, "%s", f.text);
        ck_assert_int_eq(tls_store_check(tls, NULL), 0);
        ck_assert_int_eq(server_check(server, NULL), 0);
}
END_TEST

static void *probe_often(void *ctx) {
        for (int i = 0; i < 50; i++)
                ck_assert_int_eq(self_dial_check(ctx, NULL), 0);
        return NULL;
}

/* The kubelet and a person ask at the same time: they share one answer. */
START_TEST(many_ask_at_once) {
        pthread_t threads[4];

        for (int i = 0; i < 4; i++)
                ck_assert_int_eq(pthread_create(&threads[i], NULL, probe_often, dial), 0);
        for (int i = 0; i < 4; i++)
                ck_assert_int_eq(pthread_join(threads[i], NULL), 0);
}
END_TEST

START_TEST(a_port_that_nobody_listens_on) {
        server_free(server);
        server = NULL;
        fails_with(self_dial_check, dial, "connect to port");
}
END_TEST

/* A socket that listens on the loopback and never accepts. */
static int listen_in_silence(uint16_t *ret_port) {
        struct sockaddr_in address = { .sin_family = AF_INET,
                                       .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
        socklen_t len = sizeof(address);
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

        ck_assert_int_ge(fd, 0);
        ck_assert_int_eq(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
        ck_assert_int_eq(listen(fd, 8), 0);
        ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&address, &len), 0);
        *ret_port = ntohs(address.sin_port);
        return fd;
}

START_TEST(a_port_that_does_not_answer) {
        uint16_t port;
        CLEANUP(close_p) int fd = listen_in_silence(&port);

        ck_assert_int_ge(fd, 0);
        dial_to(port, 200);
        fails_with(self_dial_check, dial, "handshake with port");
}
END_TEST

static enum MHD_Result refuse(void *ctx, struct MHD_Connection *connection, const char *url,
                              const char *method, const char *version, const char *upload_data,
                              size_t *upload_data_size, void **state) {
        (void)ctx;
        (void)connection;
        (void)url;
        (void)method;
        (void)version;
        (void)upload_data;
        (void)upload_data_size;
        (void)state;
        return MHD_NO;
}

START_TEST(somebody_elses_certificate) {
        struct MHD_Daemon *other =
                MHD_start_daemon(MHD_USE_TLS | MHD_USE_POLL_INTERNAL_THREAD, 0, NULL, NULL, refuse,
                                 NULL, MHD_OPTION_HTTPS_MEM_CERT, pairs[1].cert,
                                 MHD_OPTION_HTTPS_MEM_KEY, pairs[1].key, MHD_OPTION_END);

        ck_assert_ptr_nonnull(other);
        dial_to(MHD_get_daemon_info(other, MHD_DAEMON_INFO_BIND_PORT)->port, PATIENCE_MS);
        fails_with(self_dial_check, dial, "another certificate");
        MHD_stop_daemon(other);
}
END_TEST

START_TEST(what_it_found_counts_for_a_second) {
        struct fault f = FAULT_INIT;

        ck_assert_int_eq(self_dial_check(dial, NULL), 0);
        server_free(server);
        server = NULL;
        ck_assert_int_eq(self_dial_check(dial, &f), 0);
        atomic_fetch_add(&ahead_ms, 1000);
        ck_assert_int_eq(self_dial_check(dial, &f), -FAULT_IO);
        ck_assert_int_eq(self_dial_check(dial, NULL), -FAULT_IO);
}
END_TEST

START_TEST(a_certificate_that_has_expired) {
        atomic_fetch_add(&ahead_ms, INT64_C(2000) * DAY_S);
        fails_with(tls_store_check, tls, "not valid now");
        ck_assert_int_eq(self_dial_check(dial, NULL), 0);
}
END_TEST

/* Sends a whole request and waits until it is being answered. */
static void ask_to_hang(gnutls_session_t session, int fd) {
        static const char request[] = "POST /hang HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n"
                                      "Content-Type: application/json\r\n\r\n{}";
        struct timespec until;

        gnutls_transport_set_int(session, fd);
        ck_assert_int_eq(gnutls_handshake(session), GNUTLS_E_SUCCESS);
        ck_assert_int_eq(gnutls_record_send(session, request, sizeof(request) - 1),
                         sizeof(request) - 1);
        ck_assert_int_eq(clock_gettime(CLOCK_REALTIME, &until), 0);
        until.tv_sec += PATIENCE_MS / 1000;
        ck_assert_int_eq(sem_timedwait(&asked, &until), 0);
}

/* Whether the check comes to be as wanted. */
static bool comes_to(bool healthy) {
        const struct timespec pause = { .tv_nsec = 10000000 };

        for (int i = 0; i < PATIENCE_MS / 10; i++) {
                if ((server_check(server, NULL) == 0) == healthy)
                        return true;
                (void)nanosleep(&pause, NULL);
        }
        return false;
}

START_TEST(a_thread_that_hangs) {
        CLEANUP(gnutls_deinit_p) gnutls_session_t session = NULL;
        gnutls_certificate_credentials_t credentials;
        const struct sockaddr_in address = { .sin_family = AF_INET,
                                             .sin_port = htons(server_port(server)),
                                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
        CLEANUP(close_p) int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

        ck_assert_int_eq(gnutls_certificate_allocate_credentials(&credentials), 0);
        ck_assert_int_eq(gnutls_init(&session, GNUTLS_CLIENT), 0);
        ck_assert_int_eq(gnutls_set_default_priority(session), 0);
        ck_assert_int_eq(gnutls_credentials_set(session, GNUTLS_CRD_CERTIFICATE, credentials), 0);
        ck_assert_int_eq(connect(fd, (const struct sockaddr *)&address, sizeof(address)), 0);
        ask_to_hang(session, fd);
        ck_assert_int_eq(server_check(server, NULL), 0);
        atomic_fetch_add(&ahead_ms, 15000 + 60000 + 1000);
        ck_assert(comes_to(false));
        fails_with(server_check, server, "its thread hangs");
        /* The other thread still answers. */
        ck_assert_int_eq(self_dial_check(dial, NULL), 0);
        ck_assert_int_eq(sem_post(&go_on), 0);
        ck_assert(comes_to(true));
        gnutls_certificate_free_credentials(credentials);
}
END_TEST

int main(void) {
        Suite *suite = suite_create("probes");
        TCase *tcase = tcase_create("probes");
        SRunner *runner = srunner_create(suite);
        int failed;

        suite_add_tcase(suite, tcase);
        tcase_set_timeout(tcase, 120);
        tcase_add_checked_fixture(tcase, setup, teardown);
        tcase_add_test(tcase, a_server_that_answers_is_found);
        tcase_add_test(tcase, many_ask_at_once);
        tcase_add_test(tcase, a_port_that_nobody_listens_on);
        tcase_add_test(tcase, a_port_that_does_not_answer);
        tcase_add_test(tcase, somebody_elses_certificate);
        tcase_add_test(tcase, what_it_found_counts_for_a_second);
        tcase_add_test(tcase, a_certificate_that_has_expired);
        tcase_add_test(tcase, a_thread_that_hangs);
        srunner_run_all(runner, CK_NORMAL);
        failed = srunner_ntests_failed(runner);
        srunner_free(runner);
        return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
