/* SPDX-License-Identifier: Apache-2.0 */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/fault.h"
#include "common/base/strbuf.h"
#include "common/json/json_check.h"

struct verdict {
        const char *name;
        const char *text;
        size_t len; /* 0: strlen(text) */
        bool valid;
};

static const struct verdict verdicts[] = {
        { "an empty object", "{}", 0, true },
        { "an empty array", "[ ]", 0, true },
        { "white space around everything", " \t\r\n{ \"a\" : [ 1 , 2 ] } \n", 0, true },
        { "every escape", "\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u00e9\"", 0, true },
        { "a surrogate pair", "\"\\ud83d\\ude00\"", 0, true },
        { "a string of four-byte characters", "\"\xf0\x9f\x98\x80\"", 0, true },
        { "numbers of each form", "[0,-0,1,-12,1.5,1e5,1E+5,1.25e-7]", 0, true },
        { "the literals", "[true,false,null]", 0, true },
        { "equal names in different objects", "{\"a\":{\"a\":1},\"b\":{\"a\":1}}", 0, true },
        { "names that differ in case only", "{\"a\":1,\"A\":2}", 0, true },
        { "nothing", "", 0, false },
        { "white space only", "  ", 0, false },
        { "a trailing comma in an object", "{\"a\":1,}", 0, false },
        { "a trailing comma in an array", "[1,]", 0, false },
        { "a missing colon", "{\"a\" 1}", 0, false },
        { "a name without quotes", "{a:1}", 0, false },
        { "text after the value", "{} x", 0, false },
        { "a second value", "{}{}", 0, false },
        { "a byte order mark", "\xef\xbb\xbf{}", 0, false },
        { "a leading zero", "01", 0, false },
        { "a leading plus", "+1", 0, false },
        { "a number that ends with its point", "1.", 0, false },
        { "a number that begins with its point", ".5", 0, false },
        { "an exponent without digits", "1e", 0, false },
        { "the largest double", "[1.7976931348623157e308,-1e308,1e-400]", 0, true },
        { "beyond the largest double", "1e309", 0, false },
        { "beyond it, below zero", "[-4e425]", 0, false },
        { "63 digits", "111111111111111111111111111111111111111111111111111111111111111", 0, true },
        { "64 digits", "1111111111111111111111111111111111111111111111111111111111111111", 0,
          false },
        { "a lone minus", "-", 0, false },
        { "NaN", "NaN", 0, false },
        { "a literal in upper case", "True", 0, false },
        { "an escaped NUL", "\"a\\u0000b\"", 0, false },
        { "a raw NUL in a string", "\"a\0b\"", 5, false },
        { "a raw NUL after the value", "{}\0", 3, false },
        { "a raw newline in a string", "\"a\nb\"", 0, false },
        { "a lone high surrogate", "\"\\ud83d\"", 0, false },
        { "a high surrogate before another character", "\"\\ud83d\\u0041\"", 0, false },
        { "a lone low surrogate", "\"\\ude00\"", 0, false },
        { "an unknown escape", "\"\\x41\"", 0, false },
        { "an escape of three digits", "\"\\u12\"", 0, false },
        { "overlong UTF-8", "\"\xc0\xaf\"", 0, false },
        { "a surrogate in UTF-8", "\"\xed\xa0\x80\"", 0, false },
        { "a cut character", "\"\xe2\x82\"", 0, false },
        { "a lone continuation byte", "\"\x80\"", 0, false },
        { "a code point beyond Unicode", "\"\xf4\x90\x80\x80\"", 0, false },
        { "a name twice", "{\"a\":1,\"b\":2,\"a\":3}", 0, false },
        { "a name twice, once escaped", "{\"a\":1,\"\\u0061\":3}", 0, false },
        { "a name twice in an inner object", "[{\"x\":{\"k\":1,\"k\":1}}]", 0, false },
        { "an object closed as an array", "{\"a\":1]", 0, false },
        { "a string without end", "\"abc", 0, false },
        { "a comment", "{/* */}", 0, false },
};

START_TEST(accepts_the_grammar_and_no_more) {
        const struct verdict *v = &verdicts[_i];
        size_t len = v->len ? v->len : strlen(v->text);
        struct fault f = FAULT_INIT;
        /* A heap copy without a NUL behind it: a sanitizer sees every byte read too far. */
        CLEANUP(free_p) char *copy = malloc(len ? len : 1);
        int r;

        ck_assert_ptr_nonnull(copy);
        memcpy(copy, v->text, len);
        r = json_check(copy, len, NULL, 0, &f);
        ck_assert_msg(r == (v->valid ? 0 : -FAULT_INVALID), "%s: %d %s", v->name, r, f.text);
        ck_assert_msg(v->valid || f.text[0], "%s: refused without a text", v->name);
}
END_TEST

static const char document[] =
        "{\"kind\":\"A\\u0042\", \"meta\": {\"name\":\"x\",\"labels\":{\"a.b/c\":\"v\\n\"}},"
        "\"list\":[1, {\"kind\":\"inner\"} ,[],\"a]b\\\"\" , -2.5e3],\"empty\":{},\"n\":null}";

