/* SPDX-License-Identifier: Apache-2.0 */
#include "reconciler/meters.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "common/api/dbupgrade.h"
#include "common/base/fault.h"
#include "common/base/metrics.h"
#include "common/base/strbuf.h"
#include "common/kube/kube_curl.h"

static struct meters *m;

static void setup(void) {
        struct fault f = FAULT_INIT;

        ck_assert_int_eq(meters_new(4, "the-lease", &m, &f), 0);
}

static void teardown(void) {
        meters_free(m);
}

/* Whether a line begins so in the text of /metrics. */
static bool has_line(const char *begin) {
        CLEANUP(strbuf_done) struct strbuf text = STRBUF_INIT(SIZE_MAX);

        strbuf_char(&text, '\n');
        metrics_write(m->metrics, &text);
        for (const char *at = text.ptr; (at = strstr(at, begin)); at++)
                if (at[-1] == '\n')
                        return true;
        return false;
}

#define C "{controller=\"dbupgrade\"} "
#define Q "{name=\"dbupgrade\",controller=\"dbupgrade\"} "

/* What dashboards and alerts are written for, before anything has happened: a series that begins at
 * 1 has no increase that Prometheus could see. */
static const char *const lines[] = {
        "controller_runtime_reconcile_total{controller=\"dbupgrade\",result=\"success\"} 0\n",
        "controller_runtime_reconcile_total{controller=\"dbupgrade\",result=\"error\"} 0\n",
        "controller_runtime_reconcile_total{controller=\"dbupgrade\",result=\"requeue\"} 0\n",
        "controller_runtime_reconcile_total{controller=\"dbupgrade\",result=\"requeue_after\"} 0\n",
        "controller_runtime_reconcile_errors_total" C "0\n",
        "controller_runtime_terminal_reconcile_errors_total" C "0\n",
        "controller_runtime_reconcile_panics_total" C "0\n",
        "controller_runtime_reconcile_timeouts_total" C "0\n",
        "controller_runtime_reconcile_time_seconds_count" C "0\n",
        "controller_runtime_reconcile_time_seconds_bucket{controller=\"dbupgrade\",le=\"0.005\"} 0",
        "controller_runtime_reconcile_time_seconds_bucket{controller=\"dbupgrade\",le=\"60\"} 0",
        "controller_runtime_max_concurrent_reconciles" C "4\n",
        "controller_runtime_active_workers" C "0\n",
        "workqueue_depth{name=\"dbupgrade\",controller=\"dbupgrade\",priority=\"0\"} 0\n",
        "workqueue_depth{name=\"dbupgrade\",controller=\"dbupgrade\",priority=\"-100\"} 0\n",
        "workqueue_adds_total" Q "0\n",
        "workqueue_queue_duration_seconds_count" Q "0\n",
        "workqueue_queue_duration_seconds_bucket{name=\"dbupgrade\",controller=\"dbupgrade\","
        "le=\"1e-08\"} 0\n",
        "workqueue_work_duration_seconds_count" Q "0\n",
        "workqueue_work_duration_seconds_bucket{name=\"dbupgrade\",controller=\"dbupgrade\","
        "le=\"1000\"} 0\n",
        "workqueue_unfinished_work_seconds" Q "0\n",
        "workqueue_longest_running_processor_seconds" Q "0\n",
        "workqueue_retries_total" Q "0\n",
        "leader_election_master_status{name=\"the-lease\"} 0\n",
        "dbupgrade_operator_up 1\n",
        "dbupgrade_build_info{version=",
        "dbupgrade_migrations_total{result=\"Succeeded\"} 0\n",
        "dbupgrade_migrations_total{result=\"Failed\"} 0\n",
        "dbupgrade_migrations_total{result=\"Lost\"} 0\n",
        "dbupgrade_migration_duration_seconds_count 0\n",
        "dbupgrade_objects{state=\"Running\"} 0\n",
        "dbupgrade_objects{state=\"Blocked\"} 0\n",
        "dbupgrade_objects{state=\"Suspended\"} 0\n",
        "dbupgrade_oldest_run_seconds 0\n",
        "dbupgrade_cached_objects{kind=\"Pod\"} 0\n",
        "dbupgrade_watch_events_total{kind=\"DBUpgrade\"} 0\n",
        "dbupgrade_watch_lists_total{kind=\"Job\"} 0\n",
        "dbupgrade_watch_failures_total{kind=\"Pod\"} 0\n",
        "dbupgrade_watch_silence_seconds{kind=\"Pod\"} 0\n",
        "dbupgrade_events_total{result=\"sent\"} 0\n",
        "dbupgrade_events_total{result=\"dropped\"} 0\n",
        "dbupgrade_events_waiting 0\n",
        "dbupgrade_webhook_cert_expiry_timestamp_seconds 0\n",
        "process_cpu_seconds_total ",
        "process_resident_memory_bytes ",
        "process_virtual_memory_bytes ",
        "process_open_fds ",
        "process_max_fds ",
        "process_start_time_seconds ",
};

