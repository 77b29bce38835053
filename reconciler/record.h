/* SPDX-License-Identifier: Apache-2.0 */
/* What the operator remembers of a Job and of a Pod: the few members that decisions need.
 *
 * A record is one block of memory, strings included; record_free releases it. Records are
 * immutable. Pure but for the allocation. Strings are "" when absent.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/cleanup.h"

struct fault;

/* What all records begin with. */
struct record_meta {
        const char *namespace_, *name, *uid, *resource_version;
        const char *owner_uid;  /* label dbupgrade.subbug.learning/owner-uid */
        const char *name_label; /* label dbupgrade.subbug.learning/name */
        bool deleting;          /* metadata.deletionTimestamp is set */
};

/* batch/v1 Job. */
struct job_record {
        struct record_meta meta;
        bool ours;                  /* carries our managed-by label and an owner UID label */
        const char *controller_uid; /* UID of the ownerReference with controller: true */
        const char *run_key, *attempt_key;
        int64_t run_number; /* 0 when the annotation is absent or no number */
        bool suspended;
        /* Terminal: the condition is True and no Pod is terminating. */
        bool complete, failed;
        bool finishing; /* SuccessCriteriaMet, FailureTarget, or a terminal condition too early */
        const char *failed_reason, *failed_message; /* of the Failed condition */
        const char *started_at;                     /* status.startTime */
        const char *finished_at; /* status.completionTime, or when Failed became True */
        int64_t deadline_s;      /* spec.activeDeadlineSeconds, -1 when absent */
        int64_t ttl_s;           /* spec.ttlSecondsAfterFinished, -1 when absent */
};

/* v1 Pod. The container named "migrate" decides; others may be injected. */
struct pod_record {
        struct record_meta meta;
        const char *job_uid; /* label batch.kubernetes.io/controller-uid */
        bool finished;       /* phase Succeeded or Failed */
        bool started;        /* a container of it, init containers too, has run at some time */
        bool running;        /* migrate runs */
        bool terminated;     /* migrate has ended */
        bool kept;           /* another container runs: an injected sidecar */
        int64_t exit_code;   /* of migrate, when terminated */
        const char *terminated_reason, *terminated_message;
        /* Why it does not run yet: the condition PodScheduled, or a container's waiting state. */
        const char *waiting_reason, *waiting_message;
};

/* What job_record_decode and friends read from: one JSON text that json_check may not have seen
 * yet. Return: 0, -FAULT_INVALID (no strict JSON, or without name, namespace, uid,
 * resourceVersion), -FAULT_NOMEM. */
int job_record_decode(const char *text, size_t len, struct job_record **ret_job, struct fault *f)
        MUST_CHECK;
int pod_record_decode(const char *text, size_t len, struct pod_record **ret_pod, struct fault *f)
        MUST_CHECK;

/* Return: a copy, NULL when out of memory. */
struct job_record *job_record_copy(const struct job_record *job);
struct pod_record *pod_record_copy(const struct pod_record *pod);

static inline bool job_record_finished(const struct job_record *job) {
        return job->complete || job->failed;
}

/* Both kinds are one block of memory. */
static inline void job_record_free(struct job_record *job) {
        free(job);
}
static inline void pod_record_free(struct pod_record *pod) {
        free(pod);
}
DEFINE_CLEANUP(struct job_record *, job_record_free)
DEFINE_CLEANUP(struct pod_record *, pod_record_free)

/* A growing list of records, as a LIST or a look into the cache yields it. */
struct job_list {
        struct job_record **items; /* owned */
        size_t count, cap;
};
struct pod_list {
        struct pod_record **items; /* owned */
        size_t count, cap;
};

/* Take the record, also when they fail. Return: 0, -FAULT_NOMEM. */
int job_list_add(struct job_list *list, struct job_record *job, struct fault *f) MUST_CHECK;
int pod_list_add(struct pod_list *list, struct pod_record *pod, struct fault *f) MUST_CHECK;
/* May be called twice; leave an empty list. */
void job_list_done(struct job_list *list);
void pod_list_done(struct pod_list *list);
