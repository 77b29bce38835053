/* SPDX-License-Identifier: Apache-2.0 */
/* How an object stands, by the table of the status in the documentation. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "common/api/dbupgrade.h"
#include "common/base/arena.h"
#include "common/base/fault.h"
#include "common/base/strbuf.h"
#include "kubectl-dbu/advice.h"
#include "kubectl-dbu/verdict.h"

struct row {
        const char *name;
        const char *metadata; /* more of it */
        const char *status; /* but for the conditions; observedGeneration is 2 unless it is here */
        /* "Type/Reason": True; for another generation than 2: "Type/Reason@1". */
        const char *conditions;
        enum state state;
        const char *reason;
        bool run_failed, retry_sensible;
};

#define FAILED_RUN "\"lastRun\": {\"number\": 1, \"result\": \"Failed\"}"
#define RETRY      "\"annotations\": {\"dbupgrade.subbug.learning/retry\": \"a\"}"
#define REASON(r)  "\"reason\": \"" r "\""

static const struct row rows[] = {
        { "the CRD's default", "", "\"observedGeneration\": -1", "", STATE_WAITING, "NotSeen",
          false, false },
        { "no status at all", "", "\"observedGeneration\": null", "", STATE_WAITING, "NotSeen",
          false, false },
        { "seen, nothing started", "", REASON("Initializing"), "Reconciling/Initializing",
          STATE_WAITING, "Initializing", false, false },
        { "invalid spec", "", REASON("InvalidSpec"), "Degraded/InvalidSpec Stalled/InvalidSpec",
          STATE_FAILED, "InvalidSpec", false, false },
        { "Secret missing", "", REASON("SecretNotFound"),
          "Degraded/SecretNotFound Reconciling/SecretNotFound", STATE_WAITING, "SecretNotFound",
          false, false },
        { "AWS", "", REASON("AWSNotImplemented"),
          "Blocked/AWSNotImplemented Stalled/AWSNotImplemented", STATE_BLOCKED, "AWSNotImplemented",
          false, false },
        { "suspended", "", REASON("Suspended"), "Blocked/Suspended", STATE_BLOCKED, "Suspended",
          false, false },
        { "suspended, but done", "", REASON("MigrationComplete"),
          "Ready/MigrationComplete Blocked/Suspended", STATE_DONE, "MigrationComplete", false,
          false },
        { "running", "", REASON("JobRunning"), "Progressing/MigrationInProgress Reconciling/x",
          STATE_RUNNING, "JobRunning", false, false },
        { "running, the new spec invalid", "", REASON("JobRunning"),
          "Progressing/MigrationInProgress Degraded/InvalidSpec Reconciling/x", STATE_RUNNING,
          "JobRunning", false, false },
        { "running, suspended meanwhile", "", REASON("JobRunning"),
          "Progressing/MigrationInProgress Blocked/Suspended", STATE_RUNNING, "JobRunning", false,
          false },
        { "pending with a reason", "", REASON("ImagePullBackOff"),
          "Progressing/MigrationInProgress Reconciling/x", STATE_WAITING, "ImagePullBackOff", false,
          false },
        { "done", "", REASON("MigrationComplete"), "Ready/MigrationComplete", STATE_DONE,
          "MigrationComplete", false, false },
        { "failed", "", REASON("MigrationFailed") ", " FAILED_RUN,
          "Degraded/MigrationFailed Stalled/MigrationFailed", STATE_FAILED, "MigrationFailed", true,
          true },
        { "lost", "", REASON("JobLost") ", \"lastRun\": {\"number\": 1, \"result\": \"Lost\"}",
          "Degraded/JobLost Stalled/JobLost", STATE_FAILED, "JobLost", true, true },
        { "a failed run, then an invalid spec", "", REASON("InvalidSpec") ", " FAILED_RUN,
          "Degraded/InvalidSpec Stalled/InvalidSpec", STATE_FAILED, "InvalidSpec", false, false },
        { "refused, may pass later", "", REASON("JobRejected"),
          "Degraded/JobRejected Reconciling/JobRejected", STATE_WAITING, "JobRejected", false,
          false },
        { "refused for good", "", REASON("JobRejected"), "Degraded/JobRejected Stalled/JobRejected",
          STATE_FAILED, "JobRejected", false, false },
        { "a right is missing", "", REASON("Forbidden"), "Degraded/Forbidden Reconciling/Forbidden",
          STATE_WAITING, "Forbidden", false, false },
        { "a foreign Job", "", REASON("JobNameConflict"),
          "Degraded/JobNameConflict Stalled/JobNameConflict", STATE_FAILED, "JobNameConflict",
          false, false },
        { "a reason of a later version", "", REASON("MoonPhase"),
          "Degraded/MoonPhase Stalled/MoonPhase", STATE_FAILED, "MoonPhase", false, false },
        { "a block of a later version", "", REASON("PreChecksFailing"),
          "Blocked/PreChecksFailing Reconciling/PreChecksFailing", STATE_BLOCKED,
          "PreChecksFailing", false, false },

        { "an old Ready of an older spec", "", "\"observedGeneration\": 1",
          "Ready/MigrationComplete@1", STATE_WAITING, "NotSeen", false, false },
        { "an old failure of an older spec", "", "\"observedGeneration\": 1, " FAILED_RUN,
          "Degraded/MigrationFailed@1 Stalled/MigrationFailed@1", STATE_WAITING, "NotSeen", false,
          false },
        { "a condition of an older spec beside newer ones", "", REASON("Initializing"),
          "Ready/MigrationComplete@1 Reconciling/Initializing", STATE_WAITING, "Initializing",
          false, false },
        { "Ready of the Go program, without generations", "", "", "Ready/MigrationComplete@0",
          STATE_DONE, "MigrationComplete", false, false },

        { "a retry that nobody has seen, after a failure", RETRY,
          REASON("MigrationFailed") ", " FAILED_RUN,
          "Degraded/MigrationFailed Stalled/MigrationFailed", STATE_WAITING, "RetryRequested",
          false, false },
        { "... after another one", RETRY,
          REASON("MigrationFailed") ", \"lastHandledRetry\": \"b\", " FAILED_RUN,
          "Degraded/MigrationFailed Stalled/MigrationFailed", STATE_WAITING, "RetryRequested",
          false, false },
        { "a retry that has been handled, and has failed again", RETRY,
          REASON("MigrationFailed") ", \"lastHandledRetry\": \"a\", " FAILED_RUN,
          "Degraded/MigrationFailed Stalled/MigrationFailed", STATE_FAILED, "MigrationFailed", true,
          true },
        { "a retry that nobody has seen, of what is done", RETRY, REASON("MigrationComplete"),
          "Ready/MigrationComplete", STATE_WAITING, "RetryRequested", false, false },
        { "... and suspended: it has to wait for that", RETRY, REASON("MigrationComplete"),
          "Ready/MigrationComplete Blocked/Suspended", STATE_BLOCKED, "Suspended", false, false },
        { "a retry does not mend an invalid spec", RETRY, REASON("InvalidSpec"),
          "Degraded/InvalidSpec Stalled/InvalidSpec", STATE_FAILED, "InvalidSpec", false, false },
        { "a retry while it runs", RETRY, REASON("JobRunning"), "Progressing/MigrationInProgress",
          STATE_RUNNING, "JobRunning", false, false },
        { "being deleted", "\"deletionTimestamp\": \"2026-11-24T12:00:00Z\"",
          REASON("MigrationComplete"), "Ready/MigrationComplete", STATE_WAITING, "Deleting", false,
          false },
};

