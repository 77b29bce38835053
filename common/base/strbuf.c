/* SPDX-License-Identifier: Apache-2.0 */
#include "common/base/strbuf.h"

#include <string.h>

#include "common/base/fault.h"

void strbuf_done(struct strbuf *b) {
        free(b->ptr);
        *b = (struct strbuf)STRBUF_INIT(b->max);
}

void strbuf_wipe(struct strbuf *b) {
        if (b->ptr)
                explicit_bzero(b->ptr, b->cap);
        strbuf_done(b);
}

void strbuf_reset(struct strbuf *b) {
        b->len = 0;
        b->bad = false;
        if (b->ptr)
                b->ptr[0] = '\0';
}

/* Makes room for `more` bytes and the final NUL. Copies instead of realloc, whose old block could
 * keep a secret. */
static bool strbuf_grow(struct strbuf *b, size_t more) {
        size_t cap = b->cap ? b->cap : 64;
        char *ptr;

        if (b->bad || more > b->max - b->len) {
                b->bad = true;
                return false;
        }
        if (b->len + more < b->cap)
                return true;
        while (cap <= b->len + more)
                cap *= 2;
        if (cap > b->max)
                cap = b->max + 1;
        ptr = malloc(cap);
        if (!ptr) {
                b->bad = true;
                return false;
        }
        if (b->ptr) {
                memcpy(ptr, b->ptr, b->len);
                explicit_bzero(b->ptr, b->cap);
                free(b->ptr);
        }
        b->ptr = ptr;
        b->cap = cap;
        return true;
}

void strbuf_add(struct strbuf *b, const void *bytes, size_t len) {
        if (!strbuf_grow(b, len))
                return;
        if (len)
                memcpy(b->ptr + b->len, bytes, len);
        b->len += len;
        b->ptr[b->len] = '\0';
}

void strbuf_str(struct strbuf *b, const char *text) {
        strbuf_add(b, text, strlen(text));
}

void strbuf_char(struct strbuf *b, char c) {
        strbuf_add(b, &c, 1);
}

void strbuf_printf(struct strbuf *b, const char *fmt, ...) {
        va_list ap;

        va_start(ap, fmt);
        strbuf_vprintf(b, fmt, ap);
        va_end(ap);
}

void strbuf_vprintf(struct strbuf *b, const char *fmt, va_list ap) {
        va_list again;
        int len;

        va_copy(again, ap);
        len = vsnprintf(NULL, 0, fmt, again);
        va_end(again);
        if (len < 0 || !strbuf_grow(b, (size_t)len)) {
                b->bad = true;
                return;
        }
        (void)vsnprintf(b->ptr + b->len, (size_t)len + 1, fmt, ap);
        b->len += (size_t)len;
}

void strbuf_url(struct strbuf *b, const char *text) {
        static const char unreserved[] =
                "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~";

        for (const char *c = text; *c; c++) {
                if (strchr(unreserved, *c))
                        strbuf_char(b, *c);
                else
                        strbuf_printf(b, "%%%02X", (unsigned)(unsigned char)*c);
        }
}

void strbuf_truncate(struct strbuf *b, size_t len) {
        if (len >= b->len)
                return;
        b->len = len;
        b->ptr[len] = '\0';
}

const char *strbuf_text(const struct strbuf *b) {
        return b->ptr ? b->ptr : "";
}

int strbuf_check(const struct strbuf *b, struct fault *f) {
        if (b->bad)
                return fault_set(f, FAULT_NOMEM, "out of memory, or longer than %zu bytes", b->max);
        return 0;
}

int strbuf_take(struct strbuf *b, char **ret_text, struct fault *f) {
        int r = strbuf_check(b, f);

        if (r)
                return r;
        if (!strbuf_grow(b, 0))
                return strbuf_check(b, f);
        b->ptr[b->len] = '\0';
        *ret_text = TAKE(b->ptr);
        strbuf_done(b);
        return 0;
}
