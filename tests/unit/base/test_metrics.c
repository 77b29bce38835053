/* SPDX-License-Identifier: Apache-2.0 */
#include "common/base/metrics.h"

#include <check.h>
#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/fault.h"
#include "common/base/strbuf.h"
#include "tests/unit/alloc_fail.h"
#include "tests/unit/exposition.h"

#define TEXT_MAX ((size_t)4 << 20)

static struct metrics *metrics;
static struct strbuf text = STRBUF_INIT(TEXT_MAX);

static void setup(void) {
        metrics = metrics_new();
        ck_assert_ptr_nonnull(metrics);
}

static void teardown(void) {
        metrics_free(metrics);
        strbuf_done(&text);
}

/* The scrape, which must be one that Prometheus takes. */
static const char *scrape(void) {
        const char *fault;

        strbuf_reset(&text);
        metrics_write(metrics, &text);
        ck_assert_int_eq(strbuf_check(&text, NULL), 0);
        fault = exposition_fault(strbuf_text(&text));
        ck_assert_msg(!fault, "%s in\n%s", fault, strbuf_text(&text));
        return strbuf_text(&text);
}

static struct metric *add(const char *name, enum metric_type type, const char *const *labels) {
        const struct metric_spec spec = {
                .name = name, .help = "Help.", .type = type, .labels = labels
        };

        return metric_add_spec(metrics, &spec);
}

#define VALUES(...) ((const char *const[]){ __VA_ARGS__, NULL })

static const char *const no_values[] = { NULL };

START_TEST(nothing_is_an_empty_text) {
        ck_assert_str_eq(scrape(), "");
        ck_assert_int_eq(metrics_complete(metrics, NULL), 0);
}
END_TEST

START_TEST(metrics_and_series_stand_in_the_order_of_their_making) {
        static const char *const labels[] = { "zeta", "alpha", NULL };
        struct metric *counter = add("b_total", METRIC_COUNTER, labels);
        struct metric *gauge = add("a_seconds", METRIC_GAUGE, NULL);
        struct series *x = metric_series(counter, VALUES("x", "1"));
        struct series *w = metric_series(counter, VALUES("w", "2"));

        series_add(x, 1);
        series_add(x, 2.5);
        series_set(metric_series(gauge, no_values), -1.25);
        ck_assert_str_eq(scrape(), "# HELP b_total Help.\n"
                                   "# TYPE b_total counter\n"
                                   "b_total{zeta=\"x\",alpha=\"1\"} 3.5\n"
                                   "b_total{zeta=\"w\",alpha=\"2\"} 0\n"
                                   "# HELP a_seconds Help.\n"
                                   "# TYPE a_seconds gauge\n"
                                   "a_seconds -1.25\n");
        ck_assert(series_value(x) == 3.5 && series_value(w) == 0);
}
END_TEST

START_TEST(a_metric_without_series_has_its_head) {
        (void)add("x_total", METRIC_COUNTER, NULL);
        ck_assert_str_eq(scrape(), "# HELP x_total Help.\n# TYPE x_total counter\n");
}
END_TEST

START_TEST(equal_values_are_one_series) {
        static const char *const labels[] = { "code", NULL };
        struct metric *metric = add("x_total", METRIC_COUNTER, labels);
        char code[] = "200";
        struct series *s = metric_series(metric, VALUES(code));

        memcpy(code, "500", 3); /* it was copied */
        ck_assert_ptr_eq(metric_series(metric, VALUES("200")), s);
        ck_assert_ptr_ne(metric_series(metric, VALUES(code)), s);
        ck_assert_ptr_ne(metric_series(metric, VALUES("")), s);
}
END_TEST

static const struct escape {
        const char *value, *written;
} escapes[] = {
        { "", "" },
        { "a\"b", "a\\\"b" },
        { "a\\b", "a\\\\b" },
        { "a\nb", "a\\nb" },
        { "\\n\"\n", "\\\\n\\\"\\n" },
        { "a,b=\"{}", "a,b=\\\"{}" },
        { "caf\xc3\xa9\t", "caf\xc3\xa9\t" },
};

