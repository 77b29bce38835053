/* SPDX-License-Identifier: Apache-2.0 */
#include "common/kube/kube_curl.h"

#include <assert.h>
#include <curl/curl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/socket.h>

#include "common/base/clock.h"
#include "common/base/fault.h"
#include "common/base/random.h"
#include "common/kube/kube_config.h"
#include "common/kube/kube_credential.h"

#define DEFAULT_TIMEOUT_MS   30000
#define DEFAULT_MAX_RESPONSE (8UL * 1024 * 1024)
#define CONNECT_TIMEOUT_MS   10000
/* Bytes sent and not acknowledged for this long end the connection; together with the probes (15 s
 * idle, then 3 a 5 s apart, TCP_KEEPCNT) nobody waits longer than 30 s for a dead peer. */
#define TCP_USER_TIMEOUT_MS 25000
#define KEEPALIVE_IDLE_S    15L
#define KEEPALIVE_INTVL_S   5L
#define KEEPALIVE_PROBES    3
#define TRIES_MAX           10
#define WARNINGS_MAX        32
#define HEADER_COUNT_MAX    4
/* Tokens of any issuer: a server takes no longer headers. */
#define HEADER_MAX (64UL * 1024)
#define URL_MAX    (64UL * 1024)

/* A request on its way and the answer as it comes. */
struct transfer {
        struct kube_curl *curl;
        const struct kube_request *request;
        struct kube_response *response;
        kube_on_bytes on_bytes; /* NULL: the answer is read whole */
        void *on_bytes_ctx;
        int64_t idle_timeout_ms; /* of a stream */
        int64_t last_byte_ms;
        int result; /* what ended it in a callback */
        struct curl_slist headers[HEADER_COUNT_MAX];
        size_t header_count;
        struct fault *fault;
};

struct kube_curl {
        struct kube_curl_opts opts;
        CURLM *multi;
        CURL *easy;
        atomic_bool stopped;
        struct kube_credential ca, token, client_cert, client_key;
        struct strbuf url, authorization, content_type;
        char *user_agent;
        char error[CURL_ERROR_SIZE];
        CURLcode setup;                  /* the first option that failed */
        uint64_t warnings[WARNINGS_MAX]; /* hashes of those already shown */
        size_t warning_count;
};

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

static int64_t now_ms(const struct kube_curl *c) {
        return clock_mono_ms(c->opts.clock);
}

static void warn(struct kube_curl *c, const char *text) {
        if (c->opts.observer.warning)
                c->opts.observer.warning(c->opts.observer.ctx, text);
}

/* FNV-1a: equal texts of one server are what matters, not enemies. */
static uint64_t hash_text(const char *text) {
        uint64_t hash = 14695981039346656037U;

        for (; *text; text++)
                hash = (hash ^ (unsigned char)*text) * 1099511628211U;
        return hash;
}

static void warn_once(struct kube_curl *c, const char *text) {
        uint64_t hash = hash_text(text);

        for (size_t i = 0; i < c->warning_count; i++) {
                if (c->warnings[i] == hash)
                        return;
        }
        if (c->warning_count == WARNINGS_MAX)
                return;
        c->warnings[c->warning_count++] = hash;
        warn(c, text);
}

static int on_socket(void *ctx, curl_socket_t fd, curlsocktype purpose) {
        unsigned timeout_ms = TCP_USER_TIMEOUT_MS;
        int probes = KEEPALIVE_PROBES;

        (void)ctx;
        (void)purpose;
        /* Without them a dead peer is only noticed later. */
        (void)setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &timeout_ms, sizeof(timeout_ms));
        (void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &probes, sizeof(probes));
        return CURL_SOCKOPT_OK;
}

static bool is_json(CURL *easy) {
        static const char json[] = "application/json";
        const char *type = NULL;

        return curl_easy_getinfo(easy, CURLINFO_CONTENT_TYPE, &type) == CURLE_OK && type &&
               strncasecmp(type, json, strlen(json)) == 0 &&
               strchr("; \t", type[strlen(json)]) != NULL;
}

static size_t on_header(char *bytes, size_t size, size_t count, void *ctx) {
        struct transfer *t = ctx;

        (void)bytes;
        t->last_byte_ms = now_ms(t->curl);
        return size * count;
}