START_TEST(a_series_is_there_from_the_beginning) {
        ck_assert_msg(has_line(lines[_i]), "missing: %s", lines[_i]);
}
END_TEST

START_TEST(each_state_has_a_name_of_its_own) {
        for (unsigned i = 0; i < PASS_STATES; i++)
                for (unsigned j = 0; j < i; j++)
                        ck_assert_str_ne(pass_state_name(i), pass_state_name(j));
}
END_TEST

START_TEST(requests_are_counted_as_client_go_does) {
        struct kube_observation o = { .method = KUBE_GET,
                                      .path = "/api",
                                      .host = "h:443",
                                      .http = 200,
                                      .number = 1,
                                      .duration_us = 200000 };

        meters_request(m, &o);
        ck_assert(has_line(
                "rest_client_requests_total{code=\"200\",method=\"GET\",host=\"h:443\"} 1"));
        ck_assert(
                has_line("rest_client_request_duration_seconds_bucket{verb=\"GET\",host=\"h:443\","
                         "le=\"0.25\"} 1\n"));
        ck_assert(!has_line("rest_client_request_retries_total{"));
        o.http = 0;
        o.number = 2;
        meters_request(m, &o);
        ck_assert(has_line("rest_client_requests_total{code=\"<error>\",method=\"GET\",host="));
        ck_assert(has_line("rest_client_request_retries_total{code=\"<error>\",verb=\"GET\","
                           "host=\"h:443\"} 1\n"));
        o.stream = true;
        meters_request(m, &o);
        ck_assert_msg(has_line("rest_client_request_duration_seconds_count{verb=\"GET\","
                               "host=\"h:443\"} 2\n"),
                      "the length of a watch is no latency");
}
END_TEST

START_TEST(outcomes_are_counted) {
        meters_migration(m, RUN_SUCCEEDED, 7);
        meters_migration(m, RUN_FAILED, 20);
        meters_migration(m, RUN_LOST, 1000);
        meters_migration(m, RUN_SUPERSEDED, 1000);
        ck_assert(has_line("dbupgrade_migrations_total{result=\"Succeeded\"} 1\n"));
        ck_assert(has_line("dbupgrade_migrations_total{result=\"Failed\"} 1\n"));
        ck_assert(has_line("dbupgrade_migrations_total{result=\"Lost\"} 1\n"));
        ck_assert_msg(has_line("dbupgrade_migration_duration_seconds_sum 27\n"),
                      "nobody knows how long a lost one took");
}
END_TEST

/* It began by our clock and ended by the API server's, which may be behind. */
START_TEST(no_duration_is_negative) {
        meters_migration(m, RUN_SUCCEEDED, 7);
        meters_migration(m, RUN_SUCCEEDED, -2);
        ck_assert(has_line("dbupgrade_migration_duration_seconds_count 2\n"));
        ck_assert(has_line("dbupgrade_migration_duration_seconds_sum 7\n"));
}
END_TEST

int main(void) {
        Suite *suite = suite_create("meters");
        TCase *tcase = tcase_create("meters");
        SRunner *runner = srunner_create(suite);
        int failed;

        suite_add_tcase(suite, tcase);
        tcase_add_checked_fixture(tcase, setup, teardown);
        tcase_add_loop_test(tcase, a_series_is_there_from_the_beginning, 0,
                            (int)(sizeof(lines) / sizeof(lines[0])));
        tcase_add_test(tcase, each_state_has_a_name_of_its_own);
        tcase_add_test(tcase, requests_are_counted_as_client_go_does);
        tcase_add_test(tcase, outcomes_are_counted);
        tcase_add_test(tcase, no_duration_is_negative);
        srunner_run_all(runner, CK_NORMAL);
        failed = srunner_ntests_failed(runner);
        srunner_free(runner);
        return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
