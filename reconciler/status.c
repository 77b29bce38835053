/* SPDX-License-Identifier: Apache-2.0 */
#include "reconciler/status.h"

#include <string.h>

#include "common/base/arena.h"
#include "common/base/clock.h"
#include "common/base/strbuf.h"
#include "common/base/utf8.h"
#include "common/json/json_write.h"
#include "reconciler/explain.h"
#include "reconciler/job.h"

static const char *time_text(struct arena *a, int64_t unix_s) {
        char text[CLOCK_TIME_SIZE];

        clock_format_time(unix_s, text);
        return arena_strdup(a, text);
}

void status_start(struct arena *a, struct dbupgrade_status *status, const struct dbupgrade *object,
                  const struct job_identity *identity, const char *job_uid, int64_t now_s) {
        status->last_run = (struct dbupgrade_run){
                .number = identity->number,
                .job_name = arena_strdup(a, identity->name),
                .job_uid = arena_strdup(a, job_uid),
                .run_key = arena_strdup(a, identity->run_key),
                .attempt_key = arena_strdup(a, identity->attempt_key),
                .image = object->spec.image,
                .started_at = time_text(a, now_s),
                .finished_at = "",
                .result = RUN_STARTING,
                .reason = "",
                .message = "",
        };
        status->job_name = status->last_run.job_name;
        status->applied_key = "";
        status->last_handled_retry = plan_retry_value(object);
}

/* history: newest first, without messages. */
static void push_history(struct dbupgrade_status *status) {
        size_t kept = status->history_count < DBUPGRADE_HISTORY_MAX ? status->history_count
                                                                    : DBUPGRADE_HISTORY_MAX - 1;

        memmove(&status->history[1], &status->history[0], kept * sizeof(status->history[0]));
        status->history[0] = status->last_run;
        status->history[0].message = "";
        status->history_count = kept + 1;
}

void status_record(struct arena *a, struct dbupgrade_status *status,
                   const struct status_outcome *outcome, int64_t now_s) {
        struct dbupgrade_run *run = &status->last_run;

        run->result = outcome->result;
        if (!run_result_is_final(outcome->result))
                return;
        run->finished_at = *outcome->finished_at ? outcome->finished_at : time_text(a, now_s);
        run->has_exit_code = outcome->has_exit_code;
        run->exit_code = outcome->exit_code;
        run->reason = outcome->reason;
        run->message = outcome->message;
        if (outcome->result == RUN_SUCCEEDED) {
                status->applied_key = run->run_key;
                status->applied_image = run->image;
                status->applied_at = run->finished_at;
        }
        push_history(status);
}

void status_adopt(struct arena *a, struct dbupgrade_status *status, const struct dbupgrade *object,
                  const char *run_key, int64_t now_s) {
        status->applied_key = arena_strdup(a, run_key);
        status->applied_image = object->spec.image;
        status->applied_at = time_text(a, now_s);
        status->last_handled_retry = plan_retry_value(object);
}

/* What a situation looks like; docs/api.md, Conditions, for users. */
struct situation_row {
        const char *reason; /* status.reason unless the facts name one */
        const char *ready_reason;
        bool ready, progressing;
        const char *degraded; /* reason; NULL: Idle */
        bool reconciling, stalled;
};

static const char *const blocked_reasons[] = {
        [BLOCKED_NOT] = "Idle",
        [BLOCKED_SUSPENDED] = "Suspended",
        [BLOCKED_CHECKS] = "ChecksNotImplemented",
        [BLOCKED_AWS] = "AWSNotImplemented",
};

const char *status_blocked_message(enum plan_blocked blocked) {
        switch (blocked) {
        case BLOCKED_NOT:
                return "";
        case BLOCKED_SUSPENDED:
                return "spec.suspend is true: no new run starts";
        case BLOCKED_CHECKS:
                return "spec.checks.pre is not evaluated yet, and a guard is never skipped: remove it "
                       "to run the migration without";
        case BLOCKED_AWS:
                return "AWS RDS/Aurora support not yet implemented";
        }
        return "";
}

