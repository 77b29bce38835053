/* SPDX-License-Identifier: Apache-2.0 */
/* Builds the next status from the one that is there, and the patch between the two.
 *
 * Pure: the clock's value is an argument. Results live in the caller's arena and borrow from the
 * objects given, which must outlive them.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "common/api/dbupgrade.h"
#include "common/base/cleanup.h"
#include "reconciler/plan.h"

struct arena;
struct fault;
struct job_identity;
struct strbuf;

/* What this pass has to say. */
struct status_facts {
        enum plan_situation situation;
        enum plan_blocked blocked;
        bool invalid;                /* the spec is invalid, also while a run is followed */
        const char *reason;          /* status.reason; NULL: the situation's own */
        const char *message;         /* the cause, for Ready and the true conditions */
        const char *invalid_message; /* all messages of the rules, when invalid */
        int64_t now_s;               /* Unix time */
};

/* How a run ended. */
struct status_outcome {
        enum run_result result;
        const char *finished_at; /* metav1.Time; "" : now */
        bool has_exit_code;
        int64_t exit_code;
        const char *reason, *message;
};

/* The ledger entry of a run that begins: lastRun = this Job, Starting; appliedKey cleared;
 * lastHandledRetry. Changes only those members of *status. */
void status_start(struct arena *a, struct dbupgrade_status *status, const struct dbupgrade *object,
                  const struct job_identity *identity, const char *job_uid, int64_t now_s);

/* The outcome of lastRun, or its step to Running or Superseding. A final one also goes to the front
 * of history; Succeeded sets appliedKey, appliedImage and appliedAt. */
void status_record(struct arena *a, struct dbupgrade_status *status,
                   const struct status_outcome *outcome, int64_t now_s);

/* An object that the earlier Go program has migrated is taken over as applied. */
void status_adopt(struct arena *a, struct dbupgrade_status *status, const struct dbupgrade *object,
                  const char *run_key, int64_t now_s);

/* Conditions, reason, message and observedGeneration as docs/api.md says. Conditions
 * of other types are kept; lastTransitionTime moves only with the condition's status. */
void status_describe(struct arena *a, struct dbupgrade_status *status,
                     const struct dbupgrade *object, const struct status_facts *facts);

/* What the Blocked condition says; "" for BLOCKED_NOT. Static storage. */
const char *status_blocked_message(enum plan_blocked blocked);

bool status_equal(const struct dbupgrade_status *a, const struct dbupgrade_status *b);

/* Appends the merge patch (RFC 7386) for the status subresource that turns `from` into `to`:
 * resourceVersion, every member of the status that is set, null for those that no longer are. */
void status_patch(struct strbuf *out, const char *resource_version,
                  const struct dbupgrade_status *from, const struct dbupgrade_status *to);
