/* SPDX-License-Identifier: Apache-2.0 */
#include "kubectl-dbu/advice.h"

#include <inttypes.h>
#include <string.h>

#include "common/api/dbupgrade.h"
#include "common/base/arena.h"
#include "common/json/json_get.h"
#include "kubectl-dbu/timeline.h"

static void add(struct advice *advice, const char *text, const char *command) {
        if (advice->count < ADVICE_MAX)
                advice->steps[advice->count++] =
                        (struct advice_step){ .text = text, .command = command };
}

/* "kubectl dbu logs shop -n default": with the namespace, so that it can be copied anywhere. */
static const char *command(struct arena *a, const struct dbupgrade *object, const char *verb,
                           const char *options) {
        return arena_printf(a, "kubectl %s %s -n %s%s", verb, object->name, object->namespace_,
                            options);
}

static bool is(const struct verdict *v, const char *reason) {
        return strcmp(v->reason, reason) == 0;
}

static void advise_run_failed(struct arena *a, const struct dbupgrade *object,
                              struct advice *advice) {
        const struct dbupgrade_run *run = &object->status.last_run;

        if (run->result != RUN_LOST)
                add(advice, "See what it printed:", command(a, object, "dbu logs", ""));
        if (run->result == RUN_LOST)
                add(advice,
                    "Nobody saw how it ended: look at the database before you run it again.", "");
        else if (strcmp(run->reason, "DeadlineExceeded") == 0)
                add(advice,
                    "It needs longer? A greater spec.runner.activeDeadlineSeconds also starts a "
                    "new run.",
                    "");
        else
                add(advice,
                    "The migration is wrong? Set spec.migrations.image to a corrected one: that "
                    "starts a new run.",
                    "");
        add(advice, "The cause lay elsewhere, and is mended? Run the same again:",
            command(a, object, "dbu retry", ""));
}

static void advise_failed(struct arena *a, const struct dbupgrade *object, const struct verdict *v,
                          struct advice *advice) {
        if (v->run_failed) {
                advise_run_failed(a, object, advice);
                return;
        }
        if (is(v, "JobNameConflict"))
                add(advice, "Delete the Job that has this name, unless somebody needs it.", "");
        else
                add(advice, "Correct the spec; nothing runs until then:",
                    command(a, object, "edit dbu", ""));
}

static void advise_blocked(struct arena *a, const struct dbupgrade *object, const struct verdict *v,
                           struct advice *advice) {
        if (object->spec.suspend && is(v, "Suspended"))
                add(advice, "Let it run:",
                    command(a, object, "patch dbu",
                            " --type=merge -p '{\"spec\":{\"suspend\":false}}'"));
        else if (is(v, "AWSNotImplemented"))
                add(advice,
                    "This version does not run AWS types, and a type cannot be changed: make a new "
                    "DBUpgrade of type selfHosted, with the URL in a Secret.",
                    "");
        else
                add(advice,
                    "Nothing runs until the spec is changed:", command(a, object, "edit dbu", ""));
}

static void advise_waiting(struct arena *a, const struct dbupgrade *object, const struct verdict *v,
                           struct advice *advice) {
        const struct dbupgrade_run *run = &object->status.last_run;

        if (is(v, "SecretNotFound"))
                add(advice,
                    arena_printf(a,
                                 "Create the Secret %s with the key %s; the operator looks for it "
                                 "again by itself.",
                                 object->spec.secret_name, object->spec.secret_key),
                    "");
        else if (is(v, "NotSeen") || is(v, "RetryRequested"))
                add(advice, "This takes a moment; when it lasts, look for the operator:",
                    "kubectl get pods -A -l app.kubernetes.io/name=dbupgrade");
        else if (is(v, "Forbidden"))
                add(advice, "Give the operator the right that it says it lacks.", "");
        else if (run->number > 0 && !run_result_is_final(run->result))
                add(advice, "Nothing has run yet: a corrected spec replaces this run at once.", "");
}

struct advice advice_of(struct arena *a, const struct dbupgrade *object, const struct verdict *v) {
        struct advice advice = { .count = 0 };

        switch (v->state) {
        case STATE_FAILED:
                advise_failed(a, object, v, &advice);
                break;
        case STATE_BLOCKED:
                advise_blocked(a, object, v, &advice);
                break;
        case STATE_WAITING:
                advise_waiting(a, object, v, &advice);
                break;
        case STATE_RUNNING:
                add(&advice, "See what it prints:", command(a, object, "dbu logs", " -f"));
                add(&advice, "Wait for its end:", command(a, object, "dbu wait", ""));
                break;
        case STATE_DONE:
                break;
        }
        return advice;
}

struct advice_retry advice_retry(struct arena *a, const struct dbupgrade *object,
                                 const struct verdict *v) {
        const char *effect = "";

        if (object->deleting)
                return (struct advice_retry){ .sensible = false,
                                              .effect = "nothing runs any more: it is being "
                                                        "deleted" };
        switch (v->state) {
        case STATE_FAILED:
                if (v->run_failed)
                        return (struct advice_retry){
                                .sensible = true,
                                .effect = arena_printf(a, "run %" PRId64 " of %s is repeated",
                                                       object->status.last_run.number,
                                                       object->status.last_run.image),
                        };
                effect = is(v, "JobRejected")
                                 ? "the operator offers the same Job to the API server once more"
                                 : "nothing runs before the cause is mended, and then a run starts "
                                   "anyway";
                break;
        case STATE_BLOCKED:
                effect = "nothing runs while it is blocked, and one run follows when that ends";
                break;
        case STATE_WAITING:
                effect = verdict_retry_unhandled(object)
                                 ? "nothing changes: a retry has been asked for already"
                                 : "nothing changes: a run starts by itself when what it waits for "
                                   "is there";
                break;
        case STATE_RUNNING:
                effect = "the present run goes on, and when it has ended, well or not, the "
                         "migration is run once more";
                break;
        case STATE_DONE:
                effect = "the migration that is applied already is run once more (Atlas then finds "
                         "nothing to do)";
                break;
        }
        return (struct advice_retry){ .sensible = false, .effect = effect };
}

const char *advice_no_logs(struct arena *a, const struct dbupgrade *object, const cJSON *pods) {
        const struct dbupgrade_run *run = &object->status.last_run;
        const cJSON *pod = timeline_newest_pod(pods);
        struct verdict v = verdict_of(object);

        if (run->number == 0)
                return arena_printf(a, "%s has not run yet: %s", object->name,
                                    *v.message ? v.message : v.reason);
        if (!run_result_is_final(run->result))
                return arena_printf(a,
                                    "The migration of run %" PRId64 " has not begun: %s. -f "
                                    "waits for it.",
                                    run->number, *v.message ? v.message : v.reason);
        if (pod)
                return arena_printf(a, "Run %" PRId64 " never got as far as its migration.",
                                    run->number);
        return arena_printf(a,
                            "The Pod of Job %s is gone, and its log with it. The operator has "
                            "recorded: %s%s%s",
                            run->job_name, run_result_name(run->result), *run->message ? ": " : "",
                            run->message);
}
