/* SPDX-License-Identifier: Apache-2.0 */
/* Decides the next step for the webhook's self-managed certificates.
 *
 * Pure, level-triggered: from what the two Secrets and the two webhook configurations hold now to
 * one step; the keeper takes it and asks again.
 *
 * The serving certificate is made anew at two thirds of its life by the same CA, so nobody's
 * caBundle has to change for it. A CA at two thirds of its life is replaced in steps, so that at no
 * moment a serving certificate meets a client that does not trust its CA:
 *  1. a new CA signs from now on; both are trusted: the bundle goes to the webhook configurations;
 *  2. when every API server has seen that, the serving certificate is made by the new CA;
 *  3. when every webhook serves that, the old CA is trusted no longer.
 * "When" is a span, propagation_s: the kubelet needs up to 90 s for a mounted Secret.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

enum renew_state {
        RENEW_ABSENT, /* there is no such Secret, or it is empty */
        RENEW_BROKEN, /* unreadable, key and certificate differ, signed by a CA that is not
                         trusted, other names */
        RENEW_BY_OLD, /* serving: good, by the CA that is being replaced */
        RENEW_GOOD,
};

struct renew_pair {
        enum renew_state state;
        int64_t issued_s, not_after_s; /* Unix time, when BY_OLD or GOOD */
};

enum renew_bundle {
        RENEW_NO_CONFIGURATION, /* there is no such webhook configuration: nothing to fill in */
        RENEW_OTHER_BUNDLE,     /* caBundle of a webhook of it is absent or another */
        RENEW_OUR_BUNDLE,
};

#define RENEW_CONFIGURATIONS 2

struct renew_input {
        struct renew_pair ca, serving;
        bool has_old; /* the bundle holds the CA that is being replaced, too */
        enum renew_bundle bundles[RENEW_CONFIGURATIONS];
        int64_t now_s, propagation_s;
};

enum renew_action {
        RENEW_WAIT,
        RENEW_WRITE_CA,      /* make a CA and write its Secret (create, or replace what is there) */
        RENEW_WRITE_SERVING, /* make a serving pair and write its Secret */
        RENEW_PATCH_BUNDLE,  /* of configuration `which` */
        RENEW_DROP_OLD,      /* take the replaced CA out of the bundle */
};

struct renew_step {
        enum renew_action action;
        int which;
        int64_t again_s; /* RENEW_WAIT: seconds until the next look because of time */
};

/* A CA and a serving certificate that live shorter than this many propagations could expire in the
 * middle of a replacement. */
#define RENEW_PROPAGATIONS_MIN 6

struct renew_step renew_decide(const struct renew_input *in);

/* Whether so little of its life is left that somebody has to know: it should have been replaced
 * long ago. */
bool renew_is_late(const struct renew_pair *pair, int64_t now_s);
