/* SPDX-License-Identifier: Apache-2.0 */
#include "common/base/clock.h"

#include <stdio.h>
#include <time.h>

/* Years 0 to 9999, what the formats can say. */
#define CLOCK_FIRST_S INT64_C(-62167219200)
#define CLOCK_LAST_S  INT64_C(253402300799)

static int64_t read_us(clockid_t id) {
        struct timespec t;

        clock_gettime(id, &t);
        return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

static int64_t system_mono_us(void *ctx) {
        (void)ctx;
        return read_us(CLOCK_MONOTONIC);
}

static int64_t system_boot_ms(void *ctx) {
        (void)ctx;
        return read_us(CLOCK_BOOTTIME) / 1000;
}

static int64_t system_wall_us(void *ctx) {
        (void)ctx;
        return read_us(CLOCK_REALTIME);
}

const struct clock *clock_system(void) {
        static const struct clock clock = { system_mono_us, system_boot_ms, system_wall_us, NULL };

        return &clock;
}

static int64_t clamp(int64_t value, int64_t min, int64_t max) {
        return value < min ? min : (value > max ? max : value);
}

/* Seconds and the microseconds behind them, rounded down, clamped to the years that can be said. */
static int64_t split_us(int64_t unix_us, int64_t *ret_us) {
        int64_t clamped = clamp(unix_us, CLOCK_FIRST_S * 1000000, CLOCK_LAST_S * 1000000 + 999999);
        int64_t s = clamped / 1000000, us = clamped % 1000000;

        if (us < 0) {
                us += 1000000;
                s--;
        }
        *ret_us = us;
        return s;
}

static struct tm calendar(int64_t unix_s) {
        time_t t = clamp(unix_s, CLOCK_FIRST_S, CLOCK_LAST_S);
        struct tm tm;

        gmtime_r(&t, &tm);
        return tm;
}

/* Writes count decimal digits of value. */
static char *put_digits(char *to, int64_t value, int count) {
        for (int i = count - 1; i >= 0; i--) {
                to[i] = (char)('0' + value % 10);
                value /= 10;
        }
        return to + count;
}

/* "2006-01-02T15:04:05". Return: behind it. */
static char *put_seconds(char *to, int64_t unix_s) {
        struct tm tm = calendar(unix_s);

        to = put_digits(to, tm.tm_year + 1900, 4);
        *to++ = '-';
        to = put_digits(to, tm.tm_mon + 1, 2);
        *to++ = '-';
        to = put_digits(to, tm.tm_mday, 2);
        *to++ = 'T';
        to = put_digits(to, tm.tm_hour, 2);
        *to++ = ':';
        to = put_digits(to, tm.tm_min, 2);
        *to++ = ':';
        return put_digits(to, tm.tm_sec, 2);
}

void clock_format_time(int64_t unix_s, char ret_text[CLOCK_TIME_SIZE]) {
        char *to = put_seconds(ret_text, unix_s);

        *to++ = 'Z';
        *to = '\0';
}

void clock_format_micro_time(int64_t unix_us, char ret_text[CLOCK_MICRO_TIME_SIZE]) {
        int64_t us;
        char *to = put_seconds(ret_text, split_us(unix_us, &us));

        *to++ = '.';
        to = put_digits(to, us, 6);
        *to++ = 'Z';
        *to = '\0';
}

/* A text that is consumed from the front. */
struct reader {
        const char *text;
        size_t len;
        bool bad;
};

static char next(struct reader *r) {
        if (r->len == 0) {
                r->bad = true;
                return '\0';
        }
        r->len--;
        return *r->text++;
}

static void expect(struct reader *r, char c) {
        r->bad |= next(r) != c;
}

static int digits(struct reader *r, int count) {
        int value = 0;

        while (count-- > 0) {
                char c = next(r);

                r->bad |= c < '0' || c > '9';
                value = value * 10 + (c - '0');
        }
        return value;
}

static int64_t fraction_us(struct reader *r) {
        int64_t us = 0, unit = 100000;

        if (r->len == 0 || *r->text != '.')
                return 0;
        (void)next(r);
        us += digits(r, 1) * unit;
        while (r->len > 0 && *r->text >= '0' && *r->text <= '9') {
                unit /= 10;
                us += digits(r, 1) * unit;
        }
        return us;
}

static int64_t offset_s(struct reader *r) {
        char sign = next(r);
        int hours, minutes;

        if (sign == 'Z' || sign == 'z')
                return 0;
        r->bad |= sign != '+' && sign != '-';
        hours = digits(r, 2);
        expect(r, ':');
        minutes = digits(r, 2);
        r->bad |= hours > 23 || minutes > 59;
        return (sign == '-' ? -1 : 1) * (hours * 3600 + minutes * 60);
}

bool clock_parse_time(const char *text, size_t len, int64_t *ret_unix_us) {
        struct reader r = { .text = text, .len = len, .bad = false };
        struct tm tm = { 0 }, checked;
        int64_t us, offset;
        time_t s;
        char separator;

        tm.tm_year = digits(&r, 4) - 1900;
        expect(&r, '-');
        tm.tm_mon = digits(&r, 2) - 1;
        expect(&r, '-');
        tm.tm_mday = digits(&r, 2);
        separator = next(&r);
        r.bad |= separator != 'T' && separator != 't';
        tm.tm_hour = digits(&r, 2);
        expect(&r, ':');
        tm.tm_min = digits(&r, 2);
        expect(&r, ':');
        tm.tm_sec = digits(&r, 2);
        us = fraction_us(&r);
        offset = offset_s(&r);
        if (r.bad || r.len > 0)
                return false;
        /* timegm makes the 1st of March of the 30th of February: then the day was none. A leap
         * second counts as the next one. */
        checked = tm;
        if (checked.tm_sec == 60)
                checked.tm_sec = 59;
        s = timegm(&checked);
        if (checked.tm_mon != tm.tm_mon || checked.tm_mday != tm.tm_mday ||
            checked.tm_hour != tm.tm_hour || checked.tm_min != tm.tm_min || tm.tm_sec > 60)
                return false;
        *ret_unix_us = ((int64_t)s + (tm.tm_sec == 60) - offset) * 1000000 + us;
        return true;
}
