/* SPDX-License-Identifier: Apache-2.0 */
#include "reconciler/pass.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/clock.h"
#include "common/base/fault.h"
#include "common/base/random.h"
#include "common/base/strbuf.h"
#include "common/json/json_get.h"
#include "common/kube/event.h"
#include "reconciler/cache.h"
#include "reconciler/secrets.h"
#include "tests/fake/fake_kube.h"

#define OBJECT_OF(version, status)                                                                 \
        "{\"metadata\":{\"namespace\":\"ns\",\"name\":\"shop\",\"uid\":\"u\",\"resourceVersion\":" \
        "\"" version "\",\"generation\":1},\"spec\":{\"migrations\":{\"image\":\"shop:1\"},"       \
        "\"database\":{\"type\":\"selfHosted\",\"connection\":{\"urlSecretRef\":{\"name\":"        \
        "\"db\"}}}},\"status\":" status "}"

#define MISSING(since)                                                                             \
        "{\"observedGeneration\":1,\"conditions\":[{\"type\":\"Degraded\",\"status\":\"True\","    \
        "\"reason\":\"SecretNotFound\",\"message\":\"no db\",\"lastTransitionTime\":\"" since      \
        "\"}]}"

#define SECRET      "GET /api/v1/namespaces/ns/secrets/db"
#define OBJECT_PATH "/apis/dbupgrade.subbug.learning/v1alpha1/namespaces/ns/dbupgrades/shop"
#define STATUS      "PATCH " OBJECT_PATH "/status"
#define JOBS        "POST /apis/batch/v1/namespaces/ns/jobs"

/* A Job of that object, as the operator makes them. */
#define JOB(name, version, run, spec, status)                                                      \
        "{\"metadata\":{\"namespace\":\"ns\",\"name\":\"" name "\",\"uid\":\"" name                \
        "\",\"resourceVersion\":\"" version "\",\"labels\":{\"app.kubernetes.io/managed-by\":"     \
        "\"dbupgrade-operator\",\"dbupgrade.subbug.learning/owner-uid\":\"u\","                    \
        "\"dbupgrade.subbug.learning/name\":\"shop\"},\"annotations\":{"                           \
        "\"dbupgrade.subbug.learning/run\":\"" run "\"}},\"spec\":" spec ",\"status\":" status "}"

#define LISTED                                                                                     \
        "GET /apis/batch/v1/namespaces/ns/jobs?limit=100&labelSelector="                           \
        "app.kubernetes.io%2Fmanaged-by%3Ddbupgrade-operator%2C"                                   \
        "dbupgrade.subbug.learning%2Fname%3Dshop"

#define COMPLETE "{\"conditions\":[{\"type\":\"Complete\",\"status\":\"True\"}]}"

/* A pass over one object, in front of a scripted server; each answer takes answer_us. */
struct rig {
        struct fake_kube *fake;
        struct kube kube;
        struct clock clock;
        struct pass_deps deps;
        int64_t now_us, answer_us;
        int64_t timeouts_ms[8]; /* of the requests */
        size_t requests;
        bool takes_status; /* answers with what was written, once */
        bool has_run;      /* the Job that is posted is there, and has ended */
        char *job;
        struct strbuf events; /* "reason key repeats\n" */
};

static int64_t mono_us(void *ctx) {
        return ((struct rig *)ctx)->now_us;
}

static int64_t wall_us(void *ctx) {
        return INT64_C(1800000000000000) + ((struct rig *)ctx)->now_us;
}

static uint32_t no_jitter(void *ctx) {
        (void)ctx;
        return 0;
}

/* The API server takes a status. */
static void take_status(const struct kube_request *request, struct kube_response *response) {
        CLEANUP(cJSON_Delete_p) cJSON *patch = cJSON_Parse(request->body);
        CLEANUP(cJSON_Delete_p) cJSON *object = cJSON_Parse(OBJECT_OF("6", "{}"));
        char *text;

        ck_assert(cJSON_ReplaceItemInObject(object, "status",
                                            cJSON_DetachItemFromObject(patch, "status")));
        text = cJSON_PrintUnformatted(object);
        fake_kube_reply(response, 200, text);
        free(text);
}

