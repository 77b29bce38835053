/* SPDX-License-Identifier: Apache-2.0 */
/* Takes the steps of a plan: each is one request, whose answer goes into the observation.
 *
 * Decides nothing. Belongs to one pass, one thread.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "common/api/dbupgrade.h"
#include "common/base/arena.h"
#include "common/base/cleanup.h"
#include "common/base/strbuf.h"
#include "common/kube/kube.h"
#include "reconciler/cache.h"
#include "reconciler/job.h"
#include "reconciler/pass.h"
#include "reconciler/plan.h"

/* Outcomes of act_take and act_write_status. */
enum {
        ACT_E_ANEW = 1,  /* somebody else wrote meanwhile (409), or the object is gone: decide anew
                            from what the watch will say */
        ACT_E_FORBIDDEN, /* a right is missing; pass.message says which */
};

/* The observation of one pass, and what it owns. */
struct pass {
        const struct pass_deps *deps;
        const char *key;
        struct arena arena;
        struct cache_view view;
        struct dbupgrade *object;
        struct plan_input in; /* points to the members below */

        char run_key[RUN_KEY_SIZE], attempt_key[RUN_KEY_SIZE], held_key[RUN_KEY_SIZE];
        struct job_identity identity; /* of the run that a start would make */
        struct job_record *job;       /* the ledger's */
        struct job_record *created;
        struct job_list listed_jobs, owned_jobs;
        struct pod_list listed_pods;

        const char *invalid_message; /* NULL: the spec is valid */
        const char *message;         /* what a step has to say for the status; NULL: nothing */
        const char *events_text;     /* note of the newest FailedCreate event; NULL: none */
        int64_t secret_wait_ms;
        int64_t deadline_ms; /* monotonic: no request goes on beyond it; 0: none */
        bool status_tried;   /* one status write a pass */
        bool status_written; /* … and it was taken */
};

/* Takes the step plan->action (not PLAN_WAIT and none of the PLAN_RECORD*, which are status
 * writes). Return: 0, ACT_E_*, or a fault. */
int act_take(struct pass *p, const struct plan *plan, struct fault *f) MUST_CHECK;

/* PATCHes the status with the resourceVersion of p->object and takes the answer as the new
 * p->object. next borrows from p->object and is used up. Return: 0, ACT_E_*, or a fault. */
int act_write_status(struct pass *p, const struct dbupgrade_status *next, struct fault *f)
        MUST_CHECK;

/* Replaces p->object (takes it, also on failure) and what depends on it: the keys of its spec, the
 * rules' verdict. */
int act_set_object(struct pass *p, struct dbupgrade *object, struct fault *f) MUST_CHECK;

/* Reads the object by a GET and puts it into the cache: for one whose text was dropped.
 * Return: 0, ACT_E_ANEW when it is gone, or a fault. */
int act_get_object(struct pass *p, struct fault *f) MUST_CHECK;
