/* SPDX-License-Identifier: Apache-2.0 */
#include "common/kube/kube_curl.h"

#include <assert.h>
#include <malloc.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include "common/base/clock.h"
#include "common/base/fault.h"
#include "common/base/random.h"
#include "common/kube/kube_config.h"
#include "common/kube/kube_credential.h"
#include "common/kube/kube_transfer.h"

#define DEFAULT_TIMEOUT_MS   30000
#define DEFAULT_MAX_RESPONSE (8UL * 1024 * 1024)
#define TRIES_MAX            10
/* Tokens of any issuer: a server takes no longer headers. */
#define HEADER_MAX (64UL * 1024)
#define URL_MAX    (64UL * 1024)

static int64_t now_ms(const struct kube_curl *c) {
        return clock_mono_ms(c->opts.clock);
}

int64_t kube_curl_retry_ms(const struct kube_try *t, uint32_t random) {
        int64_t wait_ms;

        if (t->number >= TRIES_MAX)
                return -1;
        if ((t->http == 429 || t->http >= 500) && t->retry_after_ms > 0)
                wait_ms = t->retry_after_ms;
        else if (t->http == 0 && t->connection_lost && t->method == KUBE_GET)
                wait_ms = 500;
        else
                return -1;
        /* Never sooner than told, and up to a quarter later, lest all clients come at once. */
        wait_ms += wait_ms * (int64_t)(random % 256) / 1024;
        return wait_ms < t->left_ms ? wait_ms : -1;
}

/* Reads a credential again when it is time. Return: 0, or why there is none. */
static int refresh(struct kube_curl *c, struct kube_credential *credential, struct fault *f) {
        struct fault why = FAULT_INIT;
        int r;

        if (!kube_credential_present(credential))
                return 0;
        r = kube_credential_refresh(credential, now_ms(c), &why);
        if (r == KUBE_CREDENTIAL_E_STALE) {
                if (c->opts.observer.stale)
                        c->opts.observer.stale(c->opts.observer.ctx, why.text);
                return 0;
        }
        return r ? fault_set(f, why.kind, "%s", why.text) : 0;
}

static int refresh_all(struct kube_curl *c, struct fault *f) {
        int r = refresh(c, &c->ca, f);

        if (!r)
                r = refresh(c, &c->client_cert, f);
        if (!r)
                r = refresh(c, &c->client_key, f);
        if (!r)
                r = refresh(c, &c->token, f);
        if (r || !kube_credential_present(&c->token))
                return r;
        strbuf_wipe(&c->authorization);
        strbuf_str(&c->authorization, "Authorization: Bearer ");
        strbuf_add(&c->authorization, c->token.bytes.ptr, c->token.bytes.len);
        for (const char *p = strbuf_text(&c->token.bytes); *p; p++) {
                /* RFC 6750: a line break would begin another header. */
                if (*p <= ' ' || *p > '~')
                        return fault_set(f, FAULT_INVALID,
                                         "the token holds white space or control characters");
        }
        return strbuf_check(&c->authorization, f);
}

/* Waits for ms or kube_interrupt. */
static int pause_ms(struct kube_curl *c, int64_t ms) {
        int64_t end_ms = now_ms(c) + ms;
        int64_t left_ms = ms;

        while (left_ms > 0 && !atomic_load(&c->stopped)) {
                (void)curl_multi_poll(c->multi, NULL, 0, (int)left_ms, NULL);
                left_ms = end_ms - now_ms(c);
        }
        return atomic_load(&c->stopped) ? KUBE_E_STOPPED : 0;
}

/* How long a try may take: until the request's time-out, a write also until the gate closes.
 * Return: 0 when it is closed. */
