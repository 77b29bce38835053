/* SPDX-License-Identifier: Apache-2.0 */
/* Every case of tests/data/admission, judged by admit_judge and by review_answer, to the word. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "common/api/canonical.h"
#include "common/base/arena.h"
#include "tests/unit/data.h"
#include "webhook/admit.h"
#include "webhook/review.h"

#define UID "705ab4f5-6393-11e8-b7cc-42010a800002"

/* One case: the table's own bytes, and a tree of what is expected. */
struct admission_case {
        const char *name;
        const cJSON *expected; /* .webhook */
        bool update, deleting;
        struct json_span spec, old_spec, old_status, metadata;
        cJSON *tree;
};

static struct strbuf table = STRBUF_INIT(DATA_MAX);
static struct admission_case *cases;
static int case_count;

static struct admission_case read_case(const struct json_span *text) {
        struct json_want wants[] = {
                { .path = { "spec" } },
                { .path = { "oldSpec" } },
                { .path = { "oldStatus" } },
                { .path = { "metadata" } },
        };
        struct admission_case c = { .name = NULL };
        int r = json_check(text->text, text->len, wants, 4, NULL);

        if (r == 0)
                r = json_parse_span(text, &c.tree, NULL);
        if (r)
                abort();
        c.name = json_string_at(c.tree, "name");
        c.expected = json_member(c.tree, "webhook");
        c.update = strcmp(json_string_at(c.tree, "operation"), "UPDATE") == 0;
        c.deleting = json_true_at(c.tree, "deleting");
        c.spec = wants[0].span;
        c.old_spec = wants[1].span;
        c.old_status = wants[2].span;
        c.metadata = wants[3].span;
        return c;
}

static void read_cases(void) {
        struct json_span all, one;
        size_t cursor = 0;

        data_read("admission/cases.json", &table);
        if (json_check(table.ptr, table.len, NULL, 0, NULL))
                abort();
        for (all = (struct json_span){ table.ptr, table.len }; all.text[all.len - 1] != ']';)
                all.len--;
        while (json_span_next(&all, &cursor, &one)) {
                cases = realloc(cases, ((size_t)case_count + 1) * sizeof(*cases));
                if (!cases)
                        abort();
                cases[case_count++] = read_case(&one);
        }
}

static void assert_same_json(const struct admission_case *c, const char *what, const cJSON *got,
                             const cJSON *wanted) {
        CLEANUP(strbuf_done) struct strbuf a = STRBUF_INIT(DATA_MAX);
        CLEANUP(strbuf_done) struct strbuf b = STRBUF_INIT(DATA_MAX);

        if (json_is_absent(wanted)) {
                ck_assert_msg(json_is_absent(got), "%s: %s where none are wanted", c->name, what);
                return;
        }
        ck_assert_int_eq(canonical_json(got, &a, NULL), 0);
        ck_assert_int_eq(canonical_json(wanted, &b, NULL), 0);
        ck_assert_msg(strcmp(strbuf_text(&a), strbuf_text(&b)) == 0,
                      "%s: %s\n got    %s\n wanted %s", c->name, what, strbuf_text(&a),
                      strbuf_text(&b));
}

static void put_span(struct strbuf *b, const char *member, const struct json_span *span) {
        if (!span->text)
                return;
        strbuf_printf(b, ",\"%s\":", member);
        strbuf_add(b, span->text, span->len);
}

static void put_object(const struct admission_case *c, bool old, struct strbuf *b) {
        strbuf_str(b, "{\"apiVersion\":\"dbupgrade.subbug.learning/v1alpha1\","
                      "\"kind\":\"DBUpgrade\",\"metadata\":{\"name\":\"shop\","
                      "\"namespace\":\"prod\",\"uid\":\"" UID "\"");
        if (c->deleting)
                strbuf_str(b, ",\"deletionTimestamp\":\"2026-01-01T00:00:00Z\","
                              "\"finalizers\":[\"example.com/hold\"]");
        if (!old && c->metadata.text && c->metadata.len > 2) {
                strbuf_char(b, ',');
                strbuf_add(b, c->metadata.text + 1, c->metadata.len - 2);
        }
        strbuf_char(b, '}');
        put_span(b, "spec", old ? &c->old_spec : &c->spec);
        put_span(b, "status", &c->old_status);
        strbuf_char(b, '}');
}

