/* SPDX-License-Identifier: Apache-2.0 */
#include "common/api/quantity.h"

#include <stddef.h>
#include <string.h>

#define QUANTITY_DIGITS "0123456789"
/* An exponent is read into 64 bits. */
#define QUANTITY_EXPONENT_DIGITS 18

static bool quantity_suffix_valid(const char *p) {
        static const char *const suffixes[] = { "",  "n", "u",  "m",  "k",  "M",  "G",  "T",
                                                "P", "E", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei" };
        size_t n;

        for (size_t i = 0; i < sizeof(suffixes) / sizeof(suffixes[0]); i++)
                if (strcmp(p, suffixes[i]) == 0)
                        return true;
        if (*p != 'e' && *p != 'E')
                return false;
        p++;
        p += *p == '+' || *p == '-';
        n = strspn(p, QUANTITY_DIGITS);
        return n > 0 && n <= QUANTITY_EXPONENT_DIGITS && p[n] == '\0';
}

bool quantity_valid(const char *text) {
        const char *p = text + (*text == '+' || *text == '-');
        size_t whole = strspn(p, QUANTITY_DIGITS), fraction = 0;

        p += whole;
        if (*p == '.') {
                fraction = strspn(p + 1, QUANTITY_DIGITS);
                p += 1 + fraction;
        }
        return whole + fraction > 0 && quantity_suffix_valid(p);
}
