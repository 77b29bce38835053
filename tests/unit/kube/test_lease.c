/* SPDX-License-Identifier: Apache-2.0 */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/fault.h"
#include "common/json/json_get.h"
#include "common/kube/kube.h"
#include "common/kube/lease.h"
#include "tests/unit/alloc_fail.h"

#define WALL_US 1700000000000000

static const struct lease_config config = { .namespace_ = "ns",
                                            .name = "n",
                                            .identity = "me",
                                            .duration_ms = 15000,
                                            .renew_deadline_ms = 10000,
                                            .retry_ms = 2000 };

#define RECORD(holder, renewed)                                                                    \
        "{\"metadata\":{\"name\":\"n\",\"resourceVersion\":\"1\",\"labels\":{\"a\":\"b\"}},"       \
        "\"spec\":{\"holderIdentity\":\"" holder                                                   \
        "\",\"leaseDurationSeconds\":15,\"acquireTime\":\"2020-01-01T00:00:00.000000Z\","          \
        "\"renewTime\":\"" renewed "\",\"leaseTransitions\":4}}"

struct rig {
        struct lease l;
        int64_t now_ms;
        struct lease_step step;
};

static void rig_init(struct rig *rig) {
        *rig = (struct rig){ .now_ms = 1000000 };
        lease_init(&rig->l, &config);
}

static void rig_done(struct rig *rig) {
        lease_done(&rig->l);
}

static void expect(struct rig *rig, enum lease_action action) {
        struct fault f = FAULT_INIT;

        ck_assert_int_eq(lease_next(&rig->l, rig->now_ms, WALL_US, &rig->step, &f), 0);
        ck_assert_int_eq(rig->step.action, action);
}

/* A wait of that length, which then passes. */
static void expect_wait(struct rig *rig, int64_t ms) {
        expect(rig, LEASE_WAIT);
        ck_assert_int_eq(rig->step.wait_ms, ms);
        rig->now_ms += ms;
}

static void answer(struct rig *rig, int result, const char *json) {
        lease_answer(&rig->l, rig->now_ms, result, json, strlen(json), 0);
}

/* The server keeps what the step says. */
static void accept_step(struct rig *rig) {
        CLEANUP(free_p) char *copy = strndup(rig->step.body, rig->step.body_len);

        ck_assert_ptr_nonnull(copy);
        answer(rig, 0, copy);
}

static void expect_spec(const struct rig *rig, const char *holder, const char *acquired,
                        int64_t transitions, int64_t duration_s) {
        CLEANUP(cJSON_Delete_p) cJSON *tree = NULL;

        ck_assert_int_eq(json_parse(rig->step.body, rig->step.body_len, &tree, NULL), 0);
        ck_assert_str_eq(json_string_at(tree, "kind"), "Lease");
        ck_assert_str_eq(json_string_at(tree, "metadata.name"), "n");
        ck_assert_str_eq(json_string_at(tree, "spec.holderIdentity"), holder);
        ck_assert_str_eq(json_string_at(tree, "spec.acquireTime"), acquired);
        ck_assert_str_eq(json_string_at(tree, "spec.renewTime"), "2023-11-14T22:13:20.000000Z");
        ck_assert_int_eq(json_int_at(tree, "spec.leaseTransitions", -1), transitions);
        ck_assert_int_eq(json_int_at(tree, "spec.leaseDurationSeconds", -1), duration_s);
}

#define NOW "2023-11-14T22:13:20.000000Z"
#define OLD "2020-01-01T00:00:00.000000Z"

static void begin_leading(struct rig *rig) {
        expect(rig, LEASE_READ);
        answer(rig, KUBE_E_NOT_FOUND, "");
        expect(rig, LEASE_CREATE);
        ck_assert_int_eq(lease_deadline_ms(&rig->l), 0);
        accept_step(rig);
        ck_assert(rig->l.leading);
        ck_assert_int_eq(lease_deadline_ms(&rig->l), rig->now_ms + 10000);
}

