/* SPDX-License-Identifier: Apache-2.0 */
/* Reads a table of tests/data; a test that cannot read its table ends. */
#pragma once

#include <check.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/base/fault.h"
#include "common/base/strbuf.h"
#include "common/json/json_get.h"

#define DATA_MAX ((size_t)16 << 20)

/* TEST_DATA is the folder tests/data. The text is the caller's. */
static inline void data_read(const char *name, struct strbuf *ret_text) {
        CLEANUP(strbuf_done) struct strbuf path = STRBUF_INIT(4096);
        CLEANUP(fclose_p) FILE *file = NULL;
        char buffer[4096];
        size_t n;

        strbuf_printf(&path, "%s/%s", TEST_DATA, name);
        file = fopen(strbuf_text(&path), "re");
        ck_assert_msg(file, "cannot open %s", strbuf_text(&path));
        while ((n = fread(buffer, 1, sizeof(buffer), file)) > 0)
                strbuf_add(ret_text, buffer, n);
        ck_assert_msg(!ferror(file) && !ret_text->bad, "cannot read %s", strbuf_text(&path));
}

/* The tree is the caller's. */
static inline cJSON *data_load(const char *name) {
        CLEANUP(strbuf_done) struct strbuf text = STRBUF_INIT(DATA_MAX);
        struct fault f = FAULT_INIT;
        cJSON *tree = NULL;

        data_read(name, &text);
        ck_assert_msg(json_parse(text.ptr, text.len, &tree, &f) == 0, "%s: %s", name, f.text);
        return tree;
}
