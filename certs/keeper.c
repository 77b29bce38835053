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
#include "common/kube/event.h"
#include "common/kube/kube.h"

/* Two names, a namespace and fixed words. */
#define KEEPER_PATH_MAX 1024

/* A Secret of two PEM files; a webhook configuration patch of a few webhooks. */
#define KEEPER_BODY_MAX 262144

/* Wall time may jump (a machine that was suspended), and nobody says when a Secret is deleted. */
#define KEEPER_LOOK_MS 60000

#define KEEPER_FIELD_MANAGER "fieldManager=dbupgrade-certs"

/* The webhook's names: service, service.namespace, … */
#define KEEPER_NAMES 4

/* A Secret as read. */
struct keeper_secret {
        struct cert_pair pair; /* empty when absent */
        char *trusted;         /* ca.crt */
        char *version, *uid;   /* NULL: no such Secret */
};

struct keeper {
        const struct keeper_opts *opts;
        char *names[KEEPER_NAMES + 1]; /* owned, NULL-terminated */
        /* The CA's ca.crt is the bundle to trust: its own certificate, and while it replaces
         * another CA, that one's behind it. */
        struct keeper_secret ca, serving;
        char *configuration_paths[RENEW_CONFIGURATIONS];
        char *bundle_patches[RENEW_CONFIGURATIONS]; /* what would set our caBundle; NULL: nothing */
        struct renew_input in;
};

static void secret_done(struct keeper_secret *secret) {
        cert_pair_done(&secret->pair);
        free(secret->trusted);
        free(secret->version);
        free(secret->uid);
}

