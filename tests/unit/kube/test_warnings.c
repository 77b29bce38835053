/* SPDX-License-Identifier: Apache-2.0 */
#include "common/kube/warnings.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct header {
        const char *name, *value, *text; /* NULL: none */
};

static const struct header headers[] = {
        { "as the API server sends it", "299 - \"old API\"", "old API" },
        { "with the server's name", "299 kube-apiserver \"old API\"", "old API" },
        { "with a date", "299 - \"old\" \"Wed, 21 Oct 2015 07:28:00 GMT\"", "old" },
        { "quotes and backslashes", "299 - \"a \\\"b\\\" \\\\c\"", "a \"b\" \\c" },
        { "two in one: the first", "299 - \"a\", 299 - \"b\"", "a" },
        { "no end", "299 - \"abc", "abc" },
        { "a backslash at the end", "299 - \"abc\\", "abc\\" },
        { "another code", "199 - \"x\"", NULL },
        { "no code", "- \"x\"", NULL },
        { "a code alone", "299", NULL },
        { "a code and a space", "299 ", NULL },
        { "no text", "299 - \"\"", NULL },
        { "no quotes", "299 - old", NULL },
        { "nothing", "", NULL },
};

START_TEST(reads) {
        const struct header *h = &headers[_i];
        char text[WARNING_TEXT_SIZE];
        bool got = warning_read(h->value, text);

        ck_assert_msg(got == (h->text != NULL), "%s", h->name);
        ck_assert_msg(!got || strcmp(text, h->text) == 0, "%s: %s", h->name, text);
}
END_TEST

START_TEST(cuts) {
        char value[3000] = "299 - \"";
        char text[WARNING_TEXT_SIZE];

        memset(value + strlen(value), 'x', sizeof(value) - strlen(value) - 1);
        value[sizeof(value) - 1] = '\0';
        ck_assert(warning_read(value, text));
        ck_assert_uint_eq(strlen(text), WARNING_TEXT_SIZE - 1);
}
END_TEST

START_TEST(tells_each_once_and_not_for_ever) {
        CLEANUP(warnings_free_p) struct warnings *w = warnings_new();
        char text[16]; /* "w" and an int */

        ck_assert_ptr_nonnull(w);
        for (int i = 0; i < WARNINGS_MAX; i++) {
                (void)snprintf(text, sizeof(text), "w%d", i);
                ck_assert(warnings_is_new(w, text));
                ck_assert(!warnings_is_new(w, text));
        }
        ck_assert(!warnings_is_new(w, "one more"));
}
END_TEST

int main(void) {
        Suite *suite = suite_create("warnings");
        TCase *tc = tcase_create("warnings");
        SRunner *runner = srunner_create(suite);
        int failed;

        tcase_add_loop_test(tc, reads, 0, (int)(sizeof(headers) / sizeof(headers[0])));
        tcase_add_test(tc, cuts);
        tcase_add_test(tc, tells_each_once_and_not_for_ever);
        suite_add_tcase(suite, tc);
        srunner_run_all(runner, CK_ENV);
        failed = srunner_ntests_failed(runner);
        srunner_free(runner);
        return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
