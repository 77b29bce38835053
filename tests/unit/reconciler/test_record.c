/* SPDX-License-Identifier: Apache-2.0 */
#include "reconciler/record.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/fault.h"
#include "common/base/strbuf.h"
#include "tests/unit/alloc_fail.h"

/* ---- what both kinds begin with ---- */

#define META                                                                                       \
        "\"metadata\":{\"namespace\":\"ns\",\"name\":\"n\",\"uid\":\"u\",\"resourceVersion\":\"5\""
#define LABELS                                                                                       \
        ",\"labels\":{\"app.kubernetes.io/managed-by\":\"dbupgrade-operator\","                      \
        "\"dbupgrade.subbug.learning/owner-uid\":\"o\",\"dbupgrade.subbug.learning/name\":\"shop\"," \
        "\"batch.kubernetes.io/controller-uid\":\"j\"}"
#define OBJECT(rest)        "{" META "}," rest "}"
#define LABELED             "{" META LABELS "}}"
#define WITH_METADATA(more) "{" META more "}}"
#define STATUS(more)        OBJECT("\"status\":{" more "}")

static int decode_job(const char *text, struct job_record **ret_job, struct fault *f) {
        size_t len = strlen(text);
        /* A heap copy without a NUL: a sanitizer sees each byte read too far. */
        CLEANUP(free_p) char *copy = malloc(len ? len : 1);

        ck_assert_ptr_nonnull(copy);
        memcpy(copy, text, len);
        return job_record_decode(copy, len, ret_job, f);
}

static int decode_pod(const char *text, struct pod_record **ret_pod, struct fault *f) {
        size_t len = strlen(text);
        CLEANUP(free_p) char *copy = malloc(len ? len : 1);

        ck_assert_ptr_nonnull(copy);
        memcpy(copy, text, len);
        return pod_record_decode(copy, len, ret_pod, f);
}

static struct job_record *job_of(const char *text) {
        struct job_record *job = NULL;
        struct fault f = FAULT_INIT;

        ck_assert_msg(decode_job(text, &job, &f) == 0, "%s: %s", text, f.text);
        return job;
}

static struct pod_record *pod_of(const char *text) {
        struct pod_record *pod = NULL;
        struct fault f = FAULT_INIT;

        ck_assert_msg(decode_pod(text, &pod, &f) == 0, "%s: %s", text, f.text);
        return pod;
}

static const char *const invalid[] = {
        "",
        "null",
        "[]",
        "7",
        "{}",
        "{\"metadata\":null}",
        "{\"metadata\":[]}",
        "{\"metadata\":{\"name\":\"n\",\"uid\":\"u\",\"resourceVersion\":\"5\"}}",
        "{\"metadata\":{\"namespace\":\"ns\",\"uid\":\"u\",\"resourceVersion\":\"5\"}}",
        "{\"metadata\":{\"namespace\":\"ns\",\"name\":\"n\",\"resourceVersion\":\"5\"}}",
        "{\"metadata\":{\"namespace\":\"ns\",\"name\":\"n\",\"uid\":\"u\"}}",
        "{\"metadata\":{\"namespace\":\"\",\"name\":\"n\",\"uid\":\"u\",\"resourceVersion\":\"5\"}}",
        "{\"metadata\":{\"namespace\":\"ns\",\"name\":7,\"uid\":\"u\",\"resourceVersion\":\"5\"}}",
        "{\"metadata\":{\"namespace\":\"ns\",\"name\":\"n\",\"uid\":\"u\",\"resourceVersion\":5}}",
        "{\"metadata\":{\"namespace\":\"ns\",\"name\":\"n\",\"uid\":\"u\",\"uid\":\"v\","
        "\"resourceVersion\":\"5\"}}",
        "{" META "}} ,",
        "{" META "\xff"
        "}}",
};

START_TEST(what_is_no_object_is_refused) {
        struct job_record *job = NULL;
        struct pod_record *pod = NULL;
        struct fault f = FAULT_INIT;

        ck_assert_msg(decode_job(invalid[_i], &job, &f) == -FAULT_INVALID, "%s", invalid[_i]);
        ck_assert_str_ne(f.text, "");
        ck_assert_ptr_null(job);
        ck_assert_int_eq(decode_pod(invalid[_i], &pod, NULL), -FAULT_INVALID);
        ck_assert_ptr_null(pod);
}
END_TEST

