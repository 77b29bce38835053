/* SPDX-License-Identifier: Apache-2.0 */
/* Keeps the webhook's certificates: two Secrets and the caBundle of both webhook configurations.
 *
 * The shell around renew.h: reads what is there, takes the one next step, and looks again, until
 * nothing is to be done. Safe with several replicas: every write carries the resourceVersion that
 * was read, a Secret that somebody else created first is read again.
 */
#pragma once

#include <stdint.h>

#include "certs/renew.h"
#include "common/base/cleanup.h"

struct clock;
struct fault;
struct kube;
struct series;

enum { KEEPER_VALIDATING, KEEPER_MUTATING };

/* The path of the collection that a webhook configuration is in. Static storage. */
const char *keeper_collection(int which);

struct keeper_opts {
        const char *namespace_;
        const char *service_name;   /* of the webhook */
        const char *cluster_domain; /* "cluster.local" */
        const char *serving_secret; /* kubernetes.io/tls, with ca.crt; mounted by the webhook */
        const char *ca_secret;      /* kubernetes.io/tls; only the reconciler may read it */
        const char *configurations[RENEW_CONFIGURATIONS]; /* names, in the order above */
        int64_t ca_lifetime_s, leaf_lifetime_s;
        int64_t propagation_s;   /* see renew.h; RENEW_PROPAGATIONS_MIN times it fit into both */
        const char *instance;    /* reportingInstance of events: the Pod's name */
        const struct kube *kube; /* of the keeper's thread */
        const struct clock *clock;
        struct series *expiry; /* gauge: when the serving certificate ends; NULL: none */
};

enum {
        KEEPER_E_RACED = 1, /* somebody else wrote what was read: look again with backoff */
};

/* Takes at most one step. All pointers of opts are borrowed during the call. Return: 0 and in
 * *ret_again_ms when to look again (0: at once, for a step was taken), KEEPER_E_RACED, or a fault
 * (look again with backoff). */
int keeper_pass(const struct keeper_opts *opts, int64_t *ret_again_ms, struct fault *f) MUST_CHECK;
