/* SPDX-License-Identifier: Apache-2.0 */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/fault.h"
#include "common/json/json_check.h"
#include "common/kube/kube.h"
#include "common/kube/watch.h"
#include "tests/unit/alloc_fail.h"

#define ITEM(name, version)                                                                        \
        "{\"metadata\":{\"name\":\"" name "\",\"resourceVersion\":\"" version "\"}}"
#define EVENT(type, name, version) "{\"type\":\"" type "\",\"object\":" ITEM(name, version) "}\n"
#define BOOKMARK(version)                                                                          \
        "{\"type\":\"BOOKMARK\",\"object\":{\"metadata\":{\"resourceVersion\":\"" version "\"}}}\n"
#define LIST_END(version)                                                                          \
        "{\"type\":\"BOOKMARK\",\"object\":{\"metadata\":{\"resourceVersion\":\"" version          \
        "\",\"annotations\":{\"k8s.io/initial-events-end\":\"true\"}}}}\n"
#define ERROR(code, reason)                                                                          \
        "{\"type\":\"ERROR\",\"object\":{\"kind\":\"Status\",\"message\":\"m\",\"reason\":\"" reason \
        "\",\"code\":" #code "}}\n"

#define STREAM_LIST                                                                                \
        "watch=1&allowWatchBookmarks=true&timeoutSeconds=300&sendInitialEvents=true"               \
        "&resourceVersionMatch=NotOlderThan"
#define WATCH_FROM "watch=1&allowWatchBookmarks=true&timeoutSeconds=300&resourceVersion="

/* The machine, its handler's log, and the clock. */
struct rig {
        struct watch w;
        struct informer_handler handler;
        struct strbuf log;
        int64_t now_ms;
        int upsert_result;
};

/* Without Check's macros: they allocate, and some tests have that fail. */
static int log_name(struct rig *rig, const char *what, const char *json, size_t len) {
        struct json_want want = { .path = { "metadata", "name" } };
        char name[64];
        int r = json_check(json, len, &want, 1, NULL);

        if (r)
                return r;
        if (!json_span_string(&want.span, name, sizeof(name)))
                return -FAULT_BUG;
        strbuf_printf(&rig->log, "%s%s ", what, name);
        return 0;
}

static int on_upsert(void *ctx, const char *json, size_t len, struct fault *f) {
        struct rig *rig = ctx;
        int r = log_name(rig, "+", json, len);

        (void)f;
        return r ? r : rig->upsert_result;
}

static void on_remove(void *ctx, const char *json, size_t len) {
        (void)log_name(ctx, "-", json, len);
}

static void on_list_begin(void *ctx) {
        struct rig *rig = ctx;

        strbuf_str(&rig->log, "< ");
}

static void on_list_end(void *ctx) {
        struct rig *rig = ctx;

        strbuf_str(&rig->log, "> ");
}

static void rig_init(struct rig *rig, const char *selector, bool consistent) {
        *rig = (struct rig){
                .handler = { .ctx = rig,
                             .upsert = on_upsert,
                             .remove = on_remove,
                             .list_begin = on_list_begin,
                             .list_end = on_list_end },
                .log = STRBUF_INIT(SIZE_MAX),
                .now_ms = 1000000,
        };
        watch_init(&rig->w, &rig->handler, selector, NULL, consistent);
}

static void rig_done(struct rig *rig) {
        watch_done(&rig->w);
        strbuf_done(&rig->log);
}

static struct watch_step next(struct rig *rig) {
        struct watch_step step;
        struct fault f = FAULT_INIT;

        ck_assert_int_eq(watch_next(&rig->w, rig->now_ms, 0, &step, &f), 0);
        return step;
}

static void expect_stream(struct rig *rig, const char *query) {
        struct watch_step step = next(rig);

        ck_assert_int_eq(step.action, WATCH_STREAM);
        ck_assert_str_eq(step.query, query);
}

static void expect_page(struct rig *rig, const char *query) {
        struct watch_step step = next(rig);

        ck_assert_int_eq(step.action, WATCH_PAGE);
        ck_assert_str_eq(step.query, query);
}

