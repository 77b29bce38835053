/* SPDX-License-Identifier: Apache-2.0 */
#include "reconciler/pass.h"

#include <inttypes.h>
#include <string.h>

#include "common/api/dbupgrade_rules.h"
#include "common/base/clock.h"
#include "common/base/fault.h"
#include "common/base/log.h"
#include "reconciler/act.h"
#include "reconciler/explain.h"
#include "reconciler/report.h"
#include "reconciler/status.h"

/* The strings of one pass are below 100 KiB; the rules' messages for a hostile object that came in
 * while the webhook was off are what the cap is for. */
#define PASS_ARENA_MAX (RULES_ARENA_MAX + (1U << 20))

/* The longest start (all steps once) has 12; each orphan on the way adds three. */
#define PASS_STEPS_MAX 64

#define PASS_INIT(d, k)                                                                            \
        { .deps = (d), .key = (k), .arena = ARENA_INIT(PASS_ARENA_MAX) }

static void pass_done(struct pass *p) {
        dbupgrade_free(p->object);
        job_record_free(p->job);
        job_record_free(p->created);
        job_list_done(&p->listed_jobs);
        job_list_done(&p->owned_jobs);
        pod_list_done(&p->listed_pods);
        cache_view_done(&p->view);
        arena_done(&p->arena);
}

static int64_t now_s(const struct pass *p) {
        return clock_wall_s(p->deps->clock);
}

/* An unsuspended Job that has had no Pod for 3 s has a reason for it. */
static bool is_podless_3s(const struct pass *p, const struct job_record *job) {
        int64_t started_us;

        return clock_parse_time(job->started_at, strlen(job->started_at), &started_us) &&
               now_s(p) - started_us / 1000000 >= 3;
}

/* The ledger's Job as the cache has it. Absence proves nothing: PLAN_GET_JOB asks. */
static int observe_job(struct pass *p, struct fault *f) {
        const char *uid = p->object->status.last_run.job_uid;

        for (size_t i = 0; i < p->view.jobs.count && *uid; i++) {
                const struct job_record *job = p->view.jobs.items[i];

                if (strcmp(job->meta.uid, uid) != 0)
                        continue;
                p->job = job_record_copy(job);
                if (!p->job)
                        return fault_set(f, FAULT_NOMEM, "out of memory");
                p->in.job = p->job;
                p->in.job_state = JOB_PRESENT;
                p->in.podless_3s = is_podless_3s(p, job);
        }
        return 0;
}

static int observe(struct pass *p, struct fault *f) {
        struct dbupgrade *object = NULL;
        int r;

        p->in.run_key = p->run_key;
        p->in.attempt_key = p->attempt_key;
        p->in.held_key = p->held_key;
        p->in.cached_jobs = &p->view.jobs;
        p->in.cached_pods = &p->view.pods;
        if (p->view.text) {
                r = dbupgrade_decode(p->view.text, p->view.len, &object, f);
                if (!r)
                        r = act_set_object(p, object, f);
        } else {
                r = act_get_object(p, f);
        }
        return r ? r : observe_job(p, f);
}

/* ---- what the status says ---- */

static const char *waiting_message(struct pass *p, const struct plan *plan) {
        return arena_printf(
                &p->arena,
                "Waiting for the %s %s of an earlier run to finish before migration Job "
                "%s may start",
                plan->waits_for_kind, plan->waits_for_name, p->object->status.last_run.job_name);
}

static void describe_running(struct pass *p, struct dbupgrade_status *next,
                             struct status_facts *facts) {
        struct explain_progress progress =
                explain_progress(&p->arena, next, p->job, p->in.cached_pods, p->events_text);

        facts->reason = progress.reason;
        facts->message = progress.message;
        if (next->last_run.result == RUN_STARTING && !p->job->suspended && progress.notable)
                next->last_run.result = RUN_RUNNING;
}

