/* SPDX-License-Identifier: Apache-2.0 */
#include "common/base/strbuf.h"

#include <check.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/fault.h"
#include "tests/unit/alloc_fail.h"

START_TEST(appends_add_up) {
        CLEANUP(strbuf_done) struct strbuf b = STRBUF_INIT(1000);

        ck_assert_str_eq(strbuf_text(&b), "");
        strbuf_str(&b, "ab");
        strbuf_char(&b, 'c');
        strbuf_add(&b, "defg", 2);
        strbuf_add(&b, NULL, 0);
        strbuf_printf(&b, "%d%s", 12, "x");
        ck_assert_str_eq(strbuf_text(&b), "abcde12x");
        ck_assert_uint_eq(b.len, 8);
        ck_assert_int_eq(strbuf_check(&b, NULL), 0);
}
END_TEST

START_TEST(nul_bytes_are_bytes) {
        CLEANUP(strbuf_done) struct strbuf b = STRBUF_INIT(1000);

        strbuf_add(&b, "a\0b", 3);
        strbuf_char(&b, '\0');
        ck_assert_uint_eq(b.len, 4);
        ck_assert_mem_eq(b.ptr, "a\0b\0", 5);
}
END_TEST

/* Appended in pieces of every size up to the cap: always NUL-terminated, never above it. */
START_TEST(the_cap_is_exact) {
        for (size_t max = 0; max <= 200; max++) {
                for (size_t piece = 1; piece <= 7; piece++) {
                        CLEANUP(strbuf_done) struct strbuf b = STRBUF_INIT(max);
                        size_t whole = max / piece;

                        for (size_t i = 0; i < whole; i++)
                                strbuf_add(&b, "1234567", piece);
                        ck_assert_int_eq(strbuf_check(&b, NULL), 0);
                        ck_assert_uint_eq(b.len, whole * piece);
                        ck_assert_uint_eq(strlen(strbuf_text(&b)), b.len);
                        ck_assert_uint_le(b.cap, max + 1);
                        strbuf_add(&b, "1234567", piece);
                        ck_assert_uint_eq(b.len, whole * piece);
                        ck_assert(b.bad);
                }
        }
}
END_TEST

START_TEST(a_refusal_is_sticky) {
        CLEANUP(strbuf_done) struct strbuf b = STRBUF_INIT(4);
        struct fault f = FAULT_INIT;
        char *text = NULL;

        strbuf_str(&b, "abc");
        strbuf_printf(&b, "%d", 12);
        strbuf_char(&b, 'd'); /* would fit */
        strbuf_url(&b, "e");
        ck_assert_str_eq(strbuf_text(&b), "abc");
        ck_assert_int_eq(strbuf_check(&b, &f), -FAULT_NOMEM);
        ck_assert_ptr_nonnull(strstr(f.text, "longer than 4 bytes"));
        ck_assert_int_eq(strbuf_take(&b, &text, NULL), -FAULT_NOMEM);
        ck_assert_ptr_null(text);
        strbuf_reset(&b);
        ck_assert_str_eq(strbuf_text(&b), "");
        strbuf_str(&b, "wxyz");
        ck_assert_int_eq(strbuf_check(&b, NULL), 0);
        ck_assert_str_eq(strbuf_text(&b), "wxyz");
}
END_TEST

START_TEST(a_length_beyond_every_memory_is_refused) {
        CLEANUP(strbuf_done) struct strbuf b = STRBUF_INIT(1000);

        strbuf_char(&b, 'a');
        strbuf_add(&b, "", SIZE_MAX);
        ck_assert(b.bad);
        ck_assert_str_eq(strbuf_text(&b), "a");
}
END_TEST

START_TEST(truncate_cuts_and_never_lengthens) {
        CLEANUP(strbuf_done) struct strbuf b = STRBUF_INIT(1000);

        strbuf_truncate(&b, 0); /* nothing is there yet */
        strbuf_str(&b, "abcdef");
        strbuf_truncate(&b, 100);
        strbuf_truncate(&b, 6);
        ck_assert_str_eq(strbuf_text(&b), "abcdef");
        strbuf_truncate(&b, 2);
        ck_assert_str_eq(strbuf_text(&b), "ab");
        strbuf_char(&b, 'z');
        ck_assert_str_eq(strbuf_text(&b), "abz");
}
END_TEST

START_TEST(take_hands_over) {
        CLEANUP(strbuf_done) struct strbuf b = STRBUF_INIT(1000);
        CLEANUP(free_p) char *first = NULL;
        CLEANUP(free_p) char *empty = NULL;

        strbuf_str(&b, "abc");
        ck_assert_int_eq(strbuf_take(&b, &first, NULL), 0);
        ck_assert_str_eq(first, "abc");
        ck_assert_uint_eq(b.len, 0);
        ck_assert_ptr_null(b.ptr);
        ck_assert_int_eq(strbuf_take(&b, &empty, NULL), 0);
        ck_assert_str_eq(empty, "");
}
END_TEST

START_TEST(done_may_be_called_twice) {
        struct strbuf b = STRBUF_INIT(5);

        strbuf_str(&b, "abcdef");
        strbuf_done(&b);
        strbuf_done(&b);
        strbuf_str(&b, "abcde");
        ck_assert_str_eq(strbuf_text(&b), "abcde");
        strbuf_wipe(&b);
        strbuf_wipe(&b);
        ck_assert_str_eq(strbuf_text(&b), "");
}
END_TEST

