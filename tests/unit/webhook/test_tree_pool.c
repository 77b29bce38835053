/* SPDX-License-Identifier: Apache-2.0 */
#include <check.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/fault.h"
#include "common/base/strbuf.h"
#include "common/json/json_get.h"
#include "tests/unit/alloc_fail.h"
#include "webhook/tree_pool.h"

static const char small[] = "{\"a\":[1,2,{\"b\":\"c\"}],\"d\":null}";

static cJSON *parse(const char *text) {
        cJSON *tree = cJSON_Parse(text);

        ck_assert_ptr_nonnull(tree);
        return tree;
}

START_TEST(a_small_tree_takes_nothing_else) {
        CLEANUP(cJSON_Delete_p) cJSON *tree = NULL;

        alloc_fail_arm(1);
        tree_pool_start();
        tree = cJSON_Parse(small);
        ck_assert(!alloc_fail_disarm());
        ck_assert_ptr_nonnull(tree);
        ck_assert_str_eq(json_string(cJSON_GetArrayItem(json_member(tree, "a"), 2)->child), "c");
}
END_TEST

START_TEST(the_block_is_used_again_when_all_trees_are_gone) {
        cJSON *first = parse(small), *second = parse(small), *place = first, *third;

        cJSON_Delete(first);
        third = parse(small);
        ck_assert_msg(third != place, "the second tree is still there");
        ck_assert_str_eq(second->child->string, "a");
        cJSON_Delete(second);
        cJSON_Delete(third);
        first = parse(small);
        ck_assert_ptr_eq(first, place);
        cJSON_Delete(first);
}
END_TEST

/* Half of it is in the block. */
START_TEST(a_large_tree_is_whole) {
        CLEANUP(strbuf_done) struct strbuf text = STRBUF_INIT(1U << 20);
        size_t count = 2 * TREE_POOL_SIZE / sizeof(cJSON);
        CLEANUP(cJSON_Delete_p) cJSON *tree = NULL;
        const cJSON *item;
        int64_t value, next = 0;

        for (size_t i = 0; i < count; i++)
                strbuf_printf(&text, "%s%zu", i ? "," : "[", i);
        strbuf_char(&text, ']');
        tree = parse(text.ptr);
        cJSON_ArrayForEach (item, tree) {
                ck_assert(json_int(item, &value));
                ck_assert_int_eq(value, next++);
        }
        ck_assert_int_eq(next, (int64_t)count);
}
END_TEST

static void *make_and_delete(void *ctx) {
        for (int i = 0; i < 1000; i++) {
                CLEANUP(cJSON_Delete_p) cJSON *tree = parse(ctx);

                ck_assert_str_eq(tree->child->string, "a");
        }
        return NULL;
}

START_TEST(threads_have_blocks_of_their_own) {
        CLEANUP(cJSON_Delete_p) cJSON *mine = parse(small);
        pthread_t threads[4];

        for (int i = 0; i < 4; i++)
                ck_assert_int_eq(pthread_create(&threads[i], NULL, make_and_delete, (void *)small),
                                 0);
        for (int i = 0; i < 4; i++)
                ck_assert_int_eq(pthread_join(threads[i], NULL), 0);
        ck_assert_str_eq(mine->child->string, "a");
}
END_TEST

int main(void) {
        Suite *suite = suite_create("tree_pool");
        TCase *tcase = tcase_create("tree_pool");
        SRunner *runner = srunner_create(suite);
        int failed;

        tree_pool_start();
        suite_add_tcase(suite, tcase);
        tcase_add_test(tcase, a_small_tree_takes_nothing_else);
        tcase_add_test(tcase, the_block_is_used_again_when_all_trees_are_gone);
        tcase_add_test(tcase, a_large_tree_is_whole);
        tcase_add_test(tcase, threads_have_blocks_of_their_own);
        srunner_run_all(runner, CK_NORMAL);
        failed = srunner_ntests_failed(runner);
        srunner_free(runner);
        return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
