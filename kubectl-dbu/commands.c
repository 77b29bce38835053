/* SPDX-License-Identifier: Apache-2.0 */
#include "kubectl-dbu/commands.h"

#include <string.h>
#include <unistd.h>

#include "common/api/dbupgrade.h"
#include "common/api/syntax.h"
#include "common/base/arena.h"
#include "common/base/clock.h"
#include "common/base/fault.h"
#include "common/base/strbuf.h"
#include "common/json/json_get.h"
#include "common/json/json_write.h"
#include "kubectl-dbu/advice.h"
#include "kubectl-dbu/cluster.h"
#include "kubectl-dbu/follow.h"
#include "kubectl-dbu/output.h"
#include "kubectl-dbu/present.h"
#include "kubectl-dbu/status.h"
#include "kubectl-dbu/timeline.h"
#include "kubectl-dbu/verdict.h"

#define OUTPUT_MAX ((size_t)256 << 20)
#define TEXTS_MAX  ((size_t)64 << 10)

/* The outcomes of cluster.h as exit codes; 0 and faults stay what they are. Return: whether the
 * command is over. */
static bool is_over(int r, const struct args *args, enum exit_code *ret_code) {
        if (r == CLUSTER_E_NOT_FOUND) {
                if (args->namespace_)
                        output_say("There is no DBUpgrade %s in the namespace %s.", args->name,
                                   args->namespace_);
                else
                        output_say("There is no DBUpgrade %s in the current namespace (-n names "
                                   "another; list shows all).",
                                   args->name);
                *ret_code = CODE_NOT_FOUND;
        }
        if (r == CLUSTER_E_TROUBLE)
                *ret_code = CODE_TROUBLE;
        return r != 0;
}

static int run_list(const struct args *args, const struct clock *clock, enum exit_code *ret_code,
                    struct fault *f) {
        CLEANUP(object_list_done) struct object_list list = { .items = NULL, .count = 0 };
        CLEANUP(strbuf_done) struct strbuf out = STRBUF_INIT(OUTPUT_MAX);
        CLEANUP(strbuf_done) struct strbuf where = STRBUF_INIT(TEXTS_MAX);
        struct look look = output_look(STDOUT_FILENO, clock_wall_s(clock));
        int r = cluster_list(args, &list, f);

        if (is_over(r, args, ret_code))
                return r;
        object_list_sort(&list);
        if (args->json) {
                list_print_json(&out, &list);
                return output_print_json(&out, f);
        }
        if (args->namespace_)
                strbuf_printf(&where, "in the namespace %s", args->namespace_);
        else
                strbuf_str(&where, "in any namespace");
        if (args->selector)
                strbuf_str(&where, " with these labels");
        list_print(&out, &list, strbuf_text(&where), &look);
        return output_print(&out, f);
}

static int run_status(const struct args *args, const struct clock *clock, enum exit_code *ret_code,
                      struct fault *f) {
        CLEANUP(dbupgrade_free_p) struct dbupgrade *object = NULL;
        CLEANUP(cluster_run_done) struct cluster_run run = { .job = NULL };
        CLEANUP(strbuf_done) struct strbuf out = STRBUF_INIT(OUTPUT_MAX);
        struct look look = output_look(STDOUT_FILENO, clock_wall_s(clock));
        struct scene scene;
        int r = cluster_get(args, 0, &object, f);

        if (is_over(r, args, ret_code))
                return r;
        r = cluster_read_run(args, object, &run, f);
        if (r)
                return r;
        scene = (struct scene){
                .object = object,
                .job = run.job,
                .job_gone = run.job_gone,
                .pods = run.pods,
                .events = run.events,
                .job_events = run.job_events,
        };
        r = args->json ? status_print_json(&out, &scene, f) : status_print(&out, &scene, &look, f);
        if (r)
                return r;
        return args->json ? output_print_json(&out, f) : output_print(&out, f);
}

/* The object's -o json, or one line, at the end of a wait. */
static int print_outcome(const struct args *args, const struct dbupgrade *object,
                         enum exit_code code, struct fault *f) {
        CLEANUP(strbuf_done) struct strbuf out = STRBUF_INIT(TEXTS_MAX);
        struct json_writer w = JSON_WRITER_INIT(&out);
        struct look look = output_look(STDOUT_FILENO, 0);

        if (args->json) {
                json_object(&w);
                present_json(&w, object);
                json_end_object(&w);
                strbuf_char(&out, '\n');
                return output_print_json(&out, f);
        }
        if (code == CODE_TIMEOUT && args->timeout_ms > 0)
                strbuf_str(&out, "Time is up.\n");
        present_line(&out, object, &look);
        strbuf_char(&out, '\n');
        return output_print(&out, f);
}

static int run_wait(const struct args *args, const struct clock *clock, enum exit_code *ret_code,
                    struct fault *f) {
        CLEANUP(dbupgrade_free_p) struct dbupgrade *object = NULL;
        int r = follow_until_over(args, clock, &object, ret_code, f);

        if (is_over(r, args, ret_code))
                return r;
        if (*ret_code == CODE_NOT_FOUND) {
                output_say("%s has been deleted.", args->name);
                return 0;
        }
        if (!object) {
                output_say("Time is up: the cluster has not answered.");
                return 0;
        }
        return print_outcome(args, object, *ret_code, f);
}