static size_t on_body(char *bytes, size_t size, size_t count, void *ctx) {
        struct transfer *t = ctx;
        struct strbuf *body = &t->response->body;
        size_t len = size * count;
        long http = 0;

        t->last_byte_ms = now_ms(t->curl);
        (void)curl_easy_getinfo(t->curl->easy, CURLINFO_RESPONSE_CODE, &http);
        if (t->on_bytes && http == 200) {
                t->result = is_json(t->curl->easy)
                                    ? t->on_bytes(t->on_bytes_ctx, bytes, len, t->fault)
                                    : fault_set(t->fault, FAULT_PROTO, "the stream is not JSON");
                return t->result ? 0 : len;
        }
        strbuf_add(body, bytes, len);
        if (!body->bad)
                return len;
        t->result = body->len + len > body->max
                            ? fault_set(t->fault, FAULT_PROTO,
                                        "the answer is longer than %zu bytes", body->max)
                            : fault_set(t->fault, FAULT_NOMEM, "out of memory");
        return 0;
}

static void set_long(struct kube_curl *c, CURLoption option, long value) {
        CURLcode rc = curl_easy_setopt(c->easy, option, value);

        c->setup = c->setup ? c->setup : rc;
}

static void set_ptr(struct kube_curl *c, CURLoption option, const void *value) {
        CURLcode rc = curl_easy_setopt(c->easy, option, value);

        c->setup = c->setup ? c->setup : rc;
}

static void set_blob(struct kube_curl *c, CURLoption option, const struct kube_credential *from) {
        struct curl_blob blob = { .data = from->bytes.ptr,
                                  .len = from->bytes.len,
                                  .flags = CURL_BLOB_NOCOPY };

        if (kube_credential_present(from))
                set_ptr(c, option, &blob);
}

static void set_method(struct kube_curl *c, const struct kube_request *request) {
        switch (request->method) {
        case KUBE_GET:
                set_long(c, CURLOPT_HTTPGET, 1);
                return;
        case KUBE_POST:
        case KUBE_PUT:
        case KUBE_PATCH:
        case KUBE_DELETE:
                break;
        }
        if (request->body) {
                set_ptr(c, CURLOPT_POSTFIELDS, request->body);
                c->setup = c->setup ? c->setup
                                    : curl_easy_setopt(c->easy, CURLOPT_POSTFIELDSIZE_LARGE,
                                                       (curl_off_t)request->body_len);
        }
        set_ptr(c, CURLOPT_CUSTOMREQUEST, kube_method_name(request->method));
}

/* What is the same for every request. */
static void set_common(struct kube_curl *c) {
        set_long(c, CURLOPT_NOSIGNAL, 1);
        set_ptr(c, CURLOPT_PROTOCOLS_STR, "https");
        set_long(c, CURLOPT_HTTP_VERSION, CURL_HTTP_VERSION_1_1);
        set_long(c, CURLOPT_FOLLOWLOCATION, 0);
        set_ptr(c, CURLOPT_PROXY, ""); /* not what the environment says */
        set_long(c, CURLOPT_PATH_AS_IS, 1);
        set_long(c, CURLOPT_SSLVERSION, CURL_SSLVERSION_TLSv1_2);
        set_long(c, CURLOPT_SSL_VERIFYPEER, 1);
        set_long(c, CURLOPT_SSL_VERIFYHOST, 2);
        /* Debian's libcurl would trust /etc/ssl/certs beside the cluster's CA. */
        set_ptr(c, CURLOPT_CAPATH, NULL);
        set_ptr(c, CURLOPT_CAINFO, NULL);
        set_blob(c, CURLOPT_CAINFO_BLOB, &c->ca);
        set_blob(c, CURLOPT_SSLCERT_BLOB, &c->client_cert);
        set_blob(c, CURLOPT_SSLKEY_BLOB, &c->client_key);
        set_ptr(c, CURLOPT_SSLCERTTYPE, "PEM");
        set_ptr(c, CURLOPT_SSLKEYTYPE, "PEM");
        set_long(c, CURLOPT_TCP_KEEPALIVE, 1);
        set_long(c, CURLOPT_TCP_KEEPIDLE, KEEPALIVE_IDLE_S);
        set_long(c, CURLOPT_TCP_KEEPINTVL, KEEPALIVE_INTVL_S);
        set_long(c, CURLOPT_CONNECTTIMEOUT_MS, CONNECT_TIMEOUT_MS);
        set_long(c, CURLOPT_DNS_CACHE_TIMEOUT, 30);
        set_long(c, CURLOPT_MAXAGE_CONN, 60);
        /* So that the connections of long-lived clients spread over API servers again. */
        set_long(c, CURLOPT_MAXLIFETIME_CONN, 600);
        set_ptr(c, CURLOPT_USERAGENT, c->user_agent);
        set_ptr(c, CURLOPT_ERRORBUFFER, c->error);
        c->setup =
                c->setup ? c->setup : curl_easy_setopt(c->easy, CURLOPT_SOCKOPTFUNCTION, on_socket);
}

