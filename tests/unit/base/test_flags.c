/* SPDX-License-Identifier: Apache-2.0 */
#include "common/base/flags.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/fault.h"
#include "common/base/strbuf.h"
#include "tests/unit/alloc_fail.h"

/* ---- one set of flags of every type, as a program has them ---- */

struct values {
        const char *name;
        bool fast;
        int64_t count, period_ms;
        struct flag_list items;
};

#define FLAGS_OF(v)                                                                                \
        {                                                                                          \
                { .group = "Work",                                                                 \
                  .name = "name",                                                                  \
                  .type = FLAG_STRING,                                                             \
                  .value = &(v)->name,                                                             \
                  .default_text = "nobody",                                                        \
                  .help = "Who." },                                                                \
                        { .group = "Work",                                                         \
                          .name = "go-fast",                                                       \
                          .type = FLAG_BOOL,                                                       \
                          .value = &(v)->fast,                                                     \
                          .help = "Hurry." },                                                      \
                        { .group = "Numbers",                                                      \
                          .name = "count",                                                         \
                          .type = FLAG_INT,                                                        \
                          .value = &(v)->count,                                                    \
                          .default_text = "3",                                                     \
                          .help = "How many.",                                                     \
                          .min = -5,                                                               \
                          .max = 10 },                                                             \
                        { .group = "Numbers",                                                      \
                          .name = "period",                                                        \
                          .type = FLAG_DURATION,                                                   \
                          .value = &(v)->period_ms,                                                \
                          .default_text = "1s",                                                    \
                          .help = "How long.",                                                     \
                          .min = 100,                                                              \
                          .max = 60000 },                                                          \
                        { .group = "Numbers",                                                      \
                          .name = "item",                                                          \
                          .type = FLAG_LIST,                                                       \
                          .value = &(v)->items,                                                    \
                          .help = "Which." },                                                      \
                        { .name = NULL },                                                          \
        }

static void values_done(struct values *v) {
        flag_list_done(&v->items);
}

#define VALUES_INIT                                                                                \
        {                                                                                          \
                .name = "nobody", .fast = false, .count = 3, .period_ms = 1000, .items = {         \
                        .count = 0                                                                 \
                }                                                                                  \
        }

#define ARGS_MAX 4

/* Parses up to ARGS_MAX arguments, NULL-terminated. */
static int parse(struct values *v, const char *const *args, FILE *out, struct fault *f) {
        const struct flag table[] = FLAGS_OF(v);
        char *argv[ARGS_MAX + 2] = { NULL };
        char program[] = "prog";
        int argc = 1;

        argv[0] = program;
        for (; args[argc - 1]; argc++)
                argv[argc] = (char *)(uintptr_t)args[argc - 1]; /* nobody writes to it */
        return flags_parse(table, "prog", "does things", argc, argv, out, f);
}

static void clear_environment(void) {
        static const char *const names[] = { "DBUPGRADE_NAME", "DBUPGRADE_GO_FAST",
                                             "DBUPGRADE_COUNT", "DBUPGRADE_PERIOD",
                                             "DBUPGRADE_ITEM" };

        for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
                ck_assert_int_eq(unsetenv(names[i]), 0);
}

/* "a,b" */
static void check_items(const struct flag_list *list, const char *expected, const char *row) {
        CLEANUP(strbuf_done) struct strbuf text = STRBUF_INIT(10000);

        for (size_t i = 0; i < list->count; i++)
                strbuf_printf(&text, "%s%s", i ? "," : "", list->items[i]);
        ck_assert_msg(strcmp(strbuf_text(&text), expected) == 0, "%s: %s", row, strbuf_text(&text));
        ck_assert_ptr_null(list->items[list->count]);
}

