/* SPDX-License-Identifier: Apache-2.0 */
/* Runs of ASCII characters, for grammars. Unlike strspn it makes no table of its set, which costs
 * more than the run where sets are large and texts short. Pure. */
#pragma once

#include <stddef.h>

enum chars_kind { CHARS_DIGITS = 1 << 0, CHARS_LOWER = 1 << 1, CHARS_UPPER = 1 << 2 };

#define CHARS_LETTERS (CHARS_LOWER | CHARS_UPPER)

/* How many bytes at text, before its NUL and at most max, are of one of these kinds or among
 * others. */
size_t chars_span(const char *text, size_t max, unsigned kinds, const char *others);
