/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "common/api/dbupgrade.h"
#include "common/api/quantity.h"
#include "common/api/rules.h"
#include "common/json/json_get.h"

static const char *const pull_policies[] = { "Always", "IfNotPresent", "Never", NULL };

/* exec needs a file to execute; later arguments may be empty. */
static void runner_refine_command(struct rules *r, const struct rules_at *at) {
        const char *first = json_string(at->node->child);

        if (first && !*first)
                rules_add(r, at, "FieldValueRequired",
                          "Required value: runner.command[0] cannot be empty");
}

static void runner_relate_env_name(struct rules *r, const struct rules_at *at) {
        const char *name = json_string(at->node);

        if (name && (strcmp(name, "DATABASE_URL") == 0 || strcmp(name, "MIGRATIONS_DIR") == 0))
                rules_add(r, at, "FieldValueForbidden", "Forbidden: %s: %s is set by the operator",
                          rules_path(r, at), name);
}

static bool runner_key_is_reserved(const char *key) {
        static const char *const prefixes[] = { DBUPGRADE_GROUP "/", "batch.kubernetes.io/" };
        static const char *const keys[] = { "app.kubernetes.io/managed-by", "job-name",
                                            "controller-uid" };

        for (size_t i = 0; i < sizeof(prefixes) / sizeof(prefixes[0]); i++)
                if (strncmp(key, prefixes[i], strlen(prefixes[i])) == 0)
                        return true;
        for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++)
                if (strcmp(key, keys[i]) == 0)
                        return true;
        return false;
}

/* At podLabels and podAnnotations. */
static void runner_refine_keys(struct rules *r, const struct rules_at *at) {
        const cJSON *child;

        cJSON_ArrayForEach (child, at->node) {
                if (runner_key_is_reserved(child->string))
                        rules_add(r, at, "FieldValueForbidden",
                                  "Forbidden: %s: the key %s belongs to the operator or to "
                                  "Kubernetes",
                                  rules_path(r, at), rules_quote(r, child->string));
        }
}

static void runner_relate_claim(struct rules *r, const struct rules_at *at) {
        if (rules_is_duplicate(at))
                rules_add(r, at, "FieldValueDuplicate",
                          "Duplicate value: %s: %s is defined more than once",
                          rules_quote(r, json_string(json_member(at->node, "name"))),
                          rules_path(r, at));
}

static const struct rule command_item = { .type = RULE_STRING, .max = 4096 };
static const struct rule label_value = { .type = RULE_STRING, .max = 63 };
static const struct rule annotation_value = { .type = RULE_STRING, .max = 16384 };
static const struct rule quantity_value = {
        .type = RULE_QUANTITY, .max = 64, .form = quantity_valid, .form_text = "must be a quantity"
};
/* What the Jobs API judges. */
static const struct rule any_object = { .type = RULE_OBJECT, .max = 64 };

static const struct rule env_variable[] = {
        { .name = "name",
          .type = RULE_STRING,
          .flags = RULE_REQUIRED,
          .max = 253,
          .relate = runner_relate_env_name },
        { .name = "value", .type = RULE_STRING, .max = 16384 },
        { .name = "valueFrom", .type = RULE_OBJECT, .max = 1 },
        { 0 },
};

static const struct rule env_item = { .type = RULE_OBJECT, .members = env_variable };

static const struct rule resource_claim[] = {
        { .name = "name", .type = RULE_STRING, .flags = RULE_REQUIRED, .max = 253 },
        { .name = "request", .type = RULE_STRING, .max = 253 },
        { 0 },
};

static const struct rule resource_claim_item = { .type = RULE_OBJECT,
                                                 .members = resource_claim,
                                                 .relate = runner_relate_claim };

static const struct rule resources[] = {
        { .name = "limits", .type = RULE_MAP, .max = 16, .item = &quantity_value },
        { .name = "requests", .type = RULE_MAP, .max = 16, .item = &quantity_value },
        { .name = "claims", .type = RULE_LIST, .max = 16, .item = &resource_claim_item },
        { 0 },
};

const struct rule rules_runner[] = {
        { .name = "activeDeadlineSeconds", .type = RULE_INTEGER, .min = 1, .max = INT32_MAX },
        { .name = "command",
          .type = RULE_LIST,
          .flags = RULE_PASSED_ON | RULE_SAID_EMPTY,
          .min = 1,
          .max = 128,
          .item = &command_item,
          .refine = runner_refine_command },
        { .name = "env",
          .type = RULE_LIST,
          .flags = RULE_PASSED_ON,
          .max = 128,
          .item = &env_item },
        { .name = "envFrom",
          .type = RULE_LIST,
          .flags = RULE_PASSED_ON,
          .max = 32,
          .item = &any_object },
        { .name = "volumes",
          .type = RULE_LIST,
          .flags = RULE_PASSED_ON,
          .max = 32,
          .item = &any_object },
        { .name = "volumeMounts",
          .type = RULE_LIST,
          .flags = RULE_PASSED_ON,
          .max = 64,
          .item = &any_object },
        { .name = "imagePullPolicy", .type = RULE_STRING, .values = pull_policies },
        { .name = "ttlSecondsAfterFinished", .type = RULE_INTEGER, .min = 0, .max = INT32_MAX },
        { .name = "serviceAccountName", .type = RULE_STRING, .max = 253 },
        { .name = "imagePullSecrets",
          .type = RULE_LIST,
          .flags = RULE_PASSED_ON,
          .max = 16,
          .item = &any_object },
        { .name = "resources", .type = RULE_OBJECT, .flags = RULE_PASSED_ON, .members = resources },
        { .name = "nodeSelector",
          .type = RULE_MAP,
          .flags = RULE_PASSED_ON,
          .max = 64,
          .item = &label_value },
        { .name = "tolerations",
          .type = RULE_LIST,
          .flags = RULE_PASSED_ON,
          .max = 64,
          .item = &any_object },
        { .name = "affinity", .type = RULE_OBJECT, .flags = RULE_PASSED_ON, .max = 16 },
        { .name = "priorityClassName", .type = RULE_STRING, .max = 253 },
        { .name = "terminationGracePeriodSeconds",
          .type = RULE_INTEGER,
          .min = 0,
          .max = INT32_MAX },
        { .name = "podLabels",
          .type = RULE_MAP,
          .flags = RULE_PASSED_ON,
          .max = 64,
          .item = &label_value,
          .refine = runner_refine_keys },
        { .name = "podAnnotations",
          .type = RULE_MAP,
          .flags = RULE_PASSED_ON,
          .max = 64,
          .item = &annotation_value,
          .refine = runner_refine_keys },
        { .name = "podSecurityContext", .type = RULE_OBJECT, .flags = RULE_PASSED_ON, .max = 32 },
        { .name = "securityContext", .type = RULE_OBJECT, .flags = RULE_PASSED_ON, .max = 32 },
        { 0 },
};