START_TEST(label_values_are_escaped) {
        static const char *const labels[] = { "l", NULL };
        CLEANUP(strbuf_done) struct strbuf line = STRBUF_INIT(1000);

        (void)metric_series(add("x_total", METRIC_COUNTER, labels), VALUES(escapes[_i].value));
        strbuf_printf(&line, "\nx_total{l=\"%s\"} 0\n", escapes[_i].written);
        ck_assert_ptr_nonnull(strstr(scrape(), strbuf_text(&line)));
}
END_TEST

START_TEST(help_is_escaped_but_for_quotes) {
        static const struct metric_spec spec = { .name = "x_total",
                                                 .help = "Say \"a\\b\".\nTwice.",
                                                 .type = METRIC_COUNTER };

        (void)metric_add_spec(metrics, &spec);
        ck_assert_ptr_nonnull(strstr(scrape(), "# HELP x_total Say \"a\\\\b\".\\nTwice.\n"));
}
END_TEST

static const struct number {
        double value;
        const char *written;
} numbers[] = {
        { 0, "0" },
        { 1, "1" },
        { -2.5, "-2.5" },
        { 1e300, "1.0000000000000001e+300" },
        { 1764000000, "1764000000" },
        { 9007199254740992, "9007199254740992" },
        { INFINITY, "+Inf" },
        { -INFINITY, "-Inf" },
        { NAN, "NaN" },
};

START_TEST(numbers_are_written_exactly) {
        CLEANUP(strbuf_done) struct strbuf line = STRBUF_INIT(1000);

        series_set(metric_series(add("x", METRIC_GAUGE, NULL), no_values), numbers[_i].value);
        strbuf_printf(&line, "\nx %s\n", numbers[_i].written);
        ck_assert_msg(strstr(scrape(), strbuf_text(&line)) != NULL, "%s", strbuf_text(&text));
}
END_TEST

/* ---- histograms ---- */

static const double buckets[] = { 0.005, 0.1, 1, 10, 1e6 };

static struct metric *add_histogram(const char *const *labels) {
        const struct metric_spec spec = { .name = "x_seconds",
                                          .help = "Help.",
                                          .type = METRIC_HISTOGRAM,
                                          .labels = labels,
                                          .buckets = buckets,
                                          .bucket_count = 5 };

        return metric_add_spec(metrics, &spec);
}

/* A bound belongs to its bucket: le is <=. */
START_TEST(buckets_are_cumulative_and_take_their_bound) {
        struct series *s = metric_series(add_histogram(NULL), no_values);
        static const double values[] = { 0, 0.005, 0.0050001, 0.1, 0.5, 1, 10, 10.5, 1e7 };
        double sum = 0;

        for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
                series_observe(s, values[i]);
                sum += values[i];
        }
        ck_assert(sum == 10000022.110000100);
        ck_assert_str_eq(scrape(), "# HELP x_seconds Help.\n"
                                   "# TYPE x_seconds histogram\n"
                                   "x_seconds_bucket{le=\"0.005\"} 2\n"
                                   "x_seconds_bucket{le=\"0.1\"} 4\n"
                                   "x_seconds_bucket{le=\"1\"} 6\n"
                                   "x_seconds_bucket{le=\"10\"} 7\n"
                                   "x_seconds_bucket{le=\"1e+06\"} 8\n"
                                   "x_seconds_bucket{le=\"+Inf\"} 9\n"
                                   "x_seconds_sum 10000022.1100001\n"
                                   "x_seconds_count 9\n");
        ck_assert(series_value(s) == 9);
}
END_TEST

START_TEST(a_histogram_with_labels_puts_le_last) {
        static const char *const labels[] = { "path", NULL };
        struct metric *metric = add_histogram(labels);

        series_observe(metric_series(metric, VALUES("/a")), 3);
        (void)metric_series(metric, VALUES("/b"));
        ck_assert_ptr_nonnull(strstr(scrape(), "x_seconds_bucket{path=\"/a\",le=\"10\"} 1\n"));
        ck_assert_ptr_nonnull(strstr(text.ptr, "x_seconds_sum{path=\"/a\"} 3\n"
                                               "x_seconds_count{path=\"/a\"} 1\n"
                                               "x_seconds_bucket{path=\"/b\",le=\"0.005\"} 0\n"));
}
END_TEST

