/* SPDX-License-Identifier: Apache-2.0 */
#include "common/kube/watch.h"

#include <string.h>

#include "common/base/fault.h"
#include "common/json/json_check.h"
#include "common/json/json_get.h"

/* As client-go's reflector: 800 ms doubled up to 30 s with jitter, forgotten after 2 good minutes;
 * a watch that ends within a second without an event is a failure. */
#define BACKOFF_FIRST_MS  800
#define BACKOFF_LAST_MS   15000 /* jitter doubles it at most */
#define BACKOFF_FORGET_MS 120000
#define SHORT_WATCH_MS    1000
#define WATCH_TIMEOUT_S   300 /* and up to as much again */
/* The server sends a bookmark once a minute, and a second or two later. */
#define IDLE_TIMEOUT_MS 90000
#define TIMEOUT_SLACK_S 30
#define PAGE_TIMEOUT_MS 60000
#define PAGE_LIMIT      500 /* client-go's, and so what API servers are tuned for */
#define PAGE_MAX        (32UL * 1024 * 1024)
/* A server may say that it has streaming lists and break them off: then pages are tried. */
#define STREAM_FAILURES_MAX 2
/* Both are opaque. A resourceVersion has at most 20 digits today, a token is base64 of JSON with
 * a key of etcd (up to 253 + 63 characters). */
#define RESOURCE_VERSION_MAX 256
#define CONTINUE_MAX         8192
#define QUERY_MAX            65536

void watch_init(struct watch *w, const struct informer_handler *handler, const char *label_selector,
                const char *field_selector, bool consistent) {
        *w = (struct watch){
                .handler = handler,
                .label_selector = label_selector,
                .field_selector = field_selector,
                .consistent = consistent,
                .phase = WATCH_BEGIN,
                .page_limit = PAGE_LIMIT,
                .resource_version = STRBUF_INIT(RESOURCE_VERSION_MAX),
                .continue_token = STRBUF_INIT(CONTINUE_MAX),
                .query = STRBUF_INIT(QUERY_MAX),
                .lines = LINES_INIT(WATCH_LINE_MAX),
                .backoff_ms = BACKOFF_FIRST_MS,
        };
}

void watch_done(struct watch *w) {
        strbuf_done(&w->resource_version);
        strbuf_done(&w->continue_token);
        strbuf_done(&w->query);
        lines_done(&w->lines);
}

static void begin_list(struct watch *w) {
        bool stream = !w->no_stream_lists && w->stream_failures < STREAM_FAILURES_MAX;

        strbuf_reset(&w->resource_version);
        strbuf_reset(&w->continue_token);
        w->phase = stream ? WATCH_LISTING_STREAM : WATCH_LISTING_PAGES;
        w->lists++;
        w->handler->list_begin(w->handler->ctx);
}

static void end_list(struct watch *w) {
        w->phase = WATCH_WATCHING;
        w->listed = true;
        w->stream_failures = 0;
        w->page_limit = PAGE_LIMIT;
        strbuf_reset(&w->continue_token);
        w->handler->list_end(w->handler->ctx);
}

static void query_stream(struct watch *w, unsigned timeout_s) {
        strbuf_printf(&w->query, "watch=1&allowWatchBookmarks=true&timeoutSeconds=%u", timeout_s);
        if (w->phase == WATCH_WATCHING) {
                strbuf_str(&w->query, "&resourceVersion=");
                strbuf_url(&w->query, strbuf_text(&w->resource_version));
                return;
        }
        strbuf_str(&w->query, "&sendInitialEvents=true&resourceVersionMatch=NotOlderThan");
        /* Without a resourceVersion it is as new as the request. */
        if (!w->consistent && !w->listed)
                strbuf_str(&w->query, "&resourceVersion=0");
}

/* Pages are always consistent: with resourceVersion=0 servers ignore the limit, and memory would be
 * bounded by nothing. */
static void query_page(struct watch *w) {
        strbuf_printf(&w->query, "limit=%u", w->page_limit);
        if (w->continue_token.len) {
                strbuf_str(&w->query, "&continue=");
                strbuf_url(&w->query, strbuf_text(&w->continue_token));
        }
}

static void add_selector(struct watch *w, const char *parameter, const char *selector) {
        if (!selector)
                return;
        strbuf_str(&w->query, parameter);
        strbuf_url(&w->query, selector);
}

