/* SPDX-License-Identifier: Apache-2.0 */
#include "reconciler/report.h"

#include <string.h>

#include "common/base/clock.h"
#include "common/base/fault.h"
#include "common/base/log.h"
#include "common/kube/event.h"
#include "reconciler/act.h"
#include "reconciler/explain.h"

static const struct dbupgrade_condition *secret_missing(const struct dbupgrade *object) {
        const struct dbupgrade_condition *c = dbupgrade_condition_find(&object->status, "Degraded");

        return c && strcmp(c->status, "True") == 0 && strcmp(c->reason, "SecretNotFound") == 0
                       ? c
                       : NULL;
}

struct report_before report_before(const struct dbupgrade *object) {
        return (struct report_before){
                .result = object->status.last_run.result,
                .secret_missing = secret_missing(object) != NULL,
        };
}

/* Of events about runs, each is one of its own, its key the Job's UID. Entering a state that is
 * entered again and again is one event, a series. */
static void post(struct pass *p, const struct event *words) {
        const struct dbupgrade *o = p->object;
        struct event event = *words;

        event.regarding = (struct event_regarding){
                DBUPGRADE_API_VERSION, DBUPGRADE_KIND, o->namespace_, o->name, o->uid,
                o->resource_version
        };
        if (p->deps->hooks.event)
                p->deps->hooks.event(p->deps->hooks.ctx, &event);
}

void report_started(struct pass *p) {
        const struct dbupgrade_run *run = &p->object->status.last_run;

        log_info("migration Job started", LOG_STR("job", run->job_name),
                 LOG_INT("run", run->number));
        post(p, &(struct event){
                        .reason = "MigrationStarted",
                        .action = "JobCreated",
                        .note = arena_printf(&p->arena, "Created migration Job %s", run->job_name),
                        .key = run->job_uid,
                });
}

/* The ledger has a final outcome that it had not before. */
static void report_outcome(struct pass *p) {
        const struct dbupgrade_run *run = &p->object->status.last_run;
        const char *note = explain_outcome(&p->arena, p->object, run);
        int64_t start_us, end_us;

        log_info("run ended", LOG_STR("job", run->job_name), LOG_INT("run", run->number),
                 LOG_STR("result", run_result_name(run->result)), LOG_STR("reason", run->reason));
        if (run->result == RUN_SUCCEEDED)
                post(p, &(struct event){ .reason = "MigrationSucceeded",
                                         .action = "JobSucceeded",
                                         .note = note,
                                         .key = run->job_uid });
        if (run->result == RUN_FAILED || run->result == RUN_LOST)
                post(p, &(struct event){ .warning = true,
                                         .reason = "MigrationFailed",
                                         .action = "JobFailed",
                                         .note = note,
                                         .key = run->job_uid });
        if (p->deps->hooks.outcome &&
            clock_parse_time(run->started_at, strlen(run->started_at), &start_us) &&
            clock_parse_time(run->finished_at, strlen(run->finished_at), &end_us))
                p->deps->hooks.outcome(p->deps->hooks.ctx, (int)run->result,
                                       (double)(end_us - start_us) / 1e6);
}

static void report_running(struct pass *p) {
        const struct dbupgrade_run *run = &p->object->status.last_run;

        for (size_t i = 0; i < p->in.cached_pods->count; i++) {
                const struct pod_record *pod = p->in.cached_pods->items[i];

                if (strcmp(pod->job_uid, run->job_uid) != 0 || !pod->running)
                        continue;
                post(p, &(struct event){
                                .reason = "MigrationInProgress",
                                .action = "JobRunning",
                                .note = arena_printf(&p->arena, "Migration Job %s is running",
                                                     run->job_name),
                                .key = run->job_uid,
                        });
                return;
        }
}

int report_after_write(struct pass *p, const struct report_before *before, int r) {
        const struct dbupgrade_run *run = &p->object->status.last_run;
        const struct dbupgrade_condition *missing;

        /* The status cannot say it. */
        if (r == ACT_E_FORBIDDEN)
                post(p, &(struct event){ .warning = true,
                                         .reason = "Forbidden",
                                         .action = "StatusWrite",
                                         .note = p->message,
                                         .key = "status" });
        if (r)
                return r;
        missing = secret_missing(p->object);
        if (missing && !before->secret_missing)
                post(p, &(struct event){ .warning = true,
                                         .repeats = true,
                                         .reason = "SecretNotFound",
                                         .action = "SecretMissing",
                                         .note = missing->message,
                                         .key = missing->last_transition_time });
        if (run->result != before->result && run_result_is_final(run->result))
                report_outcome(p);
        if (run->result == RUN_RUNNING)
                report_running(p);
        return 0;
}
