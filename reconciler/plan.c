/* SPDX-License-Identifier: Apache-2.0 */
#include "reconciler/plan.h"

#include <string.h>

#include "common/api/dbupgrade.h"

static bool same(const char *a, const char *b) {
        return strcmp(a, b) == 0;
}

bool plan_retry_unhandled(const struct dbupgrade *object) {
        const char *handled = object->status.last_handled_retry;

        return object->retry && (!handled || !same(object->retry, handled));
}

const char *plan_retry_value(const struct dbupgrade *object) {
        return object->retry ? object->retry : object->status.last_handled_retry;
}

bool plan_is_done(const struct plan_input *in) {
        return same(in->object->status.applied_key, in->run_key) &&
               !plan_retry_unhandled(in->object);
}

static bool is_own(const struct plan_input *in, const struct job_record *job) {
        return job->ours && same(job->meta.owner_uid, in->object->uid);
}

enum plan_post plan_judge_holder(const struct plan_input *in, const struct job_record *holder) {
        if (!holder->ours)
                return POST_CONFLICT;
        if (is_own(in, holder) && same(holder->run_key, in->run_key) &&
            same(holder->attempt_key, in->attempt_key) &&
            holder->run_number == in->object->status.last_run.number + 1 && !holder->meta.deleting)
                return POST_OURS;
        return POST_ANEW;
}

static struct plan wait(enum plan_situation situation, enum plan_requeue requeue) {
        return (struct plan){ .action = PLAN_WAIT, .situation = situation, .requeue = requeue };
}

static struct plan step(enum plan_action action) {
        return (struct plan){ .action = action };
}

static struct plan delete_job(const struct job_record *target, bool foreground) {
        return (struct plan){ .action = PLAN_DELETE_JOB,
                              .target = target,
                              .foreground = foreground };
}

static enum plan_blocked blocked(const struct dbupgrade *object) {
        if (object->spec.database_type == DATABASE_AWS_RDS ||
            object->spec.database_type == DATABASE_AWS_AURORA)
                return BLOCKED_AWS;
        if (object->spec.has_pre_checks)
                return BLOCKED_CHECKS;
        return object->spec.suspend ? BLOCKED_SUSPENDED : BLOCKED_NOT;
}

static struct plan wait_blocked(enum plan_blocked by) {
        struct plan plan = wait(SITUATION_BLOCKED, REQUEUE_NEVER);

        plan.blocked = by;
        return plan;
}

static struct plan wait_for(const char *kind, const struct record_meta *meta) {
        struct plan plan = wait(SITUATION_WAITING, REQUEUE_NEVER);

        plan.waits_for_kind = kind;
        plan.waits_for_name = meta->name;
        return plan;
}

/* The Pods of the ledger's Job: whether there are any, and whether one has ever started. */
static bool has_pod(const struct pod_list *pods, const char *job_uid, bool started_only) {
        for (size_t i = 0; pods && i < pods->count; i++) {
                const struct pod_record *pod = pods->items[i];

                if (same(pod->job_uid, job_uid) && (pod->started || !started_only))
                        return true;
        }
        return false;
}

static bool listed(const struct job_list *jobs, const char *uid) {
        for (size_t i = 0; i < jobs->count; i++)
                if (same(jobs->items[i]->meta.uid, uid))
                        return true;
        return false;
}

/* For the ledger's Job. Of one that has lost its label no watch tells. */
static struct plan wait_running(const struct plan_input *in) {
        bool watched = listed(in->cached_jobs, in->object->status.last_run.job_uid);

        return wait(SITUATION_RUNNING, watched ? REQUEUE_NEVER : REQUEUE_SLOW);
}

/* What may go: Jobs of this very object that no pass will need again. The outcome of the ledger's
 * own Job stands in the ledger before this is asked (rule F5). */
