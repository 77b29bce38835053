/* SPDX-License-Identifier: Apache-2.0 */
#include "common/kube/event_queue.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/alloc_fail.h"

static struct event_queue *q;

static void setup(void) {
        q = event_queue_new(3);
        ck_assert_ptr_nonnull(q);
}

static void teardown(void) {
        event_queue_free(q);
}

static enum event_taken add(const char *uid, const char *reason, const char *key, bool repeats,
                            int64_t now_ms) {
        const struct event event = {
                .regarding = { "v1", "Thing", "ns", "name", uid, "1" },
                .repeats = repeats,
                .reason = reason,
                .action = "Act",
                .note = "note",
                .key = key,
        };

        return event_queue_add(q, &event, now_ms * 1000, now_ms);
}

/* What is sent now is that reason and key, with that count; then it ends so. Return: dropped. */
static bool send(int64_t now_ms, const char *reason, const char *key, int64_t count, bool patch,
                 enum event_result result) {
        struct event_task task;
        int64_t next_ms;

        ck_assert_msg(event_queue_next(q, now_ms, &task, &next_ms), "nothing instead of %s",
                      reason);
        ck_assert_str_eq(task.event->reason, reason);
        ck_assert_str_eq(task.event->key, key);
        ck_assert_int_eq(task.when.count, count);
        ck_assert_int_eq(task.patch, patch);
        return event_queue_done(q, now_ms, 0, result);
}

static void expect_nothing(int64_t now_ms, int64_t next_ms) {
        struct event_task task;
        int64_t next;

        ck_assert_msg(!event_queue_next(q, now_ms, &task, &next), "%s", task.event->reason);
        ck_assert_int_eq(next, next_ms);
}

START_TEST(events_are_sent_in_their_order) {
        ck_assert_int_eq(add("u1", "A", "1", false, 0), EVENT_QUEUED);
        ck_assert_int_eq(add("u2", "B", "1", true, 0), EVENT_QUEUED);
        ck_assert_int_eq(add("u1", "C", "1", false, 0), EVENT_QUEUED);
        ck_assert_uint_eq(event_queue_waiting(q), 3);
        ck_assert(!send(1, "A", "1", 1, false, EVENT_SENT));
        ck_assert(!send(1, "B", "1", 1, false, EVENT_SENT));
        ck_assert(!send(1, "C", "1", 1, false, EVENT_SENT));
        expect_nothing(1, INT64_MAX);
        ck_assert_uint_eq(event_queue_waiting(q), 0);
}
END_TEST

START_TEST(another_run_is_no_repeat_although_its_note_is_equal) {
        ck_assert_int_eq(add("u", "A", "job-1", false, 0), EVENT_QUEUED);
        ck_assert_int_eq(add("u", "A", "job-2", false, 0), EVENT_QUEUED);
        (void)send(1, "A", "job-1", 1, false, EVENT_SENT);
        (void)send(1, "A", "job-2", 1, false, EVENT_SENT);
}
END_TEST

START_TEST(beyond_the_bound_events_are_dropped) {
        for (int i = 0; i < 3; i++)
                ck_assert_int_eq(add("u", "A", "1", false, 0), EVENT_QUEUED);
        ck_assert_int_eq(add("u", "B", "1", false, 0), EVENT_DROPPED);
        ck_assert_int_eq(add("u", "B", "1", true, 0), EVENT_DROPPED);
        (void)send(0, "A", "1", 1, false, EVENT_SENT);
        ck_assert_int_eq(add("u", "B", "2", true, 0), EVENT_QUEUED);
        /* A repeat takes no room. */
        ck_assert_int_eq(add("u", "B", "3", true, 0), EVENT_REPEATED);
}
END_TEST

START_TEST(a_repeat_counts_up_the_first) {
        ck_assert_int_eq(add("u", "A", "t1", true, 0), EVENT_QUEUED);
        (void)send(0, "A", "t1", 1, false, EVENT_SENT);
        ck_assert_int_eq(add("u", "A", "t2", true, 1000), EVENT_REPEATED);
        (void)send(1000, "A", "t1", 2, true, EVENT_SENT);
        /* From then on once a minute. */
        ck_assert_int_eq(add("u", "A", "t3", true, 2000), EVENT_REPEATED);
        expect_nothing(2000, 61000);
        ck_assert_int_eq(add("u", "A", "t4", true, 3000), EVENT_REPEATED);
        expect_nothing(60999, 61000);
        (void)send(61000, "A", "t1", 4, true, EVENT_SENT);
        expect_nothing(61000, INT64_MAX);
}
END_TEST

