/* SPDX-License-Identifier: Apache-2.0 */
/* Decides the next step for the webhook's self-managed certificates.
 *
 * Pure, level-triggered: from what the two Secrets and the two webhook configurations hold now to
 * one step; the keeper takes it and asks again.
 *
 * The serving certificate is made anew at two thirds of its life by the same CA, so nobody's
 * caBundle has to change for it. A CA of which a third of the life is left is replaced together
 * with the serving certificate.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

enum renew_state {
        RENEW_ABSENT, /* there is no such Secret, or it is empty */
        RENEW_BROKEN, /* unreadable, key and certificate differ, not signed by the CA, other names
                       */
        RENEW_GOOD,
};

struct renew_pair {
        enum renew_state state;
        int64_t not_before_s, not_after_s; /* Unix time, when GOOD */
};

enum renew_bundle {
        RENEW_NO_CONFIGURATION, /* there is no such webhook configuration: nothing to fill in */
        RENEW_OTHER_BUNDLE,     /* caBundle of a webhook of it is absent or another */
        RENEW_OUR_BUNDLE,
};

#define RENEW_CONFIGURATIONS 2

struct renew_input {
        struct renew_pair ca, serving;
        enum renew_bundle bundles[RENEW_CONFIGURATIONS];
        int64_t now_s;
};

enum renew_action {
        RENEW_WAIT,
        RENEW_WRITE_CA,      /* make a CA and write its Secret (create, or replace what is there) */
        RENEW_WRITE_SERVING, /* make a serving pair and write its Secret */
        RENEW_PATCH_BUNDLE,  /* of configuration `which` */
};

struct renew_step {
        enum renew_action action;
        int which;
        int64_t again_s; /* RENEW_WAIT: seconds until the next look because of time */
};

struct renew_step renew_decide(const struct renew_input *in);