static bool cleanup(const struct plan_input *in, struct plan *ret_plan) {
        const struct dbupgrade_run *run = &in->object->status.last_run;

        for (size_t i = 0; i < in->cached_jobs->count; i++) {
                const struct job_record *job = in->cached_jobs->items[i];
                bool named = same(job->meta.uid, run->job_uid);

                if (!is_own(in, job) || job->meta.deleting || job->run_number < 1)
                        continue;
                if (named && run_result_is_final(run->result) && job_record_finished(job) &&
                    in->object->spec.ttl_s >= 0 && job->ttl_s < 0) {
                        *ret_plan = (struct plan){ .action = PLAN_SET_TTL,
                                                   .target = job,
                                                   .tidying = true };
                        return true;
                }
                if (named || job->run_number > run->number)
                        continue;
                /* T_DELETE_ORPHAN: it can never be named any more (rule F2). T_CLEANUP. */
                if (job->suspended || (job_record_finished(job) && job->run_number < run->number)) {
                        *ret_plan = delete_job(job, false);
                        ret_plan->tidying = true;
                        return true;
                }
        }
        return false;
}

/* Contract section 4, step 4, for Jobs. Return: whether *ret_plan is the answer. */
static bool blocked_by_job(const struct plan_input *in, struct plan *ret_plan) {
        const struct dbupgrade_run *run = &in->object->status.last_run;

        for (size_t i = 0; i < in->listed_jobs->count; i++) {
                const struct job_record *job = in->listed_jobs->items[i];
                bool removable = job->ours && job->suspended && !job->meta.deleting;

                if (same(job->meta.uid, run->job_uid) || job_record_finished(job))
                        continue;
                *ret_plan = wait_for("Job", &job->meta);
                if (!removable)
                        return true;
                if (is_own(in, job)) {
                        /* A higher number: another process may be about to name it. */
                        if (job->run_number <= run->number)
                                *ret_plan = delete_job(job, false);
                        return true;
                }
                /* Of an earlier object of this name, unless we are the earlier one. */
                switch (in->owner) {
                case OWNER_UNKNOWN:
                        *ret_plan = step(PLAN_GET_OBJECT);
                        break;
                case OWNER_STILL_US:
                        *ret_plan = delete_job(job, false);
                        break;
                case OWNER_CHANGED:
                        *ret_plan = wait(SITUATION_NONE, REQUEUE_BACKOFF);
                        break;
                }
                return true;
        }
        return false;
}

/* The ledger says Starting and its Job is still suspended. */
static struct plan decide_starting(const struct plan_input *in) {
        struct plan plan;

        if (in->invalid)
                return wait(SITUATION_INVALID, REQUEUE_NEVER);
        if (blocked(in->object) != BLOCKED_NOT)
                return wait_blocked(blocked(in->object));
        if (!in->listed_jobs)
                return step(PLAN_LIST_JOBS);
        if (!in->job_got && !listed(in->listed_jobs, in->object->status.last_run.job_uid))
                return step(PLAN_GET_JOB);
        if (blocked_by_job(in, &plan))
                return plan;
        if (!in->listed_pods)
                return step(PLAN_LIST_PODS);
        for (size_t i = 0; i < in->listed_pods->count; i++)
                if (!in->listed_pods->items[i]->finished)
                        return wait_for("Pod", &in->listed_pods->items[i]->meta);
        return step(PLAN_UNSUSPEND);
}

/* One way: never back to Running (rule F4). */
static struct plan decide_superseding(const struct plan_input *in) {
        if (in->job->finishing || in->job->meta.deleting || in->superseding_deleted)
                return wait_running(in);
        if (!in->listed_pods)
                return step(PLAN_LIST_PODS);
        if (has_pod(in->listed_pods, in->job->meta.uid, true))
                return wait_running(in);
        return delete_job(in->job, true); /* T_SUPERSEDE_DELETE */
}

/* The spec has changed, nothing of the run has started as far as is known, and a new run may start.
 */
static bool may_supersede(const struct plan_input *in) {
        return !in->invalid && blocked(in->object) == BLOCKED_NOT && !in->job->finishing &&
               !in->job->meta.deleting &&
               !same(in->held_key, in->object->status.last_run.attempt_key) &&
               !has_pod(in->cached_pods, in->job->meta.uid, true);
}

/* Where the object stands once this outcome is in the ledger. Only the end of what the spec says
 * now is the object's own: after a change, "Ready" would be a lie about the new generation. */
static enum plan_situation outcome_situation(const struct plan_input *in, enum run_result result) {
        const struct dbupgrade_run *run = &in->object->status.last_run;
        bool asked = !plan_retry_unhandled(in->object);

