/* SPDX-License-Identifier: Apache-2.0 */
#include "common/base/metrics.h"

#include <dirent.h>
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include "common/base/fault.h"
#include "common/base/strbuf.h"

#define METRICS_SERIES_MAX 1024
#define METRICS_HOOKS_MAX  8

/* A double that threads add to without a lock. */
typedef _Atomic uint64_t cell;

struct series {
        struct metric *metric;
        struct series *next;
        char *labels;   /* `a="x",b="y"`, escaped; "" without labels */
        cell value;     /* of a counter or gauge; the sum of a histogram */
        cell count;     /* of a histogram */
        cell buckets[]; /* of a histogram: not cumulative */
};

struct metric {
        struct metrics *metrics;
        struct metric *next;
        struct metric_spec spec;
        struct series *first, **last;
        size_t series_count;
};

struct metrics {
        pthread_mutex_t mutex; /* guards the lists, not the values */
        struct metric *first, **last;
        struct {
                void (*fn)(void *ctx);
                void *ctx;
        } hooks[METRICS_HOOKS_MAX];
        size_t hook_count;
        atomic_bool bad;
        struct process *process;
};

static double load(const cell *c) {
        uint64_t bits = atomic_load_explicit(c, memory_order_relaxed);
        double value;

        memcpy(&value, &bits, sizeof(value));
        return value;
}

static void store(cell *c, double value) {
        uint64_t bits;

        memcpy(&bits, &value, sizeof(bits));
        atomic_store_explicit(c, bits, memory_order_relaxed);
}

static void add(cell *c, double delta) {
        uint64_t old = atomic_load_explicit(c, memory_order_relaxed), new;
        double value;

        do {
                memcpy(&value, &old, sizeof(value));
                value += delta;
                memcpy(&new, &value, sizeof(new));
        } while (!atomic_compare_exchange_weak_explicit(c, &old, new, memory_order_relaxed,
                                                        memory_order_relaxed));
}

struct metrics *metrics_new(void) {
        struct metrics *m = calloc(1, sizeof(*m));

        if (!m)
                return NULL;
        pthread_mutex_init(&m->mutex, NULL);
        m->last = &m->first;
        return m;
}

static void metric_free(struct metric *metric) {
        while (metric->first) {
                struct series *s = metric->first;

                metric->first = s->next;
                free(s->labels);
                free(s);
        }
        free(metric);
}

void metrics_free(struct metrics *m) {
        if (!m)
                return;
        while (m->first) {
                struct metric *metric = m->first;

                m->first = metric->next;
                metric_free(metric);
        }
        free(m->process);
        pthread_mutex_destroy(&m->mutex);
        free(m);
}

struct metric *metric_add_spec(struct metrics *m, const struct metric_spec *spec) {
        struct metric *metric = calloc(1, sizeof(*metric));

        if (!metric) {
                atomic_store(&m->bad, true);
                return NULL;
        }
        metric->metrics = m;
        metric->spec = *spec;
        metric->last = &metric->first;
        pthread_mutex_lock(&m->mutex);
        *m->last = metric;
        m->last = &metric->next;
        pthread_mutex_unlock(&m->mutex);
        return metric;
}

/* Label values and HELP texts escape '\', '"' and newline (text format 0.0.4). */
static void put_escaped(struct strbuf *out, const char *text, bool quotes) {
        for (; *text; text++) {
                if (*text == '\n')
                        strbuf_str(out, "\\n");
                else if (*text == '\\' || (*text == '"' && quotes))
                        strbuf_printf(out, "\\%c", *text);
                else
                        strbuf_char(out, *text);
        }
}

/* The label text of these values, or of "other" for each when values is NULL. */
static char *label_text(const struct metric *metric, const char *const *values) {
        CLEANUP(strbuf_done) struct strbuf text = STRBUF_INIT(4096);
        char *taken;

        for (size_t i = 0; metric->spec.labels && metric->spec.labels[i]; i++) {
                strbuf_printf(&text, "%s%s=\"", i ? "," : "", metric->spec.labels[i]);
                put_escaped(&text, values ? values[i] : "other", true);
                strbuf_char(&text, '"');
        }
        return strbuf_take(&text, &taken, NULL) ? NULL : taken;
}

static struct series *series_find(const struct metric *metric, const char *labels) {
        for (struct series *s = metric->first; s; s = s->next)
                if (strcmp(s->labels, labels) == 0)
                        return s;
        return NULL;
}

