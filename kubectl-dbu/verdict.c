/* SPDX-License-Identifier: Apache-2.0 */
#include "kubectl-dbu/verdict.h"

#include <string.h>

#include "common/api/dbupgrade.h"
#include "common/base/clock.h"
#include "common/json/json_get.h"

const char *state_name(enum state state) {
        static const char *const names[] = {
                [STATE_FAILED] = "failed",   [STATE_BLOCKED] = "blocked",
                [STATE_WAITING] = "waiting", [STATE_RUNNING] = "running",
                [STATE_DONE] = "done",
        };

        return names[state];
}

bool verdict_retry_unhandled(const struct dbupgrade *object) {
        const char *handled = object->status.last_handled_retry;

        return object->retry && (!handled || strcmp(object->retry, handled) != 0);
}

/* The condition when it is True for the present generation; NULL otherwise. */
static const struct dbupgrade_condition *is_true(const struct dbupgrade *object, const char *type) {
        const struct dbupgrade_condition *c = dbupgrade_condition_find(&object->status, type);

        if (!c || strcmp(c->status, "True") != 0)
                return NULL;
        return c->observed_generation == 0 || c->observed_generation == object->generation ? c
                                                                                           : NULL;
}

static struct verdict made(enum state state, const char *reason, const char *message,
                           const char *since) {
        return (struct verdict){
                .state = state, .reason = reason, .message = message, .since = since
        };
}

/* A state that a condition shows; the status's own reason and message are the more exact ones. */
static struct verdict shown(const struct dbupgrade *object, enum state state,
                            const struct dbupgrade_condition *c) {
        const struct dbupgrade_status *s = &object->status;

        return made(state, *s->reason ? s->reason : c->reason,
                    *s->message ? s->message : c->message, c->last_transition_time);
}

static struct verdict judge_failed(const struct dbupgrade *object,
                                   const struct dbupgrade_condition *stalled) {
        const struct dbupgrade_run *run = &object->status.last_run;
        const struct dbupgrade_condition *degraded = is_true(object, "Degraded");
        struct verdict v = shown(object, STATE_FAILED, stalled);

        v.run_failed = (run->result == RUN_FAILED || run->result == RUN_LOST) && degraded &&
                       (strcmp(degraded->reason, "MigrationFailed") == 0 ||
                        strcmp(degraded->reason, "JobLost") == 0);
        if (v.run_failed && *run->finished_at)
                v.since = run->finished_at;
        return v;
}

static struct verdict judge_done(const struct dbupgrade *object,
                                 const struct dbupgrade_condition *ready) {
        struct verdict v = shown(object, STATE_DONE, ready);

        if (*object->status.applied_at)
                v.since = object->status.applied_at;
        return v;
}

static struct verdict judge_progressing(const struct dbupgrade *object,
                                        const struct dbupgrade_condition *progressing) {
        const struct dbupgrade_run *run = &object->status.last_run;
        bool plain = strcmp(object->status.reason, "JobRunning") == 0;
        struct verdict v = shown(object, plain ? STATE_RUNNING : STATE_WAITING, progressing);

        if (run->number > 0 && !run_result_is_final(run->result) && *run->started_at)
                v.since = run->started_at;
        return v;
}

/* By conditions alone. */
static struct verdict judge(const struct dbupgrade *object) {
        const struct dbupgrade_condition *ready = is_true(object, "Ready");
        const struct dbupgrade_condition *progressing = is_true(object, "Progressing");
        const struct dbupgrade_condition *stalled = is_true(object, "Stalled");
        const struct dbupgrade_condition *degraded = is_true(object, "Degraded");
        const struct dbupgrade_condition *blocked = is_true(object, "Blocked");
        const struct dbupgrade_condition *reconciling = is_true(object, "Reconciling");

        if (ready)
                return judge_done(object, ready);
        if (progressing)
                return judge_progressing(object, progressing);
        if (stalled && (degraded || !blocked))
                return judge_failed(object, stalled);
        if (blocked)
                return shown(object, STATE_BLOCKED, blocked);
        if (degraded || reconciling)
                return shown(object, STATE_WAITING, degraded ? degraded : reconciling);
        return made(STATE_WAITING, object->status.reason, object->status.message, "");
}

/* A verdict of a run before the retry, or of a Ready that the retry is to repeat. */
static struct verdict judge_retry(const struct dbupgrade *object, struct verdict v) {
        const struct dbupgrade_condition *blocked = is_true(object, "Blocked");
        int64_t at_us; /* when `retry` has set the annotation */

        if (v.state != STATE_DONE && !v.run_failed)
                return v;
        if (blocked)
                return made(STATE_BLOCKED, blocked->reason, blocked->message,
                            blocked->last_transition_time);
        return made(STATE_WAITING, "RetryRequested",
                    "a retry has been asked for; the operator has not taken it up yet",
                    clock_parse_time(object->retry, strlen(object->retry), &at_us) ? object->retry
                                                                                   : "");
}

struct verdict verdict_of(const struct dbupgrade *object) {
        struct verdict v;

        if (object->deleting)
                return made(STATE_WAITING, "Deleting", "it is being deleted: nothing runs any more",
                            json_string_at(object->tree, "metadata.deletionTimestamp"));
        if (object->status.observed_generation < 0)
                return made(STATE_WAITING, "NotSeen",
                            "the operator has not seen it yet (does the operator run?)",
                            json_string_at(object->tree, "metadata.creationTimestamp"));
        if (object->status.observed_generation != object->generation)
                return made(
                        STATE_WAITING, "NotSeen",
                        "the operator has not seen its present spec yet (does the operator run?)",
                        "");
        v = judge(object);
        return verdict_retry_unhandled(object) ? judge_retry(object, v) : v;
}
