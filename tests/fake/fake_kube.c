/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/fake/fake_kube.h"

#include <assert.h>
#include <stdatomic.h>
#include <string.h>

#include "common/base/fault.h"

struct fake_answer {
        char *key;
        int http; /* 0: result instead */
        int result;
        char *json;
        struct fake_answer *next;
};

struct fake_kube {
        struct fake_answer *answers;
        struct fake_kube_record *records;
        size_t count;
        struct strbuf log;
        fake_kube_hook hook;
        void *hook_ctx;
        atomic_bool stopped;
};

static char *copy(const char *text) {
        char *p = strdup(text ? text : "");

        assert(p);
        return p;
}

static void answer_free(struct fake_answer *a) {
        free(a->key);
        free(a->json);
        free(a);
}

struct fake_kube *fake_kube_new(void) {
        struct fake_kube *fake = calloc(1, sizeof(*fake));

        assert(fake);
        fake->log = (struct strbuf)STRBUF_INIT(SIZE_MAX);
        return fake;
}

void fake_kube_clear(struct fake_kube *fake) {
        for (size_t i = 0; i < fake->count; i++) {
                free(fake->records[i].path);
                free(fake->records[i].query);
                free(fake->records[i].content_type);
                free(fake->records[i].body);
        }
        free(fake->records);
        fake->records = NULL;
        fake->count = 0;
        strbuf_reset(&fake->log);
}

void fake_kube_free(struct fake_kube *fake) {
        if (!fake)
                return;
        while (fake->answers) {
                struct fake_answer *next = fake->answers->next;

                answer_free(fake->answers);
                fake->answers = next;
        }
        fake_kube_clear(fake);
        strbuf_done(&fake->log);
        free(fake);
}

static void fake_add(struct fake_kube *fake, const char *key, int http, int result,
                     const char *json) {
        struct fake_answer *a = calloc(1, sizeof(*a));
        struct fake_answer **end = &fake->answers;

        assert(a);
        *a = (struct fake_answer){
                .key = copy(key), .http = http, .result = result, .json = copy(json)
        };
        while (*end)
                end = &(*end)->next;
        *end = a;
}

void fake_kube_on(struct fake_kube *fake, const char *key, int http, const char *json) {
        fake_add(fake, key, http, 0, json);
}

void fake_kube_on_failure(struct fake_kube *fake, const char *key, int result) {
        fake_add(fake, key, 0, result, NULL);
}

void fake_kube_off(struct fake_kube *fake, const char *key) {
        for (struct fake_answer **p = &fake->answers; *p;) {
                struct fake_answer *a = *p;

                if (strcmp(a->key, key) != 0) {
                        p = &a->next;
                        continue;
                }
                *p = a->next;
                answer_free(a);
        }
}

void fake_kube_set_hook(struct fake_kube *fake, fake_kube_hook hook, void *ctx) {
        fake->hook = hook;
        fake->hook_ctx = ctx;
}

void fake_kube_reply(struct kube_response *response, int http, const char *json) {
        response->http = http;
        response->body_is_json = true;
        response->body.max = SIZE_MAX;
        strbuf_str(&response->body, json);
}

static void fake_record(struct fake_kube *fake, const struct kube_request *request) {
        char *body = request->body ? strndup(request->body, request->body_len) : copy(NULL);

        assert(body);
        fake->records = realloc(fake->records, (fake->count + 1) * sizeof(*fake->records));
        assert(fake->records);
        fake->records[fake->count++] = (struct fake_kube_record){
                .method = request->method,
                .path = copy(request->path),
                .query = copy(request->query),
                .content_type = copy(request->content_type),
                .body = body,
        };
        strbuf_printf(&fake->log, "%s %s%s%s\n", kube_method_name(request->method), request->path,
                      request->query ? "?" : "", request->query ? request->query : "");
}

/* Answers by the first entry of that key, and drops the entry unless it is the key's last one. */
static bool fake_script(struct fake_kube *fake, const char *key, struct kube_response *response,
                        int *ret_result) {
        struct fake_answer **p = &fake->answers;
        struct fake_answer *a, *later;

        while (*p && strcmp((*p)->key, key) != 0)
                p = &(*p)->next;
        a = *p;
        if (!a)
                return false;
        *ret_result = a->result;
        if (a->http)
                fake_kube_reply(response, a->http, a->json);
        later = a->next;
        while (later && strcmp(later->key, key) != 0)
                later = later->next;
        if (later) {
                *p = a->next;
                answer_free(a);
        }
        return true;
}

static int fake_answer(struct fake_kube *fake, const struct kube_request *request,
                       struct kube_response *response) {
        CLEANUP(strbuf_done) struct strbuf key = STRBUF_INIT(SIZE_MAX);
        size_t short_len;
        int result = 0;

        fake_record(fake, request);
        if (atomic_load(&fake->stopped))
                return KUBE_E_STOPPED;
        if (fake->hook && fake->hook(fake->hook_ctx, request, response, &result))
                return result;
        strbuf_printf(&key, "%s %s", kube_method_name(request->method), request->path);
        short_len = key.len;
        strbuf_printf(&key, "?%s", request->query ? request->query : "");
        if (fake_script(fake, key.ptr, response, &result))
                return result;
        strbuf_truncate(&key, short_len);
        if (fake_script(fake, key.ptr, response, &result))
                return result;
        fake_kube_reply(response, 404,
                        "{\"kind\":\"Status\",\"apiVersion\":\"v1\",\"status\":\"Failure\","
                        "\"message\":\"not found\",\"reason\":\"NotFound\",\"code\":404}");
        return 0;
}

static int fake_request(void *ctx, const struct kube_request *request,
                        struct kube_response *response, struct fault *f) {
        int r = fake_answer(ctx, request, response);

        return r < 0 ? fault_set(f, (enum fault_kind) - r, "the fake gave no answer") : r;
}

static int fake_stream(void *ctx, const struct kube_request *request, int64_t idle_timeout_ms,
                       kube_on_bytes on_bytes, void *on_bytes_ctx, struct kube_response *response,
                       struct fault *f) {
        int r = fake_request(ctx, request, response, f);

        (void)idle_timeout_ms;
        if (r || response->http != 200)
                return r;
        r = on_bytes(on_bytes_ctx, strbuf_text(&response->body), response->body.len, f);
        strbuf_reset(&response->body);
        return r;
}

static void fake_interrupt(void *ctx) {
        struct fake_kube *fake = ctx;

        atomic_store(&fake->stopped, true);
}

static void fake_close(void *ctx) {
        (void)ctx;
}

struct kube fake_kube_client(struct fake_kube *fake) {
        static const struct kube_ops ops = {
                .request = fake_request,
                .stream = fake_stream,
                .interrupt = fake_interrupt,
                .close = fake_close,
        };

        return (struct kube){ .ops = &ops, .ctx = fake };
}

size_t fake_kube_count(const struct fake_kube *fake) {
        return fake->count;
}

const struct fake_kube_record *fake_kube_at(const struct fake_kube *fake, size_t i) {
        assert(i < fake->count);
        return &fake->records[i];
}

const char *fake_kube_log(struct fake_kube *fake) {
        return strbuf_text(&fake->log);
}
