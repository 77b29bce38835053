/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "common/api/dbupgrade.h"
#include "common/api/rules.h"
#include "common/api/syntax.h"
#include "common/json/json_get.h"

/* What the unions look at. */
struct database_union {
        const char *type; /* NULL when it is missing or unsupported */
        bool self_hosted, connection, aws;
};

static struct database_union database_union(const cJSON *database) {
        struct database_union u = {
                .type = json_string(json_member(database, "type")),
                .connection = !json_is_absent(json_member(database, "connection")),
                .aws = !json_is_absent(json_member(database, "aws")),
        };

        if (!u.type)
                return u;
        u.self_hosted = strcmp(u.type, "selfHosted") == 0;
        if (!u.self_hosted && strcmp(u.type, "awsRds") != 0 && strcmp(u.type, "awsAurora") != 0)
                u.type = NULL;
        return u;
}

/* A connection or aws may come or go only as the repair of a union that the old spec breaks. */
static void database_presence(struct rules *r, const struct rules_at *at) {
        const cJSON *old_database = at->up->old;
        struct database_union old = database_union(old_database);
        bool broken = old.self_hosted ? !old.connection || old.aws : !old.connection && !old.aws;

        if (!cJSON_IsObject(old_database) || broken)
                return;
        if (!json_is_absent(at->node) && !cJSON_IsObject(at->node))
                return; /* has a cause of its own */
        if (json_is_absent(at->node) != json_is_absent(at->old))
                rules_add(r, at, "FieldValueForbidden", "Forbidden: %s cannot be added or removed",
                          rules_path(r, at));
}

void rules_database_relate(struct rules *r, const struct rules_at *at) {
        struct database_union u = database_union(at->node);

        if (u.type && !u.self_hosted && !u.connection && !u.aws)
                rules_add(r, at, "FieldValueRequired",
                          "Required value: database.type=%s requires either aws or connection to "
                          "be set",
                          u.type);
}

static void database_relate_connection(struct rules *r, const struct rules_at *at) {
        struct database_union u = database_union(at->up->node);

        if (u.self_hosted && !u.connection)
                rules_add(r, at, "FieldValueRequired",
                          "Required value: database.type=selfHosted requires connection to be set");
        database_presence(r, at);
}

static void database_relate_aws(struct rules *r, const struct rules_at *at) {
        struct database_union u = database_union(at->up->node);

        if (u.self_hosted && u.aws)
                rules_add(r, at, "FieldValueForbidden",
                          "Forbidden: database.aws should not be set for selfHosted type");
        database_presence(r, at);
}

enum { SECRET_REF_NAME, SECRET_REF_KEY };

static const struct rule secret_ref[] = {
        [SECRET_REF_NAME] = { .name = "name",
                              .type = RULE_STRING,
                              .flags = RULE_REQUIRED | RULE_SAID_EMPTY,
                              .max = 253,
                              .form = syntax_subdomain,
                              .form_text = "must be a DNS-1123 subdomain" },
        [SECRET_REF_KEY] = { .name = "key",
                             .type = RULE_STRING,
                             .flags = RULE_NOT_EMPTY | RULE_SAID_EMPTY,
                             .max = 253,
                             .form = syntax_secret_key,
                             .form_text = "must be a Secret key of letters, digits, \"-\", \"_\" "
                                          "and \".\"" },
        { .name = "optional", .type = RULE_BOOLEAN },
        { 0 },
};

/* A member of a Secret reference as text; "" when it is no string. */
static const char *secret_ref_text(struct rules *r, const cJSON *ref, const char *name,
                                   const char *fallback) {
        const cJSON *node = json_member(ref, name);
        const char *text = json_is_absent(node) ? fallback : json_string(node);

        return text ? rules_cut(r, text) : "";
}

static bool secret_ref_accept(struct rules *r, const struct rules_at *ref, int member) {
        struct rules_at at = {
                .up = ref,
                .rule = &secret_ref[member],
                .index = -1,
                .node = json_member(ref->node, secret_ref[member].name),
        };

        return rules_accept(r, &at);
}

/* Name and key are immutable together, unless they have causes of their own. */
static void secret_ref_relate(struct rules *r, const struct rules_at *at) {
        const char *old_name, *old_key, *name, *key;

        if (!cJSON_IsObject(at->old) || !cJSON_IsObject(at->node) ||
            !secret_ref_accept(r, at, SECRET_REF_NAME) || !secret_ref_accept(r, at, SECRET_REF_KEY))
                return;
        old_name = secret_ref_text(r, at->old, "name", "");
        old_key = secret_ref_text(r, at->old, "key", DBUPGRADE_DEFAULT_SECRET_KEY);
        name = secret_ref_text(r, at->node, "name", "");
        key = secret_ref_text(r, at->node, "key", DBUPGRADE_DEFAULT_SECRET_KEY);
        if ((*old_name && strcmp(old_name, name) != 0) || (*old_key && strcmp(old_key, key) != 0))
                rules_add(r, at, "FieldValueForbidden",
                          "Forbidden: %s is immutable (cannot change from %s/%s to %s/%s)",
                          rules_path(r, at), old_name, old_key, name, key);
}

static const struct rule database_connection[] = {
        { .name = "urlSecretRef",
          .type = RULE_OBJECT,
          .flags = RULE_REQUIRED,
          .members = secret_ref,
          .relate = secret_ref_relate },
        { 0 },
};

static const struct rule database_aws[] = {
        { .name = "roleArn",
          .type = RULE_STRING,
          .flags = RULE_REQUIRED | RULE_IMMUTABLE,
          .max = 2048,
          .form = syntax_role_arn,
          .form_text = "must be the ARN of an IAM role" },
        { .name = "region",
          .type = RULE_STRING,
          .flags = RULE_REQUIRED | RULE_IMMUTABLE,
          .max = 64 },
        { .name = "host",
          .type = RULE_STRING,
          .flags = RULE_REQUIRED | RULE_IMMUTABLE,
          .max = 253 },
        { .name = "port",
          .type = RULE_INTEGER,
          .flags = RULE_IMMUTABLE,
          .min = 1,
          .max = 65535,
          .fallback = DBUPGRADE_DEFAULT_AWS_PORT },
        { .name = "dbName",
          .type = RULE_STRING,
          .flags = RULE_REQUIRED | RULE_IMMUTABLE,
          .max = 128 },
        { .name = "username",
          .type = RULE_STRING,
          .flags = RULE_REQUIRED | RULE_IMMUTABLE,
          .max = 128 },
        { 0 },
};

static const char *const database_types[] = { "selfHosted", "awsRds", "awsAurora", NULL };

const struct rule rules_database[] = {
        { .name = "type",
          .type = RULE_STRING,
          .flags = RULE_REQUIRED | RULE_IMMUTABLE,
          .values = database_types },
        { .name = "connection",
          .type = RULE_OBJECT,
          .members = database_connection,
          .relate = database_relate_connection },
        { .name = "aws",
          .type = RULE_OBJECT,
          .members = database_aws,
          .relate = database_relate_aws },
        { 0 },
};
