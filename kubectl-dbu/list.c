/* SPDX-License-Identifier: Apache-2.0 */
#include "kubectl-dbu/list.h"

#include <stdlib.h>
#include <string.h>

#include "common/api/dbupgrade.h"
#include "common/base/fault.h"
#include "common/base/strbuf.h"
#include "common/json/json_check.h"
#include "common/json/json_write.h"
#include "kubectl-dbu/present.h"
#include "kubectl-dbu/text.h"
#include "kubectl-dbu/verdict.h"

void object_list_done(struct object_list *list) {
        for (size_t i = 0; i < list->count; i++)
                dbupgrade_free(list->items[i]);
        free(list->items);
        *list = (struct object_list){ .items = NULL, .count = 0 };
}

/* Room for one more; doubles. */
static int grow(struct object_list *list, struct fault *f) {
        struct dbupgrade **items;

        if (list->count & (list->count - 1)) /* full only at powers of two */
                return 0;
        items = realloc(list->items, (list->count ? list->count * 2 : 1) * sizeof(*items));
        if (!items)
                return fault_set(f, FAULT_NOMEM, "out of memory");
        list->items = items;
        return 0;
}

int object_list_decode(const char *text, size_t len, struct object_list *ret_list,
                       struct fault *f) {
        struct json_want items = { .path = { "items" } };
        CLEANUP(object_list_done) struct object_list list = { .items = NULL, .count = 0 };
        struct json_span item;
        size_t cursor = 0;
        int r = json_check(text, len, &items, 1, f);

        if (!r && json_span_kind(&items.span) != '[')
                r = fault_set(f, FAULT_PROTO, "it has no items");
        while (!r && json_span_next(&items.span, &cursor, &item)) {
                r = grow(&list, f);
                if (!r)
                        r = dbupgrade_decode(item.text, item.len, &list.items[list.count], f);
                if (!r)
                        list.count++;
        }
        if (r)
                return fault_wrap(f, r, "the list that kubectl printed");
        *ret_list = list;
        list = (struct object_list){ .items = NULL, .count = 0 };
        return 0;
}

static int compare(const void *x, const void *y) {
        const struct dbupgrade *a = *(const struct dbupgrade *const *)x;
        const struct dbupgrade *b = *(const struct dbupgrade *const *)y;
        int by = (int)verdict_of(a).state - (int)verdict_of(b).state;

        if (by == 0)
                by = strcmp(a->namespace_, b->namespace_);
        return by != 0 ? by : strcmp(a->name, b->name);
}

void object_list_sort(struct object_list *list) {
        if (list->count > 1)
                qsort(list->items, list->count, sizeof(*list->items), compare);
}

/* The widths of the columns before the last. */
struct columns {
        size_t namespace_, name;
};

#define STATE_WIDTH 7 /* "running" */
#define SINCE_WIDTH 6 /* "23h59m" */
#define REASON_MIN  20
/* Of a reason on a terminal: `status` shows all of it. */
#define REASON_LINES 5

static size_t larger(size_t a, size_t b) {
        return a > b ? a : b;
}

static struct columns measure(const struct object_list *list) {
        struct columns c = { .namespace_ = strlen("NAMESPACE"), .name = strlen("NAME") };

        for (size_t i = 0; i < list->count; i++) {
                c.namespace_ = larger(c.namespace_, text_width(list->items[i]->namespace_));
                c.name = larger(c.name, text_width(list->items[i]->name));
        }
        return c;
}

/* Clean text, and spaces up to the next column. */
static void put_cell(struct strbuf *out, const char *text, size_t width) {
        size_t begin = out->len;

        text_clean(out, text);
        text_pad(out, width - (out->len > begin ? text_width(out->ptr + begin) : 0) + 2);
}

static void put_since(struct strbuf *out, const char *since, const struct look *look) {
        char span[TEXT_SPAN_SIZE] = "-";
        int64_t at_us;

        if (text_time(since, &at_us))
                text_span(look->now_s - at_us / 1000000, span);
        put_cell(out, span, larger(SINCE_WIDTH, strlen(span)));
}

/* On a terminal in a few lines of its column; the middle of a longer one is left out. */
static void put_reason(struct strbuf *out, const struct dbupgrade *object, const struct verdict *v,
                       size_t indent, const struct look *look) {
        CLEANUP(strbuf_done) struct strbuf raw = STRBUF_INIT(out->max);
        CLEANUP(strbuf_done) struct strbuf clean = STRBUF_INIT(out->max);
        CLEANUP(strbuf_done) struct strbuf brief = STRBUF_INIT(out->max);
        struct text_box box = {
                .indent = indent,
                .width = look->width > indent + REASON_MIN ? look->width - indent : REASON_MIN,
                .max_lines = REASON_LINES + 1, /* where long words leave the lines half empty */
        };

        present_reason(&raw, object, v);
        text_clean(&clean, strbuf_text(&raw));
        if (look->terminal) {
                text_shorten(&brief, strbuf_text(&clean), REASON_LINES * (box.width - 5));
                text_wrap(out, strbuf_text(&brief), &box);
        } else {
                text_append(out, &clean);
        }
        strbuf_char(out, '\n');
        out->bad |= raw.bad || clean.bad || brief.bad;
}

static void put_row(struct strbuf *out, const struct dbupgrade *object, const struct columns *c,
                    const struct look *look) {
        struct verdict v = verdict_of(object);

        put_cell(out, object->namespace_, c->namespace_);
        text_begin(out, look, STYLE_BOLD);
        put_cell(out, object->name, c->name);
        text_end(out, look, STYLE_BOLD);
        text_begin(out, look, present_style(v.state));
        put_cell(out, state_name(v.state), STATE_WIDTH);
        text_end(out, look, present_style(v.state));
        put_since(out, v.since, look);
        put_reason(out, object, &v, c->namespace_ + c->name + STATE_WIDTH + SINCE_WIDTH + 8, look);
}

void list_print(struct strbuf *out, const struct object_list *list, const char *where,
                const struct look *look) {
        struct columns c = measure(list);

        if (list->count == 0) {
                strbuf_printf(out, "There is no DBUpgrade %s.\n", where);
                return;
        }
        text_begin(out, look, STYLE_DIM);
        put_cell(out, "NAMESPACE", c.namespace_);
        put_cell(out, "NAME", c.name);
        put_cell(out, "STATE", STATE_WIDTH);
        put_cell(out, "SINCE", SINCE_WIDTH);
        strbuf_str(out, "REASON");
        text_end(out, look, STYLE_DIM);
        strbuf_char(out, '\n');
        for (size_t i = 0; i < list->count; i++)
                put_row(out, list->items[i], &c, look);
}

void list_print_json(struct strbuf *out, const struct object_list *list) {
        struct json_writer w = JSON_WRITER_INIT(out);

        json_object(&w);
        json_kv_array(&w, "items");
        for (size_t i = 0; i < list->count; i++) {
                json_object(&w);
                present_json(&w, list->items[i]);
                json_end_object(&w);
        }
        json_end_array(&w);
        json_end_object(&w);
        strbuf_char(out, '\n');
}
