/* SPDX-License-Identifier: Apache-2.0 */
#include "common/kube/event.h"

#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>

#include "common/base/clock.h"
#include "common/base/fault.h"
#include "common/base/strbuf.h"
#include "common/base/utf8.h"
#include "common/json/json_write.h"
#include "common/kube/kube.h"

#define TIMEOUT_MS 10000
/* '.' and 16 hex digits: 64 bits are enough for the events of one object within their hour. */
#define HASH_DIGITS 16
#define SUFFIX_LEN  (1 + HASH_DIGITS)
/* Everything in it is bounded; what an object's name and note can take, escaped, with room. */
#define BODY_MAX (32UL * 1024)

static void event_hash(const struct event *event, char ret_hex[HASH_DIGITS + 1]) {
        const char *const parts[] = { event->regarding.uid, event->reason, event->key };
        CLEANUP(strbuf_done) struct strbuf text = STRBUF_INIT(4096);
        unsigned char digest[EVP_MAX_MD_SIZE] = { 0 };

        /* The NUL between them keeps ("a", "bc") and ("ab", "c") apart. */
        for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++)
                strbuf_add(&text, parts[i], strlen(parts[i]) + 1);
        /* Without memory the name becomes a common one, and the event is lost to a 409. */
        (void)EVP_Q_digest(NULL, "SHA256", NULL, strbuf_text(&text), text.len, digest, NULL);
        for (size_t i = 0; i < HASH_DIGITS / 2; i++)
                (void)snprintf(ret_hex + 2 * i, 3, "%02x", digest[i]);
}

void event_name(const struct event *event, char ret_name[EVENT_NAME_SIZE]) {
        const char *name = event->regarding.name;
        size_t len = strnlen(name, EVENT_NAME_SIZE - 1 - SUFFIX_LEN);
        char hash[HASH_DIGITS + 1];

        /* A label of a DNS name does not end with one of these. */
        while (len > 0 && strchr(".-", name[len - 1]))
                len--;
        event_hash(event, hash);
        (void)snprintf(ret_name, EVENT_NAME_SIZE, "%.*s.%s", (int)len, name, hash);
}

/* The longest beginning of text that takes at most max bytes once the writer has replaced each
 * invalid byte by U+FFFD (3 bytes). */
static size_t fitting(const char *text, size_t max) {
        size_t len = strlen(text);
        size_t at = 0, taken = 0;

        while (at < len) {
                size_t valid = utf8_char(text + at, len - at);

                taken += valid ? valid : 3;
                if (taken > max)
                        break;
                at += valid ? valid : 1;
        }
        return at;
}

static void write_cut(struct json_writer *w, const char *key, const char *text, size_t max) {
        json_key(w, key);
        json_put_string_len(w, text, fitting(text, max));
}

static const char *event_namespace(const struct event *event) {
        return event->regarding.namespace_[0] ? event->regarding.namespace_ : "default";
}

static void write_series(struct json_writer *w, const struct event_when *when) {
        char time[CLOCK_MICRO_TIME_SIZE];

        clock_format_micro_time(when->last_us, time);
        json_kv_object(w, "series");
        json_kv_int(w, "count", when->count);
        json_kv_string(w, "lastObservedTime", time);
        json_end_object(w);
}

void event_write_series(const struct event_when *when, struct strbuf *out) {
        struct json_writer w = JSON_WRITER_INIT(out);

        json_object(&w);
        write_series(&w, when);
        json_end_object(&w);
}

void event_write(const struct event *event, const struct event_reporter *reporter,
                 const struct event_when *when, struct strbuf *out) {
        struct json_writer w = JSON_WRITER_INIT(out);
        const struct event_regarding *regarding = &event->regarding;
        char name[EVENT_NAME_SIZE];
        char time[CLOCK_MICRO_TIME_SIZE];

        event_name(event, name);
        clock_format_micro_time(when->first_us, time);
        json_object(&w);
        json_kv_string(&w, "apiVersion", "events.k8s.io/v1");
        json_kv_string(&w, "kind", "Event");
        json_kv_object(&w, "metadata");
        json_kv_string(&w, "name", name);
        json_kv_string(&w, "namespace", event_namespace(event));
        json_end_object(&w);
        json_kv_string(&w, "eventTime", time);
        if (when->count >= 2)
                write_series(&w, when);
        json_kv_string(&w, "reportingController", reporter->controller);
        write_cut(&w, "reportingInstance", reporter->instance, EVENT_TEXT_MAX);
        json_kv_string(&w, "type", event->warning ? "Warning" : "Normal");
        json_kv_string(&w, "reason", event->reason);
        json_kv_string(&w, "action", event->action);
        write_cut(&w, "note", event->note, EVENT_NOTE_MAX);
        json_kv_object(&w, "regarding");
        json_kv_string(&w, "apiVersion", regarding->api_version);
        json_kv_string(&w, "kind", regarding->kind);
        json_kv_string(&w, "namespace", regarding->namespace_);
        json_kv_string(&w, "name", regarding->name);
        json_kv_string(&w, "uid", regarding->uid);
        json_kv_string(&w, "resourceVersion", regarding->resource_version);
        json_end_object(&w);
        json_end_object(&w);
}

