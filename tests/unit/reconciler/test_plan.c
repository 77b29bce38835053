/* SPDX-License-Identifier: Apache-2.0 */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "common/api/dbupgrade.h"
#include "reconciler/plan.h"

/* A short world: one object, at most two Jobs and two Pods in the cache, and two of each in the
 * consistent LISTs. Keys are one letter; the spec's run key is "A" unless the row says otherwise.
 */
enum { ME, OTHER_OBJECT, NOBODY };

struct job_row {
        const char *uid; /* NULL: no Job */
        int owner;
        int64_t number;
        bool suspended, complete, failed, finishing, deleting;
        int64_t ttl_s; /* 0 stands for absent here */
};

struct pod_row {
        const char *job_uid; /* NULL: no Pod */
        bool started, finished, terminated;
};

struct row {
        const char *name;
        /* the object */
        bool deleting, invalid, suspend, checks, aws;
        int64_t ttl_s; /* 0 stands for absent */
        const char *retry, *handled;
        const char *applied;               /* appliedKey */
        enum run_result run;               /* lastRun.result; its number is 2, its Job "j1" */
        const char *ran, *run_attempt;     /* lastRun's runKey and attemptKey; NULL: "A", "a" */
        const char *run_key, *attempt_key; /* of the spec; NULL: "A", "a" */
        const char *held_key;              /* NULL: attempt_key */
        bool go_status, go_ready, refused;
        /* facts */
        struct job_row cached[2];
        struct pod_row cached_pods[2];
        enum plan_job job_state; /* JOB_PRESENT: cached[0] */
        bool job_got;            /* … which the cache does not have */
        bool jobs_listed, pods_listed;
        struct job_row listed[2];
        struct pod_row listed_pods[2];
        enum plan_owner owner;
        bool owned_listed;
        struct job_row owned;
        bool podless_3s, events_listed, superseding_deleted;
        enum plan_secret secret;
        enum plan_post post;
        /* expected */
        enum plan_action action;
        enum plan_situation situation;
        enum plan_requeue requeue;
        enum run_result result;
        enum plan_blocked blocked;
        const char *target; /* UID of the Job to be deleted or patched */
        bool foreground;
        const char *waits_for;
};

#define OUR_JOB(...)                                                                               \
        { .uid = "j1", .owner = ME, .number = 2, __VA_ARGS__ }
#define SUSPENDED .suspended = true