static struct situation_row situation_row(enum plan_situation situation,
                                          enum plan_blocked blocked) {
        static const struct situation_row rows[] = {
                [SITUATION_NONE] = { "Initializing", "Initializing", false, false, NULL, true,
                                     false },
                [SITUATION_SEEN] = { "Initializing", "Initializing", false, false, NULL, true,
                                     false },
                [SITUATION_INVALID] = { "InvalidSpec", "InvalidSpec", false, false, "InvalidSpec",
                                        false, true },
                [SITUATION_SECRET] = { "SecretNotFound", "Initializing", false, false,
                                       "SecretNotFound", true, false },
                [SITUATION_BLOCKED] = { NULL, NULL, false, false, NULL, false, false },
                [SITUATION_WAITING] = { "JobRunning", "JobRunning", false, true, NULL, true,
                                        false },
                [SITUATION_RUNNING] = { "JobRunning", "JobRunning", false, true, NULL, true,
                                        false },
                [SITUATION_SUCCEEDED] = { "MigrationComplete", "MigrationComplete", true, false,
                                          NULL, false, false },
                [SITUATION_FAILED] = { "MigrationFailed", "JobFailed", false, false,
                                       "MigrationFailed", false, true },
                [SITUATION_LOST] = { "JobLost", "JobFailed", false, false, "JobLost", false, true },
                [SITUATION_REJECTED] = { "JobRejected", "JobRejected", false, false, "JobRejected",
                                         true, false },
                [SITUATION_REJECTED_GOOD] = { "JobRejected", "JobRejected", false, false,
                                              "JobRejected", false, true },
                [SITUATION_FORBIDDEN] = { "Forbidden", "Forbidden", false, false, "Forbidden", true,
                                          false },
                [SITUATION_CONFLICT] = { "JobNameConflict", "JobNameConflict", false, false,
                                         "JobNameConflict", false, true },
        };
        struct situation_row row = rows[situation];

        if (situation == SITUATION_BLOCKED) {
                row.reason = row.ready_reason = blocked_reasons[blocked];
                /* Waiting for support that does not exist yet is no progress; a human has to act.
                 */
                row.stalled = blocked != BLOCKED_SUSPENDED;
        }
        return row;
}

/* The conditions under construction. */
struct conditions {
        struct arena *a;
        const struct dbupgrade_status *old;
        struct dbupgrade_condition *items;
        size_t count;
        int64_t generation;
        const char *now;
};

static void put_condition(struct conditions *c, const char *type, bool status, const char *reason,
                          const char *message) {
        const struct dbupgrade_condition *old = dbupgrade_condition_find(c->old, type);
        const char *status_text = status ? "True" : "False";
        bool moved = !old || strcmp(old->status, status_text) != 0 || !*old->last_transition_time;

        c->items[c->count++] = (struct dbupgrade_condition){
                .type = type,
                .status = status_text,
                .reason = reason,
                .message = message,
                .last_transition_time = moved ? c->now : old->last_transition_time,
                .observed_generation = c->generation,
        };
}

static bool is_own_type(const char *type) {
        static const char *const own[] = { "Accepted", "Ready",       "Progressing", "Degraded",
                                           "Blocked",  "Reconciling", "Stalled" };

        for (size_t i = 0; i < sizeof(own) / sizeof(own[0]); i++)
                if (strcmp(own[i], type) == 0)
                        return true;
        return false;
}

/* The seven types are ours. */
#define STATUS_OWN_CONDITIONS 7