/* Takes labels, unless it returns NULL. */
static struct series *series_make(struct metric *metric, char *labels) {
        struct series *s =
                calloc(1, sizeof(*s) + (metric->spec.bucket_count + 1) * sizeof(s->buckets[0]));

        if (!s)
                return NULL;
        s->metric = metric;
        s->labels = labels;
        *metric->last = s;
        metric->last = &s->next;
        metric->series_count++;
        return s;
}

static struct series *series_locked(struct metric *metric, const char *const *values) {
        CLEANUP(free_p) char *labels = label_text(metric, values);
        struct series *s = labels ? series_find(metric, labels) : NULL;

        if (s || !labels)
                return s;
        if (metric->series_count >= METRICS_SERIES_MAX && values)
                return series_locked(metric, NULL);
        s = series_make(metric, labels);
        if (s)
                labels = NULL; /* taken */
        return s;
}

struct series *metric_series(struct metric *metric, const char *const *values) {
        struct series *s;

        if (!metric)
                return NULL;
        pthread_mutex_lock(&metric->metrics->mutex);
        s = series_locked(metric, values);
        pthread_mutex_unlock(&metric->metrics->mutex);
        if (!s)
                atomic_store(&metric->metrics->bad, true);
        return s;
}

void series_add(struct series *s, double delta) {
        if (s)
                add(&s->value, delta);
}

void series_set(struct series *s, double value) {
        if (s)
                store(&s->value, value);
}

void series_observe(struct series *s, double value) {
        size_t i = 0;

        if (!s)
                return;
        while (i < s->metric->spec.bucket_count && value > s->metric->spec.buckets[i])
                i++;
        add(&s->buckets[i], 1);
        add(&s->value, value);
        add(&s->count, 1);
}

double series_value(const struct series *s) {
        if (!s)
                return 0;
        return load(s->metric->spec.type == METRIC_HISTOGRAM ? &s->count : &s->value);
}

int metrics_on_write(struct metrics *m, void (*fn)(void *ctx), void *ctx) {
        if (m->hook_count == METRICS_HOOKS_MAX)
                return -FAULT_NOMEM;
        m->hooks[m->hook_count].fn = fn;
        m->hooks[m->hook_count++].ctx = ctx;
        return 0;
}

int metrics_complete(const struct metrics *m, struct fault *f) {
        return atomic_load(&m->bad) ? fault_set(f, FAULT_NOMEM, "out of memory for metrics") : 0;
}

static void put_value(struct strbuf *out, double value) {
        if (isnan(value))
                strbuf_str(out, " NaN\n");
        else if (isinf(value))
                strbuf_str(out, value > 0 ? " +Inf\n" : " -Inf\n");
        else
                strbuf_printf(out, " %.17g\n", value);
}

/* "name_suffix{labels,le="…"} value". */
static void put_sample(struct strbuf *out, const struct series *s, const char *suffix,
                       const char *le, double value) {
        strbuf_printf(out, "%s%s", s->metric->spec.name, suffix);
        if (*s->labels || le) {
                strbuf_printf(out, "{%s%s", s->labels, *s->labels && le ? "," : "");
                if (le)
                        strbuf_printf(out, "le=\"%s\"", le);
                strbuf_char(out, '}');
        }
        put_value(out, value);
}

static void put_histogram(struct strbuf *out, const struct series *s) {
        const struct metric_spec *spec = &s->metric->spec;
        double total = 0;

        for (size_t i = 0; i < spec->bucket_count; i++) {
                char le[32]; /* %g of a double */

                total += load(&s->buckets[i]);
                (void)snprintf(le, sizeof(le), "%g", spec->buckets[i]);
                put_sample(out, s, "_bucket", le, total);
        }
        total += load(&s->buckets[spec->bucket_count]);
        put_sample(out, s, "_bucket", "+Inf", total);
        put_sample(out, s, "_sum", NULL, load(&s->value));
        /* The same total, not `count`: a scrape in the middle of an observation stays consistent.
         */
        put_sample(out, s, "_count", NULL, total);
}