int watch_next(struct watch *w, int64_t now_ms, uint32_t random, struct watch_step *ret_step,
               struct fault *f) {
        unsigned timeout_s = WATCH_TIMEOUT_S + random % (WATCH_TIMEOUT_S + 1);
        struct watch_step step = { .action = WATCH_WAIT, .wait_ms = w->ready_ms - now_ms };
        int r;

        if (step.wait_ms > 0) {
                *ret_step = step;
                return 0;
        }
        if (w->phase == WATCH_BEGIN)
                begin_list(w);
        strbuf_reset(&w->query);
        if (w->phase == WATCH_LISTING_PAGES) {
                step.action = WATCH_PAGE;
                step.timeout_ms = PAGE_TIMEOUT_MS;
                step.max_response = PAGE_MAX;
                query_page(w);
        } else {
                step.action = WATCH_STREAM;
                step.timeout_ms = (int64_t)(timeout_s + TIMEOUT_SLACK_S) * 1000;
                step.idle_timeout_ms = w->bookmarks || w->phase == WATCH_LISTING_STREAM
                                               ? IDLE_TIMEOUT_MS
                                               : step.timeout_ms;
                query_stream(w, timeout_s);
                w->watches++;
        }
        add_selector(w, "&labelSelector=", w->label_selector);
        add_selector(w, "&fieldSelector=", w->field_selector);
        r = strbuf_check(&w->query, f);
        if (r)
                return r;
        w->streaming = step.action == WATCH_STREAM;
        w->started_ms = now_ms;
        w->stream_events = 0;
        w->relist = false;
        w->error_http = 0;
        w->retry_after_ms = 0;
        step.wait_ms = 0;
        step.query = strbuf_text(&w->query);
        *ret_step = step;
        return 0;
}

static int keep_version(struct watch *w, const struct json_span *span, struct fault *f) {
        char text[RESOURCE_VERSION_MAX];

        if (!json_span_string(span, text, sizeof(text)) || !text[0])
                return fault_set(f, FAULT_PROTO, "no metadata.resourceVersion");
        strbuf_reset(&w->resource_version);
        strbuf_str(&w->resource_version, text);
        return strbuf_check(&w->resource_version, f);
}

/* Whether a refusal means that the resourceVersion (or the continue token) is of no use any more.
 * 429, 502, 503 and 504 pass, and so do 401 and 403 once somebody has acted. */
static bool needs_list(int http, const char *reason, bool version_too_large) {
        if (strcmp(reason, "Expired") == 0 || strcmp(reason, "Gone") == 0 || version_too_large)
                return true;
        return (http >= 400 && http <= 500) && http != 401 && http != 403 && http != 408 &&
               http != 429;
}

/* An ERROR event carries a Status instead of an object. */
static int on_error_event(struct watch *w, const struct json_span *object, struct fault *f) {
        CLEANUP(kube_response_done) struct kube_response status = KUBE_RESPONSE_INIT;
        CLEANUP(cJSON_Delete_p) cJSON *tree = NULL;
        int r = json_parse_span(object, &tree, f);

        if (!r)
                r = kube_response_read_status(&status, object->text, object->len, f);
        if (r)
                return r;
        w->error_http = (int)json_int_at(tree, "code", 500);
        w->retry_after_ms = status.retry_after_ms;
        w->relist = needs_list(w->error_http, status.status_reason ? status.status_reason : "",
                               status.status_version_too_large);
        (void)fault_set(f, FAULT_IO, "the watch ended with an error %d: %s", w->error_http,
                        status.status_message ? status.status_message : "no message");
        return WATCH_E_ERROR;
}

static int on_bookmark(struct watch *w, const struct json_span *version,
                       const struct json_span *initial_end, struct fault *f) {
        char text[8];
        bool ends = json_span_string(initial_end, text, sizeof(text)) && strcmp(text, "true") == 0;
        int r;

        w->bookmarks = true;
        if (w->phase == WATCH_LISTING_STREAM && !ends)
                return 0; /* says nothing about what has been sent yet */
        r = keep_version(w, version, f);
        if (!r && w->phase == WATCH_LISTING_STREAM)
                end_list(w);
        return r;
}

static int on_object(struct watch *w, bool deleted, const struct json_span *object,
                     const struct json_span *version, struct fault *f) {
        const struct informer_handler *h = w->handler;
        int r = 0;

        w->events++;
        if (deleted)
                h->remove(h->ctx, object->text, object->len);
        else
                r = h->upsert(h->ctx, object->text, object->len, f);
        /* Initial events come in any order: only the bookmark at their end says where we are. */
        if (r || w->phase == WATCH_LISTING_STREAM)
                return r;
        return keep_version(w, version, f);
}

enum { EVENT_TYPE, EVENT_OBJECT, EVENT_VERSION, EVENT_INITIAL_END, EVENT_WANTS };

static int on_event(struct watch *w, const char *line, size_t len, struct fault *f) {
        struct json_want wants[EVENT_WANTS] = {
                [EVENT_TYPE] = { .path = { "type" } },
                [EVENT_OBJECT] = { .path = { "object" } },
                [EVENT_VERSION] = { .path = { "object", "metadata", "resourceVersion" } },
                [EVENT_INITIAL_END] = { .path = { "object", "metadata", "annotations",
                                                  "k8s.io/initial-events-end" } },
        };
        const struct json_span *object = &wants[EVENT_OBJECT].span;
        const struct json_span *version = &wants[EVENT_VERSION].span;
        char type[16]; /* the longest known one has 8 characters */
        int r = json_check(line, len, wants, EVENT_WANTS, f);

        if (r)
                return r;
        if (json_span_kind(object) != '{' ||
            !json_span_string(&wants[EVENT_TYPE].span, type, sizeof(type)))
                return fault_set(f, FAULT_PROTO, "no watch event");
        w->stream_events++;
        if (strcmp(type, "BOOKMARK") == 0)
                return on_bookmark(w, version, &wants[EVENT_INITIAL_END].span, f);
        if (strcmp(type, "ERROR") == 0)
                return on_error_event(w, object, f);
        if (strcmp(type, "DELETED") == 0)
                return on_object(w, true, object, version, f);
        if (strcmp(type, "ADDED") == 0 || strcmp(type, "MODIFIED") == 0)
                return on_object(w, false, object, version, f);
        return 0; /* of a newer API: client-go leaves it out, too */
}

