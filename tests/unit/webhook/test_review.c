/* SPDX-License-Identifier: Apache-2.0 */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/fault.h"
#include "common/base/strbuf.h"
#include "common/json/json_get.h"
#include "tests/unit/alloc_fail.h"
#include "webhook/admit.h"
#include "webhook/review.h"

#define HEAD "{\"apiVersion\":\"admission.k8s.io/v1\",\"kind\":\"AdmissionReview\","
#define UID  "\"uid\":\"0-1\","
#define KIND                                                                                       \
        "\"kind\":{\"group\":\"dbupgrade.subbug.learning\",\"version\":\"v1alpha1\","              \
        "\"kind\":\"DBUpgrade\"},"
#define NAME   "\"name\":\"shop\",\"namespace\":\"prod\","
#define CREATE "\"operation\":\"CREATE\","
#define UPDATE "\"operation\":\"UPDATE\","
#define SPEC                                                                                       \
        "{\"migrations\":{\"image\":\"m:1\"},\"database\":{\"type\":\"selfHosted\","               \
        "\"connection\":{\"urlSecretRef\":{\"name\":\"db\"}}}}"
#define OBJECT  "\"object\":{\"metadata\":{\"name\":\"shop\"},\"spec\":" SPEC "}"
#define BAD     "\"object\":{\"metadata\":{\"name\":\"shop\"},\"spec\":{\"suspend\":1}}"
#define REQUEST HEAD "\"request\":{" UID KIND NAME

struct row {
        const char *name, *body;
        unsigned http_status;
        bool allowed;
        const char *says; /* part of the answer */
};