START_TEST(the_same_occurrence_is_never_counted_twice) {
        ck_assert_int_eq(add("u", "A", "t1", true, 0), EVENT_QUEUED);
        ck_assert_int_eq(add("u", "A", "t1", true, 0), EVENT_KNOWN);
        (void)send(0, "A", "t1", 1, false, EVENT_SENT);
        ck_assert_int_eq(add("u", "A", "t1", true, 0), EVENT_KNOWN);
        expect_nothing(0, INT64_MAX);
        ck_assert_int_eq(add("u", "A", "t2", true, 0), EVENT_REPEATED);
        ck_assert_int_eq(add("u", "A", "t2", true, 0), EVENT_KNOWN);
        (void)send(0, "A", "t1", 2, true, EVENT_SENT);
}
END_TEST

START_TEST(other_objects_and_reasons_are_no_repeats) {
        ck_assert_int_eq(add("u1", "A", "t1", true, 0), EVENT_QUEUED);
        ck_assert_int_eq(add("u2", "A", "t2", true, 0), EVENT_QUEUED);
        ck_assert_int_eq(add("u1", "B", "t3", true, 0), EVENT_QUEUED);
}
END_TEST

START_TEST(what_comes_long_after_is_an_event_of_its_own) {
        ck_assert_int_eq(add("u", "A", "t1", true, 0), EVENT_QUEUED);
        (void)send(0, "A", "t1", 1, false, EVENT_SENT);
        ck_assert_int_eq(add("u", "A", "t2", true, 359999), EVENT_REPEATED);
        (void)send(359999, "A", "t1", 2, true, EVENT_SENT);
        ck_assert_int_eq(add("u", "A", "t3", true, 359999 + 360000), EVENT_QUEUED);
        (void)send(800000, "A", "t3", 1, false, EVENT_SENT);
}
END_TEST

START_TEST(repeats_of_what_was_not_sent_yet_go_with_it) {
        ck_assert_int_eq(add("u", "A", "t1", true, 0), EVENT_QUEUED);
        ck_assert_int_eq(add("u", "A", "t2", true, 400000), EVENT_REPEATED);
        (void)send(400000, "A", "t1", 2, false, EVENT_SENT);
        expect_nothing(400000, INT64_MAX);
}
END_TEST

START_TEST(a_repeat_during_the_request_is_told_of_afterwards) {
        struct event_task task;
        int64_t next_ms;

        (void)add("u", "A", "t1", true, 0);
        ck_assert(event_queue_next(q, 0, &task, &next_ms));
        ck_assert_int_eq(add("u", "A", "t2", true, 0), EVENT_REPEATED);
        ck_assert_str_eq(task.event->key, "t1");
        ck_assert_int_eq(task.when.count, 1);
        ck_assert(!event_queue_done(q, 0, 0, EVENT_SENT));
        (void)send(0, "A", "t1", 2, true, EVENT_SENT);
}
END_TEST

START_TEST(a_series_whose_event_has_gone_is_created_anew) {
        (void)add("u", "A", "t1", true, 0);
        (void)send(0, "A", "t1", 1, false, EVENT_SENT);
        (void)add("u", "A", "t2", true, 0);
        ck_assert(!send(0, "A", "t1", 2, true, EVENT_GONE));
        ck_assert(!send(0, "A", "t1", 2, false, EVENT_SENT));
        expect_nothing(0, INT64_MAX);
}
END_TEST

START_TEST(what_nobody_takes_holds_the_rest_and_is_tried_again) {
        static const int64_t waits_ms[] = { 1000,  2000,  4000,  8000,  16000, 30000,
                                            30000, 30000, 30000, 30000, 30000 };
        int64_t now_ms = 0;

        (void)add("u", "A", "1", false, 0);
        (void)add("u", "B", "1", false, 0);
        for (size_t i = 0; i < sizeof(waits_ms) / sizeof(waits_ms[0]); i++) {
                ck_assert(!send(now_ms, "A", "1", 1, false, EVENT_LATER));
                expect_nothing(now_ms, now_ms + waits_ms[i]);
                now_ms += waits_ms[i];
        }
        ck_assert_msg(send(now_ms, "A", "1", 1, false, EVENT_LATER), "dropped after 12 tries");
        ck_assert(!send(now_ms, "B", "1", 1, false, EVENT_LATER));
        expect_nothing(now_ms, now_ms + 1000);
}
END_TEST

