/* SPDX-License-Identifier: Apache-2.0 */
#include "common/api/rules.h"

#include <assert.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "common/base/strbuf.h"
#include "common/base/utf8.h"
#include "common/json/json_get.h"
#include "common/json/json_write.h"

static const char *const rules_wanted[] = {
        [RULE_STRING] = "a string",   [RULE_INTEGER] = "a whole number",
        [RULE_BOOLEAN] = "a boolean", [RULE_QUANTITY] = "a string or a whole number",
        [RULE_OBJECT] = "an object",  [RULE_LIST] = "a list",
        [RULE_MAP] = "an object",
};

const char *rules_cut(struct rules *r, const char *text) {
        size_t len = strnlen(text, RULES_VALUE_MAX + 1);

        return len <= RULES_VALUE_MAX
                       ? text
                       : arena_strndup(r->arena, text, utf8_floor(text, len, RULES_VALUE_MAX));
}

const char *rules_quote(struct rules *r, const char *text) {
        /* A byte becomes at most \u00XX, and there are the quotes. */
        CLEANUP(strbuf_done) struct strbuf b = STRBUF_INIT(6 * RULES_VALUE_MAX + 2);
        struct json_writer w = JSON_WRITER_INIT(&b);

        json_put_string(&w, rules_cut(r, text));
        if (b.bad)
                r->arena->bad = true;
        return arena_strndup(r->arena, strbuf_text(&b), b.len);
}

static void rules_put_field(struct rules *r, const struct rules_at *at, struct strbuf *b) {
        if (at->up)
                rules_put_field(r, at->up, b);
        if (at->key)
                strbuf_printf(b, "[%s]", rules_cut(r, at->key));
        else if (at->index >= 0)
                strbuf_printf(b, "[%d]", at->index);
        else
                strbuf_printf(b, "%s%s", at->up ? "." : "", at->rule->name);
}

static const char *rules_field(struct rules *r, const struct rules_at *at) {
        /* One key at most, for no map is in a map, and names of the tables. */
        CLEANUP(strbuf_done) struct strbuf b = STRBUF_INIT(RULES_VALUE_MAX + 1024);

        rules_put_field(r, at, &b);
        if (b.bad)
                r->arena->bad = true;
        return arena_strndup(r->arena, strbuf_text(&b), b.len);
}

const char *rules_path(struct rules *r, const struct rules_at *at) {
        const char *field = rules_field(r, at);

        return strncmp(field, "spec.", 5) == 0 ? field + 5 : field;
}

/* Makes room for a cause. Return: NULL without memory, or when there are too many already; the last
 * one says so then. */
static struct rules_cause *rules_next(struct rules *r) {
        bool room = r->count < RULES_CAUSES_MAX;

        if (!r->causes)
                r->causes = arena_alloc(r->arena, RULES_CAUSES_MAX * sizeof(*r->causes));
        if (!r->causes)
                return NULL;
        if (room && !r->full && r->text < RULES_TEXT_MAX)
                return &r->causes[r->count++];
        if (room && !r->full)
                r->count++;
        r->full = true;
        r->causes[r->count - 1] = (struct rules_cause){
                .reason = "FieldValueTooMany",
                .field = "spec",
                .message = "Too many: spec has more mistakes than are listed",
        };
        return NULL;
}

void rules_add(struct rules *r, const struct rules_at *at, const char *reason, const char *fmt,
               ...) {
        CLEANUP(strbuf_done) struct strbuf b = STRBUF_INIT(16 * RULES_VALUE_MAX);
        struct rules_cause *cause = rules_next(r);
        va_list ap;

        if (!cause)
                return;
        va_start(ap, fmt);
        strbuf_vprintf(&b, fmt, ap);
        va_end(ap);
        if (b.bad)
                r->arena->bad = true;
        *cause = (struct rules_cause){
                .reason = reason,
                .field = rules_field(r, at),
                .message = arena_strndup(r->arena, strbuf_text(&b), b.len),
        };
        r->text += strlen(cause->field) + b.len;
}

