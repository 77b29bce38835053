/* SPDX-License-Identifier: Apache-2.0 */
#include "common/http/reaper.h"

#include <check.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "common/base/clock.h"
#include "common/base/fault.h"
#include "tests/unit/alloc_fail.h"

/* Time stands still until a test moves it; the reaper's thread looks twice a second. */
static _Atomic int64_t now_ms;

static int64_t mono_us(void *ctx) {
        (void)ctx;
        return atomic_load(&now_ms) * 1000;
}

static const struct clock test_clock = { mono_us, mono_us, mono_us, NULL };

struct connection {
        int ours, peers; /* descriptors */
        struct reaper_entry *entry;
};

#define CROWD 3

static struct reaper *reaper;

static void setup(void) {
        atomic_store(&now_ms, 1000000);
        ck_assert_int_eq(reaper_new(&test_clock, CROWD, 0, &reaper, NULL), 0);
}

static void teardown(void) {
        reaper_free(reaper);
}

static struct connection connect_within(int64_t within_ms) {
        struct connection c;
        int fds[2];

        ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
        c.ours = fds[0];
        c.peers = fds[1];
        c.entry = reaper_add(reaper, c.ours, within_ms);
        ck_assert_ptr_nonnull(c.entry);
        return c;
}

static void end(struct connection *c) {
        reaper_remove(reaper, c->entry);
        close_p(&c->ours);
        close_p(&c->peers);
}

static size_t count(void) {
        return reaper_load(reaper).connections;
}

/* How many were ended, for either reason. */
static uint64_t ended(void) {
        struct reaper_load load = reaper_load(reaper);

        return load.slow + load.crowded;
}

/* Whether the peer sees the end of it; waits for at most that long. */
static bool is_ended(const struct connection *c, int timeout_ms) {
        struct pollfd fd = { .fd = c->peers, .events = POLLIN };

        return poll(&fd, 1, timeout_ms) == 1;
}

#define LIMIT_MS 60000

/* Returns when the thread has looked at every connection after now. */
static void await_look(void) {
        struct connection past = connect_within(-1);

        ck_assert(is_ended(&past, LIMIT_MS));
        end(&past);
}

START_TEST(a_connection_lives_until_its_deadline) {
        struct connection c = connect_within(1000);

        await_look();
        ck_assert(!is_ended(&c, 0));
        atomic_fetch_add(&now_ms, 999);
        await_look();
        ck_assert(!is_ended(&c, 0));
        atomic_fetch_add(&now_ms, 1);
        ck_assert(is_ended(&c, LIMIT_MS));
        /* It counts once, however often the thread looks. */
        await_look();
        ck_assert_uint_eq(ended(), 4);
        ck_assert_uint_eq(count(), 1);
        end(&c);
        ck_assert_uint_eq(count(), 0);
}
END_TEST

START_TEST(both_directions_are_shut) {
        struct connection c = connect_within(-1);
        char byte;

        ck_assert(is_ended(&c, LIMIT_MS));
        ck_assert_int_eq(read(c.peers, &byte, 1), 0);
        ck_assert_int_eq(read(c.ours, &byte, 1), 0);
        ck_assert_int_eq(send(c.ours, "x", 1, MSG_NOSIGNAL), -1);
        end(&c);
}
END_TEST

static void (*const moves[])(struct reaper *, struct reaper_entry *, int64_t) = { reaper_set,
                                                                                  reaper_served };

START_TEST(a_deadline_moves_both_ways) {
        struct connection c = connect_within(1000);

        moves[_i](reaper, c.entry, 5000);
        atomic_fetch_add(&now_ms, 4999);
        await_look();
        ck_assert(!is_ended(&c, 0));
        moves[_i](reaper, c.entry, 10);
        atomic_fetch_add(&now_ms, 10);
        ck_assert(is_ended(&c, LIMIT_MS));
        end(&c);
}
END_TEST

START_TEST(a_reaped_one_is_not_revived) {
        struct connection c = connect_within(-1);

        ck_assert(is_ended(&c, LIMIT_MS));
        moves[_i](reaper, c.entry, 100000);
        await_look();
        ck_assert_uint_eq(ended(), 2);
        end(&c);
}
END_TEST

START_TEST(one_that_ended_by_itself_is_left_alone) {
        struct connection c = connect_within(10);

        end(&c);
        atomic_fetch_add(&now_ms, 100000);
        await_look();
        ck_assert_uint_eq(ended(), 1);
        ck_assert_uint_eq(count(), 0);
}
END_TEST

