/* SPDX-License-Identifier: Apache-2.0 */
/* UTF-8 boundaries and validity (RFC 3629). Pure. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The greatest length <= max at which text (len bytes of UTF-8) can be cut without splitting a
 * character. */
size_t utf8_floor(const char *text, size_t len, size_t max);

/* The length in bytes of the character at text[0..len), 0 when it is not valid: truncated,
 * overlong, a surrogate, or beyond U+10FFFF. len must not be 0. */
size_t utf8_char(const char *text, size_t len);

/* Whether all of text[0..len) is valid. */
bool utf8_valid(const char *text, size_t len);

/* Encodes a code point (<= 0x10FFFF, no surrogate) into ret_bytes. Return: 1 to 4 bytes. */
size_t utf8_encode(uint32_t code_point, char ret_bytes[4]);
