/* SPDX-License-Identifier: Apache-2.0 */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "common/api/dbupgrade.h"
#include "common/base/fault.h"
#include "tests/unit/alloc_fail.h"

#define METADATA                                                                                   \
        "\"metadata\":{\"name\":\"shop\",\"namespace\":\"prod\",\"uid\":\"u-1\","                  \
        "\"resourceVersion\":\"42\"}"

static const char full[] =
        "{\"apiVersion\":\"dbupgrade.subbug.learning/v1alpha1\",\"kind\":\"DBUpgrade\","
        "\"metadata\":{\"name\":\"shop\",\"namespace\":\"prod\",\"uid\":\"u-1\","
        "\"resourceVersion\":\"42\",\"generation\":7,"
        "\"deletionTimestamp\":\"2026-01-01T00:00:00Z\","
        "\"annotations\":{\"a\":\"b\",\"dbupgrade.subbug.learning/retry\":\"again\"}},"
        "\"spec\":{\"migrations\":{\"image\":\"m:1\",\"dir\":\"/sql\"},"
        "\"database\":{\"type\":\"awsRds\",\"connection\":{\"urlSecretRef\":{\"name\":\"db\","
        "\"key\":\"uri\"}},\"aws\":{\"roleArn\":\"r\",\"region\":\"e\",\"host\":\"h\","
        "\"port\":5433,\"dbName\":\"d\",\"username\":\"n\"}},"
        "\"checks\":{\"pre\":{\"metrics\":[{}]},\"post\":{\"metrics\":[{}]}},"
        "\"runner\":{\"activeDeadlineSeconds\":30,\"ttlSecondsAfterFinished\":0,"
        "\"env\": [ {\"name\" : \"A\"} ],\"affinity\":null,\"command\":[\"/atlas\"]},"
        "\"suspend\":true},"
        "\"status\":{\"observedGeneration\":6,\"reason\":\"R\",\"message\":\"M\","
        "\"appliedKey\":\"k\",\"appliedImage\":\"m:0\",\"appliedAt\":\"2026-01-01T00:00:00Z\","
        "\"lastHandledRetry\":\"\",\"jobName\":\"j\","
        "\"lastRun\":{\"number\":3,\"jobName\":\"j3\",\"jobUID\":\"ju\",\"runKey\":\"rk\","
        "\"attemptKey\":\"ak\",\"image\":\"m:1\",\"startedAt\":\"s\",\"finishedAt\":\"f\","
        "\"result\":\"Failed\",\"exitCode\":1,\"reason\":\"E\",\"message\":\"boom\"},"
        "\"history\":[{\"number\":3},{\"number\":2},{\"number\":1},{\"number\":9},{\"number\":8},"
        "{\"number\":7}],"
        "\"conditions\":[{\"type\":\"Ready\",\"status\":\"False\",\"reason\":\"JobFailed\","
        "\"message\":\"m\",\"lastTransitionTime\":\"t\",\"observedGeneration\":6},"
        "{\"type\":\"Other\",\"status\":\"True\"}]}}";