const struct rules_at *rules_item(const struct rules_at *at) {
        while (at && at->index < 0)
                at = at->up;
        return at;
}

bool rules_is_duplicate(const struct rules_at *at) {
        const char *name = json_string(json_member(at->node, "name"));
        const cJSON *item;

        cJSON_ArrayForEach (item, at->up->node) {
                const char *other = json_string(json_member(item, "name"));

                if (item == at->node)
                        return false;
                if (name && other && *name && strcmp(name, other) == 0)
                        return true;
        }
        return false;
}

static void rules_add_missing(struct rules *r, const struct rules_at *at, bool empty) {
        const char *subject = at->rule->subject ? at->rule->subject(r, at) : rules_path(r, at);

        rules_add(r, at, "FieldValueRequired", "Required value: %s %s", subject,
                  at->rule->flags & RULE_SAID_EMPTY ? "cannot be empty"
                  : empty                           ? "is required and cannot be empty"
                                                    : "is required");
}

static const char *rules_found(const cJSON *node) {
        if (cJSON_IsString(node))
                return "a string";
        if (cJSON_IsNumber(node))
                return "a number";
        if (cJSON_IsBool(node))
                return "a boolean";
        return cJSON_IsArray(node) ? "a list" : "an object";
}

static bool rules_has_type(enum rule_type type, const cJSON *node) {
        int64_t value;

        switch (type) {
        case RULE_STRING:
                return cJSON_IsString(node);
        case RULE_INTEGER:
                return json_int(node, &value);
        case RULE_BOOLEAN:
                return cJSON_IsBool(node);
        case RULE_QUANTITY:
                return cJSON_IsString(node) || json_int(node, &value);
        case RULE_OBJECT:
        case RULE_MAP:
                return cJSON_IsObject(node);
        case RULE_LIST:
                return cJSON_IsArray(node);
        }
        return false;
}

static void rules_add_type(struct rules *r, const struct rules_at *at) {
        enum rule_type type = at->rule->type;
        const char *path = rules_path(r, at), *wanted = rules_wanted[type];

        /* "a whole number, not a number" would say less. */
        if (cJSON_IsNumber(at->node) && (type == RULE_INTEGER || type == RULE_QUANTITY))
                rules_add(r, at, "FieldValueTypeInvalid", "Invalid value: %s must be %s", path,
                          wanted);
        else
                rules_add(r, at, "FieldValueTypeInvalid", "Invalid value: %s must be %s, not %s",
                          path, wanted, rules_found(at->node));
}

/* Whether text has more than max characters (code points; it is valid UTF-8). */
static bool rules_is_longer(const char *text, int64_t max) {
        int64_t count = 0;

        if (strnlen(text, (size_t)max + 1) <= (size_t)max)
                return false;
        for (; *text && count <= max; text++)
                count += ((unsigned char)*text & 0xc0) != 0x80;
        return count > max;
}

static bool rules_is_supported(const char *const *values, const char *text) {
        for (; *values; values++)
                if (strcmp(*values, text) == 0)
                        return true;
        return false;
}

static void rules_add_unsupported(struct rules *r, const struct rules_at *at, const char *text) {
        CLEANUP(strbuf_done) struct strbuf list = STRBUF_INIT(RULES_VALUE_MAX);

        for (const char *const *value = at->rule->values; *value; value++)
                strbuf_printf(&list, "%s\"%s\"", list.len ? ", " : "", *value);
        if (list.bad)
                r->arena->bad = true;
        rules_add(r, at, "FieldValueNotSupported", "Unsupported value: %s: supported values: %s",
                  rules_quote(r, text), strbuf_text(&list));
}

