/* SPDX-License-Identifier: Apache-2.0 */
#include "common/api/dbupgrade_rules.h"

#include <string.h>

#include "common/api/image_ref.h"
#include "common/api/rules.h"
#include "common/json/json_get.h"

static const struct rule spec_members[] = {
        { .name = "migrations",
          .type = RULE_OBJECT,
          .flags = RULE_REQUIRED,
          .members = rules_migrations },
        { .name = "database",
          .type = RULE_OBJECT,
          .flags = RULE_REQUIRED,
          .members = rules_database,
          .relate = rules_database_relate },
        { .name = "checks", .type = RULE_OBJECT, .members = rules_checks },
        { .name = "runner", .type = RULE_OBJECT, .members = rules_runner },
        { .name = "suspend", .type = RULE_BOOLEAN },
        { 0 },
};

static const struct rule spec_rule = {
        .name = "spec",
        .type = RULE_OBJECT,
        .flags = RULE_REQUIRED,
        .members = spec_members,
};

static void rules_run(struct rules *r, const struct cJSON *spec, const struct cJSON *old_spec) {
        struct rules_at at = { .rule = &spec_rule, .index = -1, .node = spec, .old = old_spec };

        rules_walk(r, &at);
}

static bool rules_has(const struct rules *r, const struct rules_cause *cause) {
        for (size_t i = 0; i < r->count; i++)
                if (strcmp(r->causes[i].field, cause->field) == 0 &&
                    strcmp(r->causes[i].reason, cause->reason) == 0 &&
                    strcmp(r->causes[i].message, cause->message) == 0)
                        return true;
        return false;
}

/* Drops the causes that the old spec has too. Both lists are short (RULES_CAUSES_MAX). */
static void rules_ratchet(struct rules *r, const struct cJSON *old_spec) {
        struct rules old = { .arena = r->arena };
        size_t kept = 0;

        rules_run(&old, old_spec, NULL);
        for (size_t i = 0; i < r->count; i++)
                if (!rules_has(&old, &r->causes[i]))
                        r->causes[kept++] = r->causes[i];
        r->count = kept;
}

int dbupgrade_rules_judge(const struct cJSON *spec, const struct cJSON *old_spec,
                          struct arena *arena, struct rules_verdict *ret_verdict, struct fault *f) {
        struct rules r = { .arena = arena };
        int fault;

        rules_run(&r, spec, old_spec);
        if (old_spec && r.count > 0)
                rules_ratchet(&r, old_spec);
        fault = arena_check(arena, f);
        if (fault)
                return fault;
        *ret_verdict = (struct rules_verdict){ .causes = r.causes, .count = r.count };
        return 0;
}

void dbupgrade_rules_warning(struct rules_warnings *warnings, const char *text) {
        size_t len = strlen(text);

        if (len > RULES_WARNING_MAX || warnings->count == RULES_WARNINGS_MAX ||
            len > RULES_WARNINGS_SIZE_MAX - warnings->size)
                return;
        warnings->text[warnings->count++] = text;
        warnings->size += len;
}

static void rules_warn_image(const char *image, struct rules_warnings *warnings) {
        struct image_ref ref;

        if (!image_ref_parse(image, &ref) || ref.has_digest)
                return;
        if (!ref.has_tag)
                dbupgrade_rules_warning(warnings,
                                        "spec.migrations.image has neither a tag nor a digest: "
                                        "name a version, or what runs may change without notice");
        else if (ref.is_latest)
                dbupgrade_rules_warning(warnings,
                                        "spec.migrations.image has the tag \"latest\": "
                                        "name a version, or what runs may change without notice");
}

static bool rules_has_items(const cJSON *list) {
        return cJSON_IsArray(list) && list->child;
}

/* stage is "pre" or "post". */
static void rules_warn_metrics(const cJSON *metrics, const char *stage, struct arena *arena,
                               struct rules_warnings *warnings) {
        const cJSON *item;
        int index = 0;

        if (!cJSON_IsArray(metrics))
                return;
        cJSON_ArrayForEach (item, metrics) {
                const char *type = json_string_at(item, "target.type");

                if (index == RULES_WARNINGS_MAX)
                        return;
                if (strcmp(json_string_at(item, "source"), "External") == 0 &&
                    (strcmp(type, "Pods") == 0 || strcmp(type, "Object") == 0))
                        dbupgrade_rules_warning(
                                warnings,
                                arena_printf(arena,
                                             "spec.checks.%s.metrics[%d].source is External, but "
                                             "target.type is %s: External goes with target.type "
                                             "External",
                                             stage, index, type));
                index++;
        }
}

void dbupgrade_rules_warn(const struct cJSON *spec, struct arena *arena,
                          struct rules_warnings *warnings) {
        const cJSON *pre = json_at(spec, "checks.pre"), *post = json_at(spec, "checks.post");

        rules_warn_image(json_string_at(spec, "migrations.image"), warnings);
        if (json_true_at(spec, "database.connection.urlSecretRef.optional"))
                dbupgrade_rules_warning(warnings,
                                        "spec.database.connection.urlSecretRef.optional has no "
                                        "effect: a migration cannot run without its URL");
        if (rules_has_items(json_member(pre, "minPodVersions")) ||
            rules_has_items(json_member(pre, "metrics")))
                dbupgrade_rules_warning(warnings,
                                        "spec.checks.pre is not evaluated yet: the migration stays "
                                        "blocked (ChecksNotImplemented) as long as it is set");
        rules_warn_metrics(json_member(pre, "metrics"), "pre", arena, warnings);
        if (rules_has_items(json_member(post, "metrics")))
                dbupgrade_rules_warning(warnings, "spec.checks.post is not evaluated yet: the "
                                                  "migration runs without it");
        rules_warn_metrics(json_member(post, "metrics"), "post", arena, warnings);
}
