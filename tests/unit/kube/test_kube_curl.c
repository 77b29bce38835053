/* SPDX-License-Identifier: Apache-2.0 */
#include <check.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/clock.h"
#include "common/base/fault.h"
#include "common/base/random.h"
#include "common/kube/kube_config.h"
#include "common/kube/kube_curl.h"
#include "common/kube/warnings.h"
#include "tests/fake/fake_server.h"

#define JSON_HEAD "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"

struct rig {
        struct fake_script script;
        struct fake_server *server;
        struct kube_config config;
        struct kube kube;
        struct clock clock;
        int64_t clock_ahead_ms;
        int64_t gate_ms; /* boot clock */
        char dir[32];    /* "/tmp/test_kube_curl.XXXXXX" */
        struct warnings *told;
        char warnings[1024];
        unsigned observed;
        struct kube_observation last;
        int64_t begun_ms;
};

static int64_t rig_mono_us(void *ctx) {
        const struct rig *rig = ctx;

        return clock_mono_us(clock_system()) + rig->clock_ahead_ms * 1000;
}

static int64_t rig_boot_ms(void *ctx) {
        (void)ctx;
        return clock_boot_ms(clock_system());
}

static int64_t rig_wall_us(void *ctx) {
        (void)ctx;
        return clock_wall_us(clock_system());
}

static int64_t rig_deadline_ms(void *ctx) {
        const struct rig *rig = ctx;

        return rig->gate_ms;
}

static void on_warning(void *ctx, const char *text) {
        struct rig *rig = ctx;
        size_t len = strlen(rig->warnings);

        (void)snprintf(rig->warnings + len, sizeof(rig->warnings) - len, "%s\n", text);
}

static void on_observation(void *ctx, const struct kube_observation *observation) {
        struct rig *rig = ctx;

        rig->observed++;
        rig->last = *observation;
}

static uint32_t no_chance(void *ctx) {
        (void)ctx;
        return 0;
}

static const struct random no_random = { .u32 = no_chance, .ctx = NULL };

static char *copy(const char *text) {
        char *p = strdup(text);

        ck_assert_ptr_nonnull(p);
        return p;
}

static void rig_init(struct rig *rig, const struct fake_act *acts, size_t count) {
        *rig = (struct rig){ .gate_ms = INT64_MAX, .told = warnings_new() };
        ck_assert_ptr_nonnull(rig->told);
        memcpy(rig->script.acts, acts, count * sizeof(*acts));
        rig->server = fake_server_new(fake_script_serve, &rig->script);
        rig->clock = (struct clock){
                .mono_us = rig_mono_us, .boot_ms = rig_boot_ms, .wall_us = rig_wall_us, .ctx = rig
        };
        rig->config.server = copy(fake_server_url(rig->server));
        rig->config.ca.data = copy(fake_server_ca(rig->server));
        rig->config.ca.len = strlen(rig->config.ca.data);
        (void)snprintf(rig->dir, sizeof(rig->dir), "/tmp/test_kube_curl.XXXXXX");
        ck_assert_ptr_nonnull(mkdtemp(rig->dir));
}

static void rig_open(struct rig *rig) {
        const struct kube_curl_opts opts = {
                .config = &rig->config,
                .program = "tests",
                .component = "unit",
                .clock = &rig->clock,
                .random = &no_random,
                .observer = { .request = on_observation,
                              .warning = on_warning,
                              .stale = on_warning,
                              .ctx = rig },
                .warnings = rig->told,
                .write_deadline_ms = rig_deadline_ms,
                .write_deadline_ctx = rig,
        };
        struct fault f = FAULT_INIT;

        ck_assert_int_eq(kube_curl_new(&opts, &rig->kube, &f), 0);
        rig->begun_ms = clock_mono_ms(clock_system());
}

static void rig_done(struct rig *rig) {
        static const char *const names[] = { "token", "ca" };

        kube_close(&rig->kube);
        kube_config_done(&rig->config);
        warnings_free(rig->told);
        fake_server_free(rig->server);
        for (size_t i = 0; i < 2; i++) {
                CLEANUP(free_p) char *path = NULL;

                if (asprintf(&path, "%s/%s", rig->dir, names[i]) > 0)
                        (void)unlink(path);
        }
        (void)rmdir(rig->dir);
}

#define RIG(rig, ...)                                                                              \
        CLEANUP(rig_done) struct rig rig;                                                          \
        rig_init(&rig, (const struct fake_act[]){ __VA_ARGS__ },                                   \
                 sizeof((const struct fake_act[]){ __VA_ARGS__ }) / sizeof(struct fake_act));

static int64_t elapsed_ms(const struct rig *rig) {
        return clock_mono_ms(clock_system()) - rig->begun_ms;
}

