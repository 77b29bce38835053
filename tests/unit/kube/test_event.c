/* SPDX-License-Identifier: Apache-2.0 */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/fault.h"
#include "common/base/strbuf.h"
#include "common/json/json_get.h"
#include "common/kube/event.h"
#include "tests/fake/fake_kube.h"

static const struct event_reporter reporter = { .controller = "example.org/operator",
                                                .instance = "pod-1",
                                                .field_manager = "unit" };

static struct event an_event(void) {
        return (struct event){
                .regarding = { .api_version = "example.org/v1",
                               .kind = "Thing",
                               .namespace_ = "ns",
                               .name = "a.b",
                               .uid = "uid-1",
                               .resource_version = "7" },
                .warning = true,
                .reason = "Failed",
                .action = "Run",
                .note = "it \"failed\"\n",
                .key = "job-uid",
        };
}

START_TEST(writes_an_event) {
        CLEANUP(strbuf_done) struct strbuf out = STRBUF_INIT(SIZE_MAX);
        const struct event event = an_event();

        event_write(&event, &reporter, &(struct event_when){ .first_us = 1700000000123456 }, &out);
        ck_assert_str_eq(strbuf_text(&out),
                         "{\"apiVersion\":\"events.k8s.io/v1\",\"kind\":\"Event\",\"metadata\":"
                         "{\"name\":\"a.b.2e2e85efddddca9c\",\"namespace\":\"ns\"},"
                         "\"eventTime\":\"2023-11-14T22:13:20.123456Z\",\"reportingController\":"
                         "\"example.org/operator\",\"reportingInstance\":\"pod-1\",\"type\":"
                         "\"Warning\",\"reason\":\"Failed\",\"action\":\"Run\",\"note\":"
                         "\"it \\\"failed\\\"\\n\",\"regarding\":{\"apiVersion\":"
                         "\"example.org/v1\",\"kind\":\"Thing\",\"namespace\":\"ns\",\"name\":"
                         "\"a.b\",\"uid\":\"uid-1\",\"resourceVersion\":\"7\"}}");
}
END_TEST

START_TEST(names_an_event_by_what_it_reports) {
        struct event event = an_event();
        char first[EVENT_NAME_SIZE], other[EVENT_NAME_SIZE];

        event_name(&event, first);
        event.note = "another";
        event.action = "another";
        event.regarding.resource_version = "8";
        event_name(&event, other);
        ck_assert_str_eq(first, other);
        event.key = "job-uid-2";
        event_name(&event, other);
        ck_assert_str_ne(first, other);
        event = an_event();
        event.reason = "Failedj"; /* parts do not run into each other */
        event.key = "ob-uid";
        event_name(&event, other);
        ck_assert_str_ne(first, other);
        event = an_event();
        event.regarding.uid = "uid-2";
        event_name(&event, other);
        ck_assert_str_ne(first, other);
}
END_TEST

START_TEST(keeps_names_within_a_dns_subdomain) {
        struct event event = an_event();
        char long_name[254], name[EVENT_NAME_SIZE];

        memset(long_name, 'a', sizeof(long_name) - 1);
        long_name[253] = '\0';
        event.regarding.name = long_name;
        event_name(&event, name);
        ck_assert_uint_eq(strlen(name), 253);
        ck_assert_int_eq(name[236], '.');
        /* A cut must not leave a label that ends with '-' or is empty. */
        memcpy(long_name + 233, ".-.", 3);
        event_name(&event, name);
        ck_assert_uint_eq(strlen(name), 250);
        ck_assert_int_eq(name[232], 'a');
        ck_assert_int_eq(name[233], '.');
}
END_TEST

struct note {
        const char *name;
        size_t fill; /* 'a's before the tail */
        const char *tail;
        size_t len; /* bytes of the note in the event */
};

