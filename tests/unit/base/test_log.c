/* SPDX-License-Identifier: Apache-2.0 */
#include "common/base/log.h"

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "common/base/fault.h"
#include "common/base/strbuf.h"
#include "common/json/json_get.h"
#include "tests/unit/alloc_fail.h"

/* ---- stderr, caught in memory ---- */

static int stderr_before = -1, caught = -1;

static void catch_stderr(void) {
        (void)fflush(stderr);
        stderr_before = dup(STDERR_FILENO);
        caught = memfd_create("log", MFD_CLOEXEC);
        ck_assert(stderr_before >= 0 && caught >= 0);
        /* As a pipe: threads do not write at the same place. */
        ck_assert_int_eq(fcntl(caught, F_SETFL, O_APPEND), 0);
        ck_assert_int_eq(dup2(caught, STDERR_FILENO), STDERR_FILENO);
}

static void release_stderr(void) {
        if (stderr_before < 0)
                return;
        (void)dup2(stderr_before, STDERR_FILENO);
        (void)close(stderr_before);
        (void)close(caught);
        stderr_before = caught = -1;
        log_context_set(NULL);
}

/* What was written since. */
static void take(struct strbuf *text) {
        char bytes[4096];
        ssize_t n;

        strbuf_reset(text);
        ck_assert_int_eq(lseek(caught, 0, SEEK_SET), 0);
        while ((n = read(caught, bytes, sizeof(bytes))) > 0)
                strbuf_add(text, bytes, (size_t)n);
        ck_assert_int_eq(ftruncate(caught, 0), 0);
        ck_assert_int_eq(lseek(caught, 0, SEEK_SET), 0);
        ck_assert_int_eq(strbuf_check(text, NULL), 0);
}

#define TEXT_MAX ((size_t)4 << 20)

/* The one line written since, as a tree. */
static cJSON *take_object(void) {
        CLEANUP(strbuf_done) struct strbuf text = STRBUF_INIT(TEXT_MAX);
        struct fault f = FAULT_INIT;
        cJSON *tree = NULL;

        take(&text);
        ck_assert_msg(text.len > 0 && strchr(text.ptr, '\n') == text.ptr + text.len - 1,
                      "not one line: %s", strbuf_text(&text));
        ck_assert_msg(json_parse(text.ptr, text.len, &tree, &f) == 0, "%s: %s", f.text, text.ptr);
        return tree;
}

/* ---- JSON ---- */

START_TEST(a_line_is_one_object_with_members_in_order) {
        CLEANUP(strbuf_done) struct strbuf text = STRBUF_INIT(TEXT_MAX);
        CLEANUP(cJSON_Delete_p) cJSON *tree = NULL;
        const char *time;
        int64_t us;

        log_init("unit", LOG_INFO, LOG_FORMAT_JSON);
        log_info("job created", LOG_STR("name", "a"), LOG_INT("run", -3), LOG_STR("none", NULL));
        take(&text);
        ck_assert_ptr_eq(strstr(text.ptr, "{\"level\":\"info\",\"ts\":\""), text.ptr);
        ck_assert_ptr_nonnull(strstr(text.ptr, "\",\"logger\":\"unit\",\"msg\":\"job created\","
                                               "\"name\":\"a\",\"run\":-3,\"none\":null}\n"));
        ck_assert_int_eq(json_parse(text.ptr, text.len, &tree, NULL), 0);
        time = json_string_at(tree, "ts");
        ck_assert_uint_eq(strlen(time), CLOCK_MICRO_TIME_SIZE - 1);
        ck_assert(clock_parse_time(time, strlen(time), &us));
        ck_assert_int_le(us, clock_wall_us(clock_system()));
}
END_TEST

START_TEST(numbers_have_all_64_bits) {
        CLEANUP(strbuf_done) struct strbuf text = STRBUF_INIT(TEXT_MAX);

        log_init("unit", LOG_INFO, LOG_FORMAT_JSON);
        log_info("x", LOG_INT("min", INT64_MIN), LOG_INT("max", INT64_MAX));
        take(&text);
        ck_assert_ptr_nonnull(
                strstr(text.ptr, "\"min\":-9223372036854775808,\"max\":9223372036854775807}"));
}
END_TEST