START_TEST(every_prefix_is_refused) {
        static const char text[] = WITH_METADATA(LABELS);

        for (size_t len = 0; len < sizeof(text) - 1; len++) {
                CLEANUP(free_p) char *copy = strndup(text, len);
                struct job_record *job = NULL;

                ck_assert_int_eq(decode_job(copy, &job, NULL), -FAULT_INVALID);
        }
}
END_TEST

static const struct meta_row {
        const char *name, *text;
        const char *owner_uid, *name_label;
        bool deleting, ours;
} metas[] = {
        { "no labels", WITH_METADATA(""), "", "", false, false },
        { "ours", LABELED, "o", "shop", false, true },
        { "being deleted", WITH_METADATA(",\"deletionTimestamp\":\"2026-01-01T00:00:00Z\""), "", "",
          true, false },
        { "a null deletionTimestamp", WITH_METADATA(",\"deletionTimestamp\":null"), "", "", false,
          false },
        { "another's managed-by",
          WITH_METADATA(",\"labels\":{\"app.kubernetes.io/managed-by\":\"Helm\","
                        "\"dbupgrade.subbug.learning/owner-uid\":\"o\"}"),
          "o", "", false, false },
        { "managed by us without an owner UID",
          WITH_METADATA(",\"labels\":{\"app.kubernetes.io/managed-by\":\"dbupgrade-operator\"}"),
          "", "", false, false },
        { "an empty owner UID",
          WITH_METADATA(",\"labels\":{\"app.kubernetes.io/managed-by\":\"dbupgrade-operator\","
                        "\"dbupgrade.subbug.learning/owner-uid\":\"\"}"),
          "", "", false, false },
        { "labels of other types",
          WITH_METADATA(",\"labels\":{\"app.kubernetes.io/managed-by\":7,"
                        "\"dbupgrade.subbug.learning/owner-uid\":[\"o\"],"
                        "\"dbupgrade.subbug.learning/name\":null}"),
          "", "", false, false },
        { "labels that are no map", WITH_METADATA(",\"labels\":[\"a\"]"), "", "", false, false },
        { "null labels", WITH_METADATA(",\"labels\":null"), "", "", false, false },
};

START_TEST(names_and_labels_are_read) {
        const struct meta_row *row = &metas[_i];
        CLEANUP(job_record_free_p) struct job_record *job = job_of(row->text);
        CLEANUP(pod_record_free_p) struct pod_record *pod = pod_of(row->text);
        const struct record_meta *both[] = { &job->meta, &pod->meta };

        for (size_t i = 0; i < 2; i++) {
                ck_assert_str_eq(both[i]->namespace_, "ns");
                ck_assert_str_eq(both[i]->name, "n");
                ck_assert_str_eq(both[i]->uid, "u");
                ck_assert_str_eq(both[i]->resource_version, "5");
                ck_assert_msg(strcmp(both[i]->owner_uid, row->owner_uid) == 0, "%s", row->name);
                ck_assert_msg(strcmp(both[i]->name_label, row->name_label) == 0, "%s", row->name);
                ck_assert_msg(both[i]->deleting == row->deleting, "%s", row->name);
        }
        ck_assert_msg(job->ours == row->ours, "%s", row->name);
}
END_TEST

/* ---- Jobs ---- */

START_TEST(an_empty_job_has_nothing) {
        CLEANUP(job_record_free_p) struct job_record *job = job_of(WITH_METADATA(""));

        ck_assert_str_eq(job->controller_uid, "");
        ck_assert_str_eq(job->run_key, "");
        ck_assert_str_eq(job->attempt_key, "");
        ck_assert_int_eq(job->run_number, 0);
        ck_assert(!job->suspended && !job->complete && !job->failed && !job->finishing);
        ck_assert_str_eq(job->failed_reason, "");
        ck_assert_str_eq(job->failed_message, "");
        ck_assert_str_eq(job->started_at, "");
        ck_assert_str_eq(job->finished_at, "");
        ck_assert_int_eq(job->deadline_s, -1);
        ck_assert_int_eq(job->ttl_s, -1);
        ck_assert(!job_record_finished(job));
}
END_TEST

