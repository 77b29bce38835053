/* SPDX-License-Identifier: Apache-2.0 */
/* dbupgrade-webhook: flags, the objects, their order of start and stop. */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "common/base/clock.h"
#include "common/base/fault.h"
#include "common/base/flags.h"
#include "common/base/lifecycle.h"
#include "common/base/log.h"
#include "common/base/metrics.h"
#include "common/base/strbuf.h"
#include "common/http/ops.h"
#include "webhook/meters.h"
#include "webhook/review.h"
#include "webhook/self_dial.h"
#include "webhook/server.h"
#include "webhook/tls_store.h"
#include "webhook/tree_pool.h"

#define PROGRAM "dbupgrade-webhook"

/* Above the 90 s after which the API server's client drops an idle connection, or it would send
 * into one that is being closed. */
#define IDLE_MS    120000
#define HEADER_MS  10000
#define REQUEST_MS 15000
/* Reviews are seldom larger, so they are answered also while others use up all the memory. */
#define SMALL_BODY 16384
/* Two tries stay below the probe's 5 s. */
#define SELF_DIAL_MS 2000

struct options {
        const char *cert_dir, *cert_name, *key_name;
        const char *metrics_address, *health_address, *log_level, *log_format;
        int64_t port, threads, connections, bodies_mib, shutdown_delay_ms;
};

static int parse(struct options *o, int argc, char **argv, struct fault *f) {
        const struct flag table[] = {
                { "Webhook", "webhook-port", FLAG_INT, &o->port, "9443", "The HTTPS port.", 1,
                  65535 },
                { "Webhook", "webhook-cert-path", FLAG_STRING, &o->cert_dir,
                  "/tmp/k8s-webhook-server/serving-certs", "The directory of certificate and key.",
                  0, 0 },
                { "Webhook", "webhook-cert-name", FLAG_STRING, &o->cert_name, "tls.crt",
                  "The certificate's file.", 0, 0 },
                { "Webhook", "webhook-cert-key", FLAG_STRING, &o->key_name, "tls.key",
                  "The key's file.", 0, 0 },
                { "Limits", "threads", FLAG_INT, &o->threads, "2", "Threads that answer.", 2, 64 },
                { "Limits", "max-connections", FLAG_INT, &o->connections, "512",
                  "Connections at a time.", 16, 65536 },
                { "Limits", "max-body-memory", FLAG_INT, &o->bodies_mib, "16",
                  "MiB of all bodies under way; above it requests get 503.", 8, 4096 },
                { "Operation", "shutdown-delay", FLAG_DURATION, &o->shutdown_delay_ms, "10s",
                  "How long to go on serving after SIGTERM, until no more requests are sent here.",
                  0, 600000 },
                { "Operation", "metrics-bind-address", FLAG_STRING, &o->metrics_address, ":8080",
                  "Where /metrics is served; 0: nowhere.", 0, 0 },
                { "Operation", "health-probe-bind-address", FLAG_STRING, &o->health_address,
                  ":8081", "Where /healthz and /readyz are served; 0: nowhere.", 0, 0 },
                { "Operation", "log-level", FLAG_STRING, &o->log_level, "info",
                  "debug, info, warning or error; SIGUSR1 and SIGUSR2 change it.", 0, 0 },
                { "Operation", "log-format", FLAG_STRING, &o->log_format, "auto",
                  "json, text, or auto: text on a terminal.", 0, 0 },
                { .name = NULL },
        };

        return flags_parse(table, PROGRAM, "judges DBUpgrade objects before they are stored", argc,
                           argv, stdout, f);
}

static int answer(enum review_path path, const struct meters_path *meters, const char *body,
                  size_t len, struct strbuf *out, unsigned *ret_status, struct fault *f) {
        struct review_outcome outcome;
        int r = review_answer(path, body, len, out, &outcome, f);

        if (r)
                return r;
        meters_review(meters, &outcome);
        *ret_status = outcome.http_status;
        return 0;
}

static int answer_mutate(void *ctx, const char *body, size_t len, struct strbuf *out,
                         unsigned *ret_status, struct fault *f) {
        return answer(REVIEW_MUTATE, ctx, body, len, out, ret_status, f);
}

static int answer_validate(void *ctx, const char *body, size_t len, struct strbuf *out,
                           unsigned *ret_status, struct fault *f) {
        return answer(REVIEW_VALIDATE, ctx, body, len, out, ret_status, f);
}

/* Readiness ends with the first SIGTERM; the server goes on for a while. */
static int check_stopping(void *ctx, struct fault *f) {
        return *(_Atomic bool *)ctx ? fault_set(f, FAULT_IO, "stopping") : 0;
}

static struct server_route route(const char *path, struct meters_path *meters,
                                 int (*fn)(void *, const char *, size_t, struct strbuf *,
                                           unsigned *, struct fault *)) {
        return (struct server_route){
                .path = path,
                .answer = fn,
                .ctx = meters,
                .latency = meters->latency,
                .in_flight = meters->in_flight,
                .count = meters_count,
        };
}