static const struct escape {
        const char *text, *json, *read; /* read: what a reader of the JSON gets */
} escapes[] = {
        { "", "\"\"", "" },
        { "caf\xc3\xa9 \xf0\x9f\x98\x80", "\"caf\xc3\xa9 \xf0\x9f\x98\x80\"",
          "caf\xc3\xa9 \xf0\x9f\x98\x80" },
        { "say \"x\\y\"", "\"say \\\"x\\\\y\\\"\"", "say \"x\\y\"" },
        { "a\nb\r\tc", "\"a\\nb\\u000d\\u0009c\"", "a\nb\r\tc" },
        { "\x1b[2J\x07\x7f", "\"\\u001b[2J\\u0007\\u007f\"", "\x1b[2J\x07\x7f" },
        { "\x01\x1f", "\"\\u0001\\u001f\"", "\x01\x1f" },
        { "caf\xe9!", "\"caf\xef\xbf\xbd!\"", "caf\xef\xbf\xbd!" },
        { "\xff\xfe", "\"\xef\xbf\xbd\xef\xbf\xbd\"", "\xef\xbf\xbd\xef\xbf\xbd" },
        { "cut \xe2\x82", "\"cut \xef\xbf\xbd\xef\xbf\xbd\"", "cut \xef\xbf\xbd\xef\xbf\xbd" },
        { "\xc0\xaf", "\"\xef\xbf\xbd\xef\xbf\xbd\"", "\xef\xbf\xbd\xef\xbf\xbd" },
        { "\"}\n{\"level\":\"error\"}", "\"\\\"}\\n{\\\"level\\\":\\\"error\\\"}\"",
          "\"}\n{\"level\":\"error\"}" },
};

/* In the message and in a field. */
START_TEST(no_text_breaks_out_of_its_string) {
        const struct escape *e = &escapes[_i];
        CLEANUP(strbuf_done) struct strbuf text = STRBUF_INIT(TEXT_MAX);
        CLEANUP(cJSON_Delete_p) cJSON *tree = NULL;

        log_init("unit", LOG_INFO, LOG_FORMAT_JSON);
        log_info(e->text, LOG_STR("f", e->text));
        take(&text);
        ck_assert_msg(strstr(text.ptr, e->json) != NULL, "%s", text.ptr);
        ck_assert_int_eq(json_parse(text.ptr, text.len, &tree, NULL), 0);
        ck_assert_str_eq(json_string_at(tree, "msg"), e->read);
        ck_assert_str_eq(json_string_at(tree, "f"), e->read);
}
END_TEST

START_TEST(each_byte_value_gives_valid_json) {
        log_init("unit", LOG_INFO, LOG_FORMAT_JSON);
        for (int c = 1; c < 256; c++) {
                const char text[] = { 'a', (char)c, 'z', '\0' };
                CLEANUP(cJSON_Delete_p) cJSON *tree = NULL;

                log_info(text);
                tree = take_object();
                ck_assert_uint_ge(strlen(json_string_at(tree, "msg")), 3);
        }
}
END_TEST

/* ---- levels ---- */

static const char *const level_names[] = { "debug", "info", "warning", "error" };

START_TEST(what_is_below_the_level_is_not_written) {
        CLEANUP(strbuf_done) struct strbuf text = STRBUF_INIT(TEXT_MAX);

        for (int enabled = LOG_DEBUG; enabled <= LOG_ERROR; enabled++) {
                log_init("unit", (enum log_level)enabled, LOG_FORMAT_JSON);
                for (int level = LOG_DEBUG; level <= LOG_ERROR; level++) {
                        log_write((enum log_level)level, "x", NULL);
                        take(&text);
                        ck_assert_int_eq(text.len > 0, level >= enabled);
                        if (text.len > 0)
                                ck_assert_mem_eq(text.ptr + 10, level_names[level],
                                                 strlen(level_names[level]));
                }
        }
        log_set_level(LOG_DEBUG);
        ck_assert_int_eq(log_get_level(), LOG_DEBUG);
        log_debug("now");
        take(&text);
        ck_assert_uint_gt(text.len, 0);
}
END_TEST

static const struct start {
        const char *level, *format;
        int r;
        enum log_level parsed;
        const char *text;
} starts[] = {
        { "debug", "json", 0, LOG_DEBUG, "" },
        { "info", "text", 0, LOG_INFO, "" },
        { "warning", "auto", 0, LOG_WARNING, "" },
        { "warn", "json", 0, LOG_WARNING, "" },
        { "error", "json", 0, LOG_ERROR, "" },
        { "", "json", -FAULT_INVALID, LOG_INFO, "--log-level=: must be debug, info, warning or" },
        { "INFO", "json", -FAULT_INVALID, LOG_INFO, "--log-level=INFO: must be debug" },
        { "verbose", "json", -FAULT_INVALID, LOG_INFO, "--log-level=verbose: must be debug" },
        { "info", "", -FAULT_INVALID, LOG_INFO, "--log-format=: must be auto, json or text" },
        { "info", "yaml", -FAULT_INVALID, LOG_INFO, "--log-format=yaml: must be auto, json or" },
};