START_TEST(a_job_is_read_whole) {
        CLEANUP(job_record_free_p)
        struct job_record *job =
                job_of("{" META ",\"annotations\":{\"dbupgrade.subbug.learning/run-key\":\"rk\","
                       "\"dbupgrade.subbug.learning/attempt-key\":\"ak\","
                       "\"dbupgrade.subbug.learning/run\":\"12\"},"
                       "\"ownerReferences\":[{\"uid\":\"x\"},{\"uid\":\"y\",\"controller\":false},"
                       "{\"uid\":\"z\",\"controller\":true},{\"uid\":\"w\",\"controller\":true}]},"
                       "\"spec\":{\"suspend\":true,\"activeDeadlineSeconds\":600,"
                       "\"ttlSecondsAfterFinished\":0},"
                       "\"status\":{\"startTime\":\"t1\",\"completionTime\":\"t2\"}}");

        ck_assert_str_eq(job->controller_uid, "z");
        ck_assert_str_eq(job->run_key, "rk");
        ck_assert_str_eq(job->attempt_key, "ak");
        ck_assert_int_eq(job->run_number, 12);
        ck_assert(job->suspended);
        ck_assert_int_eq(job->deadline_s, 600);
        ck_assert_int_eq(job->ttl_s, 0);
        ck_assert_str_eq(job->started_at, "t1");
        ck_assert_str_eq(job->finished_at, "t2");
}
END_TEST

#define RUN(value) WITH_METADATA(",\"annotations\":{\"dbupgrade.subbug.learning/run\":" value "}")

static const struct run_row {
        const char *text;
        int64_t number;
} runs[] = {
        { RUN("\"1\""), 1 },
        { RUN("\"007\""), 7 },
        { RUN("\"999999999999999\""), INT64_C(999999999999999) },
        { RUN("\"1000000000000000\""), 0 },
        { RUN("\"99999999999999999999\""), 0 },
        { RUN("\"\""), 0 },
        { RUN("\"-1\""), 0 },
        { RUN("\"+1\""), 0 },
        { RUN("\" 1\""), 0 },
        { RUN("\"1 \""), 0 },
        { RUN("\"1.0\""), 0 },
        { RUN("\"0x1\""), 0 },
        { RUN("\"one\""), 0 },
        { RUN("7"), 0 },
        { RUN("null"), 0 },
};

START_TEST(a_run_number_is_digits_only) {
        CLEANUP(job_record_free_p) struct job_record *job = job_of(runs[_i].text);

        ck_assert_msg(job->run_number == runs[_i].number, "%s", runs[_i].text);
}
END_TEST

#define CONDITION(type, status)                                                                    \
        "{\"type\":\"" type "\",\"status\":\"" status "\",\"reason\":\"R\",\"message\":\"M\","     \
        "\"lastTransitionTime\":\"T\"}"

