/* SPDX-License-Identifier: Apache-2.0 */
/* The thread that runs keeper_pass again and again.
 *
 * Order of calls: keeper_loop_start, keeper_loop_stop (waits for the pass under way).
 */
#pragma once

#include "certs/keeper.h"

struct keeper_loop;

/* opts and what they point to are borrowed until keeper_loop_stop; the thread uses opts->kube
 * alone. Return: 0, -FAULT_NOMEM, -FAULT_IO (no thread). */
int keeper_loop_start(const struct keeper_opts *opts, struct keeper_loop **ret_loop,
                      struct fault *f) MUST_CHECK;
/* Interrupts a request, waits for the thread, frees. Accepts NULL. */
void keeper_loop_stop(struct keeper_loop *loop);
DEFINE_CLEANUP(struct keeper_loop *, keeper_loop_stop)
