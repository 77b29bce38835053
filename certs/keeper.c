/* SPDX-License-Identifier: Apache-2.0 */
#include "certs/keeper.h"

#include <openssl/evp.h>
#include <string.h>

#include "certs/issue.h"
#include "certs/renew.h"
#include "common/base/clock.h"
#include "common/base/fault.h"
#include "common/base/log.h"
#include "common/base/metrics.h"
#include "common/base/strbuf.h"
#include "common/json/json_get.h"
#include "common/json/json_write.h"
#include "common/kube/kube.h"

/* Two names, a namespace and fixed words. */
#define KEEPER_PATH_MAX 1024

/* A Secret of two PEM files; a webhook configuration patch of a few webhooks. */
#define KEEPER_BODY_MAX 262144

/* Somebody may empty a caBundle (a GitOps tool, an upgrade). */
#define KEEPER_LOOK_MS 60000

#define KEEPER_FIELD_MANAGER "fieldManager=dbupgrade-certs"

/* The webhook's names: service, service.namespace, … */
#define KEEPER_NAMES 4

struct keeper {
        const struct keeper_opts *opts;
        char *names[KEEPER_NAMES + 1];      /* owned, NULL-terminated */
        struct cert_pair ca, serving;       /* as read; empty when absent */
        char *ca_version, *serving_version; /* resourceVersions; NULL: no such Secret */
        char *configuration_paths[RENEW_CONFIGURATIONS];
        char *bundle_patches[RENEW_CONFIGURATIONS]; /* what would set our caBundle; NULL: nothing */
        struct renew_input in;
};

static void keeper_done(struct keeper *k) {
        for (size_t i = 0; i < KEEPER_NAMES; i++)
                free(k->names[i]);
        for (size_t i = 0; i < RENEW_CONFIGURATIONS; i++) {
                free(k->configuration_paths[i]);
                free(k->bundle_patches[i]);
        }
        cert_pair_done(&k->ca);
        cert_pair_done(&k->serving);
        free(k->ca_version);
        free(k->serving_version);
}

static int nomem(struct fault *f) {
        return fault_set(f, FAULT_NOMEM, "out of memory");
}

static int init_names(struct keeper *k, struct fault *f) {
        const struct keeper_opts *o = k->opts;

        if (asprintf(&k->names[0], "%s.%s.svc", o->service_name, o->namespace_) < 0 ||
            asprintf(&k->names[1], "%s.%s.svc.%s", o->service_name, o->namespace_,
                     o->cluster_domain) < 0 ||
            asprintf(&k->names[2], "%s.%s", o->service_name, o->namespace_) < 0 ||
            asprintf(&k->names[3], "%s", o->service_name) < 0)
                return nomem(f);
        return 0;
}

/* ---- base64, as Secrets and caBundle carry bytes ---- */

static void put_base64(struct json_writer *w, const char *name, const char *text) {
        size_t len = strlen(text);
        CLEANUP(strbuf_wipe) struct strbuf out = STRBUF_INIT(KEEPER_BODY_MAX);
        unsigned char block[4 * 16 + 1];

        for (size_t i = 0; i < len; i += 48) {
                size_t n = len - i < 48 ? len - i : 48;
                int coded = EVP_EncodeBlock(block, (const unsigned char *)text + i, (int)n);

                strbuf_add(&out, block, (size_t)coded);
        }
        explicit_bzero(block, sizeof(block));
        w->out->bad |= out.bad;
        json_kv_string(w, name, strbuf_text(&out));
}

/* Return: the decoded text on the heap; NULL when absent, no base64, or out of memory. */
static char *take_base64(const char *coded, size_t len) {
        unsigned char *text;
        int decoded;

        if (len == 0 || len % 4 != 0 || len > KEEPER_BODY_MAX)
                return NULL;
        text = malloc(len / 4 * 3 + 1);
        if (!text)
                return NULL;
        decoded = EVP_DecodeBlock(text, (const unsigned char *)coded, (int)len);
        if (decoded < 0) {
                free(text);
                return NULL;
        }
        /* EVP_DecodeBlock counts the padding as bytes. */
        text[decoded - (coded[len - 1] == '=') - (coded[len - 2] == '=')] = '\0';
        return (char *)text;
}

