/* SPDX-License-Identifier: Apache-2.0 */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/fault.h"
#include "common/base/strbuf.h"
#include "common/json/json_check.h"
#include "tests/unit/alloc_fail.h"

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
        { "a number with a sign twice", "--1", 0, false },
        { "a hexadecimal number", "0x1", 0, false },
        { "an infinity", "-Infinity", 0, false },
        { "a cut literal", "tru", 0, false },
        { "a literal with more behind it", "nullx", 0, false },
        { "a form feed for white space", "{}\f", 0, false },
        { "a non-breaking space for white space", "\xc2\xa0{}", 0, false },
        { "a string in single quotes", "'a'", 0, false },
        { "DEL in a string", "\"\x7f\"", 0, true },
        { "a raw tab in a string", "\"\t\"", 0, false },
        { "a raw escape byte in a name", "{\"\x1b\":1}", 0, false },
        { "an escaped NUL in a name", "{\"a\\u0000\":1}", 0, false },
        { "invalid UTF-8 in a name", "{\"\xff\":1}", 0, false },
        { "invalid UTF-8 outside a string", "[\xff]", 0, false },
        { "an escape in upper-case hexadecimal", "\"\\u00E9\\uD83D\\uDE00\"", 0, true },
        { "an escape in upper case", "\"\\U0041\"", 0, false },
        { "a backslash at the end", "\"\\\"", 0, false },
        { "two low surrogates", "\"\\ude00\\ude00\"", 0, false },
        { "a high surrogate at the end", "\"\\ud83d\\u\"", 0, false },
        { "an empty name", "{\"\":1}", 0, true },
        { "an empty name twice", "{\"\":1,\"\":2}", 0, false },
        { "a name twice, once as a surrogate pair", "{\"\xf0\x9f\x98\x80\":1,\"\\ud83d\\ude00\":2}",
          0, false },
        { "a name twice, objects between", "{\"a\":{\"b\":1},\"c\":[{\"b\":1}],\"a\":1}", 0,
          false },
        { "a list closed as an object", "[1}", 0, false },
        { "a bracket too many", "[1]]", 0, false },
        { "a comma alone", "[,]", 0, false },
        { "a colon in a list", "[1:2]", 0, false },
        { "a name without a value", "{\"a\"}", 0, false },
        { "a value without a name", "{1}", 0, false },
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

static const struct place {
        const char *text, *fault;
} places[] = {
        { "", "at byte 0: expected a value" },
        { "{\"a\":x}", "at byte 5: expected a value" },
        { "{\"a\" 1}", "at byte 5: expected ':'" },
        { "[1 2]", "at byte 3: expected ',' or ']'" },
        { "{\"a\":1 \"b\":2}", "at byte 7: expected ',' or '}'" },
        { "{\"a\":1,\"b\":2,\"a\":3}", "at byte 14: duplicate member name" },
        { "[\"a\nb\"]", "at byte 3: control byte in a string" },
        { "[\"\\x\"]", "at byte 2: invalid escape in a string" },
        { "[\"\xff\"]", "at byte 2: invalid UTF-8 in a string" },
        { "[\"a", "at byte 3: string without end" },
        { "[1.]", "at byte 3: number without digits after the point" },
        { "[1e]", "at byte 3: number without digits in the exponent" },
        { "[1e400]", "at byte 6: number out of range" },
        { "{} {}", "at byte 3: text after the value" },
};

START_TEST(a_refusal_says_where_and_what) {
        struct fault f = FAULT_INIT;

        ck_assert_int_eq(json_check(places[_i].text, strlen(places[_i].text), NULL, 0, &f),
                         -FAULT_INVALID);
        ck_assert_msg(strstr(f.text, places[_i].fault) != NULL, "%s", f.text);
}
END_TEST

/* Whether an object with these two members, and so many between them, is refused. */
static bool is_refused(const char *first, const char *second, int between) {
        CLEANUP(strbuf_done) struct strbuf b = STRBUF_INIT(4096);
        CLEANUP(free_p) char *copy = NULL;

        strbuf_printf(&b, "{\"%s\":1", first);
        for (int i = 0; i < between; i++)
                strbuf_printf(&b, ",\"%d\":1", i);
        strbuf_printf(&b, ",\"%s\":1}", second);
        copy = malloc(b.len); /* of that size: reading beyond it is found */
        ck_assert_ptr_nonnull(copy);
        memcpy(copy, b.ptr, b.len);
        return json_check(copy, b.len, NULL, 0, NULL) == -FAULT_INVALID;
}

