/* SPDX-License-Identifier: Apache-2.0 */
/* Certificates and keys as somebody may have written them into the Secrets, as PEM and as the whole
 * Secret: they are judged, and what is of no use is replaced, not used. */
#include <string.h>

#include "certs/issue.h"
#include "certs/keeper.h"
#include "common/base/clock.h"
#include "common/base/fault.h"
#include "common/base/log.h"
#include "common/kube/kube.h"
#include "tests/fuzz/fuzz.h"

struct secret {
        const char *text;
        size_t size;
        unsigned writes;
};

static int answer(void *ctx, const struct kube_request *request, struct kube_response *response,
                  struct fault *f) {
        struct secret *secret = ctx;

        (void)f;
        response->http = 200;
        response->body_is_json = true;
        if (request->method != KUBE_GET) {
                secret->writes++;
                strbuf_str(&response->body, "{}");
        } else if (strstr(request->path, "/secrets/")) {
                strbuf_add(&response->body, secret->text, secret->size);
        } else {
                response->http = 404; /* webhook configurations */
        }
        return 0;
}

static void keep(struct secret *secret) {
        static const struct kube_ops ops = { .request = answer };
        const struct kube kube = { .ops = &ops, .ctx = secret };
        const struct keeper_opts opts = {
                .namespace_ = "ops",
                .service_name = "hook",
                .cluster_domain = "cluster.local",
                .serving_secret = "serving",
                .ca_secret = "ca",
                .configurations = { "v", "m" },
                .ca_lifetime_s = 3600,
                .leaf_lifetime_s = 3600,
                .propagation_s = 60,
                .instance = "fuzz",
                .kube = &kube,
                .clock = clock_system(),
        };
        struct fault f = FAULT_INIT;
        int64_t again_ms = -1;

        if (keeper_pass(&opts, &again_ms, &f))
                MUST(f.text[0]);
        else
                MUST(again_ms >= 0 && (again_ms == 0 || secret->writes == 0));
}

/* The whole as certificate, key and CA. */
static void check(const char *text) {
        const struct cert_pair pair = { (char *)text, (char *)text };
        static const char *const names[] = { "hook.ops.svc", NULL };
        struct cert_facts facts;
        struct fault f = FAULT_INIT;

        if (issue_check(&pair, text, names, &facts, &f))
                MUST(f.text[0]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        struct secret secret = { .text = (const char *)data, .size = size };
        char *text = malloc(size + 1);

        if (!text)
                return 0;
        log_set_level(LOG_ERROR);
        memcpy(text, data, size);
        text[size] = '\0';
        check(text);
        keep(&secret);
        free(text);
        return 0;
}
