/* SPDX-License-Identifier: Apache-2.0 */
#include "common/json/json_write.h"

#include <check.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/fault.h"
#include "common/base/strbuf.h"
#include "common/json/json_get.h"
#include "tests/unit/alloc_fail.h"

static void everything(struct json_writer *w) {
        static const struct json_span span = { .text = "[1,{}]", .len = 6 };
        static const struct json_span none = { .text = NULL, .len = 0 };

        json_object(w);
        json_kv_string(w, "s", "a\"b");
        json_kv_int(w, "min", INT64_MIN);
        json_kv_int(w, "max", INT64_MAX);
        json_kv_bool(w, "yes", true);
        json_kv_bool(w, "no", false);
        json_key(w, "null");
        json_put_null(w);
        json_kv_span(w, "none", &none);
        json_kv_span(w, "span", &span);
        json_kv_object(w, "empty");
        json_end_object(w);
        json_kv_array(w, "list");
        json_put_int(w, 1);
        json_put_string_len(w, "xyz", 2);
        json_put_bool(w, true);
        json_put_null(w);
        json_put_raw(w, "{\"r\":1}", 7);
        json_array(w);
        json_end_array(w);
        json_array(w);
        json_put_int(w, 2);
        json_end_array(w);
        json_object(w);
        json_kv_int(w, "in", 3);
        json_end_object(w);
        json_end_array(w);
        json_kv_string(w, "key \"\n", "");
        json_end_object(w);
}

START_TEST(commas_stand_between_items_and_nowhere_else) {
        CLEANUP(strbuf_done) struct strbuf out = STRBUF_INIT(10000);
        struct json_writer w = JSON_WRITER_INIT(&out);

        everything(&w);
        ck_assert_str_eq(strbuf_text(&out),
                         "{\"s\":\"a\\\"b\",\"min\":-9223372036854775808,"
                         "\"max\":9223372036854775807,\"yes\":true,\"no\":false,\"null\":null,"
                         "\"span\":[1,{}],\"empty\":{},\"list\":[1,\"xy\",true,null,{\"r\":1},[],"
                         "[2],{\"in\":3}],\"key \\\"\\n\":\"\"}");
        ck_assert_int_eq(json_check(out.ptr, out.len, NULL, 0, NULL), 0);
}
END_TEST

static const struct text {
        const char *text;
        size_t len;
        const char *json;
} texts[] = {
        { "", 0, "\"\"" },
        { "plain", 5, "\"plain\"" },
        { "caf\xc3\xa9 \xf0\x9f\x98\x80", 10, "\"caf\xc3\xa9 \xf0\x9f\x98\x80\"" },
        { "\"\\/", 3, "\"\\\"\\\\/\"" },
        { "\n\t\r\b\f", 5, "\"\\n\\t\\u000d\\u0008\\u000c\"" },
        { "\x01\x1f\x7f", 3, "\"\\u0001\\u001f\x7f\"" },
        { "a\0b", 3, "\"a\\u0000b\"" },
        { "\xff", 1, "\"\xef\xbf\xbd\"" },
        { "a\xffz", 3, "\"a\xef\xbf\xbdz\"" },
        { "\xe2\x82", 2, "\"\xef\xbf\xbd\xef\xbf\xbd\"" },
        { "\xe2\x82z", 3, "\"\xef\xbf\xbd\xef\xbf\xbdz\"" },
        { "\xc0\xaf", 2, "\"\xef\xbf\xbd\xef\xbf\xbd\"" },
        { "\xed\xa0\x80", 3, "\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\"" },
        { "\xf4\x90\x80\x80", 4, "\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\"" },
        { "\"\"\"", 3, "\"\\\"\\\"\\\"\"" },
        { "</script>", 9, "\"</script>\"" },
};

/* A heap copy of its own lets a sanitizer see each byte read too far. */
START_TEST(any_bytes_become_a_string) {
        const struct text *t = &texts[_i];
        CLEANUP(strbuf_done) struct strbuf out = STRBUF_INIT(10000);
        CLEANUP(free_p) char *copy = malloc(t->len ? t->len : 1);
        struct json_writer w = JSON_WRITER_INIT(&out);

        ck_assert_ptr_nonnull(copy);
        memcpy(copy, t->text, t->len);
        json_put_string_len(&w, copy, t->len);
        ck_assert_str_eq(strbuf_text(&out), t->json);
}
END_TEST

