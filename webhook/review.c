/* SPDX-License-Identifier: Apache-2.0 */
#include "webhook/review.h"

#include <string.h>

#include "common/api/dbupgrade.h"
#include "common/base/arena.h"
#include "common/base/fault.h"
#include "common/base/strbuf.h"
#include "common/json/json_check.h"
#include "common/json/json_write.h"
#include "webhook/admit.h"

#define REVIEW_API_VERSION "admission.k8s.io/v1"
#define REVIEW_KIND        "AdmissionReview"

/* A UID is 36 characters; what is much longer is no UID. */
#define REVIEW_UID_MAX 128
/* An object's name is at most 253 characters. */
#define REVIEW_NAME_SIZE 254

enum review_member {
        REVIEW_WANT_API_VERSION,
        REVIEW_WANT_KIND,
        REVIEW_WANT_UID,
        REVIEW_WANT_OBJECT_GROUP,
        REVIEW_WANT_OBJECT_VERSION,
        REVIEW_WANT_OBJECT_KIND,
        REVIEW_WANT_SUBRESOURCE,
        REVIEW_WANT_NAME,
        REVIEW_WANT_OPERATION,
        REVIEW_WANT_OBJECT,
        REVIEW_WANT_DELETION,
        REVIEW_WANT_SPEC,
        REVIEW_WANT_DATABASE,
        REVIEW_WANT_OLD_OBJECT,
        REVIEW_WANT_OLD_SPEC,
        REVIEW_WANT_OLD_DATABASE,
        REVIEW_WANT_RUN_RESULT,
        REVIEW_WANT_RUN_JOB,
        REVIEW_WANT_COUNT
};

static const struct json_want review_wants[REVIEW_WANT_COUNT] = {
        [REVIEW_WANT_API_VERSION] = { .path = { "apiVersion" } },
        [REVIEW_WANT_KIND] = { .path = { "kind" } },
        [REVIEW_WANT_UID] = { .path = { "request", "uid" } },
        /* kind, not requestKind: with matchPolicy Equivalent the object is converted to it. */
        [REVIEW_WANT_OBJECT_GROUP] = { .path = { "request", "kind", "group" } },
        [REVIEW_WANT_OBJECT_VERSION] = { .path = { "request", "kind", "version" } },
        [REVIEW_WANT_OBJECT_KIND] = { .path = { "request", "kind", "kind" } },
        [REVIEW_WANT_SUBRESOURCE] = { .path = { "request", "subResource" } },
        [REVIEW_WANT_NAME] = { .path = { "request", "name" } },
        [REVIEW_WANT_OPERATION] = { .path = { "request", "operation" } },
        [REVIEW_WANT_OBJECT] = { .path = { "request", "object" } },
        [REVIEW_WANT_DELETION] = { .path = { "request", "object", "metadata",
                                             "deletionTimestamp" } },
        [REVIEW_WANT_SPEC] = { .path = { "request", "object", "spec" } },
        [REVIEW_WANT_DATABASE] = { .path = { "request", "object", "spec", "database" } },
        [REVIEW_WANT_OLD_OBJECT] = { .path = { "request", "oldObject" } },
        [REVIEW_WANT_OLD_SPEC] = { .path = { "request", "oldObject", "spec" } },
        [REVIEW_WANT_OLD_DATABASE] = { .path = { "request", "oldObject", "spec", "database" } },
        [REVIEW_WANT_RUN_RESULT] = { .path = { "request", "oldObject", "status", "lastRun",
                                               "result" } },
        [REVIEW_WANT_RUN_JOB] = { .path = { "request", "oldObject", "status", "lastRun",
                                            "jobName" } },
};

struct review {
        struct json_want wants[REVIEW_WANT_COUNT];
        char name[REVIEW_NAME_SIZE]; /* "" with generateName */
};

/* What the answer says. */
struct review_answer {
        struct admit_decision decision;
        const char *bad_request; /* why nothing could be judged; NULL: decision counts */
};

