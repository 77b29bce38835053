/* SPDX-License-Identifier: Apache-2.0 */
/* The decision about one DBUpgrade: rules, defaults, ratcheting, warnings.
 *
 * Pure: all memory comes from the caller's arena. Thread-safe.
 */
#pragma once

#include <stdbool.h>

#include "common/api/dbupgrade_rules.h"
#include "common/base/cleanup.h"
#include "common/json/json_check.h"

struct arena;
struct fault;

/* A tree takes up to 100 bytes for each value, so that of a larger spec would take more memory than
 * there is for it. What the schema allows is far below, but for lists of single digits where it
 * takes anything. */
#define ADMIT_VALUES_MAX 32768

/* Spans are of a document that json_check has accepted; absent or null: no such member. */
struct admit_request {
        bool mutating; /* asked before the schema's judgement and for defaults; no warnings then */
        bool update;   /* UPDATE; otherwise CREATE */
        bool deleting; /* the object has metadata.deletionTimestamp */
        struct json_span spec;
        struct json_span old_spec; /* UPDATE */
        /* UPDATE: spec.database, in which all is that is immutable, is the same to the byte. Saves
         * the tree of the old spec; false is always right. */
        bool same_database;
        size_t spec_values, old_spec_values;  /* how many values are in them */
        struct json_span run_result, run_job; /* UPDATE: the old status.lastRun */
};

struct admit_decision {
        bool allowed;
        struct rules_verdict verdict;   /* denied: all causes */
        struct rules_warnings warnings; /* allowed, not mutating */
        const char *patch;              /* allowed, mutating: JSON Patch; NULL: nothing to add */
};

/* A denial counts on the mutating path too: it is asked before schema validation, so the user sees
 * every mistake at once. Return: 0, -FAULT_NOMEM. */
int admit_judge(const struct admit_request *request, struct arena *arena,
                struct admit_decision *ret_decision, struct fault *f) MUST_CHECK;
