/* SPDX-License-Identifier: Apache-2.0 */
/* What a valid spec is: the rules of the API, beyond what cJSON trees of checked JSON guarantee.
 *
 * One function for the webhook and for the reconciler (for objects that were stored while the
 * webhook was off). Bounds are those of the CRD; tests hold the two together. Wording: causes read
 * as Kubernetes' own field errors do. An explicit null counts as absent, unknown members do not
 * count. Pure: all memory comes from the caller's arena. Thread-safe.
 */
#pragma once

#include <stddef.h>

#include "common/base/cleanup.h"

struct arena;
struct cJSON;
struct fault;

/* One mistake, as in metav1.StatusCause. Strings live in the arena or are static. */
struct rules_cause {
        const char *reason;  /* "FieldValueRequired", … */
        const char *field;   /* "spec.checks.pre.metrics[0].name" */
        const char *message; /* begins with Kubernetes' phrase for the reason */
};

struct rules_verdict {
        const struct rules_cause *causes; /* in spec order */
        size_t count;                     /* 0: valid */
};

/* More causes than this, or more than these bytes of them, help nobody; the last one says then that
 * there are more. */
#define RULES_CAUSES_MAX 256
#define RULES_TEXT_MAX   ((size_t)256 << 10)

/* Arena bytes that any verdict fits in: each cause quotes at most a few values of RULES_VALUE_MAX
 * bytes, escaped; an arena of this cap only fails when memory does. */
#define RULES_ARENA_MAX ((size_t)64 << 20)

/* Judges a spec (NULL: absent). old_spec is NULL for a new object; otherwise causes that the old
 * spec has too do not count, and what is immutable must not differ. Return: 0, -FAULT_NOMEM. */
int dbupgrade_rules_judge(const struct cJSON *spec, const struct cJSON *old_spec,
                          struct arena *arena, struct rules_verdict *ret_verdict, struct fault *f)
        MUST_CHECK;

/* Bounds of the API server: longer warnings are cut, more bytes in all are dropped. */
#define RULES_WARNING_MAX       256
#define RULES_WARNINGS_SIZE_MAX 4096
#define RULES_WARNINGS_MAX      64

struct rules_warnings {
        const char *text[RULES_WARNINGS_MAX];
        size_t count;
        size_t size; /* bytes in all */
};

/* Appends what is allowed and yet surprising about a spec, in spec order. */
void dbupgrade_rules_warn(const struct cJSON *spec, struct arena *arena,
                          struct rules_warnings *warnings);

/* Appends one warning unless it is too long or there are too many. */
void dbupgrade_rules_warning(struct rules_warnings *warnings, const char *text);
