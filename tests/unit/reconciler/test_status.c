/* SPDX-License-Identifier: Apache-2.0 */
#include "reconciler/status.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/arena.h"
#include "common/base/fault.h"
#include "common/base/strbuf.h"
#include "common/base/utf8.h"
#include "common/json/json_get.h"
#include "reconciler/explain.h"
#include "reconciler/job.h"
#include "tests/unit/alloc_fail.h"

#define BEFORE "2026-01-01T00:00:00Z"
#define NOW_S  1800000000
#define NOW    "2027-01-15T08:00:00Z"

static struct arena arena = ARENA_INIT(1 << 20);

/* The conditions as the contract's table writes them: Accepted Ready Progressing Degraded Blocked,
 * then Reconciling or Stalled when present. */
static const char *table_row(const struct dbupgrade_status *status) {
        static const char *const types[] = { "Accepted", "Ready",       "Progressing", "Degraded",
                                             "Blocked",  "Reconciling", "Stalled" };
        static struct strbuf text = STRBUF_INIT(4096);

        strbuf_reset(&text);
        for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
                const struct dbupgrade_condition *c = dbupgrade_condition_find(status, types[i]);

                if (c && i < 5)
                        strbuf_printf(&text, "%s%c/%s", i ? " " : "", c->status[0], c->reason);
                else if (c)
                        strbuf_printf(&text, " %s", types[i]);
        }
        return strbuf_text(&text);
}

struct row {
        const char *name;
        enum plan_situation situation;
        enum plan_blocked blocked;
        bool invalid;
        const char *reason; /* of the facts */
        const char *status_reason, *conditions;
};