START_TEST(what_is_refused_is_dropped_at_once) {
        (void)add("u", "A", "1", false, 0);
        (void)add("u", "B", "1", true, 0);
        ck_assert(send(0, "A", "1", 1, false, EVENT_REFUSED));
        ck_assert(send(0, "B", "1", 1, false, EVENT_REFUSED));
        /* A refused one is no beginning of a series. */
        ck_assert_int_eq(add("u", "B", "2", true, 0), EVENT_QUEUED);
}
END_TEST

START_TEST(at_the_end_nothing_is_kept_back) {
        (void)add("u", "A", "t1", true, 0);
        (void)send(0, "A", "t1", 1, false, EVENT_SENT);
        (void)add("u", "A", "t2", true, 0);
        (void)send(0, "A", "t1", 2, true, EVENT_SENT);
        (void)add("u", "A", "t3", true, 0);
        (void)add("u", "B", "1", false, 0);
        (void)send(0, "B", "1", 1, false, EVENT_LATER);
        expect_nothing(1, 1000);
        event_queue_hurry(q);
        (void)send(1, "B", "1", 1, false, EVENT_SENT);
        (void)send(1, "A", "t1", 3, true, EVENT_SENT);
        /* A second failure waits as ever. */
        (void)add("u", "C", "1", false, 0);
        (void)send(1, "C", "1", 1, false, EVENT_LATER);
        expect_nothing(1, 1001);
}
END_TEST

START_TEST(series_are_remembered_up_to_a_bound) {
        char uid[16];

        for (int i = 0; i < 3000; i++) {
                (void)snprintf(uid, sizeof(uid), "u%d", i);
                ck_assert_int_eq(add(uid, "A", "t1", true, 0), EVENT_QUEUED);
                (void)send(0, "A", "t1", 1, false, EVENT_SENT);
        }
        ck_assert_int_eq(add("u0", "A", "t2", true, 0), EVENT_QUEUED);
        ck_assert_int_eq(add("u2999", "A", "t2", true, 0), EVENT_REPEATED);
}
END_TEST

/* The nth allocation fails: the event is dropped or the count is, and nothing leaks. */
START_TEST(it_lives_without_memory) {
        bool failed = true;

        for (size_t n = 1; failed; n++) {
                struct event_queue *fresh = event_queue_new(3);
                struct event_queue *kept = q;

                q = fresh;
                alloc_fail_arm(n);
                (void)add("u", "A", "t1", true, 0);
                (void)add("u", "A", "t2", true, 0);
                (void)add("u", "B", "t1", false, 0);
                failed = alloc_fail_disarm();
                q = kept;
                event_queue_free(fresh);
        }
}
END_TEST

int main(void) {
        Suite *suite = suite_create("event_queue");
        TCase *tc = tcase_create("event_queue");
        SRunner *runner = srunner_create(suite);
        int failed;

        tcase_add_checked_fixture(tc, setup, teardown);
        tcase_add_test(tc, events_are_sent_in_their_order);
        tcase_add_test(tc, another_run_is_no_repeat_although_its_note_is_equal);
        tcase_add_test(tc, beyond_the_bound_events_are_dropped);
        tcase_add_test(tc, a_repeat_counts_up_the_first);
        tcase_add_test(tc, the_same_occurrence_is_never_counted_twice);
        tcase_add_test(tc, other_objects_and_reasons_are_no_repeats);
        tcase_add_test(tc, what_comes_long_after_is_an_event_of_its_own);
        tcase_add_test(tc, repeats_of_what_was_not_sent_yet_go_with_it);
        tcase_add_test(tc, a_repeat_during_the_request_is_told_of_afterwards);
        tcase_add_test(tc, a_series_whose_event_has_gone_is_created_anew);
        tcase_add_test(tc, what_nobody_takes_holds_the_rest_and_is_tried_again);
        tcase_add_test(tc, what_is_refused_is_dropped_at_once);
        tcase_add_test(tc, at_the_end_nothing_is_kept_back);
        tcase_add_test(tc, series_are_remembered_up_to_a_bound);
        tcase_add_test(tc, it_lives_without_memory);
        suite_add_tcase(suite, tc);
        srunner_run_all(runner, CK_ENV);
        failed = srunner_ntests_failed(runner);
        srunner_free(runner);
        return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
