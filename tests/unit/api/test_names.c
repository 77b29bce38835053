/* SPDX-License-Identifier: Apache-2.0 */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "common/api/names.h"

#define TEN "0123456789"

struct row {
        const char *name;
        const char *object_name;
        const char *job;
        const char *label;
};

/* The hashes are those of `printf %s NAME | sha256sum`. */
static const struct row rows[] = {
        { "a short name", "shop", "dbupgrade-shop-0123abcd", "shop" },
        { "a name of one character", "a", "dbupgrade-a-0123abcd", "a" },
        { "the longest name that fits in a Job's name", "abcd" TEN TEN TEN TEN,
          "dbupgrade-abcd" TEN TEN TEN TEN "-0123abcd", "abcd" TEN TEN TEN TEN },
        { "one character more", "abcde" TEN TEN TEN TEN,
          "dbupgrade-abcde" TEN TEN "01234567-232c538247-0123abcd", "abcde" TEN TEN TEN TEN },
        { "dots, which a label value may have", "shop.db", "dbupgrade-shop-db-e39f88e649-0123abcd",
          "shop.db" },
        { "63 characters", "abc" TEN TEN TEN TEN TEN TEN,
          "dbupgrade-abc" TEN TEN TEN "-86465025c4-0123abcd", "abc" TEN TEN TEN TEN TEN TEN },
        { "64 characters", "abcd" TEN TEN TEN TEN TEN TEN,
          "dbupgrade-abcd" TEN TEN "012345678-6a4222a22c-0123abcd",
          "abcd" TEN TEN TEN TEN "01234567-6a4222a22c" },
        { "dots where the label is cut",
          "a.b.c.d.e.f.g.h.i.j.k.l.m.n.o.p.q.r.s.t.u.v.w.x.y.z.a.b.c.d.e.f.g.h.i.j",
          "dbupgrade-a-b-c-d-e-f-g-h-i-j-k-l-m-n-o-p-q-aa3ad144aa-0123abcd",
          "a.b.c.d.e.f.g.h.i.j.k.l.m.n.o.p.q.r.s.t.u.v.w.x.y.z.-aa3ad144aa" },
};

START_TEST(names_fit_and_stay_distinct) {
        const struct row *row = &rows[_i];
        char text[NAMES_LABEL_SIZE];

        names_job(row->object_name, "0123abcd", text);
        ck_assert_msg(strcmp(text, row->job) == 0, "%s: Job %s", row->name, text);
        names_label(row->object_name, text);
        ck_assert_msg(strcmp(text, row->label) == 0, "%s: label %s", row->name, text);
}
END_TEST

START_TEST(every_length_gives_a_dns_label) {
        char name[254] = "", job[NAMES_LABEL_SIZE], label[NAMES_LABEL_SIZE];

        for (size_t len = 1; len <= 253; len++) {
                name[len - 1] = len % 7 == 0 && len < 253 ? '.' : 'x';
                names_job(name, "0123abcd", job);
                names_label(name, label);
                ck_assert_uint_le(strlen(job), 63);
                ck_assert_uint_eq(strspn(job, "abcdefghijklmnopqrstuvwxyz0123456789-"),
                                  strlen(job));
                ck_assert_str_eq(job + strlen(job) - 9, "-0123abcd");
                ck_assert_uint_le(strlen(label), 63);
        }
}
END_TEST

int main(void) {
        Suite *suite = suite_create("names");
        TCase *tcase = tcase_create("names");
        SRunner *runner = srunner_create(suite);
        int failed;

        suite_add_tcase(suite, tcase);
        tcase_add_loop_test(tcase, names_fit_and_stay_distinct, 0,
                            (int)(sizeof(rows) / sizeof(rows[0])));
        tcase_add_test(tcase, every_length_gives_a_dns_label);
        srunner_run_all(runner, CK_NORMAL);
        failed = srunner_ntests_failed(runner);
        srunner_free(runner);
        return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