/* The machine wants to wait that long; then the time has passed. */
static void expect_wait(struct rig *rig, int64_t ms) {
        struct watch_step step = next(rig);

        ck_assert_int_eq(step.action, WATCH_WAIT);
        ck_assert_int_eq(step.wait_ms, ms);
        rig->now_ms += ms;
}

static void expect_log(struct rig *rig, const char *text) {
        ck_assert_str_eq(strbuf_text(&rig->log), text);
        strbuf_reset(&rig->log);
}

/* Feeds a heap copy of its own, for the sanitizers. */
static int feed_len(struct rig *rig, const char *bytes, size_t len) {
        CLEANUP(free_p) char *copy = malloc(len ? len : 1);
        struct fault f = FAULT_INIT;

        ck_assert_ptr_nonnull(copy);
        memcpy(copy, bytes, len);
        return watch_feed(&rig->w, copy, len, &f);
}

static int feed(struct rig *rig, const char *bytes) {
        return feed_len(rig, bytes, strlen(bytes));
}

static int page(struct rig *rig, const char *json) {
        struct fault f = FAULT_INIT;

        return watch_page(&rig->w, json, strlen(json), &f);
}

static bool end(struct rig *rig, int result, int http) {
        struct kube_response response = KUBE_RESPONSE_INIT;

        response.http = http;
        return watch_end(&rig->w, rig->now_ms, 0, result, &response);
}

/* Brings the machine to where it watches from version 10. */
static void begin_watching(struct rig *rig) {
        expect_stream(rig, STREAM_LIST);
        ck_assert_int_eq(feed(rig, EVENT("ADDED", "a", "5") LIST_END("10")), 0);
        rig->now_ms += 300000;
        ck_assert(!end(rig, 0, 200));
        expect_stream(rig, WATCH_FROM "10");
        expect_log(rig, "< +a > ");
}

START_TEST(lists_by_streaming_and_goes_on_in_the_same_stream) {
        CLEANUP(rig_done) struct rig rig;

        rig_init(&rig, NULL, true);
        expect_stream(&rig, STREAM_LIST);
        expect_log(&rig, "< ");
        ck_assert_int_eq(feed(&rig, EVENT("ADDED", "b", "7") EVENT("ADDED", "a", "5")), 0);
        ck_assert(!rig.w.listed);
        ck_assert_int_eq(feed(&rig, LIST_END("10") EVENT("MODIFIED", "a", "11")), 0);
        ck_assert(rig.w.listed);
        ck_assert_int_eq(feed(&rig, EVENT("DELETED", "b", "12")), 0);
        expect_log(&rig, "+b +a > +a -b ");
        ck_assert(!end(&rig, 0, 200));
        expect_stream(&rig, WATCH_FROM "12");
        ck_assert_uint_eq(rig.w.events, 4);
        ck_assert_uint_eq(rig.w.lists, 1);
        ck_assert_uint_eq(rig.w.watches, 2);
}
END_TEST

START_TEST(gives_the_same_events_for_every_cut) {
        static const char stream[] =
                EVENT("ADDED", "a", "5") LIST_END("10") EVENT("MODIFIED", "a", "11")
                        BOOKMARK("12") "\n" EVENT("DELETED", "a", "13") BOOKMARK("14");
        size_t len = strlen(stream);

        for (size_t cut = 0; cut <= len; cut++) {
                CLEANUP(rig_done) struct rig rig;

                rig_init(&rig, NULL, true);
                expect_stream(&rig, STREAM_LIST);
                ck_assert_int_eq(feed_len(&rig, stream, cut), 0);
                ck_assert_int_eq(feed_len(&rig, stream + cut, len - cut), 0);
                expect_log(&rig, "< +a > +a -a ");
                ck_assert(!end(&rig, 0, 200));
                expect_stream(&rig, WATCH_FROM "14");
        }
}
END_TEST