/* The Job that is posted exists, somebody has started it, and it has ended. */
static bool answer_has_run(struct rig *rig, const struct kube_request *request,
                           struct kube_response *response) {
        CLEANUP(cJSON_Delete_p) cJSON *job = NULL;
        cJSON *metadata;

        if (!strstr(request->path, "/jobs"))
                return false;
        if (request->method == KUBE_GET) {
                fake_kube_reply(response, 200, rig->job);
                return true;
        }
        job = cJSON_Parse(request->body);
        metadata = cJSON_GetObjectItem(job, "metadata");
        ck_assert_ptr_nonnull(cJSON_AddStringToObject(metadata, "uid", "j"));
        ck_assert_ptr_nonnull(cJSON_AddStringToObject(metadata, "resourceVersion", "5"));
        cJSON_DeleteItemFromObject(cJSON_GetObjectItem(job, "spec"), "suspend");
        ck_assert(cJSON_AddItemToObject(job, "status", cJSON_Parse(COMPLETE)));
        free(rig->job);
        rig->job = cJSON_PrintUnformatted(job);
        fake_kube_reply(response, 409, "{\"kind\":\"Status\"}");
        return true;
}

static bool on_request(void *ctx, const struct kube_request *request,
                       struct kube_response *response, int *ret_result) {
        struct rig *rig = ctx;

        (void)ret_result;
        ck_assert_uint_lt(rig->requests, 8);
        rig->timeouts_ms[rig->requests++] = request->timeout_ms;
        rig->now_us += rig->answer_us;
        if (rig->has_run && answer_has_run(rig, request, response))
                return true;
        if (rig->takes_status && request->method == KUBE_PATCH &&
            strstr(request->path, "/dbupgrades/")) {
                rig->takes_status = false;
                take_status(request, response);
                return true;
        }
        return false;
}

static void on_event(void *ctx, const struct event *event) {
        struct rig *rig = ctx;

        ck_assert_str_eq(event->regarding.uid, "u");
        strbuf_printf(&rig->events, "%s %s %d\n", event->reason, event->key, event->repeats);
}

static void put(struct rig *rig, enum cache_kind kind, const char *json) {
        CLEANUP(free_p) char *key = NULL;

        ck_assert_int_eq(cache_upsert(rig->deps.cache, kind, json, strlen(json), 0, &key, NULL), 0);
}

static void rig_init(struct rig *rig) {
        static const struct random random = { .u32 = no_jitter };

        *rig = (struct rig){ .fake = fake_kube_new(), .events = STRBUF_INIT(4096) };
        rig->kube = fake_kube_client(rig->fake);
        rig->clock = (struct clock){ .mono_us = mono_us, .wall_us = wall_us, .ctx = rig };
        fake_kube_set_hook(rig->fake, on_request, rig);
        rig->deps = (struct pass_deps){
                .kube = &rig->kube,
                .clock = &rig->clock,
                .cache = cache_new(&rig->clock),
                .secrets = secrets_new(),
                .random = &random,
                .hooks = { .event = on_event, .ctx = rig },
                .timeout_ms = 120000,
        };
        put(rig, CACHE_OBJECT, OBJECT_OF("1", "{\"observedGeneration\":-1}"));
}

static void rig_done(struct rig *rig) {
        cache_free(rig->deps.cache);
        secrets_free(rig->deps.secrets);
        fake_kube_free(rig->fake);
        free(rig->job);
        strbuf_done(&rig->events);
}

START_TEST(a_state_that_was_entered_is_told_of_once) {
        CLEANUP(rig_done) struct rig rig;
        struct pass_result result;
        struct fault f = FAULT_INIT;

        rig_init(&rig);
        fake_kube_on(rig.fake, SECRET, 404, "{\"kind\":\"Status\"}");
        fake_kube_on(rig.fake, STATUS, 200, OBJECT_OF("2", MISSING("2027-01-15T08:00:00Z")));
        ck_assert_int_eq(pass_run(&rig.deps, "ns/shop", &result, &f), 0);
        ck_assert_int_eq(result.requeue, REQUEUE_SECRET);
        ck_assert_str_eq(strbuf_text(&rig.events), "SecretNotFound 2027-01-15T08:00:00Z 1\n");
        /* A second look writes, if only to say what is missing now, but enters nothing. */
        rig.now_us += 60000000;
        ck_assert_int_eq(pass_run(&rig.deps, "ns/shop", &result, &f), 0);
        ck_assert_str_eq(strbuf_text(&rig.events), "SecretNotFound 2027-01-15T08:00:00Z 1\n");
}
END_TEST