static const struct row rows[] = {
        { .name = "a new object asks for its Secret first", .action = PLAN_GET_SECRET },
        { .name = "… and waits for a missing one",
          .secret = SECRET_MISSING,
          .situation = SITUATION_SECRET,
          .requeue = REQUEUE_SECRET },
        { .name = "… and says so when it may not read it",
          .secret = SECRET_FORBIDDEN,
          .situation = SITUATION_FORBIDDEN,
          .requeue = REQUEUE_SLOW },
        { .name = "with its Secret, it POSTs the Job",
          .secret = SECRET_PRESENT,
          .action = PLAN_CREATE_JOB },
        { .name = "a name that is taken is looked at",
          .secret = SECRET_PRESENT,
          .post = POST_EXISTS,
          .action = PLAN_GET_CREATED },
        { .name = "a created Job is named in the ledger",
          .secret = SECRET_PRESENT,
          .post = POST_CREATED,
          .action = PLAN_RECORD_START },
        { .name = "so is one that an earlier process created for this run",
          .secret = SECRET_PRESENT,
          .post = POST_OURS,
          .action = PLAN_RECORD_START },
        { .name = "one of ours that is of no use: decide anew",
          .secret = SECRET_PRESENT,
          .post = POST_ANEW,
          .requeue = REQUEUE_BACKOFF },
        { .name = "a foreign Job holds the name",
          .secret = SECRET_PRESENT,
          .post = POST_CONFLICT,
          .situation = SITUATION_CONFLICT,
          .requeue = REQUEUE_BACKOFF },
        { .name = "a quota refuses the Job",
          .secret = SECRET_PRESENT,
          .post = POST_REJECTED,
          .situation = SITUATION_REJECTED,
          .requeue = REQUEUE_BACKOFF },
        { .name = "the Jobs API refuses it for good",
          .secret = SECRET_PRESENT,
          .post = POST_REFUSED,
          .situation = SITUATION_REJECTED_GOOD },
        { .name = "refused for good is not asked again for the same spec",
          .refused = true,
          .situation = SITUATION_REJECTED_GOOD },
        { .name = "… unless somebody asks for a retry",
          .refused = true,
          .retry = "1",
          .action = PLAN_GET_SECRET },
        { .name = "RBAC refuses the Job",
          .secret = SECRET_PRESENT,
          .post = POST_FORBIDDEN,
          .situation = SITUATION_FORBIDDEN,
          .requeue = REQUEUE_SLOW },
        { .name = "the namespace ends: stop quietly",
          .secret = SECRET_PRESENT,
          .post = POST_ENDING },

        { .name = "an object being deleted gets no Job and no status", .deleting = true },
        { .name = "… also while its run is open", .deleting = true, .run = RUN_STARTING },
        { .name = "an invalid spec starts nothing",
          .invalid = true,
          .situation = SITUATION_INVALID },
        { .name = "AWS is not supported yet",
          .aws = true,
          .situation = SITUATION_BLOCKED,
          .blocked = BLOCKED_AWS },
        { .name = "a guard that somebody asked for is never skipped",
          .checks = true,
          .situation = SITUATION_BLOCKED,
          .blocked = BLOCKED_CHECKS },
        { .name = "a suspended object starts nothing",
          .suspend = true,
          .situation = SITUATION_BLOCKED,
          .blocked = BLOCKED_SUSPENDED },

        { .name = "what was applied is done",
          .applied = "A",
          .run = RUN_SUCCEEDED,
          .situation = SITUATION_SUCCEEDED },
        { .name = "… whether or not its Job still exists",
          .applied = "A",
          .run = RUN_SUCCEEDED,
          .cached = { OUR_JOB(.complete = true) },
          .situation = SITUATION_SUCCEEDED },
        { .name = "… and suspension shows beside it",
          .applied = "A",
          .run = RUN_SUCCEEDED,
          .suspend = true,
          .situation = SITUATION_SUCCEEDED,
          .blocked = BLOCKED_SUSPENDED },
        { .name = "an edit of the runner after success runs nothing",
          .applied = "A",
          .run = RUN_SUCCEEDED,
          .attempt_key = "b",
          .situation = SITUATION_SUCCEEDED },
        { .name = "a new spec after success starts a run",
          .applied = "A",
          .run = RUN_SUCCEEDED,
          .run_key = "B",
          .attempt_key = "b",
          .action = PLAN_GET_SECRET },
        { .name = "back to a spec of before last is a run again: only the last success counts",
          .applied = "B",
          .run = RUN_SUCCEEDED,
          .run_attempt = "b",
          .action = PLAN_GET_SECRET },
        { .name = "a retry after success runs again",
          .applied = "A",
          .run = RUN_SUCCEEDED,
          .retry = "1",
          .attempt_key = "a1",
          .action = PLAN_GET_SECRET },
        { .name = "a handled retry runs nothing",
          .applied = "A",
          .run = RUN_SUCCEEDED,
          .retry = "1",
          .handled = "1",
          .situation = SITUATION_SUCCEEDED },
        { .name = "removing the retry annotation does nothing",
          .applied = "A",
          .run = RUN_SUCCEEDED,
          .handled = "1",
          .situation = SITUATION_SUCCEEDED },
        { .name = "a retry to the empty value counts",
          .applied = "A",
          .run = RUN_SUCCEEDED,
          .retry = "",
          .handled = "1",
          .action = PLAN_GET_SECRET },

        { .name = "failed stays failed", .run = RUN_FAILED, .situation = SITUATION_FAILED },
        { .name = "lost stays lost", .run = RUN_LOST, .situation = SITUATION_LOST },
        { .name = "a failure is not hidden by suspension",
          .run = RUN_FAILED,
          .suspend = true,
          .situation = SITUATION_FAILED,
          .blocked = BLOCKED_SUSPENDED },
        { .name = "an edit of the runner after a failure tries again",
          .run = RUN_FAILED,
          .attempt_key = "b",
          .action = PLAN_GET_SECRET },
        { .name = "a retry after a failure tries again",
          .run = RUN_FAILED,
          .retry = "1",
          .attempt_key = "a1",
          .action = PLAN_GET_SECRET },
        { .name = "a changed spec after a failure tries again",
          .run = RUN_FAILED,
          .run_key = "B",
          .attempt_key = "b",
          .action = PLAN_GET_SECRET },
        { .name = "after a superseded run the new one starts",
          .run = RUN_SUPERSEDED,
          .action = PLAN_GET_SECRET },

        { .name = "the ledger's Job is not in the cache: no proof, ask",
          .run = RUN_RUNNING,
          .action = PLAN_GET_JOB },
        { .name = "gone while running is lost",
          .run = RUN_RUNNING,
          .job_state = JOB_GONE,
          .action = PLAN_RECORD,
          .result = RUN_LOST,
          .situation = SITUATION_LOST },
        { .name = "gone while starting is lost too: it may have run",
          .run = RUN_STARTING,
          .job_state = JOB_GONE,
          .action = PLAN_RECORD,
          .result = RUN_LOST,
          .situation = SITUATION_LOST },
        { .name = "gone while superseding is superseded",
          .run = RUN_SUPERSEDING,
          .job_state = JOB_GONE,
          .action = PLAN_RECORD,
          .result = RUN_SUPERSEDED,
          .situation = SITUATION_SEEN },
        { .name = "complete is recorded as succeeded",
          .run = RUN_RUNNING,
          .job_state = JOB_PRESENT,
          .cached = { OUR_JOB(.complete = true, .finishing = true) },
          .action = PLAN_RECORD,
          .result = RUN_SUCCEEDED,
          .situation = SITUATION_SUCCEEDED },
        { .name = "… also from Starting",
          .run = RUN_STARTING,
          .job_state = JOB_PRESENT,
          .cached = { OUR_JOB(.complete = true) },
          .action = PLAN_RECORD,
          .result = RUN_SUCCEEDED,
          .situation = SITUATION_SUCCEEDED },
        { .name = "… also from Superseding: it had started after all",
          .run = RUN_SUPERSEDING,
          .job_state = JOB_PRESENT,
          .cached = { OUR_JOB(.complete = true) },
          .action = PLAN_RECORD,
          .result = RUN_SUCCEEDED,
          .situation = SITUATION_SUCCEEDED },
        { .name = "… also when the spec is invalid by now",
          .run = RUN_RUNNING,
          .invalid = true,
          .job_state = JOB_PRESENT,
          .cached = { OUR_JOB(.complete = true) },
          .action = PLAN_RECORD,
          .result = RUN_SUCCEEDED,
          .situation = SITUATION_INVALID },
        { .name = "the success of what the spec no longer says is not the object's",
          .run = RUN_RUNNING,
          .ran = "B",
          .job_state = JOB_PRESENT,
          .cached = { OUR_JOB(.complete = true) },
          .action = PLAN_RECORD,
          .result = RUN_SUCCEEDED,
          .situation = SITUATION_SEEN },
        { .name = "… nor that of a run before a retry was asked for",
          .run = RUN_RUNNING,
          .retry = "1",
          .job_state = JOB_PRESENT,
          .cached = { OUR_JOB(.complete = true) },
          .action = PLAN_RECORD,
          .result = RUN_SUCCEEDED,
          .situation = SITUATION_SEEN },
        { .name = "… and a new spec that is suspended is blocked",
          .run = RUN_RUNNING,
          .ran = "B",
          .suspend = true,
          .blocked = BLOCKED_SUSPENDED,
          .job_state = JOB_PRESENT,
          .cached = { OUR_JOB(.complete = true) },
          .action = PLAN_RECORD,
          .result = RUN_SUCCEEDED,
          .situation = SITUATION_BLOCKED },
        { .name = "what was applied stays Ready when it is suspended meanwhile",
          .run = RUN_RUNNING,
          .suspend = true,
          .blocked = BLOCKED_SUSPENDED,
          .job_state = JOB_PRESENT,
          .cached = { OUR_JOB(.complete = true) },
          .action = PLAN_RECORD,
          .result = RUN_SUCCEEDED,
          .situation = SITUATION_SUCCEEDED },
        { .name = "the failure of another attempt is not the object's",
          .run = RUN_RUNNING,
          .run_attempt = "b",
          .job_state = JOB_PRESENT,
          .cached = { OUR_JOB(.failed = true) },
          .pods_listed = true,
          .action = PLAN_RECORD,
          .result = RUN_FAILED,
          .situation = SITUATION_SEEN },
        { .name = "nor is the loss of its Job",
          .run = RUN_RUNNING,
          .run_attempt = "b",
          .job_state = JOB_GONE,
          .action = PLAN_RECORD,
          .result = RUN_LOST,
          .situation = SITUATION_SEEN },
        { .name = "failed without a Pod in the cache: the Pods are listed for its words",
          .run = RUN_RUNNING,
          .job_state = JOB_PRESENT,
          .cached = { OUR_JOB(.failed = true) },
          .action = PLAN_LIST_PODS },
        { .name = "failed is recorded with them",
          .run = RUN_RUNNING,
          .job_state = JOB_PRESENT,
          .cached = { OUR_JOB(.failed = true) },
          .cached_pods = { { "j1", .started = true, .finished = true, .terminated = true } },
          .action = PLAN_RECORD,
          .result = RUN_FAILED,
          .situation = SITUATION_FAILED },
        { .name = "failed is recorded without them when there are none",
          .run = RUN_RUNNING,
          .job_state = JOB_PRESENT,
          .cached = { OUR_JOB(.failed = true) },
          .pods_listed = true,
          .action = PLAN_RECORD,
          .result = RUN_FAILED,
          .situation = SITUATION_FAILED },
        { .name = "finishing is not finished",
          .run = RUN_RUNNING,
          .job_state = JOB_PRESENT,
          .cached = { OUR_JOB(.finishing = true) },
          .situation = SITUATION_RUNNING },
        { .name = "a running Job is followed",
          .run = RUN_RUNNING,
          .job_state = JOB_PRESENT,
          .cached = { OUR_JOB() },
          .cached_pods = { { "j1", .started = true } },
          .situation = SITUATION_RUNNING },
        { .name = "… now and then, when somebody has taken its label, and no watch tells of it",
          .run = RUN_RUNNING,
          .job_state = JOB_PRESENT,
          .job_got = true,
          .cached = { OUR_JOB() },
          .cached_pods = { { "j1", .started = true } },
          .situation = SITUATION_RUNNING,
          .requeue = REQUEUE_SLOW },
        { .name = "… when the spec has changed too, for it has started",
          .run = RUN_RUNNING,
          .job_state = JOB_PRESENT,
          .run_key = "B",
          .attempt_key = "b",
          .cached = { OUR_JOB() },
          .cached_pods = { { "j1", .started = true } },
          .situation = SITUATION_RUNNING },
        { .name = "a Job that somebody else suspends later is left alone",
          .run = RUN_RUNNING,
          .job_state = JOB_PRESENT,
          .cached = { OUR_JOB(SUSPENDED) },
          .situation = SITUATION_RUNNING },
        { .name = "a Job being deleted is waited for",
          .run = RUN_RUNNING,
          .job_state = JOB_PRESENT,
          .cached = { OUR_JOB(.deleting = true) },
          .situation = SITUATION_RUNNING },
        { .name = "a Job without a Pod is looked at again after 3 s",
          .run = RUN_STARTING,
          .job_state = JOB_PRESENT,
          .cached = { OUR_JOB() },
          .situation = SITUATION_RUNNING,
          .requeue = REQUEUE_PODLESS },
        { .name = "… then its events are read",
          .run = RUN_STARTING,
          .job_state = JOB_PRESENT,
          .cached = { OUR_JOB() },
          .podless_3s = true,
          .action = PLAN_LIST_EVENTS },
        { .name = "… and again later",
          .run = RUN_STARTING,
          .job_state = JOB_PRESENT,
          .cached = { OUR_JOB() },
          .podless_3s = true,
          .events_listed = true,
          .situation = SITUATION_RUNNING,
          .requeue = REQUEUE_BACKOFF },

        { .name = "a changed spec and nothing started: the ledger says Superseding first",
          .run = RUN_RUNNING,
          .job_state = JOB_PRESENT,
          .run_key = "B",
          .attempt_key = "b",
          .cached = { OUR_JOB() },
          .action = PLAN_RECORD,
          .result = RUN_SUPERSEDING,
          .situation = SITUATION_RUNNING },
        { .name = "a changed runner supersedes as well",
          .run = RUN_STARTING,
          .job_state = JOB_PRESENT,
          .attempt_key = "b",
          .cached = { OUR_JOB(SUSPENDED) },
          .action = PLAN_RECORD,
          .result = RUN_SUPERSEDING,
          .situation = SITUATION_RUNNING },
        { .name = "a retry does not: the run it would repeat has not even started",
          .run = RUN_RUNNING,
          .job_state = JOB_PRESENT,
          .retry = "1",
          .attempt_key = "a1",
          .held_key = "a",
          .cached = { OUR_JOB() },
          .cached_pods = { { "j1", .started = false } },
          .situation = SITUATION_RUNNING },
        { .name = "an invalid new spec supersedes nothing",
          .run = RUN_RUNNING,
          .job_state = JOB_PRESENT,
          .invalid = true,
          .run_key = "B",
          .attempt_key = "b",
          .cached = { OUR_JOB() },
          .cached_pods = { { "j1", .started = false } },
          .situation = SITUATION_RUNNING },
        { .name = "a suspended new spec supersedes nothing",
          .run = RUN_RUNNING,
          .job_state = JOB_PRESENT,
          .suspend = true,
          .run_key = "B",
          .attempt_key = "b",
          .cached = { OUR_JOB() },
          .cached_pods = { { "j1", .started = false } },
          .situation = SITUATION_RUNNING },
        { .name = "Superseding asks for the Pods by a consistent LIST",
          .run = RUN_SUPERSEDING,
          .job_state = JOB_PRESENT,
          .cached = { OUR_JOB() },
          .action = PLAN_LIST_PODS },
        { .name = "… and deletes when none has started",
          .run = RUN_SUPERSEDING,
          .job_state = JOB_PRESENT,
          .cached = { OUR_JOB() },
          .pods_listed = true,
          .listed_pods = { { "j1", .started = false }, { "j0", .started = true } },
          .action = PLAN_DELETE_JOB,
          .target = "j1",
          .foreground = true },
        { .name = "… and follows when one has",
          .run = RUN_SUPERSEDING,
          .job_state = JOB_PRESENT,
          .cached = { OUR_JOB() },
          .pods_listed = true,
          .listed_pods = { { "j1", .started = true } },
          .situation = SITUATION_RUNNING },
        { .name = "… is one way: also when the spec is the old one again",
          .run = RUN_SUPERSEDING,
          .job_state = JOB_PRESENT,
          .cached = { OUR_JOB(SUSPENDED) },
          .pods_listed = true,
          .action = PLAN_DELETE_JOB,
          .target = "j1",
          .foreground = true },
        { .name = "… waits after the deletion",
          .run = RUN_SUPERSEDING,
          .job_state = JOB_PRESENT,
          .cached = { OUR_JOB() },
          .superseding_deleted = true,
          .situation = SITUATION_RUNNING },
        { .name = "… waits for a Job that is being deleted",
          .run = RUN_SUPERSEDING,
          .job_state = JOB_PRESENT,
          .cached = { OUR_JOB(.deleting = true) },
          .situation = SITUATION_RUNNING },

        { .name = "Starting and suspended: the Jobs are listed",
          .run = RUN_STARTING,
          .job_state = JOB_PRESENT,
          .cached = { OUR_JOB(SUSPENDED) },
          .action = PLAN_LIST_JOBS },
        { .name = "… then the Pods, never before",
          .run = RUN_STARTING,
          .job_state = JOB_PRESENT,
          .cached = { OUR_JOB(SUSPENDED) },
          .jobs_listed = true,
          .listed = { OUR_JOB(SUSPENDED) },
          .action = PLAN_LIST_PODS },
        { .name = "… then it starts",
          .run = RUN_STARTING,
          .job_state = JOB_PRESENT,
          .cached = { OUR_JOB(SUSPENDED) },
          .jobs_listed = true,
          .listed = { OUR_JOB(SUSPENDED), { "j0", ME, 1, .complete = true } },
          .pods_listed = true,
          .listed_pods = { { "j0", .started = true, .finished = true } },
          .action = PLAN_UNSUSPEND },
        { .name = "our Job is not in the list: is it gone?",
          .run = RUN_STARTING,
          .job_state = JOB_PRESENT,
          .cached = { OUR_JOB(SUSPENDED) },
          .jobs_listed = true,
          .action = PLAN_GET_JOB },
        { .name = "… no, somebody has taken its label: it goes on",
          .run = RUN_STARTING,
          .job_state = JOB_PRESENT,
          .job_got = true,
          .cached = { OUR_JOB(SUSPENDED) },
          .jobs_listed = true,
          .action = PLAN_LIST_PODS },
        { .name = "a Job of an earlier object that runs is waited for",
          .run = RUN_STARTING,
          .job_state = JOB_PRESENT,
          .cached = { OUR_JOB(SUSPENDED) },
          .jobs_listed = true,
          .listed = { OUR_JOB(SUSPENDED), { "x", OTHER_OBJECT, 4 } },
          .situation = SITUATION_WAITING,
          .waits_for = "x" },
        { .name = "a suspended one of an earlier object: are we still the object?",
          .run = RUN_STARTING,
          .job_state = JOB_PRESENT,
          .cached = { OUR_JOB(SUSPENDED) },
          .jobs_listed = true,
          .listed = { { "x", OTHER_OBJECT, 4, SUSPENDED }, OUR_JOB(SUSPENDED) },
          .action = PLAN_GET_OBJECT },
        { .name = "… yes: it goes",
          .run = RUN_STARTING,
          .job_state = JOB_PRESENT,
          .cached = { OUR_JOB(SUSPENDED) },
          .jobs_listed = true,
          .listed = { { "x", OTHER_OBJECT, 4, SUSPENDED }, OUR_JOB(SUSPENDED) },
          .owner = OWNER_STILL_US,
          .action = PLAN_DELETE_JOB,
          .target = "x" },
        { .name = "… no: we are the past",
          .run = RUN_STARTING,
          .job_state = JOB_PRESENT,
          .cached = { OUR_JOB(SUSPENDED) },
          .jobs_listed = true,
          .listed = { { "x", OTHER_OBJECT, 4, SUSPENDED }, OUR_JOB(SUSPENDED) },
          .owner = OWNER_CHANGED,
          .requeue = REQUEUE_BACKOFF },
        { .name = "a suspended one of ours with an old number goes",
          .run = RUN_STARTING,
          .job_state = JOB_PRESENT,
          .cached = { OUR_JOB(SUSPENDED) },
          .jobs_listed = true,
          .listed = { OUR_JOB(SUSPENDED), { "y", ME, 1, SUSPENDED } },
          .action = PLAN_DELETE_JOB,
          .target = "y" },
        { .name = "one with a higher number stays: somebody may be about to name it",
          .run = RUN_STARTING,
          .job_state = JOB_PRESENT,
          .cached = { OUR_JOB(SUSPENDED) },
          .jobs_listed = true,
          .listed = { OUR_JOB(SUSPENDED), { "y", ME, 3, SUSPENDED } },
          .situation = SITUATION_WAITING,
          .waits_for = "y" },
        { .name = "a suspended foreign Job with our label is not ours to delete",
          .run = RUN_STARTING,
          .job_state = JOB_PRESENT,
          .cached = { OUR_JOB(SUSPENDED) },
          .jobs_listed = true,
          .listed = { OUR_JOB(SUSPENDED), { "z", NOBODY, 0, SUSPENDED } },
          .situation = SITUATION_WAITING,
          .waits_for = "z" },
        { .name = "a Pod that outlives its Job is waited for",
          .run = RUN_STARTING,
          .job_state = JOB_PRESENT,
          .cached = { OUR_JOB(SUSPENDED) },
          .jobs_listed = true,
          .listed = { OUR_JOB(SUSPENDED) },
          .pods_listed = true,
          .listed_pods = { { "old", .started = true } },
          .situation = SITUATION_WAITING,
          .waits_for = "pod-old" },
        { .name = "suspended between the ledger and the start: it waits",
          .run = RUN_STARTING,
          .suspend = true,
          .job_state = JOB_PRESENT,
          .cached = { OUR_JOB(SUSPENDED) },
          .situation = SITUATION_BLOCKED,
          .blocked = BLOCKED_SUSPENDED },
        { .name = "invalid between the ledger and the start: it waits",
          .run = RUN_STARTING,
          .invalid = true,
          .job_state = JOB_PRESENT,
          .cached = { OUR_JOB(SUSPENDED) },
          .situation = SITUATION_INVALID },

        { .name = "finished Jobs of older runs are deleted once the next one is under way",
          .run = RUN_RUNNING,
          .job_state = JOB_PRESENT,
          .cached = { OUR_JOB(), { "j0", ME, 1, .complete = true } },
          .cached_pods = { { "j1", .started = true } },
          .action = PLAN_DELETE_JOB,
          .target = "j0" },
        { .name = "an unnamed suspended Job of an old number is removed in any pass",
          .run = RUN_SUCCEEDED,
          .applied = "A",
          .cached = { { "y", ME, 1, SUSPENDED }, OUR_JOB(.complete = true) },
          .action = PLAN_DELETE_JOB,
          .target = "y" },
        { .name = "one with a higher number is left",
          .run = RUN_SUCCEEDED,
          .applied = "A",
          .cached = { { "y", ME, 3, SUSPENDED } },
          .situation = SITUATION_SUCCEEDED },
        { .name = "the TTL is set once the outcome stands in the ledger",
          .run = RUN_SUCCEEDED,
          .applied = "A",
          .ttl_s = 60,
          .cached = { OUR_JOB(.complete = true) },
          .action = PLAN_SET_TTL,
          .target = "j1" },
        { .name = "… once only",
          .run = RUN_SUCCEEDED,
          .applied = "A",
          .ttl_s = 60,
          .cached = { OUR_JOB(.complete = true, .ttl_s = 60) },
          .situation = SITUATION_SUCCEEDED },
        { .name = "… never before",
          .run = RUN_RUNNING,
          .ttl_s = 60,
          .job_state = JOB_PRESENT,
          .cached = { OUR_JOB(.complete = true) },
          .action = PLAN_RECORD,
          .result = RUN_SUCCEEDED,
          .situation = SITUATION_SUCCEEDED },

        { .name = "a status of the Go program: its Jobs are looked for",
          .go_status = true,
          .action = PLAN_LIST_OWNED },
        { .name = "… a running one is waited for, the status left as it is",
          .go_status = true,
          .owned_listed = true,
          .owned = { "g", NOBODY, 0 },
          .requeue = REQUEUE_BACKOFF },
        { .name = "… Ready is taken over as applied",
          .go_status = true,
          .go_ready = true,
          .owned_listed = true,
          .owned = { "g", NOBODY, 0, .complete = true },
          .action = PLAN_RECORD_ADOPTED,
          .situation = SITUATION_SUCCEEDED },
        { .name = "… not Ready starts a run",
          .go_status = true,
          .owned_listed = true,
          .action = PLAN_GET_SECRET },
};