/* Serves until a signal, then drains. */
static int serve(const struct options *o, struct server *server, _Atomic bool *stopping,
                 struct fault *f) {
        const struct timespec delay = {
                .tv_sec = (time_t)(o->shutdown_delay_ms / 1000),
                .tv_nsec = (long)(o->shutdown_delay_ms % 1000) * 1000000,
        };

        log_info("started", LOG_STR("version", DBUPGRADE_VERSION), LOG_INT("port", o->port));
        lifecycle_wait();
        *stopping = true;
        server_drain(server);
        (void)nanosleep(&delay, NULL);
        if (!server_stop(server, REQUEST_MS))
                return fault_set(f, FAULT_IO, "requests were still under way at the end");
        return 0;
}

static int run(const struct options *o, struct fault *f) {
        _Atomic bool stopping = false;
        CLEANUP(free_p) char *cert = NULL;
        CLEANUP(free_p) char *key = NULL;
        CLEANUP(webhook_meters_free_p) struct webhook_meters *meters = NULL;
        CLEANUP(tls_store_free_p) struct tls_store *tls = NULL;
        CLEANUP(server_free_p) struct server *server = NULL;
        CLEANUP(self_dial_free_p) struct self_dial *dial = NULL;
        CLEANUP(ops_free_p) struct ops *ops = NULL;
        int r = webhook_meters_new(&meters, f);

        if (r)
                return r;
        if (asprintf(&cert, "%s/%s", o->cert_dir, o->cert_name) < 0 ||
            asprintf(&key, "%s/%s", o->cert_dir, o->key_name) < 0)
                return fault_set(f, FAULT_NOMEM, "out of memory");
        const struct tls_store_opts tls_opts = {
                .cert_path = cert,
                .key_path = key,
                .clock = clock_system(),
                .expiry = meters->cert_expiry,
                .reads = meters->cert_reads,
                .errors = meters->cert_errors,
        };
        const struct server_route routes[] = {
                route("/mutate-dbupgrade-subbug-learning-v1alpha1-dbupgrade",
                      &meters->paths[REVIEW_MUTATE], answer_mutate),
                route("/validate-dbupgrade-subbug-learning-v1alpha1-dbupgrade",
                      &meters->paths[REVIEW_VALIDATE], answer_validate),
                { .path = NULL },
        };
        const struct server_opts server_opts = {
                .port = (uint16_t)o->port,
                .routes = routes,
                .cert_callback = tls_store_callback(),
                .handshake_failures = meters->handshake_failures,
                .clock = clock_system(),
                .threads = (unsigned)o->threads,
                .connections = (unsigned)o->connections,
                .body_max = REVIEW_BODY_MAX,
                .bodies_max = (size_t)o->bodies_mib << 20,
                .small_max = SMALL_BODY,
                .answer_max = REVIEW_ANSWER_MAX,
                .header_ms = HEADER_MS,
                .request_ms = REQUEST_MS,
                .idle_ms = IDLE_MS,
        };
        r = tls_store_new(&tls_opts, &tls, f);
        if (!r)
                r = server_new(&server_opts, &server, f);
        if (!r)
                r = webhook_meters_watch(meters, server, &server_opts, f);
        if (r)
                return r;
        const struct self_dial_opts dial_opts = {
                .port = server_port(server),
                .tls = tls,
                .clock = clock_system(),
                .within_ms = SELF_DIAL_MS,
        };
        r = self_dial_new(&dial_opts, &dial, f);
        if (r)
                return r;
        const struct ops_check checks[] = {
                { "threads", server_check, server, true },
                { "certificate", tls_store_check, tls, false },
                { "listener", self_dial_check, dial, false },
                { "shutdown", check_stopping, &stopping, false },
                { .name = NULL },
        };
        const struct ops_opts ops_opts = {
                .health_address = o->health_address,
                .metrics_address = o->metrics_address,
                .checks = checks,
                .metrics = meters->metrics,
        };
        r = ops_new(&ops_opts, &ops, f);
        return r ? r : serve(o, server, &stopping, f);
}

int main(int argc, char **argv) {
        struct options o = {
                .port = 9443,
                .cert_dir = "/tmp/k8s-webhook-server/serving-certs",
                .cert_name = "tls.crt",
                .key_name = "tls.key",
                .threads = 2,
                .connections = 512,
                .bodies_mib = 16,
                .shutdown_delay_ms = 10000,
                .metrics_address = ":8080",
                .health_address = ":8081",
                .log_level = "info",
                .log_format = "auto",
        };
        struct fault f = FAULT_INIT;
        int r = parse(&o, argc, argv, &f);

        if (r == FLAGS_E_EXIT)
                return EXIT_SUCCESS;
        if (!r)
                r = log_start("webhook", o.log_level, o.log_format, &f);
        if (r) {
                (void)fprintf(stderr, PROGRAM ": %s\n", f.text);
                return 2;
        }
        lifecycle_init();
        tree_pool_start();
        r = run(&o, &f);
        if (r)
                log_error("cannot go on", LOG_STR("error", f.text));
        else
                log_info("stopped");
        return r ? EXIT_FAILURE : EXIT_SUCCESS;
}