/* Has the source read from a file of that name, which holds the text from now on. */
static void put_file(struct rig *rig, struct kube_source *source, const char *name,
                     const char *text) {
        CLEANUP(free_p) char *path = NULL;
        CLEANUP(fclose_p) FILE *file = NULL;

        ck_assert_int_gt(asprintf(&path, "%s/%s", rig->dir, name), 0);
        file = fopen(path, "we");
        ck_assert_ptr_nonnull(file);
        ck_assert_int_ge(fputs(text, file), 0);
        free(source->data);
        source->data = NULL;
        if (!source->path)
                source->path = copy(path);
}

static void put_token(struct rig *rig, const char *text) {
        put_file(rig, &rig->config.token, "token", text);
}

static void put_ca(struct rig *rig, const char *text) {
        put_file(rig, &rig->config.ca, "ca", text);
}

static int ask(struct rig *rig, enum kube_method method, int64_t timeout_ms,
               struct kube_response *response, struct fault *f) {
        const struct kube_request request = {
                .method = method,
                .path = "/api/v1/x",
                .body = method == KUBE_GET ? NULL : "{}",
                .body_len = 2,
                .timeout_ms = timeout_ms,
                .max_response = 1000,
        };

        return kube_request(&rig->kube, &request, response, f);
}

/* The same for those who want the result only. */
static int get(struct rig *rig, enum kube_method method, int64_t timeout_ms) {
        CLEANUP(kube_response_done) struct kube_response response = KUBE_RESPONSE_INIT;
        struct fault f = FAULT_INIT;

        return ask(rig, method, timeout_ms, &response, &f);
}

#define OK_EMPTY JSON_HEAD "Content-Length: 2\r\n\r\n{}"

START_TEST(sends_what_was_asked_and_who_asks) {
        const struct kube_request request = {
                .method = KUBE_PATCH,
                .path = "/apis/x/../y%2Fz",
                .query = "fieldManager=a",
                .content_type = KUBE_MERGE_PATCH,
                .body = "{\"a\":1}",
                .body_len = 7,
        };
        CLEANUP(kube_response_done) struct kube_response response = KUBE_RESPONSE_INIT;
        const char *head;
        struct fault f = FAULT_INIT;

        RIG(rig, { OK_EMPTY, FAKE_KEEP }, { OK_EMPTY, FAKE_KEEP });
        rig.config.token.data = copy("secret");
        rig.config.token.len = 6;
        rig_open(&rig);
        ck_assert_int_eq(kube_request(&rig.kube, &request, &response, &f), 0);
        ck_assert_str_eq(response.body.ptr, "{}");
        head = rig.script.requests[0].head;
        ck_assert_ptr_eq(strstr(head, "PATCH /apis/x/../y%2Fz?fieldManager=a HTTP/1.1\r\n"), head);
        ck_assert_ptr_nonnull(strstr(head, "\r\nAuthorization: Bearer secret\r\n"));
        ck_assert_ptr_nonnull(strstr(head, "\r\nContent-Type: application/merge-patch+json\r\n"));
        ck_assert_ptr_nonnull(strstr(head, "\r\nAccept: application/json\r\n"));
        ck_assert_ptr_nonnull(strstr(head, "\r\nUser-Agent: tests/" DBUPGRADE_VERSION " (linux/"));
        ck_assert_ptr_nonnull(strstr(head, ") unit\r\n"));
        ck_assert_ptr_null(strcasestr(head, "\r\nExpect"));
        ck_assert_str_eq(rig.script.requests[0].body, "{\"a\":1}");
        /* Nothing of it stays for the next one, but for the connection. */
        ck_assert_int_eq(get(&rig, KUBE_GET, 0), 0);
        ck_assert_ptr_eq(strstr(rig.script.requests[1].head, "GET /api/v1/x HTTP/1.1\r\n"),
                         rig.script.requests[1].head);
        ck_assert_ptr_null(strstr(rig.script.requests[1].head, "Content-Type"));
        ck_assert_uint_eq(fake_server_connections(rig.server), 1);
        ck_assert_uint_eq(rig.observed, 2);
        ck_assert_int_eq(rig.last.http, 200);
        ck_assert_int_gt(rig.last.duration_us, 0);
        ck_assert_str_eq(rig.last.host, fake_server_url(rig.server) + strlen("https://"));
}
END_TEST

START_TEST(has_each_method) {
        static const struct {
                enum kube_method method;
                const char *line;
        } methods[] = {
                { KUBE_GET, "GET /api" },       { KUBE_POST, "POST /api" },
                { KUBE_PUT, "PUT /api" },       { KUBE_PATCH, "PATCH /api" },
                { KUBE_DELETE, "DELETE /api" },
        };

        RIG(rig, { OK_EMPTY, FAKE_KEEP }, { OK_EMPTY, FAKE_KEEP }, { OK_EMPTY, FAKE_KEEP },
            { OK_EMPTY, FAKE_KEEP }, { OK_EMPTY, FAKE_KEEP });
        rig_open(&rig);
        for (size_t i = 0; i < 5; i++) {
                ck_assert_int_eq(get(&rig, methods[i].method, 0), 0);
                ck_assert_ptr_eq(strstr(rig.script.requests[i].head, methods[i].line),
                                 rig.script.requests[i].head);
        }
}
END_TEST

