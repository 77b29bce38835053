/* SPDX-License-Identifier: Apache-2.0 */
/* dbupgrade-reconciler: flags, the objects, their order of start and stop. */
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

#include "certs/keeper_loop.h"
#include "certs/renew.h"
#include "common/base/clock.h"
#include "common/base/fault.h"
#include "common/base/flags.h"
#include "common/base/lifecycle.h"
#include "common/base/log.h"
#include "common/base/metrics.h"
#include "common/base/random.h"
#include "common/http/ops.h"
#include "common/kube/kube_config.h"
#include "common/kube/warnings.h"
#include "reconciler/controller.h"
#include "reconciler/election.h"
#include "reconciler/meters.h"

#define PROGRAM "dbupgrade-reconciler"

#define YEAR_MS INT64_C(31536000000)
#define DAY_MS  INT64_C(86400000)

struct options {
        const char *kubeconfig, *selector, *instance;
        struct flag_list namespaces;
        int64_t workers;
        const char *metrics_address, *health_address, *log_level, *log_format;
        const char *cert_mode, *operator_namespace, *cluster_domain;
        int64_t ca_lifetime_ms, leaf_lifetime_ms, cert_propagation_ms;
        bool elect;
        const char *lease;
        int64_t lease_ms, renew_ms, retry_ms;
        struct keeper_opts keeper;
};

static int parse(struct options *o, int argc, char **argv, struct fault *f) {
        const struct flag table[] = {
                { "API server", "kubeconfig", FLAG_STRING, &o->kubeconfig, NULL,
                  "A kubeconfig file; without it $KUBECONFIG, the Pod's service account, then "
                  "~/.kube/config.",
                  0, 0 },
                { "What to reconcile", "namespace", FLAG_LIST, &o->namespaces, "all",
                  "A namespace to look after; may be given several times.", 0, 0 },
                { "What to reconcile", "selector", FLAG_STRING, &o->selector, "all",
                  "A label selector of DBUpgrades. One that leaves the selection is left as it stands: "
                  "its Job runs to its end, and whoever selects it next records the outcome.",
                  0, 0 },
                { "What to reconcile", "workers", FLAG_INT, &o->workers, "4",
                  "Objects reconciled at the same time.", 1, 64 },
                { "Leader election", "leader-elect", FLAG_BOOL, &o->elect, "false",
                  "Work only while holding the Lease, so that several replicas can run.", 0, 0 },
                { "Leader election", "leader-election-id", FLAG_STRING, &o->lease,
                  "dbupgrade-controller-manager.subbug.learning",
                  "The Lease, in --operator-namespace.", 0, 0 },
                { "Leader election", "leader-election-lease-duration", FLAG_DURATION, &o->lease_ms,
                  "15s", "How long others wait after the leader's last renewal.", 1000, DAY_MS },
                { "Leader election", "leader-election-renew-deadline", FLAG_DURATION, &o->renew_ms,
                  "10s", "How long the leader goes on without a renewal.", 1000, DAY_MS },
                { "Leader election", "leader-election-retry-period", FLAG_DURATION, &o->retry_ms,
                  "2s", "The time between two tries.", 100, DAY_MS },
                { "Webhook certificates", "cert-mode", FLAG_STRING, &o->cert_mode, "none",
                  "self-managed: keep the webhook's certificates and caBundle; none: somebody else "
                  "does.",
                  0, 0 },
                { "Webhook certificates", "operator-namespace", FLAG_STRING, &o->operator_namespace,
                  "the Pod's",
                  "The namespace of the Lease and of the webhook's Service and Secrets.", 0, 0 },
                { "Webhook certificates", "webhook-service-name", FLAG_STRING,
                  &o->keeper.service_name, "dbupgrade-webhook-service", "The webhook's Service.", 0,
                  0 },
                { "Webhook certificates", "webhook-cert-secret", FLAG_STRING,
                  &o->keeper.serving_secret, "dbupgrade-webhook-cert",
                  "The Secret of the serving certificate.", 0, 0 },
                { "Webhook certificates", "webhook-ca-secret", FLAG_STRING, &o->keeper.ca_secret,
                  "dbupgrade-webhook-ca", "The Secret of the CA and its key.", 0, 0 },
                { "Webhook certificates", "validating-webhook-configuration", FLAG_STRING,
                  &o->keeper.configurations[KEEPER_VALIDATING],
                  "dbupgrade-validating-webhook-configuration",
                  "The ValidatingWebhookConfiguration to keep the caBundle of.", 0, 0 },
                { "Webhook certificates", "mutating-webhook-configuration", FLAG_STRING,
                  &o->keeper.configurations[KEEPER_MUTATING],
                  "dbupgrade-mutating-webhook-configuration",
                  "The MutatingWebhookConfiguration to keep the caBundle of.", 0, 0 },
                { "Webhook certificates", "cluster-domain", FLAG_STRING, &o->cluster_domain,
                  "cluster.local", "The cluster's DNS domain.", 0, 0 },
                { "Webhook certificates", "ca-lifetime", FLAG_DURATION, &o->ca_lifetime_ms,
                  "87600h", "How long a new CA is valid; replaced when a third is left.", 30000,
                  100 * YEAR_MS },
                { "Webhook certificates", "cert-lifetime", FLAG_DURATION, &o->leaf_lifetime_ms,
                  "2160h",
                  "How long a new serving certificate is valid; made anew when a third is left.",
                  30000, 100 * YEAR_MS },
                { "Webhook certificates", "cert-propagation", FLAG_DURATION,
                  &o->cert_propagation_ms, "2m",
                  "How long a change takes to reach every API server and webhook (the kubelet needs "
                  "up to 90 s); waited for between the steps of a new CA. Lifetimes must be six "
                  "times as long.",
                  0, YEAR_MS },
                { "Operation", "metrics-bind-address", FLAG_STRING, &o->metrics_address, ":8080",
                  "Where /metrics is served; 0: nowhere.", 0, 0 },
                { "Operation", "health-probe-bind-address", FLAG_STRING, &o->health_address,
                  ":8081", "Where /healthz and /readyz are served; 0: nowhere.", 0, 0 },
                { "Operation", "pod-name", FLAG_STRING, &o->instance, "the host's name",
                  "Who reports events.", 0, 0 },
                { "Operation", "log-level", FLAG_STRING, &o->log_level, "info",
                  "debug, info, warning or error; SIGUSR1 and SIGUSR2 change it.", 0, 0 },
                { "Operation", "log-format", FLAG_STRING, &o->log_format, "auto",
                  "json, text, or auto: text on a terminal.", 0, 0 },
                { .name = NULL },
        };

        return flags_parse(table, PROGRAM,
                           "runs database migrations that DBUpgrade objects ask for", argc, argv,
                           stdout, f);
}

