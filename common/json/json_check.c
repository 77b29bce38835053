/* SPDX-License-Identifier: Apache-2.0 */
#include "common/json/json_check.h"

#include <endian.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/fault.h"
#include "common/base/utf8.h"

/* A member name of an object that is still open. Two names are taken for equal when their 64-bit
 * hashes are: a forged collision only gets the forger's own document refused. */
struct json_name {
        uint64_t hash;
        size_t offset;
};

/* A member's name as it stands in the document, between its quotes. */
struct json_key {
        const char *text;
        size_t len;
        bool plain; /* without escapes, and ASCII */
};

struct json_scan {
        const char *text;
        size_t len, at;
        struct json_want *wants;
        size_t want_count;
        struct json_name *names; /* those of all open objects, innermost last */
        size_t name_count, name_cap;
        size_t values; /* seen so far */
        struct fault *f;
};

/* Names beyond this do not come up in wants; enough for any label key (253 + 1 + 63). */
#define JSON_WANT_NAME_SIZE 320
#define JSON_NAMES_FEW      16

static void json_names_done(struct json_scan *s) {
        free(s->names);
}

static int json_bad(struct json_scan *s, const char *what) {
        return fault_set(s->f, FAULT_INVALID, "invalid JSON at byte %zu: %s", s->at, what);
}

static void json_skip_space(struct json_scan *s) {
        while (s->at < s->len && (s->text[s->at] == ' ' || s->text[s->at] == '\n' ||
                                  s->text[s->at] == '\r' || s->text[s->at] == '\t'))
                s->at++;
}

/* The next byte, 0 at the end (a NUL in the text is no JSON anywhere, so the two need no telling
 * apart). */
static char json_peek(const struct json_scan *s) {
        return s->at < s->len ? s->text[s->at] : '\0';
}

/* Four hexadecimal digits at text. Return: false when they are not. */
static bool json_hex4(const char *text, size_t len, uint32_t *ret_value) {
        uint32_t value = 0;

        if (len < 4)
                return false;
        for (size_t i = 0; i < 4; i++) {
                char c = text[i];

                value <<= 4;
                if (c >= '0' && c <= '9')
                        value |= (uint32_t)(c - '0');
                else if (c >= 'a' && c <= 'f')
                        value |= (uint32_t)(c - 'a' + 10);
                else if (c >= 'A' && c <= 'F')
                        value |= (uint32_t)(c - 'A' + 10);
                else
                        return false;
        }
        *ret_value = value;
        return true;
}

/* Decodes the escape sequence at text (which begins with '\\'). Return: its length in bytes, 0 when
 * it is no valid one; \u0000 is none here. */
static size_t json_escape(const char *text, size_t len, uint32_t *ret_code_point) {
        static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
        uint32_t high, low;
        const char *found;

        if (len < 2)
                return 0;
        if (text[1] != 'u') {
                found = text[1] ? strchr(from, text[1]) : NULL;
                if (!found)
                        return 0;
                *ret_code_point = (uint32_t)to[found - from];
                return 2;
        }
        if (!json_hex4(text + 2, len - 2, &high) || high == 0 || (high >= 0xdc00 && high <= 0xdfff))
                return 0;
        if (high < 0xd800 || high > 0xdbff) {
                *ret_code_point = high;
                return 6;
        }
        if (len < 12 || text[6] != '\\' || text[7] != 'u' || !json_hex4(text + 8, len - 8, &low) ||
            low < 0xdc00 || low > 0xdfff)
                return 0;
        *ret_code_point = 0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00);
        return 12;
}

/* Whether a byte stands for itself in a string: neither control, quote, backslash nor beyond ASCII.
 */
static bool json_is_plain(char c) {
        return c >= 0x20 && c != '"' && c != '\\' && ((unsigned char)c & 0x80) == 0;
}