static const struct json_span *review_span(const struct review *v, enum review_member member) {
        return &v->wants[member].span;
}

static bool review_is(const struct review *v, enum review_member member, const char *text) {
        return json_span_is(review_span(v, member), text);
}

static bool review_is_present(const struct review *v, enum review_member member) {
        char kind = json_span_kind(review_span(v, member));

        return kind != 0 && kind != 'n';
}

static bool review_is_same(const struct review *v, enum review_member a, enum review_member b) {
        const struct json_span *x = review_span(v, a), *y = review_span(v, b);

        return x->text && y->text && x->len == y->len && memcmp(x->text, y->text, x->len) == 0;
}

/* Checks what an answer needs: that it is a review, and its uid. Return: 0, or -FAULT_INVALID with
 * the reason, -FAULT_NOMEM. */
static int review_open(struct review *v, const char *body, size_t len, struct fault *f) {
        char uid[REVIEW_UID_MAX + 1];
        int r;

        memcpy(v->wants, review_wants, sizeof(v->wants));
        r = json_check(body, len, v->wants, REVIEW_WANT_COUNT, f);
        if (r)
                return r;
        if (!review_is(v, REVIEW_WANT_API_VERSION, REVIEW_API_VERSION) ||
            !review_is(v, REVIEW_WANT_KIND, REVIEW_KIND))
                return fault_set(f, FAULT_INVALID, "not an " REVIEW_KIND " of " REVIEW_API_VERSION);
        if (!json_span_string(review_span(v, REVIEW_WANT_UID), uid, sizeof(uid)) || !*uid)
                return fault_set(f, FAULT_INVALID, "request.uid is missing");
        if (!json_span_string(review_span(v, REVIEW_WANT_NAME), v->name, sizeof(v->name)))
                v->name[0] = '\0';
        return 0;
}

static bool review_is_ours(const struct review *v) {
        return review_is(v, REVIEW_WANT_OBJECT_GROUP, DBUPGRADE_GROUP) &&
               review_is(v, REVIEW_WANT_OBJECT_VERSION, DBUPGRADE_VERSION_NAME) &&
               review_is(v, REVIEW_WANT_OBJECT_KIND, DBUPGRADE_KIND);
}

/* The status is the reconciler's, and there is nothing to judge in a deletion. */
static bool review_is_exempt(const struct review *v) {
        return review_is(v, REVIEW_WANT_SUBRESOURCE, "status") ||
               review_is(v, REVIEW_WANT_OPERATION, "DELETE") ||
               review_is(v, REVIEW_WANT_OPERATION, "CONNECT");
}

/* Why there is nothing to judge; NULL when there is. */
static const char *review_refusal(const struct review *v) {
        bool update = review_is(v, REVIEW_WANT_OPERATION, "UPDATE");

        if (review_is_present(v, REVIEW_WANT_SUBRESOURCE) &&
            !review_is(v, REVIEW_WANT_SUBRESOURCE, ""))
                return "unknown subresource";
        if (!update && !review_is(v, REVIEW_WANT_OPERATION, "CREATE"))
                return "unknown operation";
        if (json_span_kind(review_span(v, REVIEW_WANT_OBJECT)) != '{')
                return "request.object is missing";
        if (update && json_span_kind(review_span(v, REVIEW_WANT_OLD_OBJECT)) != '{')
                return "request.oldObject is missing";
        return NULL;
}

