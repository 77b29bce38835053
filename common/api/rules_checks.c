/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "common/api/quantity.h"
#include "common/api/rules.h"
#include "common/api/semver.h"
#include "common/json/json_get.h"

static const char *const selector_operators[] = { "In", "NotIn", "Exists", "DoesNotExist", NULL };
static const char *const metric_sources[] = { "Custom", "External", NULL };
static const char *const metric_reductions[] = { "Max", "Avg", "Sum", "Min", NULL };
static const char *const target_types[] = { "Pods", "Object", "External", NULL };
static const char *const threshold_operators[] = { ">", ">=", "<", "<=", NULL };

static const struct rule label_value = { .type = RULE_STRING, .max = 63 };

static const struct rule selector_expression[] = {
        { .name = "key", .type = RULE_STRING, .flags = RULE_REQUIRED, .max = 317 },
        { .name = "operator",
          .type = RULE_STRING,
          .flags = RULE_REQUIRED,
          .values = selector_operators },
        { .name = "values", .type = RULE_LIST, .max = 32, .item = &label_value },
        { 0 },
};

static const struct rule selector_expression_item = { .type = RULE_OBJECT,
                                                      .members = selector_expression };

static const struct rule selector[] = {
        { .name = "matchLabels", .type = RULE_MAP, .max = 32, .item = &label_value },
        { .name = "matchExpressions",
          .type = RULE_LIST,
          .max = 16,
          .item = &selector_expression_item },
        { 0 },
};

/* `pre-check metric "cpu"`, of the metric that this place is in. */
static const char *checks_metric(struct rules *r, const struct rules_at *at) {
        const struct rules_at *item = rules_item(at);
        const char *name = json_string(json_member(item->node, "name"));

        /* item is in checks.<stage>.metrics. */
        return arena_printf(r->arena, "%s-check metric %s", item->up->up->rule->name,
                            rules_quote(r, name ? name : ""));
}

static const char *checks_threshold_value(struct rules *r, const struct rules_at *at) {
        return arena_printf(r->arena, "%s: threshold.value", checks_metric(r, at));
}

static void checks_relate_metric(struct rules *r, const struct rules_at *at) {
        if (rules_is_duplicate(at))
                rules_add(r, at, "FieldValueDuplicate",
                          "Duplicate value: %s: %s is defined more than once",
                          rules_quote(r, json_string(json_member(at->node, "name"))),
                          checks_metric(r, at));
}

/* At target.pods, .object and .external: exactly the one that target.type names must be there. */
static void checks_relate_target(struct rules *r, const struct rules_at *at) {
        static const char *const members[] = { "pods", "object", "external" };
        const char *type = json_string(json_member(at->up->node, "type"));
        bool present = !json_is_absent(at->node);

        for (size_t i = 0; type && target_types[i]; i++) {
                bool wanted = strcmp(members[i], at->rule->name) == 0;

                if (strcmp(type, target_types[i]) != 0 || wanted == present)
                        continue;
                if (wanted)
                        rules_add(r, at, "FieldValueRequired",
                                  "Required value: %s: target.type=%s requires target.%s to be set",
                                  checks_metric(r, at), type, at->rule->name);
                else
                        rules_add(r, at, "FieldValueForbidden",
                                  "Forbidden: %s: target.type=%s should not have target.%s set",
                                  checks_metric(r, at), type, at->rule->name);
        }
}

static const struct rule target_pods[] = {
        { .name = "selector", .type = RULE_OBJECT, .flags = RULE_REQUIRED, .members = selector },
        { 0 },
};

static const struct rule target_ref[] = {
        { .name = "apiVersion", .type = RULE_STRING, .flags = RULE_REQUIRED, .max = 317 },
        { .name = "kind", .type = RULE_STRING, .flags = RULE_REQUIRED, .max = 63 },
        { .name = "name", .type = RULE_STRING, .flags = RULE_REQUIRED, .max = 253 },
        { 0 },
};

static const struct rule target_object[] = {
        { .name = "ref", .type = RULE_OBJECT, .flags = RULE_REQUIRED, .members = target_ref },
        { .name = "selector", .type = RULE_OBJECT, .members = selector },
        { 0 },
};

static const struct rule target_external[] = {
        { .name = "selector", .type = RULE_OBJECT, .members = selector },
        { 0 },
};

static const struct rule metric_target[] = {
        { .name = "type", .type = RULE_STRING, .flags = RULE_REQUIRED, .values = target_types },
        { .name = "pods",
          .type = RULE_OBJECT,
          .members = target_pods,
          .relate = checks_relate_target },
        { .name = "object",
          .type = RULE_OBJECT,
          .members = target_object,
          .relate = checks_relate_target },
        { .name = "external",
          .type = RULE_OBJECT,
          .members = target_external,
          .relate = checks_relate_target },
        { 0 },
};

static const struct rule metric_threshold[] = {
        { .name = "operator",
          .type = RULE_STRING,
          .flags = RULE_REQUIRED,
          .values = threshold_operators },
        { .name = "value",
          .type = RULE_QUANTITY,
          .flags = RULE_REQUIRED | RULE_SAID_EMPTY,
          .max = 64,
          .form = quantity_valid,
          .form_text = "must be a quantity",
          .subject = checks_threshold_value },
        { 0 },
};

static const struct rule metric[] = {
        { .name = "name", .type = RULE_STRING, .flags = RULE_REQUIRED, .max = 253 },
        { .name = "source", .type = RULE_STRING, .values = metric_sources },
        { .name = "metricName", .type = RULE_STRING, .flags = RULE_REQUIRED, .max = 253 },
        { .name = "target", .type = RULE_OBJECT, .flags = RULE_REQUIRED, .members = metric_target },
        { .name = "threshold",
          .type = RULE_OBJECT,
          .flags = RULE_REQUIRED,
          .members = metric_threshold },
        { .name = "reduce", .type = RULE_STRING, .values = metric_reductions },
        { .name = "bakeSeconds", .type = RULE_INTEGER, .min = 0, .max = INT32_MAX },
        { .name = "intervalSeconds", .type = RULE_INTEGER, .min = 1, .max = INT32_MAX },
        { 0 },
};

static const struct rule metric_item = { .type = RULE_OBJECT,
                                         .members = metric,
                                         .relate = checks_relate_metric };

static const struct rule min_pod_version[] = {
        { .name = "selector", .type = RULE_OBJECT, .flags = RULE_REQUIRED, .members = selector },
        { .name = "minVersion",
          .type = RULE_STRING,
          .flags = RULE_REQUIRED,
          .max = 256,
          .form = semver_valid,
          .form_text = "is not valid semver" },
        { .name = "containerName", .type = RULE_STRING, .max = 63 },
        { .name = "disallowDowngrade", .type = RULE_BOOLEAN },
        { .name = "strictMode", .type = RULE_BOOLEAN },
        { 0 },
};

static const struct rule min_pod_version_item = { .type = RULE_OBJECT, .members = min_pod_version };

static const struct rule checks_pre[] = {
        { .name = "minPodVersions", .type = RULE_LIST, .max = 16, .item = &min_pod_version_item },
        { .name = "metrics", .type = RULE_LIST, .max = 16, .item = &metric_item },
        { 0 },
};

static const struct rule checks_post[] = {
        { .name = "metrics", .type = RULE_LIST, .max = 16, .item = &metric_item },
        { 0 },
};

const struct rule rules_checks[] = {
        { .name = "pre", .type = RULE_OBJECT, .members = checks_pre },
        { .name = "post", .type = RULE_OBJECT, .members = checks_post },
        { 0 },
};