/* How many bytes at text stand for themselves. Eight at a time, for most of a document does. */
static size_t json_plain_run(const char *text, size_t len) {
        const uint64_t ones = UINT64_MAX / 0xff, tops = ones << 7;
        size_t n = 0;

        for (; len - n >= sizeof(uint64_t); n += sizeof(uint64_t)) {
                uint64_t bytes, special;

                memcpy(&bytes, text + n, sizeof(bytes));
                bytes = le64toh(bytes);
                /* A byte's top bit gets set where the subtraction borrows, and may be in bytes
                 * above such a one: the lowest is right. */
                special = (bytes | (bytes - ones * 0x20) | ((bytes ^ ones * '"') - ones) |
                           ((bytes ^ ones * '\\') - ones)) &
                          tops;
                if (special)
                        return n + (size_t)__builtin_ctzll(special) / 8;
        }
        while (n < len && json_is_plain(text[n]))
                n++;
        return n;
}

/* Scans a character that does not stand for itself, or is beyond ASCII. */
static int json_scan_special(struct json_scan *s) {
        unsigned char c = (unsigned char)s->text[s->at];
        uint32_t code_point;
        size_t n;

        if (c < 0x20)
                return json_bad(s, "control byte in a string");
        n = c == '\\' ? json_escape(s->text + s->at, s->len - s->at, &code_point)
                      : utf8_char(s->text + s->at, s->len - s->at);
        if (n == 0)
                return json_bad(s, c == '\\' ? "invalid escape in a string"
                                             : "invalid UTF-8 in a string");
        s->at += n;
        return 0;
}

/* Scans a string; s->at stands on its opening quote and ends behind the closing one. *ret_plain:
 * whether all of it stands for itself. */
static int json_scan_string(struct json_scan *s, bool *ret_plain) {
        size_t at = s->at + 1; /* a register: it changes with every few bytes */

        *ret_plain = true;
        if (json_peek(s) != '"')
                return json_bad(s, "expected a string");
        for (;;) {
                int r;

                at += json_plain_run(s->text + at, s->len - at);
                s->at = at;
                if (at == s->len)
                        return json_bad(s, "string without end");
                if (s->text[at] == '"') {
                        s->at++;
                        return 0;
                }
                *ret_plain = false;
                r = json_scan_special(s);
                if (r)
                        return r;
                at = s->at;
        }
}

static size_t json_scan_digits(struct json_scan *s) {
        size_t start = s->at;

        while (json_peek(s) >= '0' && json_peek(s) <= '9')
                s->at++;
        return s->at - start;
}

/* What Go's decoder, and so the API server, refuses: a number beyond the range of a double. cJSON
 * would make infinity of it, and reads no more than 63 bytes. */
static int json_check_range(struct json_scan *s, size_t start) {
        char number[64];
        size_t len = s->at - start;

        if (len >= sizeof(number))
                return json_bad(s, "number too long");
        memcpy(number, s->text + start, len);
        number[len] = '\0';
        return isfinite(strtod(number, NULL)) ? 0 : json_bad(s, "number out of range");
}

static int json_scan_number(struct json_scan *s) {
        size_t start = s->at;

        if (json_peek(s) == '-')
                s->at++;
        if (json_peek(s) == '0')
                s->at++;
        else if (json_scan_digits(s) == 0)
                return json_bad(s, "expected a value");
        if (json_peek(s) == '.') {
                s->at++;
                if (json_scan_digits(s) == 0)
                        return json_bad(s, "number without digits after the point");
        }
        if (json_peek(s) == 'e' || json_peek(s) == 'E') {
                s->at++;
                if (json_peek(s) == '+' || json_peek(s) == '-')
                        s->at++;
                if (json_scan_digits(s) == 0)
                        return json_bad(s, "number without digits in the exponent");
        }
        /* Most numbers are short and cannot be out of range. */
        return s->at - start < 5 ? 0 : json_check_range(s, start);
}

static int json_scan_literal(struct json_scan *s, const char *literal) {
        size_t n = strlen(literal);

        if (s->len - s->at < n || memcmp(s->text + s->at, literal, n) != 0)
                return json_bad(s, "expected a value");
        s->at += n;
        return 0;
}

/* The next character of a checked string, at text[*at], in UTF-8 bytes or one of them. Return: how
 * many there are. */
static size_t json_next(const char *text, size_t len, size_t *at, char ret_bytes[4]) {
        uint32_t code_point = 0;

        if (text[*at] != '\\') {
                ret_bytes[0] = text[(*at)++];
                return 1;
        }
        *at += json_escape(text + *at, len - *at, &code_point);
        return utf8_encode(code_point, ret_bytes);
}

