/* SPDX-License-Identifier: Apache-2.0 */
/* What the admission table and the CRD's bounds do not reach: hostile specs, and exact limits. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "common/api/rules.h"
#include "common/base/arena.h"
#include "common/base/fault.h"
#include "common/base/strbuf.h"
#include "common/json/json_get.h"
#include "tests/unit/alloc_fail.h"

#define TEXT_MAX ((size_t)32 << 20)

/* A valid spec but for what is added, which begins with a comma. */
#define SPEC_HEAD                                                                                   \
        "{\"migrations\":{\"image\":\"m:1\"},\"database\":{\"type\":\"selfHosted\",\"connection\":" \
        "{\"urlSecretRef\":{\"name\":\"db\"}}}"

static cJSON *parse(const char *text) {
        struct fault f = FAULT_INIT;
        cJSON *tree = NULL;

        ck_assert_msg(json_parse(text, strlen(text), &tree, &f) == 0, "%s: %.200s", f.text, text);
        return tree;
}

static cJSON *parse_with(const char *addition) {
        CLEANUP(strbuf_done) struct strbuf b = STRBUF_INIT(TEXT_MAX);

        strbuf_str(&b, SPEC_HEAD);
        strbuf_str(&b, addition);
        strbuf_char(&b, '}');
        return parse(b.ptr);
}

static struct rules_verdict judge(const cJSON *spec, const cJSON *old_spec, struct arena *arena) {
        struct rules_verdict verdict;

        ck_assert_int_eq(dbupgrade_rules_judge(spec, old_spec, arena, &verdict, NULL), 0);
        return verdict;
}

/* What a member that goes into the Job is, without what fills it. */
static const struct {
        const char *member, *before, *after;
} passed_on[] = {
        { "command", "[\"x\",\"", "\"]" },
        { "env", "[{\"name\":\"x\",\"value\":\"", "\"}]" },
        { "envFrom", "[{\"x\":\"", "\"}]" },
        { "volumes", "[{\"x\":\"", "\"}]" },
        { "volumeMounts", "[{\"x\":\"", "\"}]" },
        { "imagePullSecrets", "[{\"x\":\"", "\"}]" },
        { "resources", "{\"x\":\"", "\"}" },
        { "nodeSelector", "{\"x\":\"", "\"}" },
        { "tolerations", "[{\"x\":\"", "\"}]" },
        { "affinity", "{\"x\":\"", "\"}" },
        { "podLabels", "{\"x\":\"", "\"}" },
        { "podAnnotations", "{\"x\":\"", "\"}" },
        { "podSecurityContext", "{\"x\":\"", "\"}" },
        { "securityContext", "{\"x\":[null,true,false,1,\"\\\"\\u0001\",[],{}],\"y\":\"", "\"}" },
};

/* Whether the member is too large as a whole when its compact JSON has that many bytes. */
static bool is_too_large(int row, size_t size) {
        CLEANUP(arena_done) struct arena arena = ARENA_INIT(RULES_ARENA_MAX);
        CLEANUP(strbuf_done) struct strbuf b = STRBUF_INIT(TEXT_MAX);
        CLEANUP(cJSON_Delete_p) cJSON *spec = NULL;
        size_t frame = strlen(passed_on[row].before) + strlen(passed_on[row].after);
        struct rules_verdict verdict;
        bool found = false;

        strbuf_printf(&b, ",\"runner\":{\"%s\":%s", passed_on[row].member, passed_on[row].before);
        for (size_t i = frame; i < size; i++)
                strbuf_char(&b, 'a');
        strbuf_printf(&b, "%s}", passed_on[row].after);
        spec = parse_with(b.ptr);
        verdict = judge(spec, NULL, &arena);
        for (size_t i = 0; i < verdict.count; i++)
                found |= strstr(verdict.causes[i].message, "may not be more than 16384 bytes") &&
                         strcmp(strrchr(verdict.causes[i].field, '.') + 1, passed_on[row].member) ==
                                 0;
        return found;
}

START_TEST(each_member_that_is_passed_on_has_16_kib) {
        ck_assert_msg(!is_too_large(_i, 16384), "%s of 16384 bytes", passed_on[_i].member);
        ck_assert_msg(is_too_large(_i, 16385), "%s of 16385 bytes", passed_on[_i].member);
}
END_TEST

