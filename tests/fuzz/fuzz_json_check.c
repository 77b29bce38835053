/* SPDX-License-Identifier: Apache-2.0 */
/* What the strict check accepts is understood by cJSON, written canonically, and then stays as it
 * is. */
#include <string.h>

#include "common/api/canonical.h"
#include "common/base/strbuf.h"
#include "common/json/json_check.h"
#include "common/json/json_get.h"
#include "tests/fuzz/fuzz.h"

static void must_be_stable(const cJSON *tree) {
        CLEANUP(strbuf_done) struct strbuf first = STRBUF_INIT(1 << 24);
        CLEANUP(strbuf_done) struct strbuf second = STRBUF_INIT(1 << 24);
        CLEANUP(cJSON_Delete_p) cJSON *again = NULL;

        if (canonical_json(tree, &first, NULL))
                return; /* a number that has no canonical form */
        MUST(json_check(first.ptr, first.len, NULL, 0, NULL) == 0);
        MUST(json_parse(first.ptr, first.len, &again, NULL) == 0);
        MUST(canonical_json(again, &second, NULL) == 0);
        MUST(first.len == second.len && memcmp(first.ptr, second.ptr, first.len) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        struct json_want wants[] = { { .path = { "metadata", "name" } },
                                     { .path = { "items" } },
                                     { .path = { "a", "b", "c" } } };
        CLEANUP(cJSON_Delete_p) cJSON *tree = NULL;
        const char *text = (const char *)data;
        struct json_span item;
        size_t cursor = 0;
        char name[64];

        if (json_check(text, size, wants, 3, NULL))
                return 0;
        for (size_t i = 0; i < 3; i++)
                MUST(!wants[i].span.text ||
                     (wants[i].span.text >= text &&
                      wants[i].span.text + wants[i].span.len <= text + size));
        while (json_span_next(&wants[1].span, &cursor, &item))
                MUST(json_check(item.text, item.len, NULL, 0, NULL) == 0);
        if (json_span_string(&wants[0].span, name, sizeof(name)))
                MUST(strlen(name) < sizeof(name));
        MUST(json_parse(text, size, &tree, NULL) == 0);
        must_be_stable(tree);
        return 0;
}
