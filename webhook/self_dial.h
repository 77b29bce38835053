/* SPDX-License-Identifier: Apache-2.0 */
/* Calls the server as a client would: the proof that it answers, and with which certificate.
 *
 * A handshake over the loopback, with the certificate that it presents compared to the one that
 * tls_store holds. It tries twice, since a certificate may change in between, or a crowd may push
 * the call out. What it found counts for a second: however often it is asked, it calls no more.
 *
 * Thread-safe.
 */
#pragma once

#include <stdint.h>

#include "common/base/cleanup.h"

struct clock;
struct fault;
struct self_dial;
struct tls_store;

struct self_dial_opts {
        uint16_t port;
        const struct tls_store *tls; /* borrowed */
        const struct clock *clock;
        int64_t within_ms; /* for each try */
};

/* Return: 0, -FAULT_NOMEM. */
int self_dial_new(const struct self_dial_opts *opts, struct self_dial **ret_dial, struct fault *f)
        MUST_CHECK;
/* Accepts NULL. */
void self_dial_free(struct self_dial *dial);
DEFINE_CLEANUP(struct self_dial *, self_dial_free)

/* An ops_check: takes up to twice within_ms. Return: 0, -FAULT_IO saying what failed. */
int self_dial_check(void *dial, struct fault *f) MUST_CHECK;
