/* SPDX-License-Identifier: Apache-2.0 */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/fault.h"
#include "common/base/strbuf.h"
#include "common/kube/yaml_tree.h"

/* {key=text,…} and [text,…]. */
static void print(const struct yaml_node *node, struct strbuf *out) {
        if (node->key)
                strbuf_printf(out, "%s=", node->key);
        if (node->kind == YAML_SCALAR) {
                strbuf_str(out, node->text);
                return;
        }
        strbuf_char(out, node->kind == YAML_MAPPING ? '{' : '[');
        for (const struct yaml_node *child = node->first; child; child = child->next) {
                print(child, out);
                if (child->next)
                        strbuf_char(out, ',');
        }
        strbuf_char(out, node->kind == YAML_MAPPING ? '}' : ']');
}

static int parse(const char *text, size_t len, struct strbuf *out, struct fault *f) {
        CLEANUP(yaml_tree_free_p) struct yaml_node *root = NULL;
        CLEANUP(free_p) char *copy = malloc(len ? len : 1);
        int r;

        ck_assert_ptr_nonnull(copy);
        memcpy(copy, text, len);
        r = yaml_tree_parse(copy, len, &root, f);
        if (!r)
                print(root, out);
        else
                ck_assert_ptr_null(root);
        return r;
}

struct document {
        const char *name, *text;
        const char *tree; /* NULL: refused */
        const char *fault;
};

static const struct document documents[] = {
        { "an empty file", "", "{}", NULL },
        { "a comment", "# a\n", "{}", NULL },
        { "a mapping in order", "b: 1\na: 2\n", "{b=1,a=2}", NULL },
        { "a sequence of mappings", "a:\n- b: 1\n  c: 2\n- d\n", "{a=[{b=1,c=2},d]}", NULL },
        { "JSON", "{\"a\": [1, true, \"x\"]}", "{a=[1,true,x]}", NULL },
        { "null in each form", "{a: null, b: ~, c: , d: Null, e: NULL}", "{a=,b=,c=,d=,e=}", NULL },
        { "null as a string", "{a: 'null', b: \"~\"}", "{a=null,b=~}", NULL },
        { "a block of text", "a: |\n  x\n  y\n", "{a=x\ny\n}", NULL },
        { "an explicit document", "---\na: 1\n...\n", "{a=1}", NULL },
        { "a scalar", "hello", "hello", NULL },
        { "two documents", "a: 1\n---\nb: 2\n", NULL, "more than one document" },
        { "a key twice", "a: 1\nb: 2\na: 3\n", NULL, "line 3: a key comes twice" },
        { "a key that is a mapping", "{? {a: b} : c}", NULL, "a key is no string" },
        { "an alias", "a: &x 1\nb: *x\n", NULL, "aliases are not supported" },
        { "an alias as a key", "a: &x 1\n*x : 2\n", NULL, "a key is no string" },
        { "an escaped NUL", "a: \"x\\0y\"", NULL, "a NUL in a string" },
        { "an open bracket", "a: [1, 2", NULL, "line " },
        { "a tab for indentation", "a:\n\t- b\n", NULL, "line 2: " },
        { "invalid UTF-8", "a: \xff\n", NULL, "line 1: " },
        { "a control character", "a: \x01\n", NULL, "line 1: " },
};

START_TEST(parses) {
        const struct document *d = &documents[_i];
        CLEANUP(strbuf_done) struct strbuf out = STRBUF_INIT(SIZE_MAX);
        struct fault f = FAULT_INIT;
        int r = parse(d->text, strlen(d->text), &out, &f);

        ck_assert_msg(r == (d->tree ? 0 : -FAULT_INVALID), "%s: %d %s", d->name, r, f.text);
        ck_assert_msg(!d->tree || strcmp(strbuf_text(&out), d->tree) == 0, "%s: %s", d->name,
                      strbuf_text(&out));
        ck_assert_msg(!d->fault || strstr(f.text, d->fault), "%s: %s", d->name, f.text);
}
END_TEST

START_TEST(survives_a_document_cut_anywhere) {
        const char *text = documents[_i].text;

        for (size_t len = 0; len < strlen(text); len++) {
                CLEANUP(strbuf_done) struct strbuf out = STRBUF_INIT(SIZE_MAX);

                (void)parse(text, len, &out, NULL);
        }
}
END_TEST

static int parse_nested(size_t depth, struct fault *f) {
        CLEANUP(strbuf_done) struct strbuf text = STRBUF_INIT(SIZE_MAX);
        CLEANUP(strbuf_done) struct strbuf out = STRBUF_INIT(SIZE_MAX);

        for (size_t i = 0; i < depth; i++)
                strbuf_char(&text, '[');
        for (size_t i = 0; i < depth; i++)
                strbuf_char(&text, ']');
        return parse(text.ptr, text.len, &out, f);
}

START_TEST(limits_depth_and_number) {
        CLEANUP(strbuf_done) struct strbuf text = STRBUF_INIT(SIZE_MAX);
        CLEANUP(strbuf_done) struct strbuf out = STRBUF_INIT(SIZE_MAX);
        struct fault f = FAULT_INIT;

        ck_assert_int_eq(parse_nested(16, &f), 0);
        ck_assert_int_eq(parse_nested(17, &f), -FAULT_INVALID);
        ck_assert_int_eq(parse_nested(100000, &f), -FAULT_INVALID);
        for (int i = 0; i < 9999; i++)
                strbuf_str(&text, "- a\n");
        ck_assert_int_eq(parse(text.ptr, text.len, &out, &f), 0);
        strbuf_str(&text, "- a\n");
        ck_assert_int_eq(parse(text.ptr, text.len, &out, &f), -FAULT_INVALID);
}
END_TEST

START_TEST(finds_members) {
        static const char text[] = "a: 1\nb: {c: x}\nd: []\ne:\n";
        CLEANUP(yaml_tree_free_p) struct yaml_node *root = NULL;
        struct fault f = FAULT_INIT;

        ck_assert_int_eq(yaml_tree_parse(text, strlen(text), &root, &f), 0);
        ck_assert_str_eq(yaml_text(root, "a"), "1");
        ck_assert_str_eq(yaml_text(yaml_member(root, "b"), "c"), "x");
        ck_assert_ptr_null(yaml_text(root, "b"));
        ck_assert_ptr_null(yaml_text(root, "d"));
        ck_assert_ptr_null(yaml_text(root, "e"));
        ck_assert_ptr_null(yaml_text(root, "A"));
        ck_assert_ptr_null(yaml_member(yaml_member(root, "a"), "x"));
        ck_assert_ptr_null(yaml_member(NULL, "x"));
}
END_TEST

#define COUNT(array) ((int)(sizeof(array) / sizeof((array)[0])))

int main(void) {
        Suite *suite = suite_create("yaml_tree");
        TCase *tc = tcase_create("yaml_tree");
        SRunner *runner = srunner_create(suite);
        int failed;

        tcase_add_loop_test(tc, parses, 0, COUNT(documents));
        tcase_add_loop_test(tc, survives_a_document_cut_anywhere, 0, COUNT(documents));
        tcase_add_test(tc, limits_depth_and_number);
        tcase_add_test(tc, finds_members);
        suite_add_tcase(suite, tc);
        srunner_run_all(runner, CK_ENV);
        failed = srunner_ntests_failed(runner);
        srunner_free(runner);
        return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
