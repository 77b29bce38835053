/* SPDX-License-Identifier: Apache-2.0 */
#include "common/api/dbupgrade.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/fault.h"
#include "common/json/json_get.h"

static const char *const database_type_names[] = {
        [DATABASE_UNKNOWN] = "",
        [DATABASE_SELF_HOSTED] = "selfHosted",
        [DATABASE_AWS_RDS] = "awsRds",
        [DATABASE_AWS_AURORA] = "awsAurora",
};

static const char *const runner_member_names[RUNNER_MEMBER_COUNT] = {
        [RUNNER_COMMAND] = "command",
        [RUNNER_ENV] = "env",
        [RUNNER_ENV_FROM] = "envFrom",
        [RUNNER_VOLUMES] = "volumes",
        [RUNNER_VOLUME_MOUNTS] = "volumeMounts",
        [RUNNER_IMAGE_PULL_POLICY] = "imagePullPolicy",
        [RUNNER_SERVICE_ACCOUNT_NAME] = "serviceAccountName",
        [RUNNER_IMAGE_PULL_SECRETS] = "imagePullSecrets",
        [RUNNER_RESOURCES] = "resources",
        [RUNNER_NODE_SELECTOR] = "nodeSelector",
        [RUNNER_TOLERATIONS] = "tolerations",
        [RUNNER_AFFINITY] = "affinity",
        [RUNNER_PRIORITY_CLASS_NAME] = "priorityClassName",
        [RUNNER_TERMINATION_GRACE_PERIOD_SECONDS] = "terminationGracePeriodSeconds",
        [RUNNER_POD_LABELS] = "podLabels",
        [RUNNER_POD_ANNOTATIONS] = "podAnnotations",
        [RUNNER_POD_SECURITY_CONTEXT] = "podSecurityContext",
        [RUNNER_SECURITY_CONTEXT] = "securityContext",
};

static const char *const run_result_names[] = {
        [RUN_NONE] = "",
        [RUN_STARTING] = "Starting",
        [RUN_RUNNING] = "Running",
        [RUN_SUPERSEDING] = "Superseding",
        [RUN_SUCCEEDED] = "Succeeded",
        [RUN_FAILED] = "Failed",
        [RUN_LOST] = "Lost",
        [RUN_SUPERSEDED] = "Superseded",
};

const char *database_type_name(enum database_type type) {
        return database_type_names[type];
}

const char *runner_member_name(enum runner_member member) {
        return runner_member_names[member];
}

const char *run_result_name(enum run_result result) {
        return run_result_names[result];
}

enum run_result run_result_parse(const char *name) {
        for (enum run_result result = RUN_STARTING; result <= RUN_SUPERSEDED; result++)
                if (strcmp(name, run_result_names[result]) == 0)
                        return result;
        return RUN_NONE;
}

bool run_result_is_final(enum run_result result) {
        switch (result) {
        case RUN_NONE:
        case RUN_STARTING:
        case RUN_RUNNING:
        case RUN_SUPERSEDING:
                return false;
        case RUN_SUCCEEDED:
        case RUN_FAILED:
        case RUN_LOST:
        case RUN_SUPERSEDED:
                return true;
        }
        return false;
}

static enum database_type decode_database_type(const char *name) {
        for (enum database_type type = DATABASE_SELF_HOSTED; type <= DATABASE_AWS_AURORA; type++)
                if (strcmp(name, database_type_names[type]) == 0)
                        return type;
        return DATABASE_UNKNOWN;
}

static const char *decode_string(const cJSON *node, const char *path, const char *fallback) {
        const char *text = json_string(json_at(node, path));

        return text ? text : fallback;
}

