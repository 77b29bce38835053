/* SPDX-License-Identifier: Apache-2.0 */
#include "common/base/utf8.h"

static bool is_continuation(char c) {
        return ((unsigned char)c & 0xc0) == 0x80;
}

size_t utf8_floor(const char *text, size_t len, size_t max) {
        size_t end = len < max ? len : max;

        if (end == len) {
                /* The end of the text may itself stand in a character that was cut before. */
                size_t start = end;

                while (start > 0 && end - start < 3 && is_continuation(text[start - 1]))
                        start--;
                if (start > 0 && (unsigned char)text[start - 1] >= 0xc0 &&
                    utf8_char(text + start - 1, len - start + 1) == 0)
                        return start - 1;
                return end;
        }
        while (end > 0 && is_continuation(text[end]))
                end--;
        return end;
}

size_t utf8_char(const char *text, size_t len) {
        const unsigned char *u = (const unsigned char *)text;
        unsigned char low = 0x80, high = 0xbf; /* the range of the second byte */
        size_t n;

        if (u[0] < 0x80)
                return 1;
        if (u[0] >= 0xc2 && u[0] <= 0xdf)
                n = 2;
        else if (u[0] >= 0xe0 && u[0] <= 0xef)
                n = 3;
        else if (u[0] >= 0xf0 && u[0] <= 0xf4)
                n = 4;
        else
                return 0;
        if (len < n)
                return 0;
        if (u[0] == 0xe0)
                low = 0xa0;
        else if (u[0] == 0xed)
                high = 0x9f;
        else if (u[0] == 0xf0)
                low = 0x90;
        else if (u[0] == 0xf4)
                high = 0x8f;
        if (u[1] < low || u[1] > high)
                return 0;
        for (size_t i = 2; i < n; i++)
                if (!is_continuation(text[i]))
                        return 0;
        return n;
}

bool utf8_valid(const char *text, size_t len) {
        for (size_t i = 0; i < len;) {
                size_t n = utf8_char(text + i, len - i);

                if (n == 0)
                        return false;
                i += n;
        }
        return true;
}

size_t utf8_encode(uint32_t code_point, char ret_bytes[4]) {
        if (code_point < 0x80) {
                ret_bytes[0] = (char)code_point;
                return 1;
        }
        if (code_point < 0x800) {
                ret_bytes[0] = (char)(0xc0 | code_point >> 6);
                ret_bytes[1] = (char)(0x80 | (code_point & 0x3f));
                return 2;
        }
        if (code_point < 0x10000) {
                ret_bytes[0] = (char)(0xe0 | code_point >> 12);
                ret_bytes[1] = (char)(0x80 | (code_point >> 6 & 0x3f));
                ret_bytes[2] = (char)(0x80 | (code_point & 0x3f));
                return 3;
        }
        ret_bytes[0] = (char)(0xf0 | code_point >> 18);
        ret_bytes[1] = (char)(0x80 | (code_point >> 12 & 0x3f));
        ret_bytes[2] = (char)(0x80 | (code_point >> 6 & 0x3f));
        ret_bytes[3] = (char)(0x80 | (code_point & 0x3f));
        return 4;
}
