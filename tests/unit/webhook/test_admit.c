/* SPDX-License-Identifier: Apache-2.0 */
/* What the admission table does not reach. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/arena.h"
#include "common/base/fault.h"
#include "tests/unit/alloc_fail.h"
#include "webhook/admit.h"

#define DATABASE                                                                                   \
        "\"database\":{\"type\":\"selfHosted\",\"connection\":{\"urlSecretRef\":{\"name\":\"db\"}}}"
#define VALID     "{\"migrations\":{\"image\":\"m:1\"}," DATABASE "}"
#define VALID_NEW "{\"migrations\":{\"image\":\"m:2\"}," DATABASE "}"
#define INVALID   "{\"migrations\":{\"image\":\"m m\"}," DATABASE "}"

static struct json_span span(const char *text) {
        return (struct json_span){ .text = text, .len = text ? strlen(text) : 0 };
}

static struct admit_decision judge(const struct admit_request *request, struct arena *arena) {
        struct admit_decision decision;

        ck_assert_int_eq(admit_judge(request, arena, &decision, NULL), 0);
        return decision;
}

static const struct {
        const char *name, *result, *job;
        bool warned;
} runs[] = {
        { "a run that starts", "\"Starting\"", "\"dbupgrade-x-0a1b2c3d\"", true },
        { "a run that runs", "\"Running\"", "\"dbupgrade-x-0a1b2c3d\"", true },
        { "a run that has ended", "\"Succeeded\"", "\"dbupgrade-x-0a1b2c3d\"", false },
        { "no run", NULL, NULL, false },
        { "a result of another type", "1", "\"dbupgrade-x-0a1b2c3d\"", false },
        { "a result that is too long", "\"RunningRunningRunning\"", "\"j\"", false },
        { "no Job", "\"Running\"", NULL, false },
        { "a Job that is no name", "\"Running\"", "\"a\\nWarning: 299\"", false },
        { "a Job with an empty name", "\"Running\"", "\"\"", false },
        { "a Job whose name is too long", "\"Running\"",
          "\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\"", false },
};

START_TEST(a_running_migration_draws_a_warning) {
        struct admit_request request = {
                .update = true,
                .spec = span(VALID_NEW),
                .old_spec = span(VALID),
                .run_result = span(runs[_i].result),
                .run_job = span(runs[_i].job),
        };
        CLEANUP(arena_done) struct arena arena = ARENA_INIT(RULES_ARENA_MAX);

        ck_assert_msg(judge(&request, &arena).warnings.count == runs[_i].warned, "%s",
                      runs[_i].name);
        request.mutating = true;
        ck_assert_uint_eq(judge(&request, &arena).warnings.count, 0);
        request.mutating = request.update = false;
        ck_assert_uint_eq(judge(&request, &arena).warnings.count, 0);
}
END_TEST

static const struct {
        const char *name;
        const char *spec, *old_spec; /* old_spec NULL: none */
        bool update, deleting, allowed;
} verdicts[] = {
        { "a valid new object", VALID, NULL, false, false, true },
        { "an invalid new object", INVALID, NULL, false, false, false },
        { "an invalid new object that is being deleted already", INVALID, NULL, false, true, true },
        { "no spec", NULL, NULL, false, false, false },
        { "a null spec", "null", NULL, false, false, false },
        { "a spec of another type", "[]", NULL, false, false, false },
        { "an update that leaves an invalid spec alone", INVALID, INVALID, true, false, true },
        { "the same bytes are no excuse for a new object", INVALID, INVALID, false, false, false },
        { "an update of an object without a spec that adds none", NULL, NULL, true, false, true },
        { "a null spec for none", "null", NULL, true, false, true },
        { "an update that adds a valid spec", VALID, NULL, true, false, true },
        { "an update that adds an invalid spec", INVALID, "null", true, false, false },
        { "an update from a spec of another type", VALID, "\"x\"", true, false, true },
        { "an update that makes a spec invalid", INVALID, VALID, true, false, false },
        { "the same while it is being deleted", INVALID, VALID, true, true, true },
};