static const struct row rows[] = {
        { "seen, nothing started", SITUATION_SEEN, .status_reason = "Initializing",
          .conditions = "T/ValidSpec F/Initializing F/Idle F/Idle F/Idle Reconciling" },
        { "invalid spec", SITUATION_INVALID, .invalid = true, .status_reason = "InvalidSpec",
          .conditions = "F/InvalidSpec F/InvalidSpec F/Idle T/InvalidSpec F/Idle Stalled" },
        { "Secret or key missing", SITUATION_SECRET, .status_reason = "SecretNotFound",
          .conditions = "T/ValidSpec F/Initializing F/Idle T/SecretNotFound F/Idle Reconciling" },
        { "AWS type", SITUATION_BLOCKED, BLOCKED_AWS, .status_reason = "AWSNotImplemented",
          .conditions = "T/ValidSpec F/AWSNotImplemented F/Idle F/Idle T/AWSNotImplemented "
                        "Stalled" },
        { "pre-checks present", SITUATION_BLOCKED, BLOCKED_CHECKS,
          .status_reason = "ChecksNotImplemented",
          .conditions = "T/ValidSpec F/ChecksNotImplemented F/Idle F/Idle T/ChecksNotImplemented "
                        "Stalled" },
        { "suspended", SITUATION_BLOCKED, BLOCKED_SUSPENDED, .status_reason = "Suspended",
          .conditions = "T/ValidSpec F/Suspended F/Idle F/Idle T/Suspended" },
        { "suspended, but done", SITUATION_SUCCEEDED, BLOCKED_SUSPENDED,
          .status_reason = "MigrationComplete",
          .conditions = "T/ValidSpec T/MigrationComplete F/Idle F/Idle T/Suspended" },
        { "suspended, but failed", SITUATION_FAILED, BLOCKED_SUSPENDED,
          .status_reason = "MigrationFailed",
          .conditions = "T/ValidSpec F/JobFailed F/Idle T/MigrationFailed T/Suspended Stalled" },
        { "waiting for an older Job or Pod", SITUATION_WAITING, .status_reason = "JobRunning",
          .conditions = "T/ValidSpec F/JobRunning T/MigrationInProgress F/Idle F/Idle "
                        "Reconciling" },
        { "Job pending or running", SITUATION_RUNNING, .status_reason = "JobRunning",
          .conditions = "T/ValidSpec F/JobRunning T/MigrationInProgress F/Idle F/Idle "
                        "Reconciling" },
        { "Job pending for a reason", SITUATION_RUNNING, .reason = "ImagePullBackOff",
          .status_reason = "ImagePullBackOff",
          .conditions = "T/ValidSpec F/JobRunning T/MigrationInProgress F/Idle F/Idle "
                        "Reconciling" },
        { "invalid while a Job runs", SITUATION_RUNNING, .invalid = true,
          .status_reason = "JobRunning",
          .conditions = "F/InvalidSpec F/JobRunning T/MigrationInProgress T/InvalidSpec F/Idle "
                        "Reconciling" },
        { "Job succeeded", SITUATION_SUCCEEDED, .status_reason = "MigrationComplete",
          .conditions = "T/ValidSpec T/MigrationComplete F/Idle F/Idle F/Idle" },
        { "Job failed", SITUATION_FAILED, .status_reason = "MigrationFailed",
          .conditions = "T/ValidSpec F/JobFailed F/Idle T/MigrationFailed F/Idle Stalled" },
        { "Job lost", SITUATION_LOST, .status_reason = "JobLost",
          .conditions = "T/ValidSpec F/JobFailed F/Idle T/JobLost F/Idle Stalled" },
        { "Job refused, may pass later", SITUATION_REJECTED, .status_reason = "JobRejected",
          .conditions = "T/ValidSpec F/JobRejected F/Idle T/JobRejected F/Idle Reconciling" },
        { "Job refused for good", SITUATION_REJECTED_GOOD, .status_reason = "JobRejected",
          .conditions = "T/ValidSpec F/JobRejected F/Idle T/JobRejected F/Idle Stalled" },
        { "a right is missing", SITUATION_FORBIDDEN, .status_reason = "Forbidden",
          .conditions = "T/ValidSpec F/Forbidden F/Idle T/Forbidden F/Idle Reconciling" },
        { "foreign Job has our name", SITUATION_CONFLICT, .status_reason = "JobNameConflict",
          .conditions = "T/ValidSpec F/JobNameConflict F/Idle T/JobNameConflict F/Idle Stalled" },
};

static struct status_facts facts_of(const struct row *row) {
        return (struct status_facts){
                .situation = row->situation,
                .blocked = row->blocked,
                .invalid = row->invalid,
                .reason = row->reason,
                .message = "the cause",
                .invalid_message = row->invalid ? "spec.x: wrong" : NULL,
                .now_s = NOW_S,
        };
}

static struct dbupgrade object_at(int64_t generation) {
        return (struct dbupgrade){
                .name = "shop",
                .uid = "u",
                .generation = generation,
                .spec = { .image = "shop/migrations:1" },
                .status = { .reason = "",
                            .message = "",
                            .applied_key = "",
                            .applied_image = "",
                            .applied_at = "",
                            .job_name = "",
                            .last_run = { .job_name = "",
                                          .job_uid = "",
                                          .run_key = "",
                                          .attempt_key = "",
                                          .image = "",
                                          .started_at = "",
                                          .finished_at = "",
                                          .reason = "",
                                          .message = "" } },
        };
}

START_TEST(a_situation_is_described) {
        const struct row *row = &rows[_i];
        struct dbupgrade object = object_at(7);
        struct dbupgrade_status next = object.status;
        struct status_facts facts = facts_of(row);
        const struct dbupgrade_condition *ready;

        status_describe(&arena, &next, &object, &facts);
        ck_assert_msg(strcmp(table_row(&next), row->conditions) == 0, "%s:\n got    %s\n wanted %s",
                      row->name, table_row(&next), row->conditions);
        ck_assert_str_eq(next.reason, row->status_reason);
        ck_assert_int_eq(next.observed_generation, 7);
        ready = dbupgrade_condition_find(&next, "Ready");
        ck_assert_str_eq(ready->message, next.message);
        for (size_t i = 0; i < next.condition_count; i++) {
                ck_assert_int_eq(next.conditions[i].observed_generation, 7);
                ck_assert_str_eq(next.conditions[i].last_transition_time, NOW);
        }
        ck_assert(!(dbupgrade_condition_find(&next, "Reconciling") &&
                    dbupgrade_condition_find(&next, "Stalled")));
        ck_assert_int_eq(arena_check(&arena, NULL), 0);
}
END_TEST