/* Whether the same request may do later. */
static bool may_pass_later(int r, int http) {
        static const int codes[] = { 0, 401, 429, 502, 503, 504 };

        if (r == KUBE_E_EXPIRED_WRITE || r == KUBE_E_STOPPED)
                return true;
        if (r != -FAULT_IO && r != -FAULT_DENIED)
                return false;
        for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++)
                if (http == codes[i])
                        return true;
        return false;
}

/* Outcomes become faults: nobody does anything about them. */
static int judge(int r, const struct kube_response *response, struct fault *f) {
        enum fault_kind kind;

        if (r == KUBE_E_CONFLICT)
                return 0;
        /* Whoever would read it is leaving, too. A namespace that has gone answers 404. */
        if (r == KUBE_E_NOT_FOUND ||
            (r == KUBE_E_FORBIDDEN && response->status_namespace_terminating))
                return 0;
        if (r <= 0)
                return r;
        kind = r == KUBE_E_FORBIDDEN ? FAULT_DENIED
               : r == KUBE_E_INVALID ? FAULT_INVALID
                                     : FAULT_IO;
        if (f)
                f->kind = kind;
        return -(int)kind;
}

/* The request's texts, which it borrows. */
struct texts {
        struct strbuf path, query, body;
};

static void texts_done(struct texts *t) {
        strbuf_done(&t->path);
        strbuf_done(&t->query);
        strbuf_done(&t->body);
}

static int write_request(const struct event *event, const struct event_reporter *reporter,
                         const struct event_when *when, bool patch, struct texts *t,
                         struct fault *f) {
        char name[EVENT_NAME_SIZE];
        int r;

        strbuf_str(&t->path, "/apis/events.k8s.io/v1/namespaces/");
        strbuf_url(&t->path, event_namespace(event));
        strbuf_str(&t->path, "/events");
        if (patch) {
                event_name(event, name);
                strbuf_char(&t->path, '/');
                strbuf_url(&t->path, name);
                event_write_series(when, &t->body);
        } else {
                event_write(event, reporter, when, &t->body);
        }
        strbuf_str(&t->query, "fieldManager=");
        strbuf_url(&t->query, reporter->field_manager);
        r = strbuf_check(&t->path, f);
        if (!r)
                r = strbuf_check(&t->query, f);
        return r ? r : strbuf_check(&t->body, f);
}

/* Return: like kube_request. */
static int exchange(const struct kube *k, const struct event *event,
                    const struct event_reporter *reporter, const struct event_when *when,
                    bool patch, int64_t timeout_ms, struct kube_response *response,
                    struct fault *f) {
        CLEANUP(texts_done)
        struct texts t = { STRBUF_INIT(1024), STRBUF_INIT(1024), STRBUF_INIT(BODY_MAX) };
        struct kube_request request = { .method = patch ? KUBE_PATCH : KUBE_POST,
                                        .content_type = patch ? KUBE_MERGE_PATCH : NULL,
                                        .timeout_ms = timeout_ms };
        int r = write_request(event, reporter, when, patch, &t, f);

        if (r)
                return r;
        request.path = t.path.ptr;
        request.query = t.query.ptr;
        request.body = t.body.ptr;
        request.body_len = t.body.len;
        return kube_request(k, &request, response, f);
}

int event_send(const struct kube *k, const struct event *event,
               const struct event_reporter *reporter, const struct event_when *when, bool patch,
               int64_t timeout_ms, struct fault *f) {
        CLEANUP(kube_response_done) struct kube_response response = KUBE_RESPONSE_INIT;
        int r = exchange(k, event, reporter, when, patch, timeout_ms, &response, f);

        if (may_pass_later(r, response.http) || (patch && r == KUBE_E_CONFLICT))
                return EVENT_E_LATER;
        if (patch && r == KUBE_E_NOT_FOUND)
                return EVENT_E_GONE;
        return fault_wrap(f, judge(r, &response, f), "event %s", event->reason);
}

int event_post(const struct kube *k, const struct event *event,
               const struct event_reporter *reporter, int64_t wall_us, struct fault *f) {
        CLEANUP(kube_response_done) struct kube_response response = KUBE_RESPONSE_INIT;
        const struct event_when when = { .first_us = wall_us };
        int r = exchange(k, event, reporter, &when, false, TIMEOUT_MS, &response, f);

        return fault_wrap(f, judge(r, &response, f), "event %s", event->reason);
}