START_TEST(white_space_does_not_count_for_a_size) {
        CLEANUP(arena_done) struct arena arena = ARENA_INIT(RULES_ARENA_MAX);
        CLEANUP(strbuf_done) struct strbuf b = STRBUF_INIT(TEXT_MAX);
        CLEANUP(cJSON_Delete_p) cJSON *spec = NULL;

        strbuf_str(&b, ",\"runner\":{\"affinity\":{");
        for (int i = 0; i < 20000; i++)
                strbuf_char(&b, ' ');
        strbuf_str(&b, "}}");
        spec = parse_with(b.ptr);
        ck_assert_uint_eq(judge(spec, NULL, &arena).count, 0);
}
END_TEST

/* A spec with `count` mistakes in labels of 32 selectors. */
static cJSON *mistaken(int count) {
        CLEANUP(strbuf_done) struct strbuf b = STRBUF_INIT(TEXT_MAX);

        strbuf_str(&b, ",\"checks\":{\"pre\":{\"minPodVersions\":[");
        for (int item = 0; item < 16; item++) {
                strbuf_printf(&b, "%s{\"minVersion\":\"1.0.0\",\"selector\":{\"matchLabels\":{",
                              item ? "," : "");
                for (int label = 0; label < 32; label++)
                        strbuf_printf(&b, "%s\"k%d\":%s", label ? "," : "", label,
                                      count-- > 0 ? "1" : "\"1\"");
                strbuf_str(&b, "}}}");
        }
        strbuf_str(&b, "]}}");
        return parse_with(b.ptr);
}

START_TEST(the_list_of_causes_is_bounded) {
        CLEANUP(arena_done) struct arena arena = ARENA_INIT(RULES_ARENA_MAX);
        CLEANUP(cJSON_Delete_p) cJSON *full = mistaken(RULES_CAUSES_MAX);
        CLEANUP(cJSON_Delete_p) cJSON *over = mistaken(RULES_CAUSES_MAX + 1);
        struct rules_verdict verdict = judge(full, NULL, &arena);

        ck_assert_uint_eq(verdict.count, RULES_CAUSES_MAX);
        ck_assert_str_eq(verdict.causes[RULES_CAUSES_MAX - 1].reason, "FieldValueTypeInvalid");
        verdict = judge(over, NULL, &arena);
        ck_assert_uint_eq(verdict.count, RULES_CAUSES_MAX);
        ck_assert_str_eq(verdict.causes[RULES_CAUSES_MAX - 1].reason, "FieldValueTooMany");
        ck_assert_str_eq(verdict.causes[RULES_CAUSES_MAX - 1].field, "spec");
        ck_assert_uint_eq(judge(over, over, &arena).count, 0);
}
END_TEST

/* Specs with a value that messages quote, in place of "@". */
static const char *const quoting[] = {
        ",\"runner\":{\"imagePullPolicy\":\"@\"}",
        ",\"runner\":{\"podLabels\":{\"batch.kubernetes.io/@\":\"x\"}}",
        ",\"runner\":{\"nodeSelector\":{\"@\":1}}",
        ",\"checks\":{\"pre\":{\"metrics\":[{\"name\":\"@\",\"threshold\":{}}]}}",
};

START_TEST(a_quoted_value_is_cut) {
        CLEANUP(arena_done) struct arena arena = ARENA_INIT(RULES_ARENA_MAX);
        CLEANUP(strbuf_done) struct strbuf b = STRBUF_INIT(TEXT_MAX);
        CLEANUP(cJSON_Delete_p) cJSON *spec = NULL;
        const char *at = strchr(quoting[_i], '@');
        struct rules_verdict verdict;

        strbuf_add(&b, quoting[_i], (size_t)(at - quoting[_i]));
        for (int i = 0; i < 5000; i++)
                strbuf_str(&b, "\\u0001\xf0\x9f\x98\x80");
        strbuf_str(&b, at + 1);
        spec = parse_with(b.ptr);
        verdict = judge(spec, NULL, &arena);
        ck_assert_uint_gt(verdict.count, 0);
        for (size_t i = 0; i < verdict.count; i++) {
                ck_assert_uint_lt(strlen(verdict.causes[i].message), 12 * RULES_VALUE_MAX);
                ck_assert_uint_lt(strlen(verdict.causes[i].field), 2 * RULES_VALUE_MAX);
        }
}
END_TEST

struct row {
        const char *name, *addition;
        const char *reason, *field, *message; /* the only cause; NULL: valid */
};