static const struct line {
        const char *row;
        const char *env_name, *env_value; /* NULL: none */
        const char *args[ARGS_MAX + 1];
        const char *name;
        bool fast;
        int64_t count, period_ms;
        const char *items;
} lines[] = {
        { "nothing: the defaults", NULL, NULL, { NULL }, "nobody", false, 3, 1000, "" },
        { "a string behind =", NULL, NULL, { "--name=x" }, "x", false, 3, 1000, "" },
        { "a string as the next argument", NULL, NULL, { "--name", "x" }, "x", false, 3, 1000, "" },
        { "a string with = in it", NULL, NULL, { "--name=a=b" }, "a=b", false, 3, 1000, "" },
        { "an empty string", NULL, NULL, { "--name=" }, "", false, 3, 1000, "" },
        { "a string that looks like a flag",
          NULL,
          NULL,
          { "--name", "--count" },
          "--count",
          false,
          3,
          1000,
          "" },
        { "a bool alone", NULL, NULL, { "--go-fast" }, "nobody", true, 3, 1000, "" },
        { "a bool alone takes no next argument",
          NULL,
          NULL,
          { "--go-fast", "--count=1" },
          "nobody",
          true,
          1,
          1000,
          "" },
        { "a bool, true", NULL, NULL, { "--go-fast=true" }, "nobody", true, 3, 1000, "" },
        { "a bool, false again",
          NULL,
          NULL,
          { "--go-fast", "--go-fast=false" },
          "nobody",
          false,
          3,
          1000,
          "" },
        { "the smallest number", NULL, NULL, { "--count=-5" }, "nobody", false, -5, 1000, "" },
        { "the largest number", NULL, NULL, { "--count", "10" }, "nobody", false, 10, 1000, "" },
        { "zeros before a number", NULL, NULL, { "--count=007" }, "nobody", false, 7, 1000, "" },
        { "the last of two counts",
          NULL,
          NULL,
          { "--count=1", "--count=2" },
          "nobody",
          false,
          2,
          1000,
          "" },
        { "the shortest duration", NULL, NULL, { "--period=100ms" }, "nobody", false, 3, 100, "" },
        { "the longest duration", NULL, NULL, { "--period=1m" }, "nobody", false, 3, 60000, "" },
        { "a list", NULL, NULL, { "--item=a,b" }, "nobody", false, 3, 1000, "a,b" },
        { "a repeated list adds up",
          NULL,
          NULL,
          { "--item=a", "--item", "b,c" },
          "nobody",
          false,
          3,
          1000,
          "a,b,c" },
        { "empty items are none",
          NULL,
          NULL,
          { "--item=,a,,b," },
          "nobody",
          false,
          3,
          1000,
          "a,b" },
        { "an empty list", NULL, NULL, { "--item=" }, "nobody", false, 3, 1000, "" },
        { "a string of the environment",
          "DBUPGRADE_NAME",
          "env",
          { NULL },
          "env",
          false,
          3,
          1000,
          "" },
        { "a dash becomes _", "DBUPGRADE_GO_FAST", "true", { NULL }, "nobody", true, 3, 1000, "" },
        { "a number of the environment",
          "DBUPGRADE_COUNT",
          "9",
          { NULL },
          "nobody",
          false,
          9,
          1000,
          "" },
        { "a duration of the environment",
          "DBUPGRADE_PERIOD",
          "2s",
          { NULL },
          "nobody",
          false,
          3,
          2000,
          "" },
        { "a list of the environment",
          "DBUPGRADE_ITEM",
          "x,y",
          { NULL },
          "nobody",
          false,
          3,
          1000,
          "x,y" },
        { "the command line wins",
          "DBUPGRADE_COUNT",
          "9",
          { "--count=8" },
          "nobody",
          false,
          8,
          1000,
          "" },
        { "the command line's list replaces that of the environment",
          "DBUPGRADE_ITEM",
          "x,y",
          { "--item=a", "--item=b" },
          "nobody",
          false,
          3,
          1000,
          "a,b" },
        { "an empty variable counts", "DBUPGRADE_NAME", "", { NULL }, "", false, 3, 1000, "" },
};