/* Of a JSON string (base64 has no byte that JSON escapes). */
static char *take_base64_span(const struct json_span *span) {
        return json_span_kind(span) == '"' ? take_base64(span->text + 1, span->len - 2) : NULL;
}

/* ---- reading ---- */

static int get(struct keeper *k, const char *path, struct kube_response *response,
               struct fault *f) {
        struct kube_request request = { .method = KUBE_GET, .path = path };

        return kube_request(k->opts->kube, &request, response, f);
}

static int secret_path(const struct keeper *k, const char *name, char **ret_path, struct fault *f) {
        CLEANUP(strbuf_done) struct strbuf path = STRBUF_INIT(KEEPER_PATH_MAX);

        strbuf_str(&path, "/api/v1/namespaces/");
        strbuf_url(&path, k->opts->namespace_);
        strbuf_str(&path, "/secrets");
        if (name) {
                strbuf_char(&path, '/');
                strbuf_url(&path, name);
        }
        return strbuf_take(&path, ret_path, f);
}

/* Reads a Secret's pair and its resourceVersion; nothing when there is none. No tree: it would
 * leave the key behind in freed memory. */
static int read_secret(struct keeper *k, const char *name, struct cert_pair *pair, char **version,
                       struct fault *f) {
        CLEANUP(kube_response_done) struct kube_response response = KUBE_RESPONSE_INIT;
        CLEANUP(free_p) char *path = NULL;
        struct json_want wants[] = {
                { .path = { "data", "tls.crt" } },
                { .path = { "data", "tls.key" } },
                { .path = { "metadata", "resourceVersion" } },
        };
        int r = secret_path(k, name, &path, f);

        if (!r)
                r = get(k, path, &response, f);
        if (r == KUBE_E_NOT_FOUND)
                return 0;
        if (r)
                return fault_wrap(f, r > 0 ? -FAULT_DENIED : r, "read Secret %s", name);
        r = json_check(response.body.ptr, response.body.len, wants, 3, f);
        if (r)
                return r;
        pair->cert = take_base64_span(&wants[0].span);
        pair->key = take_base64_span(&wants[1].span);
        *version = calloc(1, wants[2].span.len + 1);
        if (!*version)
                return nomem(f);
        if (!json_span_string(&wants[2].span, *version, wants[2].span.len + 1))
                return fault_set(f, FAULT_PROTO, "Secret %s without resourceVersion", name);
        return 0;
}

static struct renew_pair judge(const struct cert_pair *pair, const char *ca_cert,
                               const char *const *names, const char *what) {
        struct fault f = FAULT_INIT;
        struct cert_facts facts;

        if (!pair->cert || !pair->key)
                return (struct renew_pair){ .state = RENEW_ABSENT };
        if (issue_check(pair, ca_cert, names, &facts, &f)) {
                log_warning("a certificate is made anew", LOG_STR("which", what),
                            LOG_STR("reason", f.text));
                return (struct renew_pair){ .state = RENEW_BROKEN };
        }
        return (struct renew_pair){
                .state = RENEW_GOOD,
                .not_before_s = facts.not_before_s,
                .not_after_s = facts.not_after_s,
        };
}

static int read_pairs(struct keeper *k, struct fault *f) {
        const struct keeper_opts *o = k->opts;
        int r = read_secret(k, o->ca_secret, &k->ca, &k->ca_version, f);

        if (!r)
                r = read_secret(k, o->serving_secret, &k->serving, &k->serving_version, f);
        if (r)
                return r;
        k->in.ca = judge(&k->ca, NULL, NULL, "CA");
        k->in.serving = judge(&k->serving, k->ca.cert, (const char *const *)k->names, "serving");
        if (k->in.serving.state == RENEW_GOOD)
                series_set(o->expiry, (double)k->in.serving.not_after_s);
        return 0;
}

/* A JSON patch that sets caBundle of those webhooks that lack it. The tests pin the position to the
 * name, and the resourceVersion the whole. */
