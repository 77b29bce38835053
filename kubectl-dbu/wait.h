/* SPDX-License-Identifier: Apache-2.0 */
/* `kubectl dbu wait`: what ends it, and the stream of objects that it follows. Pure but for memory.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "common/base/cleanup.h"
#include "common/base/strbuf.h"
#include "kubectl-dbu/args.h"

struct dbupgrade;
struct fault;
struct verdict;

/* Whether waiting is over, by the verdict. Return: false while it may still become ready by itself.
 */
bool wait_is_over(const struct verdict *v, enum exit_code *ret_code);

/* JSON values one after another with any white space between them, cut into one text each. */
struct document_stream {
        struct strbuf text; /* the bytes of the present document so far */
        unsigned depth;
        bool in_string, escaped;
};

#define DOCUMENT_STREAM_INIT(max_bytes)                                                            \
        { .text = STRBUF_INIT(max_bytes), .depth = 0, .in_string = false, .escaped = false }

/* Takes bytes up to the end of one document. Return: how many it took; *ret_complete says whether
 * stream->text is a document, to be read before the next call. */
size_t document_stream_feed(struct document_stream *stream, const char *bytes, size_t len,
                            bool *ret_complete);
void document_stream_done(struct document_stream *stream);

enum {
        WAIT_E_NO_OBJECT = 1, /* an event that tells nothing of the object: ERROR ends the watch */
};

/* Reads an event of `kubectl get --watch --output-watch-events -o json`. *ret_deleted: the object
 * is gone. Return: 0, WAIT_E_NO_OBJECT, -FAULT_PROTO, -FAULT_INVALID, -FAULT_NOMEM. */
int wait_decode_event(const char *text, size_t len, struct dbupgrade **ret_object,
                      bool *ret_deleted, struct fault *f) MUST_CHECK;