/* The tries at a retry's write: each fails only when the object has changed meanwhile. */
#define RETRY_TRIES 5

/* Sets the annotation when that makes sense or is forced. Return: 0 (*ret_code: CODE_OK or
 * CODE_REFUSED), CLUSTER_E_TROUBLE with kubectl's words in said, a fault. */
static int write_retry(const struct args *args, const struct clock *clock,
                       const struct dbupgrade *object, struct strbuf *said,
                       enum exit_code *ret_code, struct fault *f) {
        CLEANUP(arena_done) struct arena a = ARENA_INIT(TEXTS_MAX);
        struct verdict v = verdict_of(object);
        struct advice_retry advice = advice_retry(&a, object, &v);
        char value[CLOCK_MICRO_TIME_SIZE];
        int r = arena_check(&a, f);

        if (r)
                return r;
        if (!advice.sensible && !args->force) {
                output_say("%s is %s, and its last run has not failed: there is nothing to retry. "
                           "With --force: %s.",
                           object->name, state_name(v.state), advice.effect);
                *ret_code = CODE_REFUSED;
                return 0;
        }
        clock_format_micro_time(clock_wall_us(clock), value);
        strbuf_reset(said);
        r = cluster_annotate(args, object, value, said, f);
        if (r == 0 && !args->quiet)
                output_say("Retry of %s asked for: %s.", object->name, advice.effect);
        return r;
}

/* Reads it again after a write that was refused. Return: 0 when it has changed since, so that
 * another try makes sense; CLUSTER_E_..., a fault. */
static int look_again(const struct args *args, struct dbupgrade **object, struct fault *f) {
        CLEANUP(dbupgrade_free_p) struct dbupgrade *now = NULL;
        int r = cluster_get(args, 0, &now, f);

        if (r)
                return r;
        if (strcmp(now->resource_version, (*object)->resource_version) == 0)
                return CLUSTER_E_TROUBLE;
        dbupgrade_free(*object);
        *object = TAKE(now);
        return 0;
}

static int request_retry(const struct args *args, const struct clock *clock,
                         enum exit_code *ret_code, struct fault *f) {
        CLEANUP(dbupgrade_free_p) struct dbupgrade *object = NULL;
        CLEANUP(strbuf_done) struct strbuf said = STRBUF_INIT(TEXTS_MAX);
        int r = cluster_get(args, 0, &object, f);

        for (int tries = 1; r == 0; tries++) {
                r = write_retry(args, clock, object, &said, ret_code, f);
                if (r != CLUSTER_E_TROUBLE || tries == RETRY_TRIES)
                        break;
                r = look_again(args, &object, f);
        }
        if (r == CLUSTER_E_TROUBLE && said.len > 0)
                output_say("%s", strbuf_text(&said));
        return r;
}

static int run_retry(const struct args *args, const struct clock *clock, enum exit_code *ret_code,
                     struct fault *f) {
        int r = request_retry(args, clock, ret_code, f);

        if (is_over(r, args, ret_code) || *ret_code != CODE_OK || !args->wait)
                return r;
        return run_wait(args, clock, ret_code, f);
}

/* Says why there is none. */
static int say_no_logs(const struct dbupgrade *object, const cJSON *pods, struct fault *f) {
        CLEANUP(arena_done) struct arena a = ARENA_INIT(TEXTS_MAX);
        const char *why = advice_no_logs(&a, object, pods);

        output_say("%s", why);
        return arena_check(&a, f);
}

static int run_logs(const struct args *args, enum exit_code *ret_code, struct fault *f) {
        CLEANUP(dbupgrade_free_p) struct dbupgrade *object = NULL;
        CLEANUP(cJSON_Delete_p) cJSON *pods = NULL;
        const char *pod;
        int r = follow_until_logs(args, &object, &pods, f);

        if (is_over(r, args, ret_code))
                return r;
        pod = json_string_at(timeline_newest_pod(pods), "metadata.name");
        if (timeline_has_log(timeline_newest_pod(pods)) && syntax_subdomain(pod)) {
                r = cluster_logs(args, object->namespace_, pod, f);
                (void)is_over(r, args, ret_code);
                return r;
        }
        *ret_code = CODE_NOT_FOUND;
        return say_no_logs(object, pods, f);
}

int commands_run(const struct args *args, const struct clock *clock, enum exit_code *ret_code,
                 struct fault *f) {
        int r = 0;

        *ret_code = CODE_OK;
        switch (args->command) {
        case COMMAND_LIST:
                r = run_list(args, clock, ret_code, f);
                break;
        case COMMAND_STATUS:
                r = run_status(args, clock, ret_code, f);
                break;
        case COMMAND_LOGS:
                r = run_logs(args, ret_code, f);
                break;
        case COMMAND_RETRY:
                r = run_retry(args, clock, ret_code, f);
                break;
        case COMMAND_WAIT:
                r = run_wait(args, clock, ret_code, f);
                break;
        case COMMAND_HELP:
        case COMMAND_COMPLETION:
        case COMMAND_VERSION:
        case COMMAND_COUNT:
                return fault_set(f, FAULT_BUG, "a command that asks no cluster");
        }
        return r < 0 ? r : 0;
}
