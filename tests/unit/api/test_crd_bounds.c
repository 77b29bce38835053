/* SPDX-License-Identifier: Apache-2.0 */
/* Schema and rules cannot drift: each bound that the CRD states about spec is tried on either side,
 * and judged by the C rules. */
#include <check.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

#include "common/api/rules.h"
#include "common/base/arena.h"
#include "common/base/strbuf.h"
#include "common/json/json_get.h"

#define FIELD_MAX 1024

static yaml_document_t crd;

/* What is only passed on to the Jobs API is judged by type, number of items and size. */
static const char *const passed_on[] = { "spec.runner.env[0].valueFrom" };

/* Strings of a given length have to be of the right form as well. */
static const struct {
        const char *field, *before, *after;
        char filler;
} forms[] = {
        { "spec.migrations.dir", "/", "", 'a' },
        { "spec.database.aws.roleArn", "arn:aws:iam::123456789012:role/", "/role", 'a' },
        { "spec.checks.pre.minPodVersions[0].minVersion", "1.0.0-", "", 'a' },
};

static const yaml_node_t *member(const yaml_node_t *node, const char *name) {
        if (!node || node->type != YAML_MAPPING_NODE)
                return NULL;
        for (yaml_node_pair_t *pair = node->data.mapping.pairs.start;
             pair < node->data.mapping.pairs.top; pair++)
                if (strcmp((char *)yaml_document_get_node(&crd, pair->key)->data.scalar.value,
                           name) == 0)
                        return yaml_document_get_node(&crd, pair->value);
        return NULL;
}

static const char *text(const yaml_node_t *node, const char *name) {
        const yaml_node_t *found = member(node, name);

        return found ? (const char *)found->data.scalar.value : "";
}

static bool number(const yaml_node_t *node, const char *name, int64_t *ret_value) {
        const char *value = text(node, name);

        *ret_value = strtoll(value, NULL, 10);
        return *value != '\0';
}

static bool is_int_or_string(const yaml_node_t *schema) {
        return strcmp(text(schema, "x-kubernetes-int-or-string"), "true") == 0;
}

/* A string of that length for this field. */
static cJSON *string_of(const char *field, const yaml_node_t *schema, size_t len) {
        CLEANUP(strbuf_done) struct strbuf b = STRBUF_INIT(1 << 20);
        const char *before = "", *after = "";
        char filler = is_int_or_string(schema) ? '1' : 'a';

        for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) {
                if (strcmp(forms[i].field, field) == 0) {
                        before = forms[i].before;
                        after = forms[i].after;
                }
        }
        strbuf_str(&b, before);
        while (b.len + strlen(after) < len)
                strbuf_char(&b, filler);
        strbuf_str(&b, after);
        return cJSON_CreateString(strbuf_text(&b));
}

/* An object with every member that the schema knows, each as small as it may be. */
static cJSON *sample(const char *field, const yaml_node_t *schema) {
        const char *type = text(schema, "type");
        const yaml_node_t *properties = member(schema, "properties");
        const yaml_node_t *values = member(schema, "enum");
        char path[FIELD_MAX];
        int64_t minimum;
        cJSON *node;

        if (values)
                return cJSON_CreateString(
                        (char *)yaml_document_get_node(&crd, values->data.sequence.items.start[0])
                                ->data.scalar.value);
        if (strcmp(type, "string") == 0 || is_int_or_string(schema))
                return string_of(field, schema, 1);
        if (strcmp(type, "boolean") == 0)
                return cJSON_CreateFalse();
        if (strcmp(type, "integer") == 0)
                return cJSON_CreateNumber(number(schema, "minimum", &minimum) ? (double)minimum
                                                                              : 0);
        if (strcmp(type, "array") == 0) {
                node = cJSON_CreateArray();
                (void)snprintf(path, sizeof(path), "%s[0]", field);
                cJSON_AddItemToArray(node, sample(path, member(schema, "items")));
                return node;
        }
        ck_assert_msg(strcmp(type, "object") == 0, "%s: type %s", field, type);
        node = cJSON_CreateObject();
        if (member(schema, "additionalProperties")) {
                (void)snprintf(path, sizeof(path), "%s[key]", field);
                cJSON_AddItemToObject(node, "key",
                                      sample(path, member(schema, "additionalProperties")));
        }
        for (yaml_node_pair_t *pair = properties ? properties->data.mapping.pairs.start : NULL;
             pair && pair < properties->data.mapping.pairs.top; pair++) {
                const char *name =
                        (char *)yaml_document_get_node(&crd, pair->key)->data.scalar.value;

                (void)snprintf(path, sizeof(path), "%s.%s", field, name);
                cJSON_AddItemToObject(node, name,
                                      sample(path, yaml_document_get_node(&crd, pair->value)));
        }
        return node;
}

