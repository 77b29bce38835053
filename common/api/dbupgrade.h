/* SPDX-License-Identifier: Apache-2.0 */
/* The DBUpgrade object, group dbupgrade.subbug.learning, version v1alpha1, as C structs.
 *
 * dbupgrade_decode reads what the API server sends. It is tolerant where the object is the user's:
 * a member of a wrong type counts as absent here; whether the spec is valid is for
 * dbupgrade_rules.h. All strings and spans of a decoded object point into it and live as long as it
 * does. Immutable after decoding, so it may be read by several threads.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/cleanup.h"
#include "common/json/json_check.h"

struct cJSON;
struct fault;

#define DBUPGRADE_GROUP        "dbupgrade.subbug.learning"
#define DBUPGRADE_VERSION_NAME "v1alpha1"
#define DBUPGRADE_API_VERSION  DBUPGRADE_GROUP "/" DBUPGRADE_VERSION_NAME
#define DBUPGRADE_KIND         "DBUpgrade"
#define DBUPGRADE_PLURAL       "dbupgrades"

#define DBUPGRADE_ANNOTATION_RETRY DBUPGRADE_GROUP "/retry"

/* Defaults of the CRD. */
#define DBUPGRADE_DEFAULT_DIR        "/migrations"
#define DBUPGRADE_DEFAULT_SECRET_KEY "url"
#define DBUPGRADE_DEFAULT_AWS_PORT   5432
#define DBUPGRADE_DEFAULT_DEADLINE_S 600

enum database_type {
        DATABASE_UNKNOWN,
        DATABASE_SELF_HOSTED,
        DATABASE_AWS_RDS,
        DATABASE_AWS_AURORA
};

/* "selfHosted", … ; "" for DATABASE_UNKNOWN. */
const char *database_type_name(enum database_type type);

struct dbupgrade_aws {
        const char *role_arn, *region, *host, *db_name, *username; /* "" when absent */
        int64_t port;
};

/* The members of spec.runner that go into the Job byte for byte. */
enum runner_member {
        RUNNER_COMMAND,
        RUNNER_ENV,
        RUNNER_ENV_FROM,
        RUNNER_VOLUMES,
        RUNNER_VOLUME_MOUNTS,
        RUNNER_IMAGE_PULL_POLICY,
        RUNNER_SERVICE_ACCOUNT_NAME,
        RUNNER_IMAGE_PULL_SECRETS,
        RUNNER_RESOURCES,
        RUNNER_NODE_SELECTOR,
        RUNNER_TOLERATIONS,
        RUNNER_AFFINITY,
        RUNNER_PRIORITY_CLASS_NAME,
        RUNNER_TERMINATION_GRACE_PERIOD_SECONDS,
        RUNNER_POD_LABELS,
        RUNNER_POD_ANNOTATIONS,
        RUNNER_POD_SECURITY_CONTEXT,
        RUNNER_SECURITY_CONTEXT,
        RUNNER_MEMBER_COUNT
};

/* The member's name in JSON, such as "envFrom". Static storage. */
const char *runner_member_name(enum runner_member member);

struct dbupgrade_spec {
        const char *image; /* "" when absent, as all strings here */
        const char *dir;   /* default filled in */
        enum database_type database_type;
        bool has_connection;
        const char *secret_name;
        const char *secret_key; /* default filled in */
        bool has_aws;
        struct dbupgrade_aws aws;
        bool has_pre_checks, has_post_checks;         /* at least one */
        int64_t active_deadline_s;                    /* default filled in */
        int64_t ttl_s;                                /* ttlSecondsAfterFinished; -1 when absent */
        struct json_span runner[RUNNER_MEMBER_COUNT]; /* absent when the member is absent or null */
        bool suspend;
};

enum run_result {
        RUN_NONE, /* no run yet */
        RUN_STARTING,
        RUN_RUNNING,
        RUN_SUPERSEDING,
        RUN_SUCCEEDED,
        RUN_FAILED,
        RUN_LOST,
        RUN_SUPERSEDED
};

/* "Starting", …; "" for RUN_NONE. */
const char *run_result_name(enum run_result result);
/* RUN_NONE for an unknown name. */
enum run_result run_result_parse(const char *name);
/* Whether the run has ended: Succeeded, Failed, Lost or Superseded. */
bool run_result_is_final(enum run_result result);

/* One entry of the ledger: status.lastRun, status.history[]. Strings are "" when absent. */
struct dbupgrade_run {
        int64_t number; /* from 1; 0 when there is no run */
        const char *job_name, *job_uid;
        const char *run_key, *attempt_key; /* lower-case hex of SHA-256 */
        const char *image;
        const char *started_at, *finished_at; /* metav1.Time */
        enum run_result result;
        bool has_exit_code;
        int64_t exit_code;
        const char *reason, *message;
};

struct dbupgrade_condition {
        const char *type, *status, *reason, *message;
        const char *last_transition_time; /* metav1.Time */
        int64_t observed_generation;      /* 0 when absent */
};

#define DBUPGRADE_HISTORY_MAX 5

struct dbupgrade_status {
        int64_t observed_generation; /* -1 when absent: not seen yet */
        const char *reason, *message;
        const char *applied_key, *applied_image, *applied_at;
        const char *last_handled_retry; /* NULL when absent: distinct from an empty annotation */
        const char *job_name;
        struct dbupgrade_run last_run;
        struct dbupgrade_run history[DBUPGRADE_HISTORY_MAX]; /* newest first */
        size_t history_count;
        const struct dbupgrade_condition *conditions;
        size_t condition_count;
};

struct dbupgrade {
        const char *namespace_, *name, *uid, *resource_version;
        int64_t generation;
        bool deleting;     /* metadata.deletionTimestamp is set */
        const char *retry; /* the retry annotation; NULL when absent */
        struct dbupgrade_spec spec;
        struct dbupgrade_status status;
        const struct cJSON *spec_tree; /* for dbupgrade_rules and run_key; NULL when absent */

        /* Storage of all of the above. */
        char *text;
        struct cJSON *tree;
        struct dbupgrade_condition *condition_storage;
};

/* Reads one object (copying the text). Return: 0, -FAULT_INVALID when it is no strict JSON or has
 * no metadata.name, namespace, uid or resourceVersion, -FAULT_NOMEM. */
int dbupgrade_decode(const char *text, size_t len, struct dbupgrade **ret_object, struct fault *f)
        MUST_CHECK;

/* Accepts NULL. */
void dbupgrade_free(struct dbupgrade *object);
DEFINE_CLEANUP(struct dbupgrade *, dbupgrade_free)

/* The condition of that type, or NULL. */
const struct dbupgrade_condition *dbupgrade_condition_find(const struct dbupgrade_status *status,
                                                           const char *type);