struct answer {
        const char *name, *raw;
        enum fake_then then;
        int result;
        const char *text; /* in the fault */
};

#define REFUSED(status)                                                                            \
        "HTTP/1.1 " status "\r\nContent-Type: application/json\r\nContent-Length: 31\r\n\r\n"      \
        "{\"kind\":\"Status\",\"message\":\"m\"}"

static const struct answer answers[] = {
        { "JSON", OK_EMPTY, FAKE_KEEP, 0, "" },
        { "JSON with a character set",
          "HTTP/1.1 201 Created\r\nContent-Type: application/json; charset=utf-8\r\n"
          "Content-Length: 2\r\n\r\n{}",
          FAKE_KEEP, 0, "" },
        { "JSON in chunks",
          JSON_HEAD "Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n1\r\n}\r\n0\r\n\r\n", FAKE_KEEP, 0,
          "" },
        { "HTML", "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 6\r\n\r\n<html>",
          FAKE_KEEP, -FAULT_PROTO, "POST /api/v1/x: the answer: it is not JSON" },
        { "a type that begins like JSON's",
          "HTTP/1.1 200 OK\r\nContent-Type: application/jsonx\r\nContent-Length: 2\r\n\r\n{}",
          FAKE_KEEP, -FAULT_PROTO, "not JSON" },
        { "no type", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", FAKE_KEEP, -FAULT_PROTO,
          "not JSON" },
        { "JSON that is broken", JSON_HEAD "Content-Length: 2\r\n\r\n{]", FAKE_KEEP, -FAULT_PROTO,
          "byte" },
        { "nothing as JSON", JSON_HEAD "Content-Length: 0\r\n\r\n", FAKE_KEEP, -FAULT_PROTO,
          "byte" },
        { "a member twice", JSON_HEAD "Content-Length: 13\r\n\r\n{\"a\":1,\"a\":2}", FAKE_KEEP,
          -FAULT_PROTO, "byte" },
        { "too much", JSON_HEAD "Content-Length: 1001\r\n\r\n{\"", FAKE_SILENCE, -FAULT_IO, "" },
        { "no HTTP", "hello\r\n\r\n", FAKE_CLOSE, -FAULT_PROTO, "POST /api/v1/x: " },
        { "bad chunks", JSON_HEAD "Transfer-Encoding: chunked\r\n\r\nzz\r\n{}", FAKE_CLOSE,
          -FAULT_IO, "" },
        { "half an answer", JSON_HEAD "Content-Length: 20\r\n\r\n{\"a\":", FAKE_CLOSE, -FAULT_IO,
          "" },
        { "half a head", "HTTP/1.1 200 OK\r\nConte", FAKE_CLOSE, -FAULT_PROTO, "" },
        { "no answer", "", FAKE_CLOSE, -FAULT_IO, "" },
        { "a reset", "", FAKE_RESET, -FAULT_IO, "" },
        { "a redirection",
          "HTTP/1.1 302 Found\r\nLocation: https://example.com/\r\nContent-Length: 0\r\n\r\n",
          FAKE_KEEP, -FAULT_PROTO, "HTTP 302" },
        { "400", REFUSED("400 x"), FAKE_KEEP, KUBE_E_INVALID, "POST /api/v1/x: HTTP 400: m" },
        { "401", REFUSED("401 x"), FAKE_KEEP, -FAULT_DENIED, "HTTP 401: m" },
        { "403", REFUSED("403 x"), FAKE_KEEP, KUBE_E_FORBIDDEN, "HTTP 403: m" },
        { "404", REFUSED("404 x"), FAKE_KEEP, KUBE_E_NOT_FOUND, "HTTP 404: m" },
        { "409", REFUSED("409 x"), FAKE_KEEP, KUBE_E_CONFLICT, "HTTP 409: m" },
        { "410", REFUSED("410 x"), FAKE_KEEP, KUBE_E_GONE, "HTTP 410: m" },
        { "413", REFUSED("413 x"), FAKE_KEEP, KUBE_E_INVALID, "HTTP 413: m" },
        { "422", REFUSED("422 x"), FAKE_KEEP, KUBE_E_INVALID, "HTTP 422: m" },
        { "429 without Retry-After", REFUSED("429 x"), FAKE_KEEP, -FAULT_IO, "HTTP 429: m" },
        { "500", REFUSED("500 x"), FAKE_KEEP, -FAULT_IO, "HTTP 500: m" },
        { "503 without Retry-After", REFUSED("503 x"), FAKE_KEEP, -FAULT_IO, "HTTP 503: m" },
        { "a refusal in HTML",
          "HTTP/1.1 502 x\r\nContent-Type: text/html\r\nContent-Length: 6\r\n\r\n<html>", FAKE_KEEP,
          -FAULT_IO, "POST /api/v1/x: HTTP 502" },
        { "a refusal with broken JSON",
          "HTTP/1.1 404 x\r\nContent-Type: application/json\r\nContent-Length: 1\r\n\r\n{",
          FAKE_KEEP, KUBE_E_NOT_FOUND, "HTTP 404" },
};