static const struct end_row {
        const char *name, *text;
        bool complete, failed, finishing;
        const char *reason, *finished_at;
} ends[] = {
        { "no status", OBJECT("\"spec\":{}"), false, false, false, "", "" },
        { "no conditions", STATUS("\"conditions\":[]"), false, false, false, "", "" },
        { "complete",
          STATUS("\"completionTime\":\"C\",\"conditions\":[" CONDITION("Complete", "True") "]"),
          true, false, true, "", "C" },
        { "failed", STATUS("\"conditions\":[" CONDITION("Failed", "True") "]"), false, true, true,
          "R", "T" },
        { "not complete", STATUS("\"conditions\":[" CONDITION("Complete", "False") "]"), false,
          false, false, "", "" },
        { "unknown", STATUS("\"conditions\":[" CONDITION("Failed", "Unknown") "]"), false, false,
          false, "", "" },
        { "the status in lower case", STATUS("\"conditions\":[" CONDITION("Failed", "true") "]"),
          false, false, false, "", "" },
        { "behind others",
          STATUS("\"conditions\":[" CONDITION("Suspended", "True") "," CONDITION(
                  "SuccessCriteriaMet", "True") "," CONDITION("Complete", "True") "]"),
          true, false, true, "", "" },
        { "suspended alone", STATUS("\"conditions\":[" CONDITION("Suspended", "True") "]"), false,
          false, false, "", "" },
        { "the success criteria alone",
          STATUS("\"conditions\":[" CONDITION("SuccessCriteriaMet", "True") "]"), false, false,
          true, "", "" },
        { "the failure target alone",
          STATUS("\"conditions\":[" CONDITION("FailureTarget", "True") "]"), false, false, true, "",
          "" },
        { "complete while a Pod ends",
          STATUS("\"terminating\":1,\"conditions\":[" CONDITION("Complete", "True") "]"), false,
          false, true, "", "" },
        { "failed while a Pod ends",
          STATUS("\"terminating\":2,\"conditions\":[" CONDITION("Failed", "True") "]"), false,
          false, true, "R", "T" },
        { "failed, no Pod ends any more",
          STATUS("\"terminating\":0,\"conditions\":[" CONDITION("Failed", "True") "]"), false, true,
          true, "R", "T" },
        { "conditions that are none", STATUS("\"conditions\":[null,7,\"Failed\",[],{}]"), false,
          false, false, "", "" },
        { "conditions that are no list", STATUS("\"conditions\":{\"type\":\"Failed\"}"), false,
          false, false, "", "" },
        { "conditions with members of other types",
          STATUS("\"conditions\":[{\"type\":[\"Failed\"],\"status\":true},"
                 "{\"type\":\"Failed\",\"status\":true}]"),
          false, false, false, "", "" },
        { "failed without words",
          STATUS("\"conditions\":[{\"type\":\"Failed\",\"status\":\"True\"}]"), false, true, true,
          "", "" },
        { "a status that is no object", OBJECT("\"status\":[]"), false, false, false, "", "" },
};

START_TEST(an_end_is_a_condition_and_no_pod_left) {
        const struct end_row *row = &ends[_i];
        CLEANUP(job_record_free_p) struct job_record *job = job_of(row->text);

        ck_assert_msg(job->complete == row->complete, "%s", row->name);
        ck_assert_msg(job->failed == row->failed, "%s", row->name);
        ck_assert_msg(job->finishing == row->finishing, "%s", row->name);
        ck_assert_msg(job_record_finished(job) == (row->complete || row->failed), "%s", row->name);
        ck_assert_msg(strcmp(job->failed_reason, row->reason) == 0, "%s", row->name);
        ck_assert_str_eq(job->failed_message, *row->reason ? "M" : "");
        ck_assert_msg(strcmp(job->finished_at, row->finished_at) == 0, "%s", row->name);
}
END_TEST

static const char *const odd_jobs[] = {
        OBJECT("\"spec\":null,\"status\":null"),
        OBJECT("\"spec\":7,\"status\":\"x\""),
        OBJECT("\"spec\":{\"suspend\":\"true\",\"activeDeadlineSeconds\":\"600\","
               "\"ttlSecondsAfterFinished\":1.5}"),
        OBJECT("\"spec\":{\"suspend\":1,\"activeDeadlineSeconds\":1e30,"
               "\"ttlSecondsAfterFinished\":null}"),
        WITH_METADATA(",\"ownerReferences\":{\"controller\":true,\"uid\":\"x\"}"),
        WITH_METADATA(",\"ownerReferences\":[null,7,{\"controller\":\"true\",\"uid\":\"x\"}]"),
        WITH_METADATA(",\"ownerReferences\":[{\"controller\":true,\"uid\":7}]"),
        WITH_METADATA(",\"annotations\":\"x\""),
};

START_TEST(members_of_wrong_types_are_absent) {
        CLEANUP(job_record_free_p) struct job_record *job = job_of(odd_jobs[_i]);

        ck_assert(!job->suspended);
        ck_assert_int_eq(job->deadline_s, -1);
        ck_assert_int_eq(job->ttl_s, -1);
        ck_assert_str_eq(job->controller_uid, "");
        ck_assert_str_eq(job->run_key, "");
        ck_assert_str_eq(job->started_at, "");
}
END_TEST

/* ---- Pods ---- */

#define MIGRATE(state) "\"containerStatuses\":[{\"name\":\"migrate\"," state "}]"
#define RUNNING        "\"state\":{\"running\":{\"startedAt\":\"t\"}}"
#define WAITING(r)     "\"state\":{\"waiting\":{\"reason\":\"" r "\",\"message\":\"m of " r "\"}}"
#define ENDED(code, r)                                                                             \
        "\"state\":{\"terminated\":{\"exitCode\":" code ",\"reason\":\"" r                         \
        "\",\"message\":\"said\"}}"