static const struct row rows[] = {
        { "a null item of a list is missing", ",\"runner\":{\"env\":[null]}", "FieldValueRequired",
          "spec.runner.env[0]", "Required value: runner.env[0] is required" },
        { "a null value of a map is absent", ",\"runner\":{\"podLabels\":{\"a\":null}}", NULL, NULL,
          NULL },
        { "two claims of one name",
          ",\"runner\":{\"resources\":{\"claims\":[{\"name\":\"a\"},{\"name\":\"a\"}]}}",
          "FieldValueDuplicate", "spec.runner.resources.claims[1]",
          "Duplicate value: \"a\": runner.resources.claims[1] is defined more than once" },
        { "a whole number beyond what doubles hold is none",
          ",\"runner\":{\"activeDeadlineSeconds\":9007199254740992}", "FieldValueTypeInvalid",
          "spec.runner.activeDeadlineSeconds",
          "Invalid value: runner.activeDeadlineSeconds must be a whole number" },
        { "a whole number with a point is one", ",\"runner\":{\"activeDeadlineSeconds\":6.0e2}",
          NULL, NULL, NULL },
        { "member names are case-sensitive", ",\"Suspend\":1", NULL, NULL, NULL },
        { "an empty optional enum is unsupported", ",\"runner\":{\"imagePullPolicy\":\"\"}",
          "FieldValueNotSupported", "spec.runner.imagePullPolicy",
          "Unsupported value: \"\": supported values: \"Always\", \"IfNotPresent\", \"Never\"" },
        { "an empty limit is no quantity",
          ",\"runner\":{\"resources\":{\"limits\":{\"cpu\":\"\"}}}", "FieldValueInvalid",
          "spec.runner.resources.limits[cpu]",
          "Invalid value: \"\": runner.resources.limits[cpu] must be a quantity" },
        { "a size that is too large hides other rules of the member",
          ",\"runner\":{\"podLabels\":{\"job-name\":\"a\",\"b\":\"@\"}}", "FieldValueTooLong",
          "spec.runner.podLabels", "Too long: runner.podLabels may not be more than 16384 bytes" },
};

START_TEST(rules_beyond_the_table) {
        CLEANUP(arena_done) struct arena arena = ARENA_INIT(RULES_ARENA_MAX);
        CLEANUP(strbuf_done) struct strbuf b = STRBUF_INIT(TEXT_MAX);
        CLEANUP(cJSON_Delete_p) cJSON *spec = NULL;
        const struct row *row = &rows[_i];
        struct rules_verdict verdict;

        for (const char *c = row->addition; *c; c++)
                for (int i = 0; i < (*c == '@' ? 16400 : 1); i++)
                        strbuf_char(&b, *c);
        spec = parse_with(b.ptr);
        verdict = judge(spec, NULL, &arena);
        ck_assert_msg(verdict.count == (row->reason ? 1 : 0), "%s: %zu causes, first %s", row->name,
                      verdict.count, verdict.count ? verdict.causes[0].message : "");
        if (!row->reason)
                return;
        ck_assert_msg(strcmp(verdict.causes[0].reason, row->reason) == 0, "%s: %s", row->name,
                      verdict.causes[0].reason);
        ck_assert_msg(strcmp(verdict.causes[0].field, row->field) == 0, "%s: %s", row->name,
                      verdict.causes[0].field);
        ck_assert_msg(strcmp(verdict.causes[0].message, row->message) == 0, "%s: %s", row->name,
                      verdict.causes[0].message);
}
END_TEST

/* Huge, and each of another kind: none may take long (the test's time limit sees it). */
START_TEST(hostile_specs_are_judged_in_linear_time) {
        static const struct {
                const char *before, *item, *after;
        } shapes[] = {
                { ",\"runner\":{", "\"m%d\":0", "}" },
                { ",\"runner\":{\"podLabels\":{", "\"m%d\":\"x\"", "}}" },
                { ",\"runner\":{\"affinity\":{\"x\":[", "%d", "]}}" },
                { ",\"checks\":{\"pre\":{\"metrics\":[", "{\"name\":\"%d\"}", "]}}" },
                { ",\"checks\":{\"pre\":{\"metrics\":[{\"target\":{", "\"%d\":0", "}}]}}" },
                { "", ",\"database%d\":{}", "" },
        };
        CLEANUP(strbuf_done) struct strbuf b = STRBUF_INIT(TEXT_MAX);
        CLEANUP(arena_done) struct arena arena = ARENA_INIT(RULES_ARENA_MAX);
        CLEANUP(cJSON_Delete_p) cJSON *spec = NULL;

        strbuf_str(&b, shapes[_i].before);
        for (int i = 0; i < 200000; i++) {
                char item[64];
                const char *at = strstr(shapes[_i].item, "%d");

                (void)snprintf(item, sizeof(item), "%.*s%d%s", (int)(at - shapes[_i].item),
                               shapes[_i].item, i, at + 2);
                strbuf_str(&b, i && *shapes[_i].before ? "," : "");
                strbuf_str(&b, item);
        }
        strbuf_str(&b, shapes[_i].after);
        spec = parse_with(b.ptr);
        (void)judge(spec, spec, &arena);
}
END_TEST