START_TEST(judges_answers) {
        const struct answer *answer = &answers[_i];
        CLEANUP(kube_response_done) struct kube_response response = KUBE_RESPONSE_INIT;
        struct fault f = FAULT_INIT;
        int r;

        RIG(rig, { answer->raw, answer->then });
        rig_open(&rig);
        r = ask(&rig, KUBE_POST, answer->then == FAKE_SILENCE ? 3000 : 20000, &response, &f);
        ck_assert_msg(r == answer->result, "%s: %d %s", answer->name, r, f.text);
        ck_assert_msg(strstr(f.text, answer->text) != NULL, "%s: %s", answer->name, f.text);
        ck_assert_uint_eq(rig.script.count, 1);
}
END_TEST

START_TEST(stops_reading_at_the_limit) {
        CLEANUP(kube_response_done) struct kube_response response = KUBE_RESPONSE_INIT;
        struct fault f = FAULT_INIT;
        char raw[1400] = JSON_HEAD "Connection: close\r\n\r\n";

        memset(raw + strlen(raw), ' ', sizeof(raw) - strlen(raw) - 1);
        raw[sizeof(raw) - 1] = '\0';
        RIG(rig, { raw, FAKE_SILENCE });
        rig_open(&rig);
        ck_assert_int_eq(ask(&rig, KUBE_GET, 20000, &response, &f), -FAULT_PROTO);
        ck_assert_str_eq(f.text, "GET /api/v1/x: the answer is longer than 1000 bytes");
        ck_assert_int_lt(elapsed_ms(&rig), 15000);
}
END_TEST

#define BUSY(seconds)                                                                              \
        "HTTP/1.1 429 x\r\nContent-Type: text/plain\r\nRetry-After: " seconds                      \
        "\r\nContent-Length: 2\r\n\r\nno"

START_TEST(obeys_retry_after_within_the_time_out) {
        RIG(rig, { BUSY("1"), FAKE_KEEP }, { OK_EMPTY, FAKE_KEEP });
        rig_open(&rig);
        ck_assert_int_eq(get(&rig, KUBE_POST, 20000), 0);
        ck_assert_uint_eq(rig.script.count, 2);
        ck_assert_int_ge(elapsed_ms(&rig), 1000);
        ck_assert_uint_eq(rig.observed, 2);
}
END_TEST

START_TEST(does_not_wait_beyond_the_time_out) {
        CLEANUP(kube_response_done) struct kube_response response = KUBE_RESPONSE_INIT;
        struct fault f = FAULT_INIT;

        RIG(rig, { BUSY("100"), FAKE_KEEP });
        rig_open(&rig);
        ck_assert_int_eq(ask(&rig, KUBE_GET, 20000, &response, &f), -FAULT_IO);
        ck_assert_int_lt(elapsed_ms(&rig), 15000);
        ck_assert_int_eq(response.retry_after_ms, 60000);
}
END_TEST

START_TEST(asks_again_when_the_connection_of_a_get_is_lost) {
        RIG(rig, { "", FAKE_RESET }, { JSON_HEAD "Content-Length: 9\r\n\r\n{", FAKE_CLOSE },
            { OK_EMPTY, FAKE_KEEP });
        rig_open(&rig);
        ck_assert_int_eq(get(&rig, KUBE_GET, 20000), 0);
        ck_assert_uint_eq(rig.script.count, 3);
}
END_TEST

/* The server may have executed it before its connection ended. */
START_TEST(sends_no_write_twice_when_a_kept_connection_was_dead) {
        static const enum kube_method writes[] = { KUBE_POST, KUBE_PUT, KUBE_PATCH, KUBE_DELETE };
        static const enum fake_then ends[] = { FAKE_CLOSE, FAKE_RESET };
        CLEANUP(kube_response_done) struct kube_response response = KUBE_RESPONSE_INIT;
        struct fault f = FAULT_INIT;

        RIG(rig, { OK_EMPTY, FAKE_KEEP }, { "", ends[_i / 4] }, { OK_EMPTY, FAKE_KEEP });
        rig_open(&rig);
        ck_assert_int_eq(get(&rig, writes[_i % 4], 20000), 0);
        ck_assert_int_eq(ask(&rig, writes[_i % 4], 20000, &response, &f), -FAULT_IO);
        ck_assert_msg(strstr(f.text, "may have been executed") != NULL, "%s", f.text);
        ck_assert_uint_eq(rig.script.count, 2);
        ck_assert_int_eq(get(&rig, writes[_i % 4], 20000), 0);
        ck_assert_str_eq(rig.script.requests[2].body, "{}");
}
END_TEST

