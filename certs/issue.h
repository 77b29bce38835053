/* SPDX-License-Identifier: Apache-2.0 */
/* Makes and reads X.509 certificates: a CA of its own and the webhook's serving certificate.
 *
 * ECDSA P-256 with SHA-256, X.509 v3, random serial numbers of 127 bits, valid from an hour before
 * now since clocks differ (for short lifetimes, from a quarter of them before). Keys are PKCS#8 PEM
 * and wiped when released. Thread-safe.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "common/base/cleanup.h"

struct fault;

/* A certificate (or several) and its key as PEM; heap. */
struct cert_pair {
        char *cert, *key;
};

/* Wipes the key; may be called twice. */
void cert_pair_done(struct cert_pair *pair);

/* A self-signed CA (pathlen 0). Its name holds the time, so that chains of two generations are
 * never mixed up. now_s: Unix time. Return: 0, -FAULT_NOMEM, -FAULT_BUG with OpenSSL's words. */
int issue_ca(int64_t now_s, int64_t lifetime_s, struct cert_pair *ret_ca, struct fault *f)
        MUST_CHECK;

/* A server certificate for dns_names (NULL-terminated, at least one), signed by ca; it never
 * outlives the CA. Return: likewise, -FAULT_INVALID when ca cannot be read. */
int issue_leaf(const struct cert_pair *ca, const char *const *dns_names, int64_t now_s,
               int64_t lifetime_s, struct cert_pair *ret_leaf, struct fault *f) MUST_CHECK;

/* What a pair is good for. */
struct cert_facts {
        int64_t issued_s, not_after_s; /* Unix time, of the first certificate */
};

/* Reads the first certificate of a pair and checks that the key belongs to it; with ca_cert, also
 * that its first certificate signed it and that it names all of dns_names (NULL-terminated).
 * issued_s is of use for pairs made here only. Return: 0, or -FAULT_INVALID with the reason. */
int issue_check(const struct cert_pair *pair, const char *ca_cert, const char *const *dns_names,
                struct cert_facts *ret_facts, struct fault *f) MUST_CHECK;