/* Return: 0, -FAULT_INVALID. */
static int check_cert_flags(const struct options *o, struct fault *f) {
        if (strcmp(o->cert_mode, "none") != 0 && strcmp(o->cert_mode, "self-managed") != 0)
                return fault_set(f, FAULT_INVALID, "--cert-mode=%s: must be self-managed or none",
                                 o->cert_mode);
        if (o->ca_lifetime_ms < RENEW_PROPAGATIONS_MIN * o->cert_propagation_ms ||
            o->leaf_lifetime_ms < RENEW_PROPAGATIONS_MIN * o->cert_propagation_ms)
                return fault_set(f, FAULT_INVALID,
                                 "--ca-lifetime and --cert-lifetime must be at least %d times "
                                 "--cert-propagation",
                                 RENEW_PROPAGATIONS_MIN);
        return 0;
}

static void on_warning(void *ctx, const char *text) {
        (void)ctx;
        log_warning("the API server warns", LOG_STR("warning", text));
}

static void on_stale(void *ctx, const char *text) {
        static struct log_limit limit;
        int64_t suppressed;

        (void)ctx;
        if (log_limit_pass(&limit, 60000, &suppressed))
                log_warning("a credential cannot be read again, the old one is used",
                            LOG_STR("error", text), LOG_INT("suppressed", suppressed));
}

/* What begins when this process leads. */
struct work {
        struct options *o;
        struct controller *controller;
        struct kube keeper_kube;
        struct keeper_loop_opts keeper_opts;
        _Atomic int64_t keeper_busy_since_ms;
        pthread_mutex_t mutex;      /* leadership may come while the process ends */
        bool ended;                 /* under the mutex, as keeper */
        struct keeper_loop *keeper; /* NULL: certificates are somebody else's */
};

static void work_done(struct work *w) {
        keeper_loop_stop(w->keeper);
        kube_close(&w->keeper_kube);
        for (int i = 0; i < RENEW_CONFIGURATIONS; i++)
                kube_close(&w->keeper_opts.watches[i]);
}

