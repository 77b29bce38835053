/* SPDX-License-Identifier: Apache-2.0 */
#include "webhook/tls_store.h"

#include <check.h>
#include <gnutls/abstract.h>
#include <gnutls/x509.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "certs/issue.h"
#include "common/base/clock.h"
#include "common/base/fault.h"
#include "common/base/log.h"
#include "common/base/metrics.h"
#include "common/base/strbuf.h"
#include "tests/unit/alloc_fail.h"

#define HOUR_S   3600
#define LIMIT_MS 60000 /* of waits */

/* ---- time ---- */

static _Atomic int64_t mono_ms, wall_s;

static int64_t read_mono_us(void *ctx) {
        (void)ctx;
        return atomic_load(&mono_ms) * 1000;
}

static int64_t read_wall_us(void *ctx) {
        (void)ctx;
        return atomic_load(&wall_s) * 1000000;
}

static const struct clock test_clock = { read_mono_us, read_mono_us, read_wall_us, NULL };

/* ---- a directory with a pair in it ---- */

static char dir[64], cert_path[96], key_path[96];
static struct metrics *metrics;
static struct tls_store_opts opts;
static struct tls_store *store;
static struct cert_pair ca, one, two; /* two pairs of one CA */
static int64_t issued_s;

/* At once: the store never sees half of the text. */
static void put(const char *path, const char *text) {
        char new[256];
        FILE *file;

        (void)snprintf(new, sizeof(new), "%s.new", path);
        file = fopen(new, "we");
        ck_assert_ptr_nonnull(file);
        ck_assert_int_ge(fputs(text, file), 0);
        ck_assert_int_eq(fclose(file), 0);
        ck_assert_int_eq(rename(new, path), 0);
}

static void put_pair(const char *cert, const char *key) {
        put(cert_path, cert);
        put(key_path, key);
}

static struct series *series(const char *name, enum metric_type type) {
        static const char *const none[] = { NULL };
        const struct metric_spec spec = { .name = name, .help = "Help.", .type = type };

        return metric_series(metric_add_spec(metrics, &spec), none);
}

static void issue(struct cert_pair *ret_pair) {
        static const char *const names[] = { "localhost", NULL };
        struct fault f = FAULT_INIT;

        ck_assert_msg(issue_leaf(&ca, names, issued_s, 24 * HOUR_S, ret_pair, &f) == 0, "%s",
                      f.text);
}

static void setup(void) {
        log_init("unit", LOG_ERROR, LOG_FORMAT_JSON);
        issued_s = (int64_t)time(NULL);
        atomic_store(&wall_s, issued_s);
        atomic_store(&mono_ms, 1000000);
        ck_assert_int_eq(issue_ca(issued_s, 48 * HOUR_S, &ca, NULL), 0);
        issue(&one);
        issue(&two);
        (void)snprintf(dir, sizeof(dir), "/tmp/test_tls_store.XXXXXX");
        ck_assert_ptr_nonnull(mkdtemp(dir));
        (void)snprintf(cert_path, sizeof(cert_path), "%s/tls.crt", dir);
        (void)snprintf(key_path, sizeof(key_path), "%s/tls.key", dir);
        metrics = metrics_new();
        ck_assert_ptr_nonnull(metrics);
        opts = (struct tls_store_opts){ .cert_path = cert_path,
                                        .key_path = key_path,
                                        .clock = &test_clock,
                                        .expiry = series("a_seconds", METRIC_GAUGE),
                                        .reads = series("b_total", METRIC_COUNTER),
                                        .errors = series("c_total", METRIC_COUNTER) };
        store = NULL;
}

static void teardown(void) {
        CLEANUP(strbuf_done) struct strbuf command = STRBUF_INIT(200);

        tls_store_free(store);
        metrics_free(metrics);
        cert_pair_done(&ca);
        cert_pair_done(&one);
        cert_pair_done(&two);
        strbuf_printf(&command, "rm -rf %s", dir);
        ck_assert_int_eq(system(strbuf_text(&command)), 0);
}