START_TEST(values_come_from_defaults_environment_and_arguments) {
        const struct line *l = &lines[_i];
        CLEANUP(values_done) struct values v = VALUES_INIT;
        struct fault f = FAULT_INIT;
        int r;

        clear_environment();
        if (l->env_name)
                ck_assert_int_eq(setenv(l->env_name, l->env_value, 1), 0);
        r = parse(&v, l->args, stdout, &f);
        ck_assert_msg(r == 0, "%s: %s", l->row, f.text);
        ck_assert_msg(strcmp(v.name, l->name) == 0, "%s: %s", l->row, v.name);
        ck_assert_msg(v.fast == l->fast, "%s", l->row);
        ck_assert_msg(v.count == l->count, "%s", l->row);
        ck_assert_msg(v.period_ms == l->period_ms, "%s", l->row);
        check_items(&v.items, l->items, l->row);
        clear_environment();
}
END_TEST

static const struct mistake {
        const char *env_name, *env_value; /* NULL: none */
        const char *args[ARGS_MAX + 1];
        const char *text;
} mistakes[] = {
        { NULL, NULL, { "x" }, "unexpected argument \"x\"" },
        { NULL, NULL, { "" }, "unexpected argument \"\"" },
        { NULL, NULL, { "-name=x" }, "unexpected argument \"-name=x\"" },
        { NULL, NULL, { "-v" }, "unexpected argument \"-v\"" },
        { NULL, NULL, { "--" }, "unknown flag --; see --help" },
        { NULL, NULL, { "--=x" }, "unknown flag --; see --help" },
        { NULL, NULL, { "--nam=x" }, "unknown flag --nam; see --help" },
        { NULL, NULL, { "--names" }, "unknown flag --names; see --help" },
        { NULL, NULL, { "--Name=x" }, "unknown flag --Name; see --help" },
        { NULL, NULL, { "--help=x" }, "unknown flag --help; see --help" },
        { NULL, NULL, { "--name" }, "--name needs a value" },
        { NULL, NULL, { "--go-fast=yes" }, "--go-fast=yes: must be true or false" },
        { NULL, NULL, { "--go-fast=" }, "--go-fast=: must be true or false" },
        { NULL, NULL, { "--go-fast", "true" }, "unexpected argument \"true\"" },
        { NULL, NULL, { "--count=" }, "--count=: must be a number" },
        { NULL, NULL, { "--count=x" }, "--count=x: must be a number" },
        { NULL, NULL, { "--count=1x" }, "--count=1x: must be a number" },
        { NULL, NULL, { "--count=0x1" }, "--count=0x1: must be a number" },
        { NULL, NULL, { "--count= 1" }, "--count= 1: must be a number" },
        { NULL, NULL, { "--count=+1" }, "--count=+1: must be a number" },
        { NULL, NULL, { "--count=-" }, "--count=-: must be a number" },
        { NULL, NULL, { "--count=1.5" }, "--count=1.5: must be a number" },
        { NULL,
          NULL,
          { "--count=9223372036854775808" },
          "--count=9223372036854775808: must be a number" },
        { NULL, NULL, { "--count=-6" }, "--count=-6: must be from -5 to 10" },
        { NULL, NULL, { "--count=11" }, "--count=11: must be from -5 to 10" },
        { NULL, NULL, { "--count=1", "--count=11" }, "--count=11: must be from -5 to 10" },
        { NULL, NULL, { "--period=1" }, "--period=1: must be a duration such as 500ms, 30s or" },
        { NULL, NULL, { "--period=99ms" }, "--period=99ms: must be from 100 to 60000 ms" },
        { NULL, NULL, { "--period=61s" }, "--period=61s: must be from 100 to 60000 ms" },
        { "DBUPGRADE_COUNT", "many", { NULL }, "DBUPGRADE_COUNT=many: must be a number" },
        { "DBUPGRADE_GO_FAST", "1", { NULL }, "DBUPGRADE_GO_FAST=1: must be true or false" },
        { "DBUPGRADE_PERIOD", "", { NULL }, "DBUPGRADE_PERIOD=: must be a duration" },
        { "DBUPGRADE_COUNT", "many", { "--count=1" }, "DBUPGRADE_COUNT=many: must be a number" },
};