/* Decodes the checked string between its quotes. Return: the length, or SIZE_MAX when it does not
 * fit into size - 1 bytes. */
static size_t json_decode(const char *text, size_t len, char *ret_text, size_t size) {
        size_t at = json_plain_run(text, len), out = at;

        if (out >= size)
                return SIZE_MAX;
        memcpy(ret_text, text, out);
        while (at < len) {
                char bytes[4];
                size_t n = json_next(text, len, &at, bytes);

                if (n >= size - out)
                        return SIZE_MAX;
                memcpy(ret_text + out, bytes, n);
                out += n;
        }
        ret_text[out] = '\0';
        return out;
}

/* Takes eight bytes of a name into its hash. Each step can be undone, so that short names, and
 * names that differ in few places, never collide. */
static uint64_t json_hash_step(uint64_t hash, uint64_t bytes) {
        hash = (hash ^ bytes) * 0x9e3779b97f4a7c15U; /* odd; 2^64 by the golden ratio */
        return hash ^ hash >> 32;
}

/* text[0..len), fewer than eight bytes, as a number. One load where room allows it: that many bytes
 * of the document are left at text. */
static uint64_t json_load_few(const char *text, size_t len, size_t room) {
        uint64_t bytes = 0;

        if (room >= sizeof(bytes)) {
                memcpy(&bytes, text, sizeof(bytes));
                return le64toh(bytes) & ((UINT64_C(1) << 8 * len) - 1);
        }
        for (size_t i = 0; i < len; i++)
                bytes |= (uint64_t)(unsigned char)text[i] << 8 * i;
        return bytes;
}

/* The last step takes what is left, filled up with zeros: there is none in a name. */
static uint64_t json_hash_plain(const char *text, size_t len, size_t room) {
        uint64_t hash = 0, bytes;
        size_t at = 0;

        for (; len - at >= sizeof(bytes); at += sizeof(bytes)) {
                memcpy(&bytes, text + at, sizeof(bytes));
                hash = json_hash_step(hash, le64toh(bytes));
        }
        return json_hash_step(hash, json_load_few(text + at, len - at, room - at));
}

/* The same of what the name stands for. */
static uint64_t json_hash_decoded(const char *text, size_t len) {
        uint64_t hash = 0, bytes = 0;
        unsigned count = 0;

        for (size_t at = 0; at < len;) {
                char next[4];
                size_t n = json_next(text, len, &at, next);

                for (size_t i = 0; i < n; i++) {
                        bytes |= (uint64_t)(unsigned char)next[i] << 8 * count++;
                        if (count < sizeof(bytes))
                                continue;
                        hash = json_hash_step(hash, bytes);
                        bytes = 0;
                        count = 0;
                }
        }
        return json_hash_step(hash, bytes);
}

static int json_name_push(struct json_scan *s, const struct json_key *key) {
        size_t offset = (size_t)(key->text - s->text);

        if (s->name_count == JSON_NAMES_MAX)
                return json_bad(s, "too many members");
        if (s->name_count == s->name_cap) {
                size_t cap = s->name_cap ? s->name_cap * 2 : 64;
                struct json_name *names = realloc(s->names, cap * sizeof(*names));

                if (!names)
                        return fault_set(s->f, FAULT_NOMEM, "out of memory");
                s->names = names;
                s->name_cap = cap;
        }
        s->names[s->name_count++] = (struct json_name){
                .hash = key->plain ? json_hash_plain(key->text, key->len, s->len - offset)
                                   : json_hash_decoded(key->text, key->len),
                .offset = offset,
        };
        return 0;
}

static int json_name_compare(const void *a, const void *b) {
        const struct json_name *x = a, *y = b;

        if (x->hash != y->hash)
                return x->hash < y->hash ? -1 : 1;
        return x->offset < y->offset ? -1 : x->offset > y->offset;
}

/* The later of two equal names; NULL when all differ. Most objects have a handful of members: those
 * are compared with each other before sorting would have begun. */