static const struct row rows[] = {
        { "a valid new object", REQUEST CREATE OBJECT "}}", 200, true, "\"allowed\":true" },
        { "an invalid new object", REQUEST CREATE BAD "}}", 200, false,
          "{\"status\":\"Failure\",\"message\":\"DBUpgrade.dbupgrade.subbug.learning \\\"shop\\\" is "
          "invalid: [spec.migrations: Required value: migrations is required, spec.database: "
          "Required value: database is required, spec.suspend: Invalid value: suspend must be a "
          "boolean, not a number]\",\"reason\":\"Invalid\",\"details\":{\"name\":\"shop\",\"group\":"
          "\"dbupgrade.subbug.learning\",\"kind\":\"DBUpgrade\",\"causes\":[{" },
        { "one mistake is named without brackets", REQUEST CREATE "\"object\":{}}}", 200, false,
          "is invalid: spec: Required value: spec is required\"" },
        { "the code of a denial", REQUEST CREATE BAD "}}", 200, false, "\"code\":422" },
        { "a name that generateName has not made yet",
          HEAD "\"request\":{" UID KIND "\"name\":\"\"," CREATE "\"object\":{}}}", 200, false,
          "DBUpgrade.dbupgrade.subbug.learning \\\"\\\" is invalid" },
        { "no name", HEAD "\"request\":{" UID KIND CREATE OBJECT "}}", 200, true, "" },
        { "a uid is given back byte for byte",
          HEAD "\"request\":{\"uid\":\"\\u0061\\/\"," KIND NAME CREATE OBJECT "}}", 200, true,
          "\"uid\":\"\\u0061\\/\"" },
        { "unknown members", REQUEST CREATE "\"later\":[1]," OBJECT "},\"more\":{}}", 200, true,
          "" },
        { "an update of metadata", REQUEST UPDATE OBJECT ",\"oldObject\":{\"spec\":" SPEC "}}}",
          200, true, "" },
        { "an update that makes the object invalid",
          REQUEST UPDATE BAD ",\"oldObject\":{\"spec\":" SPEC "}}}", 200, false, "422" },
        { "an update of the database's type, the rest the same",
          REQUEST UPDATE OBJECT ",\"oldObject\":{\"spec\":{\"migrations\":{\"image\":\"m:1\"},"
                                "\"database\":{\"type\":\"awsRds\",\"connection\":{"
                                "\"urlSecretRef\":{\"name\":\"db\"}}}}}}}",
          200, false, "database.type is immutable (cannot change from awsRds to selfHosted)" },
        { "an update of the image, the database the same",
          REQUEST UPDATE OBJECT ",\"oldObject\":{\"spec\":{\"migrations\":{\"image\":\"m:0\"},"
                                "\"database\":{\"type\":\"selfHosted\",\"connection\":{"
                                "\"urlSecretRef\":{\"name\":\"db\"}}}}}}}",
          200, true, "" },
        { "an object that is being deleted",
          REQUEST UPDATE "\"object\":{\"metadata\":{\"deletionTimestamp\":\"t\"}},"
                         "\"oldObject\":{\"spec\":" SPEC "}}}",
          200, true, "" },
        { "a null deletionTimestamp deletes nothing",
          REQUEST UPDATE "\"object\":{\"metadata\":{\"deletionTimestamp\":null}},"
                         "\"oldObject\":{\"spec\":" SPEC "}}}",
          200, false, "422" },
        { "a deletion", REQUEST "\"operation\":\"DELETE\",\"object\":null,\"oldObject\":{}}}", 200,
          true, "" },
        { "a connection", REQUEST "\"operation\":\"CONNECT\"}}", 200, true, "" },
        { "an update of the status",
          REQUEST UPDATE "\"subResource\":\"status\"," BAD ",\"oldObject\":{}}}", 200, true, "" },
        { "an empty subresource is none", REQUEST CREATE "\"subResource\":\"\"," BAD "}}", 200,
          false, "422" },
        { "an unknown subresource", REQUEST UPDATE "\"subResource\":\"scale\"," OBJECT "}}", 200,
          false, "unknown subresource" },
        { "a subresource of another type", REQUEST UPDATE "\"subResource\":[]," OBJECT "}}", 200,
          false, "unknown subresource" },
        { "an unknown operation", REQUEST "\"operation\":\"PATCH\"," OBJECT "}}", 200, false,
          "\"message\":\"unknown operation\",\"reason\":\"BadRequest\",\"code\":400" },
        { "an operation in lower case", REQUEST "\"operation\":\"create\"," OBJECT "}}", 200, false,
          "unknown operation" },
        { "no operation", REQUEST OBJECT "}}", 200, false, "unknown operation" },
        { "an operation that is hidden by an escaped name",
          REQUEST "\"oper\\u0061tion\":\"DELETE\"}}", 200, true, "" },
        { "another group",
          HEAD "\"request\":{" UID "\"kind\":{\"group\":\"apps\",\"version\":\"v1alpha1\","
               "\"kind\":\"DBUpgrade\"}," CREATE OBJECT "}}",
          200, false, "judges dbupgrade.subbug.learning/v1alpha1 DBUpgrade only" },
        { "another version",
          HEAD "\"request\":{" UID "\"kind\":{\"group\":\"dbupgrade.subbug.learning\","
               "\"version\":\"v1\",\"kind\":\"DBUpgrade\"}," CREATE OBJECT "}}",
          200, false, "only" },
        { "another kind",
          HEAD "\"request\":{" UID "\"kind\":{\"group\":\"dbupgrade.subbug.learning\","
               "\"version\":\"v1alpha1\",\"kind\":\"DBUpgradeList\"}," CREATE OBJECT "}}",
          200, false, "only" },
        { "a deletion of another kind",
          HEAD "\"request\":{" UID "\"kind\":{},\"operation\":\"DELETE\"}}", 200, false, "only" },
        { "no kind", HEAD "\"request\":{" UID CREATE OBJECT "}}", 200, false, "only" },
        { "no object", REQUEST CREATE "\"x\":1}}", 200, false, "request.object is missing" },
        { "a null object", REQUEST CREATE "\"object\":null}}", 200, false,
          "request.object is missing" },
        { "an object that is a list", REQUEST CREATE "\"object\":[]}}", 200, false,
          "request.object is missing" },
        { "an update without the old object", REQUEST UPDATE OBJECT "}}", 200, false,
          "request.oldObject is missing" },
        { "nothing", "", 400, false, "invalid JSON" },
        { "no JSON", "hello", 400, false, "invalid JSON" },
        { "a list", "[]", 400, false, "not an AdmissionReview of admission.k8s.io/v1" },
        { "an empty object", "{}", 400, false, "not an AdmissionReview" },
        { "the version v1beta1",
          "{\"apiVersion\":\"admission.k8s.io/v1beta1\",\"kind\":\"AdmissionReview\"}", 400, false,
          "not an AdmissionReview" },
        { "another kind of document",
          "{\"apiVersion\":\"admission.k8s.io/v1\",\"kind\":\"Status\"}", 400, false,
          "not an AdmissionReview" },
        { "no request", HEAD "\"x\":1}", 400, false, "request.uid is missing" },
        { "a response", HEAD "\"response\":{\"uid\":\"1\",\"allowed\":true}}", 400, false,
          "request.uid is missing" },
        { "a uid that is a number", HEAD "\"request\":{\"uid\":1," KIND CREATE OBJECT "}}", 400,
          false, "request.uid is missing" },
        { "an empty uid", HEAD "\"request\":{\"uid\":\"\"," KIND CREATE OBJECT "}}", 400, false,
          "request.uid is missing" },
        { "a member twice", REQUEST CREATE OBJECT "," OBJECT "}}", 400, false, "duplicate" },
        { "a member of the spec twice",
          REQUEST CREATE "\"object\":{\"spec\":{\"suspend\":true,\"suspend\":false}}}}", 400, false,
          "duplicate" },
        { "an escaped NUL", REQUEST CREATE "\"object\":{\"spec\":{\"a\":\"\\u0000\"}}}}", 400,
          false, "invalid escape" },
        { "invalid UTF-8", REQUEST CREATE "\"object\":{\"spec\":{\"a\":\"\xff\"}}}}", 400, false,
          "UTF-8" },
        { "text after the document", REQUEST CREATE OBJECT "}}x", 400, false, "after the value" },
};