static int work_new(struct work *w, struct options *o, const struct kube_curl_opts *base,
                    struct meters *meters, struct fault *f) {
        struct kube_curl_opts opts = *base;
        int r;

        w->o = o;
        opts.component = "certs";
        o->keeper.namespace_ = o->operator_namespace;
        o->keeper.cluster_domain = o->cluster_domain;
        o->keeper.ca_lifetime_s = o->ca_lifetime_ms / 1000;
        o->keeper.leaf_lifetime_s = o->leaf_lifetime_ms / 1000;
        o->keeper.propagation_s = o->cert_propagation_ms / 1000;
        o->keeper.instance = o->instance;
        o->keeper.kube = &w->keeper_kube;
        o->keeper.clock = clock_system();
        o->keeper.expiry = meters->cert_expiry;
        r = kube_curl_new(&opts, &w->keeper_kube, f);
        opts.component = "watch-webhooks";
        for (int i = 0; i < RENEW_CONFIGURATIONS && !r; i++)
                r = kube_curl_new(&opts, &w->keeper_opts.watches[i], f);
        w->keeper_opts.keeper = o->keeper;
        w->keeper_opts.random = random_system();
        w->keeper_opts.busy_since_ms = &w->keeper_busy_since_ms;
        return r;
}

static void on_leading(void *ctx) {
        struct work *w = ctx;
        struct fault f = FAULT_INIT;

        pthread_mutex_lock(&w->mutex);
        if (!w->ended) {
                controller_lead(w->controller);
                if (strcmp(w->o->cert_mode, "none") != 0 &&
                    keeper_loop_start(&w->keeper_opts, &w->keeper, &f)) {
                        log_error("cannot go on", LOG_STR("error", f.text));
                        _exit(EXIT_FAILURE);
                }
        }
        pthread_mutex_unlock(&w->mutex);
}

/* Nothing is begun any more, and nobody writes when it returns. */
static void work_end(struct work *w) {
        pthread_mutex_lock(&w->mutex);
        w->ended = true;
        pthread_mutex_unlock(&w->mutex);
        controller_stop(w->controller);
        keeper_loop_stop(TAKE(w->keeper));
}

#define KEEPER_HUNG_MS 300000

/* An ops_check for liveness. */
static int check_keeper(void *ctx, struct fault *f) {
        struct work *w = ctx;
        int64_t since_ms = atomic_load(&w->keeper_busy_since_ms);
        int64_t busy_ms = since_ms ? clock_mono_ms(clock_system()) - since_ms : 0;

        return busy_ms > KEEPER_HUNG_MS
                       ? fault_set(f, FAULT_BUG,
                                   "the keeper of certificates has been in one pass for %lld s",
                                   (long long)busy_ms / 1000)
                       : 0;
}

static int new_election(const struct options *o, const struct kube_curl_opts *kube,
                        struct meters *meters, struct work *work, struct election **ret_election,
                        struct fault *f) {
        const struct election_opts opts = {
                .kube = *kube,
                .namespace_ = o->operator_namespace,
                .name = o->lease,
                .instance = o->instance,
                .duration_ms = o->lease_ms,
                .renew_ms = o->renew_ms,
                .retry_ms = o->retry_ms,
                .leading_gauge = meters->leader,
                .leading = on_leading,
                .ctx = work,
        };

        return o->elect ? election_new(&opts, ret_election, f) : 0;
}

/* The namespace of what is the operator's own: given, or that of the Pod. */
static int find_namespace(struct options *o, const struct kube_config *config, struct fault *f) {
        if (!*o->operator_namespace && config->namespace_)
                o->operator_namespace = config->namespace_;
        if (*o->operator_namespace || (strcmp(o->cert_mode, "none") == 0 && !o->elect))
                return 0;
        return fault_set(f, FAULT_INVALID,
                         "--cert-mode=self-managed and --leader-elect need --operator-namespace");
}

/* Serves and works until a signal comes. */
static int work_until_stopped(struct work *work, struct election *election, struct meters *meters,
                              const char *server, struct fault *f) {
        int r = controller_start(work->controller, f);

        if (!r && election)
                r = election_start(election, f);
        if (r)
                return r;
        if (!election) {
                series_set(meters->leader, 1);
                on_leading(work);
        }
        log_info("started", LOG_STR("version", DBUPGRADE_VERSION), LOG_STR("server", server));
        lifecycle_wait();
        return 0;
}

