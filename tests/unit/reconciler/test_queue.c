/* SPDX-License-Identifier: Apache-2.0 */
#include "reconciler/queue.h"

#include <check.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/clock.h"
#include "common/base/fault.h"

static struct queue *q;

static void setup(void) {
        q = queue_new();
        ck_assert_ptr_nonnull(q);
}

static void teardown(void) {
        queue_free(q);
}

static void add(const char *key, enum queue_priority priority, int64_t due_us) {
        ck_assert_int_eq(queue_add(q, key, priority, 0, due_us, NULL), 0);
}

static size_t depth(void) {
        const struct queue_stats stats = queue_read_stats(q);

        return stats.depth[QUEUE_FRESH] + stats.depth[QUEUE_LOW];
}

static void expect(int64_t now_us, const char *key) {
        int64_t us;
        const char *got = queue_next(q, now_us, &us);

        if (!key)
                ck_assert_msg(!got, "got %s", got);
        else
                ck_assert_str_eq(got, key);
}

START_TEST(keys_come_in_the_order_of_their_adding) {
        add("a", QUEUE_FRESH, 0);
        add("b", QUEUE_FRESH, 0);
        add("a", QUEUE_FRESH, 0);
        ck_assert_uint_eq(depth(), 2);
        expect(1, "a");
        expect(1, "b");
        expect(1, NULL);
}
END_TEST

START_TEST(fresh_keys_overtake_those_of_a_first_list) {
        add("old-1", QUEUE_LOW, 0);
        add("old-2", QUEUE_LOW, 0);
        add("new", QUEUE_FRESH, 0);
        add("old-2", QUEUE_FRESH, 0);
        expect(1, "new");
        expect(1, "old-2");
        expect(1, "old-1");
        expect(1, NULL);
}
END_TEST

START_TEST(a_key_is_worked_on_by_one_at_a_time) {
        add("a", QUEUE_FRESH, 0);
        expect(1, "a");
        add("a", QUEUE_FRESH, 0);
        add("a", QUEUE_FRESH, 0);
        expect(1, NULL);
        queue_done(q, "a", 0);
        expect(1, "a");
        queue_done(q, "a", 0);
        expect(1, NULL);
}
END_TEST

START_TEST(a_delay_is_kept_and_the_earliest_wins) {
        int64_t next_us;

        add("a", QUEUE_FRESH, 100);
        add("a", QUEUE_FRESH, 200);
        ck_assert_ptr_null(queue_next(q, 99, &next_us));
        ck_assert_int_eq(next_us, 100);
        add("a", QUEUE_FRESH, 50);
        ck_assert_ptr_null(queue_next(q, 49, &next_us));
        ck_assert_int_eq(next_us, 50);
        expect(50, "a");
        queue_done(q, "a", 0);
        ck_assert_ptr_null(queue_next(q, 1000, &next_us));
        ck_assert_int_eq(next_us, INT64_MAX);
}
END_TEST

START_TEST(an_add_at_once_overtakes_a_delay) {
        add("a", QUEUE_FRESH, 100);
        add("a", QUEUE_FRESH, 0);
        expect(1, "a");
        queue_done(q, "a", 0);
        expect(200, NULL);
}
END_TEST

START_TEST(a_delay_given_meanwhile_counts_from_the_end) {
        int64_t next_us;

        add("a", QUEUE_FRESH, 0);
        expect(1, "a");
        add("a", QUEUE_FRESH, 500);
        ck_assert_ptr_null(queue_next(q, 600, &next_us));
        queue_done(q, "a", 0);
        expect(600, "a");
}
END_TEST

START_TEST(many_delays_come_in_their_order) {
        char key[16];

        for (int i = 0; i < 1000; i++) {
                (void)snprintf(key, sizeof(key), "k%d", i);
                add(key, QUEUE_FRESH, 1 + (i * 7919) % 1000);
        }
        for (int64_t now_us = 1; now_us <= 1000; now_us++) {
                int64_t next_us;
                const char *got = queue_next(q, now_us, &next_us);

                ck_assert_ptr_nonnull(got);
                ck_assert_int_eq(1 + (atoi(got + 1) * 7919) % 1000, now_us);
                queue_done(q, got, now_us);
        }
}
END_TEST

static const int64_t second = 1000000;

START_TEST(failures_are_counted_a_key) {
        add("a", QUEUE_FRESH, 0);
        add("b", QUEUE_FRESH, 0);
        expect(1, "a");
        expect(1, "b");
        ck_assert_int_eq(queue_failed_ms(q, "a", 1, 0), 5);
        ck_assert_int_eq(queue_failed_ms(q, "a", 1, 0), 10);
        ck_assert_int_eq(queue_failed_ms(q, "b", 1, 0), 5);
        queue_forget(q, "a");
        ck_assert_int_eq(queue_failed_ms(q, "a", 1, 0), 5);
        ck_assert_uint_eq(queue_read_stats(q).retries, 4);
}
END_TEST