START_TEST(flags_are_read_or_named) {
        const struct start *s = &starts[_i];
        struct fault f = FAULT_INIT;

        log_init("unit", LOG_INFO, LOG_FORMAT_JSON);
        ck_assert_int_eq(log_start("unit", s->level, s->format, &f), s->r);
        ck_assert_int_eq(log_get_level(), s->parsed);
        ck_assert_msg(strstr(f.text, s->text) == f.text, "%s", f.text);
}
END_TEST

/* ---- context ---- */

START_TEST(a_context_is_on_every_line_of_its_thread) {
        const struct log_field context[] = { LOG_STR("namespace", "ns"), LOG_INT("run", 2),
                                             LOG_END };
        CLEANUP(strbuf_done) struct strbuf text = STRBUF_INIT(TEXT_MAX);

        log_init("unit", LOG_INFO, LOG_FORMAT_JSON);
        log_context_set(context);
        log_info("a", LOG_STR("own", "x"));
        log_info("b");
        log_context_set(NULL);
        log_info("c");
        take(&text);
        ck_assert_ptr_nonnull(
                strstr(text.ptr, "\"msg\":\"a\",\"own\":\"x\",\"namespace\":\"ns\",\"run\":2}\n"));
        ck_assert_ptr_nonnull(strstr(text.ptr, "\"msg\":\"b\",\"namespace\":\"ns\",\"run\":2}\n"));
        ck_assert_ptr_nonnull(strstr(text.ptr, "\"msg\":\"c\"}\n"));
}
END_TEST

#define THREADS 4
#define LINES   200

static void *write_lines(void *ctx) {
        const struct log_field context[] = { LOG_INT("thread", *(const int *)ctx), LOG_END };

        log_context_set(context);
        for (int i = 0; i < LINES; i++)
                log_info("from a thread", LOG_INT("line", i));
        log_context_set(NULL);
        return NULL;
}

/* Each line whole, in the order of its thread, with the context of its thread. */
static void check_lines(char *text) {
        int64_t next[THREADS] = { 0 };
        char *line, *rest = text;

        while ((line = strsep(&rest, "\n")) && *line) {
                CLEANUP(cJSON_Delete_p) cJSON *tree = NULL;
                int64_t thread;

                ck_assert_int_eq(json_parse(line, strlen(line), &tree, NULL), 0);
                thread = json_int_at(tree, "thread", -1);
                ck_assert(thread >= 0 && thread < THREADS);
                ck_assert_int_eq(json_int_at(tree, "line", -1), next[thread]++);
        }
        for (int i = 0; i < THREADS; i++)
                ck_assert_int_eq(next[i], LINES);
}

START_TEST(lines_of_threads_never_mix) {
        CLEANUP(strbuf_done) struct strbuf text = STRBUF_INIT(TEXT_MAX);
        pthread_t threads[THREADS];
        int numbers[THREADS];

        log_init("unit", LOG_INFO, LOG_FORMAT_JSON);
        for (int i = 0; i < THREADS; i++) {
                numbers[i] = i;
                ck_assert_int_eq(pthread_create(&threads[i], NULL, write_lines, &numbers[i]), 0);
        }
        for (int i = 0; i < LINES; i++)
                log_set_level(i % 2 ? LOG_DEBUG : LOG_INFO);
        for (int i = 0; i < THREADS; i++)
                ck_assert_int_eq(pthread_join(threads[i], NULL), 0);
        take(&text);
        check_lines(text.ptr);
}
END_TEST

/* ---- lines too long ---- */

static char *text_of(const char *piece, size_t times) {
        CLEANUP(strbuf_done) struct strbuf text = STRBUF_INIT(TEXT_MAX);
        char *taken = NULL;

        for (size_t i = 0; i < times; i++)
                strbuf_str(&text, piece);
        ck_assert_int_eq(strbuf_take(&text, &taken, NULL), 0);
        return taken;
}

static void check_cut(const char *msg) {
        CLEANUP(cJSON_Delete_p) cJSON *tree = take_object();

        ck_assert_ptr_nonnull(strstr(json_string_at(tree, "error"), "too long"));
        ck_assert_ptr_eq(strstr(json_string_at(tree, "msg"), msg), json_string_at(tree, "msg"));
}

START_TEST(a_long_line_loses_its_fields_but_stays_a_line) {
        CLEANUP(free_p) char *text = text_of("0123456789", 1000);
        const struct log_field context[] = { LOG_STR("c", text), LOG_END };

        log_init("unit", LOG_INFO, LOG_FORMAT_JSON);
        log_info("a", LOG_STR("f", text));
        check_cut("a");
        log_context_set(context);
        log_info("b", LOG_STR("f", "x"));
        check_cut("b");
        log_context_set(NULL);
        log_info(text);
        check_cut("0123456789");
}
END_TEST

