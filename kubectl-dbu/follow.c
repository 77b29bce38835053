/* SPDX-License-Identifier: Apache-2.0 */
#include "kubectl-dbu/follow.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "common/api/dbupgrade.h"
#include "common/base/clock.h"
#include "common/base/fault.h"
#include "common/base/strbuf.h"
#include "common/json/json_get.h"
#include "kubectl-dbu/cluster.h"
#include "kubectl-dbu/output.h"
#include "kubectl-dbu/present.h"
#include "kubectl-dbu/timeline.h"
#include "kubectl-dbu/verdict.h"
#include "kubectl-dbu/wait.h"

/* The pause between two looks for a log, and before a broken watch is begun again. */
#define PAUSE_MS 1000
/* Watches in a row that break before they have said anything: the cluster is not to be had. */
#define BROKEN_MAX 5
/* An object of etcd, indented by kubectl. */
#define EVENT_MAX      ((size_t)16 << 20)
#define LINE_MAX_BYTES ((size_t)16 << 10)

/* What has been told already. */
struct progress {
        bool quiet;
        char *shown; /* owned */
};

static void progress_done(struct progress *p) {
        free(p->shown);
        p->shown = NULL;
}

static int show(struct progress *p, const struct dbupgrade *object, struct fault *f) {
        CLEANUP(strbuf_done) struct strbuf line = STRBUF_INIT(LINE_MAX_BYTES);
        struct look look = output_look(STDERR_FILENO, 0);

        if (p->quiet)
                return 0;
        present_line(&line, object, &look);
        strbuf_char(&line, '\n');
        if (p->shown && strcmp(p->shown, strbuf_text(&line)) == 0)
                return 0;
        (void)fputs(strbuf_text(&line), stderr);
        progress_done(p);
        return strbuf_take(&line, &p->shown, f);
}

static void sleep_ms(int64_t ms) {
        const struct timespec pause = { .tv_sec = (time_t)(ms / 1000),
                                        .tv_nsec = (long)(ms % 1000) * 1000000 };

        if (ms > 0)
                (void)nanosleep(&pause, NULL);
}

struct follower {
        const struct args *args;
        const struct clock *clock;
        int64_t deadline_ms;      /* monotonic */
        struct dbupgrade *object; /* owned */
        struct progress progress;
        enum exit_code code; /* once it is over */
        bool over;
};

static void follower_done(struct follower *w) {
        dbupgrade_free(w->object);
        progress_done(&w->progress);
}

static int64_t left_ms(const struct follower *w) {
        int64_t left = w->deadline_ms - clock_mono_ms(w->clock);

        return left > 0 ? left : 0;
}

/* Takes the object, and judges it. */
static int judge(struct follower *w, struct dbupgrade *object, bool deleted, struct fault *f) {
        struct verdict v = verdict_of(object);

        dbupgrade_free(w->object);
        w->object = object;
        w->over = deleted || wait_is_over(&v, &w->code);
        if (deleted)
                w->code = CODE_NOT_FOUND;
        return w->over ? 0 : show(&w->progress, object, f);
}

static int take_event(struct follower *w, const struct document_stream *stream, size_t *events,
                      struct fault *f) {
        struct dbupgrade *object;
        bool deleted;
        int r = strbuf_check(&stream->text, f);

        if (!r)
                r = wait_decode_event(strbuf_text(&stream->text), stream->text.len, &object,
                                      &deleted, f);
        if (r == WAIT_E_NO_OBJECT)
                return 0;
        *events += r == 0;
        return r ? r : judge(w, object, deleted, f);
}

/* The bytes of one read; the rest of them is of no interest when it is over. */
static int take_bytes(struct follower *w, struct document_stream *stream, const char *bytes,
                      size_t len, size_t *events, struct fault *f) {
        while (len > 0 && !w->over) {
                bool complete;
                size_t taken = document_stream_feed(stream, bytes, len, &complete);
                int r = complete ? take_event(w, stream, events, f)
                                 : strbuf_check(&stream->text, f);

                if (r)
                        return r;
                bytes += taken;
                len -= taken;
        }
        return 0;
}