START_TEST(all_keys_together_fail_ten_times_a_second) {
        char key[16];

        for (int i = 0; i < 300; i++) {
                int64_t delay_ms;

                (void)snprintf(key, sizeof(key), "k%d", i);
                add(key, QUEUE_FRESH, 0);
                expect(0, key);
                delay_ms = queue_failed_ms(q, key, 0, 0);
                /* The first hundred are free: theirs is their own delay. */
                ck_assert_msg(delay_ms == (i < 100 ? 5 : (i - 99) * 100), "%d: %d", i,
                              (int)delay_ms);
        }
        /* 20 s later the debt of 200 is paid, 10 s after that the whole hundred is free again. */
        ck_assert_int_eq(queue_failed_ms(q, "k0", 20 * second, 0), 100);
        for (int i = 1; i <= 100; i++) {
                (void)snprintf(key, sizeof(key), "k%d", i);
                ck_assert_int_eq(queue_failed_ms(q, key, 31 * second, 0), 10);
        }
        ck_assert_int_eq(queue_failed_ms(q, "k101", 31 * second, 0), 100);
}
END_TEST

START_TEST(a_key_that_fails_often_waits_longer_than_its_share) {
        add("a", QUEUE_FRESH, 0);
        expect(0, "a");
        for (int i = 0; i < 16; i++)
                (void)queue_failed_ms(q, "a", 0, 0);
        ck_assert_int_eq(queue_failed_ms(q, "a", 0, 0), 300000);
}
END_TEST

START_TEST(success_forgets_and_a_failing_key_is_remembered) {
        add("a", QUEUE_FRESH, 0);
        expect(1, "a");
        ck_assert_int_eq(queue_failed_ms(q, "a", 1, 0), 5);
        queue_done(q, "a", 1);
        add("a", QUEUE_FRESH, 0);
        expect(2, "a");
        ck_assert_int_eq(queue_failed_ms(q, "a", 2, 0), 10);
        queue_forget(q, "a");
        queue_done(q, "a", 2);
        add("a", QUEUE_FRESH, 0);
        expect(3, "a");
        ck_assert_int_eq(queue_failed_ms(q, "a", 3, 0), 5);
}
END_TEST

START_TEST(a_key_added_while_worked_on_is_fresh) {
        add("a", QUEUE_LOW, 0);
        add("b", QUEUE_LOW, 0);
        expect(1, "a");
        add("a", QUEUE_LOW, 0);
        queue_done(q, "a", 0);
        expect(1, "a");
}
END_TEST

START_TEST(a_key_knows_since_when_it_is_due) {
        int64_t us;

        ck_assert_int_eq(queue_add(q, "a", QUEUE_FRESH, 10, 10, NULL), 0);
        ck_assert_int_eq(queue_add(q, "b", QUEUE_FRESH, 10, 50, NULL), 0);
        ck_assert_int_eq(queue_add(q, "a", QUEUE_FRESH, 20, 20, NULL), 0);
        ck_assert_str_eq(queue_next(q, 70, &us), "a");
        ck_assert_int_eq(us, 10);
        ck_assert_str_eq(queue_next(q, 70, &us), "b");
        ck_assert_int_eq(us, 50);
        ck_assert_int_eq(queue_add(q, "a", QUEUE_FRESH, 80, 80, NULL), 0);
        queue_done(q, "a", 90);
        ck_assert_str_eq(queue_next(q, 95, &us), "a");
        ck_assert_int_eq(us, 90);
}
END_TEST

START_TEST(depth_and_adds_are_counted) {
        struct queue_stats stats;

        add("a", QUEUE_LOW, 0);
        add("b", QUEUE_LOW, 0);
        add("b", QUEUE_LOW, 0);
        add("c", QUEUE_FRESH, 0);
        add("d", QUEUE_FRESH, 100);
        add("a", QUEUE_FRESH, 0);
        stats = queue_read_stats(q);
        ck_assert_uint_eq(stats.depth[QUEUE_FRESH], 2);
        ck_assert_uint_eq(stats.depth[QUEUE_LOW], 1);
        ck_assert_uint_eq(stats.adds, 3);
        expect(100, "c");
        add("c", QUEUE_FRESH, 0);
        add("c", QUEUE_FRESH, 0);
        ck_assert_uint_eq(queue_read_stats(q).adds, 4); /* d */
        queue_done(q, "c", 100);
        stats = queue_read_stats(q);
        ck_assert_uint_eq(stats.adds, 5);
        ck_assert_uint_eq(stats.depth[QUEUE_FRESH], 3);
}
END_TEST

