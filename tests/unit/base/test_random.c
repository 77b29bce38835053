/* SPDX-License-Identifier: Apache-2.0 */
#include "common/base/random.h"

#include <check.h>
#include <stdlib.h>

static uint32_t given(void *ctx) {
        return *(const uint32_t *)ctx;
}

START_TEST(values_stay_below_the_limit) {
        static const int64_t limits[] = { 1, 2, 3, 10, INT64_C(1) << 31, INT64_C(1) << 32 };
        uint32_t extremes[] = { 0, 1, UINT32_MAX / 2, UINT32_MAX - 1, UINT32_MAX };

        for (size_t i = 0; i < sizeof(limits) / sizeof(limits[0]); i++) {
                for (size_t k = 0; k < sizeof(extremes) / sizeof(extremes[0]); k++) {
                        const struct random r = { .u32 = given, .ctx = &extremes[k] };
                        int64_t value = random_below(&r, limits[i]);

                        ck_assert_int_eq(value, (int64_t)extremes[k] % limits[i]);
                        ck_assert_int_ge(value, 0);
                        ck_assert_int_lt(value, limits[i]);
                }
        }
}
END_TEST

/* Each bit is 0 at some time and 1 at some time; that 128 values agree in one has a chance of one
 * in 2^122. */
START_TEST(the_system_s_numbers_differ_in_every_bit) {
        const struct random *r = random_system();
        uint32_t seen_set = 0, seen_clear = 0;

        for (int i = 0; i < 128; i++) {
                uint32_t value = r->u32(r->ctx);

                seen_set |= value;
                seen_clear |= ~value;
        }
        ck_assert_uint_eq(seen_set, UINT32_MAX);
        ck_assert_uint_eq(seen_clear, UINT32_MAX);
}
END_TEST

START_TEST(every_value_below_a_small_limit_comes_up) {
        unsigned seen[7] = { 0 };

        for (int i = 0; i < 10000; i++)
                seen[random_below(random_system(), 7)]++;
        for (int i = 0; i < 7; i++)
                ck_assert_uint_gt(seen[i], 1000);
}
END_TEST

int main(void) {
        Suite *suite = suite_create("random");
        TCase *tcase = tcase_create("random");
        SRunner *runner = srunner_create(suite);
        int failed;

        suite_add_tcase(suite, tcase);
        tcase_add_test(tcase, values_stay_below_the_limit);
        tcase_add_test(tcase, the_system_s_numbers_differ_in_every_bit);
        tcase_add_test(tcase, every_value_below_a_small_limit_comes_up);
        srunner_run_all(runner, CK_NORMAL);
        failed = srunner_ntests_failed(runner);
        srunner_free(runner);
        return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
