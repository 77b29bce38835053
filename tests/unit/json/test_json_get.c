/* SPDX-License-Identifier: Apache-2.0 */
#include "common/json/json_get.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/fault.h"
#include "tests/unit/alloc_fail.h"

static const char document[] =
        "{\"s\":\"text\",\"empty\":\"\",\"n\":null,\"t\":true,\"f\":false,\"i\":7,\"d\":1.5,"
        "\"o\":{\"p\":{\"q\":\"deep\"},\"\":\"no name\",\"a.b\":\"dotted\"},\"l\":[1,\"x\"],"
        "\"S\":\"upper\"}";

static cJSON *tree;

static cJSON *parse(const char *text) {
        struct fault f = FAULT_INIT;
        cJSON *parsed = NULL;

        ck_assert_msg(json_parse(text, strlen(text), &parsed, &f) == 0, "%s: %s", text, f.text);
        return parsed;
}

static void setup(void) {
        tree = parse(document);
}

static void teardown(void) {
        cJSON_Delete(tree);
}

static const struct path {
        const char *path, *string; /* string: of json_string_at */
        bool found, absent;        /* absent: as Kubernetes sees it */
} paths[] = {
        { "s", "text", true, false },   { "S", "upper", true, false },
        { "empty", "", true, false },   { "n", "", true, true },
        { "i", "", true, false },       { "o", "", true, false },
        { "o.p", "", true, false },     { "o.p.q", "deep", true, false },
        { "l", "", true, false },       { "", "", true, false }, /* the node itself */
        { "x", "", false, true },       { "o.x", "", false, true },
        { "o.p.q.r", "", false, true }, /* through a string */
        { "n.x", "", false, true },     /* through a null */
        { "l.0", "", false, true },     /* through a list */
        { "i.x", "", false, true },     { "O.p", "", false, true },
        { "o.P", "", false, true },     { "o.pp", "", false, true },
        { "o.a.b", "", false, true }, /* names with dots: json_member */
        { "sx", "", false, true },      { "o..p", "", false, true },
};

START_TEST(paths_are_followed_by_name_and_case) {
        const struct path *p = &paths[_i];
        const cJSON *node = json_at(tree, p->path);

        ck_assert_msg((node != NULL) == p->found, "%s", p->path);
        ck_assert_msg(json_is_absent(node) == p->absent, "%s", p->path);
        ck_assert_msg(strcmp(json_string_at(tree, p->path), p->string) == 0, "%s", p->path);
}
END_TEST

START_TEST(members_are_those_of_objects) {
        ck_assert_str_eq(json_string(json_member(json_at(tree, "o"), "a.b")), "dotted");
        ck_assert_str_eq(json_string(json_member(json_at(tree, "o"), "")), "no name");
        ck_assert_ptr_null(json_member(tree, "T"));
        ck_assert_ptr_nonnull(json_member(tree, "n"));
        ck_assert_ptr_null(json_member(json_at(tree, "l"), ""));
        ck_assert_ptr_null(json_member(json_at(tree, "s"), "s"));
        ck_assert_ptr_null(json_member(NULL, "s"));
}
END_TEST

START_TEST(nothing_is_absent_everywhere) {
        int64_t value = -7;

        ck_assert_ptr_null(json_at(NULL, "a.b"));
        ck_assert_ptr_null(json_at(NULL, ""));
        ck_assert(json_is_absent(NULL));
        ck_assert_ptr_null(json_string(NULL));
        ck_assert_str_eq(json_string_at(NULL, "a"), "");
        ck_assert(!json_int(NULL, &value));
        ck_assert_int_eq(value, -7);
        ck_assert_int_eq(json_int_at(NULL, "a", 5), 5);
        ck_assert(!json_true_at(NULL, "a"));
}
END_TEST

START_TEST(a_getter_takes_its_own_type_only) {
        static const char *const others[] = { "n", "t", "f", "i", "d", "o", "l" };

        for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
                ck_assert_ptr_null(json_string(json_at(tree, others[i])));
        ck_assert(json_true_at(tree, "t"));
        ck_assert(!json_true_at(tree, "f"));
        ck_assert(!json_true_at(tree, "i"));
        ck_assert(!json_true_at(tree, "s"));
        ck_assert(!json_true_at(tree, "n"));
}
END_TEST

