/* SPDX-License-Identifier: Apache-2.0 */
/* A DBUpgrade as the API server may hold it: judged, keyed, named. Judging twice says the same. */
#include <string.h>

#include "common/api/dbupgrade.h"
#include "common/api/dbupgrade_rules.h"
#include "common/api/image_ref.h"
#include "common/api/names.h"
#include "common/api/quantity.h"
#include "common/api/run_key.h"
#include "common/api/semver.h"
#include "common/base/arena.h"
#include "tests/fuzz/fuzz.h"

static size_t judge(const struct dbupgrade *object) {
        CLEANUP(arena_done) struct arena arena = ARENA_INIT(RULES_ARENA_MAX);
        struct rules_verdict verdict = { 0 };

        if (dbupgrade_rules_judge(object->spec_tree, NULL, &arena, &verdict, NULL))
                return SIZE_MAX;
        for (size_t i = 0; i < verdict.count; i++)
                MUST(*verdict.causes[i].field && *verdict.causes[i].message);
        return verdict.count;
}

static void name(const struct dbupgrade *object) {
        char label[NAMES_LABEL_SIZE];

        if (!*object->name || strlen(object->name) > 253)
                return;
        names_label(object->name, label);
        MUST(*label && strlen(label) <= 63);
}

static void texts(const uint8_t *data, size_t size) {
        char text[1025];
        struct image_ref ref;
        size_t len = size < sizeof(text) ? size : sizeof(text) - 1;

        memcpy(text, data, len);
        text[len] = '\0';
        if (image_ref_parse(text, &ref))
                MUST(*text && !strpbrk(text, " \t\n\"'`$;&|<>()\\"));
        (void)quantity_valid(text);
        (void)semver_valid(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        struct dbupgrade *object = NULL;
        char key[RUN_KEY_SIZE], again[RUN_KEY_SIZE], attempt[RUN_KEY_SIZE];

        texts(data, size);
        if (dbupgrade_decode((const char *)data, size, &object, NULL))
                return 0;
        MUST(judge(object) == judge(object));
        if (run_key(&object->spec, key, NULL) == 0) {
                MUST(run_key(&object->spec, again, NULL) == 0 && strcmp(key, again) == 0);
                MUST(strlen(key) == RUN_KEY_SIZE - 1);
                (void)attempt_key(key, object->spec_tree, object->retry, attempt, NULL);
        }
        name(object);
        dbupgrade_free(object);
        return 0;
}
