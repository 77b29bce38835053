/* SPDX-License-Identifier: Apache-2.0 */
#include "reconciler/record.h"

#include <string.h>

#include "common/api/names.h"
#include "common/base/fault.h"
#include "common/json/json_get.h"

/* Copies a record and its strings into one block. strings holds the offsets of the members of type
 * const char *; none of them is NULL. */
static void *record_pack(const void *record, size_t size, const size_t *strings, size_t count) {
        size_t total = size;
        char *block, *to;

        for (size_t i = 0; i < count; i++)
                total += strlen(*(const char *const *)((const char *)record + strings[i])) + 1;
        block = malloc(total);
        if (!block)
                return NULL;
        memcpy(block, record, size);
        to = block + size;
        for (size_t i = 0; i < count; i++) {
                const char *from = *(const char *const *)((const char *)record + strings[i]);
                size_t len = strlen(from) + 1;

                memcpy(to, from, len);
                *(const char **)(block + strings[i]) = to;
                to += len;
        }
        return block;
}

#define RECORD_META_STRINGS(type)                                                                  \
        offsetof(struct type, meta.namespace_), offsetof(struct type, meta.name),                  \
                offsetof(struct type, meta.uid), offsetof(struct type, meta.resource_version),     \
                offsetof(struct type, meta.owner_uid), offsetof(struct type, meta.name_label)

static const size_t job_strings[] = {
        RECORD_META_STRINGS(job_record),
        offsetof(struct job_record, controller_uid),
        offsetof(struct job_record, run_key),
        offsetof(struct job_record, attempt_key),
        offsetof(struct job_record, failed_reason),
        offsetof(struct job_record, failed_message),
        offsetof(struct job_record, started_at),
        offsetof(struct job_record, finished_at),
};

static const size_t pod_strings[] = {
        RECORD_META_STRINGS(pod_record),
        offsetof(struct pod_record, job_uid),
        offsetof(struct pod_record, terminated_reason),
        offsetof(struct pod_record, terminated_message),
        offsetof(struct pod_record, waiting_reason),
        offsetof(struct pod_record, waiting_message),
};

struct job_record *job_record_copy(const struct job_record *job) {
        return record_pack(job, sizeof(*job), job_strings, sizeof(job_strings) / sizeof(size_t));
}

struct pod_record *pod_record_copy(const struct pod_record *pod) {
        return record_pack(pod, sizeof(*pod), pod_strings, sizeof(pod_strings) / sizeof(size_t));
}

/* A label or annotation, whose name may hold dots; "" when absent. */
static const char *mapped(const cJSON *object, const char *map, const char *name) {
        const char *value = json_string(json_member(json_at(object, map), name));

        return value ? value : "";
}

static int decode_meta(const cJSON *object, struct record_meta *meta, struct fault *f) {
        *meta = (struct record_meta){
                .namespace_ = json_string_at(object, "metadata.namespace"),
                .name = json_string_at(object, "metadata.name"),
                .uid = json_string_at(object, "metadata.uid"),
                .resource_version = json_string_at(object, "metadata.resourceVersion"),
                .owner_uid = mapped(object, "metadata.labels", NAMES_LABEL_OWNER_UID),
                .name_label = mapped(object, "metadata.labels", NAMES_LABEL_NAME),
                .deleting = !json_is_absent(json_at(object, "metadata.deletionTimestamp")),
        };
        if (!*meta->namespace_ || !*meta->name || !*meta->uid || !*meta->resource_version)
                return fault_set(f, FAULT_INVALID,
                                 "an object without name, namespace, uid or resourceVersion");
        return 0;
}

static const char *controller_uid(const cJSON *object) {
        const cJSON *owner;

        cJSON_ArrayForEach (owner, json_at(object, "metadata.ownerReferences")) {
                if (json_true_at(owner, "controller"))
                        return json_string_at(owner, "uid");
        }
        return "";
}

static int64_t annotated_number(const cJSON *object, const char *name) {
        const char *text = mapped(object, "metadata.annotations", name);
        int64_t value = 0;

        /* 15 digits: what cannot overflow, and more runs than anybody makes. */
        if (!*text || strlen(text) > 15)
                return 0;
        for (; *text; text++) {
                if (*text < '0' || *text > '9')
                        return 0;
                value = value * 10 + (*text - '0');
        }
        return value;
}

static void decode_job_conditions(const cJSON *object, struct job_record *job) {
        bool all_ended = json_int_at(object, "status.terminating", 0) == 0;
        const cJSON *condition;

        cJSON_ArrayForEach (condition, json_at(object, "status.conditions")) {
                const char *type = json_string_at(condition, "type");

                if (strcmp(json_string_at(condition, "status"), "True") != 0)
                        continue;
                if (strcmp(type, "SuccessCriteriaMet") == 0 || strcmp(type, "FailureTarget") == 0)
                        job->finishing = true;
                if (strcmp(type, "Complete") == 0) {
                        job->complete = all_ended;
                        job->finishing = true;
                }
                if (strcmp(type, "Failed") == 0) {
                        job->failed = all_ended;
                        job->finishing = true;
                        job->failed_reason = json_string_at(condition, "reason");
                        job->failed_message = json_string_at(condition, "message");
                        job->finished_at = json_string_at(condition, "lastTransitionTime");
                }
        }
}

