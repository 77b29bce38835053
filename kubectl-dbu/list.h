/* SPDX-License-Identifier: Apache-2.0 */
/* `kubectl dbu list`: DBUpgrades as a table or as JSON, those that need somebody first. Pure. */
#pragma once

#include <stddef.h>

#include "common/base/cleanup.h"

struct dbupgrade;
struct fault;
struct look;
struct strbuf;

/* Owned objects. */
struct object_list {
        struct dbupgrade **items;
        size_t count;
};
void object_list_done(struct object_list *list);

/* Reads a List as `kubectl get -o json` prints it. Return: 0, -FAULT_PROTO when it is none,
 * -FAULT_NOMEM. */
int object_list_decode(const char *text, size_t len, struct object_list *ret_list, struct fault *f)
        MUST_CHECK;

/* By state, then namespace and name. */
void object_list_sort(struct object_list *list);

/* Appends the table of a sorted list; where: "in the namespace \"shop\"", for an empty one. */
void list_print(struct strbuf *out, const struct object_list *list, const char *where,
                const struct look *look);

/* Appends {"items": [...]} of a sorted list. */
void list_print_json(struct strbuf *out, const struct object_list *list);
