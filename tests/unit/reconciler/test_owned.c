/* SPDX-License-Identifier: Apache-2.0 */
#include "reconciler/owned.h"

#include <check.h>
#include <stdlib.h>

static struct owned *owned;

static void setup(void) {
        owned = owned_new();
        ck_assert_ptr_nonnull(owned);
}

static void teardown(void) {
        owned_free(owned);
}

START_TEST(without_a_list_nothing_is_known) {
        ck_assert(!owned_is_free(owned, "ns", "u", 0));
}
END_TEST

START_TEST(a_list_tells_of_all_that_it_does_not_name) {
        owned_learn(owned, "ns", "u1\nu2\n", 0);
        ck_assert(!owned_is_free(owned, "ns", "u1", 1));
        ck_assert(!owned_is_free(owned, "ns", "u2", 1));
        ck_assert(owned_is_free(owned, "ns", "u", 1));
        ck_assert(owned_is_free(owned, "ns", "u3", 1));
        ck_assert(!owned_is_free(owned, "other", "u3", 1));
}
END_TEST

START_TEST(a_list_of_nothing_tells_of_all) {
        owned_learn(owned, "ns", "", 0);
        ck_assert(owned_is_free(owned, "ns", "u", 1));
}
END_TEST

START_TEST(it_grows_old) {
        owned_learn(owned, "ns", "", 0);
        ck_assert(owned_is_free(owned, "ns", "u", 9999));
        ck_assert(!owned_is_free(owned, "ns", "u", 10000));
}
END_TEST

START_TEST(a_later_list_replaces_it) {
        owned_learn(owned, "ns", "u1\n", 0);
        owned_learn(owned, "other", "", 10);
        owned_learn(owned, "ns", "u2\n", 5000);
        ck_assert(owned_is_free(owned, "ns", "u1", 5001));
        ck_assert(!owned_is_free(owned, "ns", "u2", 5001));
        ck_assert(owned_is_free(owned, "other", "u2", 5001));
        owned_learn(owned, "third", "", 100000);
        ck_assert(!owned_is_free(owned, "ns", "u1", 100001));
}
END_TEST

int main(void) {
        Suite *suite = suite_create("owned");
        TCase *tcase = tcase_create("owned");
        SRunner *runner = srunner_create(suite);
        int failed;

        suite_add_tcase(suite, tcase);
        tcase_add_checked_fixture(tcase, setup, teardown);
        tcase_add_test(tcase, without_a_list_nothing_is_known);
        tcase_add_test(tcase, a_list_tells_of_all_that_it_does_not_name);
        tcase_add_test(tcase, a_list_of_nothing_tells_of_all);
        tcase_add_test(tcase, it_grows_old);
        tcase_add_test(tcase, a_later_list_replaces_it);
        srunner_run_all(runner, CK_NORMAL);
        failed = srunner_ntests_failed(runner);
        srunner_free(runner);
        return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
