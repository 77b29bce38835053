/* SPDX-License-Identifier: Apache-2.0 */
/* A watch's stream, cut anywhere: the same objects come, in the same order. */
#include <string.h>

#include "common/base/strbuf.h"
#include "common/json/json_check.h"
#include "common/kube/watch.h"
#include "tests/fuzz/fuzz.h"

static int upsert(void *ctx, const char *json, size_t len, struct fault *f) {
        (void)f;
        MUST(json_check(json, len, NULL, 0, NULL) == 0);
        strbuf_str(ctx, "+");
        strbuf_add(ctx, json, len);
        return 0;
}

static void gone(void *ctx, const char *json, size_t len) {
        strbuf_str(ctx, "-");
        strbuf_add(ctx, json, len);
}

static void list_begin(void *ctx) {
        strbuf_str(ctx, "[");
}

static void list_end(void *ctx) {
        strbuf_str(ctx, "]");
}

static int feed(const char *text, size_t size, size_t cut, struct strbuf *seen) {
        const struct informer_handler handler = { seen, upsert, gone, list_begin, list_end };
        struct watch w;
        struct watch_step step;
        int r;

        watch_init(&w, &handler, NULL, NULL, true);
        r = watch_next(&w, 1000, 7, &step, NULL);
        MUST(r == 0 && step.action == WATCH_STREAM);
        r = watch_feed(&w, text, cut, NULL);
        if (!r)
                r = watch_feed(&w, text + cut, size - cut, NULL);
        watch_done(&w);
        return r;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        CLEANUP(strbuf_done) struct strbuf whole = STRBUF_INIT(1 << 24);
        CLEANUP(strbuf_done) struct strbuf parts = STRBUF_INIT(1 << 24);
        const char *text = (const char *)data + 1;

        if (size < 1)
                return 0;
        size--;
        MUST(feed(text, size, size, &whole) == feed(text, size, size * data[0] / 256, &parts));
        MUST(strcmp(strbuf_text(&whole), strbuf_text(&parts)) == 0);
        return 0;
}
