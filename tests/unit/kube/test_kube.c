/* SPDX-License-Identifier: Apache-2.0 */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/fault.h"
#include "common/kube/kube.h"
#include "tests/fake/fake_kube.h"
#include "tests/unit/alloc_fail.h"

struct outcome {
        int http, result;
};

static const struct outcome outcomes[] = {
        { 200, 0 },
        { 201, 0 },
        { 202, 0 },
        { 299, 0 },
        { 100, -FAULT_PROTO },
        { 300, -FAULT_PROTO },
        { 302, -FAULT_PROTO },
        { 304, -FAULT_PROTO },
        { 400, KUBE_E_INVALID },
        { 401, -FAULT_DENIED },
        { 403, KUBE_E_FORBIDDEN },
        { 404, KUBE_E_NOT_FOUND },
        { 405, KUBE_E_INVALID },
        { 408, -FAULT_IO },
        { 409, KUBE_E_CONFLICT },
        { 410, KUBE_E_GONE },
        { 413, KUBE_E_INVALID },
        { 415, KUBE_E_INVALID },
        { 422, KUBE_E_INVALID },
        { 429, -FAULT_IO },
        { 499, KUBE_E_INVALID },
        { 500, -FAULT_IO },
        { 503, -FAULT_IO },
        { 504, -FAULT_IO },
        { 599, -FAULT_IO },
        { 600, -FAULT_PROTO },
        { 0, -FAULT_PROTO },
        { -1, -FAULT_PROTO },
};

START_TEST(maps_http_statuses) {
        ck_assert_msg(kube_outcome(outcomes[_i].http) == outcomes[_i].result, "HTTP %d: %d",
                      outcomes[_i].http, kube_outcome(outcomes[_i].http));
}
END_TEST

struct status_case {
        const char *name, *json;
        const char *message, *reason; /* NULL: none */
        bool has_name, terminating, too_large;
        int64_t retry_after_ms;
};

static const struct status_case statuses[] = {
        { "an admission refusal",
          "{\"kind\":\"Status\",\"message\":\"denied: \\u00e9\",\"reason\":\"Forbidden\","
          "\"details\":{\"name\":\"x\",\"kind\":\"jobs\"},\"code\":403}",
          "denied: \xc3\xa9", "Forbidden", true, false, false, 0 },
        { "an RBAC refusal of a POST names no object",
          "{\"kind\":\"Status\",\"message\":\"m\",\"reason\":\"Forbidden\",\"details\":{\"group\":"
          "\"batch\",\"kind\":\"jobs\"}}",
          "m", "Forbidden", false, false, false, 0 },
        { "a namespace that is being deleted",
          "{\"kind\":\"Status\",\"reason\":\"Forbidden\",\"details\":{\"name\":\"x\",\"causes\":["
          "{\"reason\":\"Other\"},{\"reason\":\"NamespaceTerminating\",\"message\":\"m\"}]}}",
          NULL, "Forbidden", true, true, false, 0 },
        { "a resourceVersion from the future",
          "{\"kind\":\"Status\",\"reason\":\"Timeout\",\"details\":{\"causes\":[{\"reason\":"
          "\"ResourceVersionTooLarge\"}],\"retryAfterSeconds\":1}}",
          NULL, "Timeout", false, false, true, 1000 },
        { "a wait of more than a minute",
          "{\"kind\":\"Status\",\"details\":{\"retryAfterSeconds\":3600}}", NULL, NULL, false,
          false, false, 60000 },
        { "a wait that is negative", "{\"kind\":\"Status\",\"details\":{\"retryAfterSeconds\":-5}}",
          NULL, NULL, false, false, false, 0 },
        { "members of wrong types",
          "{\"kind\":\"Status\",\"message\":1,\"reason\":[],\"details\":{\"name\":5,\"causes\":{},"
          "\"retryAfterSeconds\":\"1\"}}",
          NULL, NULL, false, false, false, 0 },
        { "details that are null", "{\"kind\":\"Status\",\"details\":null}", NULL, NULL, false,
          false, false, 0 },
        { "causes that are no objects",
          "{\"kind\":\"Status\",\"details\":{\"causes\":[1,null,\"NamespaceTerminating\"]}}", NULL,
          NULL, false, false, false, 0 },
        { "another kind", "{\"kind\":\"Job\",\"message\":\"m\"}", NULL, NULL, false, false, false,
          0 },
        { "a member that differs in case", "{\"kind\":\"Status\",\"Message\":\"m\"}", NULL, NULL,
          false, false, false, 0 },
        { "an array", "[]", NULL, NULL, false, false, false, 0 },
        { "broken JSON", "{\"kind\":\"Status\",", NULL, NULL, false, false, false, 0 },
        { "a member twice", "{\"kind\":\"Status\",\"message\":\"a\",\"message\":\"b\"}", NULL, NULL,
          false, false, false, 0 },
        { "nothing", "", NULL, NULL, false, false, false, 0 },
};

