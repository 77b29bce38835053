/* SPDX-License-Identifier: Apache-2.0 */
/* Runs for leader and stays it: the thread around common/kube/lease.h.
 *
 * It needs a thread and a struct kube of its own, without a write gate: a long list being read must
 * not delay a renewal. Order of calls: leader_new; leader_run in a thread that the caller makes;
 * leader_stop once nothing writes any more; after the thread has ended leader_free.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "common/base/cleanup.h"
#include "common/kube/kube.h"
#include "common/kube/lease.h"

struct clock;
struct fault;
struct leader;
struct random;

struct leader_opts {
        struct kube kube;          /* taken, also when leader_new fails */
        struct lease_config lease; /* its strings are borrowed, as clock and random */
        const char *field_manager; /* "dbupgrade-reconciler" */
        const struct clock *clock;
        const struct random *random;
        void (*leading)(void *ctx); /* once, in the thread of leader_run, when leadership begins */
        void *ctx;
};

enum {
        LEADER_E_LOST = 1, /* somebody else may lead now */
};

/* Return: 0, -FAULT_INVALID (see lease_config_check), -FAULT_NOMEM. */
int leader_new(struct leader_opts *opts, struct leader **ret_leader, struct fault *f) MUST_CHECK;
/* Accepts NULL. Closes the kube. */
void leader_free(struct leader *leader);
DEFINE_CLEANUP(struct leader *, leader_free)

/* Blocks. Return: 0 after leader_stop; LEADER_E_LOST: the caller ends the process at once, for
 * requests of other threads may still be under way. */
int leader_run(struct leader *leader) MUST_CHECK;

/* From any thread: gives the lease back and ends leader_run, within the time-out of a request (half
 * the renew deadline). */
void leader_stop(struct leader *leader);

/* From any thread, as kube_curl_opts.write_deadline_ms: until when the leader may write, on the
 * boot clock; 0 while it is none. ctx: the struct leader. */
int64_t leader_write_deadline_ms(void *ctx);