static void rules_judge_string(struct rules *r, const struct rules_at *at) {
        const struct rule *rule = at->rule;
        const char *text = at->node->valuestring;

        if (!*text && rule->flags & (RULE_REQUIRED | RULE_NOT_EMPTY))
                rules_add_missing(r, at, true);
        else if (rule->values && !rules_is_supported(rule->values, text))
                rules_add_unsupported(r, at, text);
        else if (rule->max && rules_is_longer(text, rule->max))
                rules_add(r, at, "FieldValueTooLong",
                          "Too long: %s may not be more than %" PRId64 " characters",
                          rules_path(r, at), rule->max);
        else if (rule->form && !rule->form(text))
                rules_add(r, at, "FieldValueInvalid", "Invalid value: %s: %s %s",
                          rules_quote(r, text), rules_path(r, at), rule->form_text);
}

static void rules_judge_integer(struct rules *r, const struct rules_at *at) {
        int64_t value;

        if (json_int(at->node, &value) && (value < at->rule->min || value > at->rule->max))
                rules_add(r, at, "FieldValueInvalid",
                          "Invalid value: %" PRId64 ": %s must be between %" PRId64 " and %" PRId64,
                          value, rules_path(r, at), at->rule->min, at->rule->max);
}

static size_t rules_string_size(const char *text) {
        size_t size = 2;

        for (; *text; text++)
                size += (unsigned char)*text < 0x20 ? 6 : *text == '"' || *text == '\\' ? 2 : 1;
        return size;
}

/* The bytes of node as compact JSON; stops counting beyond the limit. Recursion: bounded by the
 * depth that json_check allows. */
static size_t rules_size(const cJSON *node, size_t limit) {
        const cJSON *child;
        size_t size = 2;
        char number[32]; /* %.17g */

        if (cJSON_IsString(node))
                return rules_string_size(node->valuestring);
        if (cJSON_IsNumber(node))
                return (size_t)snprintf(number, sizeof(number), "%.17g", node->valuedouble);
        if (!cJSON_IsArray(node) && !cJSON_IsObject(node))
                return cJSON_IsFalse(node) ? 5 : 4;
        cJSON_ArrayForEach (child, node) {
                if (size > limit)
                        return size;
                size += child->next ? 1 : 0;
                size += child->string ? rules_string_size(child->string) + 1 : 0;
                size += rules_size(child, limit);
        }
        return size;
}

/* Whether a list, map or object has an acceptable number of items and size. */
static bool rules_judge_size(struct rules *r, const struct rules_at *at) {
        const struct rule *rule = at->rule;
        int count = cJSON_GetArraySize(at->node);

        if (rule->max && count > rule->max)
                rules_add(r, at, "FieldValueTooMany",
                          "Too many: %d: %s must have at most %" PRId64 " items", count,
                          rules_path(r, at), rule->max);
        else if (count < rule->min)
                rules_add_missing(r, at, true);
        else if (rule->flags & RULE_PASSED_ON &&
                 rules_size(at->node, RULES_PASSED_ON_MAX) > RULES_PASSED_ON_MAX)
                rules_add(r, at, "FieldValueTooLong", "Too long: %s may not be more than %d bytes",
                          rules_path(r, at), RULES_PASSED_ON_MAX);
        else
                return true;
        return false;
}

static void rules_walk_items(struct rules *r, const struct rules_at *at) {
        const cJSON *child;
        int index = 0;

        cJSON_ArrayForEach (child, at->node) {
                struct rules_at item = {
                        .up = at,
                        .rule = at->rule->item,
                        .key = at->rule->type == RULE_MAP ? child->string : NULL,
                        .index = at->rule->type == RULE_LIST ? index++ : -1,
                        .node = child,
                };

                rules_walk(r, &item);
        }
}

/* Sorts the members of node by the rows of the table: one pass, since node may be large and the
 * table is not. */