/* Answers a heap copy of the body without a NUL behind it: a sanitizer sees each byte read too
 * far. */
static struct review_outcome answer(enum review_path path, const char *body, size_t len,
                                    struct strbuf *out) {
        CLEANUP(free_p) char *copy = malloc(len ? len : 1);
        struct review_outcome outcome = { 0 };
        struct fault f = FAULT_INIT;

        ck_assert_ptr_nonnull(copy);
        memcpy(copy, body, len);
        ck_assert_msg(review_answer(path, copy, len, out, &outcome, &f) == 0, "%s", f.text);
        return outcome;
}

START_TEST(each_review_has_its_answer) {
        const struct row *row = &rows[_i];

        for (enum review_path path = REVIEW_MUTATE; path <= REVIEW_VALIDATE; path++) {
                CLEANUP(strbuf_done) struct strbuf out = STRBUF_INIT(REVIEW_ANSWER_MAX);
                struct review_outcome outcome = answer(path, row->body, strlen(row->body), &out);

                ck_assert_msg(outcome.http_status == row->http_status, "%s: %u %s", row->name,
                              outcome.http_status, out.ptr);
                ck_assert_msg(outcome.allowed == row->allowed, "%s: %s", row->name, out.ptr);
                ck_assert_msg(strstr(out.ptr, row->says), "%s: %s", row->name, out.ptr);
                ck_assert_msg(outcome.http_status != 200 ||
                                      json_check(out.ptr, out.len, NULL, 0, NULL) == 0,
                              "%s: no JSON: %s", row->name, out.ptr);
                ck_assert_msg(outcome.http_status == 200 || !strchr(out.ptr, '{'), "%s: %s",
                              row->name, out.ptr);
        }
}
END_TEST

static const char whole[] = REQUEST CREATE OBJECT "}}";

START_TEST(a_cut_review_is_never_allowed) {
        for (size_t len = 0; len < sizeof(whole) - 1; len++) {
                CLEANUP(strbuf_done) struct strbuf out = STRBUF_INIT(REVIEW_ANSWER_MAX);
                struct review_outcome outcome = answer(REVIEW_VALIDATE, whole, len, &out);

                ck_assert_msg(outcome.http_status == 400 && !outcome.allowed, "%zu bytes", len);
        }
}
END_TEST