/* As when the API server has restarted: no request was on its way. */
START_TEST(sends_a_write_over_a_new_connection_when_the_kept_one_has_ended) {
        RIG(rig, { OK_EMPTY, FAKE_CLOSE }, { OK_EMPTY, FAKE_KEEP });
        rig_open(&rig);
        ck_assert_int_eq(get(&rig, KUBE_POST, 20000), 0);
        fake_server_await_closed(rig.server, 1);
        ck_assert_int_eq(get(&rig, KUBE_POST, 20000), 0);
        ck_assert_uint_eq(rig.script.count, 2);
        ck_assert_uint_eq(fake_server_connections(rig.server), 2);
}
END_TEST

START_TEST(gives_up_on_a_silent_peer) {
        RIG(rig, { "", FAKE_SILENCE }, { JSON_HEAD, FAKE_SILENCE });
        rig_open(&rig);
        ck_assert_int_eq(get(&rig, KUBE_GET, 300), -FAULT_IO);
        ck_assert_int_eq(get(&rig, KUBE_POST, 300), -FAULT_IO);
        ck_assert_int_ge(elapsed_ms(&rig), 600);
        ck_assert_int_lt(elapsed_ms(&rig), 15000);
}
END_TEST

/* Once the server has the request. */
static void *interrupt_later(void *arg) {
        const struct rig *rig = arg;

        while (atomic_load(&rig->script.count) == 0)
                (void)usleep(10000);
        (void)usleep(100000);
        kube_interrupt(&rig->kube);
        return NULL;
}

START_TEST(stops_a_call_from_another_thread) {
        pthread_t thread;

        RIG(rig, { "", FAKE_SILENCE });
        rig_open(&rig);
        ck_assert_int_eq(pthread_create(&thread, NULL, interrupt_later, &rig), 0);
        ck_assert_int_eq(get(&rig, KUBE_GET, 20000), KUBE_E_STOPPED);
        ck_assert_int_lt(elapsed_ms(&rig), 15000);
        ck_assert_int_eq(pthread_join(thread, NULL), 0);
        ck_assert_int_eq(get(&rig, KUBE_POST, 20000), KUBE_E_STOPPED);
        ck_assert_uint_eq(rig.script.count, 1);
}
END_TEST

START_TEST(stops_a_wait_for_the_next_try) {
        pthread_t thread;

        RIG(rig, { BUSY("9"), FAKE_KEEP });
        rig_open(&rig);
        ck_assert_int_eq(pthread_create(&thread, NULL, interrupt_later, &rig), 0);
        ck_assert_int_eq(get(&rig, KUBE_GET, 20000), KUBE_E_STOPPED);
        ck_assert_int_lt(elapsed_ms(&rig), 15000);
        ck_assert_int_eq(pthread_join(thread, NULL), 0);
}
END_TEST

START_TEST(trusts_the_given_ca_only) {
        CLEANUP(kube_response_done) struct kube_response response = KUBE_RESPONSE_INIT;
        struct fake_server *other = fake_server_new(fake_script_serve, NULL);
        struct fault f = FAULT_INIT;

        RIG(rig, { OK_EMPTY, FAKE_KEEP });
        free(rig.config.ca.data);
        rig.config.ca.data = copy(fake_server_ca(other));
        rig.config.ca.len = strlen(rig.config.ca.data);
        fake_server_free(other);
        rig_open(&rig);
        ck_assert_int_eq(ask(&rig, KUBE_GET, 20000, &response, &f), -FAULT_IO);
        ck_assert_msg(strstr(f.text, "certificate") != NULL, "%s", f.text);
        ck_assert_uint_eq(rig.script.count, 0);
}
END_TEST

START_TEST(speaks_https_only) {
        struct kube_config config = { .server = (char *)"http://127.0.0.1:1" };
        const struct kube_curl_opts opts = { .config = &config,
                                             .program = "tests",
                                             .component = "unit",
                                             .clock = clock_system(),
                                             .random = &no_random };
        struct kube k = { 0 };
        struct fault f = FAULT_INIT;

        ck_assert_int_eq(kube_curl_new(&opts, &k, &f), -FAULT_INVALID);
        ck_assert_ptr_null(k.ops);
}
END_TEST

START_TEST(asks_once_after_a_401_when_there_is_no_other_token) {
        RIG(rig, { REFUSED("401 x"), FAKE_KEEP }, { OK_EMPTY, FAKE_KEEP });
        put_token(&rig, "old\n");
        rig_open(&rig);
        ck_assert_int_eq(get(&rig, KUBE_GET, 0), -FAULT_DENIED);
        ck_assert_uint_eq(rig.script.count, 1);
        ck_assert_ptr_nonnull(strstr(rig.script.requests[0].head, "Bearer old\r\n"));
}
END_TEST

/* Serves 401 to the first token, which it replaces in the file, and takes the second. */
static void serve_rotation(void *ctx, struct fake_conn *conn) {
        struct rig *rig = ctx;
        struct fake_request request;

        while (fake_read(conn, &request)) {
                atomic_fetch_add(&rig->script.count, 1);
                if (strstr(request.head, "Bearer first\r\n")) {
                        put_token(rig, "second");
                        fake_answer(conn, "401 Unauthorized", "", "{}");
                } else if (strstr(request.head, "Bearer second\r\n")) {
                        fake_answer(conn, "200 OK", "", "{}");
                }
        }
}