/* Names of every length, in small objects and in large ones. */
START_TEST(names_are_compared_decoded_and_whole) {
        static const char letters[] = "abcdefghijklmnopqrstuvwxyz";
        const struct {
                const char *first, *second;
                bool same;
        } ends[] = {
                { "", "", true },      { "z", "\\u007a", true }, { "\u20ac!", "\\u20ac!", true },
                { "z", "y", false },   { "", "z", false },       { "\u20ac", "\\u20ad", false },
                { "zy", "yz", false }, { "\\u0001", "", false }, { "\\n", "\\r", false },
        };
        int len = _i;

        for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++) {
                char first[64], second[64];

                (void)snprintf(first, sizeof(first), "%.*s%s", len, letters, ends[i].first);
                (void)snprintf(second, sizeof(second), "%.*s%s", len, letters, ends[i].second);
                for (int between = 0; between < 40; between++)
                        ck_assert_msg(is_refused(first, second, between) == ends[i].same,
                                      "%s, %d others, %s", first, between, second);
        }
}
END_TEST

/* One byte of a document replaced by each other one: refused, or still valid with the same ends;
 * never read beyond its end. */
START_TEST(a_changed_byte_never_leads_astray) {
        size_t len = sizeof(document) - 1;
        CLEANUP(free_p) char *copy = malloc(len);

        ck_assert_ptr_nonnull(copy);
        for (size_t at = 0; at < len; at++) {
                for (int c = 0; c < 256; c++) {
                        struct json_want want = { .path = { "meta", "labels" } };

                        memcpy(copy, document, len);
                        copy[at] = (char)c;
                        if (json_check(copy, len, &want, 1, NULL) == 0 && want.span.text &&
                            json_check(want.span.text, want.span.len, NULL, 0, NULL))
                                ck_abort_msg("byte %zu as 0x%02x: a span that is no value", at, c);
                }
        }
}
END_TEST

START_TEST(as_many_wants_and_segments_as_allowed) {
        static const char text[] = "{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":7}}}}}}}";
        struct json_want wants[JSON_WANT_MAX];

        for (size_t i = 0; i < JSON_WANT_MAX; i++) {
                wants[i] = (struct json_want){ .path = { NULL } };
                for (size_t k = 0; k <= i % JSON_WANT_SEGMENTS; k++)
                        wants[i].path[k] = "a";
        }
        ck_assert_int_eq(json_check(text, sizeof(text) - 1, wants, JSON_WANT_MAX, NULL), 0);
        for (size_t i = 0; i < JSON_WANT_MAX; i++) {
                size_t depth = i % JSON_WANT_SEGMENTS + 1;

                ck_assert_ptr_eq(wants[i].span.text, text + 5 * depth);
                ck_assert_uint_eq(wants[i].span.len, sizeof(text) - 1 - 6 * depth);
        }
}
END_TEST

static const struct decoded {
        const char *json, *text; /* text: NULL when it is no string */
} decoded[] = {
        { "\"\"", "" },
        { "\"plain\"", "plain" },
        { "\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"", "\"\\/\b\f\n\r\t" },
        { "\"\\u0041\\u00e9\\u20ac\\ud83d\\ude00\"", "A\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80" },
        { "\"\xe2\x82\xac\"", "\xe2\x82\xac" },
        { "7", NULL },
        { "null", NULL },
        { "[\"a\"]", NULL },
};

/* With room for it, and with a byte less. */
START_TEST(strings_are_decoded_when_they_fit) {
        const struct decoded *d = &decoded[_i];
        const struct json_span span = { .text = d->json, .len = strlen(d->json) };
        char text[64];

        ck_assert_int_eq(json_span_string(&span, text, sizeof(text)), d->text != NULL);
        if (!d->text)
                return;
        ck_assert_str_eq(text, d->text);
        ck_assert(json_span_string(&span, text, strlen(d->text) + 1));
        if (*d->text)
                ck_assert(!json_span_string(&span, text, strlen(d->text)));
}
END_TEST

/* And neither what is longer, shorter, or ends otherwise. */
START_TEST(strings_are_compared_decoded) {
        const struct decoded *d = &decoded[_i];
        const struct json_span span = { .text = d->json, .len = strlen(d->json) };
        char text[64];
        size_t len;

        ck_assert_int_eq(json_span_is(&span, d->text ? d->text : d->json), d->text != NULL);
        if (!d->text)
                return;
        len = strlen(d->text);
        (void)snprintf(text, sizeof(text), "%s+", d->text);
        ck_assert(!json_span_is(&span, text));
        if (len == 0)
                return;
        text[len] = '\0';
        text[len - 1]++;
        ck_assert(!json_span_is(&span, text));
        text[len - 1] = '\0';
        ck_assert(!json_span_is(&span, text));
}
END_TEST