/* Turns rows into records; everything lives as long as the test. */
struct world {
        struct dbupgrade object;
        struct dbupgrade_condition conditions[2];
        struct job_record jobs[5];
        struct pod_record pods[4];
        struct job_record *job_items[5];
        struct pod_record *pod_items[4];
        struct job_list cached, listed, owned;
        struct pod_list cached_pods, listed_pods;
        char pod_names[4][16];
};

static void set_job(struct job_record *job, const struct job_row *row) {
        static const char *const owners[] = {
                [ME] = "me", [OTHER_OBJECT] = "other", [NOBODY] = ""
        };

        *job = (struct job_record){
                .meta = { .namespace_ = "ns",
                          .name = row->uid,
                          .uid = row->uid,
                          .resource_version = "7",
                          .owner_uid = owners[row->owner],
                          .name_label = "n",
                          .deleting = row->deleting },
                .ours = row->owner != NOBODY,
                .controller_uid = "me",
                .run_key = "A",
                .attempt_key = "a",
                .run_number = row->number,
                .suspended = row->suspended,
                .complete = row->complete,
                .failed = row->failed,
                .finishing = row->finishing,
                .failed_reason = "",
                .failed_message = "",
                .started_at = "",
                .finished_at = "",
                .ttl_s = row->ttl_s ? row->ttl_s : -1,
        };
}

