/* SPDX-License-Identifier: Apache-2.0 */
/* The one strict pass that outside JSON takes before anything else reads it.
 *
 * Accepts RFC 8259 and no more: valid UTF-8, no raw control bytes, no NUL and no \u0000 (cJSON
 * would cut the string there), no lone surrogates, no number forms beyond the grammar, nothing
 * after the value, no member name twice in one object (parsers differ in which one counts). Depth
 * is capped. On the way it notes where wanted members are, so that a caller can read or copy a part
 * byte for byte without building a tree of the whole.
 *
 * Pure but for the allocation of a key table (freed before return). Thread-safe.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/cleanup.h"

struct fault;

/* Deeper than any Kubernetes object (a Pod template in a Job needs 14), far below what parsers'
 * stacks bear. */
#define JSON_MAX_DEPTH 64

/* A value's text inside the checked document: borrowed, not NUL-terminated. text == NULL: absent.
 */
struct json_span {
        const char *text;
        size_t len;
};

/* Members of all objects that are open at a time: many times what any object has, and it bounds the
 * memory of the pass. */
#define JSON_NAMES_MAX 524288

/* A wanted member: path segments from the top, NULL-terminated. Found spans go to `span`, and the
 * number of values in it (itself and all below, what a tree of it would have) to `values`; the
 * caller sets both to 0 first. */
#define JSON_WANT_SEGMENTS 6
#define JSON_WANT_MAX      64
struct json_want {
        const char *path[JSON_WANT_SEGMENTS + 1];
        struct json_span span;
        size_t values;
};

/* Checks text[0..len) and fills the spans of wants[0..want_count) (at most JSON_WANT_MAX).
 * Return: 0, -FAULT_INVALID with "byte N: what is wrong", -FAULT_NOMEM. On failure the spans say
 * nothing. */
int json_check(const char *text, size_t len, struct json_want *wants, size_t want_count,
               struct fault *f) MUST_CHECK;

/* Steps through the elements of an array that json_check has accepted. *cursor begins at 0.
 * Return: false at the end, or when span is absent or no array. */
bool json_span_next(const struct json_span *array, size_t *cursor, struct json_span *ret_element);

/* Whether the span of a checked document is an object, array, string, … by its first byte. */
char json_span_kind(
        const struct json_span *span); /* '{' '[' '"' '0' 't' 'f' 'n', or 0 when absent */

/* Decodes a checked string span (escapes resolved) into ret_text[0..size), NUL-terminated.
 * Return: false when it is absent, no string, or does not fit. */
bool json_span_string(const struct json_span *span, char *ret_text, size_t size);

/* Whether a checked span is this string, however it is escaped. */
bool json_span_is(const struct json_span *span, const char *text);