START_TEST(every_prefix_is_refused) {
        for (size_t len = 0; len < sizeof(document) - 1; len++) {
                CLEANUP(free_p) char *copy = malloc(len ? len : 1);

                ck_assert_ptr_nonnull(copy);
                memcpy(copy, document, len);
                ck_assert_msg(json_check(copy, len, NULL, 0, NULL) == -FAULT_INVALID,
                              "the first %zu bytes were accepted", len);
        }
        ck_assert_int_eq(json_check(document, sizeof(document) - 1, NULL, 0, NULL), 0);
}
END_TEST

START_TEST(wanted_members_are_found_byte_for_byte) {
        struct json_want wants[] = {
                { .path = { "kind" } },
                { .path = { "meta", "labels", "a.b/c" } },
                { .path = { "meta", "labels" } },
                { .path = { "list" } },
                { .path = { "list", "kind" } },
                { .path = { "meta", "kind" } },
                { .path = { "n" } },
        };
        static const char *const spans[] = {
                "\"A\\u0042\"",
                "\"v\\n\"",
                "{\"a.b/c\":\"v\\n\"}",
                "[1, {\"kind\":\"inner\"} ,[],\"a]b\\\"\" , -2.5e3]",
                NULL,
                NULL,
                "null",
        };
        char text[8];

        ck_assert_int_eq(json_check(document, sizeof(document) - 1, wants, 7, NULL), 0);
        for (size_t i = 0; i < 7; i++) {
                if (!spans[i]) {
                        ck_assert_ptr_null(wants[i].span.text);
                        continue;
                }
                ck_assert_uint_eq(wants[i].span.len, strlen(spans[i]));
                ck_assert_mem_eq(wants[i].span.text, spans[i], strlen(spans[i]));
        }
        ck_assert(json_span_string(&wants[0].span, text, sizeof(text)));
        ck_assert_str_eq(text, "AB");
        ck_assert_msg(!json_span_string(&wants[0].span, text, 2),
                      "two characters need three bytes");
        ck_assert_msg(!json_span_string(&wants[3].span, text, 8), "an array is no string");
        ck_assert_int_eq(json_span_kind(&wants[6].span), 'n');
        ck_assert_int_eq(json_span_kind(&wants[4].span), 0);
}
END_TEST

START_TEST(arrays_are_stepped_through) {
        struct json_want want = { .path = { "list" } };
        static const char *const elements[] = { "1", "{\"kind\":\"inner\"}", "[]", "\"a]b\\\"\"",
                                                "-2.5e3" };
        struct json_span element, empty = { .text = "[ ]", .len = 3 };
        size_t cursor = 0;

        ck_assert_int_eq(json_check(document, sizeof(document) - 1, &want, 1, NULL), 0);
        for (size_t i = 0; i < 5; i++) {
                ck_assert(json_span_next(&want.span, &cursor, &element));
                ck_assert_uint_eq(element.len, strlen(elements[i]));
                ck_assert_mem_eq(element.text, elements[i], element.len);
        }
        ck_assert(!json_span_next(&want.span, &cursor, &element));
        cursor = 0;
        ck_assert(!json_span_next(&empty, &cursor, &element));
}
END_TEST

static int check_nested(unsigned depth) {
        CLEANUP(strbuf_done) struct strbuf b = STRBUF_INIT(1000000);

        for (unsigned i = 0; i < depth; i++)
                strbuf_str(&b, i % 2 ? "{\"a\":" : "[");
        strbuf_str(&b, "1");
        for (unsigned i = depth; i-- > 0;)
                strbuf_str(&b, i % 2 ? "}" : "]");
        return json_check(strbuf_text(&b), b.len, NULL, 0, NULL);
}

START_TEST(depth_is_capped) {
        ck_assert_int_eq(check_nested(JSON_MAX_DEPTH), 0);
        ck_assert_int_eq(check_nested(JSON_MAX_DEPTH + 1), -FAULT_INVALID);
        ck_assert_int_eq(check_nested(100000), -FAULT_INVALID);
}
END_TEST

START_TEST(many_names_are_checked) {
        CLEANUP(strbuf_done) struct strbuf b = STRBUF_INIT(10000000);

        strbuf_str(&b, "{");
        for (int i = 0; i < 100000; i++)
                strbuf_printf(&b, "\"k%d\":0,", i);
        strbuf_str(&b, "\"z\":0}");
        ck_assert_int_eq(json_check(b.ptr, b.len, NULL, 0, NULL), 0);
        strbuf_truncate(&b, b.len - 1);
        strbuf_str(&b, ",\"k77\":0}");
        ck_assert_int_eq(json_check(b.ptr, b.len, NULL, 0, NULL), -FAULT_INVALID);
}
END_TEST

int main(void) {
        Suite *suite = suite_create("json_check");
        TCase *tcase = tcase_create("json_check");
        SRunner *runner = srunner_create(suite);
        int failed;

        suite_add_tcase(suite, tcase);
        tcase_add_loop_test(tcase, accepts_the_grammar_and_no_more, 0,
                            (int)(sizeof(verdicts) / sizeof(verdicts[0])));
        tcase_add_test(tcase, every_prefix_is_refused);
        tcase_add_test(tcase, wanted_members_are_found_byte_for_byte);
        tcase_add_test(tcase, arrays_are_stepped_through);
        tcase_add_test(tcase, depth_is_capped);
        tcase_add_test(tcase, many_names_are_checked);
        srunner_run_all(runner, CK_NORMAL);
        failed = srunner_ntests_failed(runner);
        srunner_free(runner);
        return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