START_TEST(a_histogram_without_buckets_still_counts) {
        static const struct metric_spec spec = { .name = "x_seconds",
                                                 .help = "Help.",
                                                 .type = METRIC_HISTOGRAM };

        series_observe(metric_series(metric_add_spec(metrics, &spec), no_values), 2);
        ck_assert_ptr_nonnull(strstr(scrape(), "x_seconds_bucket{le=\"+Inf\"} 1\n"
                                               "x_seconds_sum 2\nx_seconds_count 1\n"));
}
END_TEST

/* ---- limits ---- */

START_TEST(beyond_1024_series_the_rest_is_other) {
        static const char *const labels[] = { "a", "b", NULL };
        struct metric *metric = add("x_total", METRIC_COUNTER, labels);
        struct series *other = NULL;

        for (int i = 0; i < 1100; i++) {
                char value[16];
                struct series *s;

                (void)snprintf(value, sizeof(value), "%d", i);
                s = metric_series(metric, VALUES(value, "y"));
                ck_assert_ptr_nonnull(s);
                series_add(s, 1);
                if (i == 1024)
                        other = s;
                if (i > 1024)
                        ck_assert_ptr_eq(s, other);
        }
        ck_assert_ptr_nonnull(strstr(scrape(), "\nx_total{a=\"other\",b=\"other\"} 76\n"));
        ck_assert_ptr_nonnull(strstr(text.ptr, "\nx_total{a=\"1023\",b=\"y\"} 1\n"));
        ck_assert_ptr_null(strstr(text.ptr, "\nx_total{a=\"1024\""));
        ck_assert_int_eq(metrics_complete(metrics, NULL), 0);
}
END_TEST

START_TEST(a_missing_metric_or_series_is_nobodys_crash) {
        ck_assert_ptr_null(metric_series(NULL, no_values));
        series_add(NULL, 1);
        series_set(NULL, 1);
        series_observe(NULL, 1);
        ck_assert(series_value(NULL) == 0);
        metrics_free(NULL);
}
END_TEST

static void count_call(void *ctx) {
        ++*(int *)ctx;
}

START_TEST(hooks_run_before_each_scrape) {
        int calls = 0;

        for (int i = 0; i < 8; i++)
                ck_assert_int_eq(metrics_on_write(metrics, count_call, &calls), 0);
        ck_assert_int_eq(metrics_on_write(metrics, count_call, &calls), -FAULT_NOMEM);
        (void)scrape();
        ck_assert_int_eq(calls, 8);
        (void)scrape();
        ck_assert_int_eq(calls, 16);
}
END_TEST

/* ---- threads ---- */

#define THREADS 4
#define ROUNDS  1000

struct crowd {
        struct metric *counter;
        struct series *total, *latency;
};

static void *work(void *ctx) {
        struct crowd *crowd = ctx;

        for (int i = 0; i < ROUNDS; i++) {
                char code[16];

                (void)snprintf(code, sizeof(code), "%d", i % 50);
                series_add(metric_series(crowd->counter, VALUES(code)), 1);
                series_add(crowd->total, 0.5);
                series_observe(crowd->latency, i % 3);
        }
        return NULL;
}

