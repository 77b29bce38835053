/* SPDX-License-Identifier: Apache-2.0 */
/* What is printed of the scenes in tests/data/kubectl-dbu/scenes.json, word for word.
 *
 * UPDATE_GOLDEN=1 test_plugin_scenes writes the texts anew: look at the difference then. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/api/dbupgrade.h"
#include "common/base/fault.h"
#include "common/base/strbuf.h"
#include "common/json/json_get.h"
#include "kubectl-dbu/list.h"
#include "kubectl-dbu/status.h"
#include "kubectl-dbu/text.h"
#include "kubectl-dbu/timeline.h"
#include "tests/unit/alloc_fail.h"
#include "tests/unit/data.h"

#define TEXT_MAX ((size_t)4 << 20)
/* 2026-11-24T12:10:00Z, ten minutes after what happens in the scenes. */
#define NOW_S 1795522200

static cJSON *scenes;

static const struct look terminal = { .terminal = true, .width = 80, .now_s = NOW_S };
static const struct look wide = { .terminal = true, .colour = true, .width = 120, .now_s = NOW_S };
static const struct look pipe_look = { .width = 80, .now_s = NOW_S };

/* tests/data/kubectl-dbu/NAME holds text. */
static void check_golden(const char *name, const char *text) {
        CLEANUP(strbuf_done) struct strbuf path = STRBUF_INIT(4096);
        CLEANUP(strbuf_done) struct strbuf want = STRBUF_INIT(DATA_MAX);

        strbuf_printf(&path, "kubectl-dbu/%s", name);
        if (getenv("UPDATE_GOLDEN")) {
                CLEANUP(strbuf_done) struct strbuf file_name = STRBUF_INIT(4096);
                CLEANUP(fclose_p) FILE *file = NULL;

                strbuf_printf(&file_name, "%s/%s", TEST_DATA, strbuf_text(&path));
                file = fopen(strbuf_text(&file_name), "we");
                ck_assert_ptr_nonnull(file);
                ck_assert_int_ge(fputs(text, file), 0);
        }
        data_read(strbuf_text(&path), &want);
        ck_assert_msg(strcmp(strbuf_text(&want), text) == 0, "%s: printed\n%s", name, text);
}

static struct dbupgrade *decode(const cJSON *node) {
        CLEANUP(free_p) char *text = cJSON_PrintUnformatted(node);
        struct dbupgrade *object = NULL;
        struct fault f = FAULT_INIT;

        ck_assert_msg(dbupgrade_decode(text, strlen(text), &object, &f) == 0, "%s", f.text);
        return object;
}

/* The object is the caller's. */
static struct scene scene_of(const cJSON *node, struct dbupgrade **ret_object) {
        *ret_object = decode(json_member(node, "object"));
        return (struct scene){
                .object = *ret_object,
                .job = json_member(node, "job"),
                .job_gone = json_true_at(node, "jobGone"),
                .pods = json_member(node, "pods"),
                .events = json_member(node, "events"),
                .job_events = json_member(node, "jobEvents"),
        };
}

/* No line longer than the terminal, but for commands, which are to be copied. */
static void check_width(const char *text, size_t width) {
        while (*text) {
                size_t len = strcspn(text, "\n");
                char *line = strndup(text, len);

                ck_assert_msg(text_width(line) <= width || strncmp(line, "    kubectl ", 12) == 0,
                              "too long: %s", line);
                free(line);
                text += len + (text[len] == '\n');
        }
}

/* What could change a terminal: nothing but the colours of text_begin. */
static void check_harmless(const char *text) {
        for (; *text; text++) {
                if (*text == '\x1b')
                        ck_assert_msg(text[1] == '[' &&
                                              text[2 + strspn(text + 2, "0123456789;")] == 'm',
                                      "an escape sequence: %s", text + 1);
                else
                        ck_assert_msg((unsigned char)*text >= ' ' || *text == '\n',
                                      "a control byte before %s", text + 1);
                ck_assert(strncmp(text, "\xc2\x9b", 2) != 0 &&
                          strncmp(text, "\xe2\x80\xae", 3) != 0);
        }
}

