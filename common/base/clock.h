/* SPDX-License-Identifier: Apache-2.0 */
/* Time: a seam for reading it, and the text forms of the Kubernetes API.
 *
 * Time-outs and deadlines use the monotonic clock; only what people and other machines read uses
 * wall time. Thread-safe.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct clock {
        int64_t (*mono_us)(void *ctx); /* CLOCK_MONOTONIC: stands still while the machine sleeps */
        int64_t (*boot_ms)(void *ctx); /* CLOCK_BOOTTIME: runs on, for leases */
        int64_t (*wall_us)(void *ctx); /* CLOCK_REALTIME, microseconds since 1970 */
        void *ctx;
};

/* The system's clock. Static storage. */
const struct clock *clock_system(void);

static inline int64_t clock_mono_us(const struct clock *c) {
        return c->mono_us(c->ctx);
}

static inline int64_t clock_mono_ms(const struct clock *c) {
        return clock_mono_us(c) / 1000;
}

static inline int64_t clock_boot_ms(const struct clock *c) {
        return c->boot_ms(c->ctx);
}

static inline int64_t clock_wall_us(const struct clock *c) {
        return c->wall_us(c->ctx);
}

static inline int64_t clock_wall_s(const struct clock *c) {
        return clock_wall_us(c) / 1000000;
}

/* "2006-01-02T15:04:05Z": metav1.Time. Years 0 to 9999. */
#define CLOCK_TIME_SIZE 21
/* "2006-01-02T15:04:05.000000Z": metav1.MicroTime. */
#define CLOCK_MICRO_TIME_SIZE 28

/* Writes metav1.Time (RFC 3339, UTC, whole seconds) of seconds since 1970; a value outside the
 * years 0 to 9999 is clamped. */
void clock_format_time(int64_t unix_s, char ret_text[CLOCK_TIME_SIZE]);

/* Writes metav1.MicroTime of microseconds since 1970, clamped likewise. */
void clock_format_micro_time(int64_t unix_us, char ret_text[CLOCK_MICRO_TIME_SIZE]);

/* Reads RFC 3339 with any offset and any number of fraction digits (those below a microsecond are
 * dropped). Strict: the whole of text[0..len), real calendar days. Return: false when it is not
 * that. */
bool clock_parse_time(const char *text, size_t len, int64_t *ret_unix_us);