/* Whatever a changed byte makes of a review: an answer that is JSON, or 400. */
START_TEST(a_changed_byte_is_answered) {
        static const char bytes[] = { 0, '"', '\\', '{', '}', ',', '0', 'n', (char)0x80 };
        char body[sizeof(whole)];

        for (size_t i = 0; i < sizeof(whole) - 1; i++) {
                for (size_t k = 0; k < sizeof(bytes); k++) {
                        CLEANUP(strbuf_done) struct strbuf out = STRBUF_INIT(REVIEW_ANSWER_MAX);
                        struct review_outcome outcome;

                        memcpy(body, whole, sizeof(whole));
                        body[i] = bytes[k];
                        outcome = answer(REVIEW_VALIDATE, body, sizeof(whole) - 1, &out);
                        if (outcome.http_status == 200)
                                ck_assert_int_eq(json_check(out.ptr, out.len, NULL, 0, NULL), 0);
                        else
                                ck_assert(outcome.http_status == 400 && !outcome.allowed);
                }
        }
}
END_TEST

/* Appends `count` times `item`. */
static void repeat(struct strbuf *b, const char *item, size_t count) {
        while (count-- > 0)
                strbuf_str(b, item);
}

START_TEST(a_long_uid_is_refused) {
        CLEANUP(strbuf_done) struct strbuf body = STRBUF_INIT(REVIEW_BODY_MAX);
        CLEANUP(strbuf_done) struct strbuf out = STRBUF_INIT(REVIEW_ANSWER_MAX);

        strbuf_str(&body, HEAD "\"request\":{\"uid\":\"");
        repeat(&body, "a", 129);
        strbuf_str(&body, "\"}}");
        ck_assert_uint_eq(answer(REVIEW_VALIDATE, body.ptr, body.len, &out).http_status, 400);
}
END_TEST

static const struct {
        const char *name, *before, *item, *after;
        unsigned http_status;
} large[] = {
        { "brackets without end", REQUEST CREATE "\"object\":{\"spec\":{\"a\":", "[", "", 400 },
        { "a spec of many members", REQUEST CREATE "\"object\":{\"spec\":[0", ",0", "]}}}", 200 },
        { "labels of many mistakes",
          REQUEST CREATE "\"object\":{\"spec\":{\"runner\":{\"command\":[0", ",{}", "]}}}}}", 200 },
        { "one long string in an enum",
          REQUEST CREATE "\"object\":{\"spec\":{\"runner\":{\"imagePullPolicy\":\"", "\\u0001",
          "\"}}}}}", 200 },
};

START_TEST(seven_megabytes_are_answered) {
        CLEANUP(strbuf_done) struct strbuf body = STRBUF_INIT(REVIEW_BODY_MAX);
        CLEANUP(strbuf_done) struct strbuf out = STRBUF_INIT(REVIEW_ANSWER_MAX);
        size_t room = REVIEW_BODY_MAX - strlen(large[_i].before) - strlen(large[_i].after);
        struct review_outcome outcome;

        strbuf_str(&body, large[_i].before);
        repeat(&body, large[_i].item, room / strlen(large[_i].item));
        strbuf_str(&body, large[_i].after);
        outcome = answer(REVIEW_VALIDATE, body.ptr, body.len, &out);
        ck_assert_msg(outcome.http_status == large[_i].http_status && !outcome.allowed, "%s: %u",
                      large[_i].name, outcome.http_status);
        ck_assert_uint_lt(out.len, 1 << 20);
}
END_TEST

/* A spec of so many values, itself and the list among them. */
static void put_values(struct strbuf *b, size_t count) {
        strbuf_str(b, "{\"suspend\":[0");
        repeat(b, ",0", count - 3);
        strbuf_str(b, "]}");
}

static struct review_outcome answer_values(size_t count, size_t old_count, struct strbuf *out) {
        CLEANUP(strbuf_done) struct strbuf body = STRBUF_INIT(REVIEW_BODY_MAX);

        strbuf_str(&body, REQUEST UPDATE "\"object\":{\"spec\":");
        put_values(&body, count);
        strbuf_str(&body, "},\"oldObject\":{\"spec\":");
        put_values(&body, old_count);
        strbuf_str(&body, "}}}");
        strbuf_reset(out);
        return answer(REVIEW_VALIDATE, body.ptr, body.len, out);
}