struct bounds {
        cJSON *spec; /* a sample with every member */
        int count;   /* values that were tried */
};

/* Whether a cause of that reason names the field, or something that it is in (which hides it). */
static bool is_refused(const cJSON *spec, const char *field, const char *reason) {
        CLEANUP(arena_done) struct arena arena = ARENA_INIT(RULES_ARENA_MAX);
        struct rules_verdict verdict;

        ck_assert_int_eq(dbupgrade_rules_judge(spec, NULL, &arena, &verdict, NULL), 0);
        for (size_t i = 0; i < verdict.count; i++) {
                const struct rules_cause *cause = &verdict.causes[i];

                if (strcmp(cause->reason, reason) == 0 &&
                    strncmp(cause->field, field, strlen(cause->field)) == 0)
                        return true;
        }
        return false;
}

/* Puts value (taken) in the place of *node, which is in parent; *node is the new one then. */
static void put(cJSON *parent, cJSON **node, cJSON *value) {
        ck_assert(cJSON_ReplaceItemViaPointer(parent, *node, value));
        *node = value;
}

/* Tries one value (taken) in the place of node. */
static void try_value(struct bounds *b, cJSON *parent, cJSON **node, const char *field,
                      cJSON *value, const char *reason, bool refused) {
        cJSON *original = cJSON_Duplicate(*node, true);

        if ((*node)->string) {
                value->string = strdup((*node)->string);
                ck_assert_ptr_nonnull(value->string);
        }
        put(parent, node, value);
        ck_assert_msg(is_refused(b->spec, field, reason) == refused,
                      "%s: the CRD %s a value, the rules do not (%s)", field,
                      refused ? "refuses" : "allows", reason);
        put(parent, node, original);
        b->count++;
}

static void try_string(struct bounds *b, cJSON *parent, cJSON **node, const yaml_node_t *schema,
                       const char *field) {
        const yaml_node_t *values = member(schema, "enum");
        int64_t limit;

        if (values) {
                for (yaml_node_item_t *item = values->data.sequence.items.start;
                     item < values->data.sequence.items.top; item++)
                        try_value(b, parent, node, field,
                                  cJSON_CreateString((char *)yaml_document_get_node(&crd, *item)
                                                             ->data.scalar.value),
                                  "FieldValueNotSupported", false);
                try_value(b, parent, node, field, cJSON_CreateString("?"), "FieldValueNotSupported",
                          true);
                return;
        }
        ck_assert_msg(number(schema, "maxLength", &limit), "%s has no maxLength", field);
        try_value(b, parent, node, field, string_of(field, schema, (size_t)limit),
                  "FieldValueTooLong",
                  /* One value of its greatest length makes the member too large as a whole. */
                  limit >= RULES_PASSED_ON_MAX);
        try_value(b, parent, node, field, string_of(field, schema, (size_t)limit),
                  "FieldValueInvalid", false);
        try_value(b, parent, node, field, string_of(field, schema, (size_t)limit + 1),
                  "FieldValueTooLong", true);
        if (number(schema, "minLength", &limit)) {
                ck_assert_int_eq(limit, 1);
                try_value(b, parent, node, field, cJSON_CreateString(""), "FieldValueRequired",
                          true);
        }
}

static void try_integer(struct bounds *b, cJSON *parent, cJSON **node, const yaml_node_t *schema,
                        const char *field) {
        int64_t minimum, maximum;

        ck_assert_msg(number(schema, "minimum", &minimum) && number(schema, "maximum", &maximum),
                      "%s has no range", field);
        try_value(b, parent, node, field, cJSON_CreateNumber((double)minimum), "FieldValueInvalid",
                  false);
        try_value(b, parent, node, field, cJSON_CreateNumber((double)maximum), "FieldValueInvalid",
                  false);
        try_value(b, parent, node, field, cJSON_CreateNumber((double)minimum - 1),
                  "FieldValueInvalid", true);
        try_value(b, parent, node, field, cJSON_CreateNumber((double)maximum + 1),
                  "FieldValueInvalid", true);
}

