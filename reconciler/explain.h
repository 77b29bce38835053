/* SPDX-License-Identifier: Apache-2.0 */
/* Why something is as it is, in words for the person who reads the status.
 *
 * Pure; the texts live in the caller's arena. Texts from outside (what a migration printed, what
 * the kubelet said) pass explain_clean: no passwords, no control bytes, at most 1,024 bytes.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "reconciler/record.h"

struct arena;
struct dbupgrade;
struct dbupgrade_run;
struct dbupgrade_status;

/* status.message, the messages of conditions and event notes end here. */
#define EXPLAIN_MESSAGE_MAX 1024

/* Removes passwords (the userinfo of URLs; password=, passwd=, pwd= and pass= forms)
 * and control bytes, and cuts to max bytes on a UTF-8 boundary: the tail is kept, since what went
 * wrong is printed last. */
const char *explain_clean(struct arena *a, const char *text, size_t max);

/* How the ledger's Job stands before its end. */
struct explain_progress {
        bool running;       /* the migrate container runs */
        bool notable;       /* reason and message are worth a status write while pending */
        const char *reason; /* for status.reason: "JobRunning", "ImagePullBackOff", … */
        const char *message;
};

/* status: as it is to be written, reason and message still those of before. events_text: the note
 * of the Job's newest FailedCreate event, NULL when there is none. */
struct explain_progress explain_progress(struct arena *a, const struct dbupgrade_status *status,
                                         const struct job_record *job, const struct pod_list *pods,
                                         const char *events_text);

/* Why the failed Job failed. status: as it was written last, while the Job had not ended. */
struct explain_failure {
        bool has_exit_code;
        int64_t exit_code;
        const char *reason;  /* "Error", "DeadlineExceeded", "OOMKilled", … */
        const char *message; /* the tail of what the migration printed, or what stopped it */
};
struct explain_failure explain_failure(struct arena *a, const struct dbupgrade_status *status,
                                       const struct job_record *job,
                                       const struct pod_list *cached_pods,
                                       const struct pod_list *listed_pods);

/* What a final run, or a status without any run but applied, is called: "Migration completed
 * successfully in 3s", "Migration failed: …". */
const char *explain_outcome(struct arena *a, const struct dbupgrade *object,
                            const struct dbupgrade_run *run);

/* "3s", "4m12s", "2h5m", from metav1.Times; "" when one of them is no time. */
const char *explain_duration(struct arena *a, const char *started_at, const char *finished_at);