/* From every situation to every other: the time moves with the status of a condition, never with
 * its words. */
START_TEST(times_move_with_the_status_only) {
        for (size_t to = 0; to < sizeof(rows) / sizeof(rows[0]); to++) {
                struct dbupgrade object = object_at(1);
                struct status_facts from_facts = facts_of(&rows[_i]),
                                    to_facts = facts_of(&rows[to]);
                struct dbupgrade_status next;

                from_facts.now_s = 1767225600; /* BEFORE */
                status_describe(&arena, &object.status, &object, &from_facts);
                next = object.status;
                object.generation = 2;
                status_describe(&arena, &next, &object, &to_facts);
                for (size_t i = 0; i < next.condition_count; i++) {
                        const struct dbupgrade_condition *c = &next.conditions[i];
                        const struct dbupgrade_condition *old =
                                dbupgrade_condition_find(&object.status, c->type);
                        bool moved = !old || strcmp(old->status, c->status) != 0;

                        ck_assert_msg(strcmp(c->last_transition_time, moved ? NOW : BEFORE) == 0,
                                      "%s to %s: %s at %s", rows[_i].name, rows[to].name, c->type,
                                      c->last_transition_time);
                }
        }
        arena_done(&arena);
        arena = (struct arena)ARENA_INIT(1 << 20);
}
END_TEST

START_TEST(the_same_again_is_no_change) {
        struct dbupgrade object = object_at(1);
        struct status_facts facts = facts_of(&rows[_i]);
        struct dbupgrade_status next;

        status_describe(&arena, &object.status, &object, &facts);
        next = object.status;
        facts.now_s += 1000;
        status_describe(&arena, &next, &object, &facts);
        ck_assert_msg(status_equal(&object.status, &next), "%s", rows[_i].name);
        object.generation++;
        status_describe(&arena, &next, &object, &facts);
        ck_assert_msg(!status_equal(&object.status, &next), "%s: a new generation", rows[_i].name);
}
END_TEST

START_TEST(conditions_of_others_are_kept) {
        const struct dbupgrade_condition others = { "Custom", "True", "R", "m", BEFORE, 0 };
        struct dbupgrade object = object_at(1);
        struct status_facts facts = facts_of(&rows[0]);
        struct dbupgrade_status next;
        const struct dbupgrade_condition *kept;

        object.status.conditions = &others;
        object.status.condition_count = 1;
        next = object.status;
        status_describe(&arena, &next, &object, &facts);
        kept = dbupgrade_condition_find(&next, "Custom");
        ck_assert_ptr_nonnull(kept);
        ck_assert_str_eq(kept->last_transition_time, BEFORE);
        ck_assert_uint_eq(next.condition_count, 7);
}
END_TEST

START_TEST(a_long_message_is_cut_between_characters) {
        struct dbupgrade object = object_at(1);
        struct dbupgrade_status next = object.status;
        struct status_facts facts = facts_of(&rows[0]);
        char text[3000];

        for (size_t i = 0; i < sizeof(text) - 1; i += 2)
                memcpy(text + i, "\xc3\xa4", 2);
        text[sizeof(text) - 2] = '\0';
        text[0] = 'x'; /* so that a limit of 1,024 falls into a character */
        memmove(text + 1, text + 2, sizeof(text) - 2);
        facts.message = text;
        status_describe(&arena, &next, &object, &facts);
        ck_assert_uint_eq(strlen(next.message), 1023);
}
END_TEST

