/* SPDX-License-Identifier: Apache-2.0 */
#include "common/kube/kube_transfer.h"

#include <assert.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/ssl.h>
#include <string.h>
#include <sys/socket.h>

#include "common/base/clock.h"
#include "common/base/fault.h"
#include "common/kube/kube_config.h"
#include "common/kube/warnings.h"

#define CONNECT_TIMEOUT_MS 10000
/* Bytes sent and not acknowledged for this long end the connection, and so do probes (from 10 s of
 * silence, 5 s apart). libcurl then opens another connection for a write before it finds that it
 * must not send it again: with CONNECT_TIMEOUT_MS, nobody waits longer than 30 s for a dead peer.
 */
#define TCP_USER_TIMEOUT_MS 18000
#define KEEPALIVE_IDLE_S    10L
#define KEEPALIVE_INTVL_S   5L
#define KEEPALIVE_PROBES    3

static int64_t now_ms(const struct kube_curl *c) {
        return clock_mono_ms(c->opts.clock);
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

/* A body that comes from a function cannot be rewound: with it in CURLOPT_POSTFIELDS, libcurl would
 * send the request again, unasked, when a kept connection ends before an answer has come, although
 * the server may have executed it. */
static size_t on_read(char *buffer, size_t size, size_t count, void *ctx) {
        struct kube_transfer *t = ctx;
        size_t left = t->request->body_len - t->body_sent;
        size_t len = size * count < left ? size * count : left;

        memcpy(buffer, t->request->body + t->body_sent, len);
        t->body_sent += len;
        return len;
}

static size_t on_header(char *bytes, size_t size, size_t count, void *ctx) {
        struct kube_transfer *t = ctx;

        (void)bytes;
        t->last_byte_ms = now_ms(t->curl);
        return size * count;
}

static size_t on_body(char *bytes, size_t size, size_t count, void *ctx) {
        struct kube_transfer *t = ctx;
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

static void set_method(struct kube_transfer *t) {
        const struct kube_request *request = t->request;
        struct kube_curl *c = t->curl;

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
                set_long(c, CURLOPT_POST, 1);
                set_ptr(c, CURLOPT_READDATA, t);
                c->setup = c->setup ? c->setup
                                    : curl_easy_setopt(c->easy, CURLOPT_READFUNCTION, on_read);
                c->setup = c->setup ? c->setup
                                    : curl_easy_setopt(c->easy, CURLOPT_POSTFIELDSIZE_LARGE,
                                                       (curl_off_t)request->body_len);
        }
        set_ptr(c, CURLOPT_CUSTOMREQUEST, kube_method_name(request->method));
}

static CURLcode on_tls(CURL *easy, void *tls, void *ctx) {
        (void)easy;
        (void)ctx;
        /* Otherwise what was read last stays in its buffer, or in freed memory. */
        (void)SSL_CTX_set_options(tls, SSL_OP_CLEANSE_PLAINTEXT);
        return CURLE_OK;
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
        c->setup =
                c->setup ? c->setup : curl_easy_setopt(c->easy, CURLOPT_SSL_CTX_FUNCTION, on_tls);
}

/* Made by hand because curl_slist_append copies, and would leave the token in freed memory. */
static void add_header(struct kube_transfer *t, const char *text) {
        struct curl_slist *header = &t->headers[t->header_count];

        assert(t->header_count < KUBE_TRANSFER_HEADERS);
        *header =
                (struct curl_slist){ .data = (char *)text, .next = NULL }; /* curl only reads it */
        if (t->header_count)
                header[-1].next = header;
        t->header_count++;
}

static void set_headers(struct kube_transfer *t) {
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

static void set_transfer(struct kube_transfer *t, int64_t timeout_ms) {
        struct kube_curl *c = t->curl;

        /* Keeps connections and TLS sessions. */
        curl_easy_reset(c->easy);
        c->setup = CURLE_OK;
        c->error[0] = '\0';
        set_common(c);
        set_ptr(c, CURLOPT_URL, c->url.ptr);
        set_method(t);
        set_headers(t);
        set_long(c, CURLOPT_TIMEOUT_MS, (long)timeout_ms);
        set_ptr(c, CURLOPT_WRITEDATA, t);
        set_ptr(c, CURLOPT_HEADERDATA, t);
        c->setup = c->setup ? c->setup : curl_easy_setopt(c->easy, CURLOPT_WRITEFUNCTION, on_body);
        c->setup =
                c->setup ? c->setup : curl_easy_setopt(c->easy, CURLOPT_HEADERFUNCTION, on_header);
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

/* Drives the transfer to its end. Return: 0 and *ret_rc, or KUBE_E_STOPPED,
 * KUBE_E_SILENT, -FAULT_*. */
static int transfer_drive(struct kube_transfer *t, CURLcode *ret_rc) {
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
                                return KUBE_E_SILENT;
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
               rc == CURLE_SEND_FAIL_REWIND || rc == CURLE_PARTIAL_FILE;
}

static void read_warnings(struct kube_curl *c) {
        const struct kube_observer *observer = &c->opts.observer;
        struct curl_header *header;
        char text[WARNING_TEXT_SIZE];

        for (size_t i = 0;
             observer->warning &&
             curl_easy_header(c->easy, "Warning", i, CURLH_HEADER, -1, &header) == CURLHE_OK;
             i++) {
                if (warning_read(header->value, text) &&
                    (!c->opts.warnings || warnings_is_new(c->opts.warnings, text)))
                        observer->warning(observer->ctx, text);
        }
}

/* Notes what the answer says beside its body, and tells the observer. */
static void transfer_note(struct kube_transfer *t) {
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
                                                    .number = t->number,
                                                    .duration_us = duration_us,
                                                    .stream = t->on_bytes != NULL };

                c->opts.observer.request(c->opts.observer.ctx, &o);
        }
}

int kube_transfer_try(struct kube_transfer *t, int64_t timeout_ms, bool *ret_lost) {
        struct kube_curl *c = t->curl;
        CURLcode rc = CURLE_OK;
        CURLMcode mc;
        int r;

        *ret_lost = false;
        set_transfer(t, timeout_ms);
        if (c->setup)
                return fault_set(t->fault, FAULT_NOMEM, "%s", curl_easy_strerror(c->setup));
        t->result = 0;
        t->body_sent = 0;
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
        if (rc == CURLE_SEND_FAIL_REWIND)
                return fault_set(t->fault, FAULT_IO,
                                 "the connection ended before an answer came, and the request may "
                                 "have been executed");
        if (rc)
                return fault_set(t->fault, (enum fault_kind)failure_of(rc), "%s",
                                 c->error[0] ? c->error : curl_easy_strerror(rc));
        return 0;
}
