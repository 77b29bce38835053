/* SPDX-License-Identifier: Apache-2.0 */
/* The commands: ask the cluster, let the pure parts judge and write, print. */
#pragma once

#include "common/base/cleanup.h"
#include "kubectl-dbu/args.h"

struct clock;
struct fault;

/* Runs args->command, one that asks the cluster. Return: 0 with the exit code, or a fault (exit
 * with CODE_TROUBLE). */
int commands_run(const struct args *args, const struct clock *clock, enum exit_code *ret_code,
                 struct fault *f) MUST_CHECK;