static void put_review(const struct admission_case *c, struct strbuf *b) {
        strbuf_printf(b,
                      "{\"kind\":\"AdmissionReview\",\"apiVersion\":\"admission.k8s.io/v1\","
                      "\"request\":{\"uid\":\"" UID "\",\"kind\":{\"group\":"
                      "\"dbupgrade.subbug.learning\",\"version\":\"v1alpha1\",\"kind\":"
                      "\"DBUpgrade\"},\"resource\":{\"group\":\"dbupgrade.subbug.learning\","
                      "\"version\":\"v1alpha1\",\"resource\":\"dbupgrades\"},\"name\":\"shop\","
                      "\"namespace\":\"prod\",\"operation\":\"%s\",\"userInfo\":{},\"object\":",
                      c->update ? "UPDATE" : "CREATE");
        put_object(c, false, b);
        strbuf_str(b, ",\"oldObject\":");
        if (c->update)
                put_object(c, true, b);
        else
                strbuf_str(b, "null");
        strbuf_str(b, ",\"dryRun\":false,\"options\":{}}}");
}

/* The base64 of a JSON Patch, decoded. */
static cJSON *decode_patch(const char *text) {
        CLEANUP(strbuf_done) struct strbuf b = STRBUF_INIT(DATA_MAX);
        static const char digits[] =
                "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        cJSON *tree = NULL;
        unsigned bits = 0;
        int count = 0;

        ck_assert_uint_eq(strlen(text) % 4, 0);
        for (; *text && *text != '='; text++) {
                const char *digit = strchr(digits, *text);

                ck_assert_ptr_nonnull(digit);
                bits = bits << 6 | (unsigned)(digit - digits);
                count += 6;
                if (count >= 8) {
                        count -= 8;
                        strbuf_char(&b, (char)(bits >> count & 0xff));
                }
        }
        ck_assert_int_eq(json_parse(b.ptr, b.len, &tree, NULL), 0);
        return tree;
}

static cJSON *ask(const struct admission_case *c, enum review_path path) {
        CLEANUP(strbuf_done) struct strbuf body = STRBUF_INIT(DATA_MAX);
        CLEANUP(strbuf_done) struct strbuf answer = STRBUF_INIT(DATA_MAX);
        struct review_outcome outcome;
        struct fault f = FAULT_INIT;
        cJSON *tree = NULL;

        put_review(c, &body);
        ck_assert_msg(review_answer(path, body.ptr, body.len, &answer, &outcome, &f) == 0, "%s: %s",
                      c->name, f.text);
        ck_assert_msg(outcome.http_status == 200, "%s: %s", c->name, strbuf_text(&answer));
        ck_assert_int_eq(json_parse(answer.ptr, answer.len, &tree, &f), 0);
        ck_assert_str_eq(json_string_at(tree, "response.uid"), UID);
        ck_assert(outcome.allowed == json_true_at(tree, "response.allowed"));
        return tree;
}

/* Kubernetes' own form of the status, and all messages in its text. */
static void assert_status(const struct admission_case *c, const cJSON *status) {
        const char *message = json_string_at(status, "message");
        const cJSON *cause;

        ck_assert_int_eq(json_int_at(status, "code", 0), 422);
        ck_assert_str_eq(json_string_at(status, "reason"), "Invalid");
        ck_assert_str_eq(json_string_at(status, "details.kind"), "DBUpgrade");
        ck_assert_str_eq(json_string_at(status, "details.group"), "dbupgrade.subbug.learning");
        ck_assert_str_eq(json_string_at(status, "details.name"), "shop");
        cJSON_ArrayForEach (cause, json_member(c->expected, "causes"))
                ck_assert_msg(strstr(message, json_string_at(cause, "message")), "%s: message %s",
                              c->name, message);
}

