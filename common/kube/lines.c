/* SPDX-License-Identifier: Apache-2.0 */
#include "common/kube/lines.h"

#include <string.h>

#include "common/base/fault.h"

/* What stays allocated between lines: most events fit, and an idle watch costs little. */
#define KEEP_BYTES (16UL * 1024)

void lines_done(struct lines *l) {
        strbuf_done(&l->partial);
}

static int lines_append(struct lines *l, const char *bytes, size_t len, struct fault *f) {
        strbuf_add(&l->partial, bytes, len);
        if (!l->partial.bad)
                return 0;
        if (len > l->partial.max - l->partial.len)
                return fault_set(f, FAULT_PROTO, "a line is longer than %zu bytes", l->partial.max);
        return fault_set(f, FAULT_NOMEM, "out of memory");
}

/* The line under way is complete. */
static int lines_flush(struct lines *l, lines_fn fn, void *ctx, struct fault *f) {
        int r = fn(ctx, l->partial.ptr, l->partial.len, f);

        if (l->partial.cap > KEEP_BYTES)
                strbuf_done(&l->partial);
        else
                strbuf_reset(&l->partial);
        return r;
}

int lines_feed(struct lines *l, const char *bytes, size_t len, lines_fn fn, void *ctx,
               struct fault *f) {
        while (len > 0) {
                const char *end = memchr(bytes, '\n', len);
                size_t line_len = end ? (size_t)(end - bytes) : len;
                int r = 0;

                if (!end || l->partial.len > 0 || line_len > l->partial.max)
                        r = lines_append(l, bytes, line_len, f);
                if (!r && end && l->partial.len > 0)
                        r = lines_flush(l, fn, ctx, f);
                else if (!r && end && line_len > 0)
                        r = fn(ctx, bytes, line_len, f);
                if (r || !end)
                        return r;
                bytes += line_len + 1;
                len -= line_len + 1;
        }
        return 0;
}