START_TEST(a_mistake_is_named) {
        const struct mistake *m = &mistakes[_i];
        CLEANUP(values_done) struct values v = VALUES_INIT;
        struct fault f = FAULT_INIT;

        clear_environment();
        if (m->env_name)
                ck_assert_int_eq(setenv(m->env_name, m->env_value, 1), 0);
        ck_assert_msg(parse(&v, m->args, stdout, &f) == -FAULT_INVALID, "%s", m->text);
        ck_assert_msg(strstr(f.text, m->text) == f.text, "%s", f.text);
        clear_environment();
}
END_TEST

START_TEST(a_list_has_a_cap) {
        CLEANUP(values_done) struct values v = VALUES_INIT;
        CLEANUP(strbuf_done) struct strbuf arg = STRBUF_INIT(10000);
        struct fault f = FAULT_INIT;

        clear_environment();
        strbuf_str(&arg, "--item=");
        for (int i = 0; i < FLAG_LIST_MAX; i++)
                strbuf_str(&arg, "a,");
        ck_assert_int_eq(parse(&v, (const char *const[]){ strbuf_text(&arg), NULL }, stdout, &f),
                         0);
        ck_assert_uint_eq(v.items.count, FLAG_LIST_MAX);
        ck_assert_ptr_null(v.items.items[FLAG_LIST_MAX]);
        ck_assert_int_eq(
                parse(&v, (const char *const[]){ strbuf_text(&arg), "--item=b", NULL }, stdout, &f),
                -FAULT_INVALID);
        ck_assert_ptr_nonnull(strstr(f.text, "--item=b: more than 256 items"));
}
END_TEST

/* ---- --help and --version ---- */

/* What is printed. */
static int parse_to(struct strbuf *text, const char *const *args) {
        CLEANUP(values_done) struct values v = VALUES_INIT;
        CLEANUP(fclose_p) FILE *out = tmpfile();
        char bytes[4096];
        size_t len;
        int r;

        ck_assert_ptr_nonnull(out);
        r = parse(&v, args, out, NULL);
        rewind(out);
        while ((len = fread(bytes, 1, sizeof(bytes), out)) > 0)
                strbuf_add(text, bytes, len);
        ck_assert_int_eq(strbuf_check(text, NULL), 0);
        ck_assert_str_eq(v.name, "nobody");
        return r;
}

static const char help[] = "prog: does things\n"
                           "\n"
                           "Usage: prog [flags]\n"
                           "\n"
                           "Work:\n"
                           "  --name\n"
                           "        Who. (default nobody) [DBUPGRADE_NAME]\n"
                           "  --go-fast\n"
                           "        Hurry. [DBUPGRADE_GO_FAST]\n"
                           "\n"
                           "Numbers:\n"
                           "  --count\n"
                           "        How many. (default 3) [DBUPGRADE_COUNT]\n"
                           "  --period\n"
                           "        How long. (default 1s) [DBUPGRADE_PERIOD]\n"
                           "  --item\n"
                           "        Which. [DBUPGRADE_ITEM]\n"
                           "\n"
                           "Other:\n"
                           "  --help\n"
                           "        Print this.\n"
                           "  --version\n"
                           "        Print the version.\n";

static const struct question {
        const char *args[ARGS_MAX + 1];
        const char *answer;
} questions[] = {
        { { "--help" }, help },
        { { "-h" }, help },
        { { "--version" }, "prog " DBUPGRADE_VERSION " (" DBUPGRADE_COMMIT ")\n" },
        /* Whoever asks for help is not told of mistakes. */
        { { "--count=x", "--help" }, help },
        { { "--help", "--version" }, help },
        { { "x", "--version", "--help" }, "prog " DBUPGRADE_VERSION " (" DBUPGRADE_COMMIT ")\n" },
};