START_TEST(nothing_is_lost_between_threads_and_scrapes_stay_consistent) {
        static const char *const labels[] = { "code", NULL };
        struct crowd crowd = { .counter = add("codes_total", METRIC_COUNTER, labels) };
        pthread_t threads[THREADS];

        crowd.total = metric_series(add("all_total", METRIC_COUNTER, NULL), no_values);
        crowd.latency = metric_series(add_histogram(NULL), no_values);
        for (int i = 0; i < THREADS; i++)
                ck_assert_int_eq(pthread_create(&threads[i], NULL, work, &crowd), 0);
        for (int i = 0; i < 20; i++)
                (void)scrape();
        for (int i = 0; i < THREADS; i++)
                ck_assert_int_eq(pthread_join(threads[i], NULL), 0);
        ck_assert(series_value(crowd.total) == THREADS * ROUNDS * 0.5);
        ck_assert(series_value(crowd.latency) == THREADS * ROUNDS);
        ck_assert(series_value(metric_series(crowd.counter, VALUES("7"))) == THREADS * ROUNDS / 50);
}
END_TEST

/* ---- the process ---- */

/* The value of the sample that begins with this. */
static double value_of(const char *series) {
        CLEANUP(strbuf_done) struct strbuf line = STRBUF_INIT(1000);
        const char *found;

        strbuf_printf(&line, "\n%s ", series);
        found = strstr(text.ptr, strbuf_text(&line));
        ck_assert_msg(found != NULL, "%s is not in\n%s", series, text.ptr);
        return strtod(found + line.len, NULL);
}

START_TEST(the_process_is_measured) {
        FILE *more[5];
        double before;

        ck_assert_int_eq(metrics_add_process(metrics, "unit", NULL), 0);
        (void)scrape();
        before = value_of("process_open_fds");
        for (size_t i = 0; i < 5; i++)
                more[i] = fopen("/dev/null", "re");
        (void)scrape();
        ck_assert(value_of("process_open_fds") == before + 5);
        for (size_t i = 0; i < 5; i++)
                fclose_p(&more[i]);
        (void)scrape();
        ck_assert(value_of("process_open_fds") == before);
        ck_assert(value_of("process_open_fds") >= 3);
        ck_assert(value_of("process_max_fds") >= before);
        ck_assert(value_of("process_cpu_seconds_total") > 0);
        ck_assert(value_of("process_resident_memory_bytes") > 100000);
        ck_assert(value_of("process_virtual_memory_bytes") >=
                  value_of("process_resident_memory_bytes"));
        ck_assert(value_of("process_start_time_seconds") > 1.7e9);
        ck_assert(value_of("dbupgrade_operator_up") == 1);
        ck_assert(value_of("dbupgrade_build_info{version=\"" DBUPGRADE_VERSION
                           "\",commit=\"" DBUPGRADE_COMMIT "\",component=\"unit\"}") == 1);
}
END_TEST

/* ---- memory ---- */

/* Return: what metrics_complete says. */
static int build(void) {
        static const char *const labels[] = { "l", NULL };
        CLEANUP(metrics_free_p) struct metrics *m = metrics_new();
        const struct metric_spec spec = { .name = "x_seconds",
                                          .help = "Help.",
                                          .type = METRIC_HISTOGRAM,
                                          .labels = labels,
                                          .buckets = buckets,
                                          .bucket_count = 5 };
        struct series *s;
        int r;

        if (!m)
                return -FAULT_NOMEM;
        s = metric_series(metric_add_spec(m, &spec), VALUES("v"));
        series_observe(s, 1);
        r = metrics_add_process(m, "unit", NULL);
        return r ? r : metrics_complete(m, NULL);
}

START_TEST(no_allocation_goes_unchecked) {
        size_t n = 1;

        for (;; n++) {
                int r;

                alloc_fail_arm(n);
                r = build();
                if (!alloc_fail_disarm()) {
                        ck_assert_int_eq(r, 0);
                        break;
                }
                ck_assert_msg(r == -FAULT_NOMEM, "the %zuth", n);
        }
        ck_assert_uint_gt(n, 20);
}
END_TEST

/* ---- the judge itself ---- */

#define X_TOTAL   "# HELP x_total H.\n# TYPE x_total counter\n"
#define X_SECONDS "# HELP x_seconds H.\n# TYPE x_seconds histogram\n"