START_TEST(two_bytes_of_any_kind_are_valid_and_come_back_when_they_were) {
        for (int a = 1; a < 256; a++) {
                for (int b = 1; b < 256; b += b < 128 ? 31 : 1) {
                        const char text[] = { (char)a, (char)b, '\0' };
                        CLEANUP(strbuf_done) struct strbuf out = STRBUF_INIT(1000);
                        CLEANUP(cJSON_Delete_p) cJSON *tree = NULL;
                        struct json_writer w = JSON_WRITER_INIT(&out);

                        json_put_string(&w, text);
                        if (json_parse(out.ptr, out.len, &tree, NULL))
                                ck_abort_msg("0x%02x 0x%02x: %s", a, b, out.ptr);
                        if (a < 128 && b < 128 && strcmp(json_string(tree), text) != 0)
                                ck_abort_msg("0x%02x 0x%02x: %s", a, b, out.ptr);
                }
        }
}
END_TEST

START_TEST(it_nests_63_deep) {
        CLEANUP(strbuf_done) struct strbuf out = STRBUF_INIT(10000);
        struct json_writer w = JSON_WRITER_INIT(&out);

        for (int i = 0; i < 63; i++) {
                json_array(&w);
                json_put_int(&w, i);
        }
        for (int i = 0; i < 63; i++) {
                json_end_array(&w);
                if (i < 62)
                        json_put_null(&w);
        }
        ck_assert_int_eq(json_check(out.ptr, out.len, NULL, 0, NULL), 0);
        ck_assert_ptr_nonnull(strstr(out.ptr, "[60,[61,[62],null],null]"));
}
END_TEST

START_TEST(the_cap_is_the_buffers) {
        CLEANUP(strbuf_done) struct strbuf whole = STRBUF_INIT(10000);
        struct json_writer w = JSON_WRITER_INIT(&whole);

        everything(&w);
        for (size_t max = 0; max < whole.len; max++) {
                CLEANUP(strbuf_done) struct strbuf out = STRBUF_INIT(max);
                struct json_writer capped = JSON_WRITER_INIT(&out);

                everything(&capped);
                ck_assert_int_eq(strbuf_check(&out, NULL), -FAULT_NOMEM);
        }
}
END_TEST

START_TEST(no_allocation_goes_unchecked) {
        size_t n = 1;

        for (;; n++) {
                CLEANUP(strbuf_done) struct strbuf out = STRBUF_INIT(10000);
                struct json_writer w = JSON_WRITER_INIT(&out);

                alloc_fail_arm(n);
                everything(&w);
                if (!alloc_fail_disarm())
                        break;
                ck_assert_int_eq(strbuf_check(&out, NULL), -FAULT_NOMEM);
        }
        ck_assert_uint_gt(n, 2);
}
END_TEST

/* Programmer's errors end the program before they end in a broken request. */
START_TEST(closing_what_is_not_open_aborts) {
        CLEANUP(strbuf_done) struct strbuf out = STRBUF_INIT(10000);
        struct json_writer w = JSON_WRITER_INIT(&out);

        json_end_object(&w);
}
END_TEST

START_TEST(a_name_without_a_value_aborts) {
        CLEANUP(strbuf_done) struct strbuf out = STRBUF_INIT(10000);
        struct json_writer w = JSON_WRITER_INIT(&out);

        json_object(&w);
        json_key(&w, "a");
        json_key(&w, "b");
}
END_TEST

START_TEST(nesting_too_deep_aborts) {
        CLEANUP(strbuf_done) struct strbuf out = STRBUF_INIT(10000);
        struct json_writer w = JSON_WRITER_INIT(&out);

        for (int i = 0; i < 64; i++)
                json_array(&w);
}
END_TEST

int main(void) {
        Suite *suite = suite_create("json_write");
        TCase *tcase = tcase_create("json_write");
        SRunner *runner = srunner_create(suite);
        int failed;

        suite_add_tcase(suite, tcase);
        tcase_add_test(tcase, commas_stand_between_items_and_nowhere_else);
        tcase_add_loop_test(tcase, any_bytes_become_a_string, 0,
                            (int)(sizeof(texts) / sizeof(texts[0])));
        tcase_add_test(tcase, two_bytes_of_any_kind_are_valid_and_come_back_when_they_were);
        tcase_add_test(tcase, it_nests_63_deep);
        tcase_add_test(tcase, the_cap_is_the_buffers);
        tcase_add_test(tcase, no_allocation_goes_unchecked);
        if (srunner_fork_status(runner) == CK_FORK) {
                tcase_add_test_raise_signal(tcase, closing_what_is_not_open_aborts, SIGABRT);
                tcase_add_test_raise_signal(tcase, a_name_without_a_value_aborts, SIGABRT);
                tcase_add_test_raise_signal(tcase, nesting_too_deep_aborts, SIGABRT);
        }
        srunner_run_all(runner, CK_NORMAL);
        failed = srunner_ntests_failed(runner);
        srunner_free(runner);
        return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