/* Made by hand because curl_slist_append copies, and would leave the token in freed memory. */
static void add_header(struct transfer *t, const char *text) {
        struct curl_slist *header = &t->headers[t->header_count];

        assert(t->header_count < HEADER_COUNT_MAX);
        *header =
                (struct curl_slist){ .data = (char *)text, .next = NULL }; /* curl only reads it */
        if (t->header_count)
                header[-1].next = header;
        t->header_count++;
}

static void set_headers(struct transfer *t) {
        struct kube_curl *c = t->curl;

        t->header_count = 0;
        add_header(t, "Accept: application/json");
        add_header(t, "Expect:"); /* none: a body is sent at once */
        if (t->request->body)
                add_header(t, strbuf_text(&c->content_type));
        if (kube_credential_present(&c->token))
                add_header(t, strbuf_text(&c->authorization));
        set_ptr(c, CURLOPT_HTTPHEADER, t->headers);
}

static void set_transfer(struct transfer *t, int64_t timeout_ms) {
        struct kube_curl *c = t->curl;
        const struct kube_request *request = t->request;

        /* Keeps connections and TLS sessions. */
        curl_easy_reset(c->easy);
        c->setup = CURLE_OK;
        c->error[0] = '\0';
        set_common(c);
        set_ptr(c, CURLOPT_URL, c->url.ptr);
        set_method(c, request);
        set_headers(t);
        set_long(c, CURLOPT_TIMEOUT_MS, (long)timeout_ms);
        set_ptr(c, CURLOPT_WRITEDATA, t);
        set_ptr(c, CURLOPT_HEADERDATA, t);
        c->setup = c->setup ? c->setup : curl_easy_setopt(c->easy, CURLOPT_WRITEFUNCTION, on_body);
        c->setup =
                c->setup ? c->setup : curl_easy_setopt(c->easy, CURLOPT_HEADERFUNCTION, on_header);
}

