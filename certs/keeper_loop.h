/* SPDX-License-Identifier: Apache-2.0 */
/* The threads that run keeper_pass again and again: whenever a webhook configuration changes, for
 * somebody may have emptied its caBundle, when something is due, and once a minute, since wall time
 * may jump and the Secrets are not watched.
 *
 * Order of calls: keeper_loop_start, keeper_loop_stop (waits for the pass under way).
 */
#pragma once

#include <stdatomic.h>

#include "certs/keeper.h"
#include "common/kube/kube.h"

struct keeper_loop;
struct random;

struct keeper_loop_opts {
        /* Copied; what it points to is borrowed until keeper_loop_stop. Its kube is used by the
         * keeper's thread alone. */
        struct keeper_opts keeper;
        struct kube watches[RENEW_CONFIGURATIONS]; /* taken, also when keeper_loop_start fails */
        const struct random *random;
        /* Since when a pass is under way (monotonic), 0 while none is: for liveness. Every request
         * of a pass has a time-out of 30 s, and there are at most half a dozen. */
        _Atomic int64_t *busy_since_ms;
};

/* Return: 0, -FAULT_NOMEM, -FAULT_IO (no thread). */
int keeper_loop_start(struct keeper_loop_opts *opts, struct keeper_loop **ret_loop, struct fault *f)
        MUST_CHECK;
/* Interrupts requests, waits for the threads, frees. Accepts NULL. */
void keeper_loop_stop(struct keeper_loop *loop);
DEFINE_CLEANUP(struct keeper_loop *, keeper_loop_stop)