static void put_metric(struct strbuf *out, const struct metric *metric) {
        static const char *const types[] = { "counter", "gauge", "histogram" };

        strbuf_printf(out, "# HELP %s ", metric->spec.name);
        put_escaped(out, metric->spec.help, false);
        strbuf_printf(out, "\n# TYPE %s %s\n", metric->spec.name, types[metric->spec.type]);
        for (const struct series *s = metric->first; s; s = s->next) {
                if (metric->spec.type == METRIC_HISTOGRAM)
                        put_histogram(out, s);
                else
                        put_sample(out, s, "", NULL, load(&s->value));
        }
}

void metrics_write(struct metrics *m, struct strbuf *out) {
        for (size_t i = 0; i < m->hook_count; i++)
                m->hooks[i].fn(m->hooks[i].ctx);
        pthread_mutex_lock(&m->mutex);
        for (const struct metric *metric = m->first; metric; metric = metric->next)
                put_metric(out, metric);
        pthread_mutex_unlock(&m->mutex);
}

/* ---- the process ---- */

struct process {
        struct series *cpu, *resident, *virtual_, *open_fds, *max_fds;
};

static double count_fds(void) {
        DIR *dir = opendir("/proc/self/fd");
        double count = 0;

        if (!dir)
                return 0;
        while (readdir(dir))
                count++;
        (void)closedir(dir);
        return count - 3; /* ".", ".." and the directory itself */
}

static void read_process(void *ctx) {
        struct process *p = ctx;
        CLEANUP(fclose_p) FILE *statm = fopen("/proc/self/statm", "re");
        unsigned long pages = 0, resident = 0;
        double page_size = (double)sysconf(_SC_PAGESIZE);
        struct rlimit limit;
        struct timespec t;

        /* NOLINTNEXTLINE(cert-err34-c): the kernel's own numbers fit. */
        if (statm && fscanf(statm, "%lu %lu", &pages, &resident) == 2) {
                series_set(p->virtual_, (double)pages * page_size);
                series_set(p->resident, (double)resident * page_size);
        }
        if (clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t) == 0)
                series_set(p->cpu, (double)t.tv_sec + (double)t.tv_nsec / 1e9);
        if (getrlimit(RLIMIT_NOFILE, &limit) == 0)
                series_set(p->max_fds, (double)limit.rlim_cur);
        series_set(p->open_fds, count_fds());
}

static struct series *process_series(struct metrics *m, enum metric_type type, const char *name,
                                     const char *help) {
        static const char *const none[] = { NULL };
        const struct metric_spec spec = { .name = name, .help = help, .type = type };

        return metric_series(metric_add_spec(m, &spec), none);
}

static void add_build(struct metrics *m, const char *component) {
        static const char *const labels[] = { "version", "commit", "component", NULL };
        static const struct metric_spec spec = {
                .name = "dbupgrade_build_info",
                .help = "Always 1; which build this is.",
                .type = METRIC_GAUGE,
                .labels = labels,
        };
        const char *const values[] = { DBUPGRADE_VERSION, DBUPGRADE_COMMIT, component, NULL };

        series_set(metric_series(metric_add_spec(m, &spec), values), 1);
        series_set(process_series(m, METRIC_GAUGE, "dbupgrade_operator_up",
                                  "Always 1 while the process runs."),
                   1);
}

int metrics_add_process(struct metrics *m, const char *component, struct fault *f) {
        struct process *p = calloc(1, sizeof(*p));
        struct timespec t = { 0 };

        if (!p)
                return fault_set(f, FAULT_NOMEM, "out of memory");
        m->process = p;
        add_build(m, component);
        p->cpu = process_series(m, METRIC_COUNTER, "process_cpu_seconds_total",
                                "User and system CPU time.");
        p->resident = process_series(m, METRIC_GAUGE, "process_resident_memory_bytes",
                                     "Resident memory.");
        p->virtual_ =
                process_series(m, METRIC_GAUGE, "process_virtual_memory_bytes", "Virtual memory.");
        p->open_fds = process_series(m, METRIC_GAUGE, "process_open_fds", "Open descriptors.");
        p->max_fds = process_series(m, METRIC_GAUGE, "process_max_fds",
                                    "The limit of open descriptors.");
        (void)clock_gettime(CLOCK_REALTIME, &t);
        series_set(process_series(m, METRIC_GAUGE, "process_start_time_seconds",
                                  "When the process started, Unix time."),
                   (double)t.tv_sec);
        return metrics_on_write(m, read_process, p) ? fault_set(f, FAULT_NOMEM, "too many hooks")
                                                    : metrics_complete(m, f);
}
