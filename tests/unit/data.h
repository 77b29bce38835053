/* SPDX-License-Identifier: Apache-2.0 */
/* Reads a table of tests/data, also before the tests begin; a program that cannot read its table
 * ends. */
#pragma once

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
        while (file && (n = fread(buffer, 1, sizeof(buffer), file)) > 0)
                strbuf_add(ret_text, buffer, n);
        if (!file || ferror(file) || ret_text->bad) {
                (void)fprintf(stderr, "cannot read %s\n", strbuf_text(&path));
                exit(EXIT_FAILURE);
        }
}

/* The tree is the caller's. */
static inline cJSON *data_load(const char *name) {
        CLEANUP(strbuf_done) struct strbuf text = STRBUF_INIT(DATA_MAX);
        struct fault f = FAULT_INIT;
        cJSON *tree = NULL;

        data_read(name, &text);
        if (json_parse(text.ptr, text.len, &tree, &f)) {
                (void)fprintf(stderr, "%s: %s\n", name, f.text);
                exit(EXIT_FAILURE);
        }
        return tree;
}