START_TEST(without_a_status_write_there_is_no_event) {
        CLEANUP(rig_done) struct rig rig;
        struct pass_result result;
        struct fault f = FAULT_INIT;

        rig_init(&rig);
        fake_kube_on(rig.fake, SECRET, 404, "{\"kind\":\"Status\"}");
        fake_kube_on(rig.fake, STATUS, 409, "{\"kind\":\"Status\"}");
        ck_assert_int_eq(pass_run(&rig.deps, "ns/shop", &result, &f), 0);
        ck_assert_int_eq(result.requeue, REQUEUE_BACKOFF);
        ck_assert_uint_eq(rig.events.len, 0);
}
END_TEST

START_TEST(a_pass_ends_in_its_time_however_slow_the_answers_are) {
        CLEANUP(rig_done) struct rig rig;
        struct pass_result result;
        struct fault f = FAULT_INIT;

        rig_init(&rig);
        rig.answer_us = 100000000;
        fake_kube_on(rig.fake, SECRET, 200, "{\"data\":{\"url\":\"eA==\"}}");
        fake_kube_on(rig.fake, JOBS, 201,
                     "{\"metadata\":{\"namespace\":\"ns\",\"name\":\"j\",\"uid\":\"j\","
                     "\"resourceVersion\":\"5\"},\"spec\":{\"suspend\":true}}");
        ck_assert_int_eq(pass_run(&rig.deps, "ns/shop", &result, &f), -FAULT_IO);
        ck_assert_ptr_nonnull(strstr(f.text, "the pass took longer than 120 s"));
        ck_assert_msg(rig.requests == 2, "%s", fake_kube_log(rig.fake));
        ck_assert_int_eq(rig.timeouts_ms[0], 0);     /* kube_request's own */
        ck_assert_int_eq(rig.timeouts_ms[1], 20000); /* what is left */
        ck_assert_uint_eq(rig.events.len, 0);
}
END_TEST

START_TEST(an_object_that_is_not_there_costs_nothing) {
        CLEANUP(rig_done) struct rig rig;
        struct pass_result result;
        struct fault f = FAULT_INIT;

        rig_init(&rig);
        ck_assert_int_eq(pass_run(&rig.deps, "ns/other", &result, &f), 0);
        ck_assert_int_eq(result.requeue, REQUEUE_NEVER);
        ck_assert_uint_eq(rig.requests, 0);
}
END_TEST

/* What refuses that finished Jobs are tidied up: RBAC, a rule of somebody's admission webhook, the
 * same when it does not answer. */
START_TEST(a_new_run_does_not_wait_for_tidying_up) {
        static const int refusals[] = { 403, 422, 500 };
        CLEANUP(rig_done) struct rig rig;
        struct pass_result result;
        struct fault f = FAULT_INIT;

        rig_init(&rig);
        put(&rig, CACHE_OBJECT,
            OBJECT_OF("2",
                      "{\"observedGeneration\":0,\"reason\":\"MigrationComplete\",\"lastRun\":{"
                      "\"number\":2,\"jobName\":\"j2\",\"jobUID\":\"j2\",\"runKey\":\"B\","
                      "\"attemptKey\":\"b\",\"result\":\"Succeeded\"}}"));
        put(&rig, CACHE_JOB, JOB("j1", "3", "1", "{}", COMPLETE));
        fake_kube_on(rig.fake, "DELETE /apis/batch/v1/namespaces/ns/jobs/j1", refusals[_i],
                     "{\"kind\":\"Status\",\"message\":\"no\"}");
        fake_kube_on(rig.fake, SECRET, 404, "{\"kind\":\"Status\"}");
        fake_kube_on(rig.fake, STATUS, 200, OBJECT_OF("4", MISSING("2027-01-15T08:00:00Z")));
        ck_assert_int_eq(pass_run(&rig.deps, "ns/shop", &result, &f), 0);
        ck_assert_str_eq(fake_kube_log(rig.fake),
                         "DELETE /apis/batch/v1/namespaces/ns/jobs/j1\n" SECRET "\n" STATUS
                         "?fieldManager=dbupgrade-reconciler\n");
        ck_assert_int_eq(result.situation, SITUATION_SECRET);
        ck_assert_int_eq(result.requeue, REQUEUE_SECRET);
}
END_TEST

