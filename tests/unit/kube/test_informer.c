/* SPDX-License-Identifier: Apache-2.0 */
#include <check.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/clock.h"
#include "common/base/fault.h"
#include "common/base/log.h"
#include "common/base/random.h"
#include "common/json/json_check.h"
#include "common/kube/informer.h"
#include "common/kube/kube_config.h"
#include "common/kube/kube_curl.h"
#include "tests/fake/fake_kube.h"
#include "tests/fake/fake_server.h"

#define STREAM_HEAD "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n"
#define ADDED(name, version)                                                                       \
        "{\"type\":\"ADDED\",\"object\":{\"metadata\":{\"name\":\"" name                           \
        "\",\"resourceVersion\":\"" version "\"}}}\n"
#define LIST_END(version)                                                                          \
        "{\"type\":\"BOOKMARK\",\"object\":{\"metadata\":{\"resourceVersion\":\"" version          \
        "\",\"annotations\":{\"k8s.io/initial-events-end\":\"true\"}}}}\n"

/* An informer in its thread, a server, and what the handler was told. */
struct rig {
        struct fake_script script;
        struct fake_server *server;
        struct kube_config config;
        struct informer *informer;
        pthread_t thread;
        bool running;
        pthread_mutex_t mutex; /* of log */
        pthread_cond_t changed;
        struct strbuf log;
};

static void tell(struct rig *rig, const char *text) {
        (void)pthread_mutex_lock(&rig->mutex);
        strbuf_printf(&rig->log, "%s ", text);
        (void)pthread_cond_signal(&rig->changed);
        (void)pthread_mutex_unlock(&rig->mutex);
}

static int on_upsert(void *ctx, const char *json, size_t len, struct fault *f) {
        struct json_want want = { .path = { "metadata", "name" } };
        char name[16] = "?";

        (void)f;
        ck_assert_int_eq(json_check(json, len, &want, 1, NULL), 0);
        (void)json_span_string(&want.span, name, sizeof(name));
        tell(ctx, name);
        return 0;
}

static void on_remove(void *ctx, const char *json, size_t len) {
        (void)json;
        (void)len;
        tell(ctx, "-");
}

static void on_list_begin(void *ctx) {
        tell(ctx, "<");
}

static void on_list_end(void *ctx) {
        tell(ctx, ">");
}

/* Waits until the log is that; the test's time-out ends a wait for nothing. */
static void await_log(struct rig *rig, const char *text) {
        (void)pthread_mutex_lock(&rig->mutex);
        while (strcmp(strbuf_text(&rig->log), text) != 0) {
                ck_assert_msg(rig->log.len <= strlen(text), "the log is %s",
                              strbuf_text(&rig->log));
                (void)pthread_cond_wait(&rig->changed, &rig->mutex);
        }
        (void)pthread_mutex_unlock(&rig->mutex);
}

static void *run(void *arg) {
        struct rig *rig = arg;

        informer_run(rig->informer);
        return NULL;
}

static void rig_init(struct rig *rig, struct fake_act first, struct fake_act second) {
        struct kube_curl_opts opts = { .config = &rig->config,
                                       .program = "tests",
                                       .component = "unit",
                                       .clock = clock_system(),
                                       .random = random_system() };
        struct informer_opts informer = {
                .path = "/api/v1/pods",
                .consistent = true,
                .handler = { .ctx = rig,
                             .upsert = on_upsert,
                             .remove = on_remove,
                             .list_begin = on_list_begin,
                             .list_end = on_list_end },
                .clock = clock_system(),
                .random = random_system(),
        };
        struct fault f = FAULT_INIT;

        *rig = (struct rig){ .script.acts = { first, second },
                             .mutex = PTHREAD_MUTEX_INITIALIZER,
                             .changed = PTHREAD_COND_INITIALIZER,
                             .log = STRBUF_INIT(SIZE_MAX) };
        log_init("test", LOG_ERROR, LOG_FORMAT_JSON);
        rig->server = fake_server_new(fake_script_serve, &rig->script);
        rig->config.server = strdup(fake_server_url(rig->server));
        rig->config.ca.data = strdup(fake_server_ca(rig->server));
        ck_assert(rig->config.server && rig->config.ca.data);
        rig->config.ca.len = strlen(rig->config.ca.data);
        ck_assert_int_eq(kube_curl_new(&opts, &informer.kube, &f), 0);
        ck_assert_int_eq(informer_new(&informer, &rig->informer, &f), 0);
        ck_assert_ptr_null(informer.kube.ops);
}

static void rig_start(struct rig *rig) {
        ck_assert_int_eq(pthread_create(&rig->thread, NULL, run, rig), 0);
        rig->running = true;
}

