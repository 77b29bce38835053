/* SPDX-License-Identifier: Apache-2.0 */
#include "common/base/utf8.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/cleanup.h"

/* RFC 3629, section 4, one row a class and boundary. */
static const struct sequence {
        const char *name, *bytes;
        size_t len; /* of the character; 0: none */
} sequences[] = {
        { "the last of one byte", "\x7f", 1 },
        { "the first of two bytes", "\xc2\x80", 2 },
        { "the last of two bytes", "\xdf\xbf", 2 },
        { "the first of three bytes", "\xe0\xa0\x80", 3 },
        { "the last before the surrogates", "\xed\x9f\xbf", 3 },
        { "the first behind the surrogates", "\xee\x80\x80", 3 },
        { "the last of three bytes", "\xef\xbf\xbf", 3 },
        { "the first of four bytes", "\xf0\x90\x80\x80", 4 },
        { "the last code point", "\xf4\x8f\xbf\xbf", 4 },
        { "more behind it is not looked at", "\xc3\xa9\xff", 2 },
        { "the first continuation byte alone", "\x80", 0 },
        { "the last continuation byte alone", "\xbf", 0 },
        { "overlong: NUL in two bytes", "\xc0\x80", 0 },
        { "overlong: the last of one byte in two", "\xc1\xbf", 0 },
        { "overlong: three bytes", "\xe0\x80\x80", 0 },
        { "overlong: the last of two bytes in three", "\xe0\x9f\xbf", 0 },
        { "overlong: four bytes", "\xf0\x80\x80\x80", 0 },
        { "overlong: the last of three bytes in four", "\xf0\x8f\xbf\xbf", 0 },
        { "the first surrogate", "\xed\xa0\x80", 0 },
        { "the last surrogate", "\xed\xbf\xbf", 0 },
        { "the first beyond Unicode", "\xf4\x90\x80\x80", 0 },
        { "beyond Unicode", "\xf5\x80\x80\x80", 0 },
        { "five bytes", "\xf8\x88\x80\x80\x80", 0 },
        { "six bytes", "\xfc\x84\x80\x80\x80\x80", 0 },
        { "0xfe", "\xfe\x80\x80", 0 },
        { "0xff", "\xff\xbf\xbf", 0 },
        { "two bytes, the second ASCII", "\xc3 ", 0 },
        { "two bytes, the second begins another", "\xc3\xc3", 0 },
        { "three bytes, the second ASCII", "\xe2 \xac", 0 },
        { "three bytes, the third ASCII", "\xe2\x82 ", 0 },
        { "three bytes, the third begins another", "\xe2\x82\xc3", 0 },
        { "four bytes, the second ASCII", "\xf0 \x98\x80", 0 },
        { "four bytes, the third ASCII", "\xf0\x9f \x80", 0 },
        { "four bytes, the fourth ASCII", "\xf0\x9f\x98 ", 0 },
        { "two bytes, one there", "\xc3", 0 },
        { "three bytes, one there", "\xe2", 0 },
        { "three bytes, two there", "\xe2\x82", 0 },
        { "four bytes, one there", "\xf0", 0 },
        { "four bytes, two there", "\xf0\x9f", 0 },
        { "four bytes, three there", "\xf0\x9f\x98", 0 },
};

/* A heap copy of its own lets a sanitizer see each byte read too far. */
static char *copy_of(const char *bytes, size_t len) {
        char *copy = malloc(len ? len : 1);

        ck_assert_ptr_nonnull(copy);
        memcpy(copy, bytes, len);
        return copy;
}

START_TEST(each_class_of_sequence_is_known) {
        const struct sequence *s = &sequences[_i];
        size_t len = strlen(s->bytes);
        CLEANUP(free_p) char *copy = copy_of(s->bytes, len);

        ck_assert_msg(utf8_char(copy, len) == s->len, "%s", s->name);
        ck_assert_msg(utf8_valid(copy, len) == (s->len == len), "%s", s->name);
}
END_TEST

static size_t length_of(uint32_t point) {
        return point < 0x80 ? 1 : point < 0x800 ? 2 : point < 0x10000 ? 3 : 4;
}

/* Whether it is encoded and read again, and no part of it is taken for a character. */
static bool comes_back(uint32_t point) {
        bool surrogate = point >= 0xd800 && point <= 0xdfff;
        char bytes[4] = { 0 };
        size_t len = utf8_encode(point, bytes);

        if (len != length_of(point) || utf8_char(bytes, len) != (surrogate ? 0 : len))
                return false;
        for (size_t cut = 1; cut < len; cut++)
                if (utf8_char(bytes, cut) != 0)
                        return false;
        return true;
}

START_TEST(every_code_point_comes_back_and_no_surrogate) {
        uint32_t point = 0;

        while (point <= 0x10ffff && comes_back(point))
                point++;
        ck_assert_uint_eq(point, 0x110000);
}
END_TEST