static void set_jobs(struct world *w, struct job_list *list, size_t first,
                     const struct job_row *jobs, size_t count) {
        list->items = &w->job_items[first];
        for (size_t i = 0; i < count && jobs[i].uid; i++) {
                set_job(&w->jobs[first + i], &jobs[i]);
                w->job_items[first + i] = &w->jobs[first + i];
                list->count++;
        }
}

static void set_pods(struct world *w, struct pod_list *list, size_t first,
                     const struct pod_row *pods) {
        list->items = &w->pod_items[first];
        for (size_t i = 0; i < 2 && pods[i].job_uid; i++) {
                struct pod_record *pod = &w->pods[first + i];
                char *name = w->pod_names[first + i];

                (void)snprintf(name, sizeof(w->pod_names[0]), "pod-%s", pods[i].job_uid);
                *pod = (struct pod_record){
                        .meta = { .namespace_ = "ns",
                                  .name = name,
                                  .uid = name,
                                  .resource_version = "1",
                                  .owner_uid = "me",
                                  .name_label = "n" },
                        .job_uid = pods[i].job_uid,
                        .started = pods[i].started,
                        .finished = pods[i].finished,
                        .terminated = pods[i].terminated,
                        .terminated_reason = "",
                        .terminated_message = "",
                        .waiting_reason = "",
                        .waiting_message = "",
                };
                w->pod_items[first + i] = pod;
                list->count++;
        }
}

