/* SPDX-License-Identifier: Apache-2.0 */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "common/api/canonical.h"
#include "common/base/fault.h"
#include "common/base/strbuf.h"
#include "common/json/json_get.h"
#include "tests/unit/alloc_fail.h"

static const struct {
        const char *name, *text, *canonical;
        const char *runner; /* as the value of spec.runner; NULL: the same */
} rows[] = {
        { "members are sorted at every level",
          "{\"b\":1,\"a\":{\"d\":[{\"z\":1,\"y\":2}],\"c\":0}}",
          "{\"a\":{\"c\":0,\"d\":[{\"y\":2,\"z\":1}]},\"b\":1}",
          "{\"a\":{\"c\":0,\"d\":[{\"y\":2,\"z\":1}]},\"activeDeadlineSeconds\":600,\"b\":1}" },
        { "by bytes: upper case first", "{\"a\":1,\"B\":1,\"_\":1,\"\xc3\xa4\":1}",
          "{\"B\":1,\"_\":1,\"a\":1,\"\xc3\xa4\":1}",
          "{\"B\":1,\"_\":1,\"a\":1,\"activeDeadlineSeconds\":600,\"\xc3\xa4\":1}" },
        { "null members are absent, null items are not", "{\"a\":null,\"b\":[null]}",
          "{\"b\":[null]}", "{\"activeDeadlineSeconds\":600,\"b\":[null]}" },
        { "white space goes", " { \"activeDeadlineSeconds\" : 5 , \"a\" : [ ] } ",
          "{\"a\":[],\"activeDeadlineSeconds\":5}", NULL },
        { "a null deadline is the default", "{\"activeDeadlineSeconds\":null}", "{}",
          "{\"activeDeadlineSeconds\":600}" },
        { "null equals an empty object", "null", "{}", "{\"activeDeadlineSeconds\":600}" },
        { "what is no runner counts as none", "[1]", "[1]", "{\"activeDeadlineSeconds\":600}" },
        { "numbers without fraction are integers", "[1.0,1e3,-0,9007199254740991]",
          "[1,1000,0,9007199254740991]", "{\"activeDeadlineSeconds\":600}" },
        { "other numbers keep 17 digits", "[0.5,1e300]", "[0.5,1.0000000000000001e+300]",
          "{\"activeDeadlineSeconds\":600}" },
        { "escapes have one form", "[\"\\u0061\\/\\n\\u001f\\\"\"]", "[\"a/\\n\\u001f\\\"\"]",
          "{\"activeDeadlineSeconds\":600}" },
        { "booleans", "[true,false]", "[true,false]", "{\"activeDeadlineSeconds\":600}" },
};

START_TEST(there_is_one_form) {
        CLEANUP(cJSON_Delete_p) cJSON *tree = NULL;
        CLEANUP(strbuf_done) struct strbuf b = STRBUF_INIT(4096);

        ck_assert_int_eq(json_parse(rows[_i].text, strlen(rows[_i].text), &tree, NULL), 0);
        ck_assert_int_eq(canonical_json(tree, &b, NULL), 0);
        ck_assert_msg(strcmp(b.ptr, rows[_i].canonical) == 0, "%s: %s", rows[_i].name, b.ptr);
        strbuf_reset(&b);
        ck_assert_int_eq(canonical_runner(tree, &b, NULL), 0);
        ck_assert_msg(strcmp(b.ptr, rows[_i].runner ? rows[_i].runner : rows[_i].canonical) == 0,
                      "%s: runner %s", rows[_i].name, b.ptr);
}
END_TEST

START_TEST(the_deepest_document_is_written) {
        CLEANUP(strbuf_done) struct strbuf text = STRBUF_INIT(4096), b = STRBUF_INIT(4096);
        CLEANUP(cJSON_Delete_p) cJSON *tree = NULL;

        for (int i = 0; i < JSON_MAX_DEPTH; i++)
                strbuf_str(&text, i == 0 ? "{\"spec\":" : "[");
        for (int i = 0; i < JSON_MAX_DEPTH; i++)
                strbuf_str(&text, i == JSON_MAX_DEPTH - 1 ? "}" : "]");
        ck_assert_int_eq(json_parse(text.ptr, text.len, &tree, NULL), 0);
        ck_assert_int_eq(canonical_json(json_member(tree, "spec"), &b, NULL), 0);
        ck_assert_uint_eq(b.len, 2 * (JSON_MAX_DEPTH - 1));
}
END_TEST

START_TEST(every_allocation_is_checked) {
        static const char text[] = "{\"b\":{\"c\":[1]},\"a\":\"x\"}";
        CLEANUP(cJSON_Delete_p) cJSON *tree = NULL;

        ck_assert_int_eq(json_parse(text, strlen(text), &tree, NULL), 0);
        for (size_t n = 1;; n++) {
                CLEANUP(strbuf_done) struct strbuf b = STRBUF_INIT(4096);
                int r;

                alloc_fail_arm(n);
                r = canonical_runner(tree, &b, NULL);
                if (!alloc_fail_disarm())
                        break;
                ck_assert_int_eq(r, -FAULT_NOMEM);
        }
}
END_TEST

int main(void) {
        Suite *suite = suite_create("canonical");
        TCase *tcase = tcase_create("canonical");
        SRunner *runner = srunner_create(suite);
        int failed;

        suite_add_tcase(suite, tcase);
        tcase_add_loop_test(tcase, there_is_one_form, 0, (int)(sizeof(rows) / sizeof(rows[0])));
        tcase_add_test(tcase, the_deepest_document_is_written);
        tcase_add_test(tcase, every_allocation_is_checked);
        srunner_run_all(runner, CK_NORMAL);
        failed = srunner_ntests_failed(runner);
        srunner_free(runner);
        return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