START_TEST(everything_is_read) {
        CLEANUP(dbupgrade_free_p) struct dbupgrade *o = NULL;
        const struct dbupgrade_condition *ready;

        ck_assert_int_eq(dbupgrade_decode(full, sizeof(full) - 1, &o, NULL), 0);
        ck_assert_str_eq(o->namespace_, "prod");
        ck_assert_str_eq(o->name, "shop");
        ck_assert_str_eq(o->uid, "u-1");
        ck_assert_str_eq(o->resource_version, "42");
        ck_assert_int_eq(o->generation, 7);
        ck_assert(o->deleting);
        ck_assert_str_eq(o->retry, "again");

        ck_assert_str_eq(o->spec.image, "m:1");
        ck_assert_str_eq(o->spec.dir, "/sql");
        ck_assert_int_eq(o->spec.database_type, DATABASE_AWS_RDS);
        ck_assert(o->spec.has_connection && o->spec.has_aws);
        ck_assert_str_eq(o->spec.secret_name, "db");
        ck_assert_str_eq(o->spec.secret_key, "uri");
        ck_assert_str_eq(o->spec.aws.role_arn, "r");
        ck_assert_str_eq(o->spec.aws.region, "e");
        ck_assert_str_eq(o->spec.aws.host, "h");
        ck_assert_int_eq(o->spec.aws.port, 5433);
        ck_assert_str_eq(o->spec.aws.db_name, "d");
        ck_assert_str_eq(o->spec.aws.username, "n");
        ck_assert(o->spec.has_pre_checks && o->spec.has_post_checks && o->spec.suspend);
        ck_assert_int_eq(o->spec.active_deadline_s, 30);
        ck_assert_int_eq(o->spec.ttl_s, 0);
        ck_assert_uint_eq(o->spec.runner[RUNNER_ENV].len, strlen("[ {\"name\" : \"A\"} ]"));
        ck_assert_mem_eq(o->spec.runner[RUNNER_ENV].text, "[ {\"name\" : \"A\"} ]", 18);
        ck_assert_ptr_null(o->spec.runner[RUNNER_AFFINITY].text);
        ck_assert_ptr_null(o->spec.runner[RUNNER_RESOURCES].text);
        ck_assert_int_eq(json_span_kind(&o->spec.runner[RUNNER_COMMAND]), '[');

        ck_assert_int_eq(o->status.observed_generation, 6);
        ck_assert_str_eq(o->status.reason, "R");
        ck_assert_str_eq(o->status.message, "M");
        ck_assert_str_eq(o->status.applied_key, "k");
        ck_assert_str_eq(o->status.applied_image, "m:0");
        ck_assert_str_eq(o->status.applied_at, "2026-01-01T00:00:00Z");
        ck_assert_str_eq(o->status.last_handled_retry, "");
        ck_assert_str_eq(o->status.job_name, "j");
        ck_assert_int_eq(o->status.last_run.number, 3);
        ck_assert_str_eq(o->status.last_run.job_name, "j3");
        ck_assert_str_eq(o->status.last_run.job_uid, "ju");
        ck_assert_str_eq(o->status.last_run.run_key, "rk");
        ck_assert_str_eq(o->status.last_run.attempt_key, "ak");
        ck_assert_str_eq(o->status.last_run.image, "m:1");
        ck_assert_str_eq(o->status.last_run.started_at, "s");
        ck_assert_str_eq(o->status.last_run.finished_at, "f");
        ck_assert_int_eq(o->status.last_run.result, RUN_FAILED);
        ck_assert(o->status.last_run.has_exit_code);
        ck_assert_int_eq(o->status.last_run.exit_code, 1);
        ck_assert_str_eq(o->status.last_run.reason, "E");
        ck_assert_str_eq(o->status.last_run.message, "boom");
        ck_assert_uint_eq(o->status.history_count, DBUPGRADE_HISTORY_MAX);
        ck_assert_int_eq(o->status.history[0].number, 3);
        ck_assert_uint_eq(o->status.condition_count, 2);
        ready = dbupgrade_condition_find(&o->status, "Ready");
        ck_assert_ptr_nonnull(ready);
        ck_assert_str_eq(ready->status, "False");
        ck_assert_str_eq(ready->reason, "JobFailed");
        ck_assert_str_eq(ready->message, "m");
        ck_assert_str_eq(ready->last_transition_time, "t");
        ck_assert_int_eq(ready->observed_generation, 6);
        ck_assert_ptr_null(dbupgrade_condition_find(&o->status, "ready"));
}
END_TEST

/* What a new object has, and one whose every member is of a wrong type. */
static const char *const bare[] = {
        "{" METADATA "}",
        "{" METADATA ",\"spec\":null,\"status\":null}",
        "{" METADATA ",\"spec\":[],\"status\":\"x\"}",
        "{" METADATA ",\"spec\":{\"migrations\":1,\"database\":[],\"checks\":{\"pre\":[1],"
        "\"post\":{\"metrics\":{\"a\":1}}},\"runner\":[],\"suspend\":\"true\"},"
        "\"status\":{\"observedGeneration\":\"1\",\"reason\":{},\"lastHandledRetry\":1,"
        "\"lastRun\":[],\"history\":{},\"conditions\":{\"a\":{}}}}",
        "{" METADATA ",\"spec\":{\"migrations\":{\"image\":null,\"dir\":7},"
        "\"database\":{\"type\":\"SelfHosted\",\"connection\":[],\"aws\":\"x\"},"
        "\"runner\":{\"activeDeadlineSeconds\":1.5,\"env\":null}},"
        "\"status\":{\"lastRun\":{\"number\":\"1\",\"result\":\"failed\",\"exitCode\":\"0\"},"
        "\"conditions\":[]}}",
};

START_TEST(what_is_absent_or_of_a_wrong_type_has_its_default) {
        CLEANUP(dbupgrade_free_p) struct dbupgrade *o = NULL;

        ck_assert_int_eq(dbupgrade_decode(bare[_i], strlen(bare[_i]), &o, NULL), 0);
        ck_assert_int_eq(o->generation, 0);
        ck_assert(!o->deleting);
        ck_assert_ptr_null(o->retry);
        ck_assert_str_eq(o->spec.image, "");
        ck_assert_str_eq(o->spec.dir, "/migrations");
        ck_assert_int_eq(o->spec.database_type, DATABASE_UNKNOWN);
        ck_assert(!o->spec.has_connection && !o->spec.has_aws);
        ck_assert_str_eq(o->spec.secret_name, "");
        ck_assert_str_eq(o->spec.secret_key, "url");
        ck_assert_str_eq(o->spec.aws.region, "");
        ck_assert_int_eq(o->spec.aws.port, 5432);
        ck_assert(!o->spec.has_pre_checks && !o->spec.has_post_checks && !o->spec.suspend);
        ck_assert_int_eq(o->spec.active_deadline_s, 600);
        ck_assert_int_eq(o->spec.ttl_s, -1);
        for (size_t i = 0; i < RUNNER_MEMBER_COUNT; i++)
                ck_assert_ptr_null(o->spec.runner[i].text);
        ck_assert_int_eq(o->status.observed_generation, -1);
        ck_assert_str_eq(o->status.reason, "");
        ck_assert_ptr_null(o->status.last_handled_retry);
        ck_assert_int_eq(o->status.last_run.number, 0);
        ck_assert_int_eq(o->status.last_run.result, RUN_NONE);
        ck_assert(!o->status.last_run.has_exit_code);
        ck_assert_str_eq(o->status.last_run.message, "");
        ck_assert_uint_eq(o->status.history_count, 0);
        ck_assert_uint_eq(o->status.condition_count, 0);
        ck_assert_ptr_null(dbupgrade_condition_find(&o->status, "Ready"));
}
END_TEST