START_TEST(sends_again_with_a_new_token_after_a_401) {
        RIG(rig, { NULL, FAKE_KEEP });
        fake_server_free(rig.server);
        free(rig.config.server);
        free(rig.config.ca.data);
        rig.server = fake_server_new(serve_rotation, &rig);
        rig.config.server = copy(fake_server_url(rig.server));
        rig.config.ca.data = copy(fake_server_ca(rig.server));
        rig.config.ca.len = strlen(rig.config.ca.data);
        put_token(&rig, "first");
        rig_open(&rig);
        ck_assert_int_eq(get(&rig, KUBE_POST, 0), 0);
        ck_assert_uint_eq(rig.script.count, 2);
}
END_TEST

START_TEST(reads_the_token_again_after_a_minute) {
        RIG(rig, { OK_EMPTY, FAKE_KEEP }, { OK_EMPTY, FAKE_KEEP }, { OK_EMPTY, FAKE_KEEP },
            { OK_EMPTY, FAKE_KEEP });
        put_token(&rig, "one");
        rig_open(&rig);
        ck_assert_int_eq(get(&rig, KUBE_GET, 0), 0);
        put_token(&rig, "two");
        ck_assert_int_eq(get(&rig, KUBE_GET, 0), 0);
        ck_assert_ptr_nonnull(strstr(rig.script.requests[1].head, "Bearer one\r\n"));
        rig.clock_ahead_ms = 60000;
        ck_assert_int_eq(get(&rig, KUBE_GET, 0), 0);
        ck_assert_ptr_nonnull(strstr(rig.script.requests[2].head, "Bearer two\r\n"));
        ck_assert_str_eq(rig.warnings, "");
        /* One that has become empty is not used. */
        put_token(&rig, "");
        rig.clock_ahead_ms = 120000;
        ck_assert_int_eq(get(&rig, KUBE_GET, 0), 0);
        ck_assert_ptr_nonnull(strstr(rig.script.requests[3].head, "Bearer two\r\n"));
        ck_assert_ptr_nonnull(strstr(rig.warnings, "is empty"));
}
END_TEST

/* The cluster's CA is replaced: kept connections end with the trust that they were made by. */
START_TEST(reads_the_ca_again_after_a_minute) {
        struct fake_server *other = fake_server_new(fake_script_serve, NULL);

        RIG(rig, { OK_EMPTY, FAKE_KEEP }, { OK_EMPTY, FAKE_KEEP }, { OK_EMPTY, FAKE_KEEP });
        put_ca(&rig, fake_server_ca(rig.server));
        rig_open(&rig);
        ck_assert_int_eq(get(&rig, KUBE_GET, 0), 0);
        put_ca(&rig, fake_server_ca(other));
        ck_assert_int_eq(get(&rig, KUBE_GET, 0), 0);
        rig.clock_ahead_ms += 61000;
        ck_assert_int_eq(get(&rig, KUBE_GET, 500), -FAULT_IO);
        ck_assert_uint_eq(rig.script.count, 2);
        put_ca(&rig, "");
        rig.clock_ahead_ms += 61000;
        ck_assert_int_eq(get(&rig, KUBE_GET, 500), -FAULT_IO);
        ck_assert_ptr_nonnull(strstr(rig.warnings, "/ca is empty"));
        put_ca(&rig, fake_server_ca(rig.server));
        rig.clock_ahead_ms += 61000;
        ck_assert_int_eq(get(&rig, KUBE_GET, 0), 0);
        ck_assert_uint_eq(rig.script.count, 3);
        fake_server_free(other);
}
END_TEST

START_TEST(sends_nothing_with_a_token_that_would_be_another_header) {
        CLEANUP(kube_response_done) struct kube_response response = KUBE_RESPONSE_INIT;
        struct fault f = FAULT_INIT;

        RIG(rig, { NULL, FAKE_KEEP });
        put_token(&rig, "a\r\nX-Evil: 1");
        rig_open(&rig);
        ck_assert_int_eq(ask(&rig, KUBE_GET, 0, &response, &f), -FAULT_INVALID);
        ck_assert_ptr_null(strstr(f.text, "Evil"));
        ck_assert_uint_eq(fake_server_connections(rig.server), 0);
}
END_TEST

