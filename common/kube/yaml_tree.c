/* SPDX-License-Identifier: Apache-2.0 */
#include "common/kube/yaml_tree.h"

#include <stdbool.h>
#include <string.h>
#include <yaml.h>

#include "common/base/fault.h"

#define DEPTH_MAX 16
#define NODES_MAX 10000

struct yaml_build {
        yaml_parser_t *parser;
        size_t nodes;
        struct fault *fault;
};

void yaml_tree_free(struct yaml_node *root) {
        while (root) {
                struct yaml_node *next = root->next;

                yaml_tree_free(root->first); /* at most DEPTH_MAX deep */
                free(root->key);
                if (root->text)
                        explicit_bzero(root->text, strlen(root->text));
                free(root->text);
                free(root);
                root = next;
        }
}

const struct yaml_node *yaml_member(const struct yaml_node *node, const char *key) {
        if (!node || node->kind != YAML_MAPPING)
                return NULL;
        for (const struct yaml_node *child = node->first; child; child = child->next) {
                if (strcmp(child->key, key) == 0)
                        return child;
        }
        return NULL;
}

const char *yaml_text(const struct yaml_node *node, const char *key) {
        const struct yaml_node *child = yaml_member(node, key);

        return child && child->kind == YAML_SCALAR && child->text[0] ? child->text : NULL;
}

static int bad(const struct yaml_build *b, const char *what) {
        return fault_set(b->fault, FAULT_INVALID, "line %zu: %s", b->parser->mark.line + 1, what);
}

static int next_event(const struct yaml_build *b, yaml_event_t *ret_event) {
        if (yaml_parser_parse(b->parser, ret_event))
                return 0;
        if (b->parser->error == YAML_MEMORY_ERROR)
                return fault_set(b->fault, FAULT_NOMEM, "out of memory");
        /* libyaml's words are fixed strings: they quote nothing of the text. */
        return fault_set(b->fault, FAULT_INVALID, "line %zu: %s", b->parser->problem_mark.line + 1,
                         b->parser->problem ? b->parser->problem : "no YAML");
}

/* YAML 1.1's null, which is a string when it is quoted. */
static bool is_null(const yaml_event_t *event) {
        const char *value = (const char *)event->data.scalar.value;

        return event->data.scalar.style == YAML_PLAIN_SCALAR_STYLE &&
               (strcmp(value, "~") == 0 || strcmp(value, "null") == 0 ||
                strcmp(value, "Null") == 0 || strcmp(value, "NULL") == 0);
}

static int copy_scalar(const struct yaml_build *b, const yaml_event_t *event, char **ret_text) {
        const char *value = (const char *)event->data.scalar.value;
        char *text;

        if (memchr(value, '\0', event->data.scalar.length))
                return bad(b, "a NUL in a string");
        text = strdup(is_null(event) ? "" : value);
        if (!text)
                return fault_set(b->fault, FAULT_NOMEM, "out of memory");
        *ret_text = text;
        return 0;
}

static int build_node(struct yaml_build *b, const yaml_event_t *event, unsigned depth,
                      struct yaml_node **ret_node);

/* The key of the next member; NULL at the end of the mapping. */
static int build_key(struct yaml_build *b, const struct yaml_node *mapping,
                     const yaml_event_t *event, char **ret_key) {
        if (event->type == YAML_MAPPING_END_EVENT)
                return 0;
        if (event->type != YAML_SCALAR_EVENT)
                return bad(b, "a key is no string");
        if (yaml_member(mapping, (const char *)event->data.scalar.value))
                return bad(b, "a key comes twice");
        return copy_scalar(b, event, ret_key);
}

/* Fills a mapping or sequence up to its end event. */
static int build_children(struct yaml_build *b, struct yaml_node *parent, unsigned depth) {
        struct yaml_node **end = &parent->first;

        for (;;) {
                CLEANUP(yaml_event_delete) yaml_event_t event = { 0 };
                CLEANUP(free_p) char *key = NULL;
                int r = next_event(b, &event);

                if (!r && parent->kind == YAML_MAPPING) {
                        r = build_key(b, parent, &event, &key);
                        if (!r && !key)
                                return 0;
                        if (!r) {
                                yaml_event_delete(&event);
                                r = next_event(b, &event);
                        }
                }
                if (r || event.type == YAML_SEQUENCE_END_EVENT)
                        return r;
                r = build_node(b, &event, depth + 1, end);
                if (r)
                        return r;
                (*end)->key = TAKE(key);
                end = &(*end)->next;
        }
}

static int build_node(struct yaml_build *b, const yaml_event_t *event, unsigned depth,
                      struct yaml_node **ret_node) {
        CLEANUP(yaml_tree_free_p) struct yaml_node *node = NULL;
        int r;

        if (depth > DEPTH_MAX || b->nodes++ >= NODES_MAX)
                return bad(b, "nested too deeply, or too long");
        node = calloc(1, sizeof(*node));
        if (!node)
                return fault_set(b->fault, FAULT_NOMEM, "out of memory");
        if (event->type == YAML_SCALAR_EVENT) {
                r = copy_scalar(b, event, &node->text);
        } else if (event->type == YAML_MAPPING_START_EVENT) {
                node->kind = YAML_MAPPING;
                r = build_children(b, node, depth);
        } else if (event->type == YAML_SEQUENCE_START_EVENT) {
                node->kind = YAML_SEQUENCE;
                r = build_children(b, node, depth);
        } else {
                r = bad(b, "aliases are not supported");
        }
        if (r)
                return r;
        *ret_node = TAKE(node);
        return 0;
}

/* STREAM-START, DOCUMENT-START, the root, DOCUMENT-END, STREAM-END: nothing else may come. */
static int build_document(struct yaml_build *b, struct yaml_node **ret_root) {
        CLEANUP(yaml_tree_free_p) struct yaml_node *root = NULL;
        yaml_event_type_t type = YAML_NO_EVENT;

        while (type != YAML_STREAM_END_EVENT) {
                CLEANUP(yaml_event_delete) yaml_event_t event = { 0 };
                int r = next_event(b, &event);

                if (r)
                        return r;
                type = event.type;
                if (type == YAML_STREAM_START_EVENT || type == YAML_STREAM_END_EVENT ||
                    type == YAML_DOCUMENT_END_EVENT)
                        continue;
                if (type == YAML_DOCUMENT_START_EVENT && root)
                        return bad(b, "more than one document");
                if (type == YAML_DOCUMENT_START_EVENT)
                        continue;
                r = build_node(b, &event, 1, &root);
                if (r)
                        return r;
        }
        if (!root)
                root = calloc(1, sizeof(*root));
        if (!root)
                return fault_set(b->fault, FAULT_NOMEM, "out of memory");
        if (!root->text && !root->first)
                root->kind = YAML_MAPPING;
        *ret_root = TAKE(root);
        return 0;
}

int yaml_tree_parse(const char *text, size_t len, struct yaml_node **ret_root, struct fault *f) {
        yaml_parser_t parser;
        struct yaml_build b = { .parser = &parser, .nodes = 0, .fault = f };
        int r;

        if (!yaml_parser_initialize(&parser))
                return fault_set(f, FAULT_NOMEM, "out of memory");
        yaml_parser_set_input_string(&parser, (const unsigned char *)text, len);
        r = build_document(&b, ret_root);
        yaml_parser_delete(&parser);
        return r;
}
