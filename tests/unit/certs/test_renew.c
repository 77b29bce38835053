/* SPDX-License-Identifier: Apache-2.0 */
#include "certs/renew.h"

#include <check.h>
#include <stdlib.h>

/* Lives of 600 s, 60 s of propagation: due 400 s after the making. */
struct row {
        const char *name;
        struct renew_pair ca, serving;
        bool has_old;
        int64_t now_s;
        enum renew_bundle bundles[RENEW_CONFIGURATIONS];
        /* expected */
        enum renew_action action;
        int which;
        int64_t again_s;
};

#define GOOD(at)                                                                                   \
        { RENEW_GOOD, at, (at) + 600 }
#define BY_OLD(at)                                                                                 \
        { RENEW_BY_OLD, at, (at) + 600 }
#define OURS                                                                                       \
        { RENEW_OUR_BUNDLE, RENEW_OUR_BUNDLE }

static const struct row rows[] = {
        { "nothing there: the CA first", .now_s = 0, .action = RENEW_WRITE_CA },
        { "a broken CA is made anew", { RENEW_BROKEN }, GOOD(0), .action = RENEW_WRITE_CA },
        { "the bundle before the serving certificate", GOOD(0),
          .bundles = { RENEW_OUR_BUNDLE, RENEW_OTHER_BUNDLE }, .action = RENEW_PATCH_BUNDLE,
          .which = 1 },
        { "… of both", GOOD(0), .bundles = { RENEW_OTHER_BUNDLE, RENEW_OTHER_BUNDLE },
          .action = RENEW_PATCH_BUNDLE },
        { "no configuration is no reason to wait", GOOD(0),
          .bundles = { RENEW_NO_CONFIGURATION, RENEW_NO_CONFIGURATION },
          .action = RENEW_WRITE_SERVING },
        { "the first serving certificate does not wait", GOOD(0), .now_s = 1, .bundles = OURS,
          .action = RENEW_WRITE_SERVING },
        { "a broken one neither",
          GOOD(0),
          { RENEW_BROKEN },
          .now_s = 1,
          .bundles = OURS,
          .action = RENEW_WRITE_SERVING },
        { "all good: wait for what is due first", GOOD(0), GOOD(100), .now_s = 200, .bundles = OURS,
          .again_s = 200 },
        { "… that may be the serving certificate", GOOD(100), GOOD(0), .now_s = 200,
          .bundles = OURS, .again_s = 200 },
        { "an emptied bundle is filled in again", GOOD(0), GOOD(0), .now_s = 10,
          .bundles = { RENEW_OTHER_BUNDLE, RENEW_OUR_BUNDLE }, .action = RENEW_PATCH_BUNDLE },
        { "not yet due", GOOD(100), GOOD(0), .now_s = 399, .bundles = OURS, .again_s = 1 },
        { "due: by the same CA", GOOD(100), GOOD(0), .now_s = 400, .bundles = OURS,
          .action = RENEW_WRITE_SERVING },
        { "the CA is due", GOOD(0), GOOD(100), .now_s = 400, .bundles = OURS,
          .action = RENEW_WRITE_CA },
        { "a new CA: the serving certificate waits until it is known", GOOD(400), BY_OLD(100),
          .has_old = true, .now_s = 401, .bundles = OURS, .again_s = 59 },
        { "… although it is due itself", GOOD(400), BY_OLD(0), .has_old = true, .now_s = 459,
          .bundles = OURS, .again_s = 1 },
        { "… but not when it has expired", GOOD(600), BY_OLD(0), .has_old = true, .now_s = 601,
          .bundles = OURS, .action = RENEW_WRITE_SERVING },
        { "now it is known", GOOD(400), BY_OLD(100), .has_old = true, .now_s = 460, .bundles = OURS,
          .action = RENEW_WRITE_SERVING },
        { "the old CA is trusted until all serve the new certificate", GOOD(400), GOOD(460),
          .has_old = true, .now_s = 519, .bundles = OURS, .again_s = 1 },
        { "… and no longer", GOOD(400), GOOD(460), .has_old = true, .now_s = 520, .bundles = OURS,
          .action = RENEW_DROP_OLD },
        { "no second replacement before the first has ended", GOOD(0), GOOD(390), .has_old = true,
          .now_s = 449, .bundles = OURS, .again_s = 1 },
        { "an expired CA is replaced in any case", GOOD(0), BY_OLD(0), .has_old = true,
          .now_s = 600, .bundles = OURS, .action = RENEW_WRITE_CA },
        { "a clock that went back waits", GOOD(400), GOOD(460), .has_old = true, .now_s = 100,
          .bundles = OURS, .again_s = 420 },
};

START_TEST(decides) {
        const struct row *row = &rows[_i];
        struct renew_input in = {
                .ca = row->ca,
                .serving = row->serving,
                .has_old = row->has_old,
                .bundles = { row->bundles[0], row->bundles[1] },
                .now_s = row->now_s,
                .propagation_s = 60,
        };
        struct renew_step step = renew_decide(&in);

        ck_assert_msg(step.action == row->action, "%s: action %d, not %d", row->name, step.action,
                      row->action);
        ck_assert_msg(step.which == row->which, "%s: configuration %d", row->name, step.which);
        ck_assert_msg(step.again_s == row->again_s, "%s: again in %lld s, not %lld", row->name,
                      (long long)step.again_s, (long long)row->again_s);
}
END_TEST

START_TEST(tells_who_is_late) {
        const struct renew_pair pair = GOOD(0), none = { RENEW_BROKEN };

        ck_assert(!renew_is_late(&pair, 524));
        ck_assert(renew_is_late(&pair, 525));
        ck_assert(!renew_is_late(&none, 525));
}
END_TEST

int main(void) {
        Suite *suite = suite_create("renew");
        TCase *tcase = tcase_create("renew");
        SRunner *runner = srunner_create(suite);
        int failed;

        suite_add_tcase(suite, tcase);
        tcase_add_loop_test(tcase, decides, 0, (int)(sizeof(rows) / sizeof(rows[0])));
        tcase_add_test(tcase, tells_who_is_late);
        srunner_run_all(runner, CK_NORMAL);
        failed = srunner_ntests_failed(runner);
        srunner_free(runner);
        return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