static const struct note notes[] = {
        { "nothing", 0, "", 0 },
        { "as long as it may be", 1024, "", 1024 },
        { "one byte too long", 1024, "b", 1024 },
        { "a character that just fits", 1022, "\xc3\xa9", 1024 },
        { "a character that would be split", 1023, "\xc3\xa9", 1023 },
        { "four bytes that would be split", 1021, "\xf0\x9f\x98\x80", 1021 },
        { "an invalid byte counts as its replacement", 1021, "\xff", 1024 },
        { "an invalid byte whose replacement is too long", 1022, "\xff", 1022 },
        { "quotes count once", 1000, "\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"", 1024 },
};

START_TEST(cuts_the_note_between_characters) {
        const struct note *note = &notes[_i];
        CLEANUP(strbuf_done) struct strbuf text = STRBUF_INIT(SIZE_MAX);
        CLEANUP(strbuf_done) struct strbuf out = STRBUF_INIT(SIZE_MAX);
        CLEANUP(cJSON_Delete_p) cJSON *tree = NULL;
        struct event event = an_event();
        struct fault f = FAULT_INIT;

        for (size_t i = 0; i < note->fill; i++)
                strbuf_char(&text, 'a');
        strbuf_str(&text, note->tail);
        event.note = strbuf_text(&text);
        event_write(&event, &reporter, &(struct event_when){ 0 }, &out);
        ck_assert_int_eq(json_parse(out.ptr, out.len, &tree, &f), 0);
        ck_assert_msg(strlen(json_string_at(tree, "note")) == note->len, "%s: %zu", note->name,
                      strlen(json_string_at(tree, "note")));
}
END_TEST

START_TEST(cuts_the_instance) {
        CLEANUP(strbuf_done) struct strbuf out = STRBUF_INIT(SIZE_MAX);
        CLEANUP(cJSON_Delete_p) cJSON *tree = NULL;
        char instance[200];
        const struct event_reporter who = { "example.org/operator", instance, "unit" };
        const struct event event = an_event();
        struct fault f = FAULT_INIT;

        memset(instance, 'p', sizeof(instance) - 1);
        instance[199] = '\0';
        event_write(&event, &who, &(struct event_when){ 0 }, &out);
        ck_assert_int_eq(json_parse(out.ptr, out.len, &tree, &f), 0);
        ck_assert_uint_eq(strlen(json_string_at(tree, "reportingInstance")), 128);
}
END_TEST

struct answer {
        const char *name;
        int http;
        const char *json;
        int result;
};

static const struct answer answers[] = {
        { "made", 201, "{}", 0 },
        { "there already", 409, "{\"kind\":\"Status\",\"reason\":\"AlreadyExists\"}", 0 },
        { "the namespace is being deleted", 403,
          "{\"kind\":\"Status\",\"details\":{\"causes\":[{\"reason\":\"NamespaceTerminating\"}]}}",
          0 },
        { "the namespace has gone", 404, "{\"kind\":\"Status\"}", 0 },
        { "a right is missing", 403, "{\"kind\":\"Status\",\"message\":\"no\"}", -FAULT_DENIED },
        { "not accepted", 422, "{\"kind\":\"Status\",\"message\":\"no\"}", -FAULT_INVALID },
        { "not logged in", 401, "{\"kind\":\"Status\"}", -FAULT_DENIED },
        { "out of order", 500, "{\"kind\":\"Status\"}", -FAULT_IO },
};

#define EVENTS "POST /apis/events.k8s.io/v1/namespaces/ns/events"

START_TEST(posts_an_event) {
        CLEANUP(fake_kube_free_p) struct fake_kube *fake = fake_kube_new();
        const struct kube k = fake_kube_client(fake);
        const struct answer *answer = &answers[_i];
        const struct event event = an_event();
        struct fault f = FAULT_INIT;
        int r;

        fake_kube_on(fake, EVENTS, answer->http, answer->json);
        r = event_post(&k, &event, &reporter, 0, &f);
        ck_assert_msg(r == answer->result, "%s: %d %s", answer->name, r, f.text);
        ck_assert_msg(r == 0 || (int)f.kind == -r, "%s: kind %d", answer->name, (int)f.kind);
        ck_assert_str_eq(fake_kube_log(fake), EVENTS "?fieldManager=unit\n");
        ck_assert_str_eq(fake_kube_at(fake, 0)->content_type, "");
}
END_TEST

struct attempt {
        const char *name;
        bool patch;
        int http;
        const char *json;
        int result;
};

static const struct attempt attempts[] = {
        { "made", false, 201, "{}", 0 },
        { "there already", false, 409, "{\"kind\":\"Status\"}", 0 },
        { "the namespace has gone", false, 404, "{\"kind\":\"Status\"}", 0 },
        { "not accepted", false, 422, "{\"kind\":\"Status\"}", -FAULT_INVALID },
        { "a right is missing", false, 403, "{\"kind\":\"Status\"}", -FAULT_DENIED },
        { "an admission webhook fails", false, 500, "{\"kind\":\"Status\"}", -FAULT_IO },
        { "too many requests", false, 429, "{\"kind\":\"Status\"}", EVENT_E_LATER },
        { "no backend", false, 503, "{\"kind\":\"Status\"}", EVENT_E_LATER },
        { "a token that is too old", false, 401, "{\"kind\":\"Status\"}", EVENT_E_LATER },
        { "counted up", true, 200, "{}", 0 },
        { "gone, to be made anew", true, 404, "{\"kind\":\"Status\"}", EVENT_E_GONE },
        { "in conflict", true, 409, "{\"kind\":\"Status\"}", EVENT_E_LATER },
};

START_TEST(sends_an_event) {
        CLEANUP(fake_kube_free_p) struct fake_kube *fake = fake_kube_new();
        const struct kube k = fake_kube_client(fake);
        const struct attempt *a = &attempts[_i];
        const struct event event = an_event();
        const struct event_when when = { .first_us = 1, .last_us = 1700000000123456, .count = 3 };
        struct fault f = FAULT_INIT;
        int r;

        fake_kube_on(fake, EVENTS, a->http, a->json);
        fake_kube_on(fake, "PATCH /apis/events.k8s.io/v1/namespaces/ns/events/a.b.2e2e85efddddca9c",
                     a->http, a->json);
        r = event_send(&k, &event, &reporter, &when, a->patch, 1000, &f);
        ck_assert_msg(r == a->result, "%s: %d %s", a->name, r, f.text);
        ck_assert_ptr_nonnull(strstr(fake_kube_at(fake, 0)->body,
                                     "\"series\":{\"count\":3,\"lastObservedTime\":"
                                     "\"2023-11-14T22:13:20.123456Z\"}"));
        ck_assert_str_eq(fake_kube_at(fake, 0)->content_type, a->patch ? KUBE_MERGE_PATCH : "");
}
END_TEST

START_TEST(no_answer_is_no_refusal) {
        CLEANUP(fake_kube_free_p) struct fake_kube *fake = fake_kube_new();
        const struct kube k = fake_kube_client(fake);
        const struct event event = an_event();
        const struct event_when when = { .first_us = 1 };

        fake_kube_on_failure(fake, EVENTS, -FAULT_IO);
        ck_assert_int_eq(event_send(&k, &event, &reporter, &when, false, 1000, NULL),
                         EVENT_E_LATER);
        fake_kube_off(fake, EVENTS);
        fake_kube_on_failure(fake, EVENTS, KUBE_E_EXPIRED_WRITE);
        ck_assert_int_eq(event_send(&k, &event, &reporter, &when, false, 1000, NULL),
                         EVENT_E_LATER);
        kube_interrupt(&k);
        ck_assert_int_eq(event_send(&k, &event, &reporter, &when, false, 1000, NULL),
                         EVENT_E_LATER);
}
END_TEST

START_TEST(does_not_mind_being_stopped) {
        CLEANUP(fake_kube_free_p) struct fake_kube *fake = fake_kube_new();
        const struct kube k = fake_kube_client(fake);
        const struct event event = an_event();
        struct fault f = FAULT_INIT;

        kube_interrupt(&k);
        ck_assert_int_eq(event_post(&k, &event, &reporter, 0, &f), -FAULT_IO);
        ck_assert_int_eq(event_post(&k, &event, &reporter, 0, NULL), -FAULT_IO);
}
END_TEST

START_TEST(reports_objects_without_a_namespace_in_default) {
        CLEANUP(fake_kube_free_p) struct fake_kube *fake = fake_kube_new();
        const struct kube k = fake_kube_client(fake);
        struct event event = an_event();

        event.regarding.namespace_ = "";
        (void)event_post(&k, &event, &reporter, 0, NULL);
        ck_assert_str_eq(fake_kube_at(fake, 0)->path,
                         "/apis/events.k8s.io/v1/namespaces/default/events");
        ck_assert_ptr_nonnull(strstr(fake_kube_at(fake, 0)->body, "\"namespace\":\"default\""));
}
END_TEST

#define COUNT(array) ((int)(sizeof(array) / sizeof((array)[0])))

int main(void) {
        Suite *suite = suite_create("event");
        TCase *tc = tcase_create("event");
        SRunner *runner = srunner_create(suite);
        int failed;

        tcase_add_test(tc, writes_an_event);
        tcase_add_test(tc, names_an_event_by_what_it_reports);
        tcase_add_test(tc, keeps_names_within_a_dns_subdomain);
        tcase_add_loop_test(tc, cuts_the_note_between_characters, 0, COUNT(notes));
        tcase_add_test(tc, cuts_the_instance);
        tcase_add_loop_test(tc, posts_an_event, 0, COUNT(answers));
        tcase_add_loop_test(tc, sends_an_event, 0, COUNT(attempts));
        tcase_add_test(tc, no_answer_is_no_refusal);
        tcase_add_test(tc, does_not_mind_being_stopped);
        tcase_add_test(tc, reports_objects_without_a_namespace_in_default);
        suite_add_tcase(suite, tc);
        srunner_run_all(runner, CK_ENV);
        failed = srunner_ntests_failed(runner);
        srunner_free(runner);
        return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