static void put_conditions(struct conditions *c, const struct status_facts *facts,
                           const struct situation_row *row, const char *reason,
                           const char *message) {
        const char *degraded = row->degraded;
        const char *degraded_message = degraded ? message : "";

        if (facts->invalid) {
                degraded = "InvalidSpec";
                degraded_message = facts->invalid_message;
        }
        put_condition(c, "Accepted", !facts->invalid, facts->invalid ? "InvalidSpec" : "ValidSpec",
                      facts->invalid ? facts->invalid_message : "The spec is valid");
        put_condition(c, "Ready", row->ready, row->ready_reason, message);
        put_condition(c, "Progressing", row->progressing,
                      row->progressing ? "MigrationInProgress" : "Idle",
                      row->progressing ? message : "");
        put_condition(c, "Degraded", degraded != NULL, degraded ? degraded : "Idle",
                      degraded_message);
        put_condition(c, "Blocked", facts->blocked != BLOCKED_NOT, blocked_reasons[facts->blocked],
                      status_blocked_message(facts->blocked));
        if (row->reconciling)
                put_condition(c, "Reconciling", true, reason, message);
        if (row->stalled)
                put_condition(c, "Stalled", true, reason, message);
}

void status_describe(struct arena *a, struct dbupgrade_status *status,
                     const struct dbupgrade *object, const struct status_facts *facts) {
        struct situation_row row = situation_row(facts->situation, facts->blocked);
        const char *reason = facts->reason ? facts->reason : row.reason;
        size_t cap = object->status.condition_count + STATUS_OWN_CONDITIONS;
        size_t len = strlen(facts->message);
        const char *message = arena_strndup(a, facts->message,
                                            utf8_floor(facts->message, len, EXPLAIN_MESSAGE_MAX));
        struct conditions c = {
                .a = a,
                .old = &object->status,
                .items = arena_alloc(a, cap * sizeof(*c.items)),
                .generation = object->generation,
                .now = time_text(a, facts->now_s),
        };

        if (!c.items)
                return; /* the arena says so */
        put_conditions(&c, facts, &row, reason, message);
        for (size_t i = 0; i < object->status.condition_count; i++)
                if (!is_own_type(object->status.conditions[i].type))
                        c.items[c.count++] = object->status.conditions[i];
        status->conditions = c.items;
        status->condition_count = c.count;
        status->reason = reason;
        status->message = message;
        status->observed_generation = object->generation;
}

static bool same(const char *x, const char *y) {
        return x == y || (x && y && strcmp(x, y) == 0);
}

static bool run_equal(const struct dbupgrade_run *x, const struct dbupgrade_run *y) {
        return x->number == y->number && x->result == y->result &&
               x->has_exit_code == y->has_exit_code && x->exit_code == y->exit_code &&
               same(x->job_name, y->job_name) && same(x->job_uid, y->job_uid) &&
               same(x->run_key, y->run_key) && same(x->attempt_key, y->attempt_key) &&
               same(x->image, y->image) && same(x->started_at, y->started_at) &&
               same(x->finished_at, y->finished_at) && same(x->reason, y->reason) &&
               same(x->message, y->message);
}

static bool condition_equal(const struct dbupgrade_condition *x,
                            const struct dbupgrade_condition *y) {
        return same(x->type, y->type) && same(x->status, y->status) && same(x->reason, y->reason) &&
               same(x->message, y->message) &&
               same(x->last_transition_time, y->last_transition_time) &&
               x->observed_generation == y->observed_generation;
}

bool status_equal(const struct dbupgrade_status *a, const struct dbupgrade_status *b) {
        if (a->observed_generation != b->observed_generation || !same(a->reason, b->reason) ||
            !same(a->message, b->message) || !same(a->applied_key, b->applied_key) ||
            !same(a->applied_image, b->applied_image) || !same(a->applied_at, b->applied_at) ||
            !same(a->last_handled_retry, b->last_handled_retry) ||
            !same(a->job_name, b->job_name) || !run_equal(&a->last_run, &b->last_run) ||
            a->history_count != b->history_count || a->condition_count != b->condition_count)
                return false;
        for (size_t i = 0; i < a->history_count; i++)
                if (!run_equal(&a->history[i], &b->history[i]))
                        return false;
        for (size_t i = 0; i < a->condition_count; i++)
                if (!condition_equal(&a->conditions[i], &b->conditions[i]))
                        return false;
        return true;
}

