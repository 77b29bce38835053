/* SPDX-License-Identifier: Apache-2.0 */
/* The thread of the election, over a server that grants every Lease. */
#include "reconciler/election.h"

#include <check.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "common/base/fault.h"
#include "common/base/metrics.h"
#include "common/base/random.h"
#include "common/kube/kube_config.h"
#include "tests/fake/fake_server.h"

#define RENEW_MS 10000

struct rig {
        struct fake_server *server;
        struct kube_config config;
        struct clock clock;
        struct metrics *metrics;
        struct series *gauge;
        struct election *election;
        _Atomic int64_t ahead_ms; /* of the boot clock */
        atomic_uint leading, writes;
        char written[4096]; /* the last write */
};

static int64_t mono_us(void *ctx) {
        (void)ctx;
        return clock_mono_us(clock_system());
}

static int64_t boot_ms(void *ctx) {
        struct rig *rig = ctx;

        return clock_boot_ms(clock_system()) + atomic_load(&rig->ahead_ms);
}

static int64_t wall_us(void *ctx) {
        (void)ctx;
        return clock_wall_us(clock_system());
}

/* What is written is what is then there. */
static void serve(void *ctx, struct fake_conn *conn) {
        struct rig *rig = ctx;
        struct fake_request request;

        while (fake_read(conn, &request)) {
                if (strncmp(request.head, "GET ", 4) == 0) {
                        fake_answer(conn, "404 Not Found", "",
                                    "{\"kind\":\"Status\",\"reason\":\"NotFound\"}");
                        continue;
                }
                (void)snprintf(rig->written, sizeof(rig->written), "%.4000s", request.body);
                atomic_fetch_add(&rig->writes, 1);
                fake_answer(conn, "200 OK", "", request.body);
        }
}

static void on_leading(void *ctx) {
        struct rig *rig = ctx;

        atomic_fetch_add(&rig->leading, 1);
}

static void rig_start(struct rig *rig) {
        static const struct metric_spec spec = { .name = "g", .help = "h", .type = METRIC_GAUGE };
        static const char *const none[] = { NULL };
        struct election_opts opts = {
                .kube = { .config = &rig->config,
                          .program = "tests",
                          .component = "unit",
                          .clock = &rig->clock,
                          .random = random_system() },
                .namespace_ = "ns",
                .name = "the-lease",
                .instance = "pod",
                .duration_ms = 15000,
                .renew_ms = RENEW_MS,
                .retry_ms = 8000, /* the thread sleeps while the clock is ahead */
                .leading = on_leading,
                .ctx = rig,
        };

        rig->clock = (struct clock){ mono_us, boot_ms, wall_us, rig };
        rig->server = fake_server_new(serve, rig);
        rig->config.server = strdup(fake_server_url(rig->server));
        rig->config.ca.data = strdup(fake_server_ca(rig->server));
        rig->config.ca.len = strlen(rig->config.ca.data);
        rig->metrics = metrics_new();
        rig->gauge = metric_series(metric_add_spec(rig->metrics, &spec), none);
        opts.leading_gauge = rig->gauge;
        ck_assert_int_eq(election_new(&opts, &rig->election, NULL), 0);
        ck_assert_int_eq(election_start(rig->election, NULL), 0);
        while (atomic_load(&rig->leading) == 0)
                (void)usleep(10000);
}

/* Of the thread of the server, until it has counted it. */
static const char *last_write(struct rig *rig) {
        ck_assert_uint_gt(atomic_load(&rig->writes), 0);
        return rig->written;
}

static void rig_done(struct rig *rig) {
        election_free(rig->election);
        fake_server_free(rig->server);
        kube_config_done(&rig->config);
        metrics_free(rig->metrics);
}

START_TEST(leads_and_gives_back) {
        CLEANUP(rig_done) struct rig rig = { .server = NULL };

        rig_start(&rig);
        ck_assert_int_eq((int)series_value(rig.gauge), 1);
        ck_assert_ptr_nonnull(strstr(last_write(&rig), "\"holderIdentity\":\"pod_"));
        ck_assert_int_gt(election_write_deadline_ms(rig.election), boot_ms(&rig));
        ck_assert_int_le(election_write_deadline_ms(rig.election), boot_ms(&rig) + RENEW_MS);
        ck_assert_int_eq(election_check(rig.election, NULL), 0);
        election_stop(rig.election);
        ck_assert_int_eq((int)series_value(rig.gauge), 0);
        ck_assert_int_eq(election_write_deadline_ms(rig.election), 0);
        ck_assert_ptr_null(strstr(last_write(&rig), "holderIdentity"));
        ck_assert_int_eq(election_check(rig.election, NULL), 0);
}
END_TEST

/* Its thread does not see that its time is over: the kubelet has to end the process. */
START_TEST(is_not_alive_long_after_its_deadline) {
        CLEANUP(rig_done) struct rig rig = { .server = NULL };
        struct fault f = FAULT_INIT;

        rig_start(&rig);
        atomic_store(&rig.ahead_ms, RENEW_MS + 1000);
        ck_assert_int_lt(election_write_deadline_ms(rig.election), boot_ms(&rig));
        ck_assert_int_eq(election_check(rig.election, &f), 0); /* it is about to end */
        atomic_store(&rig.ahead_ms, RENEW_MS + 25000);
        ck_assert_int_eq(election_check(rig.election, &f), -FAULT_BUG);
        ck_assert_str_eq(f.text, "leadership was lost long ago");
        atomic_store(&rig.ahead_ms, 0);
}
END_TEST

int main(void) {
        Suite *suite = suite_create("election");
        TCase *tc = tcase_create("election");
        SRunner *runner = srunner_create(suite);
        int failed;

        tcase_set_timeout(tc, 60);
        tcase_add_test(tc, leads_and_gives_back);
        tcase_add_test(tc, is_not_alive_long_after_its_deadline);
        suite_add_tcase(suite, tc);
        srunner_run_all(runner, CK_ENV);
        failed = srunner_ntests_failed(runner);
        srunner_free(runner);
        return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