static const char * or (const char *text, const char *fallback) {
        return text ? text : fallback;
}

static void set_object(struct world *w, const struct row *row) {
        struct dbupgrade *o = &w->object;

        o->namespace_ = "ns";
        o->name = "n";
        o->uid = "me";
        o->resource_version = "9";
        o->generation = 3;
        o->deleting = row->deleting;
        o->retry = row->retry;
        o->spec.database_type = row->aws ? DATABASE_AWS_RDS : DATABASE_SELF_HOSTED;
        o->spec.has_pre_checks = row->checks;
        o->spec.suspend = row->suspend;
        o->spec.ttl_s = row->ttl_s ? row->ttl_s : -1;
        o->status.reason = row->refused ? "JobRejected" : "";
        o->status.observed_generation = 3;
        o->status.applied_key = or (row->applied, "");
        o->status.last_handled_retry = row->handled;
        o->status.last_run.result = row->run;
        o->status.last_run.number = row->run == RUN_NONE ? 0 : 2;
        o->status.last_run.job_name = "j1";
        o->status.last_run.job_uid = row->run == RUN_NONE ? "" : "j1";
        o->status.last_run.run_key = or (row->ran, "A");
        o->status.last_run.attempt_key = or (row->run_attempt, "a");
        o->status.conditions = w->conditions;
        if (row->go_status || row->refused) {
                w->conditions[0] = (struct dbupgrade_condition){
                        .type = row->refused ? "Stalled" : "Ready",
                        .status = row->go_ready || row->refused ? "True" : "False",
                        .reason = row->go_ready ? "MigrationComplete" : "Other",
                        .observed_generation = 3,
                };
                o->status.condition_count = 1;
        }
}