START_TEST(status_prints_a_scene) {
        const cJSON *node = cJSON_GetArrayItem(scenes, _i);
        CLEANUP(dbupgrade_free_p) struct dbupgrade *object = NULL;
        CLEANUP(strbuf_done) struct strbuf out = STRBUF_INIT(TEXT_MAX);
        CLEANUP(strbuf_done) struct strbuf name = STRBUF_INIT(256);
        struct scene scene = scene_of(node, &object);

        ck_assert_int_eq(status_print(&out, &scene, &terminal, NULL), 0);
        check_width(strbuf_text(&out), terminal.width);
        check_harmless(strbuf_text(&out));
        strbuf_printf(&name, "status-%s.txt", json_string_at(node, "name"));
        check_golden(strbuf_text(&name), strbuf_text(&out));

        strbuf_reset(&out);
        ck_assert_int_eq(status_print(&out, &scene, &wide, NULL), 0);
        check_harmless(strbuf_text(&out));
}
END_TEST

START_TEST(status_prints_json) {
        CLEANUP(dbupgrade_free_p) struct dbupgrade *object = NULL;
        CLEANUP(strbuf_done) struct strbuf out = STRBUF_INIT(TEXT_MAX);
        CLEANUP(cJSON_Delete_p) cJSON *tree = NULL;
        const cJSON *node = cJSON_GetArrayItem(scenes, _i);
        struct scene scene = scene_of(node, &object);

        ck_assert_int_eq(status_print_json(&out, &scene, NULL), 0);
        ck_assert_int_eq(json_parse(strbuf_text(&out), out.len, &tree, NULL), 0);
        ck_assert_str_eq(json_string_at(tree, "name"), object->name);
        ck_assert_str_eq(json_string_at(tree, "message"), *json_string_at(tree, "reason") == 'N'
                                                                  ? json_string_at(tree, "message")
                                                                  : object->status.message);
}
END_TEST

START_TEST(status_runs_out_of_memory) {
        CLEANUP(dbupgrade_free_p) struct dbupgrade *object = NULL;
        struct scene scene = scene_of(cJSON_GetArrayItem(scenes, _i), &object);

        for (size_t n = 1;; n++) {
                CLEANUP(strbuf_done) struct strbuf out = STRBUF_INIT(TEXT_MAX);
                int r;

                alloc_fail_arm(n);
                r = status_print(&out, &scene, &terminal, NULL);
                if (!alloc_fail_disarm())
                        break;
                ck_assert_int_eq(r, -FAULT_NOMEM);
        }
}
END_TEST

/* A List of the objects of the first `count` scenes, as kubectl prints it. */
static void put_list(struct strbuf *out, int count) {
        const cJSON *node;
        bool first = true;

        strbuf_str(out, "{\"kind\": \"List\", \"items\": [");
        cJSON_ArrayForEach (node, scenes) {
                CLEANUP(free_p) char *text = cJSON_Print(json_member(node, "object"));

                if (count-- == 0)
                        break;

                strbuf_printf(out, "%s%s", first ? "" : ",\n", text);
                first = false;
        }
        strbuf_str(out, "]}\n");
}

START_TEST(list_prints_all_scenes) {
        static const struct {
                const char *golden;
                const struct look *look;
        } looks[] = { { "list-80.txt", &terminal },
                      { "list-120-colour.txt", &wide },
                      { "list-pipe.txt", &pipe_look } };
        CLEANUP(object_list_done) struct object_list list = { .items = NULL, .count = 0 };
        CLEANUP(strbuf_done) struct strbuf text = STRBUF_INIT(TEXT_MAX);
        CLEANUP(strbuf_done) struct strbuf out = STRBUF_INIT(TEXT_MAX);

        put_list(&text, cJSON_GetArraySize(scenes));
        ck_assert_int_eq(object_list_decode(strbuf_text(&text), text.len, &list, NULL), 0);
        object_list_sort(&list);
        list_print(&out, &list, "anywhere", looks[_i].look);
        check_harmless(strbuf_text(&out));
        if (looks[_i].look->terminal && !looks[_i].look->colour)
                check_width(strbuf_text(&out), looks[_i].look->width);
        check_golden(looks[_i].golden, strbuf_text(&out));
}
END_TEST