START_TEST(takes_up_a_stream_that_ends_anywhere) {
        static const char stream[] = EVENT("ADDED", "b", "11") EVENT("ADDED", "c", "12");
        size_t first = strlen(EVENT("ADDED", "b", "11"));

        for (size_t cut = 0; cut <= strlen(stream); cut++) {
                CLEANUP(rig_done) struct rig rig;

                rig_init(&rig, NULL, true);
                begin_watching(&rig);
                ck_assert_int_eq(feed_len(&rig, stream, cut), 0);
                rig.now_ms += 300000;
                ck_assert(!end(&rig, 0, 200));
                expect_stream(&rig, cut == strlen(stream) ? WATCH_FROM "12"
                                    : cut >= first        ? WATCH_FROM "11"
                                                          : WATCH_FROM "10");
                /* Nothing of the part that was cut off is left in the way. */
                ck_assert_int_eq(feed(&rig, EVENT("ADDED", "d", "13")), 0);
        }
}
END_TEST

START_TEST(lists_by_pages_where_streams_are_refused) {
        CLEANUP(rig_done) struct rig rig;

        rig_init(&rig, "a=b,c in (d)", false);
        expect_stream(&rig,
                      STREAM_LIST "&resourceVersion=0&labelSelector=a%3Db%2Cc%20in%20%28d%29");
        ck_assert(!end(&rig, KUBE_E_INVALID, 422));
        expect_page(&rig, "limit=500&labelSelector=a%3Db%2Cc%20in%20%28d%29");
        ck_assert_int_eq(page(&rig,
                              "{\"metadata\":{\"resourceVersion\":\"20\",\"continue\":\"x+=\"},"
                              "\"items\":[" ITEM("a", "3") "," ITEM("b", "4") "]}"),
                         0);
        ck_assert(!end(&rig, 0, 200));
        ck_assert(!rig.w.listed);
        expect_page(&rig, "limit=500&continue=x%2B%3D&labelSelector=a%3Db%2Cc%20in%20%28d%29");
        ck_assert_int_eq(page(&rig, "{\"metadata\":{\"resourceVersion\":\"20\"},\"items\":null}"),
                         0);
        ck_assert(!end(&rig, 0, 200));
        expect_log(&rig, "< < +a +b > ");
        expect_stream(&rig, WATCH_FROM "20&labelSelector=a%3Db%2Cc%20in%20%28d%29");
        /* And never asks for a stream again. */
        (void)end(&rig, KUBE_E_GONE, 410);
        rig.now_ms += 800;
        expect_page(&rig, "limit=500&labelSelector=a%3Db%2Cc%20in%20%28d%29");
}
END_TEST

START_TEST(begins_again_when_a_page_has_expired_and_retries_one_that_failed) {
        CLEANUP(rig_done) struct rig rig;
        static const char first[] =
                "{\"metadata\":{\"resourceVersion\":\"20\",\"continue\":\"x\"},\"items\":[]}";

        rig_init(&rig, NULL, true);
        rig.w.no_stream_lists = true;
        expect_page(&rig, "limit=500");
        ck_assert_int_eq(page(&rig, first), 0);
        ck_assert(!end(&rig, 0, 200));
        expect_page(&rig, "limit=500&continue=x");
        ck_assert(end(&rig, -FAULT_IO, 0));
        expect_wait(&rig, 800);
        expect_page(&rig, "limit=500&continue=x");
        ck_assert(end(&rig, KUBE_E_GONE, 410));
        expect_wait(&rig, 1600);
        expect_page(&rig, "limit=500");
        expect_log(&rig, "< < ");
}
END_TEST

START_TEST(asks_for_less_when_a_page_is_too_long) {
        CLEANUP(rig_done) struct rig rig;

        rig_init(&rig, NULL, true);
        rig.w.no_stream_lists = true;
        expect_page(&rig, "limit=500");
        ck_assert(end(&rig, -FAULT_PROTO, 200));
        expect_wait(&rig, 800);
        expect_page(&rig, "limit=250");
        ck_assert_int_eq(page(&rig, "{\"metadata\":{\"resourceVersion\":\"1\"},\"items\":[]}"), 0);
        ck_assert(!end(&rig, 0, 200));
        ck_assert_uint_eq(rig.w.page_limit, 500);
}
END_TEST