static struct plan decide(struct world *w, const struct row *row) {
        struct plan_input in = { .object = &w->object };

        set_object(w, row);
        set_jobs(w, &w->cached, 0, row->cached, 2);
        set_jobs(w, &w->listed, 2, row->listed, 2);
        set_jobs(w, &w->owned, 4, &row->owned, 1);
        set_pods(w, &w->cached_pods, 0, row->cached_pods);
        set_pods(w, &w->listed_pods, 2, row->listed_pods);
        in.invalid = row->invalid;
        in.run_key = or (row->run_key, "A");
        in.attempt_key = or (row->attempt_key, "a");
        in.held_key = or (row->held_key, in.attempt_key);
        in.cached_jobs = &w->cached;
        in.cached_pods = &w->cached_pods;
        in.job_state = row->job_state;
        in.job = row->job_state == JOB_PRESENT ? w->cached.items[0] : NULL;
        in.job_got = row->job_got;
        if (row->job_got)
                w->cached.count = 0;
        in.listed_jobs = row->jobs_listed ? &w->listed : NULL;
        in.listed_pods = row->pods_listed ? &w->listed_pods : NULL;
        in.owner = row->owner;
        in.owned_jobs = row->owned_listed ? &w->owned : NULL;
        in.podless_3s = row->podless_3s;
        in.events_listed = row->events_listed;
        in.superseding_deleted = row->superseding_deleted;
        in.secret = row->secret;
        in.post = row->post;
        return plan_decide(&in);
}

