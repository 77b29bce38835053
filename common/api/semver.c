/* SPDX-License-Identifier: Apache-2.0 */
#include "common/api/semver.h"

#include <stddef.h>
#include <string.h>

#define SEMVER_DIGITS  "0123456789"
#define SEMVER_LETTERS "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

/* Behind the number at p, which has no leading zeros; NULL when there is none. */
static const char *semver_number(const char *p) {
        size_t n = strspn(p, SEMVER_DIGITS);

        return n == 0 || (n > 1 && *p == '0') ? NULL : p + n;
}

/* Behind the identifiers at p, separated by '.'; NULL when one is missing, or numeric with leading
 * zeros where those are not allowed. */
static const char *semver_identifiers(const char *p, bool leading_zeros) {
        for (;;) {
                size_t n = strspn(p, SEMVER_DIGITS SEMVER_LETTERS "-");
                bool numeric = strspn(p, SEMVER_DIGITS) == n;

                if (n == 0 || (numeric && !leading_zeros && !semver_number(p)))
                        return NULL;
                p += n;
                if (*p != '.')
                        return p;
                p++;
        }
}

bool semver_valid(const char *text) {
        const char *p = text + (*text == 'v');

        for (int i = 0; i < 3; i++) {
                if (i > 0 && *p++ != '.')
                        return false;
                p = semver_number(p);
                if (!p)
                        return false;
        }
        if (*p == '-')
                p = semver_identifiers(p + 1, false);
        if (p && *p == '+')
                p = semver_identifiers(p + 1, true);
        return p && *p == '\0';
}