/* So many copies of the one item. */
static cJSON *items_of(const cJSON *node, int64_t count) {
        cJSON *list = cJSON_IsArray(node) ? cJSON_CreateArray() : cJSON_CreateObject();

        for (int64_t i = 0; i < count; i++) {
                char key[32];

                (void)snprintf(key, sizeof(key), "k%d", (int)i);
                if (cJSON_IsArray(node))
                        cJSON_AddItemToArray(list, cJSON_Duplicate(node->child, true));
                else
                        cJSON_AddItemToObject(list, key,
                                              node->child ? cJSON_Duplicate(node->child, true)
                                                          : cJSON_CreateNumber(1));
        }
        return list;
}

static void try_count(struct bounds *b, cJSON *parent, cJSON **node, const yaml_node_t *schema,
                      const char *field, const char *bound) {
        int64_t limit;

        if (!number(schema, bound, &limit)) {
                ck_assert_msg(member(schema, "properties"), "%s has no %s", field, bound);
                return;
        }
        try_value(b, parent, node, field, items_of(*node, limit), "FieldValueTooMany", false);
        try_value(b, parent, node, field, items_of(*node, limit + 1), "FieldValueTooMany", true);
        if (number(schema, "minItems", &limit))
                try_value(b, parent, node, field, items_of(*node, limit - 1), "FieldValueRequired",
                          true);
}

static void try_required(struct bounds *b, cJSON *node, const yaml_node_t *schema,
                         const char *field) {
        const yaml_node_t *names = member(schema, "required");

        for (yaml_node_item_t *item = names ? names->data.sequence.items.start : NULL;
             item && item < names->data.sequence.items.top; item++) {
                const char *name = (char *)yaml_document_get_node(&crd, *item)->data.scalar.value;
                cJSON *gone = cJSON_DetachItemFromObjectCaseSensitive(node, name);
                char path[FIELD_MAX];

                (void)snprintf(path, sizeof(path), "%s.%s", field, name);
                ck_assert_msg(is_refused(b->spec, path, "FieldValueRequired"),
                              "%s: the CRD requires it, the rules do not", path);
                cJSON_AddItemToObject(node, name, gone);
                b->count++;
        }
}

static void try_schema(struct bounds *b, cJSON *parent, cJSON *node, const yaml_node_t *schema,
                       const char *field);

static void try_members(struct bounds *b, cJSON *node, const yaml_node_t *schema,
                        const char *field) {
        const yaml_node_t *properties = member(schema, "properties");

        for (size_t i = 0; i < sizeof(passed_on) / sizeof(passed_on[0]); i++)
                if (strcmp(passed_on[i], field) == 0)
                        return;
        try_required(b, node, schema, field);
        for (yaml_node_pair_t *pair = properties ? properties->data.mapping.pairs.start : NULL;
             pair && pair < properties->data.mapping.pairs.top; pair++) {
                const char *name =
                        (char *)yaml_document_get_node(&crd, pair->key)->data.scalar.value;
                char path[FIELD_MAX];

                (void)snprintf(path, sizeof(path), "%s.%s", field, name);
                try_schema(b, node, cJSON_GetObjectItemCaseSensitive(node, name),
                           yaml_document_get_node(&crd, pair->value), path);
        }
}

static void try_schema(struct bounds *b, cJSON *parent, cJSON *node, const yaml_node_t *schema,
                       const char *field) {
        const char *type = text(schema, "type");
        char path[FIELD_MAX];

        ck_assert_msg(member(schema, "description") || strchr(field, '['), "%s has no description",
                      field);
        try_value(b, parent, &node, field,
                  strcmp(type, "boolean") == 0 ? cJSON_CreateString("true") : cJSON_CreateTrue(),
                  "FieldValueTypeInvalid", true);
        if (strcmp(type, "string") == 0 || is_int_or_string(schema))
                try_string(b, parent, &node, schema, field);
        else if (strcmp(type, "integer") == 0)
                try_integer(b, parent, &node, schema, field);
        else if (strcmp(type, "array") == 0) {
                try_count(b, parent, &node, schema, field, "maxItems");
                (void)snprintf(path, sizeof(path), "%s[0]", field);
                try_schema(b, node, node->child, member(schema, "items"), path);
        } else if (strcmp(type, "object") == 0) {
                try_count(b, parent, &node, schema, field, "maxProperties");
                if (member(schema, "additionalProperties")) {
                        (void)snprintf(path, sizeof(path), "%s[key]", field);
                        try_schema(b, node, node->child, member(schema, "additionalProperties"),
                                   path);
                }
                try_members(b, node, schema, field);
        }
}

