/* SPDX-License-Identifier: Apache-2.0 */
#include "reconciler/cache.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/clock.h"
#include "common/base/fault.h"
#include "tests/unit/alloc_fail.h"

static struct cache *cache;
static int64_t now_ms;

static int64_t mono_us(void *ctx) {
        (void)ctx;
        return now_ms * 1000;
}

static const struct clock test_clock = { mono_us, mono_us, mono_us, NULL };

static void setup(void) {
        now_ms = 1000;
        cache = cache_new(&test_clock);
        ck_assert_ptr_nonnull(cache);
}

static void teardown(void) {
        cache_free(cache);
}

static const char *object_json(const char *name, const char *uid, const char *version) {
        static char text[1024];

        (void)snprintf(
                text, sizeof(text),
                "{\"metadata\":{\"namespace\":\"ns\",\"name\":\"%s\",\"uid\":\"%s\","
                "\"resourceVersion\":\"%s\",\"generation\":1,\"managedFields\":[{\"x\":1}],"
                "\"annotations\":{\"dbupgrade.subbug.learning/retry\":\"r\",\"other\":\"o\"}},"
                "\"spec\":{\"a\":1},\"status\":{\"b\":2}}",
                name, uid, version);
        return text;
}

static const char *child_json(const char *label, const char *uid, const char *version) {
        static char text[1024];

        (void)snprintf(text, sizeof(text),
                       "{\"metadata\":{\"namespace\":\"ns\",\"name\":\"c-%s\",\"uid\":\"%s\","
                       "\"resourceVersion\":\"%s\",\"labels\":{"
                       "\"app.kubernetes.io/managed-by\":\"dbupgrade-operator\","
                       "\"dbupgrade.subbug.learning/owner-uid\":\"o\","
                       "\"dbupgrade.subbug.learning/name\":\"%s\"}},\"spec\":{},\"status\":{}}",
                       uid, uid, version, label);
        return text;
}

/* Return: whether there was news, which is then for this key. */
static bool upsert(enum cache_kind kind, const char *json, unsigned mark, const char *key) {
        CLEANUP(free_p) char *got = NULL;
        struct fault f = FAULT_INIT;

        ck_assert_msg(cache_upsert(cache, kind, json, strlen(json), mark, &got, &f) == 0, "%s",
                      f.text);
        if (got)
                ck_assert_str_eq(got, key);
        return got != NULL;
}

static bool put(const char *name, const char *uid, const char *version) {
        char key[300];

        (void)snprintf(key, sizeof(key), "ns/%s", name);
        return upsert(CACHE_OBJECT, object_json(name, uid, version), 0, key);
}

static void learn_kind(enum cache_kind kind, const char *json) {
        ck_assert_int_eq(cache_learn(cache, kind, json, strlen(json), NULL), 0);
}

static void learn(const char *json) {
        learn_kind(CACHE_OBJECT, json);
}

static void take_away(enum cache_kind kind, const char *json) {
        CLEANUP(free_p) char *key = NULL;

        ck_assert_int_eq(cache_remove(cache, kind, json, strlen(json), &key, NULL), 0);
        ck_assert_ptr_nonnull(key);
}

static struct cache_view look(const char *key) {
        struct cache_view view;

        ck_assert_int_eq(cache_look(cache, key, &view, NULL), 0);
        return view;
}

static size_t count_of(enum cache_kind kind) {
        struct cache_counts counts;

        cache_count(cache, &counts);
        return counts.kinds[kind];
}

START_TEST(what_is_kept_of_an_object) {
        struct cache_view view;

        ck_assert(put("a", "u", "5"));
        view = look("ns/a");
        ck_assert(view.has_object);
        ck_assert_str_eq(view.name, "a");
        ck_assert_str_eq(view.text,
                         "{\"metadata\":{\"namespace\":\"ns\",\"name\":\"a\",\"uid\":\"u\","
                         "\"resourceVersion\":\"5\",\"generation\":1,\"annotations\":{"
                         "\"dbupgrade.subbug.learning/retry\":\"r\"}},"
                         "\"spec\":{\"a\":1},\"status\":{\"b\":2}}");
        cache_view_done(&view);
        view = look("ns/b");
        ck_assert(!view.has_object);
        cache_view_done(&view);
}
END_TEST

START_TEST(newer_wins) {
        ck_assert(put("a", "u", "9"));
        ck_assert(!put("a", "u", "9"));
        ck_assert(!put("a", "u", "8"));
        ck_assert(put("a", "u", "10"));
        ck_assert(put("a", "other", "3")); /* recreated */
        ck_assert_uint_eq(count_of(CACHE_OBJECT), 1);
}
END_TEST