START_TEST(writes_nothing_once_the_gate_is_closed) {
        RIG(rig, { OK_EMPTY, FAKE_KEEP }, { "", FAKE_SILENCE });
        rig_open(&rig);
        rig.gate_ms = clock_boot_ms(clock_system());
        ck_assert_int_eq(get(&rig, KUBE_POST, 0), KUBE_E_EXPIRED_WRITE);
        rig.gate_ms -= 5000;
        ck_assert_int_eq(get(&rig, KUBE_DELETE, 0), KUBE_E_EXPIRED_WRITE);
        rig.gate_ms = 0; /* never a leader */
        ck_assert_int_eq(get(&rig, KUBE_PUT, 0), KUBE_E_EXPIRED_WRITE);
        ck_assert_uint_eq(rig.script.count, 0);
        ck_assert_int_eq(get(&rig, KUBE_GET, 0), 0);
        /* A write that is under way ends with it. */
        rig.gate_ms = clock_boot_ms(clock_system()) + 2000;
        ck_assert_int_eq(get(&rig, KUBE_PATCH, 20000), -FAULT_IO);
        ck_assert_int_lt(elapsed_ms(&rig), 15000);
        ck_assert_uint_eq(rig.script.count, 2);
}
END_TEST

START_TEST(hands_on_each_server_warning_once) {
        static const char warned[] =
                JSON_HEAD "Warning: 299 - \"old API\"\r\nWarning: 299 - \"say \\\"no\\\"\"\r\n"
                          "Content-Length: 2\r\n\r\n{}";

        RIG(rig, { warned, FAKE_KEEP }, { warned, FAKE_KEEP });
        rig_open(&rig);
        ck_assert_int_eq(get(&rig, KUBE_GET, 0), 0);
        ck_assert_int_eq(get(&rig, KUBE_GET, 0), 0);
        ck_assert_str_eq(rig.warnings, "old API\nsay \"no\"\n");
}
END_TEST

struct sink {
        char text[256];
        int result;
};

static int on_bytes(void *ctx, const char *bytes, size_t len, struct fault *f) {
        struct sink *sink = ctx;

        (void)f;
        strncat(sink->text, bytes, len);
        return sink->result;
}

static int stream(struct rig *rig, int64_t idle_timeout_ms, struct sink *sink,
                  struct kube_response *response, struct fault *f) {
        const struct kube_request request = {
                .method = KUBE_GET, .path = "/api/v1/x", .query = "watch=1", .timeout_ms = 20000
        };

        return kube_stream(&rig->kube, &request, idle_timeout_ms, on_bytes, sink, response, f);
}

#define STREAM_HEAD JSON_HEAD "Transfer-Encoding: chunked\r\n\r\n"

struct streaming {
        const char *name, *raw;
        enum fake_then then;
        int stop; /* what on_bytes returns */
        int result;
        const char *text;        /* what came */
        int64_t idle_timeout_ms; /* 0: none that matters */
};

static const struct streaming streamings[] = {
        { "to its end", STREAM_HEAD "2\r\nab\r\n1\r\nc\r\n0\r\n\r\n", FAKE_KEEP, 0, 0, "abc" },
        { "cut off between two chunks", STREAM_HEAD "2\r\nab\r\n", FAKE_CLOSE, 0, -FAULT_IO, "ab" },
        { "cut off by a reset", STREAM_HEAD "2\r\nab\r\n", FAKE_RESET, 0, -FAULT_IO, NULL },
        { "stopped by the reader", STREAM_HEAD "2\r\nab\r\n", FAKE_SILENCE, KUBE_E_CALLER,
          KUBE_E_CALLER, "ab" },
        { "a fault of the reader", STREAM_HEAD "2\r\nab\r\n", FAKE_SILENCE, -FAULT_NOMEM,
          -FAULT_NOMEM, "ab" },
        { "silent", STREAM_HEAD "2\r\nab\r\n", FAKE_SILENCE, 0, KUBE_E_SILENT, NULL, 4000 },
        { "silent from the start", "", FAKE_SILENCE, 0, KUBE_E_SILENT, "", 4000 },
        { "refused", REFUSED("410 Gone"), FAKE_KEEP, 0, KUBE_E_GONE, "" },
        { "busy: no other try, that is for the reader", BUSY("1"), FAKE_KEEP, 0, -FAULT_IO, "" },
        { "HTML", "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 6\r\n\r\n<html>",
          FAKE_KEEP, 0, -FAULT_PROTO, "" },
};

START_TEST(streams) {
        const struct streaming *s = &streamings[_i];
        CLEANUP(kube_response_done) struct kube_response response = KUBE_RESPONSE_INIT;
        struct sink sink = { .result = s->stop };
        struct fault f = FAULT_INIT;
        int r;

        RIG(rig, { s->raw, s->then });
        rig_open(&rig);
        r = stream(&rig, s->idle_timeout_ms ? s->idle_timeout_ms : 20000, &sink, &response, &f);
        ck_assert_msg(r == s->result, "%s: %d %s", s->name, r, f.text);
        ck_assert_msg(!s->text || strcmp(sink.text, s->text) == 0, "%s: %s", s->name, sink.text);
        ck_assert_uint_eq(response.body.len, strstr(s->raw, "{\"kind") ? 31
                                             : strstr(s->raw, " 429 ") ? 2
                                                                       : 0);
        ck_assert_uint_eq(rig.script.count, 1);
        ck_assert(rig.last.stream);
}
END_TEST

