/* SPDX-License-Identifier: Apache-2.0 */
/* Builds the Job that runs a migration. Pure but for the output buffer. Thread-safe. */
#pragma once

#include <stdint.h>

#include "common/api/names.h"
#include "common/base/cleanup.h"

struct dbupgrade;
struct fault;
struct strbuf;

/* Which run the Job is. */
struct job_identity {
        int64_t number;
        char run_key[RUN_KEY_SIZE];
        char attempt_key[RUN_KEY_SIZE];
        char name[NAMES_LABEL_SIZE];
        char name_label[NAMES_LABEL_SIZE];
};

/* Appends the Job as JSON, suspended. The spec must be valid (dbupgrade_rules): image and dir stand
 * in a shell command. The members of runner are copied byte for byte; the two security contexts,
 * the labels and the annotations are merged with the operator's, where the user's member wins.
 * Return: 0, -FAULT_NOMEM. */
int job_build(const struct dbupgrade *object, const struct job_identity *identity,
              struct strbuf *out, struct fault *f) MUST_CHECK;