START_TEST(gives_up_streaming_lists_that_break_off) {
        CLEANUP(rig_done) struct rig rig;

        rig_init(&rig, NULL, true);
        for (int i = 0; i < 2; i++) {
                expect_stream(&rig, STREAM_LIST);
                ck_assert_int_eq(feed(&rig, EVENT("ADDED", "a", "5") BOOKMARK("6")), 0);
                ck_assert(end(&rig, 0, 200));
                expect_wait(&rig, i ? 1600 : 800);
        }
        expect_page(&rig, "limit=500");
        expect_log(&rig, "< +a < +a < ");
        ck_assert_int_eq(page(&rig, "{\"metadata\":{\"resourceVersion\":\"1\"},\"items\":[]}"), 0);
        ck_assert(!end(&rig, 0, 200));
        /* The next list may stream again. */
        expect_stream(&rig, WATCH_FROM "1");
        (void)end(&rig, KUBE_E_GONE, 410);
        rig.now_ms += 30000;
        expect_stream(&rig, STREAM_LIST);
}
END_TEST

START_TEST(does_not_blame_the_stream_for_an_outage) {
        CLEANUP(rig_done) struct rig rig;

        rig_init(&rig, NULL, true);
        for (int i = 0; i < 5; i++) {
                expect_stream(&rig, STREAM_LIST);
                ck_assert(end(&rig, -FAULT_IO, i % 2 ? 503 : 0));
                rig.now_ms += 30000;
        }
        expect_stream(&rig, STREAM_LIST);
}
END_TEST

struct refusal {
        const char *name;
        const char *event; /* an ERROR event; NULL: the answer itself */
        int http, result;
        const char *reason;
        bool too_large;
        bool lists; /* otherwise it watches from where it was */
};

static const struct refusal refusals[] = {
        { "410 as an answer", NULL, 410, KUBE_E_GONE, "Expired", false, true },
        { "410 as an event", ERROR(410, "Expired"), 200, 0, NULL, false, true },
        { "reason Gone with another code", ERROR(500, "Gone"), 200, 0, NULL, false, true },
        { "reason Expired with another code", ERROR(504, "Expired"), 200, 0, NULL, false, true },
        { "a resourceVersion from the future", NULL, 504, -FAULT_IO, "Timeout", true, true },
        { "the same as an event",
          "{\"type\":\"ERROR\",\"object\":{\"kind\":\"Status\",\"code\":504,\"details\":"
          "{\"causes\":[{\"reason\":\"ResourceVersionTooLarge\"}]}}}\n",
          200, 0, NULL, false, true },
        { "a plain time-out", NULL, 504, -FAULT_IO, "Timeout", false, false },
        { "a resourceVersion that is not accepted", NULL, 400, KUBE_E_INVALID, "BadRequest", false,
          true },
        { "an internal error in the stream", ERROR(500, "InternalError"), 200, 0, NULL, false,
          true },
        { "an error event without a code", "{\"type\":\"ERROR\",\"object\":{}}\n", 200, 0, NULL,
          false, true },
        { "too many requests", NULL, 429, -FAULT_IO, "TooManyRequests", false, false },
        { "the same as an event", ERROR(429, "TooManyRequests"), 200, 0, NULL, false, false },
        { "a server that starts", NULL, 503, -FAULT_IO, NULL, false, false },
        { "a right is missing", NULL, 403, KUBE_E_FORBIDDEN, "Forbidden", false, false },
        { "a token that has expired", NULL, 401, -FAULT_DENIED, "Unauthorized", false, false },
        { "connection refused", NULL, 0, -FAULT_IO, NULL, false, false },
        { "a reset in the middle", NULL, 200, -FAULT_IO, NULL, false, false },
        { "the resource is gone", NULL, 404, KUBE_E_NOT_FOUND, "NotFound", false, true },
};