START_TEST(creates_renews_and_keeps_its_time) {
        CLEANUP(rig_done) struct rig rig;

        rig_init(&rig);
        expect(&rig, LEASE_READ);
        ck_assert_int_eq(rig.step.timeout_ms, 5000);
        answer(&rig, KUBE_E_NOT_FOUND, "");
        expect(&rig, LEASE_CREATE);
        expect_spec(&rig, "me", NOW, 0, 15);
        ck_assert_ptr_nonnull(strstr(rig.step.body, "\"namespace\":\"ns\""));
        accept_step(&rig);
        for (int i = 0; i < 5; i++) {
                expect_wait(&rig, 2000);
                expect(&rig, LEASE_UPDATE); /* without a read */
                expect_spec(&rig, "me", NOW, 0, 15);
                rig.now_ms += 300;
                accept_step(&rig);
                /* From when it was sent, not from when the answer came. */
                ck_assert_int_eq(lease_deadline_ms(&rig.l), rig.now_ms - 300 + 10000);
                rig.now_ms -= 300;
        }
}
END_TEST

START_TEST(takes_an_expired_lease_by_its_own_clock) {
        CLEANUP(rig_done) struct rig rig;

        rig_init(&rig);
        /* Times in the record are years old and mean nothing. */
        expect(&rig, LEASE_READ);
        answer(&rig, 0, RECORD("other", OLD));
        for (int64_t waited = 500; waited < 15000; waited += 500) {
                expect_wait(&rig, 500);
                expect(&rig, LEASE_READ);
                answer(&rig, 0, RECORD("other", OLD));
        }
        expect_wait(&rig, 500);
        expect(&rig, LEASE_READ);
        answer(&rig, 0, RECORD("other", OLD));
        expect(&rig, LEASE_UPDATE);
        expect_spec(&rig, "me", NOW, 5, 15);
        /* What is not ours goes back as it came. */
        ck_assert_ptr_nonnull(strstr(rig.step.body, "\"resourceVersion\":\"1\",\"labels\":"
                                                    "{\"a\":\"b\"}"));
        accept_step(&rig);
        ck_assert(rig.l.leading);
}
END_TEST

START_TEST(waits_as_long_as_the_record_changes) {
        CLEANUP(rig_done) struct rig rig;

        rig_init(&rig);
        for (int i = 0; i < 100; i++) {
                expect(&rig, LEASE_READ);
                answer(&rig, 0, i % 2 ? RECORD("other", "a") : RECORD("other", "b"));
                expect_wait(&rig, 500);
        }
}
END_TEST

START_TEST(looks_at_the_moment_of_expiry) {
        CLEANUP(rig_done) struct rig rig;

        rig_init(&rig);
        expect(&rig, LEASE_READ);
        answer(&rig, 0, RECORD("other", OLD));
        rig.now_ms += 14800;
        expect(&rig, LEASE_READ);
        answer(&rig, 0, RECORD("other", OLD));
        expect_wait(&rig, 200);
        expect(&rig, LEASE_READ);
        answer(&rig, 0, RECORD("other", OLD));
        expect(&rig, LEASE_UPDATE);
}
END_TEST

START_TEST(spreads_attempts_of_candidates) {
        CLEANUP(rig_done) struct rig rig;

        rig_init(&rig);
        expect(&rig, LEASE_READ);
        lease_answer(&rig.l, rig.now_ms, -FAULT_IO, "", 0, 2400);
        expect_wait(&rig, 4400);
        expect(&rig, LEASE_READ);
        lease_answer(&rig.l, rig.now_ms, -FAULT_IO, "", 0, UINT32_MAX);
        expect(&rig, LEASE_WAIT);
        ck_assert_int_ge(rig.step.wait_ms, 2000);
        ck_assert_int_le(rig.step.wait_ms, 4400);
}
END_TEST