static int review_judge(const struct review *v, enum review_path path, struct arena *arena,
                        struct review_answer *answer, struct fault *f) {
        const struct admit_request request = {
                .mutating = path == REVIEW_MUTATE,
                .update = review_is(v, REVIEW_WANT_OPERATION, "UPDATE"),
                .deleting = review_is_present(v, REVIEW_WANT_DELETION),
                .spec = *review_span(v, REVIEW_WANT_SPEC),
                .old_spec = *review_span(v, REVIEW_WANT_OLD_SPEC),
                .same_database = review_is_same(v, REVIEW_WANT_DATABASE, REVIEW_WANT_OLD_DATABASE),
                .spec_values = v->wants[REVIEW_WANT_SPEC].values,
                .old_spec_values = v->wants[REVIEW_WANT_OLD_SPEC].values,
                .run_result = *review_span(v, REVIEW_WANT_RUN_RESULT),
                .run_job = *review_span(v, REVIEW_WANT_RUN_JOB),
        };

        if (!review_is_ours(v)) {
                answer->bad_request =
                        "this webhook judges " DBUPGRADE_API_VERSION " " DBUPGRADE_KIND " only";
                return 0;
        }
        answer->decision.allowed = review_is_exempt(v);
        if (answer->decision.allowed)
                return 0;
        answer->bad_request = review_refusal(v);
        if (answer->bad_request)
                return 0;
        return admit_judge(&request, arena, &answer->decision, f);
}

/* As Kubernetes words an invalid object: GitOps tools print only this. */
static void review_put_message(const struct review *v, const struct rules_verdict *verdict,
                               struct strbuf *b) {
        bool several = verdict->count > 1;

        strbuf_printf(b, DBUPGRADE_KIND "." DBUPGRADE_GROUP " \"%s\" is invalid: %s", v->name,
                      several ? "[" : "");
        for (size_t i = 0; i < verdict->count; i++) {
                strbuf_str(b, i > 0 ? ", " : "");
                strbuf_str(b, verdict->causes[i].field);
                strbuf_str(b, ": ");
                strbuf_str(b, verdict->causes[i].message);
        }
        strbuf_str(b, several ? "]" : "");
}

static void review_put_causes(struct json_writer *w, const struct rules_verdict *verdict) {
        json_kv_array(w, "causes");
        for (size_t i = 0; i < verdict->count; i++) {
                json_object(w);
                json_kv_string(w, "reason", verdict->causes[i].reason);
                json_kv_string(w, "message", verdict->causes[i].message);
                json_kv_string(w, "field", verdict->causes[i].field);
                json_end_object(w);
        }
        json_end_array(w);
}

static void review_put_status(struct json_writer *w, const struct review *v,
                              const struct review_answer *answer) {
        CLEANUP(strbuf_done) struct strbuf message = STRBUF_INIT(REVIEW_ANSWER_MAX);

        json_kv_object(w, "status");
        json_kv_string(w, "status", "Failure");
        if (answer->bad_request) {
                json_kv_string(w, "message", answer->bad_request);
                json_kv_string(w, "reason", "BadRequest");
                json_kv_int(w, "code", 400);
        } else {
                review_put_message(v, &answer->decision.verdict, &message);
                if (message.bad)
                        w->out->bad = true;
                json_kv_string(w, "message", strbuf_text(&message));
                json_kv_string(w, "reason", "Invalid");
                json_kv_object(w, "details");
                json_kv_string(w, "name", v->name);
                json_kv_string(w, "group", DBUPGRADE_GROUP);
                json_kv_string(w, "kind", DBUPGRADE_KIND);
                review_put_causes(w, &answer->decision.verdict);
                json_end_object(w);
                json_kv_int(w, "code", 422);
        }
        json_end_object(w);
}

/* RFC 4648, section 4. */
static void review_put_base64(struct json_writer *w, const char *text) {
        static const char digits[] =
                "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        size_t len = strlen(text);
        const unsigned char *in = (const unsigned char *)text;

        json_put_raw(w, "\"", 1);
        for (size_t i = 0; i < len; i += 3) {
                size_t n = len - i < 3 ? len - i : 3;
                unsigned bits = (unsigned)in[i] << 16 | (n > 1 ? (unsigned)in[i + 1] << 8 : 0) |
                                (n > 2 ? in[i + 2] : 0);
                const char quad[4] = { digits[bits >> 18], digits[bits >> 12 & 63],
                                       n > 1 ? digits[bits >> 6 & 63] : '=',
                                       n > 2 ? digits[bits & 63] : '=' };

                strbuf_add(w->out, quad, sizeof(quad));
        }
        strbuf_char(w->out, '"');
}

