/* SPDX-License-Identifier: Apache-2.0 */
/* The threads of the reconciler: a watch a resource and namespace, and the workers.
 *
 * Order of calls: controller_new, controller_start, controller_stop, controller_free. The workers
 * begin when every first list is complete.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "common/base/cleanup.h"
#include "common/kube/kube_curl.h"

struct clock;
struct controller;
struct fault;
struct meters;
struct random;

struct controller_opts {
        /* How to reach the API server; component is set by the controller for each thread. */
        struct kube_curl_opts kube;
        const struct clock *clock;
        const struct random *random;
        struct meters *meters;
        const char *const *namespaces; /* NULL-terminated; empty: all */
        const char *selector;          /* of DBUpgrades; NULL: all */
        int64_t workers;
        const char *instance; /* of events: the Pod's name */
        bool elected;         /* workers wait for controller_lead */
};

/* All pointers of opts are borrowed until controller_free. Return: 0, -FAULT_INVALID, -FAULT_NOMEM.
 */
int controller_new(const struct controller_opts *opts, struct controller **ret_controller,
                   struct fault *f) MUST_CHECK;

/* Return: 0, or -FAULT_IO when a thread cannot be made (controller_stop ends those that were). */
int controller_start(struct controller *c, struct fault *f) MUST_CHECK;

/* From now on workers work. Thread-safe. */
void controller_lead(struct controller *c);

/* Whether every first list is complete. Thread-safe. */
bool controller_is_synced(struct controller *c);

/* Fails when a thread hangs (a worker in one pass for 5 minutes, a watch that has not moved for 15,
 * an event under way for one): an ops_check for liveness. Never because of the API server: every
 * request has a time-out, every pass an end. Thread-safe. */
int controller_check_alive(void *controller, struct fault *f) MUST_CHECK;
/* Fails until the first lists are complete: an ops_check for readiness. Thread-safe. */
int controller_check_synced(void *controller, struct fault *f) MUST_CHECK;

/* Stops watches, then workers (a pass under way has 15 s to its end, and is cut off then), sends
 * the events that are left, for 3 s at most, and waits for all of them. */
void controller_stop(struct controller *c);

/* Accepts NULL; the threads must have been stopped. */
void controller_free(struct controller *c);
DEFINE_CLEANUP(struct controller *, controller_free)