static void decode_database(const cJSON *database, struct dbupgrade_spec *spec) {
        const cJSON *connection = json_member(database, "connection");
        const cJSON *aws = json_member(database, "aws");

        spec->database_type = decode_database_type(json_string_at(database, "type"));
        spec->has_connection = cJSON_IsObject(connection);
        spec->secret_name = json_string_at(connection, "urlSecretRef.name");
        spec->secret_key =
                decode_string(connection, "urlSecretRef.key", DBUPGRADE_DEFAULT_SECRET_KEY);
        spec->has_aws = cJSON_IsObject(aws);
        spec->aws = (struct dbupgrade_aws){
                .role_arn = json_string_at(aws, "roleArn"),
                .region = json_string_at(aws, "region"),
                .host = json_string_at(aws, "host"),
                .db_name = json_string_at(aws, "dbName"),
                .username = json_string_at(aws, "username"),
                .port = json_int_at(aws, "port", DBUPGRADE_DEFAULT_AWS_PORT),
        };
}

static bool decode_has_items(const cJSON *node, const char *path) {
        const cJSON *list = json_at(node, path);

        return cJSON_IsArray(list) && list->child;
}

/* The spans of runner are there already. */
static void decode_spec(const cJSON *tree, struct dbupgrade_spec *spec) {
        spec->image = json_string_at(tree, "migrations.image");
        spec->dir = decode_string(tree, "migrations.dir", DBUPGRADE_DEFAULT_DIR);
        decode_database(json_member(tree, "database"), spec);
        spec->has_pre_checks = decode_has_items(tree, "checks.pre.minPodVersions") ||
                               decode_has_items(tree, "checks.pre.metrics");
        spec->has_post_checks = decode_has_items(tree, "checks.post.metrics");
        spec->active_deadline_s =
                json_int_at(tree, "runner.activeDeadlineSeconds", DBUPGRADE_DEFAULT_DEADLINE_S);
        spec->ttl_s = json_int_at(tree, "runner.ttlSecondsAfterFinished", -1);
        spec->suspend = json_true_at(tree, "suspend");
}

static void decode_run(const cJSON *node, struct dbupgrade_run *run) {
        *run = (struct dbupgrade_run){
                .number = json_int_at(node, "number", 0),
                .job_name = json_string_at(node, "jobName"),
                .job_uid = json_string_at(node, "jobUID"),
                .run_key = json_string_at(node, "runKey"),
                .attempt_key = json_string_at(node, "attemptKey"),
                .image = json_string_at(node, "image"),
                .started_at = json_string_at(node, "startedAt"),
                .finished_at = json_string_at(node, "finishedAt"),
                .result = run_result_parse(json_string_at(node, "result")),
                .reason = json_string_at(node, "reason"),
                .message = json_string_at(node, "message"),
        };
        run->has_exit_code = json_int(json_member(node, "exitCode"), &run->exit_code);
}

static void decode_history(const cJSON *list, struct dbupgrade_status *status) {
        const cJSON *item;

        if (!cJSON_IsArray(list))
                return;
        cJSON_ArrayForEach (item, list) {
                if (status->history_count == DBUPGRADE_HISTORY_MAX)
                        return;
                decode_run(item, &status->history[status->history_count++]);
        }
}

static int decode_conditions(const cJSON *list, struct dbupgrade *object, struct fault *f) {
        const cJSON *item;
        size_t count = 0;

        if (!cJSON_IsArray(list) || !list->child)
                return 0;
        object->condition_storage =
                calloc((size_t)cJSON_GetArraySize(list), sizeof(*object->condition_storage));
        if (!object->condition_storage)
                return fault_set(f, FAULT_NOMEM, "out of memory");
        cJSON_ArrayForEach (item, list) {
                object->condition_storage[count++] = (struct dbupgrade_condition){
                        .type = json_string_at(item, "type"),
                        .status = json_string_at(item, "status"),
                        .reason = json_string_at(item, "reason"),
                        .message = json_string_at(item, "message"),
                        .last_transition_time = json_string_at(item, "lastTransitionTime"),
                        .observed_generation = json_int_at(item, "observedGeneration", 0),
                };
        }
        object->status.conditions = object->condition_storage;
        object->status.condition_count = count;
        return 0;
}