static int run(struct options *o, struct fault *f) {
        CLEANUP(kube_config_done) struct kube_config config = { .server = NULL };
        CLEANUP(meters_free_p) struct meters *meters = NULL;
        CLEANUP(election_free_p) struct election *election = NULL;
        CLEANUP(controller_free_p) struct controller *controller = NULL;
        CLEANUP(work_done) struct work work = { .o = o, .mutex = PTHREAD_MUTEX_INITIALIZER };
        CLEANUP(ops_free_p) struct ops *ops = NULL;
        CLEANUP(warnings_free_p) struct warnings *warnings = warnings_new();
        struct kube_curl_opts kube = {
                .config = &config,
                .program = PROGRAM,
                .clock = clock_system(),
                .random = random_system(),
                .observer = { .request = meters_request, .warning = on_warning, .stale = on_stale },
                .warnings = warnings,
        };
        int r = warnings ? kube_config_load(o->kubeconfig, &config, f)
                         : fault_set(f, FAULT_NOMEM, "out of memory");

        if (!r)
                r = find_namespace(o, &config, f);
        if (!r)
                r = meters_new(o->workers, o->lease, &meters, f);
        if (r)
                return r;
        kube.observer.ctx = meters;
        r = new_election(o, &kube, meters, &work, &election, f);
        if (r)
                return r;
        if (election) {
                kube.write_deadline_ms = election_write_deadline_ms;
                kube.write_deadline_ctx = election;
        }
        const struct controller_opts controller_opts = {
                .kube = kube,
                .clock = clock_system(),
                .random = random_system(),
                .meters = meters,
                .namespaces = (const char *const *)o->namespaces.items,
                .selector = *o->selector ? o->selector : NULL,
                .workers = o->workers,
                .instance = o->instance,
                .elected = true, /* on_leading, also without a Lease */
        };
        r = controller_new(&controller_opts, &controller, f);
        work.controller = controller;
        if (!r)
                r = work_new(&work, o, &kube, meters, f);
        if (r)
                return r;
        const struct ops_check checks[] = {
                { "worker", controller_check_alive, controller, true },
                { "certificates", check_keeper, &work, true },
                { "informer-sync", controller_check_synced, controller, false },
                { election ? "leader-election" : NULL, election_check, election, true },
                { .name = NULL },
        };
        const struct ops_opts ops_opts = {
                .health_address = o->health_address,
                .metrics_address = o->metrics_address,
                .checks = checks,
                .metrics = meters->metrics,
        };
        r = ops_new(&ops_opts, &ops, f);
        if (!r)
                r = work_until_stopped(&work, election, meters, config.server, f);
        work_end(&work);
        /* Nobody writes any more: others may begin. */
        if (election)
                election_stop(election);
        return r;
}

int main(int argc, char **argv) {
        char host[256]; /* HOST_NAME_MAX is 64 */
        struct options o = {
                .kubeconfig = "",
                .selector = "",
                .instance = host,
                .workers = 4,
                .metrics_address = ":8080",
                .health_address = ":8081",
                .log_level = "info",
                .log_format = "auto",
                .cert_mode = "none",
                .operator_namespace = "",
                .lease = "dbupgrade-controller-manager.subbug.learning",
                .lease_ms = 15000,
                .renew_ms = 10000,
                .retry_ms = 2000,
                .cluster_domain = "cluster.local",
                .ca_lifetime_ms = 10 * YEAR_MS,
                .leaf_lifetime_ms = 90 * DAY_MS,
                .cert_propagation_ms = 120000,
                .keeper = {
                        .service_name = "dbupgrade-webhook-service",
                        .serving_secret = "dbupgrade-webhook-cert",
                        .ca_secret = "dbupgrade-webhook-ca",
                        .configurations = { "dbupgrade-validating-webhook-configuration",
                                            "dbupgrade-mutating-webhook-configuration" },
                },
        };
        struct fault f = FAULT_INIT;
        int r;

        if (gethostname(host, sizeof(host)))
                host[0] = '\0';
        host[sizeof(host) - 1] = '\0';
        r = parse(&o, argc, argv, &f);
        if (r == FLAGS_E_EXIT)
                return EXIT_SUCCESS;
        if (!r)
                r = check_cert_flags(&o, &f);
        if (!r)
                r = log_start("reconciler", o.log_level, o.log_format, &f);
        if (r) {
                (void)fprintf(stderr, PROGRAM ": %s\n", f.text);
                return 2;
        }
        lifecycle_init();
        r = run(&o, &f);
        if (r)
                log_error("cannot go on", LOG_STR("error", f.text));
        else
                log_info("stopped");
        flag_list_done(&o.namespaces);
        return r ? EXIT_FAILURE : EXIT_SUCCESS;
}