START_TEST(warnings_are_bounded) {
        struct rules_warnings warnings = { .count = 0 };
        char text[RULES_WARNING_MAX + 2];

        memset(text, 'a', sizeof(text));
        text[RULES_WARNING_MAX + 1] = '\0';
        dbupgrade_rules_warning(&warnings, text);
        ck_assert_uint_eq(warnings.count, 0);
        text[RULES_WARNING_MAX] = '\0';
        for (int i = 0; i < 20; i++)
                dbupgrade_rules_warning(&warnings, text);
        ck_assert_uint_eq(warnings.count, RULES_WARNINGS_SIZE_MAX / RULES_WARNING_MAX);
        ck_assert_uint_eq(warnings.size, RULES_WARNINGS_SIZE_MAX);
        warnings = (struct rules_warnings){ .count = 0 };
        for (int i = 0; i < RULES_WARNINGS_MAX + 5; i++)
                dbupgrade_rules_warning(&warnings, "x");
        ck_assert_uint_eq(warnings.count, RULES_WARNINGS_MAX);
}
END_TEST

/* Valid specs never get here with wrong types, tolerated old ones do. */
START_TEST(warnings_of_a_strange_spec_are_none) {
        static const char *const specs[] = {
                "{}",
                "{\"migrations\":1,\"database\":[],\"checks\":{\"pre\":[],\"post\":1}}",
                "{\"migrations\":{\"image\":{}}}",
                "{\"database\":{\"connection\":{\"urlSecretRef\":{\"optional\":\"true\"}}}}",
                "{\"checks\":{\"pre\":{\"metrics\":{\"a\":1}}}}",
                "{\"migrations\":{\"image\":\"not an image\"}}",
        };

        for (size_t i = 0; i < sizeof(specs) / sizeof(specs[0]); i++) {
                CLEANUP(arena_done) struct arena arena = ARENA_INIT(RULES_ARENA_MAX);
                CLEANUP(cJSON_Delete_p) cJSON *spec = parse(specs[i]);
                struct rules_warnings warnings = { .count = 0 };

                dbupgrade_rules_warn(spec, &arena, &warnings);
                ck_assert_msg(warnings.count == 0, "%s: %s", specs[i], warnings.text[0]);
        }
}
END_TEST

START_TEST(every_allocation_is_checked) {
        CLEANUP(cJSON_Delete_p) cJSON *spec = mistaken(20);
        CLEANUP(cJSON_Delete_p) cJSON *old_spec = parse("{\"database\":{\"type\":\"awsRds\"}}");

        for (size_t n = 1;; n++) {
                CLEANUP(arena_done) struct arena arena = ARENA_INIT(RULES_ARENA_MAX);
                struct rules_verdict verdict;
                int r;

                alloc_fail_arm(n);
                r = dbupgrade_rules_judge(spec, old_spec, &arena, &verdict, NULL);
                if (!alloc_fail_disarm())
                        break;
                ck_assert_int_eq(r, -FAULT_NOMEM);
        }
}
END_TEST

int main(void) {
        Suite *suite = suite_create("dbupgrade_rules");
        TCase *tcase = tcase_create("dbupgrade_rules");
        SRunner *runner = srunner_create(suite);
        int failed;

        suite_add_tcase(suite, tcase);
        tcase_add_loop_test(tcase, each_member_that_is_passed_on_has_16_kib, 0,
                            (int)(sizeof(passed_on) / sizeof(passed_on[0])));
        tcase_add_test(tcase, white_space_does_not_count_for_a_size);
        tcase_add_test(tcase, the_list_of_causes_is_bounded);
        tcase_add_loop_test(tcase, a_quoted_value_is_cut, 0,
                            (int)(sizeof(quoting) / sizeof(quoting[0])));
        tcase_add_loop_test(tcase, rules_beyond_the_table, 0,
                            (int)(sizeof(rows) / sizeof(rows[0])));
        tcase_add_loop_test(tcase, hostile_specs_are_judged_in_linear_time, 0, 6);
        tcase_add_test(tcase, warnings_are_bounded);
        tcase_add_test(tcase, warnings_of_a_strange_spec_are_none);
        tcase_add_test(tcase, every_allocation_is_checked);
        srunner_run_all(runner, CK_NORMAL);
        failed = srunner_ntests_failed(runner);
        srunner_free(runner);
        return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
