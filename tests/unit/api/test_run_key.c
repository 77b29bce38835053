/* SPDX-License-Identifier: Apache-2.0 */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "common/api/dbupgrade.h"
#include "common/api/run_key.h"
#include "common/base/fault.h"
#include "common/base/strbuf.h"
#include "common/json/json_get.h"
#include "tests/unit/alloc_fail.h"
#include "tests/unit/data.h"

/* Decodes an object of that spec, as the API server would send it. */
static struct dbupgrade *decode_spec(const char *spec) {
        CLEANUP(strbuf_done) struct strbuf b = STRBUF_INIT(1 << 20);
        struct dbupgrade *object = NULL;
        struct fault f = FAULT_INIT;

        strbuf_printf(&b,
                      "{\"metadata\":{\"name\":\"x\",\"namespace\":\"y\",\"uid\":\"u\","
                      "\"resourceVersion\":\"1\"},\"spec\":%s}",
                      spec);
        ck_assert_msg(dbupgrade_decode(b.ptr, b.len, &object, &f) == 0, "%s: %s", spec, f.text);
        return object;
}

START_TEST(known_keys_stay) {
        CLEANUP(cJSON_Delete_p) cJSON *table = data_load("run_keys.json");
        const cJSON *item;
        int count = 0;

        cJSON_ArrayForEach (item, json_member(table, "cases")) {
                CLEANUP(dbupgrade_free_p) struct dbupgrade *object = NULL;
                CLEANUP(free_p) char *spec = cJSON_PrintUnformatted(json_member(item, "spec"));
                const char *name = json_string_at(item, "name");
                char run[RUN_KEY_SIZE], attempt[RUN_KEY_SIZE], hash8[RUN_HASH8_SIZE];

                object = decode_spec(spec);
                ck_assert_int_eq(run_key(&object->spec, run, NULL), 0);
                ck_assert_msg(strcmp(run, json_string_at(item, "runKey")) == 0, "%s: run key %s",
                              name, run);
                ck_assert_int_eq(attempt_key(run, object->spec_tree,
                                             json_string(json_member(item, "retry")), attempt,
                                             NULL),
                                 0);
                ck_assert_msg(strcmp(attempt, json_string_at(item, "attemptKey")) == 0,
                              "%s: attempt key %s", name, attempt);
                run_hash8(json_string_at(table, "uid"), attempt, json_int_at(item, "number", 0),
                          hash8);
                ck_assert_msg(strcmp(hash8, json_string_at(item, "hash8")) == 0, "%s: hash8 %s",
                              name, hash8);
                count++;
        }
        ck_assert_int_ge(count, 8);
}
END_TEST

#define MIGRATIONS "\"migrations\":{\"image\":\"m:1\"}"
#define CONNECTION "\"connection\":{\"urlSecretRef\":{\"name\":\"db\"}}"
#define DATABASE   "\"database\":{\"type\":\"selfHosted\"," CONNECTION "}"

struct pair {
        const char *name;
        const char *a, *b; /* specs */
        bool same_run, same_attempt;
};

static const struct pair pairs[] = {
        { "the order of members does not count", "{" MIGRATIONS "," DATABASE "}",
          "{" DATABASE "," MIGRATIONS "}", true, true },
        { "unknown members do not count", "{" MIGRATIONS "," DATABASE "}",
          "{\"migrations\":{\"image\":\"m:1\",\"x\":1}," DATABASE ",\"y\":{}}", true, true },
        { "suspend does not count", "{" MIGRATIONS "," DATABASE "}",
          "{" MIGRATIONS "," DATABASE ",\"suspend\":true}", true, true },
        { "another image", "{" MIGRATIONS "," DATABASE "}",
          "{\"migrations\":{\"image\":\"m:2\"}," DATABASE "}", false, false },
        { "a value cannot pass for two members",
          "{\"migrations\":{\"image\":\"m:1\\nmigrations.dir 2:/b\",\"dir\":\"/a\"}," DATABASE "}",
          "{\"migrations\":{\"image\":\"m:1\",\"dir\":\"/b\"}," DATABASE "}", false, false },
        { "runner counts for the attempt only", "{" MIGRATIONS "," DATABASE "}",
          "{" MIGRATIONS "," DATABASE ",\"runner\":{\"serviceAccountName\":\"x\"}}", true, false },
        { "a runner of null is an empty one", "{" MIGRATIONS "," DATABASE ",\"runner\":null}",
          "{" MIGRATIONS "," DATABASE ",\"runner\":{}}", true, true },
        { "the order of a list counts",
          "{" MIGRATIONS "," DATABASE ",\"runner\":{\"command\":[\"a\",\"b\"]}}",
          "{" MIGRATIONS "," DATABASE ",\"runner\":{\"command\":[\"b\",\"a\"]}}", true, false },
};