/* RFC 3986: unreserved characters stay, everything else is %XX, byte by byte. */
START_TEST(urls_are_escaped) {
        CLEANUP(strbuf_done) struct strbuf b = STRBUF_INIT(10000);
        static const char kept[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
                                   "0123456789-._~";

        strbuf_url(&b, "a/b?c=d&e%f#g h+i");
        ck_assert_str_eq(strbuf_text(&b), "a%2Fb%3Fc%3Dd%26e%25f%23g%20h%2Bi");
        strbuf_reset(&b);
        strbuf_url(&b, "\xc3\xa9\xff\x01\x7f");
        ck_assert_str_eq(strbuf_text(&b), "%C3%A9%FF%01%7F");
        for (int c = 1; c < 256; c++) {
                const char text[] = { (char)c, '\0' };

                strbuf_reset(&b);
                strbuf_url(&b, text);
                ck_assert_uint_eq(b.len, strchr(kept, c) ? 1 : 3);
        }
        strbuf_reset(&b);
        strbuf_url(&b, "");
        ck_assert_str_eq(strbuf_text(&b), "");
}
END_TEST

#define SECRET "the password of the shop"

START_TEST(a_secret_is_wiped) {
        struct strbuf b = STRBUF_INIT(10000);

        alloc_secret_arm(SECRET);
        strbuf_str(&b, SECRET);
        strbuf_printf(&b, "%300d", 1); /* a second block */
        strbuf_str(&b, SECRET);
        strbuf_truncate(&b, 3);
        strbuf_wipe(&b);
        ck_assert_uint_eq(alloc_secret_disarm(), 0);
        /* The proof that this would be seen. */
        alloc_secret_arm(SECRET);
        strbuf_str(&b, SECRET);
        strbuf_done(&b);
        ck_assert_uint_eq(alloc_secret_disarm(), 1);
}
END_TEST

static void cut(struct strbuf *b) {
        strbuf_truncate(b, 3);
}

static void (*const shorten[])(struct strbuf *b) = { cut, strbuf_reset };

START_TEST(a_secret_that_was_cut_off_is_wiped_as_the_buffer_grows) {
        struct strbuf b = STRBUF_INIT(10000);

        alloc_secret_arm(SECRET);
        strbuf_str(&b, "abc" SECRET);
        shorten[_i](&b);
        strbuf_printf(&b, "%300d", 1);
        strbuf_wipe(&b);
        ck_assert_uint_eq(alloc_secret_disarm(), 0);
}
END_TEST

/* From one block of 64 bytes to one of 256. */
static int grow(struct strbuf *b) {
        strbuf_str(b, SECRET);
        strbuf_printf(b, "%200d", 1);
        strbuf_url(b, "/");
        return strbuf_check(b, NULL);
}

START_TEST(no_allocation_goes_unchecked) {
        size_t n = 1;

        for (;; n++) {
                CLEANUP(strbuf_done) struct strbuf b = STRBUF_INIT(1000);
                CLEANUP(free_p) char *text = NULL;
                int r;

                alloc_fail_arm(n);
                r = grow(&b);
                if (!alloc_fail_disarm())
                        break;
                ck_assert_int_eq(r, -FAULT_NOMEM);
                ck_assert_int_eq(strbuf_take(&b, &text, NULL), -FAULT_NOMEM);
        }
        ck_assert_uint_eq(n, 3);
}
END_TEST

START_TEST(taking_nothing_needs_a_byte_too) {
        CLEANUP(strbuf_done) struct strbuf b = STRBUF_INIT(1000);
        char *text = NULL;
        int r;

        alloc_fail_arm(1);
        r = strbuf_take(&b, &text, NULL);
        ck_assert(alloc_fail_disarm());
        ck_assert_int_eq(r, -FAULT_NOMEM);
        ck_assert_ptr_null(text);
}
END_TEST

int main(void) {
        Suite *suite = suite_create("strbuf");
        TCase *tcase = tcase_create("strbuf");
        SRunner *runner = srunner_create(suite);
        int failed;

        suite_add_tcase(suite, tcase);
        tcase_add_test(tcase, appends_add_up);
        tcase_add_test(tcase, nul_bytes_are_bytes);
        tcase_add_test(tcase, the_cap_is_exact);
        tcase_add_test(tcase, a_refusal_is_sticky);
        tcase_add_test(tcase, a_length_beyond_every_memory_is_refused);
        tcase_add_test(tcase, truncate_cuts_and_never_lengthens);
        tcase_add_test(tcase, take_hands_over);
        tcase_add_test(tcase, done_may_be_called_twice);
        tcase_add_test(tcase, urls_are_escaped);
        tcase_add_test(tcase, a_secret_is_wiped);
        tcase_add_loop_test(tcase, a_secret_that_was_cut_off_is_wiped_as_the_buffer_grows, 0, 2);
        tcase_add_test(tcase, no_allocation_goes_unchecked);
        tcase_add_test(tcase, taking_nothing_needs_a_byte_too);
        srunner_run_all(runner, CK_NORMAL);
        failed = srunner_ntests_failed(runner);
        srunner_free(runner);
        return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