        if (in->invalid)
                return SITUATION_INVALID;
        if (result == RUN_SUCCEEDED && asked && same(run->run_key, in->run_key))
                return SITUATION_SUCCEEDED;
        if (result == RUN_FAILED && asked && same(run->attempt_key, in->attempt_key))
                return SITUATION_FAILED;
        if (result == RUN_LOST && asked && same(run->attempt_key, in->attempt_key))
                return SITUATION_LOST;
        return blocked(in->object) == BLOCKED_NOT ? SITUATION_SEEN : SITUATION_BLOCKED;
}

static struct plan record(const struct plan_input *in, enum run_result result) {
        return (struct plan){ .action = PLAN_RECORD,
                              .result = result,
                              .situation = outcome_situation(in, result),
                              .blocked = blocked(in->object) };
}

static bool has_ended_pod(const struct pod_list *pods, const char *job_uid) {
        for (size_t i = 0; pods && i < pods->count; i++)
                if (same(pods->items[i]->job_uid, job_uid) && pods->items[i]->terminated)
                        return true;
        return false;
}

static struct plan decide_failed(const struct plan_input *in) {
        /* What the migration printed is worth a request when the cache has not heard of it. */
        if (!in->listed_pods && !has_ended_pod(in->cached_pods, in->job->meta.uid))
                return step(PLAN_LIST_PODS);
        return record(in, RUN_FAILED); /* T_RECORD_FAILED */
}

static struct plan decide_running(const struct plan_input *in) {
        struct plan plan;

        if (cleanup(in, &plan))
                return plan;
        if (in->job->suspended || in->job->finishing || in->job->meta.deleting ||
            has_pod(in->cached_pods, in->job->meta.uid, false))
                return wait_running(in);
        if (!in->podless_3s)
                return wait(SITUATION_RUNNING, REQUEUE_PODLESS);
        if (!in->events_listed)
                return step(PLAN_LIST_EVENTS);
        return wait(SITUATION_RUNNING, REQUEUE_BACKOFF);
}

/* The ledger's run has not ended: it is followed to its end, whatever the spec says. */
static struct plan decide_follow(const struct plan_input *in) {
        const struct dbupgrade_run *run = &in->object->status.last_run;

        switch (in->job_state) {
        case JOB_UNKNOWN:
                return step(PLAN_GET_JOB);
        case JOB_GONE: /* T_RECORD_LOST, T_RECORD_SUPERSEDED: proved by a consistent GET (rule F1)
                        */
                if (run->result == RUN_SUPERSEDING)
                        return record(in, RUN_SUPERSEDED);
                return record(in, RUN_LOST);
        case JOB_PRESENT:
                break;
        }
        if (in->job->complete)
                return record(in, RUN_SUCCEEDED); /* T_RECORD_SUCCEEDED */
        if (in->job->failed)
                return decide_failed(in);
        if (run->result == RUN_SUPERSEDING)
                return decide_superseding(in);
        if (may_supersede(in))
                /* T_SUPERSEDE_MARK */
                return (struct plan){ .action = PLAN_RECORD,
                                      .result = RUN_SUPERSEDING,
                                      .situation = SITUATION_RUNNING };
        if (run->result == RUN_STARTING && in->job->suspended && !in->job->meta.deleting)
                return decide_starting(in);
        return decide_running(in);
}

/* The status was written by the earlier Go program: it has conditions, but neither our ledger nor
 * the reason that we always write. */
static bool has_go_status(const struct dbupgrade *object) {
        const struct dbupgrade_status *status = &object->status;

        return status->condition_count > 0 && status->last_run.number == 0 &&
               same(status->reason, "") && same(status->applied_key, "");
}

static bool go_applied(const struct dbupgrade *object) {
        const struct dbupgrade_condition *ready =
                dbupgrade_condition_find(&object->status, "Ready");

        return ready && same(ready->status, "True") && same(ready->reason, "MigrationComplete") &&
               (ready->observed_generation == object->generation ||
                object->status.observed_generation == object->generation);
}