START_TEST(decides) {
        const struct row *row = &rows[_i];
        struct world w = { 0 };
        struct plan plan = decide(&w, row);

        ck_assert_msg(plan.action == row->action, "%s: action %d, not %d", row->name, plan.action,
                      row->action);
        ck_assert_msg(plan.situation == row->situation, "%s: situation %d, not %d", row->name,
                      plan.situation, row->situation);
        ck_assert_msg(plan.requeue == row->requeue, "%s: requeue %d, not %d", row->name,
                      plan.requeue, row->requeue);
        ck_assert_msg(plan.result == row->result, "%s: result %d, not %d", row->name, plan.result,
                      row->result);
        ck_assert_msg(plan.blocked == row->blocked, "%s: blocked %d, not %d", row->name,
                      plan.blocked, row->blocked);
        ck_assert_msg(plan.foreground == row->foreground, "%s: foreground %d", row->name,
                      plan.foreground);
        ck_assert_msg(strcmp(plan.target ? plan.target->meta.uid : "", or (row->target, "")) == 0,
                      "%s: target %s", row->name, plan.target ? plan.target->meta.uid : "none");
        ck_assert_msg(strcmp(or (plan.waits_for_name, ""), or (row->waits_for, "")) == 0,
                      "%s: waits for %s", row->name, or (plan.waits_for_name, "nothing"));
}
END_TEST