static void open_store(void) {
        struct fault f = FAULT_INIT;

        ck_assert_msg(tls_store_new(&opts, &store, &f) == 0, "%s", f.text);
}

/* ---- what a handshake would get ---- */

struct served {
        gnutls_pcert_st *certs;
        unsigned count;
        gnutls_privkey_t key;
};

static bool retrieve(struct served *ret) {
        void *pointer = tls_store_callback();
        gnutls_certificate_retrieve_function2 *callback;

        memcpy(&callback, &pointer, sizeof(callback));
        return callback(NULL, NULL, 0, NULL, 0, &ret->certs, &ret->count, &ret->key) == 0;
}

/* Whether the first certificate served is the first one of this text. */
static bool serves(const char *cert) {
        const gnutls_datum_t pem = { (unsigned char *)(uintptr_t)cert, (unsigned)strlen(cert) };
        struct served served;
        gnutls_pcert_st expected;
        bool same;

        if (!retrieve(&served))
                return false;
        ck_assert_int_eq(gnutls_pcert_import_x509_raw(&expected, &pem, GNUTLS_X509_FMT_PEM, 0), 0);
        same = expected.cert.size == served.certs[0].cert.size &&
               memcmp(expected.cert.data, served.certs[0].cert.data, expected.cert.size) == 0;
        gnutls_pcert_deinit(&expected);
        return same;
}

static void pause_briefly(void) {
        const struct timespec pause = { .tv_sec = 0, .tv_nsec = 2000000 };

        (void)nanosleep(&pause, NULL);
}

static void await_served(const char *cert) {
        int64_t until_ms = clock_mono_ms(clock_system()) + LIMIT_MS;

        while (!serves(cert)) {
                ck_assert_int_lt(clock_mono_ms(clock_system()), until_ms);
                pause_briefly();
        }
}

static void await_count(const struct series *s, double count) {
        int64_t until_ms = clock_mono_ms(clock_system()) + LIMIT_MS;

        while (series_value(s) < count) {
                ck_assert_int_lt(clock_mono_ms(clock_system()), until_ms);
                pause_briefly();
        }
}

/* ---- pairs ---- */

START_TEST(a_good_pair_is_served_at_once) {
        struct fault f = FAULT_INIT;

        put_pair(one.cert, one.key);
        open_store();
        ck_assert(serves(one.cert) && !serves(two.cert));
        ck_assert_msg(tls_store_check(store, &f) == 0, "%s", f.text);
        ck_assert(series_value(opts.reads) == 1 && series_value(opts.errors) == 0);
        ck_assert(series_value(opts.expiry) == (double)(issued_s + 24 * HOUR_S));
}
END_TEST

/* A text made of what is at hand, for the table below. */
enum piece { NOTHING, CERT, CERT_2, CA_CERT, KEY, KEY_2, GARBAGE, HALF_CERT, HALF_KEY, EMPTY_PEM };

static const char *text_of(enum piece piece) {
        switch (piece) {
        case CERT:
        case HALF_CERT:
                return one.cert;
        case CERT_2:
                return two.cert;
        case CA_CERT:
                return ca.cert;
        case KEY:
        case HALF_KEY:
                return one.key;
        case KEY_2:
                return two.key;
        case GARBAGE:
                return "\x7f"
                       "ELF no certificate";
        case EMPTY_PEM:
                return "-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n";
        case NOTHING:
                break;
        }
        return "";
}

static void put_pieces(const char *path, const enum piece *pieces, size_t count) {
        CLEANUP(strbuf_done) struct strbuf text = STRBUF_INIT(100000);

        for (size_t i = 0; i < count; i++) {
                strbuf_str(&text, text_of(pieces[i]));
                if (pieces[i] == HALF_CERT || pieces[i] == HALF_KEY)
                        strbuf_truncate(&text, text.len / 2);
        }
        put(path, strbuf_text(&text));
}

#define CHAIN_MAX 9