#define UNSCHEDULED                                                                                \
        "\"conditions\":[{\"type\":\"Ready\",\"status\":\"False\",\"reason\":\"x\"},"              \
        "{\"type\":\"PodScheduled\",\"status\":\"False\",\"reason\":\"Unschedulable\","            \
        "\"message\":\"m of Unschedulable\"}]"

enum { FINISHED = 1, STARTED = 2, IS_RUNNING = 4, TERMINATED = 8, KEPT = 16 };

static const struct pod_row {
        const char *name, *text;
        unsigned flags;
        int64_t exit_code;
        const char *ended, *waiting; /* reasons */
} pods[] = {
        { "no status", OBJECT("\"spec\":{}"), 0, 0, "", "" },
        { "pending", STATUS("\"phase\":\"Pending\""), 0, 0, "", "" },
        { "unschedulable", STATUS("\"phase\":\"Pending\"," UNSCHEDULED), 0, 0, "",
          "Unschedulable" },
        { "scheduled",
          STATUS("\"conditions\":[{\"type\":\"PodScheduled\",\"status\":\"True\","
                 "\"reason\":\"x\"}]"),
          0, 0, "", "" },
        { "its image cannot be pulled", STATUS(MIGRATE(WAITING("ImagePullBackOff"))), 0, 0, "",
          "ImagePullBackOff" },
        { "creating", STATUS(MIGRATE(WAITING("ContainerCreating"))), 0, 0, "",
          "ContainerCreating" },
        { "a container that waits says more than the scheduler",
          STATUS(UNSCHEDULED "," MIGRATE(WAITING("ErrImagePull"))), 0, 0, "", "ErrImagePull" },
        { "running", STATUS("\"phase\":\"Running\"," MIGRATE(RUNNING)), STARTED | IS_RUNNING, 0, "",
          "" },
        { "ended well", STATUS("\"phase\":\"Succeeded\"," MIGRATE(ENDED("0", "Completed"))),
          FINISHED | STARTED | TERMINATED, 0, "Completed", "" },
        { "ended badly", STATUS("\"phase\":\"Failed\"," MIGRATE(ENDED("1", "Error"))),
          FINISHED | STARTED | TERMINATED, 1, "Error", "" },
        { "killed", STATUS("\"phase\":\"Failed\"," MIGRATE(ENDED("137", "OOMKilled"))),
          FINISHED | STARTED | TERMINATED, 137, "OOMKilled", "" },
        { "ended without a code", STATUS(MIGRATE("\"state\":{\"terminated\":{\"reason\":\"X\"}}")),
          STARTED | TERMINATED, -1, "X", "" },
        { "evicted before it started", STATUS("\"phase\":\"Failed\",\"reason\":\"Evicted\""),
          FINISHED, 0, "", "" },
        { "ended, an injected container runs",
          STATUS("\"phase\":\"Running\",\"containerStatuses\":[{\"name\":\"proxy\"," RUNNING
                 "},{\"name\":\"migrate\"," ENDED("0", "Completed") "}]"),
          STARTED | TERMINATED | KEPT, 0, "Completed", "" },
        { "an injected container ended, ours runs",
          STATUS("\"containerStatuses\":[{\"name\":\"proxy\"," ENDED(
                  "3", "Error") "},{\"name\":\"migrate\"," RUNNING "}]"),
          STARTED | IS_RUNNING, 0, "", "" },
        { "an injected container runs, ours waits",
          STATUS("\"containerStatuses\":[{\"name\":\"proxy\"," RUNNING
                 "},{\"name\":\"migrate\"," WAITING("ErrImagePull") "}]"),
          STARTED | KEPT, 0, "", "ErrImagePull" },
        { "an init container runs",
          STATUS("\"initContainerStatuses\":[{\"name\":\"init\"," RUNNING
                 "}]," MIGRATE(WAITING("PodInitializing"))),
          STARTED | KEPT, 0, "", "PodInitializing" },
        { "an init container has ended",
          STATUS("\"initContainerStatuses\":[{\"name\":\"init\"," ENDED("0", "Completed") "}]"),
          STARTED, 0, "", "" },
        { "an init container waits",
          STATUS("\"initContainerStatuses\":[{\"name\":\"x\"," WAITING("ErrImagePull") "}]"), 0, 0,
          "", "ErrImagePull" },
        { "both wait: ours counts",
          STATUS("\"containerStatuses\":[{\"name\":\"proxy\"," WAITING(
                  "A") "},{\"name\":\"migrate\"," WAITING("B") "}]"),
          0, 0, "", "B" },
        { "both wait, ours first",
          STATUS("\"containerStatuses\":[{\"name\":\"migrate\"," WAITING(
                  "B") "},{\"name\":\"proxy\"," WAITING("A") "}]"),
          0, 0, "", "B" },
        { "it ran before and was restarted",
          STATUS(MIGRATE(
                  WAITING("CrashLoopBackOff") ",\"lastState\":{\"terminated\":{\"exitCode\":1}}")),
          STARTED, 0, "", "CrashLoopBackOff" },
        { "null states",
          STATUS(MIGRATE("\"state\":{\"running\":null,\"terminated\":null,"
                         "\"waiting\":null},\"lastState\":{\"terminated\":null}")),
          0, 0, "", "" },
        { "empty states", STATUS(MIGRATE("\"state\":{},\"lastState\":{}")), 0, 0, "", "" },
        { "statuses that are none", STATUS("\"containerStatuses\":[null,7,\"x\",[]]"), 0, 0, "",
          "" },
        { "statuses that are no list", STATUS("\"containerStatuses\":\"x\""), 0, 0, "", "" },
        { "a phase that is no string", STATUS("\"phase\":[\"Failed\"]"), 0, 0, "", "" },
        { "an unknown phase", STATUS("\"phase\":\"Unknown\""), 0, 0, "", "" },
        { "a code that is no number", STATUS(MIGRATE(ENDED("\"1\"", "Error"))),
          STARTED | TERMINATED, -1, "Error", "" },
};

