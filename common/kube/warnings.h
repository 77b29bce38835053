/* SPDX-License-Identifier: Apache-2.0 */
/* Warnings that the API server sends with its answers (an API that goes away, a member that is not
 * known), each once in a process: clients of several threads share one set. Thread-safe.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "common/base/cleanup.h"

/* So many different ones are told; a server that never says the same twice is not listened to for
 * ever. */
#define WARNINGS_MAX 256

/* The API server sends at most 256 characters; what is longer is cut. */
#define WARNING_TEXT_SIZE 1025

struct warnings;

/* Return: NULL when out of memory. */
struct warnings *warnings_new(void);
void warnings_free(struct warnings *w);
DEFINE_CLEANUP(struct warnings *, warnings_free)

/* Whether this text is told for the first time. */
bool warnings_is_new(struct warnings *w, const char *text);

/* The text of a Warning header's value (RFC 7234, 5.5: `299 - "text"`), unquoted. Return: false
 * when its code is not 299, as the API server's is, or when it has no text. Pure. */
bool warning_read(const char *value, char ret_text[WARNING_TEXT_SIZE]);