START_TEST(a_spec_of_too_many_values_is_denied) {
        CLEANUP(strbuf_done) struct strbuf out = STRBUF_INIT(REVIEW_ANSWER_MAX);
        struct review_outcome outcome = answer_values(ADMIT_VALUES_MAX + 1, 3, &out);

        ck_assert(!outcome.allowed);
        ck_assert_uint_eq(outcome.causes[REVIEW_TOO_MANY], 1);
        ck_assert_ptr_nonnull(
                strstr(out.ptr, "spec: Too many: spec must have at most 32768 values"));
        /* At the limit the mistakes themselves are named; those of the old spec excuse them. */
        outcome = answer_values(ADMIT_VALUES_MAX, ADMIT_VALUES_MAX + 1, &out);
        ck_assert(!outcome.allowed);
        ck_assert_uint_eq(outcome.causes[REVIEW_TYPE_INVALID], 1);
        ck_assert_uint_eq(outcome.causes[REVIEW_TOO_MANY], 0);
        outcome = answer_values(ADMIT_VALUES_MAX, 4, &out);
        ck_assert_uint_eq(outcome.causes[REVIEW_TYPE_INVALID], 0);
        ck_assert_uint_eq(outcome.causes[REVIEW_REQUIRED], 0);
        ck_assert(outcome.allowed);
}
END_TEST

START_TEST(denials_are_counted_by_cause) {
        static const char bad[] = REQUEST CREATE BAD "}}";
        CLEANUP(strbuf_done) struct strbuf out = STRBUF_INIT(REVIEW_ANSWER_MAX);
        struct review_outcome outcome = answer(REVIEW_VALIDATE, bad, sizeof(bad) - 1, &out);
        static const char none[] = REQUEST "\"operation\":\"BREW\"," OBJECT "}}";

        for (enum review_cause i = 0; i < REVIEW_CAUSES; i++)
                ck_assert_msg(outcome.causes[i] == (i == REVIEW_REQUIRED       ? 2U
                                                    : i == REVIEW_TYPE_INVALID ? 1U
                                                                               : 0U),
                              "%s: %u", review_cause_name(i), outcome.causes[i]);
        strbuf_reset(&out);
        outcome = answer(REVIEW_VALIDATE, none, sizeof(none) - 1, &out);
        ck_assert_uint_eq(outcome.causes[REVIEW_BAD_REQUEST], 1);
}
END_TEST

START_TEST(every_allocation_is_checked) {
        static const char *const bodies[] = { REQUEST CREATE OBJECT "}}", REQUEST CREATE BAD "}}",
                                              REQUEST "}}", "{" };

        for (int variant = 0; variant < 8; variant++) {
                const char *body = bodies[variant / 2];

                for (size_t n = 1;; n++) {
                        CLEANUP(strbuf_done) struct strbuf out = STRBUF_INIT(REVIEW_ANSWER_MAX);
                        struct review_outcome outcome = { 0 };
                        int r;

                        alloc_fail_arm(n);
                        r = review_answer(variant % 2 ? REVIEW_MUTATE : REVIEW_VALIDATE, body,
                                          strlen(body), &out, &outcome, NULL);
                        if (!alloc_fail_disarm())
                                break;
                        ck_assert_int_eq(r, -FAULT_NOMEM);
                        ck_assert(!outcome.allowed);
                }
        }
}
END_TEST

int main(void) {
        Suite *suite = suite_create("review");
        TCase *tcase = tcase_create("review");
        SRunner *runner = srunner_create(suite);
        int failed;

        suite_add_tcase(suite, tcase);
        tcase_add_loop_test(tcase, each_review_has_its_answer, 0,
                            (int)(sizeof(rows) / sizeof(rows[0])));
        tcase_add_test(tcase, a_cut_review_is_never_allowed);
        tcase_add_test(tcase, a_changed_byte_is_answered);
        tcase_add_test(tcase, a_long_uid_is_refused);
        tcase_add_loop_test(tcase, seven_megabytes_are_answered, 0,
                            (int)(sizeof(large) / sizeof(large[0])));
        tcase_add_test(tcase, a_spec_of_too_many_values_is_denied);
        tcase_add_test(tcase, denials_are_counted_by_cause);
        tcase_add_test(tcase, every_allocation_is_checked);
        srunner_run_all(runner, CK_NORMAL);
        failed = srunner_ntests_failed(runner);
        srunner_free(runner);
        return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