static int bundle_patch(const cJSON *tree, const char *ca_cert, char **ret_patch, struct fault *f) {
        CLEANUP(strbuf_done) struct strbuf out = STRBUF_INIT(KEEPER_BODY_MAX);
        struct json_writer w = JSON_WRITER_INIT(&out);
        const cJSON *webhook;
        int index = 0, wrong = 0;

        json_array(&w);
        json_object(&w);
        json_kv_string(&w, "op", "test");
        json_kv_string(&w, "path", "/metadata/resourceVersion");
        json_kv_string(&w, "value", json_string_at(tree, "metadata.resourceVersion"));
        json_end_object(&w);
        cJSON_ArrayForEach (webhook, json_at(tree, "webhooks")) {
                CLEANUP(free_p)
                char *bundle =
                        take_base64(json_string_at(webhook, "clientConfig.caBundle"),
                                    strlen(json_string_at(webhook, "clientConfig.caBundle")));
                char path[64]; /* the fixed words and an int */

                (void)snprintf(path, sizeof(path), "/webhooks/%d/clientConfig/caBundle", index++);
                if (bundle && strcmp(bundle, ca_cert) == 0)
                        continue;
                wrong++;
                json_object(&w);
                json_kv_string(&w, "op", "add");
                json_kv_string(&w, "path", path);
                put_base64(&w, "value", ca_cert);
                json_end_object(&w);
        }
        json_end_array(&w);
        return wrong ? strbuf_take(&out, ret_patch, f) : 0;
}

static int read_configuration(struct keeper *k, int which, struct fault *f) {
        static const char *const resources[] = { "validatingwebhookconfigurations",
                                                 "mutatingwebhookconfigurations" };
        const char *const names[] = { k->opts->validating_configuration,
                                      k->opts->mutating_configuration };
        CLEANUP(kube_response_done) struct kube_response response = KUBE_RESPONSE_INIT;
        CLEANUP(strbuf_done) struct strbuf path = STRBUF_INIT(KEEPER_PATH_MAX);
        CLEANUP(cJSON_Delete_p) cJSON *tree = NULL;
        int r;

        strbuf_printf(&path, "/apis/admissionregistration.k8s.io/v1/%s/", resources[which]);
        strbuf_url(&path, names[which]);
        r = strbuf_take(&path, &k->configuration_paths[which], f);
        if (!r)
                r = get(k, k->configuration_paths[which], &response, f);
        if (r == KUBE_E_NOT_FOUND) {
                k->in.bundles[which] = RENEW_NO_CONFIGURATION;
                return 0;
        }
        if (r)
                return fault_wrap(f, r > 0 ? -FAULT_DENIED : r, "read %s", names[which]);
        r = json_parse(response.body.ptr, response.body.len, &tree, f);
        if (!r && k->ca.cert)
                r = bundle_patch(tree, k->ca.cert, &k->bundle_patches[which], f);
        k->in.bundles[which] = k->bundle_patches[which] ? RENEW_OTHER_BUNDLE : RENEW_OUR_BUNDLE;
        return r;
}

/* ---- writing ---- */

static void put_secret(const struct keeper *k, struct json_writer *w, const char *name,
                       const char *version, const struct cert_pair *pair, const char *ca_cert) {
        json_object(w);
        json_kv_string(w, "apiVersion", "v1");
        json_kv_string(w, "kind", "Secret");
        json_kv_string(w, "type", "kubernetes.io/tls");
        json_kv_object(w, "metadata");
        json_kv_string(w, "name", name);
        json_kv_string(w, "namespace", k->opts->namespace_);
        if (version)
                json_kv_string(w, "resourceVersion", version);
        json_kv_object(w, "labels");
        json_kv_string(w, "app.kubernetes.io/name", "dbupgrade");
        json_kv_string(w, "app.kubernetes.io/managed-by", "dbupgrade-operator");
        json_end_object(w);
        json_end_object(w);
        json_kv_object(w, "data");
        put_base64(w, "tls.crt", pair->cert);
        put_base64(w, "tls.key", pair->key);
        put_base64(w, "ca.crt", ca_cert);
        json_end_object(w);
        json_end_object(w);
}

/* Creates the Secret, or replaces the one of that version. Somebody else's write meanwhile (409) is
 * no fault: the next pass reads it. */