/* Follows one watch to its end, to the end of waiting, or to the deadline. */
static int watch(struct follower *w, size_t *events, struct fault *f) {
        CLEANUP(kubectl_call_done) struct kubectl_call call = KUBECTL_CALL_INIT;
        CLEANUP(document_stream_done)
        struct document_stream stream = DOCUMENT_STREAM_INIT(EVENT_MAX);
        char buffer[16384];
        int r = cluster_watch(w->args, w->object, &call, f);

        while (!r && !w->over) {
                ssize_t n;

                r = kubectl_poll(&call, w->deadline_ms, f);
                if (r)
                        break;
                n = read(call.fd, buffer, sizeof(buffer));
                if (n == 0)
                        break;
                if (n < 0 && errno != EINTR)
                        return fault_set_errno(f, FAULT_IO, errno, "read the watch");
                if (n > 0)
                        r = take_bytes(w, &stream, buffer, (size_t)n, events, f);
        }
        return r == KUBECTL_E_LATE ? 0 : r;
}

/* The object as it is now: at the start, and after a watch has ended. */
static int look(struct follower *w, struct fault *f) {
        struct dbupgrade *object;
        int r = cluster_get(w->args, w->args->timeout_ms > 0 ? w->deadline_ms : 0, &object, f);

        if (r == CLUSTER_E_LATE)
                return 0; /* the deadline ends the loop */
        if (r == CLUSTER_E_NOT_FOUND && w->object) {
                w->over = true;
                w->code = CODE_NOT_FOUND;
                return 0;
        }
        return r ? r : judge(w, object, false, f);
}

int follow_until_over(const struct args *args, const struct clock *clock,
                      struct dbupgrade **ret_object, enum exit_code *ret_code, struct fault *f) {
        CLEANUP(follower_done)
        struct follower w = {
                .args = args,
                .clock = clock,
                .progress = { .quiet = args->quiet },
                .deadline_ms = clock_mono_ms(clock) + args->timeout_ms,
                .code = CODE_TIMEOUT,
        };
        unsigned broken = 0;
        int r = look(&w, f);

        while (!r && !w.over && left_ms(&w) > 0) {
                size_t events = 0;

                r = watch(&w, &events, f);
                if (r || w.over || left_ms(&w) == 0)
                        break;
                broken = events > 0 ? 0 : broken + 1;
                if (broken > 0)
                        sleep_ms(left_ms(&w) < PAUSE_MS ? left_ms(&w) : PAUSE_MS);
                r = look(&w, f);
                if (r == CLUSTER_E_TROUBLE && broken < BROKEN_MAX)
                        r = 0; /* an API server that restarts */
        }
        if (r)
                return r;
        *ret_code = w.code;
        *ret_object = TAKE(w.object);
        return 0;
}

/* A run other than the last one is about to come, or the last one's Pod. */
static bool more_to_come(const struct dbupgrade *object, const struct cJSON *pods,
                         const struct verdict *v) {
        enum exit_code code;
        bool anew = strcmp(v->reason, "NotSeen") == 0 || strcmp(v->reason, "RetryRequested") == 0;

        if (object->deleting || wait_is_over(v, &code))
                return false;
        return anew || !timeline_has_log(timeline_newest_pod(pods));
}

int follow_until_logs(const struct args *args, struct dbupgrade **ret_object,
                      struct cJSON **ret_pods, struct fault *f) {
        CLEANUP(progress_done) struct progress progress = { .quiet = args->quiet };

        for (;;) {
                CLEANUP(dbupgrade_free_p) struct dbupgrade *object = NULL;
                CLEANUP(cJSON_Delete_p) cJSON *pods = NULL;
                struct verdict v;
                int r = cluster_get(args, 0, &object, f);

                if (!r)
                        r = cluster_pods(args, object, &pods, f);
                if (r)
                        return r;
                v = verdict_of(object);
                if (!args->follow || !more_to_come(object, pods, &v)) {
                        *ret_object = TAKE(object);
                        *ret_pods = TAKE(pods);
                        return 0;
                }
                r = show(&progress, object, f);
                if (r)
                        return r;
                sleep_ms(PAUSE_MS);
        }
}
