/* SPDX-License-Identifier: Apache-2.0 */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/arena.h"
#include "common/base/utf8.h"
#include "reconciler/explain.h"

struct row {
        const char *name, *text, *clean;
};

static const struct row rows[] = {
        { "plain text stays", "relation \"x\" does not exist", "relation \"x\" does not exist" },
        { "the password of a URL goes", "dial postgres://app:s3cret@db:5432/app failed",
          "dial postgres://app:***@db:5432/app failed" },
        { "a password with an @ goes whole", "postgres://app:a@b@db/app",
          "postgres://app:***@db/app" },
        { "a password with a slash goes whole", "postgres://app:a/b@db/app",
          "postgres://app:***@db/app" },
        { "a URL without a password stays", "https://example.org/a?b=c",
          "https://example.org/a?b=c" },
        { "password= goes", "host=db password=s3cret user=app", "host=db password=*** user=app" },
        { "in any case, with a colon, quoted", "PASSWORD: \"a b\" x", "PASSWORD: \"***\" x" },
        { "at the end of the text", "pwd=s3cret", "pwd=***" },
        { "control bytes become spaces", "a\tb\x1b[0m\nc", "a b [0m c" },
        { "white space around goes", "\n a \n", "a" },
        { "invalid UTF-8 is replaced",
          "a\xff"
          "b",
          "a\xef\xbf\xbd"
          "b" },
        { "nothing is nothing", "", "" },
};

START_TEST(cleans) {
        CLEANUP(arena_done) struct arena a = ARENA_INIT(1 << 20);
        const char *clean = explain_clean(&a, rows[_i].text, EXPLAIN_MESSAGE_MAX);

        ck_assert_msg(strcmp(clean, rows[_i].clean) == 0, "%s: %s", rows[_i].name, clean);
}
END_TEST

START_TEST(the_tail_is_kept_whole_characters_only) {
        CLEANUP(arena_done) struct arena a = ARENA_INIT(1 << 20);

        for (size_t max = 1; max < 16; max++) {
                const char *clean =
                        explain_clean(&a, "\xe2\x82\xac\xe2\x82\xac\xe2\x82\xac-end", max);

                ck_assert_uint_le(strlen(clean), max);
                ck_assert(utf8_valid(clean, strlen(clean)));
        }
        ck_assert_str_eq(explain_clean(&a, "abcdef", 3), "def");
}
END_TEST

START_TEST(durations_read_well) {
        CLEANUP(arena_done) struct arena a = ARENA_INIT(1 << 20);
        const char *start = "2026-01-01T00:00:00Z";

        ck_assert_str_eq(explain_duration(&a, start, "2026-01-01T00:00:59Z"), "59s");
        ck_assert_str_eq(explain_duration(&a, start, "2026-01-01T00:04:12Z"), "4m12s");
        ck_assert_str_eq(explain_duration(&a, start, "2026-01-01T02:05:00Z"), "2h5m");
        ck_assert_str_eq(explain_duration(&a, start, ""), "");
        ck_assert_str_eq(explain_duration(&a, start, "2025-12-31T23:59:59Z"), "");
}
END_TEST

int main(void) {
        Suite *suite = suite_create("explain");
        TCase *tcase = tcase_create("explain");
        SRunner *runner = srunner_create(suite);
        int failed;

        suite_add_tcase(suite, tcase);
        tcase_add_loop_test(tcase, cleans, 0, (int)(sizeof(rows) / sizeof(rows[0])));
        tcase_add_test(tcase, the_tail_is_kept_whole_characters_only);
        tcase_add_test(tcase, durations_read_well);
        srunner_run_all(runner, CK_NORMAL);
        failed = srunner_ntests_failed(runner);
        srunner_free(runner);
        return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
