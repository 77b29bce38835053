/* SPDX-License-Identifier: Apache-2.0 */
#include "webhook/admit.h"

#include <string.h>

#include "common/api/dbupgrade.h"
#include "common/api/names.h"
#include "common/api/syntax.h"
#include "common/base/arena.h"
#include "common/base/strbuf.h"
#include "common/json/json_get.h"
#include "common/json/json_write.h"

/* Four operations with fixed paths and values. */
#define ADMIT_PATCH_MAX 1024

static bool admit_is_absent(const struct json_span *span) {
        char kind = json_span_kind(span);

        return kind == 0 || kind == 'n';
}

static bool admit_is_same(const struct json_span *a, const struct json_span *b) {
        if (admit_is_absent(a) || admit_is_absent(b))
                return admit_is_absent(a) && admit_is_absent(b);
        return a->len == b->len && memcmp(a->text, b->text, a->len) == 0;
}

static int admit_parse(const struct json_span *span, cJSON **ret_tree, struct fault *f) {
        return admit_is_absent(span) ? 0 : json_parse_span(span, ret_tree, f);
}

/* Begins an operation; its value and the end are the caller's. */
static void admit_add(struct json_writer *w, const char *path) {
        json_object(w);
        json_kv_string(w, "op", "add");
        json_kv_string(w, "path", path);
        json_key(w, "value");
}

static bool admit_lacks(const cJSON *node, const char *name) {
        return cJSON_IsObject(node) && json_is_absent(json_member(node, name));
}

/* The defaults that spec lacks, in spec order; members of wrong types (tolerated old mistakes) are
 * left alone. Return: the number of operations. */
static int admit_put_defaults(struct json_writer *w, const cJSON *spec) {
        const cJSON *database = json_member(spec, "database"),
                    *runner = json_member(spec, "runner");
        int count = 0;

        if (admit_lacks(json_member(spec, "migrations"), "dir")) {
                admit_add(w, "/spec/migrations/dir");
                json_put_string(w, DBUPGRADE_DEFAULT_DIR);
                json_end_object(w);
                count++;
        }
        if (admit_lacks(json_at(database, "connection.urlSecretRef"), "key")) {
                admit_add(w, "/spec/database/connection/urlSecretRef/key");
                json_put_string(w, DBUPGRADE_DEFAULT_SECRET_KEY);
                json_end_object(w);
                count++;
        }
        if (admit_lacks(json_member(database, "aws"), "port")) {
                admit_add(w, "/spec/database/aws/port");
                json_put_int(w, DBUPGRADE_DEFAULT_AWS_PORT);
                json_end_object(w);
                count++;
        }
        if (admit_lacks(spec, "runner")) {
                admit_add(w, "/spec/runner");
                json_object(w);
                json_kv_int(w, "activeDeadlineSeconds", DBUPGRADE_DEFAULT_DEADLINE_S);
                json_end_object(w);
                json_end_object(w);
                count++;
        } else if (admit_lacks(runner, "activeDeadlineSeconds")) {
                admit_add(w, "/spec/runner/activeDeadlineSeconds");
                json_put_int(w, DBUPGRADE_DEFAULT_DEADLINE_S);
                json_end_object(w);
                count++;
        }
        return count;
}

/* NULL when nothing is to be added. */
static const char *admit_patch(const cJSON *spec, struct arena *arena) {
        CLEANUP(strbuf_done) struct strbuf patch = STRBUF_INIT(ADMIT_PATCH_MAX);
        struct json_writer w = JSON_WRITER_INIT(&patch);
        int count;

        json_array(&w);
        count = admit_put_defaults(&w, spec);
        json_end_array(&w);
        if (patch.bad)
                arena->bad = true;
        return count > 0 ? arena_strndup(arena, strbuf_text(&patch), patch.len) : NULL;
}

/* The spec that is being applied was read when the run started. */
static void admit_warn_running(const struct admit_request *request, struct arena *arena,
                               struct rules_warnings *warnings) {
        char result[16]; /* "Superseding" is the longest */
        char job[NAMES_LABEL_SIZE];

        if (!json_span_string(&request->run_result, result, sizeof(result)))
                return;
        if (strcmp(result, run_result_name(RUN_STARTING)) != 0 &&
            strcmp(result, run_result_name(RUN_RUNNING)) != 0)
                return;
        /* A status that somebody else wrote must not put anything into a header. */
        if (!json_span_string(&request->run_job, job, sizeof(job)) || !syntax_subdomain(job))
                return;
        dbupgrade_rules_warning(
                warnings,
                arena_printf(arena,
                             "migration Job %s is running; the new spec is applied when it ends",
                             job));
}

/* Denies without a tree. */
static int admit_deny_size(struct arena *arena, struct admit_decision *decision, struct fault *f) {
        struct rules_cause *cause = arena_alloc(arena, sizeof(*cause));

        decision->allowed = false;
        if (cause) {
                *cause = (struct rules_cause){
                        .reason = "FieldValueTooMany",
                        .field = "spec",
                        .message = arena_printf(arena, "Too many: spec must have at most %d values",
                                                ADMIT_VALUES_MAX),
                };
                decision->verdict = (struct rules_verdict){ .causes = cause, .count = 1 };
        }
        return arena_check(arena, f);
}

/* Judges the spec, given its tree. The old one is looked at only where it can make a difference: it
 * excuses mistakes, and must not differ in what is immutable. */
static int admit_judge_tree(const struct admit_request *request, const cJSON *spec,
                            struct arena *arena, struct rules_verdict *ret_verdict,
                            struct fault *f) {
        CLEANUP(cJSON_Delete_p) cJSON *old_spec = NULL;
        int r = dbupgrade_rules_judge(spec, NULL, arena, ret_verdict, f);

        if (r || !request->update || request->old_spec_values > ADMIT_VALUES_MAX ||
            (ret_verdict->count == 0 && request->same_database))
                return r;
        r = admit_parse(&request->old_spec, &old_spec, f);
        return r ? r : dbupgrade_rules_judge(spec, old_spec, arena, ret_verdict, f);
}

static int admit_judge_spec(const struct admit_request *request, struct arena *arena,
                            struct admit_decision *decision, struct fault *f) {
        CLEANUP(cJSON_Delete_p) cJSON *spec = NULL;
        int r;

        if (request->spec_values > ADMIT_VALUES_MAX)
                return admit_deny_size(arena, decision, f);
        r = admit_parse(&request->spec, &spec, f);
        if (!r)
                r = admit_judge_tree(request, spec, arena, &decision->verdict, f);
        if (r)
                return r;
        decision->allowed = decision->verdict.count == 0;
        if (!decision->allowed)
                return 0;
        if (request->mutating) {
                decision->patch = admit_patch(spec, arena);
                return arena_check(arena, f);
        }
        dbupgrade_rules_warn(spec, arena, &decision->warnings);
        if (request->update)
                admit_warn_running(request, arena, &decision->warnings);
        return arena_check(arena, f);
}

int admit_judge(const struct admit_request *request, struct arena *arena,
                struct admit_decision *ret_decision, struct fault *f) {
        struct admit_decision decision = { .allowed = true };
        int r;

        /* Neither may keep a finalizer or a label from an object that an older version took. */
        if (!request->deleting &&
            !(request->update && admit_is_same(&request->spec, &request->old_spec))) {
                r = admit_judge_spec(request, arena, &decision, f);
                if (r)
                        return r;
        }
        *ret_decision = decision;
        return 0;
}
