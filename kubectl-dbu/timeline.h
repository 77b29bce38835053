/* SPDX-License-Identifier: Apache-2.0 */
/* What happened to an object, in order: from its metadata, the ledger, Job, Pods and events. Pure.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/cleanup.h"
#include "kubectl-dbu/text.h"

struct arena;
struct cJSON;
struct dbupgrade;
struct fault;

/* What was read of the cluster; borrowed. NULL: not there. */
struct scene {
        const struct dbupgrade *object;
        const struct cJSON *job;        /* of the last run */
        bool job_gone;                  /* the cluster was asked, and has none */
        const struct cJSON *pods;       /* List: of that Job */
        const struct cJSON *events;     /* List: of the object */
        const struct cJSON *job_events; /* List: of that Job */
};

struct moment {
        int64_t at_s; /* Unix time */
        const char *text;
        enum style style;
};

/* Enough for every run, Pod and the newest events; what is older of these is left out. */
#define TIMELINE_MAX 200
struct timeline {
        struct moment *moments; /* in the arena, oldest first */
        size_t count;
};

/* Return: 0, -FAULT_NOMEM. */
int timeline_build(struct arena *a, const struct scene *scene, struct timeline *ret_timeline,
                   struct fault *f) MUST_CHECK;

/* The Pod of a List that was made last; NULL when there is none. */
const struct cJSON *timeline_newest_pod(const struct cJSON *pods);

/* The status of the container migrate of a Pod; NULL when the kubelet has written none. */
const struct cJSON *timeline_container(const struct cJSON *pod);

/* Whether that container has run, so that there is something to read. Accepts NULL. */
bool timeline_has_log(const struct cJSON *pod);
