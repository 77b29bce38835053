/* SPDX-License-Identifier: Apache-2.0 */
#include "common/base/fault.h"

#include <stdarg.h>
#include <string.h>

#include "common/base/utf8.h"

/* vsnprintf may have cut a character in two. */
static void fault_trim(struct fault *f, int len) {
        if (len >= FAULT_TEXT_MAX)
                f->text[utf8_floor(f->text, strlen(f->text), FAULT_TEXT_MAX)] = '\0';
}

int fault_set(struct fault *f, enum fault_kind kind, const char *fmt, ...) {
        va_list ap;

        if (!f)
                return -(int)kind;
        f->kind = kind;
        va_start(ap, fmt);
        fault_trim(f, vsnprintf(f->text, sizeof(f->text), fmt, ap));
        va_end(ap);
        return -(int)kind;
}

int fault_set_errno(struct fault *f, enum fault_kind kind, int errnum, const char *fmt, ...) {
        char context[FAULT_TEXT_MAX + 1];
        char reason[128]; /* the longest message of glibc has 50 characters */
        va_list ap;

        if (!f)
                return -(int)kind;
        va_start(ap, fmt);
        (void)vsnprintf(context, sizeof(context), fmt, ap);
        va_end(ap);
        return fault_set(f, kind, "%s: %s", context, strerror_r(errnum, reason, sizeof(reason)));
}

int fault_wrap(struct fault *f, int r, const char *fmt, ...) {
        char context[FAULT_TEXT_MAX + 1];
        char cause[FAULT_TEXT_MAX + 1];
        va_list ap;

        if (r == 0)
                return 0;
        if (r > 0)
                r = fault_set(f, FAULT_BUG, "outcome %d was not handled", r);
        if (!f)
                return r;
        va_start(ap, fmt);
        (void)vsnprintf(context, sizeof(context), fmt, ap);
        va_end(ap);
        memcpy(cause, f->text, sizeof(cause));
        return fault_set(f, (enum fault_kind) - r, "%s: %s", context, cause);
}

const char *fault_kind_name(enum fault_kind kind) {
        switch (kind) {
        case FAULT_NONE:
                return "None";
        case FAULT_NOMEM:
                return "NoMemory";
        case FAULT_IO:
                return "IO";
        case FAULT_PROTO:
                return "Protocol";
        case FAULT_DENIED:
                return "Denied";
        case FAULT_INVALID:
                return "Invalid";
        case FAULT_BUG:
                return "Bug";
        }
        return "Unknown";
}