static const struct encoding {
        uint32_t point;
        const char *bytes;
} encodings[] = {
        { 'A', "A" },
        { 0x7f, "\x7f" },
        { 0x80, "\xc2\x80" },
        { 0x7ff, "\xdf\xbf" },
        { 0x800, "\xe0\xa0\x80" },
        { 0x20ac, "\xe2\x82\xac" },
        { 0xffff, "\xef\xbf\xbf" },
        { 0x10000, "\xf0\x90\x80\x80" },
        { 0x1f600, "\xf0\x9f\x98\x80" },
        { 0x10ffff, "\xf4\x8f\xbf\xbf" },
};

START_TEST(code_points_are_encoded) {
        char bytes[4];
        size_t len = utf8_encode(encodings[_i].point, bytes);

        ck_assert_uint_eq(len, strlen(encodings[_i].bytes));
        ck_assert_mem_eq(bytes, encodings[_i].bytes, len);
}
END_TEST

static const struct validity {
        const char *name, *bytes;
        size_t len;
        bool valid;
} validities[] = {
        { "nothing", "", 0, true },
        { "ASCII with a NUL", "a\0b", 3, true },
        { "characters of every length", "a\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80", 10, true },
        { "the last one cut", "a\xc3\xa9\xe2\x82\xac\xf0\x9f\x98", 9, false },
        { "one byte too many in the middle",
          "a\xc3\xa9\xa9"
          "b",
          5, false },
        { "Latin-1", "caf\xe9!", 5, false },
        { "UTF-16",
          "\xff\xfe"
          "a\0",
          4, false },
        { "a surrogate pair, as CESU-8 has it", "\xed\xa0\xbd\xed\xb8\x80", 6, false },
};

START_TEST(a_text_is_valid_when_all_of_it_is) {
        const struct validity *v = &validities[_i];
        CLEANUP(free_p) char *copy = copy_of(v->bytes, v->len);

        ck_assert_msg(utf8_valid(copy, v->len) == v->valid, "%s", v->name);
}
END_TEST

/* Where a text of every length of character may be cut, at each maximum. */
START_TEST(a_cut_never_splits_a_character) {
        static const char text[] = "a\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80z";
        static const size_t floors[] = { 0, 1, 1, 3, 3, 3, 6, 6, 6, 6, 10, 11, 11, 11 };

        for (size_t max = 0; max < sizeof(floors) / sizeof(floors[0]); max++) {
                CLEANUP(free_p) char *copy = copy_of(text, sizeof(text) - 1);

                ck_assert_msg(utf8_floor(copy, sizeof(text) - 1, max) == floors[max], "at %zu",
                              max);
        }
        ck_assert_uint_eq(utf8_floor(text, sizeof(text) - 1, SIZE_MAX), 11);
}
END_TEST

/* What was cut before, in the middle of a character, loses the rest of it. */
START_TEST(a_text_that_ends_in_a_character_loses_it) {
        static const char text[] = "a\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80z";
        static const size_t floors[] = { 0, 1, 1, 3, 3, 3, 6, 6, 6, 6, 10, 11 };

        for (size_t len = 0; len < sizeof(floors) / sizeof(floors[0]); len++) {
                CLEANUP(free_p) char *copy = copy_of(text, len);

                ck_assert_msg(utf8_floor(copy, len, 100) == floors[len], "of %zu", len);
        }
}
END_TEST

START_TEST(bytes_that_are_no_utf8_are_cut_somewhere_within) {
        static const char bytes[] = "\x80\x80\x80\x80\x80\x80\xff\xc3";

        for (size_t len = 0; len < sizeof(bytes); len++) {
                CLEANUP(free_p) char *copy = copy_of(bytes, len);

                for (size_t max = 0; max <= len + 1; max++)
                        ck_assert_uint_le(utf8_floor(copy, len, max), max < len ? max : len);
        }
}
END_TEST

int main(void) {
        Suite *suite = suite_create("utf8");
        TCase *tcase = tcase_create("utf8");
        SRunner *runner = srunner_create(suite);
        int failed;

        suite_add_tcase(suite, tcase);
        tcase_add_loop_test(tcase, each_class_of_sequence_is_known, 0,
                            (int)(sizeof(sequences) / sizeof(sequences[0])));
        tcase_add_test(tcase, every_code_point_comes_back_and_no_surrogate);
        tcase_add_loop_test(tcase, code_points_are_encoded, 0,
                            (int)(sizeof(encodings) / sizeof(encodings[0])));
        tcase_add_loop_test(tcase, a_text_is_valid_when_all_of_it_is, 0,
                            (int)(sizeof(validities) / sizeof(validities[0])));
        tcase_add_test(tcase, a_cut_never_splits_a_character);
        tcase_add_test(tcase, a_text_that_ends_in_a_character_loses_it);
        tcase_add_test(tcase, bytes_that_are_no_utf8_are_cut_somewhere_within);
        srunner_run_all(runner, CK_NORMAL);
        failed = srunner_ntests_failed(runner);
        srunner_free(runner);
        return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