/* ---- a crowd ---- */

START_TEST(below_the_crowd_nobody_has_to_go) {
        struct connection c[CROWD];

        for (size_t i = 0; i < CROWD; i++)
                c[i] = connect_within(LIMIT_MS);
        for (size_t i = 0; i < CROWD; i++)
                ck_assert(!is_ended(&c[i], 0));
        ck_assert_uint_eq(count(), CROWD);
        for (size_t i = 0; i < CROWD; i++)
                end(&c[i]);
}
END_TEST

START_TEST(in_a_crowd_the_oldest_without_an_answer_goes) {
        struct connection c[CROWD + 3];

        for (size_t i = 0; i < CROWD; i++)
                c[i] = connect_within(LIMIT_MS);
        reaper_served(reaper, c[0].entry, LIMIT_MS); /* its turn comes last */
        reaper_set(reaper, c[2].entry, LIMIT_MS);    /* this is no answer */
        c[3] = connect_within(LIMIT_MS);
        ck_assert(is_ended(&c[1], 0) && !is_ended(&c[2], 0) && !is_ended(&c[0], 0));
        c[4] = connect_within(LIMIT_MS);
        ck_assert(is_ended(&c[2], 0) && !is_ended(&c[0], 0) && !is_ended(&c[3], 0));
        c[5] = connect_within(LIMIT_MS);
        ck_assert(is_ended(&c[0], 0) && !is_ended(&c[3], 0) && !is_ended(&c[4], 0));
        ck_assert_uint_eq(ended(), 3);
        for (size_t i = 0; i < CROWD + 3; i++)
                end(&c[i]);
}
END_TEST

START_TEST(when_all_had_to_go_new_ones_stay) {
        struct connection c[CROWD + 1], new[CROWD];

        for (size_t i = 0; i < CROWD + 1; i++)
                c[i] = connect_within(-1);
        for (size_t i = 0; i < CROWD + 1; i++)
                ck_assert(is_ended(&c[i], LIMIT_MS));
        /* The old ones are still open: their thread has not come to close them. */
        for (size_t i = 0; i < CROWD; i++)
                new[i] = connect_within(LIMIT_MS);
        for (size_t i = 0; i < CROWD; i++)
                ck_assert(!is_ended(&new[i], 0));
        for (size_t i = 0; i < CROWD; i++)
                end(&new[i]);
        for (size_t i = 0; i < CROWD + 1; i++)
                end(&c[i]);
}
END_TEST

START_TEST(who_has_just_come_has_its_time) {
        struct connection c[CROWD + 2];

        reaper_free(reaper);
        ck_assert_int_eq(reaper_new(&test_clock, CROWD, 1000, &reaper, NULL), 0);
        for (size_t i = 0; i < CROWD; i++)
                c[i] = connect_within(LIMIT_MS);
        reaper_served(reaper, c[0].entry, LIMIT_MS); /* its turn comes last */
        atomic_fetch_add(&now_ms, 999);
        c[CROWD] = connect_within(LIMIT_MS);
        for (size_t i = 0; i < CROWD + 1; i++)
                ck_assert(!is_ended(&c[i], 0));
        atomic_fetch_add(&now_ms, 1);
        /* The thread ends one too many, no more; and then each new one another. */
        ck_assert(is_ended(&c[1], LIMIT_MS));
        c[CROWD + 1] = connect_within(LIMIT_MS);
        ck_assert(is_ended(&c[2], 0));
        ck_assert(!is_ended(&c[0], 0) && !is_ended(&c[3], 0) && !is_ended(&c[4], 0));
        ck_assert_uint_eq(reaper_load(reaper).crowded, 2);
        for (size_t i = 0; i < CROWD + 2; i++)
                end(&c[i]);
}
END_TEST

START_TEST(the_reasons_are_counted_apart) {
        struct connection c[CROWD + 1];

        for (size_t i = 0; i < CROWD; i++)
                c[i] = connect_within(1000);
        c[CROWD] = connect_within(2000);
        ck_assert(is_ended(&c[0], 0));
        ck_assert_uint_eq(reaper_load(reaper).crowded, 1);
        ck_assert_uint_eq(reaper_load(reaper).slow, 0);
        atomic_fetch_add(&now_ms, 1000);
        for (size_t i = 1; i < CROWD; i++)
                ck_assert(is_ended(&c[i], LIMIT_MS));
        ck_assert_uint_eq(reaper_load(reaper).crowded, 1);
        ck_assert_uint_eq(reaper_load(reaper).slow, CROWD - 1);
        for (size_t i = 0; i < CROWD + 1; i++)
                end(&c[i]);
}
END_TEST

