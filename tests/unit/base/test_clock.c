/* SPDX-License-Identifier: Apache-2.0 */
#include "common/base/clock.h"

#include <check.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/base/cleanup.h"

/* Seconds are those of `date -u -d TEXT +%s`. */
#define FIRST_S INT64_C(-62167219200) /* 0000-01-01T00:00:00Z */
#define LAST_S  INT64_C(253402300799) /* 9999-12-31T23:59:59Z */

static const struct moment {
        int64_t unix_s;
        const char *text;
} moments[] = {
        { 0, "1970-01-01T00:00:00Z" },           { -1, "1969-12-31T23:59:59Z" },
        { 951782400, "2000-02-29T00:00:00Z" }, /* 400 divides 2000 */
        { 951868799, "2000-02-29T23:59:59Z" },   { 951868800, "2000-03-01T00:00:00Z" },
        { -2203977600, "1900-02-28T00:00:00Z" }, /* 100 divides 1900: no leap year */
        { -2203891200, "1900-03-01T00:00:00Z" }, { 1709164800, "2024-02-29T00:00:00Z" },
        { 1735689599, "2024-12-31T23:59:59Z" },  { 1735689600, "2025-01-01T00:00:00Z" },
        { INT32_MAX, "2038-01-19T03:14:07Z" },   { INT64_C(1) + INT32_MAX, "2038-01-19T03:14:08Z" },
        { 1136214245, "2006-01-02T15:04:05Z" },  { FIRST_S, "0000-01-01T00:00:00Z" },
        { LAST_S, "9999-12-31T23:59:59Z" },
};

START_TEST(moments_are_written_and_read_back) {
        const struct moment *m = &moments[_i];
        char text[CLOCK_TIME_SIZE], micro[CLOCK_MICRO_TIME_SIZE];
        int64_t us = -7;

        clock_format_time(m->unix_s, text);
        ck_assert_str_eq(text, m->text);
        ck_assert(clock_parse_time(text, strlen(text), &us));
        ck_assert_int_eq(us, m->unix_s * 1000000);
        clock_format_micro_time(m->unix_s * 1000000 + 12345, micro);
        ck_assert_mem_eq(micro, m->text, 19);
        ck_assert_str_eq(micro + 19, ".012345Z");
        ck_assert(clock_parse_time(micro, strlen(micro), &us));
        ck_assert_int_eq(us, m->unix_s * 1000000 + 12345);
}
END_TEST

START_TEST(what_the_format_cannot_say_is_clamped) {
        static const int64_t early[] = { FIRST_S - 1, INT64_MIN },
                             late[] = { LAST_S + 1, INT64_MAX };
        char text[CLOCK_TIME_SIZE], micro[CLOCK_MICRO_TIME_SIZE];

        for (size_t i = 0; i < 2; i++) {
                clock_format_time(early[i], text);
                ck_assert_str_eq(text, "0000-01-01T00:00:00Z");
                clock_format_time(late[i], text);
                ck_assert_str_eq(text, "9999-12-31T23:59:59Z");
        }
        clock_format_micro_time(INT64_MIN, micro);
        ck_assert_str_eq(micro, "0000-01-01T00:00:00.000000Z");
        clock_format_micro_time(FIRST_S * 1000000 - 1, micro);
        ck_assert_str_eq(micro, "0000-01-01T00:00:00.000000Z");
        clock_format_micro_time(INT64_MAX, micro);
        ck_assert_str_eq(micro, "9999-12-31T23:59:59.999999Z");
        clock_format_micro_time((LAST_S + 1) * 1000000, micro);
        ck_assert_str_eq(micro, "9999-12-31T23:59:59.999999Z");
}
END_TEST

START_TEST(microseconds_before_1970_are_rounded_down) {
        char micro[CLOCK_MICRO_TIME_SIZE];

        clock_format_micro_time(-1, micro);
        ck_assert_str_eq(micro, "1969-12-31T23:59:59.999999Z");
        clock_format_micro_time(-1000000, micro);
        ck_assert_str_eq(micro, "1969-12-31T23:59:59.000000Z");
        clock_format_micro_time(-1000001, micro);
        ck_assert_str_eq(micro, "1969-12-31T23:59:58.999999Z");
}
END_TEST

static const struct reading {
        const char *text;
        int64_t unix_us;
} readings[] = {
        { "1970-01-01T00:00:00.5Z", 500000 },
        { "1970-01-01T00:00:00.000001Z", 1 },
        { "1970-01-01T00:00:00.0000019Z", 1 }, /* dropped, not rounded */
        { "1970-01-01T00:00:00.999999999999999999999999Z", 999999 },
        { "1970-01-01t00:00:00z", 0 },
        { "1970-01-01T00:00:00+00:00", 0 },
        { "1970-01-01T00:00:00-00:00", 0 },
        { "1970-01-01T02:00:00+02:00", 0 },
        { "1969-12-31T18:30:00-05:30", 0 },
        { "1970-01-02T00:00:00.25+23:59", INT64_C(60250000) },
        { "1970-01-01T00:00:00-23:59", INT64_C(86340000000) },
        { "1970-01-01T23:59:60Z", INT64_C(86400000000) }, /* a leap second is the next one */
        { "1972-06-30T23:59:60.5Z", INT64_C(78796800500000) },
        { "9999-12-31T23:59:59.999999Z", LAST_S * 1000000 + 999999 },
        { "0000-01-01T00:00:00Z", FIRST_S * 1000000 },
        { "0000-01-01T00:00:00+00:01", (FIRST_S - 60) * 1000000 },
};