/* Characters that take the most room when they are escaped, and those that a cut could split. */
START_TEST(a_long_message_is_cut_between_characters) {
        static const char *const pieces[] = { "\x01", "\xff", "\xe2\x82\xac", "\xf0\x9f\x98\x80",
                                              "\"" };
        CLEANUP(free_p) char *text = text_of(pieces[_i], 9000);

        log_init("unit", LOG_INFO, LOG_FORMAT_JSON);
        log_info(text);
        check_cut("");
}
END_TEST

START_TEST(a_line_of_any_length_is_at_most_8_kib) {
        CLEANUP(strbuf_done) struct strbuf text = STRBUF_INIT(TEXT_MAX);

        log_init("unit", LOG_INFO, LOG_FORMAT_JSON);
        for (size_t len = 7900; len < 8300; len += 7) {
                CLEANUP(free_p) char *field = text_of("a", len);

                log_info("x", LOG_STR("f", field));
                take(&text);
                ck_assert_uint_le(text.len, 8192);
                ck_assert_int_eq(text.ptr[text.len - 1], '\n');
                ck_assert_int_eq(json_check(text.ptr, text.len, NULL, 0, NULL), 0);
        }
}
END_TEST

/* ---- text ---- */

START_TEST(text_is_for_people) {
        CLEANUP(strbuf_done) struct strbuf text = STRBUF_INIT(TEXT_MAX);
        const struct log_field context[] = { LOG_STR("namespace", "ns"), LOG_END };

        log_init("unit", LOG_INFO, LOG_FORMAT_TEXT);
        log_context_set(context);
        log_warning("slow\x1b[2J", LOG_STR("name", "a\nb"), LOG_INT("ms", 7),
                    LOG_STR("none", NULL));
        take(&text);
        /* "15:04:05.000 " */
        ck_assert_uint_eq(strspn(text.ptr, "0123456789:."), 12);
        ck_assert_str_eq(text.ptr + 12, " warning slow\\u001b[2J  name=a\\nb  ms=7  none=-"
                                        "  namespace=ns\n");
}
END_TEST

START_TEST(a_file_gets_json_a_terminal_text) {
        CLEANUP(strbuf_done) struct strbuf text = STRBUF_INIT(TEXT_MAX);
        CLEANUP(close_p) int terminal = posix_openpt(O_RDWR | O_NOCTTY);
        CLEANUP(close_p) int user = -1;
        char bytes[1000];
        ssize_t n;

        ck_assert(terminal >= 0 && grantpt(terminal) == 0 && unlockpt(terminal) == 0);
        user = open(ptsname(terminal), O_RDWR | O_NOCTTY);
        ck_assert_int_ge(user, 0);
        log_init("unit", LOG_INFO, LOG_FORMAT_AUTO);
        log_info("to a file");
        take(&text);
        ck_assert_int_eq(text.ptr[0], '{');
        ck_assert_int_eq(dup2(user, STDERR_FILENO), STDERR_FILENO);
        log_init("unit", LOG_INFO, LOG_FORMAT_AUTO);
        log_info("to a terminal");
        n = read(terminal, bytes, sizeof(bytes) - 1);
        ck_assert_int_gt(n, 0);
        bytes[n] = '\0';
        ck_assert_ptr_nonnull(strstr(bytes, " info    to a terminal"));
}
END_TEST

/* ---- trouble ---- */

START_TEST(errno_survives) {
        CLEANUP(strbuf_done) struct strbuf text = STRBUF_INIT(TEXT_MAX);

        log_init("unit", LOG_INFO, LOG_FORMAT_JSON);
        errno = ENOENT;
        log_info("x");
        ck_assert_int_eq(errno, ENOENT);
        (void)close(STDERR_FILENO);
        errno = EAGAIN;
        log_info("nobody hears");
        ck_assert_int_eq(errno, EAGAIN);
        ck_assert_int_eq(dup2(caught, STDERR_FILENO), STDERR_FILENO);
        log_info("again");
        take(&text);
        ck_assert_ptr_null(strstr(text.ptr, "nobody"));
        ck_assert_ptr_nonnull(strstr(text.ptr, "again"));
}
END_TEST

