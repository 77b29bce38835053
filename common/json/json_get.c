/* SPDX-License-Identifier: Apache-2.0 */
#include "common/json/json_get.h"

#include <string.h>

#include "common/base/fault.h"

int json_parse(const char *text, size_t len, cJSON **ret_tree, struct fault *f) {
        struct json_span all = { .text = text, .len = len };
        int r = json_check(text, len, NULL, 0, f);

        if (r)
                return r;
        return json_parse_span(&all, ret_tree, f);
}

int json_parse_span(const struct json_span *span, cJSON **ret_tree, struct fault *f) {
        cJSON *tree = cJSON_ParseWithLength(span->text, span->len);

        /* What json_check has accepted only fails here for want of memory. */
        if (!tree)
                return fault_set(f, FAULT_NOMEM, "out of memory");
        *ret_tree = tree;
        return 0;
}

const cJSON *json_member(const cJSON *node, const char *name) {
        return cJSON_IsObject(node) ? cJSON_GetObjectItemCaseSensitive(node, name) : NULL;
}

/* The member whose name is name[0..len). */
static const cJSON *json_member_len(const cJSON *node, const char *name, size_t len) {
        const cJSON *child;

        if (!cJSON_IsObject(node))
                return NULL;
        cJSON_ArrayForEach (child, node) {
                if (strncmp(child->string, name, len) == 0 && child->string[len] == '\0')
                        return child;
        }
        return NULL;
}

const cJSON *json_at(const cJSON *node, const char *path) {
        while (node && *path) {
                size_t len = strcspn(path, ".");

                node = json_member_len(node, path, len);
                path += len;
                path += *path == '.';
        }
        return node;
}

bool json_is_absent(const cJSON *node) {
        return !node || cJSON_IsNull(node);
}

const char *json_string(const cJSON *node) {
        return cJSON_IsString(node) ? node->valuestring : NULL;
}

const char *json_string_at(const cJSON *node, const char *path) {
        const char *text = json_string(json_at(node, path));

        return text ? text : "";
}

bool json_int(const cJSON *node, int64_t *ret_value) {
        const double limit = 9007199254740991.0; /* 2^53 - 1 */
        double value;

        if (!cJSON_IsNumber(node))
                return false;
        value = node->valuedouble;
        /* The comparison first: it is false for NaN and keeps the cast defined. */
        if (!(value >= -limit && value <= limit) || (double)(int64_t)value != value)
                return false;
        *ret_value = (int64_t)value;
        return true;
}

int64_t json_int_at(const cJSON *node, const char *path, int64_t fallback) {
        int64_t value;

        return json_int(json_at(node, path), &value) ? value : fallback;
}

bool json_true_at(const cJSON *node, const char *path) {
        return cJSON_IsTrue(json_at(node, path));
}
