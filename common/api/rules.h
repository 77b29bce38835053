/* SPDX-License-Identifier: Apache-2.0 */
/* Tables of rules, and the walk that applies them. Private to common/api/rules_*.c and
 * dbupgrade_rules.c.
 *
 * A table mirrors the schema: one row a member, in the order in which causes are listed. What a row
 * cannot say about one member alone (unions, duplicates, reserved names) is a `relate` function.
 */
#pragma once

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/api/dbupgrade_rules.h"
#include "common/base/arena.h"

enum rule_type {
        RULE_STRING,
        RULE_INTEGER,
        RULE_BOOLEAN,
        RULE_QUANTITY, /* a string, or a whole number */
        RULE_OBJECT,   /* of `members`; without them: of anything */
        RULE_LIST,     /* of `item` */
        RULE_MAP       /* of `item` */
};

enum rule_flag {
        RULE_REQUIRED = 1 << 0,  /* and, for a string, not empty */
        RULE_NOT_EMPTY = 1 << 1, /* if it is there */
        RULE_IMMUTABLE = 1 << 2, /* strings and integers */
        /* Absent or empty, it is said to be empty: "… cannot be empty". */
        RULE_SAID_EMPTY = 1 << 3,
        RULE_PASSED_ON = 1 << 4, /* goes into the Job as it is: at most RULES_PASSED_ON_MAX bytes */
};

struct rules;
struct rules_at;

struct rule {
        const char *name; /* NULL ends a table */
        enum rule_type type;
        unsigned flags;
        int64_t min, max;          /* integer: range; string, quantity: max characters; list, map,
                                      object: items, no maximum when 0 */
        int64_t fallback;          /* default of an immutable integer */
        const char *const *values; /* the strings that are supported, NULL at the end */
        bool (*form)(const char *text);
        const char *form_text;      /* "must be …" */
        const struct rule *members; /* at most RULES_MEMBERS_MAX */
        const struct rule *item;
        /* Called at the member, present or not, before anything else is said about it. */
        void (*relate)(struct rules *r, const struct rules_at *at);
        /* Called at a list or map of the right type and size, before its items. */
        void (*refine)(struct rules *r, const struct rules_at *at);
        /* What a missing or empty value is called, instead of its path. */
        const char *(*subject)(struct rules *r, const struct rules_at *at);
};

#define RULES_MEMBERS_MAX   24
#define RULES_PASSED_ON_MAX 16384
/* Values are quoted in messages up to here: twice the longest that may be valid. */
#define RULES_VALUE_MAX 4096

/* Where the walk is. */
struct rules_at {
        const struct rules_at *up; /* NULL at spec */
        const struct rule *rule;
        const char *key;   /* in a map; NULL otherwise */
        int index;         /* in a list; -1 otherwise */
        const cJSON *node; /* NULL or null: absent */
        const cJSON *old;  /* the same member in the old spec; not followed into lists and maps */
};

struct rules {
        struct arena *arena;
        struct rules_cause *causes; /* room for RULES_CAUSES_MAX; NULL before the first */
        size_t count, text;         /* how many, and their bytes */
        bool full;                  /* the last cause says that there are more */
};

/* Judges node by rule, with all below it. */
void rules_walk(struct rules *r, const struct rules_at *at);

/* Whether the walk at this place finds nothing; what it finds is dropped. */
bool rules_accept(struct rules *r, const struct rules_at *at);

/* Adds a cause at this place. */
void rules_add(struct rules *r, const struct rules_at *at, const char *reason, const char *fmt, ...)
        FORMAT(4, 5);

/* The place as in messages: its path without "spec.". Lives in the arena. */
const char *rules_path(struct rules *r, const struct rules_at *at);

/* The text as JSON, quotes and all, cut after RULES_VALUE_MAX bytes. Lives in the arena. */
const char *rules_quote(struct rules *r, const char *text);

/* The text, cut after RULES_VALUE_MAX bytes. */
const char *rules_cut(struct rules *r, const char *text);

/* The item of a list that this place is in or below; NULL when there is none. */
const struct rules_at *rules_item(const struct rules_at *at);

/* Whether an earlier item of the list has the same `name` as the item at this place. Lists are
 * short: their maximum was checked before their items. */
bool rules_is_duplicate(const struct rules_at *at);

/* The tables, by subject. */
extern const struct rule rules_migrations[], rules_database[], rules_checks[], rules_runner[];

/* The relate function of spec.database itself. */
void rules_database_relate(struct rules *r, const struct rules_at *at);