START_TEST(the_state_of_a_pod_is_read) {
        const struct pod_row *row = &pods[_i];
        CLEANUP(pod_record_free_p) struct pod_record *pod = pod_of(row->text);
        CLEANUP(strbuf_done) struct strbuf waiting = STRBUF_INIT(1000);
        unsigned flags = (pod->finished ? FINISHED : 0U) | (pod->started ? STARTED : 0U) |
                         (pod->running ? IS_RUNNING : 0U) | (pod->terminated ? TERMINATED : 0U) |
                         (pod->kept ? KEPT : 0U);

        ck_assert_msg(flags == row->flags, "%s: %x", row->name, flags);
        ck_assert_msg(pod->exit_code == row->exit_code, "%s", row->name);
        ck_assert_msg(strcmp(pod->terminated_reason, row->ended) == 0, "%s", row->name);
        ck_assert_msg(strcmp(pod->waiting_reason, row->waiting) == 0, "%s", row->name);
        if (*row->waiting)
                strbuf_printf(&waiting, "m of %s", row->waiting);
        ck_assert_msg(strcmp(pod->waiting_message, strbuf_text(&waiting)) == 0, "%s", row->name);
}
END_TEST

START_TEST(a_pod_knows_its_job_and_what_it_said) {
        CLEANUP(pod_record_free_p)
        struct pod_record *pod =
                pod_of("{" META LABELS "},\"status\":{" MIGRATE(ENDED("1", "Error")) "}}");

        ck_assert_str_eq(pod->job_uid, "j");
        ck_assert_str_eq(pod->terminated_message, "said");
}
END_TEST

/* ---- copies and lists ---- */

START_TEST(copies_stand_on_their_own) {
        struct job_record *job =
                job_of(OBJECT("\"status\":{\"conditions\":[" CONDITION("Failed", "True") "]}"));
        struct pod_record *pod = pod_of(STATUS(MIGRATE(ENDED("9", "Error"))));
        CLEANUP(job_record_free_p) struct job_record *job_copy = job_record_copy(job);
        CLEANUP(pod_record_free_p) struct pod_record *pod_copy = pod_record_copy(pod);

        ck_assert(job_copy && pod_copy);
        job_record_free(job);
        pod_record_free(pod);
        ck_assert_str_eq(job_copy->meta.namespace_, "ns");
        ck_assert_str_eq(job_copy->meta.name, "n");
        ck_assert_str_eq(job_copy->failed_reason, "R");
        ck_assert_str_eq(job_copy->failed_message, "M");
        ck_assert_str_eq(job_copy->finished_at, "T");
        ck_assert(job_copy->failed);
        ck_assert_str_eq(pod_copy->meta.uid, "u");
        ck_assert_str_eq(pod_copy->terminated_message, "said");
        ck_assert_int_eq(pod_copy->exit_code, 9);
}
END_TEST