START_TEST(takes_what_was_given_back_at_once) {
        CLEANUP(rig_done) struct rig rig;

        rig_init(&rig);
        expect(&rig, LEASE_READ);
        answer(&rig, 0,
               "{\"metadata\":{\"name\":\"n\"},\"spec\":{\"leaseDurationSeconds\":1,"
               "\"leaseTransitions\":4}}");
        expect(&rig, LEASE_UPDATE);
        expect_spec(&rig, "me", NOW, 5, 15);
}
END_TEST

START_TEST(goes_on_with_a_lease_that_is_its_own) {
        CLEANUP(rig_done) struct rig rig;

        rig_init(&rig);
        expect(&rig, LEASE_READ);
        answer(&rig, 0, RECORD("me", OLD));
        expect(&rig, LEASE_UPDATE);
        expect_spec(&rig, "me", OLD, 4, 15);
}
END_TEST

START_TEST(loses_a_race) {
        CLEANUP(rig_done) struct rig rig;

        rig_init(&rig);
        expect(&rig, LEASE_READ);
        answer(&rig, KUBE_E_NOT_FOUND, "");
        expect(&rig, LEASE_CREATE);
        answer(&rig, KUBE_E_CONFLICT, "");
        ck_assert(!rig.l.leading);
        expect_wait(&rig, 2000);
        expect(&rig, LEASE_READ);
}
END_TEST

START_TEST(looks_at_once_when_a_renewal_meets_a_change) {
        CLEANUP(rig_done) struct rig rig;

        rig_init(&rig);
        begin_leading(&rig);
        expect_wait(&rig, 2000);
        expect(&rig, LEASE_UPDATE);
        answer(&rig, KUBE_E_CONFLICT, "");
        expect(&rig, LEASE_READ);
        answer(&rig, 0, RECORD("me", OLD)); /* somebody set a label */
        expect(&rig, LEASE_UPDATE);
        answer(&rig, KUBE_E_CONFLICT, "");
        expect_wait(&rig, 2000); /* not in a loop */
        expect(&rig, LEASE_READ);
        answer(&rig, 0, RECORD("me", OLD));
        expect(&rig, LEASE_UPDATE);
        accept_step(&rig);
        ck_assert_int_eq(lease_deadline_ms(&rig.l), rig.now_ms + 10000);
}
END_TEST

START_TEST(has_lost_when_another_holds_it) {
        CLEANUP(rig_done) struct rig rig;

        rig_init(&rig);
        begin_leading(&rig);
        expect_wait(&rig, 2000);
        expect(&rig, LEASE_UPDATE);
        answer(&rig, KUBE_E_CONFLICT, "");
        expect(&rig, LEASE_READ);
        answer(&rig, 0, RECORD("other", OLD));
        ck_assert_int_eq(lease_deadline_ms(&rig.l), 0);
        expect(&rig, LEASE_LOST);
        expect(&rig, LEASE_LOST);
}
END_TEST

START_TEST(has_lost_when_the_lease_was_deleted) {
        CLEANUP(rig_done) struct rig rig;

        rig_init(&rig);
        begin_leading(&rig);
        expect_wait(&rig, 2000);
        expect(&rig, LEASE_UPDATE);
        answer(&rig, KUBE_E_NOT_FOUND, "");
        expect(&rig, LEASE_READ);
        answer(&rig, KUBE_E_NOT_FOUND, "");
        expect(&rig, LEASE_LOST);
}
END_TEST

START_TEST(has_lost_at_the_renew_deadline) {
        CLEANUP(rig_done) struct rig rig;
        int64_t begun_ms;

        rig_init(&rig);
        begun_ms = rig.now_ms;
        begin_leading(&rig);
        for (;;) {
                struct fault f = FAULT_INIT;

                ck_assert_int_eq(lease_next(&rig.l, rig.now_ms, WALL_US, &rig.step, &f), 0);
                if (rig.step.action == LEASE_LOST)
                        break;
                if (rig.step.action == LEASE_WAIT) {
                        rig.now_ms += rig.step.wait_ms;
                } else {
                        ck_assert_int_le(rig.now_ms + rig.step.timeout_ms, begun_ms + 10000);
                        rig.now_ms += rig.step.timeout_ms;
                        answer(&rig, -FAULT_IO, "");
                }
                ck_assert_int_le(rig.now_ms, begun_ms + 10000);
        }
        ck_assert_int_eq(rig.now_ms, begun_ms + 10000);
}
END_TEST

