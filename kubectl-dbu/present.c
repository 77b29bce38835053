/* SPDX-License-Identifier: Apache-2.0 */
#include "kubectl-dbu/present.h"

#include <inttypes.h>
#include <string.h>

#include "common/api/dbupgrade.h"
#include "common/base/strbuf.h"
#include "common/json/json_write.h"

enum style present_style(enum state state) {
        switch (state) {
        case STATE_FAILED:
                return STYLE_RED;
        case STATE_BLOCKED:
        case STATE_WAITING:
                return STYLE_YELLOW;
        case STATE_RUNNING:
                return STYLE_BLUE;
        case STATE_DONE:
                return STYLE_GREEN;
        }
        return STYLE_PLAIN;
}

void present_reason(struct strbuf *out, const struct dbupgrade *object, const struct verdict *v) {
        const struct dbupgrade_run *run = &object->status.last_run;

        if (v->state == STATE_DONE && *object->status.applied_image) {
                strbuf_printf(out, "%s is applied", object->status.applied_image);
                return;
        }
        if (v->state == STATE_RUNNING && run->number > 0)
                strbuf_printf(out, "run %" PRId64 " of %s: ", run->number, run->image);
        if (*v->message)
                strbuf_str(out, v->message);
        else
                strbuf_str(out, *v->reason ? v->reason : "the status does not say why");
}

void present_line(struct strbuf *out, const struct dbupgrade *object, const struct look *look) {
        CLEANUP(strbuf_done) struct strbuf raw = STRBUF_INIT(out->max);
        CLEANUP(strbuf_done) struct strbuf clean = STRBUF_INIT(out->max);
        struct verdict v = verdict_of(object);
        const char *state = state_name(v.state);
        /* The first line begins behind name and state; the width is the rest of it. */
        size_t indent = text_width(object->name) + strlen(state) + 4;
        struct text_box box = { .indent = indent,
                                .width = look->width > indent + 20 ? look->width - indent : 20 };

        text_clean(out, object->name);
        strbuf_str(out, ": ");
        text_begin(out, look, present_style(v.state));
        strbuf_str(out, state);
        text_end(out, look, present_style(v.state));
        strbuf_str(out, ": ");
        present_reason(&raw, object, &v);
        text_clean(&clean, strbuf_text(&raw));
        if (look->terminal)
                text_wrap(out, strbuf_text(&clean), &box);
        else
                text_append(out, &clean);
        out->bad |= raw.bad || clean.bad;
}

static void kv_text(struct json_writer *w, const char *name, const char *text) {
        if (*text)
                json_kv_string(w, name, text);
}

void present_run_json(struct json_writer *w, const struct dbupgrade_run *run) {
        json_kv_int(w, "number", run->number);
        kv_text(w, "result", run_result_name(run->result));
        kv_text(w, "jobName", run->job_name);
        kv_text(w, "image", run->image);
        kv_text(w, "startedAt", run->started_at);
        kv_text(w, "finishedAt", run->finished_at);
        if (run->has_exit_code)
                json_kv_int(w, "exitCode", run->exit_code);
        kv_text(w, "reason", run->reason);
        kv_text(w, "message", run->message);
}

void present_json(struct json_writer *w, const struct dbupgrade *object) {
        struct verdict v = verdict_of(object);

        json_kv_string(w, "namespace", object->namespace_);
        json_kv_string(w, "name", object->name);
        json_kv_string(w, "state", state_name(v.state));
        json_kv_string(w, "reason", v.reason);
        json_kv_string(w, "message", v.message);
        kv_text(w, "since", v.since);
        json_kv_int(w, "generation", object->generation);
        json_kv_int(w, "observedGeneration", object->status.observed_generation);
        json_kv_string(w, "image", object->spec.image);
        kv_text(w, "appliedImage", object->status.applied_image);
        kv_text(w, "appliedAt", object->status.applied_at);
        kv_text(w, "jobName", object->status.job_name);
        if (object->status.last_run.number > 0) {
                json_kv_object(w, "lastRun");
                present_run_json(w, &object->status.last_run);
                json_end_object(w);
        }
}
