/* SPDX-License-Identifier: Apache-2.0 */
#include <check.h>
#include <stdlib.h>

#include "common/base/strbuf.h"
#include "kubectl-dbu/text.h"

#define TEXT_MAX 65536

struct row {
        const char *name, *text, *want;
};

static const struct row cleans[] = {
        { "plain text stays", "relation \"x\" does not exist", "relation \"x\" does not exist" },
        { "other languages stay", "d\xc3\xa9j\xc3\xa0 \xe6\xbc\xa2",
          "d\xc3\xa9j\xc3\xa0 \xe6\xbc\xa2" },
        { "escape sequences lose their escape", "\x1b[2Ja\x1b]0;t\x07", "?[2Ja?]0;t?" },
        { "C1 controls as characters",
          "\xc2\x9b"
          "31m",
          "?31m" },
        { "C1 controls as bytes",
          "\x9b"
          "31m",
          "?31m" },
        { "DEL", "a\x7f", "a?" },
        { "overrides of direction",
          "\xe2\x80\xae"
          "exe\xe2\x81\xa6\xe2\x80\x8f\xd8\x9c",
          "?exe???" },
        { "a truncated character", "a\xe2\x82", "a??" },
        { "white space is one space, none at the ends", " \r\na\t\n b\v", "a b" },
        { "nothing", "", "" },
};

START_TEST(others_texts_become_harmless) {
        CLEANUP(strbuf_done) struct strbuf out = STRBUF_INIT(TEXT_MAX);

        text_clean(&out, cleans[_i].text);
        ck_assert_msg(strcmp(strbuf_text(&out), cleans[_i].want) == 0, "%s: %s", cleans[_i].name,
                      strbuf_text(&out));
}
END_TEST

struct wrap_row {
        const char *name, *text;
        struct text_box box;
        const char *want;
};

static const struct wrap_row wraps[] = {
        { "what fits is one line", "abc def", { 2, 7, 0 }, "abc def" },
        { "breaks at a space", "abc def", { 2, 6, 0 }, "abc\n  def" },
        { "a space at the edge goes", "abcd efgh", { 0, 4, 0 }, "abcd\nefgh" },
        { "a long word is cut", "abcdefghij kl", { 1, 4, 0 }, "abcd\n efgh\n ij\n kl" },
        { "characters, not bytes",
          "\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9 a",
          { 0, 4, 0 },
          "\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\na" },
        { "the last line allowed says that there is more",
          "aaa bbb ccc ddd",
          { 0, 7, 1 },
          "aaa ..." },
        { "unless there is none", "aaa bbb ccc ddd", { 0, 7, 2 }, "aaa bbb\nccc ddd" },
        { "nothing", "", { 2, 8, 1 }, "" },
        { "a width of nothing is 4", "abcdef", { 0, 0, 0 }, "abcd\nef" },
};

START_TEST(texts_wrap) {
        const struct wrap_row *row = &wraps[_i];
        CLEANUP(strbuf_done) struct strbuf out = STRBUF_INIT(TEXT_MAX);

        text_wrap(&out, row->text, &row->box);
        ck_assert_msg(strcmp(strbuf_text(&out), row->want) == 0, "%s: %s", row->name,
                      strbuf_text(&out));
}
END_TEST

static const struct {
        int64_t seconds;
        const char *want;
} spans[] = {
        { -1, "0s" },        { 0, "0s" },        { 59, "59s" },
        { 60, "1m0s" },      { 3599, "59m59s" }, { 3600, "1h0m" },
        { 86399, "23h59m" }, { 86400, "1d0h" },  { 363600, "4d5h" },
};

START_TEST(spans_read_well) {
        char text[TEXT_SPAN_SIZE];

        text_span(spans[_i].seconds, text);
        ck_assert_str_eq(text, spans[_i].want);
}
END_TEST

START_TEST(the_middle_goes_first) {
        CLEANUP(strbuf_done) struct strbuf out = STRBUF_INIT(TEXT_MAX);

        text_shorten(&out, "0123456789abcdef", 16);
        ck_assert_str_eq(strbuf_text(&out), "0123456789abcdef");
        strbuf_reset(&out);
        text_shorten(&out, "0123456789abcdef", 15);
        ck_assert_str_eq(strbuf_text(&out), "01234 ... bcdef");
        strbuf_reset(&out);
        text_shorten(&out,
                     "\xc3\xa9"
                     "123456789abcdefgh",
                     9);
        ck_assert_str_eq(strbuf_text(&out), "\xc3\xa9"
                                            "12 ... h");
}
END_TEST

START_TEST(json_keeps_its_value_without_controls) {
        CLEANUP(strbuf_done) struct strbuf out = STRBUF_INIT(TEXT_MAX);

        text_json(&out, "{\"a\":\"\xc2\x9b \x7f \xe2\x80\xae \xc3\xa9\"}\n");
        ck_assert_str_eq(strbuf_text(&out), "{\"a\":\"\\u009b \\u007f \\u202e \xc3\xa9\"}\n");
}
END_TEST

START_TEST(colours_only_where_wanted) {
        CLEANUP(strbuf_done) struct strbuf out = STRBUF_INIT(TEXT_MAX);
        struct look look = { .colour = false };

        text_begin(&out, &look, STYLE_RED);
        text_end(&out, &look, STYLE_RED);
        ck_assert_uint_eq(out.len, 0);
        look.colour = true;
        text_begin(&out, &look, STYLE_PLAIN);
        text_end(&out, &look, STYLE_PLAIN);
        ck_assert_uint_eq(out.len, 0);
        text_begin(&out, &look, STYLE_RED);
        text_end(&out, &look, STYLE_RED);
        ck_assert_str_eq(strbuf_text(&out), "\x1b[1;31m\x1b[0m");
}
END_TEST

#define COUNT(array) ((int)(sizeof(array) / sizeof((array)[0])))

int main(void) {
        Suite *suite = suite_create("plugin_text");
        TCase *tcase = tcase_create("text");
        SRunner *runner = srunner_create(suite);
        int failed;

        tcase_add_loop_test(tcase, others_texts_become_harmless, 0, COUNT(cleans));
        tcase_add_loop_test(tcase, texts_wrap, 0, COUNT(wraps));
        tcase_add_loop_test(tcase, spans_read_well, 0, COUNT(spans));
        tcase_add_test(tcase, the_middle_goes_first);
        tcase_add_test(tcase, json_keeps_its_value_without_controls);
        tcase_add_test(tcase, colours_only_where_wanted);
        suite_add_tcase(suite, tcase);
        srunner_run_all(runner, CK_ENV);
        failed = srunner_ntests_failed(runner);
        srunner_free(runner);
        return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
