/* SPDX-License-Identifier: Apache-2.0 */
#include <check.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/clock.h"
#include "common/base/fault.h"
#include "common/base/log.h"
#include "common/base/random.h"
#include "common/kube/leader.h"
#include "tests/fake/fake_kube.h"

#define LEASES "/apis/coordination.k8s.io/v1/namespaces/ns/leases"

/* A leader in its thread; the fake server keeps one Lease. */
struct rig {
        struct fake_kube *fake;
        struct leader *leader;
        pthread_t thread;
        char record[2048]; /* of the thread, as the fake is */
        atomic_bool stolen;
        atomic_int led;
        int result;
};

static bool on_request(void *ctx, const struct kube_request *request,
                       struct kube_response *response, int *ret_result) {
        struct rig *rig = ctx;

        *ret_result = 0;
        if (atomic_load(&rig->stolen) && request->method == KUBE_PUT)
                fake_kube_reply(response, 409, "{}");
        else if (atomic_load(&rig->stolen))
                fake_kube_reply(response, 200,
                                "{\"metadata\":{},\"spec\":{\"holderIdentity\":\"other\"}}");
        else if (!rig->record[0] && request->method == KUBE_GET)
                return false;
        if (response->http)
                return true;
        if (request->method != KUBE_GET)
                (void)snprintf(rig->record, sizeof(rig->record), "%s", request->body);
        fake_kube_reply(response, 200, rig->record);
        return true;
}

static void on_leading(void *ctx) {
        struct rig *rig = ctx;

        atomic_fetch_add(&rig->led, 1);
}

static void *run(void *arg) {
        struct rig *rig = arg;

        rig->result = leader_run(rig->leader);
        return NULL;
}

static void rig_init(struct rig *rig) {
        struct leader_opts opts = {
                .lease = { .namespace_ = "ns",
                           .name = "n",
                           .identity = "me",
                           .duration_ms = 60000,
                           .renew_deadline_ms = 40000,
                           .retry_ms = 50 },
                .field_manager = "unit",
                .clock = clock_system(),
                .random = random_system(),
                .leading = on_leading,
                .ctx = rig,
        };
        struct fault f = FAULT_INIT;

        *rig = (struct rig){ .fake = fake_kube_new() };
        log_init("test", LOG_ERROR, LOG_FORMAT_JSON);
        fake_kube_set_hook(rig->fake, on_request, rig);
        opts.kube = fake_kube_client(rig->fake);
        ck_assert_int_eq(leader_new(&opts, &rig->leader, &f), 0);
        ck_assert_int_eq(leader_write_deadline_ms(rig->leader), 0);
        ck_assert_int_eq(pthread_create(&rig->thread, NULL, run, rig), 0);
        while (!atomic_load(&rig->led))
                (void)usleep(1000);
}

static void rig_done(struct rig *rig) {
        leader_free(rig->leader);
        fake_kube_free(rig->fake);
}

START_TEST(leads_until_it_gives_the_lease_back) {
        CLEANUP(rig_done) struct rig rig;
        int64_t first_ms;

        rig_init(&rig);
        first_ms = leader_write_deadline_ms(rig.leader);
        ck_assert_int_gt(first_ms, clock_boot_ms(clock_system()));
        while (leader_write_deadline_ms(rig.leader) == first_ms)
                (void)usleep(1000);
        ck_assert_int_gt(leader_write_deadline_ms(rig.leader), first_ms);
        leader_stop(rig.leader);
        ck_assert_int_eq(pthread_join(rig.thread, NULL), 0);
        ck_assert_int_eq(rig.result, 0);
        ck_assert_int_eq(rig.led, 1);
        ck_assert_int_eq(leader_write_deadline_ms(rig.leader), 0);
        ck_assert_ptr_null(strstr(rig.record, "holderIdentity"));
        ck_assert_ptr_eq(strstr(fake_kube_log(rig.fake),
                                "GET " LEASES "/n\nPOST " LEASES "?fieldManager=unit\nPUT " LEASES
                                "/n?fieldManager=unit\n"),
                         fake_kube_log(rig.fake));
}
END_TEST

START_TEST(ends_when_another_leads) {
        CLEANUP(rig_done) struct rig rig;

        rig_init(&rig);
        atomic_store(&rig.stolen, true);
        ck_assert_int_eq(pthread_join(rig.thread, NULL), 0);
        ck_assert_int_eq(rig.result, LEADER_E_LOST);
        ck_assert_int_eq(leader_write_deadline_ms(rig.leader), 0);
}
END_TEST

START_TEST(refuses_settings_that_could_make_two_leaders) {
        CLEANUP(fake_kube_free_p) struct fake_kube *fake = fake_kube_new();
        struct leader_opts opts = { .kube = fake_kube_client(fake),
                                    .lease = { "ns", "n", "me", 1000, 1000, 100 } };
        struct leader *leader = NULL;
        struct fault f = FAULT_INIT;

        ck_assert_int_eq(leader_new(&opts, &leader, &f), -FAULT_INVALID);
        ck_assert_ptr_null(leader);
}
END_TEST

int main(void) {
        Suite *suite = suite_create("leader");
        TCase *tc = tcase_create("leader");
        SRunner *runner = srunner_create(suite);
        int failed;

        tcase_set_timeout(tc, 60);
        tcase_add_test(tc, leads_until_it_gives_the_lease_back);
        tcase_add_test(tc, ends_when_another_leads);
        tcase_add_test(tc, refuses_settings_that_could_make_two_leaders);
        suite_add_tcase(suite, tc);
        srunner_run_all(runner, CK_ENV);
        failed = srunner_ntests_failed(runner);
        srunner_free(runner);
        return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