static bool same(const char *a, const char *b) {
        return a && b ? strcmp(a, b) == 0 : a == b;
}

START_TEST(reads_a_status) {
        const struct status_case *s = &statuses[_i];
        CLEANUP(kube_response_done) struct kube_response response = KUBE_RESPONSE_INIT;
        struct fault f = FAULT_INIT;

        ck_assert_int_eq(kube_response_read_status(&response, s->json, strlen(s->json), &f), 0);
        ck_assert_msg(same(response.status_message, s->message), "%s: %s", s->name,
                      response.status_message);
        ck_assert_msg(same(response.status_reason, s->reason), "%s: %s", s->name,
                      response.status_reason);
        ck_assert_msg(response.status_has_name == s->has_name, "%s", s->name);
        ck_assert_msg(response.status_namespace_terminating == s->terminating, "%s", s->name);
        ck_assert_msg(response.status_version_too_large == s->too_large, "%s", s->name);
        ck_assert_msg(response.retry_after_ms == s->retry_after_ms, "%s", s->name);
}
END_TEST

START_TEST(survives_a_status_cut_anywhere) {
        const char *json = statuses[2].json;

        for (size_t len = 0; len < strlen(json); len++) {
                CLEANUP(kube_response_done) struct kube_response response = KUBE_RESPONSE_INIT;
                CLEANUP(free_p) char *copy = malloc(len ? len : 1);

                ck_assert_ptr_nonnull(copy);
                memcpy(copy, json, len);
                ck_assert_int_eq(kube_response_read_status(&response, copy, len, NULL), 0);
                ck_assert_ptr_null(response.status_reason);
        }
}
END_TEST

START_TEST(reports_want_of_memory) {
        static const char json[] =
                "{\"kind\":\"Status\",\"message\":\"m\",\"reason\":\"r\",\"details\":"
                "{\"causes\":[{\"reason\":\"x\"}]}}";

        for (size_t n = 1;; n++) {
                CLEANUP(kube_response_done) struct kube_response response = KUBE_RESPONSE_INIT;
                struct fault f = FAULT_INIT;
                int r;

                alloc_fail_arm(n);
                r = kube_response_read_status(&response, json, strlen(json), &f);
                if (!alloc_fail_disarm())
                        break;
                ck_assert_int_eq(r, -FAULT_NOMEM);
        }
}
END_TEST

START_TEST(says_what_was_asked_and_what_the_server_said) {
        CLEANUP(fake_kube_free_p) struct fake_kube *fake = fake_kube_new();
        CLEANUP(kube_response_done) struct kube_response response = KUBE_RESPONSE_INIT;
        const struct kube k = fake_kube_client(fake);
        const struct kube_request request = { .method = KUBE_DELETE, .path = "/x", .query = "a=b" };
        struct fault f = FAULT_INIT;

        fake_kube_on(
                fake, "DELETE /x", 409,
                "{\"kind\":\"Status\",\"message\":\"it has changed\",\"reason\":\"Conflict\"}");
        ck_assert_int_eq(kube_request(&k, &request, &response, &f), KUBE_E_CONFLICT);
        ck_assert_str_eq(f.text, "DELETE /x: HTTP 409: it has changed");
        ck_assert_str_eq(response.status_reason, "Conflict");
        ck_assert_str_eq(fake_kube_log(fake), "DELETE /x?a=b\n");
        /* Without a fault only the text is lost. */
        kube_response_done(&response);
        ck_assert_int_eq(kube_request(&k, &request, &response, NULL), KUBE_E_CONFLICT);
}
END_TEST