/* A string member: its value; null when it is empty and was not; nothing when it never was. */
static void put_text(struct json_writer *w, const char *name, const char *from, const char *to) {
        if (*to) {
                json_kv_string(w, name, to);
        } else if (*from) {
                json_key(w, name);
                json_put_null(w);
        }
}

/* As a list item (from NULL) or as a member that is merged into the old one. */
static void put_run(struct json_writer *w, const struct dbupgrade_run *from,
                    const struct dbupgrade_run *to) {
        static const struct dbupgrade_run none = {
                .job_name = "",
                .job_uid = "",
                .run_key = "",
                .attempt_key = "",
                .image = "",
                .started_at = "",
                .finished_at = "",
                .reason = "",
                .message = "",
        };

        from = from ? from : &none;
        json_object(w);
        json_kv_int(w, "number", to->number);
        put_text(w, "jobName", from->job_name, to->job_name);
        put_text(w, "jobUID", from->job_uid, to->job_uid);
        put_text(w, "runKey", from->run_key, to->run_key);
        put_text(w, "attemptKey", from->attempt_key, to->attempt_key);
        put_text(w, "image", from->image, to->image);
        put_text(w, "startedAt", from->started_at, to->started_at);
        put_text(w, "finishedAt", from->finished_at, to->finished_at);
        json_kv_string(w, "result", run_result_name(to->result));
        if (to->has_exit_code) {
                json_kv_int(w, "exitCode", to->exit_code);
        } else if (from->has_exit_code) {
                json_key(w, "exitCode");
                json_put_null(w);
        }
        put_text(w, "reason", from->reason, to->reason);
        put_text(w, "message", from->message, to->message);
        json_end_object(w);
}

static void put_condition_json(struct json_writer *w, const struct dbupgrade_condition *c) {
        json_object(w);
        json_kv_string(w, "type", c->type);
        json_kv_string(w, "status", c->status);
        if (c->observed_generation > 0)
                json_kv_int(w, "observedGeneration", c->observed_generation);
        json_kv_string(w, "lastTransitionTime", c->last_transition_time);
        json_kv_string(w, "reason", c->reason);
        json_kv_string(w, "message", c->message);
        json_end_object(w);
}

static void put_status(struct json_writer *w, const struct dbupgrade_status *from,
                       const struct dbupgrade_status *to) {
        json_kv_int(w, "observedGeneration", to->observed_generation);
        put_text(w, "reason", from->reason, to->reason);
        put_text(w, "message", from->message, to->message);
        put_text(w, "appliedKey", from->applied_key, to->applied_key);
        put_text(w, "appliedImage", from->applied_image, to->applied_image);
        put_text(w, "appliedAt", from->applied_at, to->applied_at);
        if (to->last_handled_retry)
                json_kv_string(w, "lastHandledRetry", to->last_handled_retry);
        put_text(w, "jobName", from->job_name, to->job_name);
        if (to->last_run.number > 0) {
                json_key(w, "lastRun");
                put_run(w, &from->last_run, &to->last_run);
        }
        if (to->history_count > 0) {
                json_kv_array(w, "history");
                for (size_t i = 0; i < to->history_count; i++)
                        put_run(w, NULL, &to->history[i]);
                json_end_array(w);
        }
        json_kv_array(w, "conditions");
        for (size_t i = 0; i < to->condition_count; i++)
                put_condition_json(w, &to->conditions[i]);
        json_end_array(w);
}

void status_patch(struct strbuf *out, const char *resource_version,
                  const struct dbupgrade_status *from, const struct dbupgrade_status *to) {
        struct json_writer w = JSON_WRITER_INIT(out);

        json_object(&w);
        json_kv_object(&w, "metadata");
        json_kv_string(&w, "resourceVersion", resource_version);
        json_end_object(&w);
        json_kv_object(&w, "status");
        put_status(&w, from, to);
        json_end_object(&w);
        json_end_object(&w);
}
