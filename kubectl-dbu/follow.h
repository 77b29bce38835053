/* SPDX-License-Identifier: Apache-2.0 */
/* Waiting for an object: by a watch until its verdict is final, or until there is a log to print.
 * Progress goes to stderr, a line when something has changed, unless args->quiet.
 */
#pragma once

#include "common/base/cleanup.h"
#include "kubectl-dbu/args.h"

struct cJSON;
struct clock;
struct dbupgrade;
struct fault;

/* Waits until the object is ready, failed, blocked or deleted, or args->timeout_ms is over. The
 * object as it was seen last is the caller's, also when it is deleted; NULL when the cluster has
 * not answered in time. Return: 0 with the code, CLUSTER_E_NOT_FOUND, CLUSTER_E_TROUBLE, a fault.
 */
int follow_until_over(const struct args *args, const struct clock *clock,
                      struct dbupgrade **ret_object, enum exit_code *ret_code, struct fault *f)
        MUST_CHECK;

/* Reads the object and the Pods of its last run; with args->follow again and again until the newest
 * Pod has a log or none is to come. Both are the caller's; *ret_pods may be NULL. Return: 0,
 * CLUSTER_E_NOT_FOUND, CLUSTER_E_TROUBLE, a fault. */
int follow_until_logs(const struct args *args, struct dbupgrade **ret_object,
                      struct cJSON **ret_pods, struct fault *f) MUST_CHECK;