START_TEST(has_lost_after_a_long_sleep_even_if_the_renewal_succeeds) {
        CLEANUP(rig_done) struct rig rig;

        rig_init(&rig);
        begin_leading(&rig);
        expect_wait(&rig, 2000);
        expect(&rig, LEASE_UPDATE);
        rig.now_ms += 30000;
        accept_step(&rig);
        expect(&rig, LEASE_LOST);
}
END_TEST

START_TEST(gives_it_back) {
        CLEANUP(rig_done) struct rig rig;

        rig_init(&rig);
        begin_leading(&rig);
        rig.now_ms += 500;
        ck_assert_int_eq(lease_release(&rig.l, rig.now_ms, WALL_US, &rig.step, NULL), 0);
        ck_assert_int_eq(rig.step.action, LEASE_UPDATE);
        expect_spec(&rig, "", NOW, 0, 1);
        ck_assert_ptr_null(strstr(rig.step.body, "holderIdentity"));
}
END_TEST

START_TEST(has_nothing_to_give_back) {
        CLEANUP(rig_done) struct rig rig;
        CLEANUP(rig_done) struct rig late;

        rig_init(&rig);
        ck_assert_int_eq(lease_release(&rig.l, rig.now_ms, WALL_US, &rig.step, NULL), 0);
        ck_assert_int_eq(rig.step.action, LEASE_LOST);
        rig_init(&late);
        begin_leading(&late);
        late.now_ms += 10000; /* it may be another's by now */
        ck_assert_int_eq(lease_release(&late.l, late.now_ms, WALL_US, &late.step, NULL), 0);
        ck_assert_int_eq(late.step.action, LEASE_LOST);
}
END_TEST

static const char *const bad_records[] = {
        "",
        "[]",
        "{\"metadata\":{},\"spec\":[]}",
        "{\"metadata\":[],\"spec\":{}}",
        "{\"spec\":{}}",
        "{\"metadata\":{}}",
        "{\"metadata\":{},\"spec\":{\"holderIdentity\":\"a\",\"holderIdentity\":\"b\"}}",
        "{\"metadata\":{},\"spec\":{",
};

START_TEST(does_not_act_on_what_it_cannot_understand) {
        CLEANUP(rig_done) struct rig rig;

        rig_init(&rig);
        expect(&rig, LEASE_READ);
        answer(&rig, 0, bad_records[_i]);
        expect_wait(&rig, 2000);
        expect(&rig, LEASE_READ);
}
END_TEST

START_TEST(gives_a_record_without_a_term_its_own) {
        CLEANUP(rig_done) struct rig rig;
        static const char record[] =
                "{\"metadata\":{},\"spec\":{\"holderIdentity\":\"other\",\"leaseDurationSeconds\":-1}}";

        rig_init(&rig);
        expect(&rig, LEASE_READ);
        answer(&rig, 0, record);
        rig.now_ms += 14999;
        expect(&rig, LEASE_READ);
        answer(&rig, 0, record);
        rig.now_ms += 2000;
        expect(&rig, LEASE_READ);
        answer(&rig, 0, record);
        expect(&rig, LEASE_UPDATE);
}
END_TEST

/* Whatever fails, it neither leads without a record nor forgets to stop. */
START_TEST(survives_want_of_memory) {
        for (size_t n = 1;; n++) {
                CLEANUP(rig_done) struct rig rig;
                struct fault f = FAULT_INIT;
                int r;

                rig_init(&rig);
                expect(&rig, LEASE_READ);
                alloc_fail_arm(n);
                answer(&rig, 0, RECORD("me", OLD));
                r = lease_next(&rig.l, rig.now_ms, WALL_US, &rig.step, &f);
                if (!alloc_fail_disarm())
                        break;
                ck_assert(r == -FAULT_NOMEM || rig.step.action == LEASE_WAIT);
                ck_assert_int_eq(lease_deadline_ms(&rig.l), 0);
        }
}
END_TEST