static const struct {
        const char *name, *text;
} refused[] = {
        { "nothing", "" },
        { "no object", "[]" },
        { "no metadata", "{}" },
        { "no name",
          "{\"metadata\":{\"namespace\":\"n\",\"uid\":\"u\",\"resourceVersion\":\"1\"}}" },
        { "an empty namespace", "{\"metadata\":{\"name\":\"x\",\"namespace\":\"\",\"uid\":\"u\","
                                "\"resourceVersion\":\"1\"}}" },
        { "a uid that is a number", "{\"metadata\":{\"name\":\"x\",\"namespace\":\"n\",\"uid\":1,"
                                    "\"resourceVersion\":\"1\"}}" },
        { "no resourceVersion",
          "{\"metadata\":{\"name\":\"x\",\"namespace\":\"n\",\"uid\":\"u\"}}" },
        { "a member twice", "{" METADATA ",\"spec\":{},\"spec\":{}}" },
        { "an escaped NUL", "{" METADATA ",\"spec\":{\"a\":\"\\u0000\"}}" },
        { "invalid UTF-8", "{" METADATA ",\"spec\":{\"a\":\"\xff\"}}" },
};

START_TEST(what_is_no_object_is_refused) {
        struct dbupgrade *object = NULL;
        struct fault f = FAULT_INIT;
        int r = dbupgrade_decode(refused[_i].text, strlen(refused[_i].text), &object, &f);

        ck_assert_msg(r == -FAULT_INVALID && !object && f.text[0], "%s: %d %s", refused[_i].name, r,
                      f.text);
}
END_TEST

START_TEST(every_prefix_is_refused) {
        for (size_t len = 0; len < sizeof(full) - 1; len++) {
                struct dbupgrade *object = NULL;

                ck_assert_int_eq(dbupgrade_decode(full, len, &object, NULL), -FAULT_INVALID);
        }
}
END_TEST

START_TEST(every_allocation_is_checked) {
        for (size_t n = 1;; n++) {
                CLEANUP(dbupgrade_free_p) struct dbupgrade *object = NULL;
                int r;

                alloc_fail_arm(n);
                r = dbupgrade_decode(full, sizeof(full) - 1, &object, NULL);
                if (!alloc_fail_disarm())
                        break;
                ck_assert_int_eq(r, -FAULT_NOMEM);
                ck_assert_ptr_null(object);
        }
}
END_TEST

START_TEST(names_of_results_and_types_go_both_ways) {
        for (enum run_result result = RUN_NONE; result <= RUN_SUPERSEDED; result++)
                ck_assert_int_eq(run_result_parse(run_result_name(result)), result);
        ck_assert_int_eq(run_result_parse("running"), RUN_NONE);
        ck_assert(!run_result_is_final(RUN_NONE) && !run_result_is_final(RUN_STARTING));
        ck_assert(!run_result_is_final(RUN_RUNNING) && !run_result_is_final(RUN_SUPERSEDING));
        ck_assert(run_result_is_final(RUN_SUCCEEDED) && run_result_is_final(RUN_FAILED));
        ck_assert(run_result_is_final(RUN_LOST) && run_result_is_final(RUN_SUPERSEDED));
        ck_assert_str_eq(database_type_name(DATABASE_AWS_AURORA), "awsAurora");
        for (enum runner_member member = 0; member < RUNNER_MEMBER_COUNT; member++)
                ck_assert_ptr_nonnull(runner_member_name(member));
}
END_TEST

int main(void) {
        Suite *suite = suite_create("dbupgrade");
        TCase *tcase = tcase_create("dbupgrade");
        SRunner *runner = srunner_create(suite);
        int failed;

        suite_add_tcase(suite, tcase);
        tcase_add_test(tcase, everything_is_read);
        tcase_add_loop_test(tcase, what_is_absent_or_of_a_wrong_type_has_its_default, 0,
                            (int)(sizeof(bare) / sizeof(bare[0])));
        tcase_add_loop_test(tcase, what_is_no_object_is_refused, 0,
                            (int)(sizeof(refused) / sizeof(refused[0])));
        tcase_add_test(tcase, every_prefix_is_refused);
        tcase_add_test(tcase, every_allocation_is_checked);
        tcase_add_test(tcase, names_of_results_and_types_go_both_ways);
        srunner_run_all(runner, CK_NORMAL);
        failed = srunner_ntests_failed(runner);
        srunner_free(runner);
        return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