START_TEST(without_memory_there_is_a_whole_line_or_none) {
        CLEANUP(free_p) char *field = text_of("a", 2000);
        CLEANUP(strbuf_done) struct strbuf text = STRBUF_INIT(TEXT_MAX);
        size_t n = 1;
        bool fired;

        log_init("unit", LOG_INFO, LOG_FORMAT_JSON);
        do {
                alloc_fail_arm(n++);
                log_info("x", LOG_STR("f", field));
                fired = alloc_fail_disarm();
                take(&text);
                ck_assert(text.len == 0 || text.ptr[text.len - 1] == '\n');
                ck_assert(text.len == 0 || json_check(text.ptr, text.len, NULL, 0, NULL) == 0);
        } while (fired);
        ck_assert_uint_gt(text.len, 2000);
        ck_assert_uint_gt(n, 3);
}
END_TEST

/* ---- limits ---- */

#define HOUR_MS 3600000

START_TEST(repeats_are_counted_until_the_period_is_over) {
        struct log_limit limit = { 0 };
        int64_t suppressed = -7;

        ck_assert(log_limit_pass(&limit, HOUR_MS, &suppressed));
        ck_assert_int_eq(suppressed, 0);
        for (int i = 0; i < 5; i++)
                ck_assert(!log_limit_pass(&limit, HOUR_MS, &suppressed));
        limit.next_ms = 0; /* the hour is over */
        ck_assert(log_limit_pass(&limit, HOUR_MS, &suppressed));
        ck_assert_int_eq(suppressed, 5);
        limit.next_ms = 0;
        ck_assert(log_limit_pass(&limit, HOUR_MS, &suppressed));
        ck_assert_int_eq(suppressed, 0);
}
END_TEST

struct race {
        struct log_limit limit;
        int64_t passed, suppressed;
};

static void *repeat(void *ctx) {
        struct race *race = ctx;

        for (int i = 0; i < LINES; i++) {
                int64_t suppressed;

                if (log_limit_pass(&race->limit, HOUR_MS, &suppressed))
                        __atomic_add_fetch(&race->passed, 1, __ATOMIC_RELAXED);
                else
                        __atomic_add_fetch(&race->suppressed, 1, __ATOMIC_RELAXED);
        }
        return NULL;
}

START_TEST(one_of_many_threads_passes) {
        struct race race = { 0 };
        pthread_t threads[THREADS];

        for (int i = 0; i < THREADS; i++)
                ck_assert_int_eq(pthread_create(&threads[i], NULL, repeat, &race), 0);
        for (int i = 0; i < THREADS; i++)
                ck_assert_int_eq(pthread_join(threads[i], NULL), 0);
        ck_assert_int_eq(race.passed, 1);
        ck_assert_int_eq(race.suppressed, THREADS * LINES - 1);
        /* The one that passed may have taken along what others had counted before. */
        ck_assert_int_le(race.limit.suppressed, race.suppressed);
}
END_TEST

#define COUNT(rows) ((int)(sizeof(rows) / sizeof((rows)[0])))

int main(void) {
        Suite *suite = suite_create("log");
        TCase *tcase = tcase_create("log");
        SRunner *runner = srunner_create(suite);
        int failed;

        suite_add_tcase(suite, tcase);
        tcase_add_checked_fixture(tcase, catch_stderr, release_stderr);
        tcase_add_test(tcase, a_line_is_one_object_with_members_in_order);
        tcase_add_test(tcase, numbers_have_all_64_bits);
        tcase_add_loop_test(tcase, no_text_breaks_out_of_its_string, 0, COUNT(escapes));
        tcase_add_test(tcase, each_byte_value_gives_valid_json);
        tcase_add_test(tcase, what_is_below_the_level_is_not_written);
        tcase_add_loop_test(tcase, flags_are_read_or_named, 0, COUNT(starts));
        tcase_add_test(tcase, a_context_is_on_every_line_of_its_thread);
        tcase_add_test(tcase, lines_of_threads_never_mix);
        tcase_add_test(tcase, a_long_line_loses_its_fields_but_stays_a_line);
        tcase_add_loop_test(tcase, a_long_message_is_cut_between_characters, 0, 5);
        tcase_add_test(tcase, a_line_of_any_length_is_at_most_8_kib);
        tcase_add_test(tcase, text_is_for_people);
        tcase_add_test(tcase, a_file_gets_json_a_terminal_text);
        tcase_add_test(tcase, errno_survives);
        tcase_add_test(tcase, without_memory_there_is_a_whole_line_or_none);
        tcase_add_test(tcase, repeats_are_counted_until_the_period_is_over);
        tcase_add_test(tcase, one_of_many_threads_passes);
        srunner_run_all(runner, CK_ENV);
        failed = srunner_ntests_failed(runner);
        srunner_free(runner);
        return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