struct settings {
        const char *name;
        int64_t duration_ms, renew_deadline_ms, retry_ms;
        int result;
};

static const struct settings settings[] = {
        { "the default", 15000, 10000, 2000, 0 },
        { "equal duration and deadline", 10000, 10000, 2000, -FAULT_INVALID },
        { "equal deadline and 1.2 retries", 15000, 2400, 2000, -FAULT_INVALID },
        { "a little more", 15000, 2401, 2000, 0 },
        { "no retry", 15000, 10000, 0, -FAULT_INVALID },
        { "a part of a second", 15500, 10000, 2000, -FAULT_INVALID },
};

START_TEST(checks_settings) {
        const struct settings *s = &settings[_i];
        const struct lease_config c = { "ns",       "n", "me", s->duration_ms, s->renew_deadline_ms,
                                        s->retry_ms };
        struct fault f = FAULT_INIT;

        ck_assert_msg(lease_config_check(&c, &f) == s->result, "%s", s->name);
}
END_TEST

/* A server with one Lease, and candidates whose requests are slow, lost, or answered late, and who
 * sleep. Virtual time, by a seed. */
#define ACTORS 3

struct actor {
        struct lease l;
        struct lease_config config;
        struct lease_step step;
        int64_t wakes_ms;
        int phase; /* 0: asks; 1: its request reaches the server; 2: its answer comes */
        int result;
        char answer[1024];
};

struct world {
        uint64_t seed;
        int64_t now_ms;
        char record[1024]; /* "" while there is none */
        uint64_t version;
        struct actor actors[ACTORS];
        unsigned takeovers;
        int leader; /* who led last */
};

static uint32_t chance(struct world *w) {
        w->seed = w->seed * 6364136223846793005U + 1442695040888963407U;
        return (uint32_t)(w->seed >> 33);
}

/* Keeps the step's record under a new version. */
static void server_store(struct world *w, const struct actor *a) {
        CLEANUP(cJSON_Delete_p) cJSON *tree = NULL;
        const char *spec = strstr(a->step.body, "\"spec\":");

        ck_assert_ptr_nonnull(spec);
        (void)snprintf(w->record, sizeof(w->record),
                       "{\"metadata\":{\"name\":\"n\",\"resourceVersion\":\"%llu\"},%.*s",
                       (unsigned long long)++w->version,
                       (int)(a->step.body_len - (size_t)(spec - a->step.body)), spec);
        ck_assert_int_eq(json_parse(w->record, strlen(w->record), &tree, NULL), 0);
}

static int server_serve(struct world *w, const struct actor *a) {
        char version[64];

        if (a->step.action == LEASE_READ)
                return w->record[0] ? 0 : KUBE_E_NOT_FOUND;
        (void)snprintf(version, sizeof(version), "\"resourceVersion\":\"%llu\"",
                       (unsigned long long)w->version);
        if (a->step.action == LEASE_CREATE ? w->record[0] != '\0' : !strstr(a->step.body, version))
                return KUBE_E_CONFLICT;
        server_store(w, a);
        return 0;
}

static void actor_act(struct world *w, struct actor *a) {
        int64_t delay_ms = chance(w) % 8 == 0 ? chance(w) % 6000 : chance(w) % 50;

        if (chance(w) % 200 == 0)
                delay_ms += chance(w) % 40000; /* it is stopped, or sleeps */
        if (a->phase == 0) {
                ck_assert_int_eq(lease_next(&a->l, w->now_ms, w->now_ms * 1000, &a->step, NULL), 0);
                if (a->step.action == LEASE_LOST) { /* a new process */
                        lease_done(&a->l);
                        lease_init(&a->l, &a->config);
                        delay_ms = 1000;
                } else if (a->step.action == LEASE_WAIT) {
                        delay_ms = a->step.wait_ms;
                } else {
                        a->phase = 1;
                }
        } else if (a->phase == 1) {
                a->result = chance(w) % 10 ? server_serve(w, a) : -FAULT_IO;
                (void)snprintf(a->answer, sizeof(a->answer), "%s", w->record);
                if (chance(w) % 10 == 0)
                        a->result = -FAULT_IO; /* done, but the answer is lost */
                a->phase = 2;
        } else {
                lease_answer(&a->l, w->now_ms, a->result, a->answer, strlen(a->answer), chance(w));
                a->phase = 0;
        }
        a->wakes_ms = w->now_ms + delay_ms;
}