static void review_put(const struct review *v, const struct review_answer *answer,
                       struct strbuf *out) {
        const struct admit_decision *decision = &answer->decision;
        struct json_writer w = JSON_WRITER_INIT(out);

        json_object(&w);
        json_kv_string(&w, "apiVersion", REVIEW_API_VERSION);
        json_kv_string(&w, "kind", REVIEW_KIND);
        json_kv_object(&w, "response");
        json_kv_span(&w, "uid", review_span(v, REVIEW_WANT_UID));
        json_kv_bool(&w, "allowed", decision->allowed);
        if (decision->patch) {
                json_kv_string(&w, "patchType", "JSONPatch");
                json_key(&w, "patch");
                review_put_base64(&w, decision->patch);
        }
        if (!decision->allowed)
                review_put_status(&w, v, answer);
        if (decision->warnings.count > 0) {
                json_kv_array(&w, "warnings");
                for (size_t i = 0; i < decision->warnings.count; i++)
                        json_put_string(&w, decision->warnings.text[i]);
                json_end_array(&w);
        }
        json_end_object(&w);
        json_end_object(&w);
}

static const char *const review_cause_names[REVIEW_CAUSES] = {
        [REVIEW_REQUIRED] = "FieldValueRequired",
        [REVIEW_INVALID] = "FieldValueInvalid",
        [REVIEW_TYPE_INVALID] = "FieldValueTypeInvalid",
        [REVIEW_NOT_SUPPORTED] = "FieldValueNotSupported",
        [REVIEW_FORBIDDEN] = "FieldValueForbidden",
        [REVIEW_DUPLICATE] = "FieldValueDuplicate",
        [REVIEW_TOO_LONG] = "FieldValueTooLong",
        [REVIEW_TOO_MANY] = "FieldValueTooMany",
        [REVIEW_BAD_REQUEST] = "BadRequest",
};

const char *review_cause_name(enum review_cause cause) {
        return review_cause_names[cause];
}

static struct review_outcome review_outcome(const struct review_answer *answer) {
        const struct rules_verdict *verdict = &answer->decision.verdict;
        struct review_outcome outcome = {
                .http_status = 200,
                .allowed = answer->decision.allowed,
                .causes = { [REVIEW_BAD_REQUEST] = answer->bad_request ? 1 : 0 },
        };

        for (size_t i = 0; i < verdict->count; i++)
                for (size_t k = 0; k < REVIEW_CAUSES; k++)
                        if (strcmp(verdict->causes[i].reason, review_cause_names[k]) == 0)
                                outcome.causes[k]++;
        return outcome;
}

int review_answer(enum review_path path, const char *body, size_t len, struct strbuf *out,
                  struct review_outcome *ret_outcome, struct fault *f) {
        CLEANUP(arena_done) struct arena arena = ARENA_INIT(RULES_ARENA_MAX);
        struct review_answer answer = { .bad_request = NULL };
        struct fault reason = FAULT_INIT;
        struct review review;
        int r = review_open(&review, body, len, &reason);

        if (r == -FAULT_INVALID) {
                strbuf_printf(out, "%s\n", reason.text);
                r = strbuf_check(out, f);
                if (r)
                        return r;
                *ret_outcome = (struct review_outcome){ .http_status = 400 };
                return 0;
        }
        if (!r)
                r = review_judge(&review, path, &arena, &answer, &reason);
        if (r)
                return fault_set(f, reason.kind, "%s", reason.text);
        review_put(&review, &answer, out);
        r = strbuf_check(out, f);
        if (r)
                return r;
        *ret_outcome = review_outcome(&answer);
        return 0;
}