/* ---- the ledger ---- */

static void start(struct dbupgrade *object, int64_t number) {
        struct job_identity identity = {
                .number = number, .run_key = "K", .attempt_key = "A", .name = "job"
        };

        object->retry = "again";
        status_start(&arena, &object->status, object, &identity, "j-uid", NOW_S);
}

START_TEST(a_start_clears_what_was_applied) {
        struct dbupgrade object = object_at(1);

        object.status.applied_key = "old";
        start(&object, 3);
        ck_assert_str_eq(object.status.applied_key, "");
        ck_assert_str_eq(object.status.last_handled_retry, "again");
        ck_assert_int_eq(object.status.last_run.result, RUN_STARTING);
        ck_assert_int_eq(object.status.last_run.number, 3);
        ck_assert_str_eq(object.status.last_run.job_uid, "j-uid");
        ck_assert_str_eq(object.status.last_run.image, "shop/migrations:1");
        ck_assert_str_eq(object.status.last_run.started_at, NOW);
        ck_assert_str_eq(object.status.job_name, "job");
}
END_TEST

START_TEST(a_success_is_what_was_applied) {
        const struct status_outcome outcome = { .result = RUN_SUCCEEDED,
                                                .finished_at = BEFORE,
                                                .has_exit_code = true,
                                                .reason = "",
                                                .message = "" };
        struct dbupgrade object = object_at(1);

        start(&object, 1);
        status_record(&arena, &object.status, &outcome, NOW_S);
        ck_assert_str_eq(object.status.applied_key, "K");
        ck_assert_str_eq(object.status.applied_image, "shop/migrations:1");
        ck_assert_str_eq(object.status.applied_at, BEFORE);
        ck_assert_uint_eq(object.status.history_count, 1);
}
END_TEST

START_TEST(nothing_else_is) {
        static const enum run_result results[] = { RUN_RUNNING, RUN_SUPERSEDING, RUN_FAILED,
                                                   RUN_LOST, RUN_SUPERSEDED };
        struct status_outcome outcome = {
                .result = results[_i], .finished_at = "", .reason = "R", .message = "m"
        };
        struct dbupgrade object = object_at(1);

        start(&object, 1);
        status_record(&arena, &object.status, &outcome, NOW_S);
        ck_assert_str_eq(object.status.applied_key, "");
        ck_assert_uint_eq(object.status.history_count, run_result_is_final(results[_i]) ? 1 : 0);
        if (run_result_is_final(results[_i]))
                ck_assert_str_eq(object.status.last_run.finished_at, NOW);
}
END_TEST

START_TEST(the_history_holds_the_last_five) {
        const struct status_outcome outcome = {
                .result = RUN_FAILED, .finished_at = "", .reason = "R", .message = "long"
        };
        struct dbupgrade object = object_at(1);

        for (int64_t number = 1; number <= 7; number++) {
                start(&object, number);
                status_record(&arena, &object.status, &outcome, NOW_S);
        }
        ck_assert_uint_eq(object.status.history_count, 5);
        ck_assert_int_eq(object.status.history[0].number, 7);
        ck_assert_int_eq(object.status.history[4].number, 3);
        ck_assert_str_eq(object.status.history[0].message, "");
}
END_TEST

/* ---- the patch ---- */