START_TEST(lists_grow_and_empty) {
        struct job_list jobs = { 0 };
        struct pod_list pod_list = { 0 };

        for (size_t i = 0; i < 100; i++) {
                ck_assert_int_eq(job_list_add(&jobs, job_of(LABELED), NULL), 0);
                ck_assert_int_eq(pod_list_add(&pod_list, pod_of(LABELED), NULL), 0);
        }
        ck_assert_uint_eq(jobs.count, 100);
        ck_assert_uint_eq(pod_list.count, 100);
        ck_assert_str_eq(jobs.items[99]->meta.uid, "u");
        ck_assert_str_eq(pod_list.items[0]->job_uid, "j");
        for (int twice = 0; twice < 2; twice++) {
                job_list_done(&jobs);
                pod_list_done(&pod_list);
        }
        ck_assert_uint_eq(jobs.count, 0);
        ck_assert_ptr_null(pod_list.items);
}
END_TEST

static int remember(struct job_list *jobs, struct pod_list *pod_list) {
        static const char text[] = LABELED;
        struct job_record *job = NULL;
        struct pod_record *pod = NULL;
        int r;

        for (int i = 0; i < 5; i++) {
                r = job_record_decode(text, sizeof(text) - 1, &job, NULL);
                if (!r)
                        r = job_list_add(jobs, job, NULL);
                if (!r)
                        r = pod_record_decode(text, sizeof(text) - 1, &pod, NULL);
                if (!r)
                        r = pod_list_add(pod_list, pod, NULL);
                if (r)
                        return r;
        }
        return 0;
}

START_TEST(no_allocation_goes_unchecked) {
        size_t n = 1;

        for (;; n++) {
                CLEANUP(job_list_done) struct job_list jobs = { 0 };
                CLEANUP(pod_list_done) struct pod_list pod_list = { 0 };
                int r;

                alloc_fail_arm(n);
                r = remember(&jobs, &pod_list);
                if (!alloc_fail_disarm()) {
                        ck_assert_int_eq(r, 0);
                        break;
                }
                ck_assert_int_eq(r, -FAULT_NOMEM);
        }
        ck_assert_uint_gt(n, 50);
}
END_TEST

#define COUNT(table) ((int)(sizeof(table) / sizeof((table)[0])))

int main(void) {
        Suite *suite = suite_create("record");
        TCase *tcase = tcase_create("record");
        SRunner *runner = srunner_create(suite);
        int failed;

        suite_add_tcase(suite, tcase);
        tcase_add_loop_test(tcase, what_is_no_object_is_refused, 0, COUNT(invalid));
        tcase_add_test(tcase, every_prefix_is_refused);
        tcase_add_loop_test(tcase, names_and_labels_are_read, 0, COUNT(metas));
        tcase_add_test(tcase, an_empty_job_has_nothing);
        tcase_add_test(tcase, a_job_is_read_whole);
        tcase_add_loop_test(tcase, a_run_number_is_digits_only, 0, COUNT(runs));
        tcase_add_loop_test(tcase, an_end_is_a_condition_and_no_pod_left, 0, COUNT(ends));
        tcase_add_loop_test(tcase, members_of_wrong_types_are_absent, 0, COUNT(odd_jobs));
        tcase_add_loop_test(tcase, the_state_of_a_pod_is_read, 0, COUNT(pods));
        tcase_add_test(tcase, a_pod_knows_its_job_and_what_it_said);
        tcase_add_test(tcase, copies_stand_on_their_own);
        tcase_add_test(tcase, lists_grow_and_empty);
        tcase_add_test(tcase, no_allocation_goes_unchecked);
        srunner_run_all(runner, CK_NORMAL);
        failed = srunner_ntests_failed(runner);
        srunner_free(runner);
        return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