START_TEST(knows_what_to_do_when_a_watch_is_refused) {
        const struct refusal *refusal = &refusals[_i];
        struct kube_response response = KUBE_RESPONSE_INIT;
        CLEANUP(rig_done) struct rig rig;
        int result = refusal->result;

        rig_init(&rig, NULL, true);
        begin_watching(&rig);
        if (refusal->event) {
                result = feed(&rig, refusal->event);
                ck_assert_msg(result == WATCH_E_ERROR, "%s", refusal->name);
        }
        response.http = refusal->http;
        response.status_reason = refusal->reason ? strdup(refusal->reason) : NULL;
        response.status_version_too_large = refusal->too_large;
        rig.now_ms += 5000;
        ck_assert_msg(watch_end(&rig.w, rig.now_ms, 0, result, &response), "%s", refusal->name);
        kube_response_done(&response);
        expect_wait(&rig, 800);
        ck_assert_msg(strcmp(next(&rig).query, refusal->lists ? STREAM_LIST : WATCH_FROM "10") == 0,
                      "%s: %s", refusal->name, rig.w.query.ptr);
        ck_assert_uint_eq(rig.w.failures, 1);
}
END_TEST

START_TEST(waits_as_long_as_the_server_says) {
        struct kube_response response = KUBE_RESPONSE_INIT;
        CLEANUP(rig_done) struct rig rig;

        rig_init(&rig, NULL, true);
        begin_watching(&rig);
        response.http = 429;
        response.retry_after_ms = 7000;
        ck_assert(watch_end(&rig.w, rig.now_ms, 0, -FAULT_IO, &response));
        expect_wait(&rig, 7000);
        expect_stream(&rig, WATCH_FROM "10");
        ck_assert_int_eq(feed(&rig,
                              "{\"type\":\"ERROR\",\"object\":{\"kind\":\"Status\",\"code\":429,"
                              "\"details\":{\"retryAfterSeconds\":9}}}\n"),
                         WATCH_E_ERROR);
        ck_assert(end(&rig, WATCH_E_ERROR, 200));
        expect_wait(&rig, 9000);
}
END_TEST

START_TEST(backs_off_up_to_a_limit_and_forgets) {
        static const int64_t waits[] = { 800, 1600, 3200, 6400, 12800, 15000, 15000 };
        CLEANUP(rig_done) struct rig rig;

        rig_init(&rig, NULL, true);
        begin_watching(&rig);
        for (size_t i = 0; i < sizeof(waits) / sizeof(waits[0]); i++) {
                ck_assert(end(&rig, -FAULT_IO, 0));
                expect_wait(&rig, waits[i]);
                expect_stream(&rig, WATCH_FROM "10");
        }
        rig.now_ms += 120000;
        ck_assert(end(&rig, -FAULT_IO, 0));
        expect_wait(&rig, 15000);
        expect_stream(&rig, WATCH_FROM "10");
        rig.now_ms += 120001;
        ck_assert(end(&rig, -FAULT_IO, 0));
        expect_wait(&rig, 800);
}
END_TEST

START_TEST(spreads_waits_and_time_outs_by_chance) {
        struct kube_response response = KUBE_RESPONSE_INIT;
        CLEANUP(rig_done) struct rig rig;
        struct watch_step step;

        rig_init(&rig, NULL, true);
        for (uint32_t random = 0; random < 5000; random += 7) {
                rig.now_ms += 1000000;
                ck_assert_int_eq(watch_next(&rig.w, rig.now_ms, random, &step, NULL), 0);
                ck_assert_int_ge(step.timeout_ms, 330000);
                ck_assert_int_le(step.timeout_ms, 630000);
                (void)watch_end(&rig.w, rig.now_ms, random, -FAULT_IO, &response);
                ck_assert_int_eq(watch_next(&rig.w, rig.now_ms, random, &step, NULL), 0);
                ck_assert_int_ge(step.wait_ms, 800);
                ck_assert_int_lt(step.wait_ms, 1600);
        }
        /* Not even the longest is above 30 s. */
        for (int i = 0; i < 20; i++) {
                rig.now_ms += step.wait_ms;
                (void)watch_end(&rig.w, rig.now_ms, UINT32_MAX, -FAULT_IO, &response);
                ck_assert_int_eq(watch_next(&rig.w, rig.now_ms, 0, &step, NULL), 0);
                ck_assert_int_le(step.wait_ms, 30000);
        }
}
END_TEST