static const struct row {
        const char *name;
        enum piece cert[CHAIN_MAX], key[2];
        unsigned served; /* certificates; 0: refused */
} rows[] = {
        { "a leaf", { CERT }, { KEY }, 1 },
        { "a leaf and its CA", { CERT, CA_CERT }, { KEY }, 2 },
        { "a key with its certificate before it", { CERT }, { CERT, KEY }, 1 },
        { "a certificate with its key behind it", { CERT, KEY }, { KEY }, 1 },
        { "eight certificates",
          { CERT, CA_CERT, CA_CERT, CA_CERT, CA_CERT, CA_CERT, CA_CERT, CA_CERT },
          { KEY },
          8 },
        { "nine: none is left out",
          { CERT, CA_CERT, CA_CERT, CA_CERT, CA_CERT, CA_CERT, CA_CERT, CA_CERT, CA_CERT },
          { KEY },
          0 },
        { "the CA before the leaf", { CA_CERT, CERT }, { KEY }, 0 },
        { "another key", { CERT }, { KEY_2 }, 0 },
        { "another certificate", { CERT_2 }, { KEY }, 0 },
        { "an empty certificate", { NOTHING }, { KEY }, 0 },
        { "an empty key", { CERT }, { NOTHING }, 0 },
        { "both empty", { NOTHING }, { NOTHING }, 0 },
        { "a key as certificate", { KEY }, { KEY }, 0 },
        { "a certificate as key", { CERT }, { CERT }, 0 },
        { "the two files exchanged", { KEY }, { CERT }, 0 },
        { "a garbled certificate", { GARBAGE }, { KEY }, 0 },
        { "a garbled key", { CERT }, { GARBAGE }, 0 },
        { "half a certificate", { HALF_CERT }, { KEY }, 0 },
        { "half a key", { CERT }, { HALF_KEY }, 0 },
        { "a certificate without bytes", { EMPTY_PEM }, { KEY }, 0 },
};

START_TEST(only_a_pair_is_taken) {
        const struct row *row = &rows[_i];
        struct fault f = FAULT_INIT;
        struct served served;

        put_pieces(cert_path, row->cert, CHAIN_MAX);
        put_pieces(key_path, row->key, 2);
        open_store();
        ck_assert_msg(retrieve(&served) == (row->served > 0), "%s", row->name);
        ck_assert_msg((tls_store_check(store, &f) == 0) == (row->served > 0), "%s", row->name);
        if (row->served) {
                ck_assert_msg(served.count == row->served, "%s: %u", row->name, served.count);
                ck_assert(serves(one.cert));
        } else {
                ck_assert_str_eq(f.text, "there is no certificate yet");
                ck_assert(series_value(opts.errors) == 1 && series_value(opts.reads) == 1);
        }
}
END_TEST

/* ---- time ---- */

START_TEST(a_pair_is_good_in_its_time_only) {
        static const struct {
                int64_t ahead_s; /* of the issue */
                bool good;
        } times[] = {
                { 0, true },
                { -HOUR_S, true }, /* where it begins; clocks differ */
                { -HOUR_S - 1, false },
                { 24 * HOUR_S, true },
                { 24 * HOUR_S + 1, false },
                { 1000 * HOUR_S, false },
        };
        struct fault f = FAULT_INIT;
        int r;

        put_pair(one.cert, one.key);
        open_store();
        atomic_store(&wall_s, issued_s + times[_i].ahead_s);
        r = tls_store_check(store, &f);
        ck_assert_int_eq(r, times[_i].good ? 0 : -FAULT_IO);
        ck_assert_str_eq(f.text, times[_i].good ? "" : "the certificate is not valid now");
        ck_assert(serves(one.cert)); /* who asks may still judge by another clock */
}
END_TEST

/* ---- changes ---- */

START_TEST(files_may_come_later) {
        struct served served;

        open_store();
        ck_assert(!retrieve(&served));
        put_pair(one.cert, one.key);
        await_served(one.cert);
        ck_assert_int_eq(tls_store_check(store, NULL), 0);
}
END_TEST

