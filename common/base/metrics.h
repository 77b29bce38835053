/* SPDX-License-Identifier: Apache-2.0 */
/* Metrics in Prometheus' text format 0.0.4.
 *
 * Order of calls: metrics_new, then one metric_* per metric and metric_series per label set (at
 * start, so that every series exists from the beginning with 0), then metric_add/set/observe from
 * any thread, without locks; metrics_write at any time. Values are doubles changed atomically. A
 * registry holds a fixed set: series for label values that turn up later (HTTP codes) are made
 * under a mutex by metric_series, which returns the existing one for equal values; at most 1,024
 * series a metric, beyond that the series of the label values "other" is returned.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "common/base/cleanup.h"

struct metrics;
struct metric;
struct series;
struct strbuf;

enum metric_type { METRIC_COUNTER, METRIC_GAUGE, METRIC_HISTOGRAM };

struct metric_spec {
        const char *name; /* static storage, as all pointers here */
        const char *help;
        enum metric_type type;
        const char *const *labels; /* names, NULL-terminated; NULL: none */
        const double *buckets;     /* histograms: upper bounds in order, without +Inf */
        size_t bucket_count;
};

/* Return: NULL when out of memory. */
struct metrics *metrics_new(void);
void metrics_free(struct metrics *m);
DEFINE_CLEANUP(struct metrics *, metrics_free)

/* Registers a metric; owned by m. Return: NULL when out of memory (the functions below accept NULL
 * and do nothing, so that a caller checks once: metrics_complete). The name must be new. */
struct metric *metric_add_spec(struct metrics *m, const struct metric_spec *spec);

/* The series with these label values (NULL-terminated, as many as labels; copied), made when new.
 * Never fails for a caller: NULL is accepted below. Thread-safe. */
struct series *metric_series(struct metric *metric, const char *const *values);

/* Counters and gauges. Thread-safe. */
void series_add(struct series *s, double delta);
/* Gauges. Thread-safe. */
void series_set(struct series *s, double value);
/* Histograms: counts one value. Thread-safe. */
void series_observe(struct series *s, double value);
/* The value of a counter or gauge, the count of a histogram; 0 for NULL. */
double series_value(const struct series *s);

/* Calls fn(ctx, ...) before each metrics_write, to set gauges that are cheap to read and costly to
 * keep. At most 8; false when full. */
int metrics_on_write(struct metrics *m, void (*fn)(void *ctx), void *ctx) MUST_CHECK;

/* process_cpu_seconds_total, process_resident_memory_bytes, process_virtual_memory_bytes,
 * process_open_fds, process_max_fds, process_start_time_seconds, read from /proc at each write, and
 * dbupgrade_operator_up (1) and dbupgrade_build_info{version,commit,component}. Return: 0,
 * -FAULT_NOMEM. */
struct fault;
int metrics_add_process(struct metrics *m, const char *component, struct fault *f) MUST_CHECK;

/* Return: 0, or -FAULT_NOMEM when any registration or series was refused memory. */
int metrics_complete(const struct metrics *m, struct fault *f) MUST_CHECK;

/* Appends the whole text. Thread-safe. */
void metrics_write(struct metrics *m, struct strbuf *out);