START_TEST(list_prints_json) {
        CLEANUP(object_list_done) struct object_list list = { .items = NULL, .count = 0 };
        CLEANUP(strbuf_done) struct strbuf text = STRBUF_INIT(TEXT_MAX);
        CLEANUP(strbuf_done) struct strbuf out = STRBUF_INIT(TEXT_MAX);
        CLEANUP(cJSON_Delete_p) cJSON *tree = NULL;

        put_list(&text, cJSON_GetArraySize(scenes));
        ck_assert_int_eq(object_list_decode(strbuf_text(&text), text.len, &list, NULL), 0);
        list_print_json(&out, &list);
        ck_assert_int_eq(json_parse(strbuf_text(&out), out.len, &tree, NULL), 0);
        ck_assert_int_eq(cJSON_GetArraySize(json_member(tree, "items")),
                         cJSON_GetArraySize(scenes));
}
END_TEST

START_TEST(an_empty_list_says_so) {
        CLEANUP(object_list_done) struct object_list list = { .items = NULL, .count = 0 };
        CLEANUP(strbuf_done) struct strbuf out = STRBUF_INIT(TEXT_MAX);
        const char *text = "{\"items\": []}";

        ck_assert_int_eq(object_list_decode(text, strlen(text), &list, NULL), 0);
        object_list_sort(&list);
        list_print(&out, &list, "in any namespace", &terminal);
        ck_assert_str_eq(strbuf_text(&out), "There is no DBUpgrade in any namespace.\n");
}
END_TEST

static const char *const no_lists[] = { "",
                                        "[]",
                                        "{}",
                                        "{\"items\": {}}",
                                        "{\"items\": [1]}",
                                        "{\"items\": [{\"metadata\": {}}]}",
                                        "{\"items\": [" };

START_TEST(what_is_no_list_is_refused) {
        struct object_list list = { .items = NULL, .count = 0 };

        ck_assert_int_lt(object_list_decode(no_lists[_i], strlen(no_lists[_i]), &list, NULL), 0);
        ck_assert_ptr_null(list.items);
}
END_TEST

START_TEST(list_runs_out_of_memory) {
        CLEANUP(strbuf_done) struct strbuf text = STRBUF_INIT(TEXT_MAX);

        put_list(&text, 3);
        for (size_t n = 1;; n++) {
                CLEANUP(object_list_done) struct object_list list = { .items = NULL, .count = 0 };
                int r;

                alloc_fail_arm(n);
                r = object_list_decode(strbuf_text(&text), text.len, &list, NULL);
                if (!alloc_fail_disarm())
                        break;
                ck_assert_int_eq(r, -FAULT_NOMEM);
        }
}
END_TEST

#define COUNT(array) ((int)(sizeof(array) / sizeof((array)[0])))

int main(void) {
        Suite *suite = suite_create("plugin_scenes");
        TCase *tcase = tcase_create("scenes");
        SRunner *runner = srunner_create(suite);
        int failed, count;

        scenes = data_load("kubectl-dbu/scenes.json");
        count = cJSON_GetArraySize(scenes);
        tcase_add_loop_test(tcase, status_prints_a_scene, 0, count);
        tcase_add_loop_test(tcase, status_prints_json, 0, count);
        tcase_add_loop_test(tcase, status_runs_out_of_memory, 0, count);
        tcase_add_loop_test(tcase, list_prints_all_scenes, 0, 3);
        tcase_add_test(tcase, list_prints_json);
        tcase_add_test(tcase, an_empty_list_says_so);
        tcase_add_loop_test(tcase, what_is_no_list_is_refused, 0, COUNT(no_lists));
        tcase_add_test(tcase, list_runs_out_of_memory);
        suite_add_tcase(suite, tcase);
        srunner_run_all(runner, CK_ENV);
        failed = srunner_ntests_failed(runner);
        srunner_free(runner);
        cJSON_Delete(scenes);
        return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