static const struct json_name *json_names_twin(struct json_name *names, size_t count) {
        if (count > JSON_NAMES_FEW) {
                qsort(names, count, sizeof(*names), json_name_compare);
                for (size_t i = 1; i < count; i++)
                        if (names[i].hash == names[i - 1].hash)
                                return &names[i];
                return NULL;
        }
        for (size_t i = 1; i < count; i++)
                for (size_t k = 0; k < i; k++)
                        if (names[i].hash == names[k].hash)
                                return &names[i];
        return NULL;
}

/* Closes an object: refuses equal names among those from `first` on. */
static int json_names_pop(struct json_scan *s, size_t first) {
        const struct json_name *twin = json_names_twin(s->names + first, s->name_count - first);

        s->name_count = first;
        if (!twin)
                return 0;
        s->at = twin->offset;
        return json_bad(s, "duplicate member name");
}

/* Of the wants in mask, whose paths match down to `depth`, those whose next segment is this decoded
 * name: *ret_inner those that go on below, *ret_here those that end at it. */
static void json_match_name(const struct json_scan *s, uint64_t mask, unsigned depth,
                            const char *name, size_t len, uint64_t *ret_inner, uint64_t *ret_here) {
        const char *last = NULL; /* wants that begin alike share the literal */
        bool same = false;

        for (uint64_t rest = mask; rest; rest &= rest - 1) {
                const struct json_want *want = &s->wants[__builtin_ctzll(rest)];
                const char *segment = want->path[depth];

                if (segment != last)
                        same = *segment == *name && strncmp(segment, name, len) == 0 &&
                               !segment[len];
                last = segment;
                if (!same)
                        continue;
                if (want->path[depth + 1])
                        *ret_inner |= rest & -rest;
                else
                        *ret_here |= rest & -rest;
        }
}

/* Likewise for a name as it stands in the document. */
static void json_match(const struct json_scan *s, uint64_t mask, unsigned depth,
                       const struct json_key *key, uint64_t *ret_inner, uint64_t *ret_here) {
        *ret_inner = 0;
        *ret_here = 0;
        if (mask == 0)
                return;
        if (key->plain) {
                json_match_name(s, mask, depth, key->text, key->len, ret_inner, ret_here);
        } else {
                char name[JSON_WANT_NAME_SIZE];
                size_t len = json_decode(key->text, key->len, name, sizeof(name));

                if (len != SIZE_MAX)
                        json_match_name(s, mask, depth, name, len, ret_inner, ret_here);
        }
}

static int json_scan_value(struct json_scan *s, unsigned depth, uint64_t mask);

/* What was wanted by the member's name is taken out of *mask: no other member has it. */
static int json_scan_member(struct json_scan *s, unsigned depth, uint64_t *mask) {
        struct json_key key = { .text = s->text + s->at + 1 };
        uint64_t inner, here;
        size_t start, values = s->values;
        int r = json_scan_string(s, &key.plain);

        if (r)
                return r;
        key.len = (size_t)(s->text + s->at - 1 - key.text);
        r = json_name_push(s, &key);
        if (r)
                return r;
        json_match(s, *mask, depth, &key, &inner, &here);
        *mask &= ~(inner | here);
        json_skip_space(s);
        if (json_peek(s) != ':')
                return json_bad(s, "expected ':'");
        s->at++;
        json_skip_space(s);
        start = s->at;
        r = json_scan_value(s, depth + 1, inner);
        if (r)
                return r;
        for (; here; here &= here - 1) {
                struct json_want *want = &s->wants[__builtin_ctzll(here)];

                want->span = (struct json_span){ .text = s->text + start, .len = s->at - start };
                want->values = s->values - values;
        }
        return 0;
}

static int json_scan_object(struct json_scan *s, unsigned depth, uint64_t mask) {
        size_t first_name = s->name_count;
        int r;

        s->at++;
        json_skip_space(s);
        if (json_peek(s) == '}') {
                s->at++;
                return 0;
        }
        for (;;) {
                r = json_scan_member(s, depth, &mask);
                if (r)
                        return r;
                json_skip_space(s);
                if (json_peek(s) == '}')
                        break;
                if (json_peek(s) != ',')
                        return json_bad(s, "expected ',' or '}'");
                s->at++;
                json_skip_space(s);
        }
        r = json_names_pop(s, first_name);
        if (r)
                return r;
        s->at++;
        return 0;
}

