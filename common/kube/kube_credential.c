/* SPDX-License-Identifier: Apache-2.0 */
#include "common/kube/kube_credential.h"

#include <string.h>

#include "common/base/fault.h"
#include "common/kube/kube_config.h"

void kube_credential_init(struct kube_credential *c, const struct kube_source *source) {
        *c = (struct kube_credential){ .source = source,
                                       .bytes = STRBUF_INIT(KUBE_CREDENTIAL_MAX_BYTES) };
}

void kube_credential_done(struct kube_credential *c) {
        strbuf_wipe(&c->bytes);
        c->loaded = false;
}

bool kube_credential_present(const struct kube_credential *c) {
        return c->source->path || c->source->data;
}

void kube_credential_expire(struct kube_credential *c) {
        c->read_ms = INT64_MIN / 2;
}

static int credential_read(const struct kube_source *source, struct strbuf *out, struct fault *f) {
        int r = 0;

        if (source->path)
                r = kube_config_read_file(source->path, out, f);
        else
                strbuf_add(out, source->data, source->len);
        if (!r)
                r = strbuf_check(out, f);
        if (r)
                return r;
        while (out->len && strchr(" \t\r\n", out->ptr[out->len - 1]))
                strbuf_truncate(out, out->len - 1);
        if (out->len == 0)
                return fault_set(f, FAULT_IO, "%s is empty", source->path ? source->path : "data");
        return 0;
}

int kube_credential_refresh(struct kube_credential *c, int64_t now_ms, struct fault *f) {
        CLEANUP(strbuf_wipe) struct strbuf fresh = STRBUF_INIT(KUBE_CREDENTIAL_MAX_BYTES);
        int r;

        if (c->loaded && (!c->source->path || now_ms - c->read_ms < KUBE_CREDENTIAL_MAX_AGE_MS))
                return 0;
        r = credential_read(c->source, &fresh, f);
        c->read_ms = now_ms;
        if (r)
                return c->loaded ? KUBE_CREDENTIAL_E_STALE : r;
        strbuf_wipe(&c->bytes);
        c->bytes = fresh;
        fresh = (struct strbuf)STRBUF_INIT(KUBE_CREDENTIAL_MAX_BYTES);
        c->loaded = true;
        return 0;
}