START_TEST(fractions_and_offsets_are_read) {
        const struct reading *row = &readings[_i];
        int64_t us = -7;

        ck_assert_msg(clock_parse_time(row->text, strlen(row->text), &us), "%s", row->text);
        ck_assert_msg(us == row->unix_us, "%s: %" PRId64, row->text, us);
}
END_TEST

static const char *const garbage[] = {
        "",
        "now",
        "1970-01-01",
        "1970-01-01T00:00Z",
        "1970-01-01T00:00:00",
        "1970-01-01 00:00:00Z",
        "1970/01/01T00:00:00Z",
        "70-01-01T00:00:00Z",
        "+970-01-01T00:00:00Z",
        "-970-01-01T00:00:00Z",
        "19700-01-01T00:00:00Z",
        "1970-1-01T00:00:00Z",
        "1970-00-01T00:00:00Z",
        "1970-13-01T00:00:00Z",
        "1970-01-00T00:00:00Z",
        "1970-01-32T00:00:00Z",
        "1970-04-31T00:00:00Z",
        "2023-02-29T00:00:00Z",
        "1900-02-29T00:00:00Z",
        "2024-02-30T00:00:00Z",
        "1970-01-01T24:00:00Z",
        "1970-01-01T00:60:00Z",
        "1970-01-01T00:00:61Z",
        "1970-01-01T00:00:99Z",
        "1970-01-01T00:00:00.Z",
        "1970-01-01T00:00:00,5Z",
        "1970-01-01T00:00:00.5.5Z",
        "1970-01-01T00:00:00.5",
        "1970-01-01T00:00:00 Z",
        "1970-01-01T00:00:00+24:00",
        "1970-01-01T00:00:00+00:60",
        "1970-01-01T00:00:00+0000",
        "1970-01-01T00:00:00+1:00",
        "1970-01-01T00:00:00*01:00",
        "1970-01-01T00:00:00ZZ",
        " 1970-01-01T00:00:00Z",
        "1970-01-01T00:00:00Z\n",
        "1970-01-01T00:00:0\xd9\xa0Z", /* a digit, but not of ours */
};

START_TEST(garbage_is_refused_and_changes_nothing) {
        int64_t us = -7;

        ck_assert_msg(!clock_parse_time(garbage[_i], strlen(garbage[_i]), &us), "%s", garbage[_i]);
        ck_assert_int_eq(us, -7);
}
END_TEST

/* A heap copy of its own lets a sanitizer see each byte read too far. */
START_TEST(no_prefix_is_a_time) {
        static const char text[] = "2006-01-02T15:04:05.123456+07:00";
        int64_t us;

        for (size_t len = 0; len < sizeof(text) - 1; len++) {
                CLEANUP(free_p) char *copy = malloc(len ? len : 1);

                ck_assert_ptr_nonnull(copy);
                memcpy(copy, text, len);
                ck_assert_msg(!clock_parse_time(copy, len, &us), "%.*s", (int)len, text);
        }
}
END_TEST

static bool comes_back(int64_t unix_s) {
        char text[CLOCK_TIME_SIZE];
        int64_t us;

        clock_format_time(unix_s, text);
        return clock_parse_time(text, strlen(text), &us) && us == unix_s * 1000000;
}

START_TEST(the_last_second_of_every_day_of_400_years_comes_back) {
        int64_t day = -11000;

        while (day < 135100 && comes_back(day * 86400 + 86399))
                day++;
        ck_assert_int_eq(day, 135100);
}
END_TEST

START_TEST(the_system_clock_runs_and_agrees_with_time) {
        const struct clock *c = clock_system();
        int64_t mono_us = clock_mono_us(c), boot_ms = clock_boot_ms(c);
        time_t before = time(NULL);
        int64_t wall_s = clock_wall_s(c);

        ck_assert_int_ge(wall_s, before);
        ck_assert_int_le(wall_s, time(NULL));
        ck_assert_int_ge(clock_mono_us(c), mono_us);
        ck_assert_int_ge(clock_mono_ms(c), mono_us / 1000);
        ck_assert_int_ge(clock_boot_ms(c), boot_ms);
        ck_assert_int_gt(boot_ms, 0);
}
END_TEST

int main(void) {
        Suite *suite = suite_create("clock");
        TCase *tcase = tcase_create("clock");
        SRunner *runner = srunner_create(suite);
        int failed;

        suite_add_tcase(suite, tcase);
        tcase_add_loop_test(tcase, moments_are_written_and_read_back, 0,
                            (int)(sizeof(moments) / sizeof(moments[0])));
        tcase_add_test(tcase, what_the_format_cannot_say_is_clamped);
        tcase_add_test(tcase, microseconds_before_1970_are_rounded_down);
        tcase_add_loop_test(tcase, fractions_and_offsets_are_read, 0,
                            (int)(sizeof(readings) / sizeof(readings[0])));
        tcase_add_loop_test(tcase, garbage_is_refused_and_changes_nothing, 0,
                            (int)(sizeof(garbage) / sizeof(garbage[0])));
        tcase_add_test(tcase, no_prefix_is_a_time);
        tcase_add_test(tcase, the_last_second_of_every_day_of_400_years_comes_back);
        tcase_add_test(tcase, the_system_clock_runs_and_agrees_with_time);
        srunner_run_all(runner, CK_NORMAL);
        failed = srunner_ntests_failed(runner);
        srunner_free(runner);
        return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
