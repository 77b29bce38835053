/* SPDX-License-Identifier: Apache-2.0 */
#include "reconciler/job.h"

#include <inttypes.h>
#include <string.h>

#include "common/api/dbupgrade.h"
#include "common/base/fault.h"
#include "common/base/strbuf.h"
#include "common/json/json_write.h"

/* A member that the operator sets unless the user does: its name and its JSON value. */
struct job_default {
        const char *name, *json;
};

static const struct json_span *member(const struct dbupgrade *object, enum runner_member m) {
        return &object->spec.runner[m];
}

/* The user's member, absent when it is none of that kind ('{' or '['). */
static struct json_span container(const struct dbupgrade *object, enum runner_member m, char kind) {
        const struct json_span *span = member(object, m);

        return json_span_kind(span) == kind ? *span : (struct json_span){ .text = NULL, .len = 0 };
}

/* Without the memory to tell, the output is bad: a default could stand beside the user's member. */
static bool has_member(struct json_writer *w, const struct json_span *object, const char *name) {
        struct json_want want = { .path = { name } };

        if (object->text && json_check(object->text, object->len, &want, 1, NULL))
                w->out->bad = true;
        return want.span.text != NULL;
}

static bool is_blank(const char *text, size_t len) {
        for (size_t i = 0; i < len; i++)
                if (!strchr(" \t\r\n", text[i]))
                        return false;
        return true;
}

/* Appends what stands between the brackets of a container as further items of the open one. */
static void put_items_of(struct json_writer *w, const struct json_span *span) {
        if (span->text && !is_blank(span->text + 1, span->len - 2))
                json_put_raw(w, span->text + 1, span->len - 2);
}

/* "name": the user's object and those of the defaults that it has not got. */
static void put_merged(struct json_writer *w, const char *name, const struct job_default *defaults,
                       size_t count, const struct json_span *user) {
        json_kv_object(w, name);
        for (size_t i = 0; i < count; i++) {
                if (has_member(w, user, defaults[i].name))
                        continue;
                json_key(w, defaults[i].name);
                json_put_raw(w, defaults[i].json, strlen(defaults[i].json));
        }
        put_items_of(w, user);
        json_end_object(w);
}

static void put_labels(struct json_writer *w, const struct dbupgrade *object,
                       const struct job_identity *id, const struct json_span *user) {
        json_kv_object(w, "labels");
        /* The one that is not ours alone. */
        if (!has_member(w, user, NAMES_LABEL_APP))
                json_kv_string(w, NAMES_LABEL_APP, NAMES_LABEL_APP_VALUE);
        json_kv_string(w, NAMES_LABEL_MANAGED_BY, NAMES_MANAGED_BY_VALUE);
        json_kv_string(w, NAMES_LABEL_OWNER_UID, object->uid);
        json_kv_string(w, NAMES_LABEL_NAME, id->name_label);
        put_items_of(w, user);
        json_end_object(w);
}

static void put_job_metadata(struct json_writer *w, const struct dbupgrade *object,
                             const struct job_identity *id) {
        static const struct json_span none = { .text = NULL, .len = 0 };
        char number[21]; /* a 64-bit number and NUL */

        (void)snprintf(number, sizeof(number), "%" PRId64, id->number);
        json_kv_object(w, "metadata");
        json_kv_string(w, "name", id->name);
        json_kv_string(w, "namespace", object->namespace_);
        put_labels(w, object, id, &none);
        json_kv_object(w, "annotations");
        json_kv_string(w, NAMES_ANNOTATION_RUN_KEY, id->run_key);
        json_kv_string(w, NAMES_ANNOTATION_ATTEMPT, id->attempt_key);
        json_kv_string(w, NAMES_ANNOTATION_RUN, number);
        json_kv_string(w, NAMES_ANNOTATION_DBUPGRADE, object->name);
        json_end_object(w);
        json_kv_array(w, "ownerReferences");
        json_object(w);
        json_kv_string(w, "apiVersion", DBUPGRADE_API_VERSION);
        json_kv_string(w, "kind", DBUPGRADE_KIND);
        json_kv_string(w, "name", object->name);
        json_kv_string(w, "uid", object->uid);
        json_kv_bool(w, "controller", true);
        json_kv_bool(w, "blockOwnerDeletion", true);
        json_end_object(w);
        json_end_array(w);
        json_end_object(w);
}

static void put_command(struct json_writer *w, const struct dbupgrade *object) {
        CLEANUP(strbuf_done) struct strbuf script = STRBUF_INIT(4096);
        struct json_span command = container(object, RUNNER_COMMAND, '[');

        if (command.text) {
                json_kv_span(w, "command", &command);
                return;
        }
        /* Some images have the tool at /atlas. */
        strbuf_printf(&script,
                      "PATH=\"$PATH:/\"; exec atlas migrate apply --dir \"file://%s\" --url "
                      "\"$DATABASE_URL\"",
                      object->spec.dir);
        w->out->bad |= script.bad;
        json_kv_array(w, "command");
        json_put_string(w, "sh");
        json_put_string(w, "-c");
        json_end_array(w);
        json_kv_array(w, "args");
        json_put_string(w, strbuf_text(&script));
        json_end_array(w);
}