/* Reads a credential again when it is time. Return: 0, or why there is none. */
static int refresh(struct kube_curl *c, struct kube_credential *credential, struct fault *f) {
        struct fault why = FAULT_INIT;
        int r;

        if (!kube_credential_present(credential))
                return 0;
        r = kube_credential_refresh(credential, now_ms(c), &why);
        if (r == KUBE_CREDENTIAL_E_STALE) {
                warn(c, why.text);
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

/* Whether the transfer has ended, and how. */
static bool transfer_ended(struct kube_curl *c, CURLcode *ret_rc) {
        int queued;
        CURLMsg *msg = curl_multi_info_read(c->multi, &queued);

        if (!msg || msg->msg != CURLMSG_DONE)
                return false;
        *ret_rc = msg->data.result;
        return true;
}

/* Drives the transfer to its end. Return: 0 and *ret_rc, or KUBE_E_STOPPED, -FAULT_*. */
static int transfer_drive(struct transfer *t, CURLcode *ret_rc) {
        struct kube_curl *c = t->curl;

        for (;;) {
                int running = 0;
                int64_t wait_ms = 60000;
                CURLMcode mc = curl_multi_perform(c->multi, &running);

                if (mc)
                        return fault_set(t->fault,
                                         mc == CURLM_OUT_OF_MEMORY ? FAULT_NOMEM : FAULT_IO, "%s",
                                         curl_multi_strerror(mc));
                if (transfer_ended(c, ret_rc))
                        return 0;
                if (atomic_load(&c->stopped))
                        return KUBE_E_STOPPED;
                if (t->on_bytes) {
                        wait_ms = t->last_byte_ms + t->idle_timeout_ms - now_ms(c);
                        if (wait_ms <= 0)
                                return fault_set(t->fault, FAULT_IO, "nothing came for %lld ms",
                                                 (long long)t->idle_timeout_ms);
                }
                /* Returns at curl's own time-outs as well. */
                (void)curl_multi_poll(c->multi, NULL, 0, wait_ms < 60000 ? (int)wait_ms : 60000,
                                      NULL);
        }
}

static int failure_of(CURLcode rc) {
        switch ((int)rc) {
        case CURLE_OUT_OF_MEMORY:
                return FAULT_NOMEM;
        case CURLE_UNSUPPORTED_PROTOCOL: /* HTTP/0.9 */
        case CURLE_WEIRD_SERVER_REPLY:
        case CURLE_BAD_CONTENT_ENCODING:
                return FAULT_PROTO;
        default:
                return FAULT_IO;
        }
}

static bool is_connection_lost(CURLcode rc) {
        return rc == CURLE_GOT_NOTHING || rc == CURLE_RECV_ERROR || rc == CURLE_SEND_ERROR ||
               rc == CURLE_PARTIAL_FILE;
}

static void read_warnings(struct kube_curl *c) {
        struct curl_header *header;

        for (size_t i = 0;
             curl_easy_header(c->easy, "Warning", i, CURLH_HEADER, -1, &header) == CURLHE_OK; i++)
                warn_once(c, header->value);
}

/* Notes what the answer says beside its body, and tells the observer. */
static void transfer_note(struct transfer *t) {
        struct kube_curl *c = t->curl;
        long http = 0;
        curl_off_t duration_us = 0, retry_after_s = 0;

        (void)curl_easy_getinfo(c->easy, CURLINFO_RESPONSE_CODE, &http);
        (void)curl_easy_getinfo(c->easy, CURLINFO_TOTAL_TIME_T, &duration_us);
        (void)curl_easy_getinfo(c->easy, CURLINFO_RETRY_AFTER, &retry_after_s);
        t->response->http = (int)http;
        t->response->body_is_json = is_json(c->easy);
        t->response->retry_after_ms = 1000 * (retry_after_s < 60 ? retry_after_s : 60);
        read_warnings(c);
        if (c->opts.observer.request) {
                const struct kube_observation o = { .method = t->request->method,
                                                    .path = t->request->path,
                                                    .host = c->opts.config->server + 8,
                                                    .http = (int)http,
                                                    .duration_us = duration_us,
                                                    .stream = t->on_bytes != NULL };

                c->opts.observer.request(c->opts.observer.ctx, &o);
        }
}

/* One try. Return: 0 when an answer came whole, otherwise why not; *ret_lost: the connection was
 * lost on the way. */
static int transfer_try(struct transfer *t, int64_t timeout_ms, bool *ret_lost) {
        struct kube_curl *c = t->curl;
        CURLcode rc = CURLE_OK;
        CURLMcode mc;
        int r = refresh_all(c, t->fault);

        *ret_lost = false;
        if (r)
                return r;
        set_transfer(t, timeout_ms);
        if (c->setup)
                return fault_set(t->fault, FAULT_NOMEM, "%s", curl_easy_strerror(c->setup));
        t->result = 0;
        t->last_byte_ms = now_ms(c);
        mc = curl_multi_add_handle(c->multi, c->easy);
        if (mc)
                return fault_set(t->fault, FAULT_NOMEM, "%s", curl_multi_strerror(mc));
        r = transfer_drive(t, &rc);
        transfer_note(t);
        (void)curl_multi_remove_handle(c->multi, c->easy);
        if (r || t->result)
                return r ? r : t->result;
        *ret_lost = is_connection_lost(rc);
        if (rc)
                return fault_set(t->fault, (enum fault_kind)failure_of(rc), "%s",
                                 c->error[0] ? c->error : curl_easy_strerror(rc));
        return 0;
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

static int transfer_url(struct transfer *t) {
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
static int transfer_run(struct transfer *t) {
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
                r = transfer_try(t, left_ms, &attempt.connection_lost);
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
        struct transfer t = { .curl = ctx, .request = request, .response = response, .fault = f };

        return transfer_run(&t);
}

static int kube_curl_stream(void *ctx, const struct kube_request *request, int64_t idle_timeout_ms,
                            kube_on_bytes on_bytes, void *on_bytes_ctx,
                            struct kube_response *response, struct fault *f) {
        struct transfer t = { .curl = ctx,
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

/* curl_global_init counts its calls and keeps no lock before 7.84: once, for good. */
static void global_init(void) {
        (void)curl_global_init(CURL_GLOBAL_DEFAULT);
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