static void rules_collect(const struct rule *members, const cJSON *node,
                          const cJSON *ret_slots[RULES_MEMBERS_MAX]) {
        const cJSON *child;

        cJSON_ArrayForEach (child, node) {
                for (size_t i = 0; members[i].name; i++) {
                        assert(i < RULES_MEMBERS_MAX);
                        if (strcmp(members[i].name, child->string) != 0)
                                continue;
                        ret_slots[i] = child;
                        break;
                }
        }
}

static void rules_walk_members(struct rules *r, const struct rules_at *at) {
        const struct rule *members = at->rule->members;
        const cJSON *slots[RULES_MEMBERS_MAX] = { NULL }, *old_slots[RULES_MEMBERS_MAX] = { NULL };

        rules_collect(members, at->node, slots);
        if (cJSON_IsObject(at->old))
                rules_collect(members, at->old, old_slots);
        for (size_t i = 0; members[i].name; i++) {
                struct rules_at member = {
                        .up = at,
                        .rule = &members[i],
                        .index = -1,
                        .node = slots[i],
                        .old = old_slots[i],
                };

                rules_walk(r, &member);
        }
}

static void rules_judge(struct rules *r, const struct rules_at *at) {
        switch (at->rule->type) {
        case RULE_STRING:
                rules_judge_string(r, at);
                return;
        case RULE_INTEGER:
                rules_judge_integer(r, at);
                return;
        case RULE_BOOLEAN:
                return;
        case RULE_QUANTITY:
                if (cJSON_IsString(at->node))
                        rules_judge_string(r, at);
                return;
        case RULE_OBJECT:
                if (rules_judge_size(r, at) && at->rule->members)
                        rules_walk_members(r, at);
                return;
        case RULE_LIST:
        case RULE_MAP:
                if (!rules_judge_size(r, at))
                        return;
                if (at->rule->refine)
                        at->rule->refine(r, at);
                rules_walk_items(r, at);
                return;
        }
}

/* The value of an immutable member as text, with its default; NULL when it is absent, empty or of
 * another type. */
static const char *rules_plain(struct rules *r, const struct rule *rule, const cJSON *node) {
        const char *text = json_string(node);
        int64_t value = rule->fallback;

        if (rule->type == RULE_STRING)
                return text && *text ? rules_cut(r, text) : NULL;
        if (json_is_absent(node) ? !rule->fallback : !json_int(node, &value))
                return NULL;
        return arena_printf(r->arena, "%" PRId64, value);
}

static void rules_judge_change(struct rules *r, const struct rules_at *at) {
        const char *was, *is;

        if (!at->up || !cJSON_IsObject(at->up->old))
                return;
        was = rules_plain(r, at->rule, at->old);
        is = rules_plain(r, at->rule, at->node);
        if (was && is && strcmp(was, is) != 0)
                rules_add(r, at, "FieldValueForbidden",
                          "Forbidden: %s is immutable (cannot change from %s to %s)",
                          rules_path(r, at), was, is);
}

void rules_walk(struct rules *r, const struct rules_at *at) {
        const struct rule *rule = at->rule;
        size_t before;

        if (rule->relate)
                rule->relate(r, at);
        before = r->count;
        if (!json_is_absent(at->node)) {
                if (rules_has_type(rule->type, at->node))
                        rules_judge(r, at);
                else
                        rules_add_type(r, at);
        } else if (rule->flags & RULE_REQUIRED || at->index >= 0) {
                rules_add_missing(r, at, false);
        }
        if (rule->flags & RULE_IMMUTABLE && r->count == before)
                rules_judge_change(r, at);
}

bool rules_accept(struct rules *r, const struct rules_at *at) {
        struct rules_at copy = *at;
        size_t before = r->count, text = r->text;
        bool accepted;

        /* Full: whether it finds more cannot be told, and does not matter. */
        if (r->full || before == RULES_CAUSES_MAX)
                return true;
        rules_walk(r, &copy);
        accepted = r->count == before;
        r->count = before;
        r->text = text;
        r->full = false;
        return accepted;
}