static int64_t gated_ms(const struct kube_curl *c, const struct kube_request *request,
                        int64_t left_ms) {
        int64_t gate_ms;

        left_ms = left_ms > 0 ? left_ms : 1;
        if (request->method == KUBE_GET || !c->opts.write_deadline_ms)
                return left_ms;
        gate_ms = c->opts.write_deadline_ms(c->opts.write_deadline_ctx) -
                  clock_boot_ms(c->opts.clock);
        if (gate_ms <= 0)
                return 0;
        return gate_ms < left_ms ? gate_ms : left_ms;
}

/* Reads the token again after a 401. Return: whether it is another one. */
static bool token_renewed(struct kube_curl *c) {
        CLEANUP(strbuf_wipe) struct strbuf old = STRBUF_INIT(HEADER_MAX);

        if (!c->token.source->path)
                return false;
        strbuf_add(&old, strbuf_text(&c->token.bytes), c->token.bytes.len);
        kube_credential_expire(&c->token);
        return refresh(c, &c->token, NULL) == 0 && !old.bad &&
               strcmp(strbuf_text(&old), strbuf_text(&c->token.bytes)) != 0;
}

static int transfer_url(struct kube_transfer *t) {
        struct kube_curl *c = t->curl;
        const struct kube_request *request = t->request;

        assert(request->path[0] == '/');
        strbuf_reset(&c->url);
        strbuf_printf(&c->url, "%s%s%s%s", c->opts.config->server, request->path,
                      request->query ? "?" : "", request->query ? request->query : "");
        strbuf_reset(&c->content_type);
        strbuf_printf(&c->content_type, "Content-Type: %s",
                      request->content_type ? request->content_type : "application/json");
        if (strbuf_check(&c->url, t->fault))
                return -FAULT_NOMEM;
        return strbuf_check(&c->content_type, t->fault);
}

/* Tries until there is an answer that stands. */
static int transfer_run(struct kube_transfer *t) {
        struct kube_curl *c = t->curl;
        const struct kube_request *request = t->request;
        size_t max = request->max_response ? request->max_response : DEFAULT_MAX_RESPONSE;
        int64_t end_ms =
                now_ms(c) + (request->timeout_ms ? request->timeout_ms : DEFAULT_TIMEOUT_MS);
        bool renewed = false;
        int r = transfer_url(t);

        if (r)
                return r;
        for (unsigned number = 1;; number++) {
                struct kube_try attempt = { .number = number, .method = request->method };
                int64_t left_ms = gated_ms(c, request, end_ms - now_ms(c));
                int64_t wait_ms;

                if (left_ms == 0)
                        return KUBE_E_EXPIRED_WRITE;
                if (atomic_load(&c->stopped))
                        return KUBE_E_STOPPED;
                kube_response_done(t->response);
                t->response->body.max = max;
                r = refresh_all(c, t->fault);
                if (r)
                        return r;
                t->number = number;
                r = kube_transfer_try(t, left_ms, &attempt.connection_lost);
                if (r > 0)
                        return r;
                if (t->response->http == 401 && !renewed && token_renewed(c)) {
                        renewed = true;
                        continue;
                }
                if (t->on_bytes)
                        return r; /* what has been handed on cannot be taken back */
                attempt.http = r ? 0 : t->response->http;
                attempt.retry_after_ms = t->response->retry_after_ms;
                attempt.left_ms = end_ms - now_ms(c);
                wait_ms = kube_curl_retry_ms(&attempt, c->opts.random->u32(c->opts.random->ctx));
                if (wait_ms < 0)
                        return r;
                r = pause_ms(c, wait_ms);
                if (r)
                        return r;
        }
}

static int kube_curl_request(void *ctx, const struct kube_request *request,
                             struct kube_response *response, struct fault *f) {
        struct kube_transfer t = {
                .curl = ctx, .request = request, .response = response, .fault = f
        };

        return transfer_run(&t);
}