struct version_row {
        const char *a, *b;
        bool newer, comparable;
};

static const struct version_row versions[] = {
        { "2", "1", true, true },
        { "1", "2", false, true },
        { "10", "9", true, true },
        { "9", "10", false, true },
        { "7", "7", false, true },
        { "007", "7", false, true },
        { "99999999999999999999999", "99999999999999999999998", true, true },
        { "a", "1", true, false },
        { "a", "a", false, false },
        { "", "1", true, false },
        { "1.0", "1", true, false },
        { "-1", "1", true, false },
};

START_TEST(versions_compare_as_numbers) {
        const struct version_row *row = &versions[_i];
        bool comparable;

        ck_assert_msg(cache_version_newer(row->a, row->b, &comparable) == row->newer, "%s %s",
                      row->a, row->b);
        ck_assert_msg(comparable == row->comparable, "%s %s", row->a, row->b);
}
END_TEST

START_TEST(an_own_write_is_known_before_the_watch) {
        ck_assert(put("a", "u", "5"));
        learn(object_json("a", "u", "7"));
        ck_assert(!put("a", "u", "6"));
        ck_assert(!put("a", "u", "7"));
        ck_assert(put("a", "u", "8"));
        learn(object_json("a", "u", "6"));
        ck_assert(!put("a", "u", "8"));
}
END_TEST

START_TEST(an_own_write_does_not_count_without_numbers) {
        struct cache_view view;

        ck_assert(put("a", "u", "x"));
        learn(object_json("a", "u", "y"));
        view = look("ns/a");
        ck_assert_ptr_nonnull(strstr(view.text, "\"resourceVersion\":\"x\""));
        cache_view_done(&view);
}
END_TEST

START_TEST(a_late_answer_does_not_bring_back_the_dead) {
        ck_assert(put("a", "u", "5"));
        take_away(CACHE_OBJECT, object_json("a", "u", "6"));
        learn(object_json("a", "u", "7"));
        ck_assert_uint_eq(count_of(CACHE_OBJECT), 0);
        now_ms += 299000;
        learn(object_json("a", "u", "7"));
        ck_assert_uint_eq(count_of(CACHE_OBJECT), 0);
        ck_assert(put("a", "new", "8"));
}
END_TEST

START_TEST(the_deletion_of_an_earlier_one_leaves_the_new) {
        ck_assert(put("a", "u1", "5"));
        ck_assert(put("a", "u2", "6"));
        take_away(CACHE_OBJECT, object_json("a", "u1", "7"));
        ck_assert_uint_eq(count_of(CACHE_OBJECT), 1);
}
END_TEST

/* An object that leaves the selector of the watch is told of as deleted, and may come back. */
START_TEST(the_watch_brings_back_what_it_took_away) {
        ck_assert(put("a", "u", "5"));
        take_away(CACHE_OBJECT, object_json("a", "u", "6"));
        learn(object_json("a", "u", "7"));
        ck_assert_uint_eq(count_of(CACHE_OBJECT), 0);
        ck_assert(put("a", "u", "8"));
        learn(object_json("a", "u", "9"));
        ck_assert(!put("a", "u", "9"));
        ck_assert_uint_eq(count_of(CACHE_OBJECT), 1);
}
END_TEST

static char gone[256];

static void on_gone(void *ctx, const char *key) {
        (void)ctx;
        strcat(strcat(gone, key), " ");
}

START_TEST(what_a_list_lacks_has_vanished) {
        unsigned mark;

        gone[0] = '\0';
        ck_assert(put("a", "u1", "1"));
        ck_assert(put("b", "u2", "2"));
        ck_assert(upsert(CACHE_JOB, child_json("b", "j", "3"), 0, "ns/b"));
        mark = cache_list_begin(cache);
        ck_assert(!upsert(CACHE_OBJECT, object_json("a", "u1", "1"), mark, "ns/a"));
        cache_list_end(cache, CACHE_OBJECT, NULL, mark, on_gone, NULL);
        ck_assert_str_eq(gone, "ns/b ");
        ck_assert_uint_eq(count_of(CACHE_OBJECT), 1);
        ck_assert_uint_eq(count_of(CACHE_JOB), 1);
}
END_TEST

START_TEST(a_list_of_one_namespace_is_that_of_one_namespace) {
        unsigned mark = cache_list_begin(cache);

        gone[0] = '\0';
        ck_assert(put("a", "u1", "1"));
        mark = cache_list_begin(cache);
        cache_list_end(cache, CACHE_OBJECT, "n", mark, on_gone, NULL);
        cache_list_end(cache, CACHE_OBJECT, "other", mark, on_gone, NULL);
        ck_assert_str_eq(gone, "");
        cache_list_end(cache, CACHE_OBJECT, "ns", mark, on_gone, NULL);
        ck_assert_str_eq(gone, "ns/a ");
}
END_TEST