static const yaml_node_t *spec_schema(void) {
        const yaml_node_t *node = member(yaml_document_get_root_node(&crd), "spec");
        const yaml_node_t *versions = member(node, "versions");
        static const char *const path[] = { "schema", "openAPIV3Schema", "properties", "spec" };

        ck_assert_ptr_nonnull(versions);
        node = yaml_document_get_node(&crd, versions->data.sequence.items.start[0]);
        for (size_t i = 0; i < sizeof(path) / sizeof(path[0]); i++)
                node = member(node, path[i]);
        ck_assert_ptr_nonnull(node);
        return node;
}

static void load_crd(void) {
        FILE *file = fopen(CRD, "re");
        yaml_parser_t parser;

        ck_assert_msg(file && yaml_parser_initialize(&parser), "cannot read %s", CRD);
        yaml_parser_set_input_file(&parser, file);
        ck_assert_msg(yaml_parser_load(&parser, &crd), "%s: line %zu: %s", CRD,
                      parser.problem_mark.line + 1, parser.problem);
        yaml_parser_delete(&parser);
        (void)fclose(file);
}

START_TEST(every_bound_of_the_crd_is_a_rule) {
        struct bounds b = { .spec = NULL };
        const yaml_node_t *schema;

        load_crd();
        schema = spec_schema();
        b.spec = sample("spec", schema);
        try_members(&b, b.spec, schema, "spec");
        ck_assert_msg(b.count > 300, "only %d values were tried", b.count);
        cJSON_Delete(b.spec);
        yaml_document_delete(&crd);
}
END_TEST

static void find_members(const struct rule *members, const yaml_node_t *schema, const char *field);

static void find_rule(const struct rule *rule, const yaml_node_t *schema, const char *field) {
        ck_assert_msg(schema, "%s is a rule, but not in the CRD", field);
        if (rule->members)
                find_members(rule->members, schema, field);
        if (rule->item)
                find_rule(rule->item,
                          member(schema, rule->type == RULE_MAP ? "additionalProperties" : "items"),
                          field);
}

static void find_members(const struct rule *members, const yaml_node_t *schema, const char *field) {
        const yaml_node_t *properties = member(schema, "properties");
        size_t at = 0;

        for (; members->name; members++) {
                char path[FIELD_MAX];
                size_t place = at;

                (void)snprintf(path, sizeof(path), "%s.%s", field, members->name);
                find_rule(members, member(properties, members->name), path);
                /* Causes come in spec order: that of the CRD. */
                while (properties->data.mapping.pairs.start[place].value !=
                       (int)(member(properties, members->name) - crd.nodes.start) + 1) {
                        place++;
                        ck_assert_msg(properties->data.mapping.pairs.start + place <
                                              properties->data.mapping.pairs.top,
                                      "%s: out of the CRD's order", path);
                }
                at = place + 1;
        }
}

START_TEST(every_rule_is_in_the_crd_in_its_order) {
        static const struct {
                const char *name;
                const struct rule *members;
        } subjects[] = {
                { "migrations", rules_migrations },
                { "database", rules_database },
                { "checks", rules_checks },
                { "runner", rules_runner },
        };

        load_crd();
        for (size_t i = 0; i < sizeof(subjects) / sizeof(subjects[0]); i++)
                find_members(subjects[i].members,
                             member(member(spec_schema(), "properties"), subjects[i].name),
                             subjects[i].name);
        yaml_document_delete(&crd);
}
END_TEST

int main(void) {
        Suite *suite = suite_create("crd_bounds");
        TCase *tcase = tcase_create("crd_bounds");
        SRunner *runner = srunner_create(suite);
        int failed;

        suite_add_tcase(suite, tcase);
        tcase_add_test(tcase, every_bound_of_the_crd_is_a_rule);
        tcase_add_test(tcase, every_rule_is_in_the_crd_in_its_order);
        srunner_run_all(runner, CK_NORMAL);
        failed = srunner_ntests_failed(runner);
        srunner_free(runner);
        return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
