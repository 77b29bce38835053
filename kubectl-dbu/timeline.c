/* SPDX-License-Identifier: Apache-2.0 */
#include "kubectl-dbu/timeline.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "common/api/dbupgrade.h"
#include "common/base/arena.h"
#include "common/base/fault.h"
#include "common/json/json_get.h"
#include "kubectl-dbu/verdict.h"

/* The container that runs the migration (contract of the Job). */
#define CONTAINER "migrate"

struct builder {
        struct arena *a;
        struct timeline *line;
};

/* Nothing when text is no time: a member that is not there yet. */
static void add(struct builder *b, const char *time, enum style style, const char *text) {
        int64_t at_us;

        if (!text_time(time, &at_us) || b->line->count == TIMELINE_MAX)
                return;
        b->line->moments[b->line->count++] =
                (struct moment){ .at_s = at_us / 1000000, .text = text, .style = style };
}

/* "after 4m12s", or "" when one of the two is no time. */
static const char *after(struct arena *a, const char *from, const char *to) {
        char span[TEXT_SPAN_SIZE];
        int64_t from_us, to_us;

        if (!text_time(from, &from_us) || !text_time(to, &to_us))
                return "";
        text_span(to_us / 1000000 - from_us / 1000000, span);
        return arena_printf(a, " after %s", span);
}

/* Whoever owns members of the spec wrote it last at that time. */
static void add_spec_changes(struct builder *b, const cJSON *metadata) {
        const char *created = json_string_at(metadata, "creationTimestamp");
        const char *creator = NULL;
        const cJSON *entry;

        cJSON_ArrayForEach (entry, json_member(metadata, "managedFields")) {
                const char *time = json_string_at(entry, "time");
                const char *manager = json_string_at(entry, "manager");

                if (!json_member(json_member(entry, "fieldsV1"), "f:spec"))
                        continue;
                if (strcmp(time, created) == 0)
                        creator = manager;
                else
                        add(b, time, STYLE_PLAIN,
                            arena_printf(b->a, "spec changed by %s", manager));
        }
        add(b, created, STYLE_PLAIN,
            creator ? arena_printf(b->a, "created by %s", creator) : "created");
}

static enum style result_style(enum run_result result) {
        switch (result) {
        case RUN_SUCCEEDED:
                return STYLE_GREEN;
        case RUN_FAILED:
        case RUN_LOST:
                return STYLE_RED;
        case RUN_SUPERSEDED:
        case RUN_SUPERSEDING:
                return STYLE_YELLOW;
        case RUN_NONE:
        case RUN_STARTING:
        case RUN_RUNNING:
                break;
        }
        return STYLE_PLAIN;
}

static const char *result_text(enum run_result result) {
        switch (result) {
        case RUN_SUCCEEDED:
                return "succeeded";
        case RUN_FAILED:
                return "failed";
        case RUN_LOST:
                return "was lost: its Job vanished before its end was seen";
        case RUN_SUPERSEDED:
                return "was replaced before it had started";
        case RUN_NONE:
        case RUN_STARTING:
        case RUN_RUNNING:
        case RUN_SUPERSEDING:
                break;
        }
        return "has not ended";
}

static void add_end(struct builder *b, const struct dbupgrade_run *run, const char *what) {
        const char *took = run->result == RUN_SUCCEEDED || run->result == RUN_FAILED
                                   ? after(b->a, run->started_at, run->finished_at)
                                   : "";
        const char *why = run->result == RUN_FAILED && *run->reason
                                  ? arena_printf(b->a, ": %s", run->reason)
                                  : "";

        add(b, run->finished_at, result_style(run->result),
            arena_printf(b->a, "%s %s%s%s", what, result_text(run->result), took, why));
}

static void add_history(struct builder *b, const struct dbupgrade_status *status) {
        for (size_t i = status->history_count; i-- > 0;) {
                const struct dbupgrade_run *run = &status->history[i];

                if (run->number != status->last_run.number)
                        add_end(b, run,
                                arena_printf(b->a, "run %" PRId64 " of %s", run->number,
                                             run->image));
        }
}

const cJSON *timeline_container(const cJSON *pod) {
        const cJSON *container;

        cJSON_ArrayForEach (container, json_at(pod, "status.containerStatuses"))
                if (strcmp(json_string_at(container, "name"), CONTAINER) == 0)
                        return container;
        return NULL;
}

const cJSON *timeline_newest_pod(const cJSON *pods) {
        const cJSON *pod, *newest = NULL;
        int64_t at_us, newest_us = 0;

        cJSON_ArrayForEach (pod, json_member(pods, "items")) {
                if (!text_time(json_string_at(pod, "metadata.creationTimestamp"), &at_us))
                        at_us = 0;
                if (!newest || at_us > newest_us) {
                        newest = pod;
                        newest_us = at_us;
                }
        }
        return newest;
}

bool timeline_has_log(const cJSON *pod) {
        const cJSON *container = timeline_container(pod);

        return cJSON_IsObject(json_at(container, "state.running")) ||
               cJSON_IsObject(json_at(container, "state.terminated")) ||
               cJSON_IsObject(json_at(container, "lastState.terminated"));
}

/* The time at which a condition of a Pod became true; "" when it is not. */
static const char *became_true(const cJSON *pod, const char *type) {
        const cJSON *condition;

        cJSON_ArrayForEach (condition, json_at(pod, "status.conditions"))
                if (strcmp(json_string_at(condition, "type"), type) == 0 &&
                    strcmp(json_string_at(condition, "status"), "True") == 0)
                        return json_string_at(condition, "lastTransitionTime");
        return "";
}