static void keeper_done(struct keeper *k) {
        for (size_t i = 0; i < KEEPER_NAMES; i++)
                free(k->names[i]);
        for (size_t i = 0; i < RENEW_CONFIGURATIONS; i++) {
                free(k->configuration_paths[i]);
                free(k->bundle_patches[i]);
        }
        secret_done(&k->ca);
        secret_done(&k->serving);
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

/* *ret_text: the decoded text on the heap, or NULL when it is absent or no base64. Out of memory is
 * a failure of its own: who took that for an absent certificate would replace a good one. Return:
 * 0, -FAULT_NOMEM. */
static int take_base64(const char *coded, size_t len, char **ret_text, struct fault *f) {
        CLEANUP(free_p) unsigned char *text = NULL;
        int decoded;

        if (len == 0 || len % 4 != 0 || len > KEEPER_BODY_MAX)
                return 0;
        text = malloc(len / 4 * 3 + 1);
        if (!text)
                return nomem(f);
        decoded = EVP_DecodeBlock(text, (const unsigned char *)coded, (int)len);
        if (decoded < 0)
                return 0;
        /* EVP_DecodeBlock counts the padding as bytes. */
        text[decoded - (coded[len - 1] == '=') - (coded[len - 2] == '=')] = '\0';
        *ret_text = (char *)TAKE(text);
        return 0;
}

/* Of a JSON string (base64 has no byte that JSON escapes). */
static int take_base64_span(const struct json_span *span, char **ret_text, struct fault *f) {
        return json_span_kind(span) == '"' ? take_base64(span->text + 1, span->len - 2, ret_text, f)
                                           : 0;
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

/* A short string of the metadata; NULL when it is none. Return: 0, -FAULT_NOMEM. */
static int take_text(const struct json_span *span, char **ret_text, struct fault *f) {
        CLEANUP(free_p) char *text = NULL;

        if (!span->text)
                return 0;
        text = malloc(span->len + 1);
        if (!text)
                return nomem(f);
        if (json_span_string(span, text, span->len + 1))
                *ret_text = TAKE(text);
        return 0;
}

/* Reads a Secret; *secret stays empty when there is none. No tree: it would leave the key behind in
 * freed memory. */
static int read_secret(struct keeper *k, const char *name, struct keeper_secret *secret,
                       struct fault *f) {
        CLEANUP(kube_response_done) struct kube_response response = KUBE_RESPONSE_INIT;
        CLEANUP(free_p) char *path = NULL;
        struct json_want wants[] = {
                { .path = { "data", "tls.crt" } }, { .path = { "data", "tls.key" } },
                { .path = { "data", "ca.crt" } },  { .path = { "metadata", "resourceVersion" } },
                { .path = { "metadata", "uid" } },
        };
        int r = secret_path(k, name, &path, f);

        if (!r)
                r = get(k, path, &response, f);
        if (r == KUBE_E_NOT_FOUND)
                return 0;
        if (r)
                return fault_wrap(f, r > 0 ? -FAULT_DENIED : r, "read Secret %s", name);
        r = json_check(response.body.ptr, response.body.len, wants,
                       sizeof(wants) / sizeof(wants[0]), f);
        if (r)
                return r;
        r = take_base64_span(&wants[0].span, &secret->pair.cert, f);
        if (!r)
                r = take_base64_span(&wants[1].span, &secret->pair.key, f);
        if (!r)
                r = take_base64_span(&wants[2].span, &secret->trusted, f);
        if (!r)
                r = take_text(&wants[3].span, &secret->version, f);
        if (!r)
                r = take_text(&wants[4].span, &secret->uid, f);
        if (r)
                return r;
        if (!secret->version || !secret->uid)
                return fault_set(f, FAULT_PROTO, "Secret %s without resourceVersion or uid", name);
        return 0;
}

static int64_t now_s(const struct keeper *k) {
        return clock_wall_s(k->opts->clock);
}

/* The second certificate of a bundle; NULL when there is one only. */
static const char *old_of(const char *bundle) {
        return strstr(bundle + 1, "-----BEGIN CERTIFICATE-----");
}

static struct renew_pair pair_of(enum renew_state state, const struct cert_facts *facts) {
        return (struct renew_pair){
                .state = state,
                .issued_s = facts->issued_s,
                .not_after_s = facts->not_after_s,
        };
}

static struct renew_pair broken(const char *which, const struct fault *f) {
        log_warning("a certificate is made anew", LOG_STR("which", which),
                    LOG_STR("reason", f->text));
        return (struct renew_pair){ .state = RENEW_BROKEN };
}

static struct renew_pair judge_ca(const struct keeper_secret *ca) {
        struct fault f = FAULT_INIT;
        struct cert_facts facts;

        if (!ca->pair.cert || !ca->pair.key)
                return (struct renew_pair){ .state = RENEW_ABSENT };
        if (issue_check(&ca->pair, NULL, NULL, &facts, &f))
                return broken("CA", &f);
        return pair_of(RENEW_GOOD, &facts);
}

static struct renew_pair judge_serving(const struct keeper *k) {
        const struct cert_pair *pair = &k->serving.pair;
        const char *const *names = (const char *const *)k->names;
        const char *old = k->ca.trusted ? old_of(k->ca.trusted) : NULL;
        struct fault f = FAULT_INIT;
        struct cert_facts facts;

        if (!pair->cert || !pair->key)
                return (struct renew_pair){ .state = RENEW_ABSENT };
        if (!k->ca.pair.cert)
                return (struct renew_pair){ .state = RENEW_BROKEN };
        if (issue_check(pair, k->ca.pair.cert, names, &facts, &f) == 0)
                return pair_of(RENEW_GOOD, &facts);
        if (old && issue_check(pair, old, names, &facts, NULL) == 0)
                return pair_of(RENEW_BY_OLD, &facts);
        return broken("serving", &f);
}

/* The bundle begins with the CA's own certificate; anything else is not ours to trust. */
static int check_bundle(struct keeper *k, struct fault *f) {
        struct keeper_secret *ca = &k->ca;

        if (!ca->pair.cert ||
            (ca->trusted && strncmp(ca->trusted, ca->pair.cert, strlen(ca->pair.cert)) == 0))
                return 0;
        free(ca->trusted);
        ca->trusted = strdup(ca->pair.cert);
        return ca->trusted ? 0 : nomem(f);
}

static int read_pairs(struct keeper *k, struct fault *f) {
        const struct keeper_opts *o = k->opts;
        int r = read_secret(k, o->ca_secret, &k->ca, f);

        if (!r)
                r = read_secret(k, o->serving_secret, &k->serving, f);
        if (!r)
                r = check_bundle(k, f);
        if (r)
                return r;
        k->in.ca = judge_ca(&k->ca);
        k->in.has_old = k->ca.trusted && old_of(k->ca.trusted);
        k->in.serving = judge_serving(k);
        if (k->in.serving.state >= RENEW_BY_OLD)
                series_set(o->expiry, (double)k->in.serving.not_after_s);
        return 0;
}

/* A Secret is described by people who look for the reason of refused objects. One event for each
 * certificate. */
static void warn_of_expiry(const struct keeper *k) {
        const struct keeper_opts *o = k->opts;
        char key[32]; /* a 64-bit number */
        const struct event event = {
                .regarding = { "v1", "Secret", o->namespace_, o->serving_secret, k->serving.uid,
                               k->serving.version },
                .warning = true,
                .reason = "CertificateExpiring",
                .action = "Renew",
                .note = "The webhook's serving certificate is about to expire and could not be "
                        "renewed: see the reconciler's log",
                .key = key,
        };
        const struct event_reporter reporter = {
                .controller = "dbupgrade.subbug.learning/dbupgrade-certs",
                .instance = o->instance,
                .field_manager = "dbupgrade-certs",
        };
        struct fault f = FAULT_INIT;

        (void)snprintf(key, sizeof(key), "%lld", (long long)k->in.serving.not_after_s);
        if (event_post(o->kube, &event, &reporter, clock_wall_us(o->clock), &f))
                log_warning("an event was lost", LOG_STR("reason", event.reason),
                            LOG_STR("error", f.text));
}

/* A JSON patch that sets caBundle of those webhooks that lack it. The tests pin the position to the
 * name, and the resourceVersion the whole. */
static int bundle_patch(const cJSON *tree, const char *trusted, char **ret_patch, struct fault *f) {
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
                const char *coded = json_string_at(webhook, "clientConfig.caBundle");
                CLEANUP(free_p) char *bundle = NULL;
                char path[64]; /* the fixed words and an int */
                int r = take_base64(coded, strlen(coded), &bundle, f);

                if (r)
                        return r;
                (void)snprintf(path, sizeof(path), "/webhooks/%d/clientConfig/caBundle", index++);
                if (bundle && strcmp(bundle, trusted) == 0)
                        continue;
                wrong++;
                json_object(&w);
                json_kv_string(&w, "op", "add");
                json_kv_string(&w, "path", path);
                put_base64(&w, "value", trusted);
                json_end_object(&w);
        }
        json_end_array(&w);
        return wrong ? strbuf_take(&out, ret_patch, f) : 0;
}

const char *keeper_collection(int which) {
        return which == KEEPER_VALIDATING
                       ? "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations"
                       : "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations";
}

static int read_configuration(struct keeper *k, int which, struct fault *f) {
        const char *name = k->opts->configurations[which];
        CLEANUP(kube_response_done) struct kube_response response = KUBE_RESPONSE_INIT;
        CLEANUP(strbuf_done) struct strbuf path = STRBUF_INIT(KEEPER_PATH_MAX);
        CLEANUP(cJSON_Delete_p) cJSON *tree = NULL;
        int r;

        strbuf_printf(&path, "%s/", keeper_collection(which));
        strbuf_url(&path, name);
        r = strbuf_take(&path, &k->configuration_paths[which], f);
        if (!r)
                r = get(k, k->configuration_paths[which], &response, f);
        if (r == KUBE_E_NOT_FOUND) {
                k->in.bundles[which] = RENEW_NO_CONFIGURATION;
                return 0;
        }
        if (r)
                return fault_wrap(f, r > 0 ? -FAULT_DENIED : r, "read %s", name);
        r = json_parse(response.body.ptr, response.body.len, &tree, f);
        if (!r && k->ca.trusted)
                r = bundle_patch(tree, k->ca.trusted, &k->bundle_patches[which], f);
        k->in.bundles[which] = k->bundle_patches[which] ? RENEW_OTHER_BUNDLE : RENEW_OUR_BUNDLE;
        return r;
}

/* ---- writing ---- */

static void put_secret(const struct keeper *k, struct json_writer *w, const char *name,
                       const char *version, const struct cert_pair *pair, const char *trusted) {
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
        put_base64(w, "ca.crt", trusted);
        json_end_object(w);
        json_end_object(w);
}

/* Creates the Secret, or replaces the one of that version. */
static int write_secret(struct keeper *k, const char *name, const char *version,
                        const struct cert_pair *pair, const char *trusted, struct fault *f) {
        CLEANUP(kube_response_done) struct kube_response response = KUBE_RESPONSE_INIT;
        CLEANUP(strbuf_wipe) struct strbuf body = STRBUF_INIT(KEEPER_BODY_MAX);
        CLEANUP(free_p) char *path = NULL;
        struct json_writer w = JSON_WRITER_INIT(&body);
        struct kube_request request = { .method = version ? KUBE_PUT : KUBE_POST,
                                        .query = KEEPER_FIELD_MANAGER };
        int r = secret_path(k, version ? name : NULL, &path, f);

        put_secret(k, &w, name, version, pair, trusted);
        if (!r)
                r = strbuf_check(&body, f);
        if (r)
                return r;
        request.path = path;
        request.body = body.ptr;
        request.body_len = body.len;
        r = kube_request(k->opts->kube, &request, &response, f);
        if (r == KUBE_E_CONFLICT)
                return KEEPER_E_RACED;
        if (r)
                return fault_wrap(f, r > 0 ? -FAULT_DENIED : r, "write Secret %s", name);
        log_info("certificate written", LOG_STR("secret", name));
        return 0;
}

/* The CA that is replaced: the present one, or when that is lost, the one that the serving
 * certificate says and proves to be by. NULL: nobody has to be trusted any longer. */
static const char *replaced_ca(const struct keeper *k) {
        struct cert_facts facts;

        if (k->in.ca.state == RENEW_GOOD)
                return now_s(k) < k->in.ca.not_after_s ? k->ca.pair.cert : NULL;
        if (k->serving.trusted && k->serving.pair.cert && k->serving.pair.key &&
            issue_check(&k->serving.pair, k->serving.trusted, (const char *const *)k->names, &facts,
                        NULL) == 0)
                return k->serving.trusted;
        return NULL;
}

static int write_ca(struct keeper *k, struct fault *f) {
        CLEANUP(cert_pair_done) struct cert_pair ca = { .cert = NULL };
        CLEANUP(strbuf_done) struct strbuf trusted = STRBUF_INIT(KEEPER_BODY_MAX);
        const struct keeper_opts *o = k->opts;
        const char *replaced = replaced_ca(k);
        int r = issue_ca(now_s(k), o->ca_lifetime_s, &ca, f);

        if (r)
                return r;
        strbuf_str(&trusted, ca.cert);
        if (replaced)
                strbuf_str(&trusted, replaced);
        r = strbuf_check(&trusted, f);
        return r ? r : write_secret(k, o->ca_secret, k->ca.version, &ca, trusted.ptr, f);
}

static int drop_old(struct keeper *k, struct fault *f) {
        return write_secret(k, k->opts->ca_secret, k->ca.version, &k->ca.pair, k->ca.pair.cert, f);
}

static int write_serving(struct keeper *k, struct fault *f) {
        CLEANUP(cert_pair_done) struct cert_pair leaf = { .cert = NULL };
        const struct keeper_opts *o = k->opts;
        int r = issue_leaf(&k->ca.pair, (const char *const *)k->names, now_s(k), o->leaf_lifetime_s,
                           &leaf, f);

        return r ? r
                 : write_secret(k, o->serving_secret, k->serving.version, &leaf, k->ca.pair.cert,
                                f);
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

        /* A failed test operation is a 422, but so is what a policy of the cluster refuses. */
        if (r == KUBE_E_CONFLICT || r == KUBE_E_NOT_FOUND)
                return KEEPER_E_RACED;
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
        k.in.now_s = now_s(&k);
        k.in.propagation_s = opts->propagation_s;
        if (renew_is_late(&k.in.serving, k.in.now_s))
                warn_of_expiry(&k);
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
        case RENEW_DROP_OLD:
                return drop_old(&k, f);
        }
        return fault_set(f, FAULT_BUG, "a step that is none");
}
