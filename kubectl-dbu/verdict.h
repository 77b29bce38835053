/* SPDX-License-Identifier: Apache-2.0 */
/* How a DBUpgrade stands, from its status: one word, the reason, since when.
 *
 * Judged by the conditions (their reasons may grow), for the present spec only: what the status
 * says of an older generation, or of a run before a retry that nobody has handled yet, is no
 * verdict. Pure. All strings are borrowed from the object or static.
 */
#pragma once

#include <stdbool.h>

struct dbupgrade;

/* In the order in which they need somebody. */
enum state {
        STATE_FAILED,  /* stays so until somebody acts */
        STATE_BLOCKED, /* by its own spec */
        STATE_WAITING, /* for something that may come by itself */
        STATE_RUNNING,
        STATE_DONE,
};
#define STATE_COUNT (STATE_DONE + 1)

struct verdict {
        enum state state;
        const char *reason;  /* CamelCase: the status's, or "NotSeen", "RetryRequested", … */
        const char *message; /* as the operator wrote it: clean it before it is shown */
        const char *since;   /* metav1.Time; "" when not known */
        /* The last run itself failed or was lost: what `retry` is for. */
        bool run_failed;
};

struct verdict verdict_of(const struct dbupgrade *object);

/* "failed", … Static storage. */
const char *state_name(enum state state);

/* The retry annotation asks for a run that has not been started. */
bool verdict_retry_unhandled(const struct dbupgrade *object);