static int write_secret(struct keeper *k, const char *name, const char *version,
                        const struct cert_pair *pair, const char *ca_cert, struct fault *f) {
        CLEANUP(kube_response_done) struct kube_response response = KUBE_RESPONSE_INIT;
        CLEANUP(strbuf_wipe) struct strbuf body = STRBUF_INIT(KEEPER_BODY_MAX);
        CLEANUP(free_p) char *path = NULL;
        struct json_writer w = JSON_WRITER_INIT(&body);
        struct kube_request request = { .method = version ? KUBE_PUT : KUBE_POST,
                                        .query = KEEPER_FIELD_MANAGER };
        int r = secret_path(k, version ? name : NULL, &path, f);

        put_secret(k, &w, name, version, pair, ca_cert);
        if (!r)
                r = strbuf_check(&body, f);
        if (r)
                return r;
        request.path = path;
        request.body = body.ptr;
        request.body_len = body.len;
        r = kube_request(k->opts->kube, &request, &response, f);
        if (r == KUBE_E_CONFLICT || r == KUBE_E_NOT_FOUND)
                return 0;
        if (r)
                return fault_wrap(f, r > 0 ? -FAULT_DENIED : r, "write Secret %s", name);
        log_info("certificate written", LOG_STR("secret", name));
        return 0;
}

static int write_ca(struct keeper *k, struct fault *f) {
        CLEANUP(cert_pair_done) struct cert_pair ca = { .cert = NULL };
        const struct keeper_opts *o = k->opts;
        int r = issue_ca(clock_wall_s(o->clock), o->ca_lifetime_s, &ca, f);

        return r ? r : write_secret(k, o->ca_secret, k->ca_version, &ca, ca.cert, f);
}

static int write_serving(struct keeper *k, struct fault *f) {
        CLEANUP(cert_pair_done) struct cert_pair leaf = { .cert = NULL };
        const struct keeper_opts *o = k->opts;
        int r = issue_leaf(&k->ca, (const char *const *)k->names, clock_wall_s(o->clock),
                           o->leaf_lifetime_s, &leaf, f);

        return r ? r : write_secret(k, o->serving_secret, k->serving_version, &leaf, k->ca.cert, f);
}

static int patch_bundle(struct keeper *k, int which, struct fault *f) {
        CLEANUP(kube_response_done) struct kube_response response = KUBE_RESPONSE_INIT;
        struct kube_request request = {
                .method = KUBE_PATCH,
                .path = k->configuration_paths[which],
                .query = KEEPER_FIELD_MANAGER,
                .content_type = KUBE_JSON_PATCH,
                .body = k->bundle_patches[which],
                .body_len = strlen(k->bundle_patches[which]),
        };
        int r = kube_request(k->opts->kube, &request, &response, f);

        /* A failed test operation is a 422, a write in between a 409. */
        if (r == KUBE_E_CONFLICT || r == KUBE_E_INVALID || r == KUBE_E_NOT_FOUND)
                return 0;
        if (r)
                return fault_wrap(f, r > 0 ? -FAULT_DENIED : r, "write caBundle");
        log_info("caBundle written", LOG_STR("path", request.path));
        return 0;
}

int keeper_pass(const struct keeper_opts *opts, int64_t *ret_again_ms, struct fault *f) {
        CLEANUP(keeper_done) struct keeper k = { .opts = opts };
        struct renew_step step;
        int r = init_names(&k, f);

        if (!r)
                r = read_pairs(&k, f);
        for (int i = 0; !r && i < RENEW_CONFIGURATIONS; i++)
                r = read_configuration(&k, i, f);
        if (r)
                return r;
        k.in.now_s = clock_wall_s(opts->clock);
        step = renew_decide(&k.in);
        *ret_again_ms = 0;
        switch (step.action) {
        case RENEW_WAIT:
                *ret_again_ms =
                        step.again_s * 1000 < KEEPER_LOOK_MS ? step.again_s * 1000 : KEEPER_LOOK_MS;
                return 0;
        case RENEW_WRITE_CA:
                return write_ca(&k, f);
        case RENEW_WRITE_SERVING:
                return write_serving(&k, f);
        case RENEW_PATCH_BUNDLE:
                return patch_bundle(&k, step.which, f);
        }
        return fault_set(f, FAULT_BUG, "a step that is none");
}
