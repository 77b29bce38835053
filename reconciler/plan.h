/* SPDX-License-Identifier: Apache-2.0 */
/* Decides the next step for one DBUpgrade: the rules of the ledger.
 *
 * Pure: no I/O, no clock, no allocation, no globals; equal input gives equal output. Facts that
 * cost a request stay unknown until plan_decide asks for them by an action; the pass takes that
 * step, adds what it learned, and asks again, until the action is PLAN_WAIT. Each action that
 * another party can see names the transition of tests/model/ledger.pml that it implements.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/api/dbupgrade.h"
#include "reconciler/record.h"

enum plan_action {
        PLAN_WAIT,          /* nothing to do now; the status says `situation` */
        PLAN_GET_JOB,       /* consistent GET of the Job that the ledger names */
        PLAN_LIST_JOBS,     /* T_LIST_JOBS: consistent LIST by the name label, any owner UID */
        PLAN_LIST_PODS,     /* T_LIST_PODS: likewise, only after the Jobs' answer */
        PLAN_LIST_OWNED,    /* LIST of the namespace's Jobs: those that the Go program left */
        PLAN_LIST_EVENTS,   /* why the Job has no Pod: its FailedCreate events */
        PLAN_GET_OBJECT,    /* consistent GET of the object: is its UID still ours? */
        PLAN_GET_SECRET,    /* is the connection Secret there, with its key? */
        PLAN_CREATE_JOB,    /* T_POST: POST the suspended Job */
        PLAN_GET_CREATED,   /* after 409: GET the Job that has this name */
        PLAN_RECORD_START,  /* T_NAME: the ledger names it, Starting */
        PLAN_UNSUSPEND,     /* T_UNSUSPEND: PATCH suspend: false with the Job's resourceVersion */
        PLAN_RECORD,        /* T_RECORD_*, T_SUPERSEDE_MARK: `result` goes into the ledger */
        PLAN_DELETE_JOB,    /* T_DELETE_ORPHAN, T_SUPERSEDE_DELETE, T_CLEANUP: `target` */
        PLAN_SET_TTL,       /* PATCH ttlSecondsAfterFinished of the recorded Job */
        PLAN_RECORD_ADOPTED /* status of the Go program: taken over as applied */
};

/* What the status says; one row each in status.c. */
enum plan_situation {
        SITUATION_NONE,      /* write no status */
        SITUATION_SEEN,      /* seen, nothing started */
        SITUATION_INVALID,   /* the spec is invalid */
        SITUATION_SECRET,    /* Secret or key missing */
        SITUATION_BLOCKED,   /* see plan.blocked */
        SITUATION_WAITING,   /* for an older Job or Pod */
        SITUATION_RUNNING,   /* the Job is pending, running or finishing */
        SITUATION_SUCCEEDED, /* done */
        SITUATION_FAILED,
        SITUATION_LOST,
        SITUATION_REJECTED,      /* the Job was refused, may pass later */
        SITUATION_REJECTED_GOOD, /* refused for good (400, 422) */
        SITUATION_FORBIDDEN,     /* a right is missing */
        SITUATION_CONFLICT,      /* a foreign Job has our name */
};

enum plan_blocked { BLOCKED_NOT, BLOCKED_SUSPENDED, BLOCKED_CHECKS, BLOCKED_AWS };

/* When to look again although nothing is heard. */
enum plan_requeue {
        REQUEUE_NEVER,   /* an event will come */
        REQUEUE_NOW,     /* decide anew from what the cluster says */
        REQUEUE_BACKOFF, /* exponential, per key */
        REQUEUE_SECRET,  /* when the Secret is due to be read again */
        REQUEUE_SLOW,    /* every 5 minutes: what only a human mends */
        REQUEUE_PODLESS, /* 3 s: a Job without Pod is to be explained */
};

/* Answers to the steps, as the pass learns them. */
enum plan_secret { SECRET_UNKNOWN, SECRET_PRESENT, SECRET_MISSING, SECRET_FORBIDDEN };
enum plan_post {
        POST_UNKNOWN,
        POST_CREATED,
        POST_EXISTS,    /* 409: who holds the name? */
        POST_OURS,      /* … this very run's Job: go on. When somebody else has started it before
                           the ledger named it, all that is left is to name and follow it; another
                           process's would have changed the object, and the PATCH is a 409 */
        POST_ANEW,      /* … ours, but not to be used: decide anew */
        POST_CONFLICT,  /* … somebody else */
        POST_REJECTED,  /* 403 with details.name: quota, admission */
        POST_REFUSED,   /* 400, 422 */
        POST_FORBIDDEN, /* 403 by RBAC */
        POST_ENDING,    /* the namespace is terminating: stop quietly */
};
enum plan_job { JOB_UNKNOWN, JOB_PRESENT, JOB_GONE };
enum plan_owner { OWNER_UNKNOWN, OWNER_STILL_US, OWNER_CHANGED };

struct plan_input {
        const struct dbupgrade *object; /* with the resourceVersion that status writes will carry */
        bool invalid;                   /* dbupgrade_rules found errors */
        const char *run_key;            /* of the spec as it stands */
        const char *attempt_key;        /* … with the retry value that a start would handle */
        const char *held_key;           /* … with the retry value already handled */

        /* From the cache: may be late. */
        const struct job_list *cached_jobs; /* of this name label, any owner UID */
        const struct pod_list *cached_pods;

        /* The Job that the ledger names. JOB_PRESENT from cache or GET; JOB_GONE by a GET only. */
        enum plan_job job_state;
        const struct job_record *job;
        bool job_got; /* by a GET of this pass */

        /* From consistent LISTs; NULL: unknown. */
        const struct job_list *listed_jobs;
        const struct pod_list *listed_pods;
        enum plan_owner owner;

        const struct job_list *owned_jobs; /* PLAN_LIST_OWNED; NULL: unknown */
        bool events_listed;
        bool podless_3s; /* the unsuspended Job has existed for 3 s */

        enum plan_secret secret;
        enum plan_post post;
        const struct job_record *created; /* the Job of POST_CREATED, POST_OURS */
        bool superseding_deleted;         /* PLAN_DELETE_JOB of the superseded Job was accepted */
};

struct plan {
        enum plan_action action;
        enum plan_situation situation;
        enum plan_blocked blocked;
        enum plan_requeue requeue;
        enum run_result result;          /* PLAN_RECORD */
        const struct job_record *target; /* PLAN_DELETE_JOB, PLAN_SET_TTL */
        bool foreground;                 /* PLAN_DELETE_JOB: propagation, else background */
        bool tidying;                    /* nothing else depends on this step */
        const char *waits_for_kind;      /* SITUATION_WAITING: "Job" or "Pod" */
        const char *waits_for_name;
};

/* Whether the retry annotation asks for a run that has not been started yet. */
bool plan_retry_unhandled(const struct dbupgrade *object);

/* The retry value that a run started now would handle: the annotation, or else the last one
 * handled. */
const char *plan_retry_value(const struct dbupgrade *object);

/* Whether what the spec says has been applied and nothing more is asked for. */
bool plan_is_done(const struct plan_input *in);

/* What the Job that holds our name after a 409 is: POST_OURS, POST_ANEW or POST_CONFLICT. */
enum plan_post plan_judge_holder(const struct plan_input *in, const struct job_record *holder);

/* The next step. in->object must not be NULL. */
struct plan plan_decide(const struct plan_input *in);
