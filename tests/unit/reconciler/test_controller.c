/* SPDX-License-Identifier: Apache-2.0 */
/* All threads of the reconciler against a server of a few objects, each of which waits for a Secret
 * that is not there: watches, workers, events, and how they end. */
#include "reconciler/controller.h"

#include <check.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/base/clock.h"
#include "common/base/fault.h"
#include "common/base/log.h"
#include "common/base/metrics.h"
#include "common/base/random.h"
#include "common/base/strbuf.h"
#include "common/json/json_get.h"
#include "common/kube/kube_config.h"
#include "reconciler/meters.h"
#include "tests/fake/fake_server.h"

#define OBJECTS 8
#define WORKERS 4

#define STREAM_HEAD "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n"
#define OBJECT                                                                                     \
        "{\"metadata\":{\"namespace\":\"ns\",\"name\":\"shop%d\",\"uid\":\"u%d\","                 \
        "\"resourceVersion\":\"5\",\"generation\":1},\"spec\":{\"migrations\":{\"image\":"         \
        "\"shop:1\"},\"database\":{\"type\":\"selfHosted\",\"connection\":{\"urlSecretRef\":{"     \
        "\"name\":\"db%d\"}}}},\"status\":%s}"
#define LIST_END                                                                                   \
        "{\"type\":\"BOOKMARK\",\"object\":{\"metadata\":{\"resourceVersion\":\"5\","              \
        "\"annotations\":{\"k8s.io/initial-events-end\":\"true\"}}}}\n"

/* The server, the controller before it, and what was asked. */
struct rig {
        struct fake_server *server;
        struct kube_config config;
        struct meters *meters;
        struct controller *controller;
        atomic_bool hangs; /* a Secret is asked for and never answered */
        atomic_int secrets, statuses, events;
};

static struct rig rig;

static void list(struct fake_conn *conn, bool objects) {
        fake_print(conn, STREAM_HEAD);
        for (int i = 0; objects && i < OBJECTS; i++) {
                CLEANUP(strbuf_done) struct strbuf event = STRBUF_INIT(SIZE_MAX);

                strbuf_printf(&event, "{\"type\":\"ADDED\",\"object\":" OBJECT "}\n", i, i, i,
                              "{}");
                fake_print(conn, strbuf_text(&event));
        }
        fake_print(conn, LIST_END);
        fake_await_close(conn);
}

/* The object of the path, with the status that was written. */
static void answer_status(struct fake_conn *conn, const struct fake_request *request) {
        CLEANUP(strbuf_done) struct strbuf text = STRBUF_INIT(SIZE_MAX);
        CLEANUP(cJSON_Delete_p) cJSON *patch = cJSON_Parse(request->body);
        CLEANUP(free_p) char *status = cJSON_PrintUnformatted(json_member(patch, "status"));
        int i = atoi(strstr(request->head, "/shop") + strlen("/shop"));

        ck_assert_ptr_nonnull(status);
        strbuf_printf(&text, OBJECT, i, i, i, status);
        fake_answer(conn, "200 OK", "", strbuf_text(&text));
}

static void serve(void *ctx, struct fake_conn *conn) {
        struct fake_request request;

        (void)ctx;
        while (fake_read(conn, &request)) {
                if (strstr(request.head, "watch=1")) {
                        list(conn, strstr(request.head, "/dbupgrades?") != NULL);
                        return;
                }
                if (strstr(request.head, "/secrets/")) {
                        atomic_fetch_add(&rig.secrets, 1);
                        if (atomic_load(&rig.hangs)) {
                                fake_await_close(conn);
                                return;
                        }
                        fake_answer(conn, "404 Not Found", "", "{\"kind\":\"Status\"}");
                } else if (strstr(request.head, "/status?") || strstr(request.head, "/status ")) {
                        atomic_fetch_add(&rig.statuses, 1);
                        answer_status(conn, &request);
                } else {
                        ck_assert_ptr_nonnull(strstr(request.head, "/events"));
                        atomic_fetch_add(&rig.events, 1);
                        fake_answer(conn, "201 Created", "", "{}");
                }
        }
}

static void pause_ms(long ms) {
        const struct timespec pause = { .tv_nsec = ms * 1000000 };

        (void)nanosleep(&pause, NULL);
}

#ifdef __SANITIZE_THREAD__
/* The ThreadSanitizer of GCC 12 knows all ways to join a thread but this one, and takes a thread
 * that was joined by it for one that still runs. */