/* Written in place, the certificate first and the key much later. */
START_TEST(a_pair_half_written_keeps_the_old_one) {
        put_pair(one.cert, one.key);
        open_store();
        put(cert_path, two.cert);
        await_count(opts.errors, 1);
        ck_assert(serves(one.cert));
        ck_assert_int_eq(tls_store_check(store, NULL), 0);
        put(key_path, two.key);
        await_served(two.cert);
        ck_assert(series_value(opts.reads) > series_value(opts.errors));
}
END_TEST

START_TEST(files_taken_away_keep_the_old_pair) {
        put_pair(one.cert, one.key);
        open_store();
        ck_assert_int_eq(unlink(cert_path), 0);
        ck_assert_int_eq(unlink(key_path), 0);
        await_count(opts.errors, 1);
        ck_assert(serves(one.cert));
        put_pair(two.cert, two.key);
        await_served(two.cert);
}
END_TEST

/* Also when it failed for the same reason before: who watches the counter sees that it still does.
 */
START_TEST(each_failed_look_is_counted) {
        put_pair(one.cert, one.key);
        open_store();
        put(cert_path, "garbage");
        await_count(opts.errors, 1);
        put(cert_path, "garbage");
        put(cert_path, two.cert); /* the key differs: another mistake */
        await_count(opts.errors, 2);
        ck_assert(serves(one.cert));
}
END_TEST

/* dir/..N/tls.* with dir/..data -> ..N, as the kubelet lays out a Secret. */
static void put_version(const char *version, const struct cert_pair *pair) {
        char path[200], link[200];

        (void)snprintf(path, sizeof(path), "%s/%s", dir, version);
        ck_assert_int_eq(mkdir(path, 0755), 0);
        (void)snprintf(path, sizeof(path), "%s/%s/tls.crt", dir, version);
        put(path, pair->cert);
        (void)snprintf(path, sizeof(path), "%s/%s/tls.key", dir, version);
        put(path, pair->key);
        (void)snprintf(link, sizeof(link), "%s/..data_tmp", dir);
        ck_assert_int_eq(symlink(version, link), 0);
        (void)snprintf(path, sizeof(path), "%s/..data", dir);
        ck_assert_int_eq(rename(link, path), 0);
}

START_TEST(the_kubelet_swaps_a_link) {
        struct cert_pair three = { 0 };

        put_version("..1", &one);
        ck_assert_int_eq(symlink("..data/tls.crt", cert_path), 0);
        ck_assert_int_eq(symlink("..data/tls.key", key_path), 0);
        open_store();
        ck_assert(serves(one.cert));
        put_version("..2", &two);
        await_served(two.cert);
        issue(&three);
        put_version("..3", &three);
        await_served(three.cert);
        ck_assert(series_value(opts.errors) == 0 && series_value(opts.reads) >= 3);
        cert_pair_done(&three);
}
END_TEST

/* A handshake that began with the old pair still has it; a sanitizer sees when it has not. */
START_TEST(the_old_pair_stays_for_a_minute) {
        const gnutls_datum_t text = { (unsigned char *)(uintptr_t) "hello", 5 };
        gnutls_datum_t signature = { NULL, 0 };
        struct served old;
        double errors;

        put_pair(one.cert, one.key);
        open_store();
        ck_assert(retrieve(&old));
        put_pair(two.cert, two.key);
        await_served(two.cert);
        atomic_fetch_add(&mono_ms, 59999);
        errors = series_value(opts.errors);
        put(cert_path, "garbage"); /* and the thread looks */
        await_count(opts.errors, errors + 1);
        ck_assert_uint_gt(old.certs[0].cert.size, 100);
        ck_assert_int_eq(gnutls_privkey_sign_data(old.key, GNUTLS_DIG_SHA256, 0, &text, &signature),
                         0);
        gnutls_free(signature.data);
        atomic_fetch_add(&mono_ms, 1);
        put_pair(one.cert, one.key); /* a third generation; the first is released */
        await_served(one.cert);
}
END_TEST

static atomic_bool ended;