static void put_env(struct json_writer *w, const struct dbupgrade *object) {
        struct json_span env = container(object, RUNNER_ENV, '[');

        json_kv_array(w, "env");
        json_object(w);
        json_kv_string(w, "name", "DATABASE_URL");
        json_kv_object(w, "valueFrom");
        json_kv_object(w, "secretKeyRef");
        json_kv_string(w, "name", object->spec.secret_name);
        json_kv_string(w, "key", object->spec.secret_key);
        json_end_object(w);
        json_end_object(w);
        json_end_object(w);
        json_object(w);
        json_kv_string(w, "name", "MIGRATIONS_DIR");
        json_kv_string(w, "value", object->spec.dir);
        json_end_object(w);
        put_items_of(w, &env);
        json_end_array(w);
}

static void put_migrate_container(struct json_writer *w, const struct dbupgrade *object) {
        static const struct job_default security[] = {
                { "allowPrivilegeEscalation", "false" },
                { "capabilities", "{\"drop\":[\"ALL\"]}" },
        };
        static const char requests[] = "{\"requests\":{\"cpu\":\"10m\",\"memory\":\"64Mi\"}}";
        struct json_span context = container(object, RUNNER_SECURITY_CONTEXT, '{');

        json_object(w);
        json_kv_string(w, "name", "migrate");
        json_kv_string(w, "image", object->spec.image);
        put_command(w, object);
        put_env(w, object);
        json_kv_span(w, "envFrom", member(object, RUNNER_ENV_FROM));
        json_kv_span(w, "volumeMounts", member(object, RUNNER_VOLUME_MOUNTS));
        json_kv_span(w, "imagePullPolicy", member(object, RUNNER_IMAGE_PULL_POLICY));
        json_kv_string(w, "terminationMessagePolicy", "FallbackToLogsOnError");
        if (member(object, RUNNER_RESOURCES)->text) {
                json_kv_span(w, "resources", member(object, RUNNER_RESOURCES));
        } else {
                json_key(w, "resources");
                json_put_raw(w, requests, sizeof(requests) - 1);
        }
        put_merged(w, "securityContext", security, 2, &context);
        json_end_object(w);
}

static void put_pod_spec(struct json_writer *w, const struct dbupgrade *object) {
        static const struct job_default security[] = {
                { "seccompProfile", "{\"type\":\"RuntimeDefault\"}" },
        };
        static const struct {
                const char *name;
                enum runner_member member;
        } copied[] = {
                { "serviceAccountName", RUNNER_SERVICE_ACCOUNT_NAME },
                { "imagePullSecrets", RUNNER_IMAGE_PULL_SECRETS },
                { "nodeSelector", RUNNER_NODE_SELECTOR },
                { "tolerations", RUNNER_TOLERATIONS },
                { "affinity", RUNNER_AFFINITY },
                { "priorityClassName", RUNNER_PRIORITY_CLASS_NAME },
                { "terminationGracePeriodSeconds", RUNNER_TERMINATION_GRACE_PERIOD_SECONDS },
                { "volumes", RUNNER_VOLUMES },
        };
        struct json_span context = container(object, RUNNER_POD_SECURITY_CONTEXT, '{');

        json_kv_object(w, "spec");
        json_kv_string(w, "restartPolicy", "Never");
        json_kv_bool(w, "automountServiceAccountToken", false);
        json_kv_bool(w, "enableServiceLinks", false);
        put_merged(w, "securityContext", security, 1, &context);
        for (size_t i = 0; i < sizeof(copied) / sizeof(copied[0]); i++)
                json_kv_span(w, copied[i].name, member(object, copied[i].member));
        json_kv_array(w, "containers");
        put_migrate_container(w, object);
        json_end_array(w);
        json_end_object(w);
}

static void put_template(struct json_writer *w, const struct dbupgrade *object,
                         const struct job_identity *id) {
        /* Neither autoscaler may move a running migration to another node. */
        static const struct job_default annotations[] = {
                { "cluster-autoscaler.kubernetes.io/safe-to-evict", "\"false\"" },
                { "karpenter.sh/do-not-disrupt", "\"true\"" },
        };
        struct json_span labels = container(object, RUNNER_POD_LABELS, '{');
        struct json_span user = container(object, RUNNER_POD_ANNOTATIONS, '{');

        json_kv_object(w, "template");
        json_kv_object(w, "metadata");
        put_labels(w, object, id, &labels);
        put_merged(w, "annotations", annotations, 2, &user);
        json_end_object(w);
        put_pod_spec(w, object);
        json_end_object(w);
}

int job_build(const struct dbupgrade *object, const struct job_identity *identity,
              struct strbuf *out, struct fault *f) {
        /* A drained node is not a failed migration: the Pod is replaced. */
        static const char failure_policy[] =
                "{\"rules\":[{\"action\":\"Ignore\",\"onPodConditions\":"
                "[{\"type\":\"DisruptionTarget\"}]}]}";
        struct json_writer w = JSON_WRITER_INIT(out);

        json_object(&w);
        json_kv_string(&w, "apiVersion", "batch/v1");
        json_kv_string(&w, "kind", "Job");
        put_job_metadata(&w, object, identity);
        json_kv_object(&w, "spec");
        json_kv_bool(&w, "suspend", true);
        json_kv_int(&w, "backoffLimit", 0);
        json_kv_int(&w, "activeDeadlineSeconds", object->spec.active_deadline_s);
        json_kv_string(&w, "podReplacementPolicy", "Failed");
        json_key(&w, "podFailurePolicy");
        json_put_raw(&w, failure_policy, sizeof(failure_policy) - 1);
        put_template(&w, object, identity);
        json_end_object(&w);
        json_end_object(&w);
        return fault_wrap(f, strbuf_check(out, f), "build Job %s", identity->name);
}