/* Return: whether *ret_plan is the answer. */
static bool decide_go_status(const struct plan_input *in, struct plan *ret_plan) {
        if (!in->owned_jobs) {
                *ret_plan = step(PLAN_LIST_OWNED);
                return true;
        }
        for (size_t i = 0; i < in->owned_jobs->count; i++) {
                const struct job_record *job = in->owned_jobs->items[i];

                if (job->ours || job_record_finished(job) ||
                    !same(job->controller_uid, in->object->uid))
                        continue;
                /* Its status stays as it is: by that the next pass knows of the Go program. */
                *ret_plan = wait(SITUATION_NONE, REQUEUE_BACKOFF);
                return true;
        }
        if (in->invalid || !go_applied(in->object))
                return false;
        *ret_plan =
                (struct plan){ .action = PLAN_RECORD_ADOPTED, .situation = SITUATION_SUCCEEDED };
        return true;
}

static struct plan decide_start(const struct plan_input *in) {
        switch (in->secret) {
        case SECRET_UNKNOWN:
                return step(PLAN_GET_SECRET);
        case SECRET_MISSING:
                return wait(SITUATION_SECRET, REQUEUE_SECRET);
        case SECRET_FORBIDDEN:
                return wait(SITUATION_FORBIDDEN, REQUEUE_SLOW);
        case SECRET_PRESENT:
                break;
        }
        switch (in->post) {
        case POST_UNKNOWN:
                return step(PLAN_CREATE_JOB);
        case POST_EXISTS:
                return step(PLAN_GET_CREATED);
        case POST_CREATED:
        case POST_OURS:
                return step(PLAN_RECORD_START);
        case POST_ANEW:
                return wait(SITUATION_NONE, REQUEUE_BACKOFF);
        case POST_CONFLICT:
                return wait(SITUATION_CONFLICT, REQUEUE_BACKOFF);
        case POST_REJECTED:
                return wait(SITUATION_REJECTED, REQUEUE_BACKOFF);
        case POST_REFUSED:
                return wait(SITUATION_REJECTED_GOOD, REQUEUE_NEVER);
        case POST_FORBIDDEN:
                return wait(SITUATION_FORBIDDEN, REQUEUE_SLOW);
        case POST_ENDING:
                return wait(SITUATION_NONE, REQUEUE_NEVER);
        }
        return wait(SITUATION_NONE, REQUEUE_BACKOFF);
}

/* A failed run stays failed for its run key, attempt key and retry value. */
static bool stays_failed(const struct plan_input *in) {
        const struct dbupgrade_run *run = &in->object->status.last_run;

        return (run->result == RUN_FAILED || run->result == RUN_LOST) &&
               same(run->attempt_key, in->attempt_key) && !plan_retry_unhandled(in->object);
}

/* The API server refused this very spec's Job for good, and the status says so. */
static bool stays_refused(const struct plan_input *in) {
        const struct dbupgrade_status *status = &in->object->status;

        return same(status->reason, "JobRejected") &&
               dbupgrade_condition_find(status, "Stalled") != NULL &&
               status->observed_generation == in->object->generation &&
               !plan_retry_unhandled(in->object);
}

/* No run is under way. */
static struct plan decide_idle(const struct plan_input *in) {
        enum plan_blocked by = blocked(in->object);
        struct plan plan;

        if (cleanup(in, &plan))
                return plan;
        if (has_go_status(in->object) && decide_go_status(in, &plan))
                return plan;
        if (in->invalid)
                return wait(SITUATION_INVALID, REQUEUE_NEVER);
        plan = wait(SITUATION_SUCCEEDED, REQUEUE_NEVER);
        plan.blocked = by;
        if (plan_is_done(in))
                return plan;
        if (stays_failed(in)) {
                plan.situation = in->object->status.last_run.result == RUN_LOST ? SITUATION_LOST
                                                                                : SITUATION_FAILED;
                return plan;
        }
        if (by != BLOCKED_NOT)
                return wait_blocked(by);
        if (stays_refused(in))
                return wait(SITUATION_REJECTED_GOOD, REQUEUE_NEVER);
        return decide_start(in);
}

struct plan plan_decide(const struct plan_input *in) {
        const struct dbupgrade_run *run = &in->object->status.last_run;

        if (in->object->deleting)
                return wait(SITUATION_NONE, REQUEUE_NEVER);
        if (run->result != RUN_NONE && !run_result_is_final(run->result))
                return decide_follow(in);
        return decide_idle(in);
}