static int kube_curl_stream(void *ctx, const struct kube_request *request, int64_t idle_timeout_ms,
                            kube_on_bytes on_bytes, void *on_bytes_ctx,
                            struct kube_response *response, struct fault *f) {
        struct kube_transfer t = { .curl = ctx,
                                   .request = request,
                                   .response = response,
                                   .on_bytes = on_bytes,
                                   .on_bytes_ctx = on_bytes_ctx,
                                   .idle_timeout_ms = idle_timeout_ms,
                                   .fault = f };

        return transfer_run(&t);
}

static void kube_curl_interrupt(void *ctx) {
        struct kube_curl *c = ctx;

        atomic_store(&c->stopped, true);
        (void)curl_multi_wakeup(c->multi);
}

static void kube_curl_close(void *ctx) {
        struct kube_curl *c = ctx;

        if (c->easy)
                curl_easy_cleanup(c->easy);
        if (c->multi)
                (void)curl_multi_cleanup(c->multi);
        kube_credential_done(&c->ca);
        kube_credential_done(&c->token);
        kube_credential_done(&c->client_cert);
        kube_credential_done(&c->client_key);
        strbuf_wipe(&c->authorization);
        strbuf_done(&c->url);
        strbuf_done(&c->content_type);
        free(c->user_agent);
        free(c);
}

static const struct kube_ops kube_curl_ops = {
        .request = kube_curl_request,
        .stream = kube_curl_stream,
        .interrupt = kube_curl_interrupt,
        .close = kube_curl_close,
};

/* libcurl's buffers hold requests and answers, Secrets among them: what it frees is wiped. */
static void wiping_free(void *p) {
        if (p)
                explicit_bzero(p, malloc_usable_size(p));
        free(p);
}

static void *wiping_realloc(void *p, size_t size) {
        size_t old = p ? malloc_usable_size(p) : 0;
        void *fresh = malloc(size);

        if (!fresh)
                return NULL;
        if (p)
                memcpy(fresh, p, old < size ? old : size);
        wiping_free(p);
        return fresh;
}

/* Once, for good: what it frees must have been allocated by the same functions. */
static void global_init(void) {
        (void)curl_global_init_mem(CURL_GLOBAL_DEFAULT, malloc, wiping_free, wiping_realloc, strdup,
                                   calloc);
}

static const char *go_arch(void) {
#if defined(__x86_64__)
        return "amd64";
#elif defined(__aarch64__)
        return "arm64";
#else
        return "other";
#endif
}

int kube_curl_new(const struct kube_curl_opts *opts, struct kube *ret_kube, struct fault *f) {
        static pthread_once_t once = PTHREAD_ONCE_INIT;
        struct kube k = { .ops = &kube_curl_ops, .ctx = NULL };
        struct kube_curl *c;

        if (strncmp(opts->config->server, "https://", 8) != 0)
                return fault_set(f, FAULT_INVALID, "server %s: only https is spoken",
                                 opts->config->server);
        (void)pthread_once(&once, global_init);
        c = calloc(1, sizeof(*c));
        if (!c)
                return fault_set(f, FAULT_NOMEM, "out of memory");
        k.ctx = c;
        c->opts = *opts;
        c->url.max = URL_MAX;
        c->authorization.max = HEADER_MAX;
        c->content_type.max = HEADER_MAX;
        kube_credential_init(&c->ca, &opts->config->ca);
        kube_credential_init(&c->token, &opts->config->token);
        kube_credential_init(&c->client_cert, &opts->config->client_cert);
        kube_credential_init(&c->client_key, &opts->config->client_key);
        c->multi = curl_multi_init();
        c->easy = curl_easy_init();
        if (asprintf(&c->user_agent, "%s/%s (linux/%s) %s", opts->program, DBUPGRADE_VERSION,
                     go_arch(), opts->component) < 0)
                c->user_agent = NULL; /* its value is undefined then */
        if (!c->multi || !c->easy || !c->user_agent ||
            curl_multi_setopt(c->multi, CURLMOPT_MAXCONNECTS, 1L)) {
                kube_close(&k);
                return fault_set(f, FAULT_NOMEM, "out of memory");
        }
        *ret_kube = k;
        return 0;
}
