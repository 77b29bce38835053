/* SPDX-License-Identifier: Apache-2.0 */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "common/api/dbupgrade.h"
#include "common/base/arena.h"
#include "common/base/utf8.h"
#include "reconciler/explain.h"

struct row {
        const char *name, *text, *clean;
};

static const struct row rows[] = {
        { "what stands before a password is cleaned, too", "postgres://a\x1b\xff:s3cret@db",
          "postgres://a \xef\xbf\xbd:***@db" },
        { "plain text stays", "relation \"x\" does not exist", "relation \"x\" does not exist" },
        { "the password of a URL goes", "dial postgres://app:s3cret@db:5432/app failed",
          "dial postgres://app:***@db:5432/app failed" },
        { "a password with an @ goes whole", "postgres://app:a@b@db/app",
          "postgres://app:***@db/app" },
        { "a password with a slash goes whole", "postgres://app:a/b@db/app",
          "postgres://app:***@db/app" },
        { "a URL without a password stays", "https://example.org/a?b=c",
          "https://example.org/a?b=c" },
        { "a port is no password", "dial http://db:5432/app, https://[::1]:80/x and tcp://db:1",
          "dial http://db:5432/app, https://[::1]:80/x and tcp://db:1" },
        { "in quotes a password goes with its spaces and brackets",
          "parse \"postgres://app:a b]c@db/app\": net/url: invalid userinfo",
          "parse \"postgres://app:***@db/app\": net/url: invalid userinfo" },
        { "one that a # has cut off goes twice",
          "parse \"postgres://app:s3cret\": invalid port \":s3cret\" after host",
          "parse \"postgres://app:***\": invalid port \":***\" after host" },
        { "one with a / goes twice",
          "parse \"postgres://app:s3/cret@db/app\": invalid port \":s3\" after host",
          "parse \"postgres://app:***@db/app\": invalid port \":***\" after host" },
        { "one without a scheme goes", "dial app:s3cret@tcp(db:3306)/app failed",
          "dial app:***@tcp(db:3306)/app failed" },
        { "a digest stays", "pull \"reg:5000/shop:v1@sha256:ab\": not found",
          "pull \"reg:5000/shop:v1@sha256:ab\": not found" },
        { "a quote that nobody closes ends with the line", "\"tcp://db:1\na:b@c",
          "\"tcp://db:1 a:***@c" },
        { "password= goes", "host=db password=s3cret user=app", "host=db password=*** user=app" },
        { "in any case, with a colon, quoted", "PASSWORD: \"a b\" x", "PASSWORD: \"***\" x" },
        { "at the end of the text", "pwd=s3cret", "pwd=***" },
        { "control bytes become spaces", "a\tb\x1b[0m\nc", "a b [0m c" },
        { "white space around goes", "\n a \n", "a" },
        { "invalid UTF-8 is replaced",
          "a\xff"
          "b",
          "a\xef\xbf\xbd"
          "b" },
        { "nothing is nothing", "", "" },
};

START_TEST(cleans) {
        CLEANUP(arena_done) struct arena a = ARENA_INIT(1 << 20);
        const char *clean = explain_clean(&a, rows[_i].text, EXPLAIN_MESSAGE_MAX);

        ck_assert_msg(strcmp(clean, rows[_i].clean) == 0, "%s: %s", rows[_i].name, clean);
}
END_TEST

START_TEST(the_tail_is_kept_whole_characters_only) {
        CLEANUP(arena_done) struct arena a = ARENA_INIT(1 << 20);

        for (size_t max = 1; max < 16; max++) {
                const char *clean =
                        explain_clean(&a, "\xe2\x82\xac\xe2\x82\xac\xe2\x82\xac-end", max);

                ck_assert_uint_le(strlen(clean), max);
                ck_assert(utf8_valid(clean, strlen(clean)));
        }
        ck_assert_str_eq(explain_clean(&a, "abcdef", 3), "def");
}
END_TEST

START_TEST(durations_read_well) {
        CLEANUP(arena_done) struct arena a = ARENA_INIT(1 << 20);
        const char *start = "2026-01-01T00:00:00Z";

        ck_assert_str_eq(explain_duration(&a, start, "2026-01-01T00:00:59Z"), "59s");
        ck_assert_str_eq(explain_duration(&a, start, "2026-01-01T00:04:12Z"), "4m12s");
        ck_assert_str_eq(explain_duration(&a, start, "2026-01-01T02:05:00Z"), "2h5m");
        ck_assert_str_eq(explain_duration(&a, start, ""), "");
        ck_assert_str_eq(explain_duration(&a, start, "2025-12-31T23:59:59Z"), "");
}
END_TEST

#define WAITS "Migration Job j cannot start: ImagePullBackOff: Back-off pulling image \"shop:typo\""

struct failure_row {
        const char *name;
        const char *job_reason, *job_message;       /* of the condition Failed */
        const char *status_reason, *status_message; /* before */
        bool has_pod, deleting;
        int64_t exit_code;
        const char *pod_reason, *printed;
        const char *reason, *message; /* wanted */
};

#define RUNS "JobRunning", "Migration Job j is running"

