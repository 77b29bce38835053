/* SPDX-License-Identifier: Apache-2.0 */
/* An API server whose machine has gone: nothing is acknowledged any more, and nobody says so. The
 * requests have time-outs that are far longer than what is tested; all wait at the same time. */
#include <check.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "common/base/fault.h"
#include "common/base/random.h"
#include "common/kube/kube_config.h"
#include "common/kube/kube_curl.h"
#include "tests/fake/fake_server.h"

#define HEAD          "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
#define LONG_ENOUGH_S 600

struct client {
        const char *name;
        struct fake_script script;
        bool stream;
        pthread_t thread;
        struct fake_server *server;
        struct kube_config config;
        struct kube kube;
        int result;
        struct fault fault;
        int64_t elapsed_ms;
};

static int on_bytes(void *ctx, const char *bytes, size_t len, struct fault *f) {
        (void)ctx;
        (void)bytes;
        (void)len;
        (void)f;
        return 0;
}

static int send_once(struct client *c) {
        CLEANUP(kube_response_done) struct kube_response response = KUBE_RESPONSE_INIT;
        const struct kube_request request = {
                .method = c->stream ? KUBE_GET : KUBE_POST,
                .path = "/x",
                .body = c->stream ? NULL : "{}",
                .body_len = strlen("{}"),
                .timeout_ms = LONG_ENOUGH_S * INT64_C(1000),
        };

        if (c->stream)
                return kube_stream(&c->kube, &request, LONG_ENOUGH_S * INT64_C(1000), on_bytes,
                                   NULL, &response, &c->fault);
        return kube_request(&c->kube, &request, &response, &c->fault);
}

static void *client_main(void *arg) {
        struct client *c = arg;
        int64_t begun_ms;

        if (!c->stream)
                c->result = send_once(c); /* the connection is kept */
        (void)usleep(600000);             /* until the server plays dead */
        begun_ms = clock_mono_ms(clock_system());
        if (c->result == 0)
                c->result = send_once(c);
        c->elapsed_ms = clock_mono_ms(clock_system()) - begun_ms;
        return NULL;
}

static void client_start(struct client *c) {
        const struct kube_curl_opts opts = { .config = &c->config,
                                             .program = "tests",
                                             .component = "unit",
                                             .clock = clock_system(),
                                             .random = random_system() };

        c->server = fake_server_new(fake_script_serve, &c->script);
        c->config.server = strdup(fake_server_url(c->server));
        c->config.ca.data = strdup(fake_server_ca(c->server));
        c->config.ca.len = strlen(c->config.ca.data);
        ck_assert_int_eq(kube_curl_new(&opts, &c->kube, NULL), 0);
        ck_assert_int_eq(pthread_create(&c->thread, NULL, client_main, c), 0);
}

static void client_end(struct client *c) {
        ck_assert_int_eq(pthread_join(c->thread, NULL), 0);
        printf("%s: noticed after %lld ms: %s\n", c->name, (long long)c->elapsed_ms, c->fault.text);
        ck_assert_msg(c->result == -FAULT_IO, "%s: %d", c->name, c->result);
        /* The system's word, not that of a time-out of the request. */
        ck_assert_msg(strstr(c->fault.text, "onnection timed out") != NULL, "%s: %s", c->name,
                      c->fault.text);
        kube_close(&c->kube);
        kube_config_done(&c->config);
        fake_server_free(c->server);
}

START_TEST(notices_a_dead_peer) {
        struct client clients[] = {
                { .name = "a watch",
                  .script = { .acts = { { HEAD "Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n",
                                          FAKE_DEAD } } },
                  .stream = true },
                { .name = "a write over a kept connection",
                  .script = { .acts = { { HEAD "Content-Length: 2\r\n\r\n{}", FAKE_DEAD } } } },
        };

        for (size_t i = 0; i < sizeof(clients) / sizeof(clients[0]); i++)
                client_start(&clients[i]);
        for (size_t i = 0; i < sizeof(clients) / sizeof(clients[0]); i++)
                client_end(&clients[i]);
}
END_TEST

int main(void) {
        Suite *suite = suite_create("dead_peer");
        TCase *tc = tcase_create("dead_peer");
        SRunner *runner = srunner_create(suite);
        int failed;

        tcase_set_timeout(tc, LONG_ENOUGH_S);
        tcase_add_test(tc, notices_a_dead_peer);
        suite_add_tcase(suite, tc);
        srunner_run_all(runner, CK_ENV);
        failed = srunner_ntests_failed(runner);
        srunner_free(runner);
        return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