/* Who holds the name after a 409? */
struct holder_row {
        const char *name;
        struct job_row job;
        const char *run_key, *attempt_key;
        enum plan_post verdict;
};

static const struct holder_row holders[] = {
        { "the Job of this very run", { "j", ME, 2, SUSPENDED }, "A", "a", POST_OURS },
        { "the same, that somebody else has started", { "j", ME, 2 }, "A", "a", POST_OURS },
        { "… and that has ended", { "j", ME, 2, .complete = true }, "A", "a", POST_OURS },
        { "one that is being deleted",
          { "j", ME, 2, SUSPENDED, .deleting = true },
          "A",
          "a",
          POST_ANEW },
        { "one of another run", { "j", ME, 1, SUSPENDED }, "A", "a", POST_ANEW },
        { "one of another run key", { "j", ME, 2, SUSPENDED }, "B", "a", POST_ANEW },
        { "one of another attempt", { "j", ME, 2, SUSPENDED }, "A", "b", POST_ANEW },
        { "one of an earlier object", { "j", OTHER_OBJECT, 2, SUSPENDED }, "A", "a", POST_ANEW },
        { "one without our labels", { "j", NOBODY, 2, SUSPENDED }, "A", "a", POST_CONFLICT },
};

START_TEST(judges_who_holds_the_name) {
        const struct holder_row *row = &holders[_i];
        struct dbupgrade object = { .uid = "me", .status.last_run.number = 1 };
        struct plan_input in = { .object = &object, .run_key = "A", .attempt_key = "a" };
        struct job_record job;

        set_job(&job, &row->job);
        job.run_key = row->run_key;
        job.attempt_key = row->attempt_key;
        ck_assert_msg(plan_judge_holder(&in, &job) == row->verdict, "%s", row->name);
}
END_TEST

int main(void) {
        Suite *suite = suite_create("plan");
        TCase *tcase = tcase_create("plan");
        SRunner *runner = srunner_create(suite);
        int failed;

        suite_add_tcase(suite, tcase);
        tcase_add_loop_test(tcase, decides, 0, (int)(sizeof(rows) / sizeof(rows[0])));
        tcase_add_loop_test(tcase, judges_who_holds_the_name, 0,
                            (int)(sizeof(holders) / sizeof(holders[0])));
        srunner_run_all(runner, CK_NORMAL);
        failed = srunner_ntests_failed(runner);
        srunner_free(runner);
        return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