START_TEST(questions_are_answered_on_out) {
        CLEANUP(strbuf_done) struct strbuf text = STRBUF_INIT(100000);

        clear_environment();
        ck_assert_int_eq(parse_to(&text, questions[_i].args), FLAGS_E_EXIT);
        ck_assert_str_eq(strbuf_text(&text), questions[_i].answer);
}
END_TEST

/* ---- durations and addresses ---- */

static const struct duration {
        const char *text;
        int64_t ms; /* -1: none */
} durations[] = {
        { "0", 0 },
        { "0s", 0 },
        { "500ms", 500 },
        { "1s", 1000 },
        { "1m", 60000 },
        { "1h", 3600000 },
        { "1m30s", 90000 },
        { "1h0m0.5s", 3600500 },
        { "1.5h", 5400000 },
        { "0.25s", 250 },
        { "1.s", 1000 },
        { "1000us", 1 },
        { "1999us", 1 },
        { "1999999ns", 1 },
        { "1000000ns", 1 },
        { "1h1h", 7200000 },
        { "0.0000000000000000001h", 0 },
        { "000001s", 1000 },
        { "9223372036854ms", INT64_C(9223372036854) },
        { "2562047h", INT64_C(9223369200000) },
        { "9223372036855ms", -1 }, /* nanoseconds end */
        { "2562048h", -1 },
        { "9223372036854775808ns", -1 },
        { "99999999999999999999s", -1 },
        { "2562047h2562047h", -1 },
        { "9223372036.9s", -1 },
        { "", -1 },
        { "1", -1 },
        { "00", -1 },
        { "s", -1 },
        { ".5s", -1 },
        { "-1s", -1 },
        { "+1s", -1 },
        { " 1s", -1 },
        { "1s ", -1 },
        { "1 s", -1 },
        { "1S", -1 },
        { "1d", -1 },
        { "1sec", -1 },
        { "1s30", -1 },
        { "1..5s", -1 },
        { "1.5.5s", -1 },
        { "1e3s", -1 },
        { "0x1s", -1 },
        { "1\xc2\xb5s", -1 },
};

START_TEST(durations_are_those_of_go) {
        const struct duration *d = &durations[_i];
        int64_t ms = -7;
        bool is_one = flags_parse_duration(d->text, &ms);

        ck_assert_msg(is_one == (d->ms >= 0), "%s", d->text);
        ck_assert_msg(ms == (is_one ? d->ms : -7), "%s: %lld", d->text, (long long)ms);
}
END_TEST

START_TEST(no_fraction_loses_a_millisecond) {
        for (int64_t ms = 0; ms < 60000; ms += ms < 2000 ? 1 : 97) {
                char text[32];
                int64_t parsed = -7;

                (void)snprintf(text, sizeof(text), "%lld.%03llds", (long long)(ms / 1000),
                               (long long)(ms % 1000));
                if (!flags_parse_duration(text, &parsed) || parsed != ms)
                        ck_abort_msg("%s: %lld ms", text, (long long)parsed);
        }
}
END_TEST

static const struct address {
        const char *text;
        const char *host; /* NULL: none */
        uint16_t port;
} addresses[] = {
        { "0", "", 0 },
        { ":8080", "", 8080 },
        { "127.0.0.1:1", "127.0.0.1", 1 },
        { "localhost:65535", "localhost", 65535 },
        { "[::1]:80", "::1", 80 },
        { "[fe80::1%eth0]:80", "fe80::1%eth0", 80 },
        { "[127.0.0.1]:80", "127.0.0.1", 80 },
        { "", NULL, 0 },
        { ":", NULL, 0 },
        { "8080", NULL, 0 },
        { "localhost", NULL, 0 },
        { "localhost:", NULL, 0 },
        { ":0", NULL, 0 },
        { ":65536", NULL, 0 },
        { ":-1", NULL, 0 },
        { ":+1", NULL, 0 },
        { ": 80", NULL, 0 },
        { ":80 ", NULL, 0 },
        { ":http", NULL, 0 },
        { "::1:80", NULL, 0 },
        { "[::1]", NULL, 0 },
        { "[::1]80", NULL, 0 },
        { "[::1:80", NULL, 0 },
        { "::1]:80", NULL, 0 },
        { "[[::1]:80", NULL, 0 },
        { "[a:80", NULL, 0 },
        { "a]:80", NULL, 0 },
        { "[]:80", NULL, 0 },
};