START_TEST(stops_a_stream_from_another_thread) {
        CLEANUP(kube_response_done) struct kube_response response = KUBE_RESPONSE_INIT;
        struct sink sink = { .result = 0 };
        struct fault f = FAULT_INIT;
        pthread_t thread;

        RIG(rig, { STREAM_HEAD "2\r\nab\r\n", FAKE_SILENCE });
        rig_open(&rig);
        ck_assert_int_eq(pthread_create(&thread, NULL, interrupt_later, &rig), 0);
        ck_assert_int_eq(stream(&rig, 20000, &sink, &response, &f), KUBE_E_STOPPED);
        ck_assert_int_lt(elapsed_ms(&rig), 15000);
        ck_assert_int_eq(pthread_join(thread, NULL), 0);
}
END_TEST

struct retry {
        const char *name;
        struct kube_try attempt;
        uint32_t random;
        int64_t wait_ms;
};

static const struct retry retries[] = {
        { "429 that says when", { 1, KUBE_POST, 429, false, 2000, 9000 }, 0, 2000 },
        { "503 that says when", { 1, KUBE_DELETE, 503, false, 2000, 9000 }, 0, 2000 },
        { "500 that says when", { 1, KUBE_GET, 500, false, 2000, 9000 }, 0, 2000 },
        { "by chance up to a quarter later", { 1, KUBE_GET, 429, false, 2000, 9000 }, 255, 2498 },
        { "429 that does not", { 1, KUBE_GET, 429, false, 0, 9000 }, 0, -1 },
        { "a refusal with a Retry-After", { 1, KUBE_GET, 403, false, 2000, 9000 }, 0, -1 },
        { "a success with a Retry-After", { 1, KUBE_GET, 200, false, 2000, 9000 }, 0, -1 },
        { "later than the time-out", { 1, KUBE_GET, 429, false, 2000, 2000 }, 0, -1 },
        { "the tenth try", { 10, KUBE_GET, 429, false, 1, 9000 }, 0, -1 },
        { "the ninth try", { 9, KUBE_GET, 429, false, 1, 9000 }, 0, 1 },
        { "a GET whose connection was lost", { 1, KUBE_GET, 0, true, 0, 9000 }, 0, 500 },
        { "a POST whose connection was lost", { 1, KUBE_POST, 0, true, 0, 9000 }, 0, -1 },
        { "a GET without a connection", { 1, KUBE_GET, 0, false, 0, 9000 }, 0, -1 },
};

START_TEST(decides_on_another_try) {
        const struct retry *retry = &retries[_i];
        int64_t wait_ms = kube_curl_retry_ms(&retry->attempt, retry->random);

        ck_assert_msg(wait_ms == retry->wait_ms, "%s: %lld", retry->name, (long long)wait_ms);
}
END_TEST

#define COUNT(array) ((int)(sizeof(array) / sizeof((array)[0])))

int main(void) {
        Suite *suite = suite_create("kube_curl");
        TCase *tc = tcase_create("kube_curl");
        SRunner *runner = srunner_create(suite);
        int failed;

        tcase_set_timeout(tc, 60);
        tcase_add_loop_test(tc, decides_on_another_try, 0, COUNT(retries));
        tcase_add_test(tc, sends_what_was_asked_and_who_asks);
        tcase_add_test(tc, has_each_method);
        tcase_add_loop_test(tc, judges_answers, 0, COUNT(answers));
        tcase_add_test(tc, stops_reading_at_the_limit);
        tcase_add_test(tc, obeys_retry_after_within_the_time_out);
        tcase_add_test(tc, does_not_wait_beyond_the_time_out);
        tcase_add_test(tc, asks_again_when_the_connection_of_a_get_is_lost);
        tcase_add_loop_test(tc, sends_no_write_twice_when_a_kept_connection_was_dead, 0, 8);
        tcase_add_test(tc, sends_a_write_over_a_new_connection_when_the_kept_one_has_ended);
        tcase_add_test(tc, gives_up_on_a_silent_peer);
        tcase_add_test(tc, stops_a_call_from_another_thread);
        tcase_add_test(tc, stops_a_wait_for_the_next_try);
        tcase_add_test(tc, trusts_the_given_ca_only);
        tcase_add_test(tc, speaks_https_only);
        tcase_add_test(tc, asks_once_after_a_401_when_there_is_no_other_token);
        tcase_add_test(tc, sends_again_with_a_new_token_after_a_401);
        tcase_add_test(tc, reads_the_token_again_after_a_minute);
        tcase_add_test(tc, reads_the_ca_again_after_a_minute);
        tcase_add_test(tc, sends_nothing_with_a_token_that_would_be_another_header);
        tcase_add_test(tc, writes_nothing_once_the_gate_is_closed);
        tcase_add_test(tc, hands_on_each_server_warning_once);
        tcase_add_loop_test(tc, streams, 0, COUNT(streamings));
        tcase_add_test(tc, stops_a_stream_from_another_thread);
        suite_add_tcase(suite, tc);
        srunner_run_all(runner, CK_ENV);
        failed = srunner_ntests_failed(runner);
        srunner_free(runner);
        return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