START_TEST(keys_differ_when_they_should) {
        const struct pair *pair = &pairs[_i];
        CLEANUP(dbupgrade_free_p) struct dbupgrade *a = decode_spec(pair->a);
        CLEANUP(dbupgrade_free_p) struct dbupgrade *b = decode_spec(pair->b);
        char run_a[RUN_KEY_SIZE], run_b[RUN_KEY_SIZE];
        char attempt_a[RUN_KEY_SIZE], attempt_b[RUN_KEY_SIZE];

        ck_assert_int_eq(run_key(&a->spec, run_a, NULL), 0);
        ck_assert_int_eq(run_key(&b->spec, run_b, NULL), 0);
        ck_assert_msg((strcmp(run_a, run_b) == 0) == pair->same_run, "run key: %s", pair->name);
        ck_assert_int_eq(attempt_key(run_a, a->spec_tree, NULL, attempt_a, NULL), 0);
        ck_assert_int_eq(attempt_key(run_b, b->spec_tree, NULL, attempt_b, NULL), 0);
        ck_assert_msg((strcmp(attempt_a, attempt_b) == 0) == pair->same_attempt, "attempt key: %s",
                      pair->name);
}
END_TEST

START_TEST(the_retry_value_counts) {
        CLEANUP(dbupgrade_free_p)
        struct dbupgrade *object = decode_spec("{" MIGRATIONS "," DATABASE "}");
        char none[RUN_KEY_SIZE], empty[RUN_KEY_SIZE], one[RUN_KEY_SIZE];

        ck_assert_int_eq(attempt_key("k", object->spec_tree, NULL, none, NULL), 0);
        ck_assert_int_eq(attempt_key("k", object->spec_tree, "", empty, NULL), 0);
        ck_assert_int_eq(attempt_key("k", object->spec_tree, "1", one, NULL), 0);
        ck_assert_str_ne(none, empty);
        ck_assert_str_ne(empty, one);
        ck_assert_str_ne(none, one);
}
END_TEST

START_TEST(every_allocation_is_checked) {
        CLEANUP(dbupgrade_free_p)
        struct dbupgrade *object =
                decode_spec("{" MIGRATIONS "," DATABASE ",\"runner\":{\"env\":[]}}");
        char key[RUN_KEY_SIZE];

        for (size_t n = 1;; n++) {
                int r, s;

                alloc_fail_arm(n);
                r = run_key(&object->spec, key, NULL);
                s = attempt_key("k", object->spec_tree, "1", key, NULL);
                if (!alloc_fail_disarm())
                        break;
                ck_assert_msg(r == -FAULT_NOMEM || s == -FAULT_NOMEM, "allocation %zu", n);
        }
}
END_TEST

int main(void) {
        Suite *suite = suite_create("run_key");
        TCase *tcase = tcase_create("run_key");
        SRunner *runner = srunner_create(suite);
        int failed;

        suite_add_tcase(suite, tcase);
        tcase_add_test(tcase, known_keys_stay);
        tcase_add_loop_test(tcase, keys_differ_when_they_should, 0,
                            (int)(sizeof(pairs) / sizeof(pairs[0])));
        tcase_add_test(tcase, the_retry_value_counts);
        tcase_add_test(tcase, every_allocation_is_checked);
        srunner_run_all(runner, CK_NORMAL);
        failed = srunner_ntests_failed(runner);
        srunner_free(runner);
        return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
