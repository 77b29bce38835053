/* SPDX-License-Identifier: Apache-2.0 */
#include "common/base/fault.h"

#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/utf8.h"

START_TEST(a_fault_has_a_kind_and_a_text) {
        struct fault f = FAULT_INIT;

        ck_assert_int_eq(f.kind, FAULT_NONE);
        ck_assert_str_eq(f.text, "");
        ck_assert_int_eq(fault_set(&f, FAULT_IO, "read %s: %d", "x", 3), -FAULT_IO);
        ck_assert_int_eq(f.kind, FAULT_IO);
        ck_assert_str_eq(f.text, "read x: 3");
        ck_assert_int_eq(fault_set(&f, FAULT_DENIED, "%s", ""), -FAULT_DENIED);
        ck_assert_str_eq(f.text, "");
}
END_TEST

START_TEST(an_error_number_is_told_in_words) {
        struct fault f = FAULT_INIT;

        ck_assert_int_eq(fault_set_errno(&f, FAULT_IO, ENOENT, "open %s", "/x"), -FAULT_IO);
        ck_assert_str_eq(f.text, "open /x: No such file or directory");
        ck_assert_int_eq(fault_set_errno(&f, FAULT_IO, 9999, "open"), -FAULT_IO);
        ck_assert_ptr_nonnull(strstr(f.text, "9999"));
}
END_TEST

START_TEST(each_layer_adds_its_context) {
        struct fault f = FAULT_INIT;
        int r = fault_set(&f, FAULT_PROTO, "byte 7");

        r = fault_wrap(&f, r, "read %s", "a");
        r = fault_wrap(&f, r, "start");
        ck_assert_int_eq(r, -FAULT_PROTO);
        ck_assert_int_eq(f.kind, FAULT_PROTO);
        ck_assert_str_eq(f.text, "start: read a: byte 7");
}
END_TEST

START_TEST(success_stays_success) {
        struct fault f = FAULT_INIT;

        ck_assert_int_eq(fault_wrap(&f, 0, "start"), 0);
        ck_assert_int_eq(f.kind, FAULT_NONE);
        ck_assert_str_eq(f.text, "");
}
END_TEST

START_TEST(an_outcome_that_nobody_handled_is_a_bug) {
        struct fault f = FAULT_INIT;

        ck_assert_int_eq(fault_wrap(&f, 3, "start"), -FAULT_BUG);
        ck_assert_int_eq(f.kind, FAULT_BUG);
        ck_assert_str_eq(f.text, "start: outcome 3 was not handled");
}
END_TEST

START_TEST(without_a_fault_the_kind_remains) {
        ck_assert_int_eq(fault_set(NULL, FAULT_NOMEM, "x"), -FAULT_NOMEM);
        ck_assert_int_eq(fault_set_errno(NULL, FAULT_IO, EIO, "x"), -FAULT_IO);
        ck_assert_int_eq(fault_wrap(NULL, -FAULT_INVALID, "x"), -FAULT_INVALID);
        ck_assert_int_eq(fault_wrap(NULL, 0, "x"), 0);
        ck_assert_int_eq(fault_wrap(NULL, 1, "x"), -FAULT_BUG);
}
END_TEST

/* Characters of 1 to 4 bytes, at every offset to the cut. */
START_TEST(a_long_text_is_cut_between_characters) {
        static const char *const characters[] = { "a", "\xc3\xa9", "\xe2\x82\xac",
                                                  "\xf0\x9f\x98\x80" };
        const char *character = characters[_i];
        size_t size = strlen(character);

        for (size_t shift = 0; shift < 4; shift++) {
                struct fault f = FAULT_INIT;
                char text[FAULT_TEXT_MAX * 2] = "";

                memset(text, '-', shift);
                for (size_t len = shift; len + size < sizeof(text); len += size)
                        memcpy(text + len, character, size);
                (void)fault_set(&f, FAULT_IO, "%s", text);
                ck_assert_uint_le(strlen(f.text), FAULT_TEXT_MAX);
                ck_assert_uint_gt(strlen(f.text), FAULT_TEXT_MAX - size);
                ck_assert(utf8_valid(f.text, strlen(f.text)));
                ck_assert_int_eq(fault_wrap(&f, -FAULT_IO, "xy"), -FAULT_IO);
                ck_assert(utf8_valid(f.text, strlen(f.text)));
                ck_assert_uint_gt(strlen(f.text), FAULT_TEXT_MAX - size);
                ck_assert_ptr_eq(strstr(f.text, "xy: "), f.text);
        }
}
END_TEST

START_TEST(the_longest_text_is_kept_whole) {
        struct fault f = FAULT_INIT;
        char text[FAULT_TEXT_MAX + 1];

        memset(text, 'a', FAULT_TEXT_MAX);
        text[FAULT_TEXT_MAX] = '\0';
        (void)fault_set(&f, FAULT_IO, "%s", text);
        ck_assert_str_eq(f.text, text);
}
END_TEST

START_TEST(a_context_longer_than_the_text_is_cut_too) {
        struct fault f = FAULT_INIT;
        char text[FAULT_TEXT_MAX * 2];

        memset(text, 'c', sizeof(text) - 1);
        text[sizeof(text) - 1] = '\0';
        (void)fault_set(&f, FAULT_IO, "cause");
        ck_assert_int_eq(fault_wrap(&f, -FAULT_IO, "%s", text), -FAULT_IO);
        ck_assert_uint_eq(strlen(f.text), FAULT_TEXT_MAX);
        (void)fault_set_errno(&f, FAULT_IO, EIO, "%s", text);
        ck_assert_uint_eq(strlen(f.text), FAULT_TEXT_MAX);
}
END_TEST

START_TEST(every_kind_has_a_name_of_its_own) {
        for (int a = FAULT_NONE; a <= FAULT_BUG; a++) {
                ck_assert_str_ne(fault_kind_name((enum fault_kind)a), "Unknown");
                for (int b = FAULT_NONE; b < a; b++)
                        ck_assert_str_ne(fault_kind_name((enum fault_kind)a),
                                         fault_kind_name((enum fault_kind)b));
        }
        ck_assert_str_eq(fault_kind_name((enum fault_kind)(FAULT_BUG + 1)), "Unknown");
}
END_TEST

int main(void) {
        Suite *suite = suite_create("fault");
        TCase *tcase = tcase_create("fault");
        SRunner *runner = srunner_create(suite);
        int failed;

        suite_add_tcase(suite, tcase);
        tcase_add_test(tcase, a_fault_has_a_kind_and_a_text);
        tcase_add_test(tcase, an_error_number_is_told_in_words);
        tcase_add_test(tcase, each_layer_adds_its_context);
        tcase_add_test(tcase, success_stays_success);
        tcase_add_test(tcase, an_outcome_that_nobody_handled_is_a_bug);
        tcase_add_test(tcase, without_a_fault_the_kind_remains);
        tcase_add_loop_test(tcase, a_long_text_is_cut_between_characters, 0, 4);
        tcase_add_test(tcase, the_longest_text_is_kept_whole);
        tcase_add_test(tcase, a_context_longer_than_the_text_is_cut_too);
        tcase_add_test(tcase, every_kind_has_a_name_of_its_own);
        srunner_run_all(runner, CK_NORMAL);
        failed = srunner_ntests_failed(runner);
        srunner_free(runner);
        return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