static const char *const wrong[] = {
        "x_total 1\n",
        X_TOTAL "x_total 1",
        X_TOTAL "x_total\n",
        X_TOTAL "x_total one\n",
        X_TOTAL "x_total inf\n",
        X_TOTAL "x_total -1\n",
        X_TOTAL "x_total 1\nx_total 1\n",
        X_TOTAL "y_total 1\n",
        X_TOTAL "x_total_count 1\n",
        X_TOTAL "x_total{} 1\n",
        X_TOTAL "x_total{l=\"a\\t\"} 1\n",
        X_TOTAL "x_total{l=\"a\"b\"} 1\n",
        X_TOTAL "x_total{1=\"a\"} 1\n",
        X_TOTAL "x_total{l=\"\xff\"} 1\n",
        X_TOTAL X_TOTAL,
        "# TYPE x_total counter\n",
        "# HELP x_total \n",
        "# HELP x H.\n# TYPE x counter\n",
        "# HELP x_total H.\n# TYPE x_total gauge\n",
        "# HELP x_total H.\n# TYPE x_total summary\n",
        "# HELP x_milliseconds H.\n# TYPE x_milliseconds gauge\n",
        "# HELP x_count H.\n# TYPE x_count gauge\n",
        "# HELP xY H.\n# TYPE xY gauge\n",
        X_SECONDS "x_seconds_bucket{le=\"1\"} 1\n",
        X_SECONDS "x_seconds_bucket{le=\"+Inf\"} 1\n",
        X_SECONDS "x_seconds_bucket{le=\"+Inf\"} 1\nx_seconds_sum 1\nx_seconds_count 2\n",
        X_SECONDS "x_seconds_bucket{le=\"1\"} 2\nx_seconds_bucket{le=\"+Inf\"} 1\n",
        X_SECONDS "x_seconds_bucket{le=\"2\"} 1\nx_seconds_bucket{le=\"1\"} 1\n",
        X_SECONDS "x_seconds_bucket{le=\"1\"} 1\nx_seconds_sum 1\nx_seconds_count 1\n",
};

START_TEST(what_prometheus_would_refuse_is_seen) {
        ck_assert_msg(exposition_fault(wrong[_i]) != NULL, "%s", wrong[_i]);
}
END_TEST

#define COUNT(rows) ((int)(sizeof(rows) / sizeof((rows)[0])))

int main(void) {
        Suite *suite = suite_create("metrics");
        TCase *tcase = tcase_create("metrics");
        SRunner *runner = srunner_create(suite);
        int failed;

        suite_add_tcase(suite, tcase);
        tcase_add_checked_fixture(tcase, setup, teardown);
        tcase_add_test(tcase, nothing_is_an_empty_text);
        tcase_add_test(tcase, metrics_and_series_stand_in_the_order_of_their_making);
        tcase_add_test(tcase, a_metric_without_series_has_its_head);
        tcase_add_test(tcase, equal_values_are_one_series);
        tcase_add_loop_test(tcase, label_values_are_escaped, 0, COUNT(escapes));
        tcase_add_test(tcase, help_is_escaped_but_for_quotes);
        tcase_add_loop_test(tcase, numbers_are_written_exactly, 0, COUNT(numbers));
        tcase_add_test(tcase, buckets_are_cumulative_and_take_their_bound);
        tcase_add_test(tcase, a_histogram_with_labels_puts_le_last);
        tcase_add_test(tcase, a_histogram_without_buckets_still_counts);
        tcase_add_test(tcase, beyond_1024_series_the_rest_is_other);
        tcase_add_test(tcase, a_missing_metric_or_series_is_nobodys_crash);
        tcase_add_test(tcase, hooks_run_before_each_scrape);
        tcase_add_test(tcase, nothing_is_lost_between_threads_and_scrapes_stay_consistent);
        tcase_add_test(tcase, the_process_is_measured);
        tcase_add_test(tcase, no_allocation_goes_unchecked);
        tcase_add_loop_test(tcase, what_prometheus_would_refuse_is_seen, 0, COUNT(wrong));
        srunner_run_all(runner, CK_ENV);
        failed = srunner_ntests_failed(runner);
        srunner_free(runner);
        return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