static const struct number {
        const char *text;
        bool is_int;
        int64_t value;
} numbers[] = {
        { "0", true, 0 },
        { "-0", true, 0 },
        { "7", true, 7 },
        { "-7", true, -7 },
        { "7.0", true, 7 },
        { "7e2", true, 700 },
        { "1.5e1", true, 15 },
        { "2147483648", true, INT64_C(2147483648) },
        { "9007199254740991", true, INT64_C(9007199254740991) },
        { "-9007199254740991", true, INT64_C(-9007199254740991) },
        { "9007199254740992", false, 0 }, /* 2^53 is also what 2^53 + 1 is read as */
        { "-9007199254740992", false, 0 },
        { "9223372036854775807", false, 0 },
        { "9223372036854775808", false, 0 },
        { "-9223372036854775809", false, 0 },
        { "1e300", false, 0 },
        { "-1e300", false, 0 },
        { "0.5", false, 0 },
        { "1e-300", false, 0 },
        { "4503599627370495.5", false, 0 },
        { "\"7\"", false, 0 },
        { "true", false, 0 },
        { "null", false, 0 },
        { "[7]", false, 0 },
        { "{}", false, 0 },
};

START_TEST(integers_are_exact_or_none) {
        const struct number *n = &numbers[_i];
        CLEANUP(cJSON_Delete_p) cJSON *node = parse(n->text);
        int64_t value = -77;

        ck_assert_msg(json_int(node, &value) == n->is_int, "%s", n->text);
        ck_assert_msg(value == (n->is_int ? n->value : -77), "%s", n->text);
        ck_assert_int_eq(json_int_at(node, "", -5), n->is_int ? n->value : -5);
}
END_TEST

static const char *const invalid[] = {
        "", "{", "{\"a\":1,\"a\":2}", "\"a\\u0000b\"", "\"\xff\"", "{} x", "nul", "[1e999]",
};

START_TEST(what_is_no_strict_json_is_no_tree) {
        cJSON *parsed = tree;
        struct fault f = FAULT_INIT;

        ck_assert_int_eq(json_parse(invalid[_i], strlen(invalid[_i]), &parsed, &f), -FAULT_INVALID);
        ck_assert_ptr_eq(parsed, tree); /* untouched */
        ck_assert_ptr_nonnull(strstr(f.text, "byte "));
}
END_TEST

/* What json_check takes, cJSON must take too: a difference would be told as want of memory. */
START_TEST(the_deepest_document_becomes_a_tree) {
        char text[2 * JSON_MAX_DEPTH + 1];
        CLEANUP(cJSON_Delete_p) cJSON *deep = NULL;

        memset(text, '[', JSON_MAX_DEPTH);
        memset(text + JSON_MAX_DEPTH, ']', JSON_MAX_DEPTH);
        text[sizeof(text) - 1] = '\0';
        deep = parse(text);
        ck_assert(cJSON_IsArray(deep));
}
END_TEST

START_TEST(a_span_becomes_a_tree_of_its_own) {
        struct json_want want = { .path = { "o", "p" } };
        CLEANUP(cJSON_Delete_p) cJSON *part = NULL;

        ck_assert_int_eq(json_check(document, strlen(document), &want, 1, NULL), 0);
        ck_assert_int_eq(json_parse_span(&want.span, &part, NULL), 0);
        ck_assert_str_eq(json_string_at(part, "q"), "deep");
}
END_TEST

START_TEST(no_allocation_goes_unchecked) {
        size_t n = 1;

        for (;; n++) {
                CLEANUP(cJSON_Delete_p) cJSON *parsed = NULL;
                int r;

                alloc_fail_arm(n);
                r = json_parse(document, strlen(document), &parsed, NULL);
                if (!alloc_fail_disarm()) {
                        ck_assert_int_eq(r, 0);
                        break;
                }
                ck_assert_int_eq(r, -FAULT_NOMEM);
                ck_assert_ptr_null(parsed);
        }
        ck_assert_uint_gt(n, 20);
}
END_TEST

#define COUNT(rows) ((int)(sizeof(rows) / sizeof((rows)[0])))

int main(void) {
        Suite *suite = suite_create("json_get");
        TCase *tcase = tcase_create("json_get");
        SRunner *runner = srunner_create(suite);
        int failed;

        suite_add_tcase(suite, tcase);
        tcase_add_checked_fixture(tcase, setup, teardown);
        tcase_add_loop_test(tcase, paths_are_followed_by_name_and_case, 0, COUNT(paths));
        tcase_add_test(tcase, members_are_those_of_objects);
        tcase_add_test(tcase, nothing_is_absent_everywhere);
        tcase_add_test(tcase, a_getter_takes_its_own_type_only);
        tcase_add_loop_test(tcase, integers_are_exact_or_none, 0, COUNT(numbers));
        tcase_add_loop_test(tcase, what_is_no_strict_json_is_no_tree, 0, COUNT(invalid));
        tcase_add_test(tcase, the_deepest_document_becomes_a_tree);
        tcase_add_test(tcase, a_span_becomes_a_tree_of_its_own);
        tcase_add_test(tcase, no_allocation_goes_unchecked);
        srunner_run_all(runner, CK_NORMAL);
        failed = srunner_ntests_failed(runner);
        srunner_free(runner);
        return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