START_TEST(names_the_request_in_every_failure) {
        static const struct {
                int result;
                const char *text;
        } failures[] = {
                { -FAULT_IO, "GET /x: the fake gave no answer" },
                { -FAULT_NOMEM, "GET /x: the fake gave no answer" },
                { KUBE_E_STOPPED, "GET /x: stopped" },
                { KUBE_E_SILENT, "GET /x: the server has fallen silent" },
                { KUBE_E_EXPIRED_WRITE, "GET /x: not sent, leadership has run out" },
        };
        const struct kube_request request = { .method = KUBE_GET, .path = "/x" };

        for (size_t i = 0; i < sizeof(failures) / sizeof(failures[0]); i++) {
                CLEANUP(fake_kube_free_p) struct fake_kube *fake = fake_kube_new();
                CLEANUP(kube_response_done) struct kube_response response = KUBE_RESPONSE_INIT;
                const struct kube k = fake_kube_client(fake);
                struct fault f = FAULT_INIT;

                fake_kube_on_failure(fake, "GET /x", failures[i].result);
                ck_assert_int_eq(kube_request(&k, &request, &response, &f), failures[i].result);
                ck_assert_str_eq(f.text, failures[i].text);
        }
}
END_TEST

START_TEST(closes_nothing_twice) {
        struct kube k = { 0 };
        CLEANUP(fake_kube_free_p) struct fake_kube *fake = fake_kube_new();

        kube_close(&k);
        k = fake_kube_client(fake);
        kube_close(&k);
        ck_assert_ptr_null(k.ops);
        kube_close(&k);
}
END_TEST

START_TEST(fakes_answer_in_order_and_keep_the_last) {
        CLEANUP(fake_kube_free_p) struct fake_kube *fake = fake_kube_new();
        const struct kube k = fake_kube_client(fake);
        const struct kube_request request = { .method = KUBE_GET, .path = "/x" };
        static const int expected[] = { KUBE_E_NOT_FOUND, 0, 0 };

        fake_kube_on(fake, "GET /x", 404, "{}");
        fake_kube_on(fake, "GET /x", 200, "{}");
        for (size_t i = 0; i < 3; i++) {
                CLEANUP(kube_response_done) struct kube_response response = KUBE_RESPONSE_INIT;

                ck_assert_int_eq(kube_request(&k, &request, &response, NULL), expected[i]);
        }
        ck_assert_uint_eq(fake_kube_count(fake), 3);
}
END_TEST

#define COUNT(array) ((int)(sizeof(array) / sizeof((array)[0])))

int main(void) {
        Suite *suite = suite_create("kube");
        TCase *tc = tcase_create("kube");
        SRunner *runner = srunner_create(suite);
        int failed;

        tcase_add_loop_test(tc, maps_http_statuses, 0, COUNT(outcomes));
        tcase_add_loop_test(tc, reads_a_status, 0, COUNT(statuses));
        tcase_add_test(tc, survives_a_status_cut_anywhere);
        tcase_add_test(tc, reports_want_of_memory);
        tcase_add_test(tc, says_what_was_asked_and_what_the_server_said);
        tcase_add_test(tc, names_the_request_in_every_failure);
        tcase_add_test(tc, closes_nothing_twice);
        tcase_add_test(tc, fakes_answer_in_order_and_keep_the_last);
        suite_add_tcase(suite, tc);
        srunner_run_all(runner, CK_ENV);
        failed = srunner_ntests_failed(runner);
        srunner_free(runner);
        return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