static const struct failure_row failures[] = {
        { "what it printed", "BackoffLimitExceeded", "x", RUNS, true, false, 1, "Error", "a\nb ",
          "Error", "a b" },
        { "it printed nothing", "BackoffLimitExceeded", "x", RUNS, true, false, 2, "Error", "",
          "Error", "it printed nothing" },
        { "the kernel killed it", "BackoffLimitExceeded", "x", RUNS, true, false, 137, "OOMKilled",
          "", "OOMKilled", "it printed nothing" },
        { "somebody deleted its Pod", "BackoffLimitExceeded", "x", RUNS, true, true, 143, "Error",
          "signal", "Error", "its Pod was deleted; signal" },
        { "no reason is an Error", "BackoffLimitExceeded", "x", RUNS, true, false, 1, "", "no",
          "Error", "no" },
        { "its Pod is gone", "BackoffLimitExceeded", "reached its limit", RUNS, false, false, 0, "",
          "", "BackoffLimitExceeded", "its Pod was deleted; reached its limit" },
        { "its Pod is gone and the Job says nothing", "", "", RUNS, false, false, 0, "", "", "",
          "its Pod was deleted" },
        { "its deadline", "DeadlineExceeded", "x", RUNS, true, true, 137, "Error", "terminated",
          "DeadlineExceeded", "exceeded its deadline of 60 s" },
        { "its deadline before it started", "DeadlineExceeded", "x", "ImagePullBackOff", WAITS,
          false, false, 0, "", "", "DeadlineExceeded",
          "exceeded its deadline of 60 s; until then: " WAITS },
        { "no sh in the image", "BackoffLimitExceeded", "x", RUNS, true, false, 128, "StartError",
          "exec: \"sh\": executable file not found in $PATH", "StartError",
          "the image has no `sh`: set spec.runner.command to run its migration tool directly; "
          "exec: \"sh\": executable file not found in $PATH" },
        { "no atlas in the image", "BackoffLimitExceeded", "x", RUNS, true, false, 127, "Error",
          "sh: exec: line 0: atlas: not found", "Error",
          "the image has no `atlas` in PATH or at /atlas: set spec.runner.command to run its "
          "migration tool; sh: exec: line 0: atlas: not found" },
};

START_TEST(a_failure_tells_its_cause) {
        CLEANUP(arena_done) struct arena a = ARENA_INIT(1 << 20);
        const struct failure_row *row = &failures[_i];
        struct dbupgrade_status status = { .reason = row->status_reason,
                                           .message = row->status_message };
        struct job_record job = { .meta = { .uid = "u" },
                                  .failed_reason = row->job_reason,
                                  .failed_message = row->job_message,
                                  .deadline_s = 60 };
        struct pod_record pod = { .meta = { .deleting = row->deleting },
                                  .job_uid = "u",
                                  .terminated = true,
                                  .exit_code = row->exit_code,
                                  .terminated_reason = row->pod_reason,
                                  .terminated_message = row->printed };
        struct pod_record *items[] = { &pod };
        struct pod_list pods = { .items = items, .count = row->has_pod ? 1 : 0 };
        struct explain_failure failure = explain_failure(&a, &status, &job, NULL, &pods);

        ck_assert_msg(strcmp(failure.reason, row->reason) == 0, "%s: %s", row->name,
                      failure.reason);
        ck_assert_msg(strcmp(failure.message, row->message) == 0, "%s: %s", row->name,
                      failure.message);
}
END_TEST

/* What a Pod looks like that is being deleted, such as at the deadline, is not the cause. */
START_TEST(the_cause_stays_while_a_job_ends) {
        CLEANUP(arena_done) struct arena a = ARENA_INIT(1 << 20);
        struct dbupgrade_status status = { .reason = "ImagePullBackOff", .message = WAITS };
        struct job_record job = { .meta = { .name = "j", .uid = "u" }, .finishing = true };
        struct pod_record pod = { .job_uid = "u", .started = true, .terminated = true };
        struct pod_record *items[] = { &pod };
        struct pod_list pods = { .items = items, .count = 1 };
        struct explain_progress said = explain_progress(&a, &status, &job, &pods, NULL);

        ck_assert_str_eq(said.reason, "ImagePullBackOff");
        ck_assert_str_eq(said.message, WAITS);
        ck_assert(!said.running);
}
END_TEST

/* The kubelet writes the end of a container before the end of its Pod. */
START_TEST(only_a_container_that_runs_keeps_a_pod) {
        CLEANUP(arena_done) struct arena a = ARENA_INIT(1 << 20);
        struct dbupgrade_status status = { .reason = "JobRunning", .message = "" };
        struct job_record job = { .meta = { .name = "j", .uid = "u" } };
        struct pod_record pod = { .meta = { .name = "p" },
                                  .job_uid = "u",
                                  .started = true,
                                  .terminated = true,
                                  .kept = _i == 1 };
        struct pod_record *items[] = { &pod };
        struct pod_list pods = { .items = items, .count = 1 };
        struct explain_progress said = explain_progress(&a, &status, &job, &pods, NULL);

        ck_assert_str_eq(said.message,
                         pod.kept ? "Migration Job j: the migration has ended with 0, but another "
                                    "container keeps its Pod p alive"
                                  : "Migration Job j is running");
        ck_assert(said.running && said.notable);
}
END_TEST

int main(void) {
        Suite *suite = suite_create("explain");
        TCase *tcase = tcase_create("explain");
        SRunner *runner = srunner_create(suite);
        int failed;

        suite_add_tcase(suite, tcase);
        tcase_add_loop_test(tcase, cleans, 0, (int)(sizeof(rows) / sizeof(rows[0])));
        tcase_add_test(tcase, the_tail_is_kept_whole_characters_only);
        tcase_add_test(tcase, durations_read_well);
        tcase_add_loop_test(tcase, a_failure_tells_its_cause, 0,
                            (int)(sizeof(failures) / sizeof(failures[0])));
        tcase_add_test(tcase, the_cause_stays_while_a_job_ends);
        tcase_add_loop_test(tcase, only_a_container_that_runs_keeps_a_pod, 0, 2);
        srunner_run_all(runner, CK_NORMAL);
        failed = srunner_ntests_failed(runner);
        srunner_free(runner);
        return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
