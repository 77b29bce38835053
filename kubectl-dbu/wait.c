/* SPDX-License-Identifier: Apache-2.0 */
#include "kubectl-dbu/wait.h"

#include <string.h>

#include "common/api/dbupgrade.h"
#include "common/base/fault.h"
#include "common/json/json_check.h"
#include "kubectl-dbu/verdict.h"

bool wait_is_over(const struct verdict *v, enum exit_code *ret_code) {
        switch (v->state) {
        case STATE_DONE:
                *ret_code = CODE_OK;
                return true;
        case STATE_FAILED:
                *ret_code = CODE_FAILED;
                return true;
        case STATE_BLOCKED:
                *ret_code = CODE_BLOCKED;
                return true;
        case STATE_WAITING:
        case STATE_RUNNING:
                break;
        }
        return false;
}

/* Follows one byte. Return: true when it ends a document: the closing bracket of the outermost
 * object or array. */
static bool step(struct document_stream *s, char c) {
        if (s->in_string) {
                if (s->escaped)
                        s->escaped = false;
                else if (c == '\\')
                        s->escaped = true;
                else
                        s->in_string = c != '"';
                return false;
        }
        if (c == '"')
                s->in_string = true;
        else if (c == '{' || c == '[')
                s->depth++;
        else if ((c == '}' || c == ']') && s->depth > 0)
                return --s->depth == 0;
        return false;
}

size_t document_stream_feed(struct document_stream *s, const char *bytes, size_t len,
                            bool *ret_complete) {
        *ret_complete = false;
        if (s->depth == 0)
                strbuf_reset(&s->text);
        for (size_t i = 0; i < len; i++) {
                *ret_complete = step(s, bytes[i]);
                if (*ret_complete) {
                        strbuf_add(&s->text, bytes, i + 1);
                        return i + 1;
                }
        }
        strbuf_add(&s->text, bytes, len);
        return len;
}

void document_stream_done(struct document_stream *s) {
        strbuf_done(&s->text);
}

int wait_decode_event(const char *text, size_t len, struct dbupgrade **ret_object,
                      bool *ret_deleted, struct fault *f) {
        struct json_want wants[] = { { .path = { "type" } }, { .path = { "object" } } };
        char type[16];
        int r = json_check(text, len, wants, 2, f);

        if (!r && !json_span_string(&wants[0].span, type, sizeof(type)))
                r = fault_set(f, FAULT_PROTO, "an event without a type");
        if (!r && strcmp(type, "ADDED") != 0 && strcmp(type, "MODIFIED") != 0 &&
            strcmp(type, "DELETED") != 0)
                return WAIT_E_NO_OBJECT;
        if (!r && json_span_kind(&wants[1].span) != '{')
                r = fault_set(f, FAULT_PROTO, "an event without an object");
        if (!r)
                r = dbupgrade_decode(wants[1].span.text, wants[1].span.len, ret_object, f);
        if (r)
                return fault_wrap(f, r, "what kubectl printed of its watch");
        *ret_deleted = strcmp(type, "DELETED") == 0;
        return 0;
}