START_TEST(takes_a_very_short_watch_for_a_failure) {
        CLEANUP(rig_done) struct rig rig;

        rig_init(&rig, NULL, true);
        begin_watching(&rig);
        rig.now_ms += 999;
        ck_assert(end(&rig, 0, 200));
        expect_wait(&rig, 800);
        expect_stream(&rig, WATCH_FROM "10");
        rig.now_ms += 1000;
        ck_assert(!end(&rig, 0, 200));
        expect_stream(&rig, WATCH_FROM "10");
        ck_assert_int_eq(feed(&rig, BOOKMARK("11")), 0);
        ck_assert(!end(&rig, 0, 200));
        expect_stream(&rig, WATCH_FROM "11");
}
END_TEST

START_TEST(takes_silence_for_a_fault_where_bookmarks_are_sent) {
        CLEANUP(rig_done) struct rig rig;

        rig_init(&rig, NULL, true);
        rig.w.no_stream_lists = true; /* their end is a bookmark, too */
        ck_assert_int_eq(next(&rig).action, WATCH_PAGE);
        ck_assert_int_eq(page(&rig, "{\"metadata\":{\"resourceVersion\":\"10\"},\"items\":[]}"), 0);
        ck_assert(!end(&rig, 0, 200));
        ck_assert_int_eq(next(&rig).idle_timeout_ms, 330000);
        ck_assert_int_eq(feed(&rig, EVENT("ADDED", "b", "11")), 0);
        ck_assert(!end(&rig, 0, 200));
        ck_assert_int_eq(next(&rig).idle_timeout_ms, 330000);
        ck_assert_int_eq(feed(&rig, BOOKMARK("12")), 0);
        ck_assert(!end(&rig, 0, 200));
        ck_assert_int_eq(next(&rig).idle_timeout_ms, 90000);
}
END_TEST

/* A server that was restored from a backup sends nothing until it has come to the resourceVersion
 * that is asked for: to go on from there would miss all that happens until then. */
START_TEST(lists_again_after_silence_where_bookmarks_are_sent) {
        CLEANUP(rig_done) struct rig rig;

        rig_init(&rig, NULL, true);
        begin_watching(&rig);
        ck_assert_int_eq(feed(&rig, BOOKMARK("12")), 0);
        rig.now_ms += 90000;
        ck_assert(end(&rig, KUBE_E_SILENT, 200));
        expect_wait(&rig, 800);
        expect_stream(&rig, STREAM_LIST);
}
END_TEST

START_TEST(selects_by_labels_and_by_fields) {
        CLEANUP(rig_done) struct rig rig;

        rig_init(&rig, "a=b", true);
        rig.w.field_selector = "metadata.name=x";
        ck_assert_ptr_nonnull(
                strstr(next(&rig).query, "&labelSelector=a%3Db&fieldSelector=metadata.name%3Dx"));
}
END_TEST

START_TEST(stops_without_a_failure) {
        CLEANUP(rig_done) struct rig rig;

        rig_init(&rig, NULL, true);
        begin_watching(&rig);
        ck_assert(!end(&rig, KUBE_E_STOPPED, 200));
        ck_assert_uint_eq(rig.w.failures, 0);
}
END_TEST

START_TEST(lists_again_when_the_handler_refuses_an_object) {
        CLEANUP(rig_done) struct rig rig;

        rig_init(&rig, NULL, true);
        begin_watching(&rig);
        rig.upsert_result = -FAULT_NOMEM;
        ck_assert_int_eq(feed(&rig, EVENT("ADDED", "b", "11")), -FAULT_NOMEM);
        ck_assert(end(&rig, -FAULT_NOMEM, 200));
        expect_wait(&rig, 800);
        expect_stream(&rig, STREAM_LIST);
        rig.w.no_stream_lists = true;
        (void)end(&rig, -FAULT_IO, 0);
        rig.now_ms += 1600;
        expect_page(&rig, "limit=500");
        ck_assert_int_eq(page(&rig, "{\"metadata\":{\"resourceVersion\":\"1\"},\"items\":[" ITEM(
                                            "a", "1") "]}"),
                         -FAULT_NOMEM);
        ck_assert(end(&rig, -FAULT_NOMEM, 200));
        ck_assert_int_eq(rig.w.phase, WATCH_BEGIN);
}
END_TEST

