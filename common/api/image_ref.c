/* SPDX-License-Identifier: Apache-2.0 */
#include "common/api/image_ref.h"

#include <stdint.h>
#include <string.h>

#include "common/api/chars.h"

#define IMAGE_TAG_MAX 128

/* All of these work on text[0..len), since a reference is taken apart from its end. */

static bool image_digest_valid(const char *text) {
        static const struct {
                const char *algorithm;
                size_t digits;
        } known[] = { { "sha256:", 64 }, { "sha384:", 96 }, { "sha512:", 128 } };

        for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
                const char *hex = text + strlen(known[i].algorithm);

                if (strncmp(text, known[i].algorithm, strlen(known[i].algorithm)) == 0)
                        return strlen(hex) == known[i].digits &&
                               chars_span(hex, SIZE_MAX, CHARS_DIGITS, "abcdef") == known[i].digits;
        }
        return false;
}

static bool image_tag_valid(const char *text, size_t len) {
        return len > 0 && len <= IMAGE_TAG_MAX && *text != '.' && *text != '-' &&
               chars_span(text, len, CHARS_DIGITS | CHARS_LETTERS, "_.-") == len;
}

/* "label(.label)*[:port]" */
static bool image_host_valid(const char *text, size_t len) {
        const char *colon = memchr(text, ':', len);

        if (colon) {
                size_t port = len - (size_t)(colon + 1 - text);

                if (port == 0 || chars_span(colon + 1, port, CHARS_DIGITS, "") != port)
                        return false;
                len = (size_t)(colon - text);
        }
        for (;;) {
                size_t n = chars_span(text, len, CHARS_DIGITS | CHARS_LETTERS, "-");

                if (n == 0 || text[0] == '-' || text[n - 1] == '-')
                        return false;
                if (n == len)
                        return true;
                if (text[n] != '.')
                        return false;
                text += n + 1;
                len -= n + 1;
        }
}

/* The length of the separator at text ('.', '_', "__", any number of '-'), 0 when it is none. */
static size_t image_separator(const char *text, size_t len) {
        size_t n = chars_span(text, len, 0, "-");

        if (n > 0)
                return n;
        if (len > 0 && *text == '.')
                return 1;
        n = chars_span(text, len, 0, "_");
        return n <= 2 ? n : 0;
}

/* "alphanumeric(separator alphanumeric)*", lower case. */
static bool image_component_valid(const char *text, size_t len) {
        for (;;) {
                size_t n = chars_span(text, len, CHARS_DIGITS | CHARS_LOWER, "");
                size_t separator = image_separator(text + n, len - n);

                if (n == 0)
                        return false;
                if (n == len)
                        return true;
                if (separator == 0)
                        return false;
                text += n + separator;
                len -= n + separator;
        }
}

/* "[host/]component(/component)*" */
static bool image_name_valid(const char *text, size_t len) {
        const char *slash = memchr(text, '/', len);

        if (slash && image_host_valid(text, (size_t)(slash - text))) {
                len -= (size_t)(slash + 1 - text);
                text = slash + 1;
                slash = memchr(text, '/', len);
        }
        for (; slash; slash = memchr(text, '/', len)) {
                if (!image_component_valid(text, (size_t)(slash - text)))
                        return false;
                len -= (size_t)(slash + 1 - text);
                text = slash + 1;
        }
        return image_component_valid(text, len);
}

bool image_ref_parse(const char *text, struct image_ref *ret_ref) {
        const char *at = strchr(text, '@');
        size_t len = at ? (size_t)(at - text) : strlen(text);
        const char *colon = memrchr(text, ':', len), *tag = NULL;
        size_t tag_len = 0;

        if (at && !image_digest_valid(at + 1))
                return false;
        /* A colon with a slash behind it belongs to the port. */
        if (colon && !memchr(colon, '/', len - (size_t)(colon - text))) {
                tag = colon + 1;
                tag_len = len - (size_t)(tag - text);
                len = (size_t)(colon - text);
                if (!image_tag_valid(tag, tag_len))
                        return false;
        }
        if (!image_name_valid(text, len))
                return false;
        *ret_ref = (struct image_ref){
                .has_tag = tag,
                .has_digest = at,
                .is_latest =
                        tag && tag_len == strlen("latest") && memcmp(tag, "latest", tag_len) == 0,
        };
        return true;
}
