/* SPDX-License-Identifier: Apache-2.0 */
/* The serving certificate, read from files and again when they change.
 *
 * A thread looks when the directory changes (inotify: the kubelet swaps the ..data link) and every
 * 10 s. A pair that cannot be used (unreadable, key and certificate differ) is logged once and the
 * old one stays. Handshakes under way keep the generation they began with: old ones are freed a
 * minute later.
 *
 * libmicrohttpd's certificate callback has no user pointer, so there is one store in a process.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/cleanup.h"

struct clock;
struct fault;
struct series;
struct tls_store;

struct tls_store_opts {
        const char *cert_path, *key_path; /* files in one directory; borrowed */
        const struct clock *clock;
        struct series *expiry;         /* gauge, Unix time; NULL: none */
        struct series *reads, *errors; /* counters: looks at the files, those that failed */
};

/* Reads the pair and starts the thread. Files that are not there yet are no error: handshakes fail
 * until they come. Return: 0, -FAULT_IO, -FAULT_NOMEM. */
int tls_store_new(const struct tls_store_opts *opts, struct tls_store **ret_store, struct fault *f)
        MUST_CHECK;
/* No server may use it any more. Accepts NULL. */
void tls_store_free(struct tls_store *store);
DEFINE_CLEANUP(struct tls_store *, tls_store_free)

/* The value of MHD_OPTION_HTTPS_CERT_CALLBACK. */
void *tls_store_callback(void);

/* Fails while there is no certificate, or when it is not valid now: an ops_check. Thread-safe. */
int tls_store_check(void *store, struct fault *f) MUST_CHECK;

/* Whether this certificate (DER) is the leaf that new handshakes get. Thread-safe. */
bool tls_store_serves(const struct tls_store *store, const void *der, size_t len);
