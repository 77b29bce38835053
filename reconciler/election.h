/* SPDX-License-Identifier: Apache-2.0 */
/* The thread that runs for leader, and what happens in the process when it wins or loses.
 *
 * Order of calls: election_new; its write deadline goes into the struct kube of everybody who
 * writes; election_start; election_stop once nobody writes any more; election_free. When leadership
 * is lost the process ends at once with status 1, since others may begin: there is no way back to
 * waiting that a thread in the middle of a write could not miss.
 */
#pragma once

#include <stdint.h>

#include "common/base/cleanup.h"
#include "common/kube/kube_curl.h"

struct election;
struct fault;
struct series;

struct election_opts {
        struct kube_curl_opts kube;              /* without a write deadline */
        const char *namespace_, *name;           /* of the Lease; borrowed */
        const char *instance;                    /* begins the identity */
        int64_t duration_ms, renew_ms, retry_ms; /* see struct lease_config */
        struct series *leading_gauge;
        void (*leading)(void *ctx); /* once, in the election's thread */
        void *ctx;
};

/* Return: 0, -FAULT_INVALID (durations that do not fit together), -FAULT_NOMEM. */
int election_new(const struct election_opts *opts, struct election **ret_election, struct fault *f)
        MUST_CHECK;
/* Return: 0, -FAULT_IO. */
int election_start(struct election *e, struct fault *f) MUST_CHECK;
/* Gives the Lease back, so that others begin at once, and waits for the thread. */
void election_stop(struct election *e);
/* Accepts NULL. Stops it if need be. */
void election_free(struct election *e);
DEFINE_CLEANUP(struct election *, election_free)

/* As kube_curl_opts.write_deadline_ms; ctx: the struct election. Thread-safe. */
int64_t election_write_deadline_ms(void *election);

/* Fails when the leader's thread has let its time pass and has not ended the process: an ops_check
 * for liveness. Thread-safe. */
int election_check(void *election, struct fault *f) MUST_CHECK;
