/* SPDX-License-Identifier: Apache-2.0 */
/* AdmissionReview (admission.k8s.io/v1): the bytes of a request in, the bytes of its answer out.
 *
 * Pure. Thread-safe. No tree of the whole document is built: one strict pass finds the envelope,
 * and only the specs become trees.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "common/base/cleanup.h"

struct fault;
struct strbuf;

enum review_path { REVIEW_MUTATE, REVIEW_VALIDATE };

/* Two objects of 3 MiB, the API server's own limit of a request, and the envelope. */
#define REVIEW_BODY_MAX ((size_t)7 << 20)
/* A denial names every mistake twice, escaped (RULES_TEXT_MAX). */
#define REVIEW_ANSWER_MAX ((size_t)8 << 20)

/* What denials are for: the reasons of metav1.StatusCause that the rules give, and those of reviews
 * that cannot be judged. */
enum review_cause {
        REVIEW_REQUIRED,
        REVIEW_INVALID,
        REVIEW_TYPE_INVALID,
        REVIEW_NOT_SUPPORTED,
        REVIEW_FORBIDDEN,
        REVIEW_DUPLICATE,
        REVIEW_TOO_LONG,
        REVIEW_TOO_MANY,
        REVIEW_BAD_REQUEST,
        REVIEW_CAUSES
};
/* "FieldValueRequired", …, "BadRequest". */
const char *review_cause_name(enum review_cause cause);

struct review_outcome {
        unsigned
                http_status; /* 200: the answer is an AdmissionReview; otherwise one line of text */
        bool allowed;        /* what the review says; false unless http_status is 200 */
        unsigned causes[REVIEW_CAUSES]; /* denied: how many there are of each */
};

/* Appends the answer to a request body. A body that is no AdmissionReview that can be answered is
 * 400; a review of anything else than a DBUpgrade is denied. Return: 0, -FAULT_NOMEM (500: a
 * failed call, which failurePolicy decides). */
int review_answer(enum review_path path, const char *body, size_t len, struct strbuf *out,
                  struct review_outcome *ret_outcome, struct fault *f) MUST_CHECK;
