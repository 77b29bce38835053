/* SPDX-License-Identifier: Apache-2.0 */
#include "common/api/canonical.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/api/dbupgrade.h"
#include "common/base/fault.h"
#include "common/base/strbuf.h"
#include "common/json/json_get.h"
#include "common/json/json_write.h"

static int canonical_compare(const void *a, const void *b) {
        const cJSON *const *x = a, *const *y = b;

        return strcmp((*x)->string, (*y)->string);
}

/* The members of node that are not null, and `extra` unless it is NULL or a member has its name;
 * sorted. */
static int canonical_members(const cJSON *node, const cJSON *extra, const cJSON ***ret_members,
                             size_t *ret_count, struct fault *f) {
        CLEANUP(free_p) const cJSON **members = NULL;
        const cJSON *child;
        size_t count = 0, room = extra ? 1 : 0;

        cJSON_ArrayForEach (child, node)
                room++;
        members = calloc(room + 1, sizeof(*members));
        if (!members)
                return fault_set(f, FAULT_NOMEM, "out of memory");
        cJSON_ArrayForEach (child, node) {
                if (!cJSON_IsNull(child))
                        members[count++] = child;
        }
        if (extra && json_is_absent(json_member(node, extra->string)))
                members[count++] = extra;
        qsort(members, count, sizeof(*members), canonical_compare);
        *ret_members = TAKE(members);
        *ret_count = count;
        return 0;
}

static int canonical_value(struct json_writer *w, const cJSON *node, struct fault *f);

static int canonical_object(struct json_writer *w, const cJSON *node, const cJSON *extra,
                            struct fault *f) {
        CLEANUP(free_p) const cJSON **members = NULL;
        size_t count;
        int r = canonical_members(node, extra, &members, &count, f);

        if (r)
                return r;
        json_object(w);
        for (size_t i = 0; i < count; i++) {
                json_key(w, members[i]->string);
                r = canonical_value(w, members[i], f);
                if (r)
                        return r;
        }
        json_end_object(w);
        return 0;
}

static int canonical_array(struct json_writer *w, const cJSON *node, struct fault *f) {
        const cJSON *child;

        json_array(w);
        cJSON_ArrayForEach (child, node) {
                int r = canonical_value(w, child, f);

                if (r)
                        return r;
        }
        json_end_array(w);
        return 0;
}

static void canonical_number(struct json_writer *w, const cJSON *node) {
        char text[32]; /* %.17g: sign, 17 digits, point, "e-308" */
        int64_t value;

        if (json_int(node, &value)) {
                json_put_int(w, value);
                return;
        }
        (void)snprintf(text, sizeof(text), "%.17g", node->valuedouble);
        json_put_raw(w, text, strlen(text));
}

/* Recursion: bounded by the depth that json_check allows. */
static int canonical_value(struct json_writer *w, const cJSON *node, struct fault *f) {
        if (cJSON_IsObject(node))
                return canonical_object(w, node, NULL, f);
        if (cJSON_IsArray(node))
                return canonical_array(w, node, f);
        if (cJSON_IsString(node))
                json_put_string(w, node->valuestring);
        else if (cJSON_IsNumber(node))
                canonical_number(w, node);
        else if (cJSON_IsBool(node))
                json_put_bool(w, cJSON_IsTrue(node));
        else
                json_put_null(w);
        return 0;
}

int canonical_json(const struct cJSON *node, struct strbuf *out, struct fault *f) {
        struct json_writer w = JSON_WRITER_INIT(out);
        int r = json_is_absent(node) ? canonical_object(&w, NULL, NULL, f)
                                     : canonical_value(&w, node, f);

        return r ? r : strbuf_check(out, f);
}

int canonical_runner(const struct cJSON *runner, struct strbuf *out, struct fault *f) {
        static const cJSON deadline = {
                .type = cJSON_Number,
                .valuedouble = DBUPGRADE_DEFAULT_DEADLINE_S,
                .string = (char *)"activeDeadlineSeconds",
        };
        struct json_writer w = JSON_WRITER_INIT(out);
        int r = canonical_object(&w, cJSON_IsObject(runner) ? runner : NULL, &deadline, f);

        return r ? r : strbuf_check(out, f);
}