START_TEST(an_absent_span_is_nothing) {
        const struct json_span absent = { .text = NULL, .len = 0 };
        struct json_span element;
        size_t cursor = 0;
        char text[8];

        ck_assert_int_eq(json_span_kind(&absent), 0);
        ck_assert(!json_span_next(&absent, &cursor, &element));
        ck_assert(!json_span_string(&absent, text, sizeof(text)));
        ck_assert(!json_span_is(&absent, ""));
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

START_TEST(no_allocation_goes_unchecked) {
        CLEANUP(strbuf_done) struct strbuf b = STRBUF_INIT(10000);
        size_t n = 1;

        strbuf_str(&b, "{");
        for (int i = 0; i < 200; i++) /* the table of names grows */
                strbuf_printf(&b, "\"k%d\":0,", i);
        strbuf_str(&b, "\"z\":0}");
        for (;; n++) {
                int r;

                alloc_fail_arm(n);
                r = json_check(b.ptr, b.len, NULL, 0, NULL);
                if (!alloc_fail_disarm()) {
                        ck_assert_int_eq(r, 0);
                        break;
                }
                ck_assert_int_eq(r, -FAULT_NOMEM);
        }
        ck_assert_uint_gt(n, 2);
}
END_TEST

/* Whatever is read at a time, each byte is judged at each place. */
START_TEST(every_byte_counts_at_every_place) {
        for (size_t at = 0; at < 20; at++) {
                for (int c = 0; c < 256; c++) {
                        char text[] = "\"aaaaaaaaaaaaaaaaaaaa\"";
                        bool valid = c >= 0x20 && c < 0x80 && c != '"' && c != '\\';
                        int r;

                        text[1 + at] = (char)c;
                        r = json_check(text, sizeof(text) - 1, NULL, 0, NULL);
                        ck_assert_msg((r == 0) == valid, "byte %d at %zu: %d", c, at, r);
                }
        }
}
END_TEST

/* The names k0 to k19, one of them written with an escape. */
static int check_names(unsigned count, unsigned first, unsigned second) {
        CLEANUP(strbuf_done) struct strbuf b = STRBUF_INIT(1000);

        strbuf_str(&b, "{");
        for (unsigned i = 0; i < count; i++)
                strbuf_printf(&b, "%s\"%s%u\":0", i ? "," : "", i == second ? "\\u006b" : "k",
                              i == second ? first : i);
        strbuf_str(&b, "}");
        return json_check(b.ptr, b.len, NULL, 0, NULL);
}

START_TEST(few_names_are_checked_too) {
        for (unsigned count = 2; count <= 20; count++) {
                for (unsigned second = 1; second < count; second++) {
                        ck_assert_int_eq(check_names(count, second, second), 0);
                        for (unsigned first = 0; first < second; first++)
                                ck_assert_int_eq(check_names(count, first, second), -FAULT_INVALID);
                }
        }
}
END_TEST

#define COUNT(rows) ((int)(sizeof(rows) / sizeof((rows)[0])))

int main(void) {
        Suite *suite = suite_create("json_check");
        TCase *tcase = tcase_create("json_check");
        SRunner *runner = srunner_create(suite);
        int failed;

        suite_add_tcase(suite, tcase);
        tcase_add_loop_test(tcase, accepts_the_grammar_and_no_more, 0, COUNT(verdicts));
        tcase_add_test(tcase, every_prefix_is_refused);
        tcase_add_test(tcase, wanted_members_are_found_byte_for_byte);
        tcase_add_test(tcase, arrays_are_stepped_through);
        tcase_add_loop_test(tcase, a_refusal_says_where_and_what, 0, COUNT(places));
        tcase_add_test(tcase, a_changed_byte_never_leads_astray);
        tcase_add_test(tcase, as_many_wants_and_segments_as_allowed);
        tcase_add_loop_test(tcase, strings_are_decoded_when_they_fit, 0, COUNT(decoded));
        tcase_add_loop_test(tcase, strings_are_compared_decoded, 0, COUNT(decoded));
        tcase_add_loop_test(tcase, names_are_compared_decoded_and_whole, 0, 26);
        tcase_add_test(tcase, an_absent_span_is_nothing);
        tcase_add_test(tcase, depth_is_capped);
        tcase_add_test(tcase, many_names_are_checked);
        tcase_add_test(tcase, no_allocation_goes_unchecked);
        tcase_add_test(tcase, every_byte_counts_at_every_place);
        tcase_add_test(tcase, few_names_are_checked_too);
        srunner_run_all(runner, CK_NORMAL);
        failed = srunner_ntests_failed(runner);
        srunner_free(runner);
        return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