static void put_condition(struct strbuf *out, const char *word) {
        size_t type = strcspn(word, "/"), reason = strcspn(word + type + 1, "@");
        const char *generation = word[type + 1 + reason] ? word + type + 2 + reason : "2";

        strbuf_printf(
                out,
                "{\"type\": \"%.*s\", \"status\": \"True\", \"reason\": \"%.*s\", "
                "\"lastTransitionTime\": \"2026-11-24T12:00:00Z\", \"observedGeneration\": %s},",
                (int)type, word, (int)reason, word + type + 1, generation);
}

static struct dbupgrade *build(const struct row *row) {
        CLEANUP(strbuf_done) struct strbuf out = STRBUF_INIT(65536);
        CLEANUP(free_p) char *words = strdup(row->conditions);
        struct dbupgrade *object = NULL;
        struct fault f = FAULT_INIT;
        char *save = NULL;

        strbuf_printf(&out,
                      "{\"metadata\": {\"name\": \"shop\", \"namespace\": \"n\", \"uid\": \"u\", "
                      "\"resourceVersion\": \"1\", \"generation\": 2%s%s}, \"spec\": {}, "
                      "\"status\": {%s%s%s\"conditions\": [",
                      *row->metadata ? ", " : "", row->metadata,
                      strstr(row->status, "observedGeneration") ? ""
                                                                : "\"observedGeneration\": 2, ",
                      row->status, *row->status ? ", " : "");
        for (char *word = strtok_r(words, " ", &save); word; word = strtok_r(NULL, " ", &save))
                put_condition(&out, word);
        strbuf_str(&out, "{\"type\": \"Custom\", \"status\": \"True\"}]}}");
        ck_assert_msg(dbupgrade_decode(strbuf_text(&out), out.len, &object, &f) == 0, "%s: %s",
                      row->name, f.text);
        return object;
}

START_TEST(an_object_stands_as_its_status_says) {
        CLEANUP(arena_done) struct arena a = ARENA_INIT(65536);
        CLEANUP(dbupgrade_free_p) struct dbupgrade *object = build(&rows[_i]);
        struct verdict v = verdict_of(object);
        struct advice_retry retry = advice_retry(&a, object, &v);
        struct advice advice = advice_of(&a, object, &v);

        ck_assert_msg(v.state == rows[_i].state, "%s: %s", rows[_i].name, state_name(v.state));
        ck_assert_msg(strcmp(v.reason, rows[_i].reason) == 0, "%s: %s", rows[_i].name, v.reason);
        ck_assert_msg(v.run_failed == rows[_i].run_failed, "%s", rows[_i].name);
        ck_assert_msg(retry.sensible == rows[_i].retry_sensible, "%s: %s", rows[_i].name,
                      retry.effect);
        ck_assert_msg(*retry.effect, "%s", rows[_i].name);
        if (v.state == STATE_FAILED || v.state == STATE_BLOCKED)
                ck_assert_msg(advice.count > 0, "%s: no advice", rows[_i].name);
        ck_assert_int_eq(arena_check(&a, NULL), 0);
}
END_TEST

int main(void) {
        Suite *suite = suite_create("plugin_verdict");
        TCase *tcase = tcase_create("verdict");
        SRunner *runner = srunner_create(suite);
        int failed;

        tcase_add_loop_test(tcase, an_object_stands_as_its_status_says, 0,
                            (int)(sizeof(rows) / sizeof(rows[0])));
        suite_add_tcase(suite, tcase);
        srunner_run_all(runner, CK_ENV);
        failed = srunner_ntests_failed(runner);
        srunner_free(runner);
        return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