/* Nothing is lost when memory is short: what was not taken in is listed again. */
START_TEST(survives_want_of_memory) {
        static const char stream[] = EVENT("ADDED", "a", "5") LIST_END("10") ERROR(410, "Expired");

        for (size_t n = 1;; n++) {
                CLEANUP(rig_done) struct rig rig;
                struct watch_step step = { .action = WATCH_WAIT };
                int r = 0;

                rig_init(&rig, "a=b", true);
                strbuf_str(&rig.log, "so that the log itself needs no memory during the test");
                strbuf_reset(&rig.log);
                alloc_fail_arm(n);
                r = watch_next(&rig.w, rig.now_ms, 0, &step, NULL);
                for (size_t i = 0; i < strlen(stream) && !r; i++)
                        r = watch_feed(&rig.w, stream + i, 1, NULL);
                if (!alloc_fail_disarm())
                        break;
                ck_assert_int_eq(r, -FAULT_NOMEM);
                if (step.action == WATCH_STREAM)
                        ck_assert(end(&rig, r, 200));
                ck_assert_int_ne(rig.w.phase, WATCH_WATCHING);
        }
}
END_TEST

struct bad_line {
        const char *name, *line;
};

static const struct bad_line bad_lines[] = {
        { "no JSON", "hello\n" },
        { "HTML", "<html>\n" },
        { "a cut object", "{\"type\":\"ADDED\",\"object\":{\n" },
        { "a list instead of an object", "{\"type\":\"ADDED\",\"object\":[]}\n" },
        { "no object", "{\"type\":\"ADDED\"}\n" },
        { "no type", "{\"object\":{}}\n" },
        { "a type that is a number", "{\"type\":1,\"object\":{}}\n" },
        { "a member twice",
          "{\"type\":\"ADDED\",\"type\":\"DELETED\",\"object\":" ITEM("a", "1") "}\n" },
        { "an escaped NUL", "{\"type\":\"ADDED\",\"object\":{\"a\":\"\\u0000\"}}\n" },
        { "invalid UTF-8", "{\"type\":\"ADDED\",\"object\":{\"a\":\"\xff\"}}\n" },
        { "an object without a resourceVersion",
          "{\"type\":\"ADDED\",\"object\":{\"metadata\":{\"name\":\"a\"}}}\n" },
        { "a resourceVersion that is a number",
          "{\"type\":\"ADDED\",\"object\":{\"metadata\":{\"name\":\"a\",\"resourceVersion\":1}}}\n" },
        { "an empty resourceVersion", EVENT("ADDED", "a", "") },
        { "a bookmark without a resourceVersion",
          "{\"type\":\"BOOKMARK\",\"object\":{\"metadata\":{}}}\n" },
};

START_TEST(lists_again_after_what_it_cannot_understand) {
        const struct bad_line *bad = &bad_lines[_i];
        CLEANUP(rig_done) struct rig rig;
        int r;

        rig_init(&rig, NULL, true);
        begin_watching(&rig);
        r = feed(&rig, bad->line);
        ck_assert_msg(r < 0, "%s: %d", bad->name, r);
        ck_assert(end(&rig, r, 200));
        expect_wait(&rig, 800);
        expect_stream(&rig, STREAM_LIST);
}
END_TEST

START_TEST(refuses_a_line_without_end) {
        CLEANUP(rig_done) struct rig rig;
        CLEANUP(free_p) char *text = malloc(1 << 20);
        int r = 0;

        ck_assert_ptr_nonnull(text);
        memset(text, ' ', 1 << 20);
        rig_init(&rig, NULL, true);
        begin_watching(&rig);
        for (int i = 0; i < 9 && !r; i++)
                r = feed_len(&rig, text, 1 << 20);
        ck_assert_int_eq(r, -FAULT_PROTO);
        ck_assert(end(&rig, r, 200));
        expect_wait(&rig, 800);
        expect_stream(&rig, STREAM_LIST);
}
END_TEST

