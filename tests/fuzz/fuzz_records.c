/* SPDX-License-Identifier: Apache-2.0 */
/* Jobs and Pods as the API server may send them, and what is said about them. */
#include <string.h>

#include "common/api/dbupgrade.h"
#include "common/base/arena.h"
#include "common/base/utf8.h"
#include "reconciler/explain.h"
#include "reconciler/record.h"
#include "tests/fuzz/fuzz.h"

static void explain(const struct job_record *job, struct pod_record *pod) {
        CLEANUP(arena_done) struct arena arena = ARENA_INIT(1 << 20);
        struct pod_record *items[] = { pod };
        const struct pod_list pods = { .items = items, .count = pod ? 1 : 0 };
        const struct dbupgrade_status status = { .reason = "",
                                                 .message = "",
                                                 .last_run = { .result = RUN_RUNNING } };
        struct explain_progress progress = explain_progress(&arena, &status, job, &pods, NULL);
        struct explain_failure failure = explain_failure(&arena, &status, job, &pods, &pods);

        MUST(progress.reason && progress.message && failure.reason && failure.message);
        MUST(utf8_valid(failure.message, strlen(failure.message)));
        MUST(utf8_valid(progress.message, strlen(progress.message)));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        const char *text = (const char *)data;
        const char *half = memchr(data, '\n', size);
        size_t job_len = half ? (size_t)(half - text) : size;
        struct job_record *job = NULL, *copy;
        struct pod_record *pod = NULL;

        if (job_record_decode(text, job_len, &job, NULL))
                return 0;
        if (half && pod_record_decode(half + 1, size - job_len - 1, &pod, NULL) == 0)
                MUST(pod->meta.uid && pod->waiting_message);
        copy = job_record_copy(job);
        if (copy) {
                MUST(strcmp(copy->meta.uid, job->meta.uid) == 0);
                MUST(job_record_finished(copy) == job_record_finished(job));
        }
        explain(job, pod);
        job_record_free(copy);
        job_record_free(job);
        pod_record_free(pod);
        return 0;
}