/* The start is written, and then there is something to wait for: that must not stay unsaid. */
START_TEST(what_a_start_waits_for_is_said_at_once) {
        CLEANUP(rig_done) struct rig rig;
        struct pass_result result;
        struct fault f = FAULT_INIT;

        rig_init(&rig);
        fake_kube_on(rig.fake, SECRET, 200, "{\"data\":{\"url\":\"eA==\"}}");
        fake_kube_on(rig.fake, JOBS, 201, JOB("j", "5", "1", "{\"suspend\":true}", "{}"));
        rig.takes_status = true;
        fake_kube_on(rig.fake, LISTED, 200,
                     "{\"items\":[" JOB("j", "5", "1", "{\"suspend\":true}",
                                        "{}") "," JOB("other", "4", "7", "{}", "{}") "]}");
        ck_assert_int_eq(pass_run(&rig.deps, "ns/shop", &result, &f), 0);
        ck_assert_int_eq(result.situation, SITUATION_WAITING);
        ck_assert_int_eq(result.requeue, REQUEUE_NOW);
        fake_kube_clear(rig.fake);
        rig.takes_status = true;
        ck_assert_int_eq(pass_run(&rig.deps, "ns/shop", &result, &f), 0);
        ck_assert_int_eq(result.requeue, REQUEUE_NEVER);
        ck_assert_uint_eq(fake_kube_count(rig.fake), 2);
        ck_assert_ptr_nonnull(strstr(fake_kube_at(rig.fake, 1)->body, "Waiting for the Job other"));
}
END_TEST

/* … also by a process that has not heard the refusal itself. */
START_TEST(a_refusal_for_good_is_counted_and_costs_nothing) {
        CLEANUP(rig_done) struct rig rig;
        struct cache_counts counts;
        struct pass_result result;
        struct fault f = FAULT_INIT;

        rig_init(&rig);
        fake_kube_on(rig.fake, SECRET, 200, "{\"data\":{\"url\":\"eA==\"}}");
        fake_kube_on(rig.fake, JOBS, 422, "{\"kind\":\"Status\",\"message\":\"bad spec\"}");
        rig.takes_status = true;
        ck_assert_int_eq(pass_run(&rig.deps, "ns/shop", &result, &f), 0);
        ck_assert_int_eq(result.situation, SITUATION_REJECTED_GOOD);
        fake_kube_clear(rig.fake);
        cache_note(rig.deps.cache, "ns/shop", "6", &(struct cache_finding){ .state = 0 });
        ck_assert_int_eq(pass_run(&rig.deps, "ns/shop", &result, &f), 0);
        ck_assert_int_eq(result.requeue, REQUEUE_NEVER);
        ck_assert_uint_eq(fake_kube_count(rig.fake), 0);
        cache_count(rig.deps.cache, &counts);
        ck_assert_uint_eq(counts.states[SITUATION_REJECTED_GOOD], 1);
}
END_TEST

/* One that is done keeps no text: for a Job that still runs it is read again. */
START_TEST(an_object_that_may_not_be_read_is_looked_at_seldom) {
        CLEANUP(rig_done) struct rig rig;
        struct pass_result result;
        struct fault f = FAULT_INIT;

        rig_init(&rig);
        cache_note(rig.deps.cache, "ns/shop", "1", &(struct cache_finding){ .settled = true });
        put(&rig, CACHE_JOB, JOB("j", "5", "1", "{}", "{}"));
        fake_kube_on(rig.fake, "GET " OBJECT_PATH, 403, "{\"kind\":\"Status\",\"message\":\"no\"}");
        ck_assert_int_eq(pass_run(&rig.deps, "ns/shop", &result, &f), 0);
        ck_assert_str_eq(fake_kube_log(rig.fake), "GET " OBJECT_PATH "\n");
        ck_assert_int_eq(result.requeue, REQUEUE_SLOW);
}
END_TEST

