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

static void add(const char *key, enum queue_priority priority, int64_t due_ms) {
        ck_assert_int_eq(queue_add(q, key, priority, due_ms, NULL), 0);
}

static void expect(int64_t now_ms, const char *key) {
        int64_t next_ms;
        const char *got = queue_next(q, now_ms, &next_ms);

        if (!key)
                ck_assert_msg(!got, "got %s", got);
        else
                ck_assert_str_eq(got, key);
}

START_TEST(keys_come_in_the_order_of_their_adding) {
        add("a", QUEUE_FRESH, 0);
        add("b", QUEUE_FRESH, 0);
        add("a", QUEUE_FRESH, 0);
        ck_assert_uint_eq(queue_depth(q), 2);
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
        queue_done(q, "a");
        expect(1, "a");
        queue_done(q, "a");
        expect(1, NULL);
}
END_TEST

START_TEST(a_delay_is_kept_and_the_earliest_wins) {
        int64_t next_ms;

        add("a", QUEUE_FRESH, 100);
        add("a", QUEUE_FRESH, 200);
        ck_assert_ptr_null(queue_next(q, 99, &next_ms));
        ck_assert_int_eq(next_ms, 100);
        add("a", QUEUE_FRESH, 50);
        ck_assert_ptr_null(queue_next(q, 49, &next_ms));
        ck_assert_int_eq(next_ms, 50);
        expect(50, "a");
        queue_done(q, "a");
        ck_assert_ptr_null(queue_next(q, 1000, &next_ms));
        ck_assert_int_eq(next_ms, INT64_MAX);
}
END_TEST

START_TEST(an_add_at_once_overtakes_a_delay) {
        add("a", QUEUE_FRESH, 100);
        add("a", QUEUE_FRESH, 0);
        expect(1, "a");
        queue_done(q, "a");
        expect(200, NULL);
}
END_TEST

START_TEST(a_delay_given_meanwhile_counts_from_the_end) {
        int64_t next_ms;

        add("a", QUEUE_FRESH, 0);
        expect(1, "a");
        add("a", QUEUE_FRESH, 500);
        ck_assert_ptr_null(queue_next(q, 600, &next_ms));
        queue_done(q, "a");
        expect(600, "a");
}
END_TEST

START_TEST(many_delays_come_in_their_order) {
        char key[16];

        for (int i = 0; i < 1000; i++) {
                (void)snprintf(key, sizeof(key), "k%d", i);
                add(key, QUEUE_FRESH, 1 + (i * 7919) % 1000);
        }
        for (int64_t now_ms = 1; now_ms <= 1000; now_ms++) {
                int64_t next_ms;
                const char *got = queue_next(q, now_ms, &next_ms);

                ck_assert_ptr_nonnull(got);
                ck_assert_int_eq(1 + (atoi(got + 1) * 7919) % 1000, now_ms);
                queue_done(q, got);
        }
}
END_TEST

START_TEST(failures_are_counted_a_key) {
        add("a", QUEUE_FRESH, 0);
        add("b", QUEUE_FRESH, 0);
        expect(1, "a");
        expect(1, "b");
        ck_assert_uint_eq(queue_failed(q, "a"), 1);
        ck_assert_uint_eq(queue_failed(q, "a"), 2);
        ck_assert_uint_eq(queue_failed(q, "b"), 1);
        queue_forget(q, "a");
        ck_assert_uint_eq(queue_failed(q, "a"), 1);
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
        char *key;

        while ((key = work_queue_take(crowd->queue))) {
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
        tcase_add_test(tcase, the_backoff_doubles_to_five_minutes);
        tcase_add_test(tcase, no_key_is_lost_and_none_is_shared);
        srunner_run_all(runner, CK_NORMAL);
        failed = srunner_ntests_failed(runner);
        srunner_free(runner);
        return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
