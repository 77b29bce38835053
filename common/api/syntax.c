/* SPDX-License-Identifier: Apache-2.0 */
#include "common/api/syntax.h"

#include <stdint.h>
#include <string.h>

#include "common/api/chars.h"

#define SYNTAX_ACCOUNT_LEN   12
#define SYNTAX_ROLE_NAME_MAX 64

bool syntax_subdomain(const char *text) {
        for (;;) {
                size_t n = chars_span(text, SIZE_MAX, CHARS_DIGITS | CHARS_LOWER, "-");

                if (n == 0 || text[0] == '-' || text[n - 1] == '-')
                        return false;
                if (text[n] != '.')
                        return text[n] == '\0';
                text += n + 1;
        }
}

bool syntax_secret_key(const char *text) {
        size_t n = chars_span(text, SIZE_MAX, CHARS_DIGITS | CHARS_LETTERS, "._-");

        return n > 0 && text[n] == '\0' && strcmp(text, ".") != 0 && strncmp(text, "..", 2) != 0;
}

bool syntax_dir(const char *text) {
        if (*text != '/')
                return false;
        while (*text == '/') {
                size_t n = chars_span(++text, SIZE_MAX, CHARS_DIGITS | CHARS_LETTERS, "._-");

                if (n == 0 || (n <= 2 && chars_span(text, n, 0, ".") == n))
                        return false;
                text += n;
        }
        return *text == '\0';
}

/* Behind "aws" and any number of "-word"; NULL when the text begins otherwise. */
static const char *syntax_partition(const char *text) {
        if (strncmp(text, "aws", 3) != 0)
                return NULL;
        text += 3;
        while (*text == '-') {
                size_t n = chars_span(++text, SIZE_MAX, CHARS_LOWER, "");

                if (n == 0)
                        return NULL;
                text += n;
        }
        return text;
}

/* "[segment/]...name", segments of printable ASCII. */
static bool syntax_role_path(const char *text) {
        size_t name;

        for (const char *slash; (slash = strchr(text, '/')); text = slash + 1) {
                if (slash == text)
                        return false;
                for (const char *c = text; c < slash; c++)
                        if (*c < '!' || *c > '~')
                                return false;
        }
        name = chars_span(text, SIZE_MAX, CHARS_DIGITS | CHARS_LETTERS, "_+=,.@-");
        return name > 0 && name <= SYNTAX_ROLE_NAME_MAX && text[name] == '\0';
}

bool syntax_role_arn(const char *text) {
        static const char service[] = ":iam::", role[] = ":role/";

        if (strncmp(text, "arn:", 4) != 0)
                return false;
        text = syntax_partition(text + 4);
        if (!text || strncmp(text, service, sizeof(service) - 1) != 0)
                return false;
        text += sizeof(service) - 1;
        if (chars_span(text, SIZE_MAX, CHARS_DIGITS, "") != SYNTAX_ACCOUNT_LEN)
                return false;
        text += SYNTAX_ACCOUNT_LEN;
        return strncmp(text, role, sizeof(role) - 1) == 0 &&
               syntax_role_path(text + sizeof(role) - 1);
}
