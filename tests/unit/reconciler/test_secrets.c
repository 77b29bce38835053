/* SPDX-License-Identifier: Apache-2.0 */
#include "reconciler/secrets.h"

#include <check.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct secrets *secrets;
static char why[SECRETS_WHY_SIZE];

static void setup(void) {
        secrets = secrets_new();
        ck_assert_ptr_nonnull(secrets);
}

static void teardown(void) {
        secrets_free(secrets);
}

START_TEST(the_delays_grow_to_thirty_seconds) {
        static const int64_t delays_s[] = { 1, 2, 4, 8, 15, 30, 30, 30 };

        for (unsigned i = 0; i < 8; i++)
                for (uint32_t random = 0; random < 5000; random += 97) {
                        int64_t delay_ms = secrets_delay_ms(i, random);

                        ck_assert_int_ge(delay_ms, delays_s[i] * 1000 * 3 / 4);
                        ck_assert_int_le(delay_ms, delays_s[i] * 1000 * 5 / 4);
                }
        ck_assert_int_le(secrets_delay_ms(UINT32_MAX, 0), 37500);
}
END_TEST

START_TEST(who_waits_for_the_same_shares_the_answer) {
        int64_t wait_ms, due_ms;

        ck_assert(!secrets_is_missing(secrets, "ns", "db", "url", 0, why, &wait_ms));
        due_ms = secrets_missing(secrets, "ns", "db", "url", "not there", 0, 0);
        ck_assert_int_gt(due_ms, 0);
        ck_assert(secrets_is_missing(secrets, "ns", "db", "url", due_ms / 2, why, &wait_ms));
        ck_assert_str_eq(why, "not there");
        ck_assert_int_eq(wait_ms, due_ms - due_ms / 2);
        ck_assert(!secrets_is_missing(secrets, "ns", "db", "other", 1, why, &wait_ms));
        ck_assert(!secrets_is_missing(secrets, "ns2", "db", "url", 1, why, &wait_ms));
        ck_assert(!secrets_is_missing(secrets, "ns", "db2", "url", 1, why, &wait_ms));
}
END_TEST

START_TEST(it_is_due_again) {
        int64_t wait_ms, first_ms, second_ms;

        first_ms = secrets_missing(secrets, "ns", "db", "url", "w", 0, 0);
        ck_assert(!secrets_is_missing(secrets, "ns", "db", "url", first_ms, why, &wait_ms));
        second_ms = secrets_missing(secrets, "ns", "db", "url", "w", first_ms, 0);
        ck_assert_int_gt(second_ms, first_ms);
}
END_TEST

START_TEST(what_was_found_begins_anew) {
        int64_t wait_ms;
        int64_t first_ms = secrets_missing(secrets, "ns", "db", "url", "w", 0, 0);

        for (int i = 0; i < 5; i++)
                (void)secrets_missing(secrets, "ns", "db", "url", "w", 100000 * i, 0);
        secrets_found(secrets, "ns", "db", "url");
        ck_assert(!secrets_is_missing(secrets, "ns", "db", "url", 600000, why, &wait_ms));
        ck_assert_int_eq(secrets_missing(secrets, "ns", "db", "url", "w", 600000, 0), first_ms);
}
END_TEST

/* A thousand missing Secrets are read at no more than 20 a second in all, and each of them is. */
START_TEST(all_together_are_slow) {
        enum { N = 1000, STEP_MS = 10, END_MS = 120000 };
        static int64_t due_ms[N];
        static int reads[N];
        int in_second = 0;
        char name[16];

        for (int i = 0; i < N; i++) {
                (void)snprintf(name, sizeof(name), "s%d", i);
                due_ms[i] = secrets_missing(secrets, "ns", name, "url", "w", 0, (uint32_t)i);
        }
        for (int64_t at_ms = 0; at_ms < END_MS; at_ms += STEP_MS) {
                in_second = at_ms % 1000 == 0 ? 0 : in_second;
                for (int i = 0; i < N; i++) {
                        int64_t wait_ms;

                        if (due_ms[i] > at_ms)
                                continue;
                        (void)snprintf(name, sizeof(name), "s%d", i);
                        if (secrets_is_missing(secrets, "ns", name, "url", at_ms, why, &wait_ms)) {
                                due_ms[i] = at_ms + wait_ms;
                                continue;
                        }
                        reads[i]++;
                        ck_assert_int_le(++in_second, 21);
                        due_ms[i] = at_ms + secrets_missing(secrets, "ns", name, "url", "w", at_ms,
                                                            (uint32_t)i);
                }
        }
        for (int i = 0; i < N; i++)
                ck_assert_int_ge(reads[i], 1);
}
END_TEST