START_TEST(the_patch_carries_everything) {
        struct dbupgrade object = object_at(4);
        struct dbupgrade_status next;
        struct status_facts facts = facts_of(&rows[0]);
        CLEANUP(strbuf_done) struct strbuf out = STRBUF_INIT(65536);
        cJSON *tree;

        object.status.applied_key = "old";
        object.status.message = "old";
        next = object.status;
        next.applied_key = "";
        status_describe(&arena, &next, &object, &facts);
        status_patch(&out, "42", &object.status, &next);
        ck_assert_int_eq(json_parse(out.ptr, out.len, &tree, NULL), 0);
        ck_assert_str_eq(json_string_at(tree, "metadata.resourceVersion"), "42");
        ck_assert_int_eq(json_int_at(tree, "status.observedGeneration", 0), 4);
        ck_assert(cJSON_IsNull(json_at(tree, "status.appliedKey")));
        ck_assert_str_eq(json_string_at(tree, "status.message"), "the cause");
        ck_assert_int_eq(cJSON_GetArraySize(json_at(tree, "status.conditions")),
                         (int)next.condition_count);
        ck_assert(json_is_absent(json_at(tree, "status.lastRun")));
        cJSON_Delete(tree);
}
END_TEST

/* A long cause, and conditions of others: every piece of memory that a description asks for. */
static void describe_in(struct arena *a, const struct row *row) {
        static char cause[2 * EXPLAIN_MESSAGE_MAX];
        struct dbupgrade_condition others[] = {
                { .type = "Theirs",
                  .status = "True",
                  .last_transition_time = BEFORE,
                  .reason = "R",
                  .message = "" },
        };
        struct dbupgrade object = object_at(7);
        struct status_facts facts = facts_of(row);

        memset(cause, 'x', sizeof(cause) - 1);
        facts.message = cause;
        object.status.conditions = others;
        object.status.condition_count = 1;
        status_describe(a, &object.status, &object, &facts);
}

/* No description lacks something without the arena's saying so. */
START_TEST(no_allocation_goes_unchecked) {
        struct arena whole = ARENA_INIT(1 << 20);
        size_t n = 1;

        describe_in(&whole, &rows[_i]);
        ck_assert_int_eq(arena_check(&whole, NULL), 0);
        for (;; n++) {
                struct arena a = ARENA_INIT(1 << 20);
                int r;

                alloc_fail_arm(n);
                describe_in(&a, &rows[_i]);
                r = arena_check(&a, NULL);
                arena_done(&a);
                if (!alloc_fail_disarm())
                        break;
                ck_assert_int_eq(r, -FAULT_NOMEM);
        }
        ck_assert_uint_gt(n, 1);
        for (size_t max = 0; max < whole.used; max += sizeof(void *)) {
                struct arena a = ARENA_INIT(max);

                describe_in(&a, &rows[_i]);
                ck_assert_int_eq(arena_check(&a, NULL), -FAULT_NOMEM);
                arena_done(&a);
        }
        arena_done(&whole);
}
END_TEST

int main(void) {
        const int all = (int)(sizeof(rows) / sizeof(rows[0]));
        Suite *suite = suite_create("status");
        TCase *tcase = tcase_create("status");
        SRunner *runner = srunner_create(suite);
        int failed;

        suite_add_tcase(suite, tcase);
        tcase_add_loop_test(tcase, a_situation_is_described, 0, all);
        tcase_add_loop_test(tcase, times_move_with_the_status_only, 0, all);
        tcase_add_loop_test(tcase, the_same_again_is_no_change, 0, all);
        tcase_add_loop_test(tcase, no_allocation_goes_unchecked, 0, all);
        tcase_add_test(tcase, conditions_of_others_are_kept);
        tcase_add_test(tcase, a_long_message_is_cut_between_characters);
        tcase_add_test(tcase, a_start_clears_what_was_applied);
        tcase_add_test(tcase, a_success_is_what_was_applied);
        tcase_add_loop_test(tcase, nothing_else_is, 0, 5);
        tcase_add_test(tcase, the_history_holds_the_last_five);
        tcase_add_test(tcase, the_patch_carries_everything);
        srunner_run_all(runner, CK_NORMAL);
        failed = srunner_ntests_failed(runner);
        srunner_free(runner);
        arena_done(&arena);
        return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