START_TEST(addresses_have_a_host_and_a_port) {
        const struct address *a = &addresses[_i];
        char host[FLAGS_HOST_SIZE] = "untouched";
        uint16_t port = 7;
        bool is_one = flags_parse_address(a->text, host, &port);

        ck_assert_msg(is_one == (a->host != NULL), "%s", a->text);
        ck_assert_msg(strcmp(host, is_one ? a->host : "untouched") == 0, "%s: %s", a->text, host);
        ck_assert_msg(port == (is_one ? a->port : 7), "%s: %u", a->text, port);
}
END_TEST

START_TEST(the_longest_host_fits) {
        char text[FLAGS_HOST_SIZE + 8], host[FLAGS_HOST_SIZE];
        uint16_t port;

        memset(text, 'a', sizeof(text));
        strcpy(text + FLAGS_HOST_SIZE - 1, ":80");
        ck_assert(flags_parse_address(text, host, &port));
        ck_assert_uint_eq(strlen(host), FLAGS_HOST_SIZE - 1);
        memset(text, 'a', sizeof(text));
        strcpy(text + FLAGS_HOST_SIZE, ":80");
        ck_assert(!flags_parse_address(text, host, &port));
}
END_TEST

/* The environment's list, then another: none of the items leaks. */
START_TEST(no_allocation_goes_unchecked) {
        static const char *const args[] = { "--item=a,b", "--item=c", NULL };
        size_t n = 1;

        clear_environment();
        ck_assert_int_eq(setenv("DBUPGRADE_ITEM", "x,y", 1), 0);
        for (;; n++) {
                CLEANUP(values_done) struct values v = VALUES_INIT;
                int r;

                alloc_fail_arm(n);
                r = parse(&v, args, stdout, NULL);
                if (!alloc_fail_disarm()) {
                        ck_assert_int_eq(r, 0);
                        check_items(&v.items, "a,b,c", "all");
                        break;
                }
                ck_assert_int_eq(r, -FAULT_NOMEM);
        }
        ck_assert_uint_gt(n, 5);
        clear_environment();
}
END_TEST

#define COUNT(rows) ((int)(sizeof(rows) / sizeof((rows)[0])))

int main(void) {
        Suite *suite = suite_create("flags");
        TCase *tcase = tcase_create("flags");
        SRunner *runner = srunner_create(suite);
        int failed;

        suite_add_tcase(suite, tcase);
        tcase_add_loop_test(tcase, values_come_from_defaults_environment_and_arguments, 0,
                            COUNT(lines));
        tcase_add_loop_test(tcase, a_mistake_is_named, 0, COUNT(mistakes));
        tcase_add_test(tcase, a_list_has_a_cap);
        tcase_add_loop_test(tcase, questions_are_answered_on_out, 0, COUNT(questions));
        tcase_add_loop_test(tcase, durations_are_those_of_go, 0, COUNT(durations));
        tcase_add_test(tcase, no_fraction_loses_a_millisecond);
        tcase_add_loop_test(tcase, addresses_have_a_host_and_a_port, 0, COUNT(addresses));
        tcase_add_test(tcase, the_longest_host_fits);
        tcase_add_test(tcase, no_allocation_goes_unchecked);
        srunner_run_all(runner, CK_NORMAL);
        failed = srunner_ntests_failed(runner);
        srunner_free(runner);
        return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
