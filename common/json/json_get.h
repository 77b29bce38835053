/* SPDX-License-Identifier: Apache-2.0 */
/* Typed reading of cJSON trees: case-sensitive, type-checked, exact for integers.
 *
 * cJSON is lenient and its getters are not type-safe; nothing else in this tree calls them. All
 * getters accept a NULL node and answer "absent" then. Trees are borrowed, results point into them.
 * Pure. Thread-safe for reading.
 */
#pragma once

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/cleanup.h"
#include "common/json/json_check.h"

struct fault;

DEFINE_CLEANUP(cJSON *, cJSON_Delete)

/* json_check, then a tree. Return: 0, -FAULT_INVALID, -FAULT_NOMEM. The tree is the caller's. */
int json_parse(const char *text, size_t len, cJSON **ret_tree, struct fault *f) MUST_CHECK;

/* A tree of a span of a document that json_check has accepted. Return: 0, -FAULT_NOMEM. */
int json_parse_span(const struct json_span *span, cJSON **ret_tree, struct fault *f) MUST_CHECK;

/* The member of that name, NULL when node is no object or has none. A JSON null counts as a member:
 * see json_is_absent. */
const cJSON *json_member(const cJSON *node, const char *name);

/* Follows member names separated by '.', such as "metadata.name" (names with dots: json_member). */
const cJSON *json_at(const cJSON *node, const char *path);

/* Absent or null: Kubernetes treats an explicit null as absent. */
bool json_is_absent(const cJSON *node);

/* The string, or NULL when node is no string. */
const char *json_string(const cJSON *node);
/* json_string(json_at(node, path)), "" when absent or of another type: for informational members.
 */
const char *json_string_at(const cJSON *node, const char *path);

/* Return: false unless node is a number without fraction, within +-(2^53 - 1) (cJSON keeps
 * doubles). */
bool json_int(const cJSON *node, int64_t *ret_value);
/* The integer, or fallback when absent or of another type. */
int64_t json_int_at(const cJSON *node, const char *path, int64_t fallback);

/* True only when the member is the JSON value true. */
bool json_true_at(const cJSON *node, const char *path);
