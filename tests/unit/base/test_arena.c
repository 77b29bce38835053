/* SPDX-License-Identifier: Apache-2.0 */
#include "common/base/arena.h"

#include <check.h>
#include <stdalign.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/fault.h"
#include "tests/unit/alloc_fail.h"

static bool consists_of(const char *bytes, size_t len, char c) {
        for (size_t i = 0; i < len; i++)
                if (bytes[i] != c)
                        return false;
        return true;
}

/* Around the alignment and the size of a block. */
static const size_t sizes[] = { 0, 1, 15, 16, 17, 100, 3999, 4000, 4001, 8000, 100000 };

START_TEST(memory_is_zeroed_aligned_and_apart) {
        CLEANUP(arena_done) struct arena a = ARENA_INIT(SIZE_MAX);
        size_t size = sizes[_i];
        char *first = arena_alloc(&a, size), *second;

        ck_assert_ptr_nonnull(first);
        ck_assert_uint_eq((uintptr_t)first % alignof(max_align_t), 0);
        ck_assert(consists_of(first, size, 0));
        memset(first, 'a', size);
        second = arena_alloc(&a, size);
        ck_assert_ptr_nonnull(second);
        ck_assert_uint_eq((uintptr_t)second % alignof(max_align_t), 0);
        ck_assert_msg(consists_of(second, size, 0), "%zu bytes stand in those before", size);
        memset(second, 'b', size);
        ck_assert(consists_of(first, size, 'a'));
        ck_assert_int_eq(arena_check(&a, NULL), 0);
}
END_TEST

START_TEST(memory_that_was_used_before_is_zeroed) {
        CLEANUP(arena_done) struct arena a = ARENA_INIT(SIZE_MAX);

        for (int round = 0; round < 10; round++) {
                char *bytes = arena_alloc(&a, 3000);

                ck_assert_ptr_nonnull(bytes);
                ck_assert(consists_of(bytes, 3000, 0));
                memset(bytes, 0xff, 3000);
                arena_done(&a); /* malloc may give the same block again */
        }
}
END_TEST

START_TEST(strings_are_copied) {
        CLEANUP(arena_done) struct arena a = ARENA_INIT(1 << 20);
        char text[] = "abc";
        const char *whole = arena_strdup(&a, text), *part = arena_strndup(&a, text, 2);
        const char *none = arena_strndup(&a, text, 0), *empty = arena_strdup(&a, "");
        const char *printed = arena_printf(&a, "%s-%05d", text, 42);

        memset(text, 'x', 3);
        ck_assert_str_eq(whole, "abc");
        ck_assert_str_eq(part, "ab");
        ck_assert_str_eq(none, "");
        ck_assert_str_eq(empty, "");
        ck_assert_str_eq(printed, "abc-00042");
        ck_assert_int_eq(arena_check(&a, NULL), 0);
}
END_TEST

START_TEST(a_printed_text_may_be_longer_than_a_block) {
        CLEANUP(arena_done) struct arena a = ARENA_INIT(1 << 20);
        const char *text = arena_printf(&a, "%10000d", 7);

        ck_assert_uint_eq(strlen(text), 10000);
        ck_assert_int_eq(text[9999], '7');
}
END_TEST

START_TEST(the_cap_holds_and_is_said_once_at_the_end) {
        CLEANUP(arena_done) struct arena a = ARENA_INIT(32);
        struct fault f = FAULT_INIT;

        ck_assert_ptr_nonnull(arena_alloc(&a, 16));
        ck_assert_ptr_nonnull(arena_alloc(&a, 16));
        ck_assert_uint_eq(a.used, 32);
        ck_assert_int_eq(arena_check(&a, &f), 0);
        ck_assert_str_eq(arena_strdup(&a, "x"), "");
        ck_assert_str_eq(arena_printf(&a, "x"), "");
        ck_assert_ptr_null(arena_alloc(&a, 0)); /* sticky */
        ck_assert_uint_eq(a.used, 32);
        ck_assert_int_eq(arena_check(&a, &f), -FAULT_NOMEM);
        ck_assert_ptr_nonnull(strstr(f.text, "more than 32 bytes"));
}
END_TEST

static const size_t refused[] = {
        33, 1 << 20, SIZE_MAX - 16, SIZE_MAX - 15, SIZE_MAX - 1, SIZE_MAX
};

START_TEST(sizes_that_do_not_fit_are_refused) {
        CLEANUP(arena_done) struct arena a = ARENA_INIT(32);

        ck_assert_ptr_null(arena_alloc(&a, refused[_i]));
        ck_assert(a.bad);
        ck_assert_uint_eq(a.used, 0);
}
END_TEST

START_TEST(done_may_be_called_twice_and_leaves_a_usable_arena) {
        struct arena a = ARENA_INIT(16);

        ck_assert_str_eq(arena_strdup(&a, "0123456789"), "0123456789");
        ck_assert_str_eq(arena_strdup(&a, "0123456789"), "");
        arena_done(&a);
        arena_done(&a);
        ck_assert_int_eq(arena_check(&a, NULL), 0);
        ck_assert_str_eq(arena_strdup(&a, "0123456789"), "0123456789");
        arena_done(&a);
}
END_TEST

/* Three blocks. */
static int fill(struct arena *a) {
        for (int i = 0; i < 3; i++)
                (void)arena_printf(a, "%3000d", i);
        return arena_check(a, NULL);
}

START_TEST(no_allocation_goes_unchecked) {
        size_t n = 1;

        for (;; n++) {
                CLEANUP(arena_done) struct arena a = ARENA_INIT(SIZE_MAX);
                int r;

                alloc_fail_arm(n);
                r = fill(&a);
                if (!alloc_fail_disarm())
                        break;
                ck_assert_int_eq(r, -FAULT_NOMEM);
                ck_assert_str_eq(arena_strdup(&a, "later"), "");
        }
        ck_assert_uint_eq(n, 4);
}
END_TEST

int main(void) {
        Suite *suite = suite_create("arena");
        TCase *tcase = tcase_create("arena");
        SRunner *runner = srunner_create(suite);
        int failed;

        suite_add_tcase(suite, tcase);
        tcase_add_loop_test(tcase, memory_is_zeroed_aligned_and_apart, 0,
                            (int)(sizeof(sizes) / sizeof(sizes[0])));
        tcase_add_test(tcase, memory_that_was_used_before_is_zeroed);
        tcase_add_test(tcase, strings_are_copied);
        tcase_add_test(tcase, a_printed_text_may_be_longer_than_a_block);
        tcase_add_test(tcase, the_cap_holds_and_is_said_once_at_the_end);
        tcase_add_loop_test(tcase, sizes_that_do_not_fit_are_refused, 0,
                            (int)(sizeof(refused) / sizeof(refused[0])));
        tcase_add_test(tcase, done_may_be_called_twice_and_leaves_a_usable_arena);
        tcase_add_test(tcase, no_allocation_goes_unchecked);
        srunner_run_all(runner, CK_NORMAL);
        failed = srunner_ntests_failed(runner);
        srunner_free(runner);
        return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
