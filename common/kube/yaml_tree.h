/* SPDX-License-Identifier: Apache-2.0 */
/* A small YAML document as a tree of mappings, sequences and scalars: for configuration files.
 *
 * libyaml's events with limits: one document, depth 16, 10,000 nodes; aliases and a key twice in
 * one mapping are refused. Every scalar is a string, as written; an unquoted null is empty. Pure.
 * Thread-safe.
 */
#pragma once

#include <stddef.h>

#include "common/base/cleanup.h"

struct fault;

enum yaml_kind { YAML_SCALAR, YAML_MAPPING, YAML_SEQUENCE };

struct yaml_node {
        enum yaml_kind kind;
        char *key;               /* of a member of a mapping; NULL otherwise */
        char *text;              /* of a scalar, NUL-terminated; wiped when freed */
        struct yaml_node *first; /* member or item, in the document's order */
        struct yaml_node *next;
};

/* Return: 0; -FAULT_INVALID with the line and what is wrong (never the text); -FAULT_NOMEM. An
 * empty document is an empty mapping. */
int yaml_tree_parse(const char *text, size_t len, struct yaml_node **ret_root, struct fault *f)
        MUST_CHECK;
/* Accepts NULL. */
void yaml_tree_free(struct yaml_node *root);
DEFINE_CLEANUP(struct yaml_node *, yaml_tree_free)

/* The member of that name, NULL when node is NULL, no mapping, or has none. */
const struct yaml_node *yaml_member(const struct yaml_node *node, const char *key);
/* The text of that member, NULL when it is absent, no scalar or empty. */
const char *yaml_text(const struct yaml_node *node, const char *key);