/* Stops the informer. Return: how long it took. */
static int64_t rig_stop(struct rig *rig) {
        int64_t begun_ms = clock_mono_ms(clock_system());

        informer_stop(rig->informer);
        if (rig->running)
                ck_assert_int_eq(pthread_join(rig->thread, NULL), 0);
        rig->running = false;
        return clock_mono_ms(clock_system()) - begun_ms;
}

static void rig_done(struct rig *rig) {
        (void)rig_stop(rig);
        informer_free(rig->informer);
        kube_config_done(&rig->config);
        fake_server_free(rig->server);
        strbuf_done(&rig->log);
}

START_TEST(lists_watches_and_stops) {
        CLEANUP(rig_done) struct rig rig;
        struct informer_health health;

        rig_init(&rig,
                 (struct fake_act){ STREAM_HEAD ADDED("a", "1") LIST_END("5") ADDED("b", "6"),
                                    FAKE_SILENCE },
                 (struct fake_act){ NULL, FAKE_KEEP });
        rig_start(&rig);
        await_log(&rig, "< a > b ");
        ck_assert_int_lt(rig_stop(&rig), 15000);
        informer_read_health(rig.informer, &health);
        ck_assert(health.synced);
        ck_assert_uint_eq(health.lists, 1);
        ck_assert_uint_eq(health.watches, 1);
        ck_assert_uint_eq(health.events, 2);
        ck_assert_uint_eq(health.failures, 0);
        ck_assert_int_gt(health.last_byte_ms, 0);
}
END_TEST

START_TEST(takes_up_a_stream_cut_in_a_line) {
        CLEANUP(rig_done) struct rig rig;

        rig_init(&rig,
                 (struct fake_act){ STREAM_HEAD LIST_END("5") ADDED("a", "6") "{\"type\":\"ADD",
                                    FAKE_CLOSE },
                 (struct fake_act){ STREAM_HEAD ADDED("b", "7"), FAKE_SILENCE });
        rig_start(&rig);
        await_log(&rig, "< > a b ");
        ck_assert_ptr_nonnull(strstr(rig.script.requests[1].head, "&resourceVersion=6 HTTP"));
}
END_TEST

START_TEST(begins_again_after_garbage) {
        CLEANUP(rig_done) struct rig rig;
        struct informer_health health;

        rig_init(&rig, (struct fake_act){ STREAM_HEAD LIST_END("5") "garbage\n", FAKE_SILENCE },
                 (struct fake_act){ STREAM_HEAD ADDED("b", "7") LIST_END("8"), FAKE_SILENCE });
        rig_start(&rig);
        await_log(&rig, "< > < b > ");
        (void)rig_stop(&rig);
        informer_read_health(rig.informer, &health);
        ck_assert_uint_eq(health.failures, 1);
        ck_assert_uint_eq(health.lists, 2);
}
END_TEST

START_TEST(stops_while_it_backs_off) {
        CLEANUP(rig_done) struct rig rig;
        struct informer_health health = { 0 };

        rig_init(&rig,
                 (struct fake_act){ "HTTP/1.1 429 x\r\nContent-Type: text/plain\r\nRetry-After: "
                                    "60\r\nContent-Length: 0\r\n\r\n",
                                    FAKE_KEEP },
                 (struct fake_act){ NULL, FAKE_KEEP });
        rig_start(&rig);
        while (health.failures == 0) {
                (void)usleep(1000);
                informer_read_health(rig.informer, &health);
        }
        ck_assert_int_lt(rig_stop(&rig), 15000);
        ck_assert(!health.synced);
}
END_TEST

START_TEST(does_nothing_once_stopped) {
        CLEANUP(rig_done) struct rig rig;

        rig_init(&rig, (struct fake_act){ NULL, FAKE_KEEP }, (struct fake_act){ NULL, FAKE_KEEP });
        informer_stop(rig.informer);
        rig_start(&rig);
        ck_assert_int_lt(rig_stop(&rig), 15000);
        ck_assert_uint_eq(fake_server_connections(rig.server), 0);
        ck_assert_str_eq(strbuf_text(&rig.log), "");
}
END_TEST

int main(void) {
        Suite *suite = suite_create("informer");
        TCase *tc = tcase_create("informer");
        SRunner *runner = srunner_create(suite);
        int failed;

        tcase_set_timeout(tc, 60);
        tcase_add_test(tc, lists_watches_and_stops);
        tcase_add_test(tc, takes_up_a_stream_cut_in_a_line);
        tcase_add_test(tc, begins_again_after_garbage);
        tcase_add_test(tc, stops_while_it_backs_off);
        tcase_add_test(tc, does_nothing_once_stopped);
        suite_add_tcase(suite, tc);
        srunner_run_all(runner, CK_ENV);
        failed = srunner_ntests_failed(runner);
        srunner_free(runner);
        return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