START_TEST(leaves_out_events_of_an_unknown_type) {
        CLEANUP(rig_done) struct rig rig;

        rig_init(&rig, NULL, true);
        begin_watching(&rig);
        ck_assert_int_eq(feed(&rig, EVENT("RENAMED", "a", "11") EVENT("ADDED", "b", "12")), 0);
        expect_log(&rig, "+b ");
}
END_TEST

struct bad_page {
        const char *name, *json;
};

static const struct bad_page bad_pages[] = {
        { "no JSON", "x" },
        { "no metadata", "{\"items\":[]}" },
        { "a resourceVersion that is a number",
          "{\"metadata\":{\"resourceVersion\":1},\"items\":[]}" },
        { "a continue token that is a number",
          "{\"metadata\":{\"resourceVersion\":\"1\",\"continue\":5},\"items\":[]}" },
};

START_TEST(begins_again_after_a_page_it_cannot_understand) {
        const struct bad_page *bad = &bad_pages[_i];
        CLEANUP(rig_done) struct rig rig;
        int r;

        rig_init(&rig, NULL, true);
        rig.w.no_stream_lists = true;
        expect_page(&rig, "limit=500");
        r = page(&rig, bad->json);
        ck_assert_msg(r < 0, "%s: %d", bad->name, r);
        ck_assert(end(&rig, r, 200));
        ck_assert(!rig.w.listed);
        rig.now_ms += 800;
        ck_assert_int_eq(next(&rig).action, WATCH_PAGE);
        expect_log(&rig, "< < ");
}
END_TEST

int main(void) {
        Suite *suite = suite_create("watch");
        TCase *tc = tcase_create("watch");
        SRunner *runner = srunner_create(suite);
        int failed;

        tcase_add_test(tc, lists_by_streaming_and_goes_on_in_the_same_stream);
        tcase_add_test(tc, gives_the_same_events_for_every_cut);
        tcase_add_test(tc, takes_up_a_stream_that_ends_anywhere);
        tcase_add_test(tc, lists_by_pages_where_streams_are_refused);
        tcase_add_test(tc, begins_again_when_a_page_has_expired_and_retries_one_that_failed);
        tcase_add_test(tc, asks_for_less_when_a_page_is_too_long);
        tcase_add_test(tc, gives_up_streaming_lists_that_break_off);
        tcase_add_test(tc, does_not_blame_the_stream_for_an_outage);
        tcase_add_loop_test(tc, knows_what_to_do_when_a_watch_is_refused, 0,
                            (int)(sizeof(refusals) / sizeof(refusals[0])));
        tcase_add_test(tc, waits_as_long_as_the_server_says);
        tcase_add_test(tc, backs_off_up_to_a_limit_and_forgets);
        tcase_add_test(tc, spreads_waits_and_time_outs_by_chance);
        tcase_add_test(tc, takes_a_very_short_watch_for_a_failure);
        tcase_add_test(tc, takes_silence_for_a_fault_where_bookmarks_are_sent);
        tcase_add_test(tc, lists_again_after_silence_where_bookmarks_are_sent);
        tcase_add_test(tc, selects_by_labels_and_by_fields);
        tcase_add_test(tc, stops_without_a_failure);
        tcase_add_test(tc, lists_again_when_the_handler_refuses_an_object);
        tcase_add_loop_test(tc, lists_again_after_what_it_cannot_understand, 0,
                            (int)(sizeof(bad_lines) / sizeof(bad_lines[0])));
        tcase_add_test(tc, survives_want_of_memory);
        tcase_add_test(tc, refuses_a_line_without_end);
        tcase_add_test(tc, leaves_out_events_of_an_unknown_type);
        tcase_add_loop_test(tc, begins_again_after_a_page_it_cannot_understand, 0,
                            (int)(sizeof(bad_pages) / sizeof(bad_pages[0])));
        suite_add_tcase(suite, tc);
        srunner_run_all(runner, CK_ENV);
        failed = srunner_ntests_failed(runner);
        srunner_free(runner);
        return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