/* After a restore of etcd resourceVersions begin anew. */
START_TEST(the_content_of_a_list_is_the_truth) {
        unsigned mark;

        ck_assert(put("a", "u", "500"));
        ck_assert(upsert(CACHE_JOB, child_json("a", "j", "501"), 0, "ns/a"));
        mark = cache_list_begin(cache);
        ck_assert(upsert(CACHE_OBJECT, object_json("a", "u", "20"), mark, "ns/a"));
        ck_assert(!upsert(CACHE_OBJECT, object_json("a", "u", "19"), mark, "ns/a"));
        ck_assert(upsert(CACHE_JOB, child_json("a", "j", "21"), mark, "ns/a"));
        cache_list_end(cache, CACHE_OBJECT, NULL, mark, on_gone, NULL);
        ck_assert(put("a", "u", "21"));
}
END_TEST

START_TEST(but_not_against_what_was_learned_since_it_began) {
        unsigned mark;

        ck_assert(put("a", "u", "5"));
        mark = cache_list_begin(cache);
        learn(object_json("a", "u", "7"));
        ck_assert(!upsert(CACHE_OBJECT, object_json("a", "u", "6"), mark, "ns/a"));
}
END_TEST

/* What was deleted before the list was made is in no watch: its late answer must not stay. */
START_TEST(a_late_answer_does_not_outlive_a_list) {
        unsigned mark;

        gone[0] = '\0';
        ck_assert(put("a", "u", "5"));
        ck_assert(upsert(CACHE_JOB, child_json("a", "j", "6"), 0, "ns/a"));
        mark = cache_list_begin(cache);
        learn(object_json("a", "u", "7"));
        learn_kind(CACHE_JOB, child_json("a", "j", "8"));
        learn_kind(CACHE_JOB, child_json("a", "j2", "9"));
        cache_list_end(cache, CACHE_JOB, NULL, mark, on_gone, NULL);
        ck_assert_uint_eq(count_of(CACHE_JOB), 0);
        cache_list_end(cache, CACHE_OBJECT, NULL, mark, on_gone, NULL);
        ck_assert_uint_eq(count_of(CACHE_OBJECT), 0);
        ck_assert_str_eq(gone, "ns/a ns/a ");
}
END_TEST

START_TEST(jobs_and_pods_meet_under_the_key) {
        struct cache_view view;

        ck_assert(upsert(CACHE_JOB, child_json("a", "j1", "1"), 0, "ns/a"));
        ck_assert(upsert(CACHE_JOB, child_json("a", "j2", "2"), 0, "ns/a"));
        ck_assert(upsert(CACHE_POD, child_json("a", "p", "3"), 0, "ns/a"));
        ck_assert(!upsert(CACHE_POD, child_json("a", "p", "3"), 0, "ns/a"));
        view = look("ns/a");
        ck_assert(!view.has_object);
        ck_assert_uint_eq(view.jobs.count, 2);
        ck_assert_uint_eq(view.pods.count, 1);
        cache_view_done(&view);
        take_away(CACHE_JOB, child_json("a", "j1", "4"));
        take_away(CACHE_JOB, child_json("a", "j2", "4"));
        take_away(CACHE_POD, child_json("a", "p", "4"));
        ck_assert_uint_eq(count_of(CACHE_JOB) + count_of(CACHE_POD), 0);
}
END_TEST

START_TEST(what_is_done_keeps_no_text) {
        const struct cache_finding finding = { .state = 7, .settled = true };
        struct cache_counts counts;
        struct cache_view view;

        ck_assert(put("a", "u", "5"));
        cache_note(cache, "ns/a", "4", &finding); /* of an older look: does not count */
        view = look("ns/a");
        ck_assert(!view.settled);
        cache_view_done(&view);
        cache_note(cache, "ns/a", "5", &finding);
        view = look("ns/a");
        ck_assert(view.settled && view.has_object && !view.text);
        cache_view_done(&view);
        cache_count(cache, &counts);
        ck_assert_uint_eq(counts.states[7], 1);
        ck_assert_uint_eq(counts.states[0], 0);
        ck_assert(put("a", "u", "6"));
        view = look("ns/a");
        ck_assert(!view.settled && view.text);
        cache_view_done(&view);
        cache_count(cache, &counts);
        ck_assert_uint_eq(counts.states[7], 1); /* its state until the next look */
        take_away(CACHE_OBJECT, object_json("a", "u", "7"));
        cache_count(cache, &counts);
        ck_assert_uint_eq(counts.states[7], 0);
}
END_TEST