START_TEST(verdicts_on_strange_requests) {
        const struct admit_request request = {
                .update = verdicts[_i].update,
                .deleting = verdicts[_i].deleting,
                .spec = span(verdicts[_i].spec),
                .old_spec = span(verdicts[_i].old_spec),
        };
        CLEANUP(arena_done) struct arena arena = ARENA_INIT(RULES_ARENA_MAX);
        struct admit_decision decision = judge(&request, &arena);

        ck_assert_msg(decision.allowed == verdicts[_i].allowed, "%s", verdicts[_i].name);
        ck_assert_msg((decision.verdict.count == 0) == decision.allowed, "%s: %zu causes",
                      verdicts[_i].name, decision.verdict.count);
}
END_TEST

START_TEST(only_the_mutating_path_patches) {
        struct admit_request request = { .spec = span(VALID) };
        CLEANUP(arena_done) struct arena arena = ARENA_INIT(RULES_ARENA_MAX);

        ck_assert_ptr_null(judge(&request, &arena).patch);
        request.mutating = true;
        ck_assert_str_eq(
                judge(&request, &arena).patch,
                "[{\"op\":\"add\",\"path\":\"/spec/migrations/dir\",\"value\":\"/migrations\"},"
                "{\"op\":\"add\",\"path\":\"/spec/database/connection/urlSecretRef/key\","
                "\"value\":\"url\"},"
                "{\"op\":\"add\",\"path\":\"/spec/runner\","
                "\"value\":{\"activeDeadlineSeconds\":600}}]");
        request.spec = span(INVALID);
        ck_assert_ptr_null(judge(&request, &arena).patch);
}
END_TEST

START_TEST(tolerated_mistakes_are_not_patched) {
        /* The old object has a runner of a wrong type, and keeps it. */
        static const char before[] = "{\"migrations\":{\"image\":\"m:1\",\"dir\":\"/a\"},"
                                     "\"database\":{\"type\":\"awsRds\",\"connection\":{},"
                                     "\"aws\":\"x\"},\"runner\":7}";
        static const char after[] = "{\"migrations\":{\"image\":\"m:2\",\"dir\":\"/a\"},"
                                    "\"database\":{\"type\":\"awsRds\",\"connection\":{},"
                                    "\"aws\":\"x\"},\"runner\":7}";
        const struct admit_request request = {
                .mutating = true,
                .update = true,
                .spec = span(after),
                .old_spec = span(before),
        };
        CLEANUP(arena_done) struct arena arena = ARENA_INIT(RULES_ARENA_MAX);
        struct admit_decision decision = judge(&request, &arena);

        ck_assert(decision.allowed);
        ck_assert_ptr_null(decision.patch);
}
END_TEST

START_TEST(every_allocation_is_checked) {
        struct admit_request request = {
                .update = true,
                .old_spec = span(VALID),
                .run_result = span("\"Running\""),
                .run_job = span("\"j\""),
        };

        for (int variant = 0; variant < 4; variant++) {
                request.spec = span(variant & 1 ? INVALID : VALID_NEW);
                request.mutating = variant & 2;
                for (size_t n = 1;; n++) {
                        CLEANUP(arena_done) struct arena arena = ARENA_INIT(RULES_ARENA_MAX);
                        struct admit_decision decision = { .allowed = false };
                        int r;

                        alloc_fail_arm(n);
                        r = admit_judge(&request, &arena, &decision, NULL);
                        if (!alloc_fail_disarm())
                                break;
                        ck_assert_int_eq(r, -FAULT_NOMEM);
                        ck_assert(!decision.allowed);
                }
        }
}
END_TEST

int main(void) {
        Suite *suite = suite_create("admit");
        TCase *tcase = tcase_create("admit");
        SRunner *runner = srunner_create(suite);
        int failed;

        suite_add_tcase(suite, tcase);
        tcase_add_loop_test(tcase, a_running_migration_draws_a_warning, 0,
                            (int)(sizeof(runs) / sizeof(runs[0])));
        tcase_add_loop_test(tcase, verdicts_on_strange_requests, 0,
                            (int)(sizeof(verdicts) / sizeof(verdicts[0])));
        tcase_add_test(tcase, only_the_mutating_path_patches);
        tcase_add_test(tcase, tolerated_mistakes_are_not_patched);
        tcase_add_test(tcase, every_allocation_is_checked);
        srunner_run_all(runner, CK_NORMAL);
        failed = srunner_ntests_failed(runner);
        srunner_free(runner);
        return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
