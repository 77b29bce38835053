/* SPDX-License-Identifier: Apache-2.0 */
/* Tells the world about transitions: events and the outcome hook of the metrics.
 *
 * Only after the status write that makes the transition, so an event may be lost in a crash but is
 * never doubled: its name is a hash of what happened, and 409 is success. Goes to the pass's hooks,
 * which do not block and cannot fail.
 */
#pragma once

#include <stdbool.h>

#include "common/api/dbupgrade.h"

struct pass;

/* What has to be remembered of the status before a write. */
struct report_before {
        enum run_result result;
        bool secret_missing; /* Degraded=True/SecretNotFound */
};

struct report_before report_before(const struct dbupgrade *object);

/* r is what act_write_status returned; on 0 the events of the transition are posted, on
 * ACT_E_FORBIDDEN one that says which right is missing. Return: r. */
int report_after_write(struct pass *p, const struct report_before *before, int r);

/* The Job was unsuspended. */
void report_started(struct pass *p);