START_TEST(the_backoff_doubles_to_five_minutes) {
        ck_assert_int_eq(queue_backoff_ms(1, 0), 5);
        ck_assert_int_eq(queue_backoff_ms(2, 0), 10);
        ck_assert_int_eq(queue_backoff_ms(11, 0), 5120);
        ck_assert_int_eq(queue_backoff_ms(17, 0), 300000);
        ck_assert_int_eq(queue_backoff_ms(1000, 0), 300000);
        for (uint32_t random = 0; random < 1000; random++) {
                ck_assert_int_ge(queue_backoff_ms(11, random), 5120);
                ck_assert_int_le(queue_backoff_ms(11, random), 5120 + 5120 / 4);
        }
}
END_TEST

/* ---- threads ---- */

#define KEYS    16
#define ROUNDS  2000
#define WORKERS 4

struct crowd {
        struct work_queue *queue;
        atomic_int busy[KEYS];
        atomic_int done[KEYS];
        atomic_int twice; /* times that two worked on one key */
};

static void *work(void *ctx) {
        struct crowd *crowd = ctx;
        int64_t waited_us;
        char *key;

        while ((key = work_queue_take(crowd->queue, &waited_us))) {
                int i = atoi(key);

                if (atomic_fetch_add(&crowd->busy[i], 1) != 0)
                        atomic_fetch_add(&crowd->twice, 1);
                atomic_fetch_add(&crowd->done[i], 1);
                atomic_fetch_sub(&crowd->busy[i], 1);
                work_queue_finish(crowd->queue, key, -1);
                free(key);
        }
        return NULL;
}

START_TEST(no_key_is_lost_and_none_is_shared) {
        static struct crowd crowd;
        pthread_t threads[WORKERS];
        char key[16];

        memset(&crowd, 0, sizeof(crowd));
        ck_assert_int_eq(work_queue_new(clock_system(), &crowd.queue, NULL), 0);
        for (int i = 0; i < WORKERS; i++)
                ck_assert_int_eq(pthread_create(&threads[i], NULL, work, &crowd), 0);
        for (int i = 0; i < ROUNDS; i++) {
                (void)snprintf(key, sizeof(key), "%d", i % KEYS);
                work_queue_add(crowd.queue, key, i % 2 ? QUEUE_FRESH : QUEUE_LOW, i % 3);
        }
        /* What was added last is done after it was added. */
        for (int i = 0; i < KEYS; i++) {
                int before = atomic_load(&crowd.done[i]);

                (void)snprintf(key, sizeof(key), "%d", i);
                work_queue_add(crowd.queue, key, QUEUE_FRESH, 0);
                while (atomic_load(&crowd.done[i]) == before)
                        ;
        }
        work_queue_stop(crowd.queue);
        for (int i = 0; i < WORKERS; i++)
                pthread_join(threads[i], NULL);
        ck_assert_int_eq(atomic_load(&crowd.twice), 0);
        work_queue_free(crowd.queue);
}
END_TEST

int main(void) {
        Suite *suite = suite_create("queue");
        TCase *tcase = tcase_create("queue");
        SRunner *runner = srunner_create(suite);
        int failed;

        suite_add_tcase(suite, tcase);
        tcase_add_checked_fixture(tcase, setup, teardown);
        tcase_add_test(tcase, keys_come_in_the_order_of_their_adding);
        tcase_add_test(tcase, fresh_keys_overtake_those_of_a_first_list);
        tcase_add_test(tcase, a_key_is_worked_on_by_one_at_a_time);
        tcase_add_test(tcase, a_delay_is_kept_and_the_earliest_wins);
        tcase_add_test(tcase, an_add_at_once_overtakes_a_delay);
        tcase_add_test(tcase, a_delay_given_meanwhile_counts_from_the_end);
        tcase_add_test(tcase, many_delays_come_in_their_order);
        tcase_add_test(tcase, failures_are_counted_a_key);
        tcase_add_test(tcase, all_keys_together_fail_ten_times_a_second);
        tcase_add_test(tcase, a_key_that_fails_often_waits_longer_than_its_share);
        tcase_add_test(tcase, success_forgets_and_a_failing_key_is_remembered);
        tcase_add_test(tcase, a_key_added_while_worked_on_is_fresh);
        tcase_add_test(tcase, a_key_knows_since_when_it_is_due);
        tcase_add_test(tcase, depth_and_adds_are_counted);
        tcase_add_test(tcase, the_backoff_doubles_to_five_minutes);
        tcase_add_test(tcase, no_key_is_lost_and_none_is_shared);
        srunner_run_all(runner, CK_NORMAL);
        failed = srunner_ntests_failed(runner);
        srunner_free(runner);
        return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
