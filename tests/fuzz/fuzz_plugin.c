/* SPDX-License-Identifier: Apache-2.0 */
/* A scene as kubectl may print it (an object, its Job, Pods and events, as in
 * tests/data/kubectl-dbu/scenes.json), and what the kubectl plugin prints of it. */
#include <string.h>

#include "common/api/dbupgrade.h"
#include "common/base/strbuf.h"
#include "common/base/utf8.h"
#include "common/json/json_check.h"
#include "common/json/json_get.h"
#include "kubectl-dbu/list.h"
#include "kubectl-dbu/status.h"
#include "kubectl-dbu/text.h"
#include "kubectl-dbu/timeline.h"
#include "tests/fuzz/fuzz.h"

#define TEXT_MAX ((size_t)16 << 20)

/* Nothing that a terminal acts on but the plugin's own colours. */
static void check_harmless(const char *text) {
        MUST(utf8_valid(text, strlen(text)));
        for (; *text; text++) {
                if (*text == '\x1b')
                        MUST(text[1] == '[' && text[2 + strspn(text + 2, "0123456789;")] == 'm');
                else
                        MUST((unsigned char)*text >= ' ' || *text == '\n');
                MUST(*text != '\x7f');
                MUST(*text != '\xc2' || (unsigned char)text[1] >= 0xa0);
        }
}

static void check_status(const struct scene *scene) {
        static const struct look looks[] = {
                { .terminal = true, .colour = true, .width = 40, .now_s = 1795522200 },
                { .width = 80, .now_s = 0 },
        };
        CLEANUP(strbuf_done) struct strbuf json = STRBUF_INIT(TEXT_MAX);
        CLEANUP(strbuf_done) struct strbuf safe = STRBUF_INIT(TEXT_MAX);

        for (size_t i = 0; i < 2; i++) {
                CLEANUP(strbuf_done) struct strbuf out = STRBUF_INIT(TEXT_MAX);

                MUST(status_print(&out, scene, &looks[i], NULL) == 0);
                check_harmless(strbuf_text(&out));
        }
        MUST(status_print_json(&json, scene, NULL) == 0);
        text_json(&safe, strbuf_text(&json));
        check_harmless(strbuf_text(&safe));
        MUST(json_check(safe.ptr, safe.len, NULL, 0, NULL) == 0);
}

static void check_list(const struct json_span *object) {
        static const struct look look = { .terminal = true, .width = 40, .now_s = 1795522200 };
        CLEANUP(strbuf_done) struct strbuf text = STRBUF_INIT(TEXT_MAX);
        CLEANUP(strbuf_done) struct strbuf out = STRBUF_INIT(TEXT_MAX);
        CLEANUP(object_list_done) struct object_list list = { .items = NULL, .count = 0 };

        strbuf_printf(&text, "{\"items\": [%.*s, %.*s]}", (int)object->len, object->text,
                      (int)object->len, object->text);
        MUST(object_list_decode(strbuf_text(&text), text.len, &list, NULL) == 0);
        object_list_sort(&list);
        list_print(&out, &list, "here", &look);
        MUST(!out.bad);
        check_harmless(strbuf_text(&out));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        struct json_want want = { .path = { "object" } };
        CLEANUP(cJSON_Delete_p) cJSON *tree = NULL;
        CLEANUP(dbupgrade_free_p) struct dbupgrade *object = NULL;
        struct scene scene;

        if (json_check((const char *)data, size, &want, 1, NULL) || !want.span.text ||
            dbupgrade_decode(want.span.text, want.span.len, &object, NULL) ||
            json_parse((const char *)data, size, &tree, NULL))
                return 0;
        scene = (struct scene){
                .object = object,
                .job = json_member(tree, "job"),
                .job_gone = json_true_at(tree, "jobGone"),
                .pods = json_member(tree, "pods"),
                .events = json_member(tree, "events"),
                .job_events = json_member(tree, "jobEvents"),
        };
        check_status(&scene);
        check_list(&want.span);
        return 0;
}