static int json_scan_array(struct json_scan *s, unsigned depth) {
        s->at++;
        json_skip_space(s);
        if (json_peek(s) == ']') {
                s->at++;
                return 0;
        }
        for (;;) {
                int r = json_scan_value(s, depth + 1, 0);

                if (r)
                        return r;
                json_skip_space(s);
                if (json_peek(s) == ']')
                        break;
                if (json_peek(s) != ',')
                        return json_bad(s, "expected ',' or ']'");
                s->at++;
                json_skip_space(s);
        }
        s->at++;
        return 0;
}

static int json_scan_value(struct json_scan *s, unsigned depth, uint64_t mask) {
        bool plain;

        s->values++;
        switch (json_peek(s)) {
        case '{':
        case '[':
                if (depth == JSON_MAX_DEPTH)
                        return json_bad(s, "nested too deeply");
                return json_peek(s) == '{' ? json_scan_object(s, depth, mask)
                                           : json_scan_array(s, depth);
        case '"':
                return json_scan_string(s, &plain);
        case 't':
                return json_scan_literal(s, "true");
        case 'f':
                return json_scan_literal(s, "false");
        case 'n':
                return json_scan_literal(s, "null");
        default:
                return json_scan_number(s);
        }
}

int json_check(const char *text, size_t len, struct json_want *wants, size_t want_count,
               struct fault *f) {
        CLEANUP(json_names_done)
        struct json_scan s = {
                .text = text, .len = len, .wants = wants, .want_count = want_count, .f = f
        };
        uint64_t all = want_count >= 64 ? UINT64_MAX : (UINT64_C(1) << want_count) - 1;
        int r;

        json_skip_space(&s);
        r = json_scan_value(&s, 0, all);
        if (r)
                return r;
        json_skip_space(&s);
        if (s.at != len)
                return json_bad(&s, "text after the value");
        return 0;
}

/* Where the string that begins at text[at] ends, in a checked document. */
static size_t json_skip_string(const char *text, size_t at) {
        for (at++; text[at] != '"'; at++)
                if (text[at] == '\\')
                        at++;
        return at + 1;
}

bool json_span_next(const struct json_span *array, size_t *cursor, struct json_span *ret_element) {
        const char *text = array->text;
        size_t at = *cursor ? *cursor : 1;
        size_t start, end, depth = 0;

        if (json_span_kind(array) != '[')
                return false;
        while (at < array->len && strchr(" \t\r\n,", text[at]))
                at++;
        if (at + 1 >= array->len)
                return false;
        start = end = at;
        while (depth > 0 || !strchr(",]", text[at])) {
                char c = text[at];

                if (c == '"') {
                        at = json_skip_string(text, at);
                } else {
                        depth += c == '{' || c == '[';
                        depth -= c == '}' || c == ']';
                        at++;
                }
                if (!strchr(" \t\r\n", c))
                        end = at;
        }
        *cursor = at;
        *ret_element = (struct json_span){ .text = text + start, .len = end - start };
        return true;
}

char json_span_kind(const struct json_span *span) {
        if (!span->text || span->len == 0)
                return 0;
        if (span->text[0] == '-' || (span->text[0] >= '0' && span->text[0] <= '9'))
                return '0';
        return span->text[0];
}

bool json_span_string(const struct json_span *span, char *ret_text, size_t size) {
        return json_span_kind(span) == '"' &&
               json_decode(span->text + 1, span->len - 2, ret_text, size) != SIZE_MAX;
}

bool json_span_is(const struct json_span *span, const char *text) {
        if (json_span_kind(span) != '"')
                return false;
        if (json_plain_run(span->text + 1, span->len - 2) == span->len - 2)
                return strncmp(span->text + 1, text, span->len - 2) == 0 &&
                       text[span->len - 2] == '\0';
        for (size_t at = 1; at < span->len - 1;) {
                char bytes[4];
                size_t n = json_next(span->text, span->len - 1, &at, bytes);

                if (strncmp(text, bytes, n) != 0)
                        return false;
                text += n;
        }
        return *text == '\0';
}