static void note_run(const char *key, int64_t since_s) {
        const struct cache_finding finding = { .state = 6, .run_since_s = since_s };

        cache_note(cache, key, "5", &finding);
}

static int64_t oldest_run(void) {
        struct cache_counts counts;

        cache_count(cache, &counts);
        return counts.oldest_run_s;
}

START_TEST(the_oldest_run_is_known) {
        ck_assert(put("a", "ua", "5"));
        ck_assert(put("b", "ub", "5"));
        ck_assert(put("c", "uc", "5"));
        ck_assert_int_eq(oldest_run(), 0);
        note_run("ns/a", 200);
        note_run("ns/b", 100);
        ck_assert_int_eq(oldest_run(), 100);
        ck_assert(put("b", "ub", "6"));
        ck_assert_int_eq(oldest_run(), 100); /* until the next look */
        take_away(CACHE_OBJECT, object_json("b", "ub", "7"));
        ck_assert_int_eq(oldest_run(), 200);
        note_run("ns/a", 0);
        ck_assert_int_eq(oldest_run(), 0);
}
END_TEST

START_TEST(garbage_is_refused) {
        static const char *const texts[] = {
                "",
                "[]",
                "{",
                "{\"metadata\":{\"name\":\"a\"}}",
                "{\"metadata\":{\"namespace\":1,\"name\":\"a\",\"uid\":\"u\"}}",
        };
        CLEANUP(free_p) char *key = NULL;

        for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
                ck_assert_int_eq(cache_upsert(cache, CACHE_OBJECT, texts[i], strlen(texts[i]), 0,
                                              &key, NULL),
                                 -FAULT_INVALID);
        ck_assert_uint_eq(count_of(CACHE_OBJECT), 0);
}
END_TEST

/* Each allocation fails once: an error, and nothing half done. */
START_TEST(out_of_memory) {
        for (size_t n = 1;; n++) {
                const char *json = object_json("a", "u", "5");
                char *key = NULL;
                int r;

                alloc_fail_arm(n);
                r = cache_upsert(cache, CACHE_OBJECT, json, strlen(json), 0, &key, NULL);
                if (!alloc_fail_disarm()) {
                        ck_assert_int_eq(r, 0);
                        free(key);
                        break;
                }
                ck_assert_int_eq(r, -FAULT_NOMEM);
                ck_assert_uint_eq(count_of(CACHE_OBJECT), 0);
        }
        for (size_t n = 1;; n++) {
                struct cache_view view;
                int r;

                alloc_fail_arm(n);
                r = cache_look(cache, "ns/a", &view, NULL);
                if (!alloc_fail_disarm()) {
                        cache_view_done(&view);
                        break;
                }
                ck_assert_int_eq(r, -FAULT_NOMEM);
        }
}
END_TEST

int main(void) {
        Suite *suite = suite_create("cache");
        TCase *tcase = tcase_create("cache");
        SRunner *runner = srunner_create(suite);
        int failed;

        suite_add_tcase(suite, tcase);
        tcase_add_checked_fixture(tcase, setup, teardown);
        tcase_add_test(tcase, what_is_kept_of_an_object);
        tcase_add_test(tcase, newer_wins);
        tcase_add_loop_test(tcase, versions_compare_as_numbers, 0,
                            (int)(sizeof(versions) / sizeof(versions[0])));
        tcase_add_test(tcase, an_own_write_is_known_before_the_watch);
        tcase_add_test(tcase, an_own_write_does_not_count_without_numbers);
        tcase_add_test(tcase, a_late_answer_does_not_bring_back_the_dead);
        tcase_add_test(tcase, the_deletion_of_an_earlier_one_leaves_the_new);
        tcase_add_test(tcase, the_watch_brings_back_what_it_took_away);
        tcase_add_test(tcase, what_a_list_lacks_has_vanished);
        tcase_add_test(tcase, a_list_of_one_namespace_is_that_of_one_namespace);
        tcase_add_test(tcase, the_content_of_a_list_is_the_truth);
        tcase_add_test(tcase, but_not_against_what_was_learned_since_it_began);
        tcase_add_test(tcase, a_late_answer_does_not_outlive_a_list);
        tcase_add_test(tcase, jobs_and_pods_meet_under_the_key);
        tcase_add_test(tcase, what_is_done_keeps_no_text);
        tcase_add_test(tcase, the_oldest_run_is_known);
        tcase_add_test(tcase, garbage_is_refused);
        tcase_add_test(tcase, out_of_memory);
        srunner_run_all(runner, CK_NORMAL);
        failed = srunner_ntests_failed(runner);
        srunner_free(runner);
        return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
