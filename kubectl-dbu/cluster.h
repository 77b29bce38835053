/* SPDX-License-Identifier: Apache-2.0 */
/* What the commands read of a cluster and write to it, each by one kubectl. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/cleanup.h"
#include "kubectl-dbu/kubectl.h"
#include "kubectl-dbu/list.h"

struct args;
struct cJSON;
struct dbupgrade;
struct fault;

enum {
        CLUSTER_E_NOT_FOUND = 1, /* there is no such object */
        CLUSTER_E_TROUBLE = 2,   /* kubectl has told the user what went wrong */
        CLUSTER_E_LATE = 3,      /* kubectl has not ended before the deadline */
};

/* Of all namespaces or of args->namespace_, with args->selector. Return: 0, CLUSTER_E_TROUBLE,
 * a fault. */
int cluster_list(const struct args *args, struct object_list *ret_list, struct fault *f) MUST_CHECK;

/* The object args->name. deadline_ms: monotonic; 0 for none. Return: 0, CLUSTER_E_NOT_FOUND,
 * CLUSTER_E_TROUBLE, CLUSTER_E_LATE, a fault. */
int cluster_get(const struct args *args, int64_t deadline_ms, struct dbupgrade **ret_object,
                struct fault *f) MUST_CHECK;

/* What belongs to an object's last run, read at one time; owned trees, NULL where there is none or
 * where it may not be read. */
struct cluster_run {
        struct cJSON *job, *pods, *events, *job_events;
        bool job_gone; /* the cluster was asked, and has no Job of that name and UID */
};
int cluster_read_run(const struct args *args, const struct dbupgrade *object,
                     struct cluster_run *ret_run, struct fault *f) MUST_CHECK;
void cluster_run_done(struct cluster_run *run);

/* The List of the Pods of the last run's Job. Return: 0 (NULL: the ledger names no Job),
 * CLUSTER_E_TROUBLE, a fault. */
int cluster_pods(const struct args *args, const struct dbupgrade *object, struct cJSON **ret_pods,
                 struct fault *f) MUST_CHECK;

/* Sets the retry annotation, unless the object has changed since it was read. said gets what
 * kubectl printed. Return: 0, CLUSTER_E_TROUBLE, a fault. */
int cluster_annotate(const struct args *args, const struct dbupgrade *object, const char *value,
                     struct strbuf *said, struct fault *f) MUST_CHECK;

/* Starts a watch of the object. */
int cluster_watch(const struct args *args, const struct dbupgrade *object,
                  struct kubectl_call *ret_call, struct fault *f) MUST_CHECK;

/* Lets kubectl print a Pod's log to the user. Return: 0, CLUSTER_E_TROUBLE, a fault. */
int cluster_logs(const struct args *args, const char *namespace_, const char *pod, struct fault *f)
        MUST_CHECK;