int job_record_decode(const char *text, size_t len, struct job_record **ret_job, struct fault *f) {
        CLEANUP(cJSON_Delete_p) cJSON *tree = NULL;
        struct job_record job = { 0 }, *packed;
        int r;

        r = json_parse(text, len, &tree, f);
        if (r)
                return r;
        r = decode_meta(tree, &job.meta, f);
        if (r)
                return r;
        job.ours = *job.meta.owner_uid &&
                   strcmp(mapped(tree, "metadata.labels", NAMES_LABEL_MANAGED_BY),
                          NAMES_MANAGED_BY_VALUE) == 0;
        job.controller_uid = controller_uid(tree);
        job.run_key = mapped(tree, "metadata.annotations", NAMES_ANNOTATION_RUN_KEY);
        job.attempt_key = mapped(tree, "metadata.annotations", NAMES_ANNOTATION_ATTEMPT);
        job.run_number = annotated_number(tree, NAMES_ANNOTATION_RUN);
        job.suspended = json_true_at(tree, "spec.suspend");
        job.failed_reason = job.failed_message = "";
        job.started_at = json_string_at(tree, "status.startTime");
        job.finished_at = json_string_at(tree, "status.completionTime");
        job.deadline_s = json_int_at(tree, "spec.activeDeadlineSeconds", -1);
        job.ttl_s = json_int_at(tree, "spec.ttlSecondsAfterFinished", -1);
        decode_job_conditions(tree, &job);
        packed = job_record_copy(&job);
        if (!packed)
                return fault_set(f, FAULT_NOMEM, "out of memory");
        *ret_job = packed;
        return 0;
}

/* Reads the container statuses of one list ("status.containerStatuses", …). */
static void decode_containers(const cJSON *statuses, struct pod_record *pod) {
        const cJSON *status;

        cJSON_ArrayForEach (status, statuses) {
                const cJSON *terminated = json_at(status, "state.terminated");
                const cJSON *waiting = json_at(status, "state.waiting");
                bool migrate = strcmp(json_string_at(status, "name"), "migrate") == 0;

                /* A container that could not be started counts as terminated without a start time.
                 */
                if (!json_is_absent(json_at(status, "state.running")) ||
                    !json_is_absent(json_at(status, "lastState.terminated")) ||
                    !json_is_absent(terminated))
                        pod->started = true;
                if (!json_is_absent(json_at(status, "state.running")))
                        *(migrate ? &pod->running : &pod->kept) = true;
                if (migrate && !json_is_absent(terminated)) {
                        pod->terminated = true;
                        pod->exit_code = json_int_at(terminated, "exitCode", -1);
                        pod->terminated_reason = json_string_at(terminated, "reason");
                        pod->terminated_message = json_string_at(terminated, "message");
                }
                if (!json_is_absent(waiting) && (migrate || !*pod->waiting_reason)) {
                        pod->waiting_reason = json_string_at(waiting, "reason");
                        pod->waiting_message = json_string_at(waiting, "message");
                }
        }
}

static void decode_scheduling(const cJSON *object, struct pod_record *pod) {
        const cJSON *condition;

        cJSON_ArrayForEach (condition, json_at(object, "status.conditions")) {
                if (strcmp(json_string_at(condition, "type"), "PodScheduled") == 0 &&
                    strcmp(json_string_at(condition, "status"), "False") == 0) {
                        pod->waiting_reason = json_string_at(condition, "reason");
                        pod->waiting_message = json_string_at(condition, "message");
                }
        }
}

int pod_record_decode(const char *text, size_t len, struct pod_record **ret_pod, struct fault *f) {
        CLEANUP(cJSON_Delete_p) cJSON *tree = NULL;
        struct pod_record pod = { 0 }, *packed;
        const char *phase;
        int r;

        r = json_parse(text, len, &tree, f);
        if (r)
                return r;
        r = decode_meta(tree, &pod.meta, f);
        if (r)
                return r;
        phase = json_string_at(tree, "status.phase");
        pod.job_uid = mapped(tree, "metadata.labels", "batch.kubernetes.io/controller-uid");
        pod.finished = strcmp(phase, "Succeeded") == 0 || strcmp(phase, "Failed") == 0;
        pod.terminated_reason = pod.terminated_message = "";
        pod.waiting_reason = pod.waiting_message = "";
        decode_scheduling(tree, &pod);
        decode_containers(json_at(tree, "status.initContainerStatuses"), &pod);
        decode_containers(json_at(tree, "status.containerStatuses"), &pod);
        packed = pod_record_copy(&pod);
        if (!packed)
                return fault_set(f, FAULT_NOMEM, "out of memory");
        *ret_pod = packed;
        return 0;
}

/* Makes room for one more pointer. */
static int list_grow(void **items, size_t count, size_t *cap, struct fault *f) {
        size_t wanted = *cap ? *cap * 2 : 4;
        void *grown;

        if (count < *cap)
                return 0;
        grown = realloc(*items, wanted * sizeof(void *));
        if (!grown)
                return fault_set(f, FAULT_NOMEM, "out of memory");
        *items = grown;
        *cap = wanted;
        return 0;
}

int job_list_add(struct job_list *list, struct job_record *job, struct fault *f) {
        void *items = list->items;
        int r = list_grow(&items, list->count, &list->cap, f);

        list->items = items;
        if (r) {
                job_record_free(job);
                return r;
        }
        list->items[list->count++] = job;
        return 0;
}

int pod_list_add(struct pod_list *list, struct pod_record *pod, struct fault *f) {
        void *items = list->items;
        int r = list_grow(&items, list->count, &list->cap, f);

        list->items = items;
        if (r) {
                pod_record_free(pod);
                return r;
        }
        list->items[list->count++] = pod;
        return 0;
}

void job_list_done(struct job_list *list) {
        for (size_t i = 0; i < list->count; i++)
                job_record_free(list->items[i]);
        free(list->items);
        *list = (struct job_list){ 0 };
}

void pod_list_done(struct pod_list *list) {
        for (size_t i = 0; i < list->count; i++)
                pod_record_free(list->items[i]);
        free(list->items);
        *list = (struct pod_list){ 0 };
}