/* … also while an older one is asked for again and again. */
START_TEST(what_nobody_asks_for_is_forgotten) {
        int64_t first_ms = secrets_missing(secrets, "ns", "old", "url", "w", 0, 0);
        int64_t at_ms = 0;

        ck_assert_int_eq(secrets_missing(secrets, "ns", "gone", "url", "w", 0, 0), first_ms);
        while (at_ms < 700000)
                at_ms += secrets_missing(secrets, "ns", "old", "url", "w", at_ms, 0);
        ck_assert_int_eq(secrets_missing(secrets, "ns", "gone", "url", "w", at_ms, 0), first_ms);
}
END_TEST

START_TEST(a_long_reason_is_cut) {
        static char longer[SECRETS_WHY_SIZE * 2];
        int64_t wait_ms;

        memset(longer, 'x', sizeof(longer) - 1);
        (void)secrets_missing(secrets, "ns", "db", "url", longer, 0, 0);
        ck_assert(secrets_is_missing(secrets, "ns", "db", "url", 1, why, &wait_ms));
        ck_assert_uint_eq(strlen(why), SECRETS_WHY_SIZE - 1);
}
END_TEST

#define WORKERS 4

/* What a worker does with one of a few Secrets, again and again. */
static void *ask_and_tell(void *ctx) {
        const uint32_t start = *(const uint32_t *)ctx;

        for (uint32_t i = start; i < start + 2000; i++) {
                char text[SECRETS_WHY_SIZE], name[16];
                int64_t wait_ms, now_ms = (int64_t)(i - start) * 10;

                (void)snprintf(name, sizeof(name), "s%u", i % 5);
                if (secrets_is_missing(secrets, "ns", name, "url", now_ms, text, &wait_ms)) {
                        ck_assert_str_eq(text, name);
                        ck_assert_int_gt(wait_ms, 0);
                } else if (i % 7 == 0) {
                        secrets_found(secrets, "ns", name, "url");
                } else {
                        (void)secrets_missing(secrets, "ns", name, "url", name, now_ms, i);
                }
        }
        return NULL;
}

START_TEST(workers_share_them) {
        pthread_t threads[WORKERS];
        uint32_t starts[WORKERS];

        for (uint32_t i = 0; i < WORKERS; i++) {
                starts[i] = i;
                ck_assert_int_eq(pthread_create(&threads[i], NULL, ask_and_tell, &starts[i]), 0);
        }
        for (int i = 0; i < WORKERS; i++)
                ck_assert_int_eq(pthread_join(threads[i], NULL), 0);
}
END_TEST

int main(void) {
        Suite *suite = suite_create("secrets");
        TCase *tcase = tcase_create("secrets");
        SRunner *runner = srunner_create(suite);
        int failed;

        suite_add_tcase(suite, tcase);
        tcase_add_checked_fixture(tcase, setup, teardown);
        tcase_add_test(tcase, the_delays_grow_to_thirty_seconds);
        tcase_add_test(tcase, who_waits_for_the_same_shares_the_answer);
        tcase_add_test(tcase, it_is_due_again);
        tcase_add_test(tcase, what_was_found_begins_anew);
        tcase_add_test(tcase, all_together_are_slow);
        tcase_add_test(tcase, what_nobody_asks_for_is_forgotten);
        tcase_add_test(tcase, a_long_reason_is_cut);
        tcase_add_test(tcase, workers_share_them);
        srunner_run_all(runner, CK_NORMAL);
        failed = srunner_ntests_failed(runner);
        srunner_free(runner);
        return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
