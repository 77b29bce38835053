/* SPDX-License-Identifier: Apache-2.0 */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/fault.h"
#include "common/kube/lines.h"

#define MAX_LINE 8

/* Joins what came, each line in brackets. */
static int collect(void *ctx, const char *line, size_t len, struct fault *f) {
        struct strbuf *out = ctx;

        (void)f;
        strbuf_char(out, '[');
        strbuf_add(out, line, len);
        strbuf_char(out, ']');
        return memchr(line, '!', len) ? 7 : 0;
}

struct stream {
        const char *name, *bytes, *lines;
        int result;
};

static const struct stream streams[] = {
        { "nothing", "", "", 0 },
        { "one line", "abc\n", "[abc]", 0 },
        { "two lines", "abc\nde\n", "[abc][de]", 0 },
        { "a line without its end is not given", "abc\nde", "[abc]", 0 },
        { "empty lines are left out", "\n\nabc\n\n", "[abc]", 0 },
        { "a carriage return belongs to the line", "abc\r\n", "[abc\r]", 0 },
        { "the longest line", "12345678\n", "[12345678]", 0 },
        { "a line one byte too long", "123456789\n", "", -FAULT_PROTO },
        { "a line too long without its end", "a\n1234567890123", "[a]", -FAULT_PROTO },
        { "a callback that stops", "a\n!\nb\n", "[a][!]", 7 },
};

/* A heap copy of its own lets a sanitizer see each byte read too far. */
static int feed(struct lines *l, const char *bytes, size_t len, struct strbuf *out) {
        CLEANUP(free_p) char *copy = malloc(len ? len : 1);
        struct fault f = FAULT_INIT;

        ck_assert_ptr_nonnull(copy);
        memcpy(copy, bytes, len);
        return lines_feed(l, copy, len, collect, out, &f);
}

START_TEST(gives_the_same_lines_for_every_cut) {
        const struct stream *s = &streams[_i];
        size_t len = strlen(s->bytes);

        for (size_t cut = 0; cut <= len; cut++) {
                CLEANUP(lines_done) struct lines l = LINES_INIT(MAX_LINE);
                CLEANUP(strbuf_done) struct strbuf out = STRBUF_INIT(SIZE_MAX);
                int r = feed(&l, s->bytes, cut, &out);

                if (!r)
                        r = feed(&l, s->bytes + cut, len - cut, &out);
                ck_assert_msg(r == s->result, "%s, cut at %zu: %d", s->name, cut, r);
                ck_assert_msg(strcmp(strbuf_text(&out), s->lines) == 0, "%s, cut at %zu: %s",
                              s->name, cut, strbuf_text(&out));
        }
}
END_TEST

START_TEST(takes_single_bytes) {
        const struct stream *s = &streams[_i];
        CLEANUP(lines_done) struct lines l = LINES_INIT(MAX_LINE);
        CLEANUP(strbuf_done) struct strbuf out = STRBUF_INIT(SIZE_MAX);
        int r = 0;

        for (const char *p = s->bytes; *p && !r; p++)
                r = feed(&l, p, 1, &out);
        ck_assert_msg(r == s->result, "%s: %d", s->name, r);
        ck_assert_str_eq(strbuf_text(&out), s->lines);
}
END_TEST

START_TEST(gives_back_the_memory_of_a_long_line) {
        CLEANUP(lines_done) struct lines l = LINES_INIT(1 << 20);
        CLEANUP(strbuf_done) struct strbuf out = STRBUF_INIT(SIZE_MAX);
        CLEANUP(free_p) char *text = malloc(1 << 19);

        ck_assert_ptr_nonnull(text);
        memset(text, 'a', 1 << 19);
        ck_assert_int_eq(feed(&l, text, 1 << 19, &out), 0);
        ck_assert_uint_ge(l.partial.cap, 1 << 19);
        ck_assert_int_eq(feed(&l, "\n", 1, &out), 0);
        ck_assert_uint_eq(out.len, (1 << 19) + 2);
        ck_assert_uint_le(l.partial.cap, 16 * 1024);
}
END_TEST

int main(void) {
        Suite *suite = suite_create("lines");
        TCase *tc = tcase_create("lines");
        SRunner *runner = srunner_create(suite);
        int count = (int)(sizeof(streams) / sizeof(streams[0]));
        int failed;

        tcase_add_loop_test(tc, gives_the_same_lines_for_every_cut, 0, count);
        tcase_add_loop_test(tc, takes_single_bytes, 0, count);
        tcase_add_test(tc, gives_back_the_memory_of_a_long_line);
        suite_add_tcase(suite, tc);
        srunner_run_all(runner, CK_ENV);
        failed = srunner_ntests_failed(runner);
        srunner_free(runner);
        return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