static void add_container_end(struct builder *b, const cJSON *end) {
        int64_t code = json_int_at(end, "exitCode", -1);
        const char *finished = json_string_at(end, "finishedAt");

        add(b, finished, code == 0 ? STYLE_PLAIN : STYLE_RED,
            arena_printf(b->a, "the migration ended with exit code %" PRId64 "%s", code,
                         after(b->a, json_string_at(end, "startedAt"), finished)));
}

static void add_pods(struct builder *b, const cJSON *pods) {
        const cJSON *pod;

        cJSON_ArrayForEach (pod, json_member(pods, "items")) {
                const cJSON *state = json_member(timeline_container(pod), "state");
                const cJSON *end = json_member(state, "terminated");

                add(b, json_string_at(pod, "metadata.creationTimestamp"), STYLE_PLAIN,
                    arena_printf(b->a, "Pod %s created", json_string_at(pod, "metadata.name")));
                add(b, became_true(pod, "PodScheduled"), STYLE_PLAIN,
                    arena_printf(b->a, "Pod placed on node %s",
                                 json_string_at(pod, "spec.nodeName")));
                add(b,
                    json_string_at(cJSON_IsObject(end) ? end : json_member(state, "running"),
                                   "startedAt"),
                    STYLE_PLAIN, "the migration began");
                if (cJSON_IsObject(end))
                        add_container_end(b, end);
        }
}

/* The ledger tells these better, and they are there for longer. */
static bool told_elsewhere(const char *reason) {
        static const char *const reasons[] = { "MigrationStarted",   "MigrationInProgress",
                                               "MigrationSucceeded", "MigrationFailed",
                                               "SuccessfulCreate",   "Completed",
                                               "Suspended",          "Resumed" };

        for (size_t i = 0; i < sizeof(reasons) / sizeof(reasons[0]); i++)
                if (strcmp(reasons[i], reason) == 0)
                        return true;
        return false;
}

static const char *event_time(const cJSON *event) {
        static const char *const members[] = { "series.lastObservedTime", "deprecatedLastTimestamp",
                                               "eventTime" };

        for (size_t i = 0; i < sizeof(members) / sizeof(members[0]); i++)
                if (*json_string_at(event, members[i]))
                        return json_string_at(event, members[i]);
        return json_string_at(event, "metadata.creationTimestamp");
}

static void add_events(struct builder *b, const cJSON *events) {
        const cJSON *event;

        cJSON_ArrayForEach (event, json_member(events, "items")) {
                const char *reason = json_string_at(event, "reason");
                int64_t count = json_int_at(event, "series.count",
                                            json_int_at(event, "deprecatedCount", 1));
                const char *times =
                        count > 1 ? arena_printf(b->a, " (%" PRId64 " times)", count) : "";

                if (told_elsewhere(reason))
                        continue;
                add(b, event_time(event),
                    strcmp(json_string_at(event, "type"), "Warning") == 0 ? STYLE_YELLOW
                                                                          : STYLE_PLAIN,
                    arena_printf(b->a, "%s: %s%s", reason, json_string_at(event, "note"), times));
        }
}

static void add_last_run(struct builder *b, const struct scene *scene) {
        const struct dbupgrade_run *run = &scene->object->status.last_run;
        const char *gone = scene->job_gone ? " (it is gone)" : "";

        if (run->number == 0)
                return;
        add(b, run->started_at, STYLE_PLAIN,
            arena_printf(b->a, "run %" PRId64 " of %s: Job %s%s", run->number, run->image,
                         run->job_name, gone));
        add_events(b, scene->job_events);
        add_pods(b, scene->pods);
        if (run_result_is_final(run->result))
                add_end(b, run, arena_printf(b->a, "run %" PRId64, run->number));
}

/* What holds now and has no other trace. */
static void add_present(struct builder *b, const struct dbupgrade *object) {
        struct verdict v = verdict_of(object);

        if (v.state == STATE_BLOCKED)
                add(b, v.since, STYLE_YELLOW, arena_printf(b->a, "blocked: %s", v.reason));
        if (v.state == STATE_FAILED && !v.run_failed)
                add(b, v.since, STYLE_RED, arena_printf(b->a, "failed: %s", v.reason));
        if (v.state == STATE_WAITING && run_result_is_final(object->status.last_run.result))
                add(b, v.since, STYLE_YELLOW, arena_printf(b->a, "waiting: %s", v.reason));
}

/* Stable: what was added first stays first within a second. */
static void sort(struct timeline *line) {
        for (size_t i = 1; i < line->count; i++) {
                struct moment m = line->moments[i];
                size_t at = i;

                for (; at > 0 && line->moments[at - 1].at_s > m.at_s; at--)
                        line->moments[at] = line->moments[at - 1];
                line->moments[at] = m;
        }
}

int timeline_build(struct arena *a, const struct scene *scene, struct timeline *ret_timeline,
                   struct fault *f) {
        const struct dbupgrade *object = scene->object;
        struct timeline line = { .moments = arena_alloc(a, TIMELINE_MAX * sizeof(*line.moments)) };
        struct builder b = { .a = a, .line = &line };

        if (!line.moments)
                return arena_check(a, f);
        add_spec_changes(&b, json_member(object->tree, "metadata"));
        add_history(&b, &object->status);
        add_last_run(&b, scene);
        add_present(&b, object);
        add_events(&b, scene->events);
        sort(&line);
        *ret_timeline = line;
        return arena_check(a, f);
}
