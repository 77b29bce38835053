/* SPDX-License-Identifier: Apache-2.0 */
#include "kubectl-dbu/output.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "common/base/fault.h"
#include "common/base/strbuf.h"

#define DEFAULT_WIDTH 80
/* Of a line on stderr: a status message is 1 KiB. */
#define LINE_MAX_BYTES ((size_t)16 << 10)

static size_t width_of(int fd) {
        const char *columns = getenv("COLUMNS");
        struct winsize size;
        long width;

        if (ioctl(fd, TIOCGWINSZ, &size) == 0 && size.ws_col > 0)
                return size.ws_col;
        width = columns ? strtol(columns, NULL, 10) : 0;
        return width > 0 && width < 10000 ? (size_t)width : DEFAULT_WIDTH;
}

struct look output_look(int fd, int64_t now_s) {
        const char *no_color = getenv("NO_COLOR");
        const char *term = getenv("TERM");
        bool terminal = isatty(fd);

        return (struct look){
                .terminal = terminal,
                .colour = terminal && (!no_color || !*no_color) &&
                          (!term || strcmp(term, "dumb") != 0),
                .width = width_of(fd),
                .now_s = now_s,
        };
}

int output_print(const struct strbuf *text, struct fault *f) {
        int r = strbuf_check(text, f);

        if (r)
                return r;
        if (fwrite(strbuf_text(text), 1, text->len, stdout) != text->len || fflush(stdout) != 0)
                return fault_set_errno(f, FAULT_IO, errno, "write to stdout");
        return 0;
}

int output_print_json(const struct strbuf *json, struct fault *f) {
        CLEANUP(strbuf_done) struct strbuf safe = STRBUF_INIT(json->max);
        int r = strbuf_check(json, f);

        if (r)
                return r;
        text_json(&safe, strbuf_text(json));
        return output_print(&safe, f);
}

void output_say(const char *fmt, ...) {
        CLEANUP(strbuf_done) struct strbuf raw = STRBUF_INIT(LINE_MAX_BYTES);
        CLEANUP(strbuf_done) struct strbuf line = STRBUF_INIT(LINE_MAX_BYTES);
        va_list ap;

        va_start(ap, fmt);
        strbuf_vprintf(&raw, fmt, ap);
        va_end(ap);
        text_clean(&line, strbuf_text(&raw));
        (void)fprintf(stderr, "%s\n", strbuf_text(&line));
}
