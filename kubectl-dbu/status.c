/* SPDX-License-Identifier: Apache-2.0 */
#include "kubectl-dbu/status.h"

#include <inttypes.h>
#include <string.h>

#include "common/api/dbupgrade.h"
#include "common/base/arena.h"
#include "common/base/clock.h"
#include "common/base/fault.h"
#include "common/base/strbuf.h"
#include "common/json/json_get.h"
#include "common/json/json_write.h"
#include "kubectl-dbu/advice.h"
#include "kubectl-dbu/present.h"
#include "kubectl-dbu/text.h"
#include "kubectl-dbu/timeline.h"
#include "kubectl-dbu/verdict.h"

/* The texts of one object: its own are at most a few KiB, the events' notes 1 KiB each. */
#define ARENA_MAX ((size_t)4 << 20)

#define INDENT      2
#define LABEL_WIDTH 12
/* Time and age stand before it. */
#define TIMELINE_INDENT 24
/* Of "2026-11-24T12:03:04Z". */
#define DAY_LEN 10

/* Clean text from the column `indent` on, as far as the terminal is wide, and the line's end. */
static void put_styled(struct strbuf *out, const char *text, size_t indent, enum style style,
                       const struct look *look) {
        CLEANUP(strbuf_done) struct strbuf clean = STRBUF_INIT(out->max);
        struct text_box box = {
                .indent = indent,
                .width = look->width > indent + 20 ? look->width - indent : 20,
        };

        text_clean(&clean, text);
        text_begin(out, look, style);
        if (look->terminal)
                text_wrap(out, strbuf_text(&clean), &box);
        else
                strbuf_str(out, strbuf_text(&clean));
        out->bad |= clean.bad;
        text_end(out, look, style);
        strbuf_char(out, '\n');
}

static void put_text(struct strbuf *out, const char *text, size_t indent, const struct look *look) {
        put_styled(out, text, indent, STYLE_PLAIN, look);
}

static void put_heading(struct strbuf *out, const char *text, const struct look *look) {
        strbuf_char(out, '\n');
        text_begin(out, look, STYLE_BOLD);
        strbuf_str(out, text);
        text_end(out, look, STYLE_BOLD);
        strbuf_char(out, '\n');
}

static void put_fact(struct strbuf *out, const char *label, const char *text,
                     const struct look *look) {
        text_pad(out, INDENT);
        text_begin(out, look, STYLE_DIM);
        strbuf_str(out, label);
        text_end(out, look, STYLE_DIM);
        text_pad(out, LABEL_WIDTH - strlen(label));
        put_text(out, text, INDENT + LABEL_WIDTH, look);
}

/* "4m12s", or "" when text is no time. */
static const char *age(struct arena *a, const char *text, const struct look *look) {
        char span[TEXT_SPAN_SIZE];
        int64_t at_us;

        if (!text_time(text, &at_us))
                return "";
        text_span(look->now_s - at_us / 1000000, span);
        return arena_strdup(a, span);
}

static void put_title(struct strbuf *out, struct arena *a, const struct dbupgrade *object,
                      const struct verdict *v, const struct look *look) {
        CLEANUP(strbuf_done) struct strbuf reason = STRBUF_INIT(out->max);
        bool over = v->state == STATE_DONE || v->state == STATE_FAILED;
        const char *since = age(a, v->since, look);

        text_begin(out, look, STYLE_BOLD);
        text_clean(out, object->name);
        text_end(out, look, STYLE_BOLD);
        strbuf_str(out, " in namespace ");
        text_clean(out, object->namespace_);
        strbuf_str(out, ": ");
        text_begin(out, look, present_style(v->state));
        strbuf_str(out, state_name(v->state));
        text_end(out, look, present_style(v->state));
        if (*since)
                strbuf_printf(out, over ? ", %s ago" : " for %s", since);
        strbuf_char(out, '\n');
        present_reason(&reason, object, v);
        text_pad(out, INDENT);
        put_text(out, strbuf_text(&reason), INDENT, look);
        out->bad |= reason.bad;
}

static const char *database_text(struct arena *a, const struct dbupgrade_spec *spec) {
        const char *type = database_type_name(spec->database_type);

        if (spec->has_connection)
                return arena_printf(a, "%s, its URL in the Secret %s, key %s", type,
                                    spec->secret_name, spec->secret_key);
        return arena_printf(a, "%s, %s on %s", type, spec->aws.db_name, spec->aws.host);
}

static void put_asked(struct strbuf *out, struct arena *a, const struct dbupgrade *object,
                      const struct look *look) {
        const struct dbupgrade_spec *spec = &object->spec;
        bool seen = object->status.observed_generation == object->generation;

        put_heading(out, "Asked", look);
        put_fact(out, "image", arena_printf(a, "%s, migrations in %s", spec->image, spec->dir),
                 look);
        put_fact(out, "database", database_text(a, spec), look);
        put_fact(out, "deadline", arena_printf(a, "%" PRId64 " s", spec->active_deadline_s), look);
        put_fact(out, "generation",
                 arena_printf(a, "%" PRId64 "%s", object->generation,
                              seen ? "" : ", which the operator has not seen yet"),
                 look);
        if (spec->suspend)
                put_fact(out, "suspend", "true: no new run starts", look);
}