/* Fills the facts for plan->situation; may step lastRun from Starting to Running. */
static void describe(struct pass *p, const struct plan *plan, struct dbupgrade_status *next,
                     struct status_facts *facts) {
        const char *said = p->message ? p->message : "";

        *facts = (struct status_facts){
                .situation = plan->situation,
                .blocked = plan->blocked,
                .invalid = p->in.invalid,
                .invalid_message = p->invalid_message,
                .message = said,
                .now_s = now_s(p),
        };
        switch (plan->situation) {
        case SITUATION_NONE:
        case SITUATION_SEEN:
                facts->message = "Waiting to start";
                break;
        case SITUATION_INVALID:
                facts->message = p->invalid_message;
                break;
        case SITUATION_BLOCKED:
                facts->message = status_blocked_message(plan->blocked);
                break;
        case SITUATION_WAITING:
                facts->message = waiting_message(p, plan);
                break;
        case SITUATION_RUNNING:
                describe_running(p, next, facts);
                break;
        case SITUATION_SUCCEEDED:
        case SITUATION_FAILED:
        case SITUATION_LOST:
                facts->message = explain_outcome(&p->arena, p->object, &next->last_run);
                break;
        case SITUATION_REJECTED_GOOD:
                /* Not asked again, so it stands as it was said. */
                if (!p->message)
                        facts->message = p->object->status.message;
                break;
        case SITUATION_SECRET:
        case SITUATION_REJECTED:
        case SITUATION_FORBIDDEN:
        case SITUATION_CONFLICT:
                break;
        }
}

/* One status write a pass, none when nothing has changed. What came of a run whose start was
 * written is for the next pass to say, which then comes at once. Return: 0, ACT_E_*, or a fault. */
static int write_situation(struct pass *p, struct plan *plan, struct fault *f) {
        struct dbupgrade_status next = p->object->status;
        struct report_before before = report_before(p->object);
        struct status_facts facts;

        if (plan->situation == SITUATION_NONE || (p->status_tried && !p->status_written))
                return 0;
        describe(p, plan, &next, &facts);
        status_describe(&p->arena, &next, p->object, &facts);
        if (status_equal(&p->object->status, &next))
                return 0;
        if (p->status_written) {
                plan->requeue = REQUEUE_NOW;
                return 0;
        }
        return report_after_write(p, &before, act_write_status(p, &next, f));
}

/* ---- ledger writes ---- */

static int write_ledger(struct pass *p, struct dbupgrade_status *next, const struct plan *plan,
                        struct fault *f) {
        struct report_before before = report_before(p->object);
        struct status_facts facts;

        describe(p, plan, next, &facts);
        status_describe(&p->arena, next, p->object, &facts);
        return report_after_write(p, &before, act_write_status(p, next, f));
}

/* T_NAME: the ledger names the Job. */
static int record_start(struct pass *p, struct fault *f) {
        struct dbupgrade_status next = p->object->status;
        struct plan plan = { .situation = SITUATION_RUNNING };
        int r;

        status_start(&p->arena, &next, p->object, &p->identity, p->created->meta.uid, now_s(p));
        job_record_free(p->job);
        p->job = job_record_copy(p->created);
        if (!p->job)
                return fault_set(f, FAULT_NOMEM, "out of memory");
        p->in.job = p->job;
        p->in.job_state = JOB_PRESENT;
        r = write_ledger(p, &next, &plan, f);
        p->in.podless_3s = false;
        return r;
}

static struct status_outcome outcome_of(struct pass *p, enum run_result result) {
        struct status_outcome outcome = {
                .result = result, .finished_at = "", .reason = "", .message = ""
        };

        if (result == RUN_SUCCEEDED || result == RUN_FAILED)
                outcome.finished_at = p->job->finished_at;
        if (result == RUN_SUCCEEDED)
                outcome.has_exit_code = true;
        if (result == RUN_FAILED) {
                struct explain_failure failure =
                        explain_failure(&p->arena, &p->object->status, p->job, p->in.cached_pods,
                                        p->in.listed_pods);

                outcome.has_exit_code = failure.has_exit_code;
                outcome.exit_code = failure.exit_code;
                outcome.reason = failure.reason;
                outcome.message = failure.message;
        }
        if (result == RUN_LOST) {
                outcome.reason = "JobLost";
                outcome.message = arena_printf(
                        &p->arena,
                        "Job %s was deleted before its outcome was seen, so it may have run; check "
                        "the database, then set the annotation " DBUPGRADE_ANNOTATION_RETRY
                        " to a new value to run it again",
                        p->object->status.last_run.job_name);
        }
        return outcome;
}

static int record(struct pass *p, const struct plan *plan, struct fault *f) {
        struct dbupgrade_status next = p->object->status;
        struct status_outcome outcome = outcome_of(p, plan->result);

        status_record(&p->arena, &next, &outcome, now_s(p));
        return write_ledger(p, &next, plan, f);
}

static int record_adopted(struct pass *p, const struct plan *plan, struct fault *f) {
        struct dbupgrade_status next = p->object->status;

        status_adopt(&p->arena, &next, p->object, p->run_key, now_s(p));
        return write_ledger(p, &next, plan, f);
}

/* ---- the loop ---- */

/* Takes one step. *ret_again: whether to decide once more in this pass. Return: 0, ACT_E_*, a
 * fault. */
