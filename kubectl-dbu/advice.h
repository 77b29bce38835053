/* SPDX-License-Identifier: Apache-2.0 */
/* What a person can do next about an object, and what a retry would do. Pure. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "kubectl-dbu/verdict.h"

struct arena;
struct cJSON;
struct dbupgrade;

/* One step: a sentence, a command to copy ("" for none), or both. */
struct advice_step {
        const char *text, *command;
};

#define ADVICE_MAX 4
struct advice {
        struct advice_step steps[ADVICE_MAX];
        size_t count;
};

/* Texts are in the arena or borrowed from the object; they hold parts of others' texts. */
struct advice advice_of(struct arena *a, const struct dbupgrade *object, const struct verdict *v);

/* Whether `retry` has something to do, and what a new value of the annotation would lead to. */
struct advice_retry {
        bool sensible;
        const char *effect; /* "the failed run 3 is repeated", …: a clause */
};
struct advice_retry advice_retry(struct arena *a, const struct dbupgrade *object,
                                 const struct verdict *v);

/* Why there is no log to print of the last run, and what is known instead. pods: the List of its
 * Pods, or NULL. */
const char *advice_no_logs(struct arena *a, const struct dbupgrade *object,
                           const struct cJSON *pods);