static void put_stands(struct strbuf *out, struct arena *a, const struct dbupgrade *object,
                       const struct look *look) {
        const struct dbupgrade_status *status = &object->status;
        const char *since = age(a, status->applied_at, look);

        put_heading(out, "Stands", look);
        if (!*status->applied_image) {
                put_fact(out, "image", "none: no run has succeeded yet", look);
                return;
        }
        put_fact(out, "image", status->applied_image, look);
        put_fact(out, "since",
                 *since ? arena_printf(a, "%s, %s ago", status->applied_at, since) : "unknown",
                 look);
        if (!*status->applied_key && status->last_run.number > 0)
                put_fact(out, "but",
                         arena_printf(a,
                                      "run %" PRId64 " of %s came after it and has not succeeded",
                                      status->last_run.number, status->last_run.image),
                         look);
}

/* The tail of what the migration printed stands in the message of the title only while it is the
 * cause of what is now. */
static void put_last_words(struct strbuf *out, const struct dbupgrade *object,
                           const struct verdict *v, const struct look *look) {
        const struct dbupgrade_run *run = &object->status.last_run;

        if (v->run_failed || run->result != RUN_FAILED || !*run->message)
                return;
        put_heading(out, "The last run said", look);
        text_pad(out, INDENT);
        put_text(out, run->message, INDENT, look);
}

/* "  12:03:04  4m12s ago  text"; the day stands on a line of its own where it changes. */
static void put_timeline(struct strbuf *out, struct arena *a, const struct timeline *line,
                         const struct look *look) {
        char day[CLOCK_TIME_SIZE] = "";

        put_heading(out, "Timeline (UTC)", look);
        for (size_t i = 0; i < line->count; i++) {
                const struct moment *m = &line->moments[i];
                char time[CLOCK_TIME_SIZE];
                const char *ago;

                clock_format_time(m->at_s, time);
                ago = arena_printf(a, "%s ago", age(a, time, look));
                text_begin(out, look, STYLE_DIM);
                if (strncmp(day, time, DAY_LEN) != 0)
                        strbuf_printf(out, "  %.*s\n", DAY_LEN, time);
                strbuf_printf(out, "  %8.8s  %10s  ", time + DAY_LEN + 1, ago);
                text_end(out, look, STYLE_DIM);
                memcpy(day, time, sizeof(day));
                put_styled(out, m->text, TIMELINE_INDENT, m->style, look);
        }
}

static void put_advice(struct strbuf *out, const struct advice *advice, const struct look *look) {
        if (advice->count == 0)
                return;
        put_heading(out, "Next", look);
        for (size_t i = 0; i < advice->count; i++) {
                text_pad(out, INDENT);
                put_text(out, advice->steps[i].text, INDENT, look);
                if (!*advice->steps[i].command)
                        continue;
                text_pad(out, 2 * INDENT);
                text_begin(out, look, STYLE_BOLD);
                text_clean(out, advice->steps[i].command); /* whole: it is to be copied */
                text_end(out, look, STYLE_BOLD);
                strbuf_char(out, '\n');
        }
}

int status_print(struct strbuf *out, const struct scene *scene, const struct look *look,
                 struct fault *f) {
        CLEANUP(arena_done) struct arena a = ARENA_INIT(ARENA_MAX);
        const struct dbupgrade *object = scene->object;
        struct verdict v = verdict_of(object);
        struct advice advice = advice_of(&a, object, &v);
        struct timeline line;
        int r = timeline_build(&a, scene, &line, f);

        if (r)
                return r;
        put_title(out, &a, object, &v, look);
        put_asked(out, &a, object, look);
        put_stands(out, &a, object, look);
        put_last_words(out, object, &v, look);
        put_timeline(out, &a, &line, look);
        put_advice(out, &advice, look);
        r = arena_check(&a, f);
        return r ? r : strbuf_check(out, f);
}

static void put_timeline_json(struct json_writer *w, const struct timeline *line) {
        json_kv_array(w, "timeline");
        for (size_t i = 0; i < line->count; i++) {
                char time[CLOCK_TIME_SIZE];

                clock_format_time(line->moments[i].at_s, time);
                json_object(w);
                json_kv_string(w, "time", time);
                json_kv_string(w, "text", line->moments[i].text);
                json_end_object(w);
        }
        json_end_array(w);
}

static void put_advice_json(struct json_writer *w, const struct advice *advice) {
        json_kv_array(w, "next");
        for (size_t i = 0; i < advice->count; i++) {
                json_object(w);
                json_kv_string(w, "text", advice->steps[i].text);
                if (*advice->steps[i].command)
                        json_kv_string(w, "command", advice->steps[i].command);
                json_end_object(w);
        }
        json_end_array(w);
}

int status_print_json(struct strbuf *out, const struct scene *scene, struct fault *f) {
        CLEANUP(arena_done) struct arena a = ARENA_INIT(ARENA_MAX);
        const struct dbupgrade *object = scene->object;
        const cJSON *pod = timeline_newest_pod(scene->pods);
        struct json_writer w = JSON_WRITER_INIT(out);
        struct verdict v = verdict_of(object);
        struct advice advice = advice_of(&a, object, &v);
        struct timeline line;
        int r = timeline_build(&a, scene, &line, f);

        if (r)
                return r;
        json_object(&w);
        present_json(&w, object);
        if (scene->job || scene->job_gone)
                json_kv_bool(&w, "jobExists", scene->job != NULL);
        if (pod)
                json_kv_string(&w, "podName", json_string_at(pod, "metadata.name"));
        json_kv_array(&w, "history");
        for (size_t i = 0; i < object->status.history_count; i++) {
                json_object(&w);
                present_run_json(&w, &object->status.history[i]);
                json_end_object(&w);
        }
        json_end_array(&w);
        put_timeline_json(&w, &line);
        put_advice_json(&w, &advice);
        json_end_object(&w);
        strbuf_char(out, '\n');
        r = arena_check(&a, f);
        return r ? r : strbuf_check(out, f);
}