static void world_check(struct world *w) {
        int leaders = 0;

        for (int i = 0; i < ACTORS; i++) {
                if (lease_deadline_ms(&w->actors[i].l) <= w->now_ms)
                        continue;
                leaders++;
                w->takeovers += w->leader != i;
                w->leader = i;
        }
        ck_assert_msg(leaders <= 1, "%d leaders at %lld", leaders, (long long)w->now_ms);
}

START_TEST(never_has_two_leaders) {
        static const char *const identities[ACTORS] = { "a", "b", "c" };
        struct world w = { .seed = (uint64_t)_i * 7919 + 1, .leader = -1 };

        for (int i = 0; i < ACTORS; i++) {
                w.actors[i].config = config;
                w.actors[i].config.identity = identities[i];
                lease_init(&w.actors[i].l, &w.actors[i].config);
                w.actors[i].wakes_ms = chance(&w) % 5000;
        }
        while (w.now_ms < 3600000) {
                struct actor *next = &w.actors[0];

                for (int i = 1; i < ACTORS; i++) {
                        if (w.actors[i].wakes_ms < next->wakes_ms)
                                next = &w.actors[i];
                }
                w.now_ms = next->wakes_ms;
                actor_act(&w, next);
                world_check(&w);
        }
        /* It is no proof if nobody ever led or changed. */
        ck_assert_uint_gt(w.takeovers, 3);
        for (int i = 0; i < ACTORS; i++)
                lease_done(&w.actors[i].l);
}
END_TEST

#define COUNT(array) ((int)(sizeof(array) / sizeof((array)[0])))

int main(void) {
        Suite *suite = suite_create("lease");
        TCase *tc = tcase_create("lease");
        SRunner *runner = srunner_create(suite);
        int failed;

        tcase_add_test(tc, creates_renews_and_keeps_its_time);
        tcase_add_test(tc, takes_an_expired_lease_by_its_own_clock);
        tcase_add_test(tc, waits_as_long_as_the_record_changes);
        tcase_add_test(tc, looks_at_the_moment_of_expiry);
        tcase_add_test(tc, spreads_attempts_of_candidates);
        tcase_add_test(tc, takes_what_was_given_back_at_once);
        tcase_add_test(tc, goes_on_with_a_lease_that_is_its_own);
        tcase_add_test(tc, loses_a_race);
        tcase_add_test(tc, looks_at_once_when_a_renewal_meets_a_change);
        tcase_add_test(tc, has_lost_when_another_holds_it);
        tcase_add_test(tc, has_lost_when_the_lease_was_deleted);
        tcase_add_test(tc, has_lost_at_the_renew_deadline);
        tcase_add_test(tc, has_lost_after_a_long_sleep_even_if_the_renewal_succeeds);
        tcase_add_test(tc, gives_it_back);
        tcase_add_test(tc, has_nothing_to_give_back);
        tcase_add_loop_test(tc, does_not_act_on_what_it_cannot_understand, 0, COUNT(bad_records));
        tcase_add_test(tc, gives_a_record_without_a_term_its_own);
        tcase_add_test(tc, survives_want_of_memory);
        tcase_add_loop_test(tc, checks_settings, 0, COUNT(settings));
        tcase_add_loop_test(tc, never_has_two_leaders, 0, 20);
        suite_add_tcase(suite, tc);
        srunner_run_all(runner, CK_ENV);
        failed = srunner_ntests_failed(runner);
        srunner_free(runner);
        return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
