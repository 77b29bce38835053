/* SPDX-License-Identifier: Apache-2.0 */
#include "common/kube/event_sender.h"

#include <check.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/clock.h"
#include "common/base/fault.h"
#include "common/base/log.h"
#include "common/base/metrics.h"
#include "common/base/random.h"
#include "tests/fake/fake_kube.h"

#define EVENTS "/apis/events.k8s.io/v1/namespaces/ns/events"
#define MANY   200

/* A sender in its thread, and a server whose answers can be held back. */
struct rig {
        struct fake_kube *fake;
        struct metrics *metrics;
        struct series *sent, *dropped;
        struct event_sender *sender;
        atomic_int http; /* of the answers; 0: there is none yet */
};

static bool on_request(void *ctx, const struct kube_request *request,
                       struct kube_response *response, int *ret_result) {
        struct rig *rig = ctx;

        (void)request;
        (void)ret_result;
        while (atomic_load(&rig->http) == 0)
                ;
        fake_kube_reply(response, atomic_load(&rig->http), "{\"kind\":\"Status\"}");
        return true;
}

static struct series *counter(struct rig *rig, const char *name) {
        static const char *const none[] = { NULL };
        const struct metric_spec spec = { .name = name, .help = "", .type = METRIC_COUNTER };

        return metric_series(metric_add_spec(rig->metrics, &spec), none);
}

static void rig_init(struct rig *rig, size_t max, int http) {
        struct event_sender_opts opts = {
                .reporter = { "example.org/operator", "pod-1", "unit" },
                .max = max,
                .clock = clock_system(),
                .random = random_system(),
        };
        struct fault f = FAULT_INIT;

        *rig = (struct rig){ .fake = fake_kube_new(), .metrics = metrics_new() };
        atomic_store(&rig->http, http);
        log_init("test", LOG_ERROR, LOG_FORMAT_JSON);
        fake_kube_set_hook(rig->fake, on_request, rig);
        opts.kube = fake_kube_client(rig->fake);
        opts.sent = rig->sent = counter(rig, "sent");
        opts.dropped = rig->dropped = counter(rig, "dropped");
        ck_assert_int_eq(event_sender_new(&opts, &rig->sender, &f), 0);
        ck_assert_int_eq(event_sender_start(rig->sender, &f), 0);
}

static void rig_done(struct rig *rig) {
        event_sender_free(rig->sender);
        metrics_free(rig->metrics);
        fake_kube_free(rig->fake);
}

static void add(struct rig *rig, int key) {
        char text[16];
        const struct event event = {
                .regarding = { "v1", "Thing", "ns", "name", "uid", "1" },
                .reason = "Reason",
                .action = "Act",
                .note = "note",
                .key = text,
        };

        (void)snprintf(text, sizeof(text), "%d", key);
        event_sender_add(rig->sender, &event);
}

START_TEST(nobody_waits_for_the_server) {
        CLEANUP(rig_done) struct rig rig;

        rig_init(&rig, MANY, 0);
        for (int i = 0; i < MANY; i++)
                add(&rig, i); /* the server does not answer meanwhile */
        ck_assert_uint_ge(event_sender_waiting(rig.sender), MANY);
        atomic_store(&rig.http, 201);
        event_sender_stop(rig.sender, 60000);
        ck_assert_uint_eq(fake_kube_count(rig.fake), MANY);
        ck_assert_int_eq((int)series_value(rig.sent), MANY);
        ck_assert_int_eq((int)series_value(rig.dropped), 0);
}
END_TEST

START_TEST(what_is_too_much_is_dropped_and_counted) {
        CLEANUP(rig_done) struct rig rig;

        rig_init(&rig, 10, 0);
        for (int i = 0; i < 15; i++)
                add(&rig, i);
        ck_assert_int_eq((int)series_value(rig.dropped), 5);
        atomic_store(&rig.http, 201);
        event_sender_stop(rig.sender, 60000);
        ck_assert_int_eq((int)series_value(rig.sent), 10);
        ck_assert_int_eq((int)series_value(rig.dropped), 5);
}
END_TEST

START_TEST(what_is_refused_is_counted) {
        CLEANUP(rig_done) struct rig rig;

        rig_init(&rig, 10, 422);
        add(&rig, 1);
        add(&rig, 2);
        event_sender_stop(rig.sender, 60000);
        ck_assert_int_eq((int)series_value(rig.sent), 0);
        ck_assert_int_eq((int)series_value(rig.dropped), 2);
}
END_TEST

START_TEST(the_end_does_not_wait_for_a_server_that_is_down) {
        CLEANUP(rig_done) struct rig rig;

        rig_init(&rig, 10, 503);
        add(&rig, 1);
        add(&rig, 2);
        event_sender_stop(rig.sender, 1); /* returns, and gives up what is left */
        ck_assert_int_eq((int)series_value(rig.sent), 0);
        ck_assert_int_eq((int)series_value(rig.dropped), 2);
}
END_TEST

START_TEST(a_thread_that_waits_is_alive) {
        CLEANUP(rig_done) struct rig rig;
        struct fault f = FAULT_INIT;

        rig_init(&rig, 10, 201);
        ck_assert_int_eq(event_sender_check(rig.sender, &f), 0);
        event_sender_stop(rig.sender, 0);
        ck_assert_int_eq(event_sender_check(rig.sender, &f), 0);
}
END_TEST

int main(void) {
        Suite *suite = suite_create("event_sender");
        TCase *tc = tcase_create("event_sender");
        SRunner *runner = srunner_create(suite);
        int failed;

        tcase_add_test(tc, nobody_waits_for_the_server);
        tcase_add_test(tc, what_is_too_much_is_dropped_and_counted);
        tcase_add_test(tc, what_is_refused_is_counted);
        tcase_add_test(tc, the_end_does_not_wait_for_a_server_that_is_down);
        tcase_add_test(tc, a_thread_that_waits_is_alive);
        tcase_set_timeout(tc, 120);
        suite_add_tcase(suite, tc);
        srunner_run_all(runner, CK_ENV);
        failed = srunner_ntests_failed(runner);
        srunner_free(runner);
        return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