static void *shake_hands(void *ctx) {
        (void)ctx;
        while (!atomic_load(&ended)) {
                struct served served;

                if (!retrieve(&served) || served.count != 1 || served.certs[0].cert.size < 100 ||
                    tls_store_check(store, NULL))
                        return &ended;
        }
        return NULL;
}

START_TEST(handshakes_go_on_while_it_changes) {
        pthread_t threads[3];

        put_pair(one.cert, one.key);
        open_store();
        atomic_store(&ended, false);
        for (size_t i = 0; i < 3; i++)
                ck_assert_int_eq(pthread_create(&threads[i], NULL, shake_hands, NULL), 0);
        for (int i = 0; i < 10; i++) {
                const struct cert_pair *pair = i % 2 ? &one : &two;

                put_pair(pair->cert, pair->key);
                await_served(pair->cert);
        }
        atomic_store(&ended, true);
        for (size_t i = 0; i < 3; i++) {
                void *fault;

                ck_assert_int_eq(pthread_join(threads[i], &fault), 0);
                ck_assert_ptr_null(fault);
        }
}
END_TEST

/* ---- start and end ---- */

START_TEST(without_a_directory_it_waits) {
        struct served served;

        opts.cert_path = "/nonexistent/tls.crt";
        opts.key_path = "/nonexistent/tls.key";
        open_store();
        ck_assert(!retrieve(&served));
        ck_assert(series_value(opts.errors) == 1);
}
END_TEST

START_TEST(nothing_is_served_after_the_end) {
        struct served served;

        put_pair(one.cert, one.key);
        open_store();
        tls_store_free(store);
        store = NULL;
        ck_assert(!retrieve(&served));
        tls_store_free(NULL);
        open_store();
        ck_assert(serves(one.cert));
}
END_TEST

START_TEST(no_allocation_goes_unchecked) {
        size_t n = 1;
        bool fired;

        put_pair(one.cert, one.key);
        do {
                int r;

                alloc_fail_arm(n++);
                r = tls_store_new(&opts, &store, NULL);
                fired = alloc_fail_disarm();
                ck_assert(r == 0 || (fired && r == -FAULT_NOMEM && !store));
                /* A pair that could not be remembered is a pair that is not served. */
                ck_assert(r != 0 || (tls_store_check(store, NULL) == 0) == serves(one.cert));
                tls_store_free(store);
                store = NULL;
        } while (fired);
        ck_assert_uint_gt(n, 3);
}
END_TEST

#define COUNT(table) ((int)(sizeof(table) / sizeof((table)[0])))

int main(void) {
        Suite *suite = suite_create("tls_store");
        TCase *tcase = tcase_create("tls_store");
        SRunner *runner = srunner_create(suite);
        int failed;

        suite_add_tcase(suite, tcase);
        tcase_set_timeout(tcase, 120);
        tcase_add_checked_fixture(tcase, setup, teardown);
        tcase_add_test(tcase, a_good_pair_is_served_at_once);
        tcase_add_loop_test(tcase, only_a_pair_is_taken, 0, COUNT(rows));
        tcase_add_loop_test(tcase, a_pair_is_good_in_its_time_only, 0, 6);
        tcase_add_test(tcase, files_may_come_later);
        tcase_add_test(tcase, a_pair_half_written_keeps_the_old_one);
        tcase_add_test(tcase, files_taken_away_keep_the_old_pair);
        tcase_add_test(tcase, each_failed_look_is_counted);
        tcase_add_test(tcase, the_kubelet_swaps_a_link);
        tcase_add_test(tcase, the_old_pair_stays_for_a_minute);
        tcase_add_test(tcase, handshakes_go_on_while_it_changes);
        tcase_add_test(tcase, without_a_directory_it_waits);
        tcase_add_test(tcase, nothing_is_served_after_the_end);
        tcase_add_test(tcase, no_allocation_goes_unchecked);
        srunner_run_all(runner, CK_ENV);
        failed = srunner_ntests_failed(runner);
        srunner_free(runner);
        return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
