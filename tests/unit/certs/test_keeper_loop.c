/* SPDX-License-Identifier: Apache-2.0 */
/* The keeper's thread against a cluster that answers every write in one way. */
#include "certs/keeper_loop.h"

#include <check.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>

#include "common/base/clock.h"
#include "common/base/fault.h"
#include "common/base/log.h"
#include "common/base/random.h"
#include "tests/fake/fake_kube.h"

/* All there is to do in a row, and then some. */
#define MANY 20

static atomic_int writes;
static int answer_http;

/* There is never anything there, whatever was written before. */
static bool answer(void *ctx, const struct kube_request *request, struct kube_response *response,
                   int *ret_result) {
        (void)ctx;
        (void)ret_result;
        if (request->method == KUBE_GET)
                return false; /* 404 */
        fake_kube_reply(response, answer_http, "{\"kind\":\"Status\"}");
        atomic_fetch_add(&writes, 1);
        return true;
}

static void pause_ms(long ms) {
        const struct timespec pause = { .tv_sec = 0, .tv_nsec = ms * 1000000 };

        (void)nanosleep(&pause, NULL);
}

/* Neither what is refused nor what does not stay is written as fast as it goes. */
START_TEST(what_is_of_no_use_is_not_written_at_once_again) {
        static const int answers[] = { 201, 404, 409, 422, 500 };
        static _Atomic int64_t busy_since_ms;
        struct fake_kube *fakes[1 + RENEW_CONFIGURATIONS];
        struct kube kubes[1 + RENEW_CONFIGURATIONS];
        struct keeper_loop_opts opts = {
                .keeper = { .namespace_ = "ops",
                            .service_name = "hook",
                            .cluster_domain = "cluster.local",
                            .serving_secret = "the-cert",
                            .ca_secret = "the-ca",
                            .configurations = { "v", "m" },
                            .ca_lifetime_s = 3600,
                            .leaf_lifetime_s = 3600,
                            .instance = "pod",
                            .clock = clock_system() },
                .random = random_system(),
                .busy_since_ms = &busy_since_ms,
        };
        struct keeper_loop *loop = NULL;
        struct fault f = FAULT_INIT;

        log_init("unit", LOG_ERROR, LOG_FORMAT_JSON);
        answer_http = answers[_i];
        atomic_store(&writes, 0);
        for (size_t i = 0; i < 1 + RENEW_CONFIGURATIONS; i++) {
                fakes[i] = fake_kube_new();
                kubes[i] = fake_kube_client(fakes[i]);
        }
        fake_kube_set_hook(fakes[0], answer, NULL);
        opts.keeper.kube = &kubes[0];
        for (size_t i = 0; i < RENEW_CONFIGURATIONS; i++)
                opts.watches[i] = kubes[1 + i];
        ck_assert_msg(keeper_loop_start(&opts, &loop, &f) == 0, "%s", f.text);
        while (atomic_load(&writes) == 0)
                pause_ms(1);
        pause_ms(200);
        ck_assert_int_lt(atomic_load(&writes), MANY);
        keeper_loop_stop(loop);
        for (size_t i = 0; i < 1 + RENEW_CONFIGURATIONS; i++)
                fake_kube_free(fakes[i]);
}
END_TEST

int main(void) {
        Suite *suite = suite_create("keeper_loop");
        TCase *tcase = tcase_create("keeper_loop");
        SRunner *runner = srunner_create(suite);
        int failed;

        suite_add_tcase(suite, tcase);
        tcase_set_timeout(tcase, 60);
        tcase_add_loop_test(tcase, what_is_of_no_use_is_not_written_at_once_again, 0, 5);
        srunner_run_all(runner, CK_NORMAL);
        failed = srunner_ntests_failed(runner);
        srunner_free(runner);
        return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