/* Kueue and people start Jobs that are suspended. Waiting for one that was started before the
 * ledger named it would be for ever: its name is taken. */
START_TEST(a_job_that_somebody_else_started_is_named) {
        CLEANUP(rig_done) struct rig rig;
        struct pass_result result;
        struct fault f = FAULT_INIT;
        const char *written;

        rig_init(&rig);
        rig.has_run = true;
        rig.takes_status = true;
        fake_kube_on(rig.fake, SECRET, 200, "{\"data\":{\"url\":\"eA==\"}}");
        fake_kube_on(rig.fake, STATUS, 200, OBJECT_OF("7", "{}"));
        ck_assert_int_eq(pass_run(&rig.deps, "ns/shop", &result, &f), 0);
        ck_assert_uint_eq(fake_kube_count(rig.fake), 5);
        written = fake_kube_at(rig.fake, 3)->body;
        ck_assert_ptr_nonnull(strstr(written, "\"result\":\"Starting\""));
        written = fake_kube_at(rig.fake, 4)->body;
        ck_assert_ptr_nonnull(strstr(written, "\"result\":\"Succeeded\""));
        ck_assert_ptr_nonnull(strstr(written, "\"resourceVersion\":\"6\""));
}
END_TEST

#define OWNED "GET /apis/batch/v1/namespaces/ns/jobs?limit=100&fieldSelector=status.successful%3D0"

/* Each object by a list of its own, made after its status was read: a list from before may lack the
 * Job that the Go program made just before its end. */
START_TEST(a_job_of_the_go_program_is_seen_at_once) {
        CLEANUP(rig_done) struct rig rig;
        struct pass_result result;
        struct fault f = FAULT_INIT;

        rig_init(&rig);
        fake_kube_on(rig.fake, OWNED, 200, "{\"items\":[]}");
        fake_kube_on(
                rig.fake, OWNED, 200,
                "{\"items\":[{\"metadata\":{\"namespace\":\"ns\",\"name\":\"go\",\"uid\":\"g\","
                "\"resourceVersion\":\"3\",\"ownerReferences\":[{\"controller\":true,\"uid\":"
                "\"u\"}]}}]}");
        fake_kube_on(rig.fake, SECRET, 404, "{\"kind\":\"Status\"}");
        put(&rig, CACHE_OBJECT, OBJECT_OF("2", MISSING("2026-01-15T08:00:00Z")));
        fake_kube_on(rig.fake, STATUS, 409, "{\"kind\":\"Status\"}");
        ck_assert_int_eq(pass_run(&rig.deps, "ns/shop", &result, &f), 0);
        fake_kube_clear(rig.fake);
        ck_assert_int_eq(pass_run(&rig.deps, "ns/shop", &result, &f), 0);
        ck_assert_str_eq(fake_kube_log(rig.fake), OWNED "\n");
        ck_assert_int_eq(result.requeue, REQUEUE_BACKOFF);
        ck_assert_int_eq(result.situation, SITUATION_NONE);
}
END_TEST

int main(void) {
        Suite *suite = suite_create("pass");
        TCase *tcase = tcase_create("pass");
        SRunner *runner = srunner_create(suite);
        int failed;

        suite_add_tcase(suite, tcase);
        tcase_add_test(tcase, a_state_that_was_entered_is_told_of_once);
        tcase_add_test(tcase, without_a_status_write_there_is_no_event);
        tcase_add_test(tcase, a_pass_ends_in_its_time_however_slow_the_answers_are);
        tcase_add_test(tcase, an_object_that_is_not_there_costs_nothing);
        tcase_add_loop_test(tcase, a_new_run_does_not_wait_for_tidying_up, 0, 3);
        tcase_add_test(tcase, a_job_of_the_go_program_is_seen_at_once);
        tcase_add_test(tcase, what_a_start_waits_for_is_said_at_once);
        tcase_add_test(tcase, a_refusal_for_good_is_counted_and_costs_nothing);
        tcase_add_test(tcase, an_object_that_may_not_be_read_is_looked_at_seldom);
        tcase_add_test(tcase, a_job_that_somebody_else_started_is_named);
        srunner_run_all(runner, CK_NORMAL);
        failed = srunner_ntests_failed(runner);
        srunner_free(runner);
        return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