START_TEST(reviews_answer_as_the_table_says) {
        const struct admission_case *c = &cases[_i];
        bool allowed = json_true_at(c->expected, "allowed");

        for (enum review_path path = REVIEW_MUTATE; path <= REVIEW_VALIDATE; path++) {
                CLEANUP(cJSON_Delete_p) cJSON *answer = ask(c, path);
                CLEANUP(cJSON_Delete_p) cJSON *patch = NULL;
                const cJSON *response = json_member(answer, "response");
                const char *base64 = json_string(json_member(response, "patch"));

                assert_same_json(c, "causes", json_at(response, "status.details.causes"),
                                 json_member(c->expected, "causes"));
                ck_assert_msg(json_true_at(response, "allowed") == allowed, "%s: verdict", c->name);
                if (!allowed)
                        assert_status(c, json_member(response, "status"));
                if (base64)
                        patch = decode_patch(base64);
                assert_same_json(c, "warnings", json_member(response, "warnings"),
                                 path == REVIEW_VALIDATE ? json_member(c->expected, "warnings")
                                                         : NULL);
                assert_same_json(c, "patch", patch,
                                 path == REVIEW_MUTATE ? json_member(c->expected, "patch") : NULL);
                ck_assert_str_eq(json_string_at(response, "patchType"), patch ? "JSONPatch" : "");
        }
}
END_TEST

START_TEST(admit_judges_as_the_table_says) {
        const struct admission_case *c = &cases[_i];
        CLEANUP(arena_done) struct arena arena = ARENA_INIT(RULES_ARENA_MAX);
        struct admit_request request = {
                .update = c->update,
                .deleting = c->deleting,
                .spec = c->spec,
                .old_spec = c->old_spec,
        };
        struct admit_decision decision;
        const cJSON *cause;
        size_t i = 0;

        ck_assert_int_eq(admit_judge(&request, &arena, &decision, NULL), 0);
        ck_assert_msg(decision.allowed == json_true_at(c->expected, "allowed"), "%s: verdict",
                      c->name);
        cJSON_ArrayForEach (cause, json_member(c->expected, "causes")) {
                ck_assert_msg(i < decision.verdict.count, "%s: only %zu causes", c->name, i);
                ck_assert_msg(strcmp(decision.verdict.causes[i].message,
                                     json_string_at(cause, "message")) == 0,
                              "%s: %s", c->name, decision.verdict.causes[i].message);
                i++;
        }
        ck_assert_msg(i == decision.verdict.count, "%s: %zu causes", c->name,
                      decision.verdict.count);
}
END_TEST

START_TEST(the_table_is_large_and_its_names_are_unique) {
        ck_assert_int_ge(case_count, 120);
        for (int i = 0; i < case_count; i++) {
                ck_assert_msg(*cases[i].name, "case %d has no name", i);
                for (int k = 0; k < i; k++)
                        ck_assert_str_ne(cases[i].name, cases[k].name);
        }
}
END_TEST

int main(void) {
        Suite *suite = suite_create("admission_table");
        TCase *tcase = tcase_create("admission_table");
        SRunner *runner = srunner_create(suite);
        int failed;

        read_cases();
        suite_add_tcase(suite, tcase);
        tcase_add_test(tcase, the_table_is_large_and_its_names_are_unique);
        tcase_add_loop_test(tcase, admit_judges_as_the_table_says, 0, case_count);
        tcase_add_loop_test(tcase, reviews_answer_as_the_table_says, 0, case_count);
        srunner_run_all(runner, CK_NORMAL);
        failed = srunner_ntests_failed(runner);
        srunner_free(runner);
        for (int i = 0; i < case_count; i++)
                cJSON_Delete(cases[i].tree);
        free(cases);
        strbuf_done(&table);
        return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