int pthread_clockjoin_np(pthread_t thread, void **ret, clockid_t clock,
                         const struct timespec *until) {
        struct timespec now;
        int error;

        while ((error = pthread_tryjoin_np(thread, ret)) == EBUSY) {
                (void)clock_gettime(clock, &now);
                if (now.tv_sec > until->tv_sec ||
                    (now.tv_sec == until->tv_sec && now.tv_nsec >= until->tv_nsec))
                        return ETIMEDOUT;
                pause_ms(1);
        }
        return error;
}
#endif

/* Until a counter is that far; the test's time-out ends a wait for nothing. */
static void await(atomic_int *counter, int count) {
        while (atomic_load(counter) < count)
                pause_ms(1);
}

static void start(bool elected) {
        struct controller_opts opts = {
                .kube = { .config = &rig.config,
                          .program = "tests",
                          .clock = clock_system(),
                          .random = random_system(),
                          .observer = { .request = meters_request } },
                .clock = clock_system(),
                .random = random_system(),
                .workers = WORKERS,
                .instance = "pod",
                .elected = elected,
        };
        struct fault f = FAULT_INIT;

        ck_assert_int_eq(meters_new(WORKERS, "lease", &rig.meters, &f), 0);
        opts.meters = rig.meters;
        opts.kube.observer.ctx = rig.meters;
        ck_assert_msg(controller_new(&opts, &rig.controller, &f) == 0, "%s", f.text);
        ck_assert_msg(controller_start(rig.controller, &f) == 0, "%s", f.text);
}

static void setup(void) {
        log_init("unit", LOG_ERROR, LOG_FORMAT_JSON);
        rig.server = fake_server_new_threads(serve, NULL);
        rig.config.server = strdup(fake_server_url(rig.server));
        rig.config.ca.data = strdup(fake_server_ca(rig.server));
        ck_assert(rig.config.server && rig.config.ca.data);
        rig.config.ca.len = strlen(rig.config.ca.data);
        atomic_store(&rig.hangs, false);
        atomic_store(&rig.secrets, 0);
        atomic_store(&rig.statuses, 0);
        atomic_store(&rig.events, 0);
}

static void teardown(void) {
        controller_free(rig.controller);
        meters_free(rig.meters);
        fake_server_free(rig.server);
        kube_config_done(&rig.config);
}

/* What the threads of the probes and of the metrics do meanwhile. */
static void look_on(void) {
        CLEANUP(strbuf_done) struct strbuf text = STRBUF_INIT(SIZE_MAX);
        struct fault f = FAULT_INIT;

        ck_assert_msg(controller_check_alive(rig.controller, &f) == 0, "%s", f.text);
        metrics_write(rig.meters->metrics, &text);
        ck_assert_int_eq(strbuf_check(&text, NULL), 0);
}

START_TEST(each_object_has_its_passes) {
        start(false);
        while (atomic_load(&rig.statuses) < OBJECTS || atomic_load(&rig.events) < OBJECTS)
                look_on();
        ck_assert_int_eq(controller_check_synced(rig.controller, NULL), 0);
        await(&rig.secrets, OBJECTS + 1); /* one is asked for again */
        controller_stop(rig.controller);
}
END_TEST

START_TEST(who_does_not_lead_does_nothing) {
        start(true);
        while (!controller_is_synced(rig.controller))
                look_on();
        ck_assert_int_eq(atomic_load(&rig.secrets), 0);
        controller_lead(rig.controller);
        await(&rig.statuses, OBJECTS);
        controller_stop(rig.controller);
}
END_TEST

START_TEST(it_stops_before_it_leads) {
        start(true);
        controller_stop(rig.controller);
        ck_assert_int_eq(atomic_load(&rig.secrets), 0);
}
END_TEST

/* All workers wait for an answer that does not come: each is cut off, and no pass begins. */
START_TEST(a_pass_that_hangs_is_cut_off) {
        atomic_store(&rig.hangs, true);
        start(false);
        await(&rig.secrets, WORKERS);
        look_on();
        controller_stop(rig.controller);
        ck_assert_int_eq(atomic_load(&rig.secrets), WORKERS);
        ck_assert_int_eq(atomic_load(&rig.statuses), 0);
}
END_TEST

int main(void) {
        Suite *suite = suite_create("controller");
        TCase *tcase = tcase_create("controller");
        SRunner *runner = srunner_create(suite);
        int failed;

        suite_add_tcase(suite, tcase);
        tcase_set_timeout(tcase, 90);
        tcase_add_checked_fixture(tcase, setup, teardown);
        tcase_add_test(tcase, each_object_has_its_passes);
        tcase_add_test(tcase, who_does_not_lead_does_nothing);
        tcase_add_test(tcase, it_stops_before_it_leads);
        tcase_add_test(tcase, a_pass_that_hangs_is_cut_off);
        srunner_run_all(runner, CK_NORMAL);
        failed = srunner_ntests_failed(runner);
        srunner_free(runner);
        return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