static int take_step(struct pass *p, const struct plan *plan, bool *ret_again, struct fault *f) {
        int r;

        *ret_again = true;
        switch (plan->action) {
        case PLAN_RECORD_START:
                return record_start(p, f);
        case PLAN_RECORD:
                /* The status is written: what follows begins in a pass of its own. */
                *ret_again = false;
                return record(p, plan, f);
        case PLAN_RECORD_ADOPTED:
                *ret_again = false;
                return record_adopted(p, plan, f);
        case PLAN_UNSUSPEND:
                r = act_take(p, plan, f);
                if (r == 0)
                        report_started(p);
                return r;
        case PLAN_WAIT:
        case PLAN_GET_JOB:
        case PLAN_LIST_JOBS:
        case PLAN_LIST_PODS:
        case PLAN_LIST_OWNED:
        case PLAN_LIST_EVENTS:
        case PLAN_GET_OBJECT:
        case PLAN_GET_SECRET:
        case PLAN_CREATE_JOB:
        case PLAN_GET_CREATED:
        case PLAN_DELETE_JOB:
        case PLAN_SET_TTL:
                break;
        }
        return act_take(p, plan, f);
}

static struct plan plan_forbidden(const struct pass *p) {
        log_warning("a right is missing", LOG_STR("error", p->message));
        return (struct plan){ .action = PLAN_WAIT,
                              .situation = SITUATION_FORBIDDEN,
                              .requeue = REQUEUE_SLOW };
}

/* Tidying up was refused (a right is missing, somebody's admission webhook guards Jobs): that must
 * hold up no run, and is no reason to call the object degraded. Its Job is left alone in this pass.
 * Return: whether that is so. */
static bool leave_untidy(struct pass *p, const struct plan *plan, int r, const struct fault *f) {
        if (!plan->tidying || (r != ACT_E_FORBIDDEN && r != -FAULT_INVALID && r != -FAULT_IO))
                return false;
        log_warning("a Job cannot be tidied up",
                    LOG_STR("error", r == ACT_E_FORBIDDEN ? p->message : f->text));
        p->message = NULL;
        return true;
}

/* Decides and acts until there is nothing more to do. Return: 0 and the last plan, or a fault. */
static int loop(struct pass *p, struct plan *ret_plan, struct fault *f) {
        struct plan plan;
        bool untidy = false;

        for (int i = 0; i < PASS_STEPS_MAX; i++) {
                bool again;
                int r;

                plan = plan_decide(&p->in);
                if (plan.action == PLAN_WAIT) {
                        if (untidy && plan.requeue == REQUEUE_NEVER)
                                plan.requeue = REQUEUE_SLOW;
                        *ret_plan = plan;
                        return 0;
                }
                r = take_step(p, &plan, &again, f);
                if (leave_untidy(p, &plan, r, f)) {
                        untidy = true;
                        continue;
                }
                if (r < 0)
                        return r;
                if (r == ACT_E_FORBIDDEN) {
                        *ret_plan = plan_forbidden(p);
                        return 0;
                }
                if (r == ACT_E_ANEW || !again) {
                        *ret_plan = (struct plan){
                                .action = PLAN_WAIT,
                                .requeue = r ? REQUEUE_BACKOFF : REQUEUE_NOW,
                        };
                        return 0;
                }
        }
        return fault_set(f, FAULT_BUG, "no end after %d steps", PASS_STEPS_MAX);
}

/* Suspended is no situation of its own, but somebody's wish: no reason to be alarmed. */
#define STATE_SUSPENDED (PASS_STATES - 1)

const char *pass_state_name(unsigned state) {
        static const char *const names[PASS_STATES] = {
                [SITUATION_NONE] = "Unknown",        [SITUATION_SEEN] = "Initializing",
                [SITUATION_INVALID] = "InvalidSpec", [SITUATION_SECRET] = "SecretNotFound",
                [SITUATION_BLOCKED] = "Blocked",     [SITUATION_WAITING] = "Waiting",
                [SITUATION_RUNNING] = "Running",     [SITUATION_SUCCEEDED] = "Succeeded",
                [SITUATION_FAILED] = "Failed",       [SITUATION_LOST] = "Lost",
                [SITUATION_REJECTED] = "Rejected",   [SITUATION_REJECTED_GOOD] = "Refused",
                [SITUATION_FORBIDDEN] = "Forbidden", [SITUATION_CONFLICT] = "NameConflict",
                [STATE_SUSPENDED] = "Suspended",
        };

        return names[state];
}
_Static_assert(PASS_STATES <= CACHE_STATES, "the cache counts every state");