static int on_line(void *ctx, const char *line, size_t len, struct fault *f) {
        struct watch *w = ctx;
        int r = on_event(w, line, len, f);

        /* It would come again from the same resourceVersion. */
        if (r < 0)
                w->relist = true;
        return r < 0 ? fault_wrap(f, r, "watch event") : r;
}

int watch_feed(struct watch *w, const char *bytes, size_t len, struct fault *f) {
        int r = lines_feed(&w->lines, bytes, len, on_line, w, f);

        if (r < 0)
                w->relist = true;
        return r;
}

enum { PAGE_VERSION, PAGE_CONTINUE, PAGE_ITEMS, PAGE_WANTS };

static int read_page(struct watch *w, const char *json, size_t len, struct fault *f) {
        struct json_want wants[PAGE_WANTS] = {
                [PAGE_VERSION] = { .path = { "metadata", "resourceVersion" } },
                [PAGE_CONTINUE] = { .path = { "metadata", "continue" } },
                [PAGE_ITEMS] = { .path = { "items" } },
        };
        char token[CONTINUE_MAX] = "";
        struct json_span item;
        size_t cursor = 0;
        int r = json_check(json, len, wants, PAGE_WANTS, f);

        if (r)
                return r;
        while (json_span_next(&wants[PAGE_ITEMS].span, &cursor, &item)) {
                w->events++;
                r = w->handler->upsert(w->handler->ctx, item.text, item.len, f);
                if (r)
                        return r;
        }
        r = keep_version(w, &wants[PAGE_VERSION].span, f);
        if (r)
                return r;
        if (wants[PAGE_CONTINUE].span.text &&
            !json_span_string(&wants[PAGE_CONTINUE].span, token, sizeof(token)))
                return fault_set(f, FAULT_PROTO, "metadata.continue is no string");
        strbuf_reset(&w->continue_token);
        strbuf_str(&w->continue_token, token);
        r = strbuf_check(&w->continue_token, f);
        if (!r && !token[0])
                end_list(w);
        return r;
}

int watch_page(struct watch *w, const char *json, size_t len, struct fault *f) {
        int r = read_page(w, json, len, f);

        if (r)
                w->relist = true;
        return r;
}

static void back_off(struct watch *w, int64_t now_ms, uint32_t random, int64_t at_least_ms) {
        int64_t wait_ms;

        if (now_ms - w->backed_off_ms > BACKOFF_FORGET_MS)
                w->backoff_ms = BACKOFF_FIRST_MS;
        wait_ms = w->backoff_ms + (int64_t)random % w->backoff_ms;
        if (wait_ms < at_least_ms)
                wait_ms = at_least_ms;
        w->ready_ms = now_ms + wait_ms;
        w->backed_off_ms = w->ready_ms;
        w->backoff_ms = w->backoff_ms < BACKOFF_LAST_MS / 2 ? 2 * w->backoff_ms : BACKOFF_LAST_MS;
        w->failures++;
}

/* A request that is refused before anything has come of it. */
static bool stream_lists_refused(const struct watch *w, int http) {
        return w->phase == WATCH_LISTING_STREAM && (http == 400 || http == 422);
}

bool watch_end(struct watch *w, int64_t now_ms, uint32_t random, int result,
               const struct kube_response *response) {
        bool from_stream = w->error_http != 0;
        int http = from_stream ? w->error_http : response->http;
        const char *reason = response->status_reason ? response->status_reason : "";
        bool relist = w->relist || needs_list(http, reason, response->status_version_too_large) ||
                      (result == KUBE_E_SILENT && w->bookmarks);
        int64_t retry_after_ms = from_stream ? w->retry_after_ms : response->retry_after_ms;

        lines_done(&w->lines); /* what is cut off comes again */
        if (result == KUBE_E_STOPPED)
                return false;
        if (result == 0 && !w->streaming)
                return false;
        if (result == 0 && w->phase == WATCH_WATCHING &&
            (w->stream_events > 0 || now_ms - w->started_ms >= SHORT_WATCH_MS))
                return false;
        if (stream_lists_refused(w, http)) {
                w->no_stream_lists = true;
                w->phase = WATCH_BEGIN;
                return false;
        }
        if (w->phase == WATCH_LISTING_PAGES && result == -FAULT_PROTO && w->page_limit > 1)
                w->page_limit /= 2; /* it may have been too long an answer */
        if (w->phase == WATCH_LISTING_STREAM) {
                relist = true;
                if (http == 200)
                        w->stream_failures++;
        }
        if (relist)
                w->phase = WATCH_BEGIN;
        back_off(w, now_ms, random, retry_after_ms);
        return true;
}
