/* SPDX-License-Identifier: Apache-2.0 */
/* dbupgrade-reconciler: flags, the objects, their order of start and stop. */
#include <curl/curl.h>
#include <string.h>

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
#include "reconciler/controller.h"
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
                  "A label selector of DBUpgrades.", 0, 0 },
                { "What to reconcile", "workers", FLAG_INT, &o->workers, "4",
                  "Objects reconciled at the same time.", 1, 64 },
                { "Webhook certificates", "cert-mode", FLAG_STRING, &o->cert_mode, "none",
                  "self-managed: keep the webhook's certificates and caBundle; none: somebody else "
                  "does.",
                  0, 0 },
                { "Webhook certificates", "operator-namespace", FLAG_STRING, &o->operator_namespace,
                  "the Pod's", "The namespace of the webhook's Service and Secrets.", 0, 0 },
                { "Webhook certificates", "webhook-service-name", FLAG_STRING,
                  &o->keeper.service_name, "dbupgrade-webhook-service", "The webhook's Service.", 0,
                  0 },
                { "Webhook certificates", "webhook-cert-secret", FLAG_STRING,
                  &o->keeper.serving_secret, "dbupgrade-webhook-cert",
                  "The Secret of the serving certificate.", 0, 0 },
                { "Webhook certificates", "webhook-ca-secret", FLAG_STRING, &o->keeper.ca_secret,
                  "dbupgrade-webhook-ca", "The Secret of the CA and its key.", 0, 0 },
                { "Webhook certificates", "validating-webhook-configuration", FLAG_STRING,
                  &o->keeper.validating_configuration, "dbupgrade-validating-webhook-configuration",
                  "The ValidatingWebhookConfiguration to keep the caBundle of.", 0, 0 },
                { "Webhook certificates", "mutating-webhook-configuration", FLAG_STRING,
                  &o->keeper.mutating_configuration, "dbupgrade-mutating-webhook-configuration",
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

/* Starts the keeper when it is asked for; *ret_loop stays NULL otherwise. */
static int start_keeper(struct options *o, const struct kube_config *config,
                        const struct kube_curl_opts *base, struct meters *meters,
                        struct kube *ret_kube, struct keeper_loop **ret_loop, struct fault *f) {
        struct kube_curl_opts opts = *base;
        int r;

        if (strcmp(o->cert_mode, "none") == 0)
                return 0;
        o->keeper.namespace_ = *o->operator_namespace ? o->operator_namespace : config->namespace_;
        if (!o->keeper.namespace_)
                return fault_set(f, FAULT_INVALID,
                                 "--cert-mode=self-managed needs --operator-namespace");
        opts.component = "certs";
        r = kube_curl_new(&opts, ret_kube, f);
        if (r)
                return r;
        o->keeper.cluster_domain = o->cluster_domain;
        o->keeper.ca_lifetime_s = o->ca_lifetime_ms / 1000;
        o->keeper.leaf_lifetime_s = o->leaf_lifetime_ms / 1000;
        o->keeper.propagation_s = o->cert_propagation_ms / 1000;
        o->keeper.instance = o->instance;
        o->keeper.kube = ret_kube;
        o->keeper.clock = clock_system();
        o->keeper.expiry = meters->cert_expiry;
        return keeper_loop_start(&o->keeper, ret_loop, f);
}

static int run(struct options *o, struct fault *f) {
        CLEANUP(kube_config_done) struct kube_config config = { .server = NULL };
        CLEANUP(meters_free_p) struct meters *meters = NULL;
        CLEANUP(controller_free_p) struct controller *controller = NULL;
        CLEANUP(kube_close) struct kube keeper_kube = { .ops = NULL };
        CLEANUP(keeper_loop_stop_p) struct keeper_loop *keeper = NULL;
        CLEANUP(ops_free_p) struct ops *ops = NULL;
        struct kube_curl_opts kube = {
                .config = &config,
                .program = PROGRAM,
                .clock = clock_system(),
                .random = random_system(),
                .observer = { .request = meters_request, .warning = on_warning },
        };
        int r = kube_config_load(o->kubeconfig, &config, f);

        if (!r)
                r = meters_new(o->workers, &meters, f);
        if (r)
                return r;
        kube.observer.ctx = meters;
        const struct controller_opts controller_opts = {
                .kube = kube,
                .clock = clock_system(),
                .random = random_system(),
                .meters = meters,
                .namespaces = (const char *const *)o->namespaces.items,
                .selector = *o->selector ? o->selector : NULL,
                .workers = o->workers,
                .instance = o->instance,
        };
        r = controller_new(&controller_opts, &controller, f);
        if (r)
                return r;
        const struct ops_check checks[] = {
                { "worker", controller_check_alive, controller, true },
                { "informer-sync", controller_check_synced, controller, false },
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
                r = start_keeper(o, &config, &kube, meters, &keeper_kube, &keeper, f);
        if (!r)
                r = controller_start(controller, f);
        if (!r) {
                series_set(meters->leader, 1);
                log_info("started", LOG_STR("version", DBUPGRADE_VERSION),
                         LOG_STR("server", config.server));
                lifecycle_wait();
        }
        controller_stop(controller);
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
                .cluster_domain = "cluster.local",
                .ca_lifetime_ms = 10 * YEAR_MS,
                .leaf_lifetime_ms = 90 * DAY_MS,
                .cert_propagation_ms = 120000,
                .keeper = {
                        .service_name = "dbupgrade-webhook-service",
                        .serving_secret = "dbupgrade-webhook-cert",
                        .ca_secret = "dbupgrade-webhook-ca",
                        .validating_configuration = "dbupgrade-validating-webhook-configuration",
                        .mutating_configuration = "dbupgrade-mutating-webhook-configuration",
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
        if (curl_global_init(CURL_GLOBAL_DEFAULT))
                return EXIT_FAILURE;
        r = run(&o, &f);
        if (r)
                log_error("cannot go on", LOG_STR("error", f.text));
        else
                log_info("stopped");
        curl_global_cleanup();
        flag_list_done(&o.namespaces);
        return r ? EXIT_FAILURE : EXIT_SUCCESS;
}