/* Since when the ledger's run is under way, Unix seconds; 0: none is. */
static int64_t run_since_s(const struct dbupgrade_run *run) {
        int64_t started_us;

        if (run->result == RUN_NONE || run_result_is_final(run->result) ||
            !clock_parse_time(run->started_at, strlen(run->started_at), &started_us))
                return 0;
        return started_us / 1000000;
}

/* What is done keeps no text in the cache: nothing but a change of the object concerns it. */
static void note(const struct pass *p, const struct plan *plan) {
        struct cache_finding finding = {
                .state = (unsigned)plan->situation,
                .run_since_s = run_since_s(&p->object->status.last_run),
                .settled = plan->situation == SITUATION_SUCCEEDED &&
                           plan->requeue == REQUEUE_NEVER && plan->blocked == BLOCKED_NOT,
        };

        if (plan->situation == SITUATION_NONE)
                return;
        if (plan->situation == SITUATION_BLOCKED && plan->blocked == BLOCKED_SUSPENDED)
                finding.state = STATE_SUSPENDED;
        cache_note(p->deps->cache, p->key, p->object->resource_version, &finding);
}

static int run(struct pass *p, struct pass_result *ret_result, struct fault *f) {
        struct plan plan = { .action = PLAN_WAIT };
        int r = observe(p, f);

        if (r == ACT_E_FORBIDDEN) {
                log_warning("a right is missing", LOG_STR("error", p->message));
                *ret_result = (struct pass_result){ .requeue = REQUEUE_SLOW };
                return 0;
        }
        if (r == ACT_E_ANEW) {
                *ret_result = (struct pass_result){ .requeue = REQUEUE_BACKOFF };
                return 0;
        }
        if (!r)
                r = loop(p, &plan, f);
        if (!r)
                r = write_situation(p, &plan, f);
        if (r < 0)
                return r;
        if (r == ACT_E_FORBIDDEN) {
                log_warning("the status cannot be written", LOG_STR("error", p->message));
                plan.requeue = REQUEUE_SLOW;
        } else if (r == ACT_E_ANEW) {
                plan.requeue = REQUEUE_BACKOFF;
        } else {
                note(p, &plan);
        }
        *ret_result = (struct pass_result){
                .requeue = plan.requeue,
                .after_ms = p->secret_wait_ms,
                .situation = plan.situation,
        };
        return 0;
}

/* A settled object concerns nobody but for its Jobs: one that runs is followed, and of several
 * finished ones the older are tidied up. */
static bool is_settled(const struct cache_view *view) {
        for (size_t i = 0; i < view->jobs.count; i++)
                if (!job_record_finished(view->jobs.items[i]))
                        return false;
        return view->settled && view->jobs.count <= 1;
}

int pass_run(const struct pass_deps *deps, const char *key, struct pass_result *ret_result,
             struct fault *f) {
        CLEANUP(pass_done) struct pass p = PASS_INIT(deps, key);
        int r = cache_look(deps->cache, key, &p.view, f);

        if (r)
                return r;
        if (deps->timeout_ms)
                p.deadline_ms = clock_mono_ms(deps->clock) + deps->timeout_ms;
        if (!p.view.has_object || is_settled(&p.view)) {
                *ret_result = (struct pass_result){ .requeue = REQUEUE_NEVER };
                return 0;
        }
        return run(&p, ret_result, f);
}

/* Nothing to do and nothing to write. A TTL may still have to be set on a Job that is not known
 * yet. */
static bool says_all(struct pass *p, const struct plan *plan) {
        struct dbupgrade_status next = p->object->status;
        struct status_facts facts;

        if (plan->action != PLAN_WAIT || plan->situation != SITUATION_SUCCEEDED ||
            plan->blocked != BLOCKED_NOT || p->object->spec.ttl_s >= 0)
                return false;
        describe(p, plan, &next, &facts);
        status_describe(&p->arena, &next, p->object, &facts);
        return status_equal(&p->object->status, &next);
}

int pass_settle(const struct pass_deps *deps, const char *key, bool *ret_settled, struct fault *f) {
        CLEANUP(pass_done) struct pass p = PASS_INIT(deps, key);
        struct plan plan;
        int r = cache_look(deps->cache, key, &p.view, f);

        if (!r && p.view.text)
                r = observe(&p, f);
        if (r)
                return r;
        *ret_settled = false;
        if (!p.object)
                return 0;
        plan = plan_decide(&p.in);
        *ret_settled = says_all(&p, &plan) && !arena_check(&p.arena, NULL);
        if (*ret_settled)
                note(&p, &plan);
        return 0;
}
