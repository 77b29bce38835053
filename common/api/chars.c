/* SPDX-License-Identifier: Apache-2.0 */
#include "common/api/chars.h"

#include <string.h>

static unsigned chars_kind(char c) {
        if (c >= 'a' && c <= 'z')
                return CHARS_LOWER;
        if (c >= '0' && c <= '9')
                return CHARS_DIGITS;
        return c >= 'A' && c <= 'Z' ? CHARS_UPPER : 0;
}

size_t chars_span(const char *text, size_t max, unsigned kinds, const char *others) {
        size_t n = 0;

        while (n < max && text[n] && (chars_kind(text[n]) & kinds || strchr(others, text[n])))
                n++;
        return n;
}