static int decode_status(const cJSON *tree, struct dbupgrade *object, struct fault *f) {
        struct dbupgrade_status *status = &object->status;

        status->observed_generation = json_int_at(tree, "observedGeneration", -1);
        status->reason = json_string_at(tree, "reason");
        status->message = json_string_at(tree, "message");
        status->applied_key = json_string_at(tree, "appliedKey");
        status->applied_image = json_string_at(tree, "appliedImage");
        status->applied_at = json_string_at(tree, "appliedAt");
        status->last_handled_retry = json_string(json_member(tree, "lastHandledRetry"));
        status->job_name = json_string_at(tree, "jobName");
        decode_run(json_member(tree, "lastRun"), &status->last_run);
        decode_history(json_member(tree, "history"), status);
        return decode_conditions(json_member(tree, "conditions"), object, f);
}

static int decode_metadata(const cJSON *meta, struct dbupgrade *object, struct fault *f) {
        const cJSON *annotations = json_member(meta, "annotations");
        const struct {
                const char *name, **text;
        } required[] = {
                { "name", &object->name },
                { "namespace", &object->namespace_ },
                { "uid", &object->uid },
                { "resourceVersion", &object->resource_version },
        };

        for (size_t i = 0; i < sizeof(required) / sizeof(required[0]); i++) {
                *required[i].text = json_string_at(meta, required[i].name);
                if (!**required[i].text)
                        return fault_set(f, FAULT_INVALID, "%s without metadata.%s", DBUPGRADE_KIND,
                                         required[i].name);
        }
        object->generation = json_int_at(meta, "generation", 0);
        object->deleting = !json_is_absent(json_member(meta, "deletionTimestamp"));
        object->retry = json_string(json_member(annotations, DBUPGRADE_ANNOTATION_RETRY));
        return 0;
}

/* The one strict pass over the text, which also finds the members of runner; then the tree. */
static int decode_text(struct dbupgrade *object, size_t len, struct fault *f) {
        struct json_want wants[RUNNER_MEMBER_COUNT];
        struct json_span all = { .text = object->text, .len = len };
        int r;

        for (size_t i = 0; i < RUNNER_MEMBER_COUNT; i++)
                wants[i] =
                        (struct json_want){ .path = { "spec", "runner", runner_member_names[i] } };
        r = json_check(object->text, len, wants, RUNNER_MEMBER_COUNT, f);
        if (r)
                return r;
        for (size_t i = 0; i < RUNNER_MEMBER_COUNT; i++)
                if (json_span_kind(&wants[i].span) != 'n')
                        object->spec.runner[i] = wants[i].span;
        return json_parse_span(&all, &object->tree, f);
}

int dbupgrade_decode(const char *text, size_t len, struct dbupgrade **ret_object, struct fault *f) {
        CLEANUP(dbupgrade_free_p) struct dbupgrade *object = calloc(1, sizeof(*object));
        int r;

        if (object)
                object->text = malloc(len + 1);
        if (!object || !object->text)
                return fault_set(f, FAULT_NOMEM, "out of memory");
        memcpy(object->text, text, len);
        object->text[len] = '\0';
        r = decode_text(object, len, f);
        if (r)
                return fault_wrap(f, r, "%s", DBUPGRADE_KIND);
        r = decode_metadata(json_member(object->tree, "metadata"), object, f);
        if (r)
                return r;
        object->spec_tree = json_member(object->tree, "spec");
        decode_spec(object->spec_tree, &object->spec);
        r = decode_status(json_member(object->tree, "status"), object, f);
        if (r)
                return r;
        *ret_object = TAKE(object);
        return 0;
}

void dbupgrade_free(struct dbupgrade *object) {
        if (!object)
                return;
        cJSON_Delete(object->tree);
        free(object->condition_storage);
        free(object->text);
        free(object);
}

const struct dbupgrade_condition *dbupgrade_condition_find(const struct dbupgrade_status *status,
                                                           const char *type) {
        for (size_t i = 0; i < status->condition_count; i++)
                if (strcmp(status->conditions[i].type, type) == 0)
                        return &status->conditions[i];
        return NULL;
}