START_TEST(one_that_stays_open_after_its_end_is_overdue) {
        struct connection hung = connect_within(1000), other;

        atomic_fetch_add(&now_ms, 999);
        ck_assert_int_eq(reaper_load(reaper).overdue_ms, 0);
        atomic_fetch_add(&now_ms, 1001);
        ck_assert(is_ended(&hung, LIMIT_MS));
        /* A late word of its thread changes nothing. */
        reaper_set(reaper, hung.entry, 100000);
        atomic_fetch_add(&now_ms, 60000);
        ck_assert_int_eq(reaper_load(reaper).overdue_ms, 61000);
        other = connect_within(1000);
        end(&hung);
        ck_assert_int_eq(reaper_load(reaper).overdue_ms, 0);
        end(&other);
}
END_TEST

/* ---- threads, memory ---- */

static void *come_and_go(void *ctx) {
        (void)ctx;
        for (int i = 0; i < 200; i++) {
                struct connection c = connect_within(i % 3 ? LIMIT_MS : -1);

                reaper_set(reaper, c.entry, 1000);
                reaper_served(reaper, c.entry, i % 5 ? 1000 : -1);
                (void)count();
                end(&c);
        }
        return NULL;
}

START_TEST(many_come_and_go_at_a_time) {
        pthread_t threads[4];

        for (size_t i = 0; i < 4; i++)
                ck_assert_int_eq(pthread_create(&threads[i], NULL, come_and_go, NULL), 0);
        for (size_t i = 0; i < 4; i++)
                ck_assert_int_eq(pthread_join(threads[i], NULL), 0);
        ck_assert_uint_eq(count(), 0);
}
END_TEST

START_TEST(without_memory_a_connection_is_not_watched) {
        struct reaper *other = NULL;
        struct reaper_entry *entry;
        int r;

        alloc_fail_arm(1);
        entry = reaper_add(reaper, 0, 1000);
        ck_assert(alloc_fail_disarm());
        ck_assert_ptr_null(entry);
        reaper_set(reaper, NULL, 1);
        reaper_served(reaper, NULL, 1);
        reaper_remove(reaper, NULL);
        ck_assert_uint_eq(count(), 0);
        alloc_fail_arm(1);
        r = reaper_new(&test_clock, CROWD, 0, &other, NULL);
        ck_assert(alloc_fail_disarm());
        ck_assert_int_eq(r, -FAULT_NOMEM);
        reaper_free(NULL);
}
END_TEST

int main(void) {
        Suite *suite = suite_create("reaper");
        TCase *tcase = tcase_create("reaper");
        SRunner *runner = srunner_create(suite);
        int failed;

        suite_add_tcase(suite, tcase);
        tcase_set_timeout(tcase, 120);
        tcase_add_checked_fixture(tcase, setup, teardown);
        tcase_add_test(tcase, a_connection_lives_until_its_deadline);
        tcase_add_test(tcase, both_directions_are_shut);
        tcase_add_loop_test(tcase, a_deadline_moves_both_ways, 0, 2);
        tcase_add_loop_test(tcase, a_reaped_one_is_not_revived, 0, 2);
        tcase_add_test(tcase, one_that_ended_by_itself_is_left_alone);
        tcase_add_test(tcase, below_the_crowd_nobody_has_to_go);
        tcase_add_test(tcase, in_a_crowd_the_oldest_without_an_answer_goes);
        tcase_add_test(tcase, who_has_just_come_has_its_time);
        tcase_add_test(tcase, the_reasons_are_counted_apart);
        tcase_add_test(tcase, one_that_stays_open_after_its_end_is_overdue);
        tcase_add_test(tcase, when_all_had_to_go_new_ones_stay);
        tcase_add_test(tcase, many_come_and_go_at_a_time);
        tcase_add_test(tcase, without_memory_a_connection_is_not_watched);
        srunner_run_all(runner, CK_ENV);
        failed = srunner_ntests_failed(runner);
        srunner_free(runner);
        return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
