/* SPDX-License-Identifier: Apache-2.0 */
/* Where the API server is and how to prove who we are.
 *
 * Order, as kubectl's and client-go's: --kubeconfig, $KUBECONFIG, the pod's service account,
 * ~/.kube/config. Of a kubeconfig a closed list of members is read; what would be needed to reach
 * this cluster but is not supported (exec, auth-provider, proxy-url, tls-server-name,
 * insecure-skip-tls-verify, impersonation, passwords, several files) is refused by name, for
 * ignoring it would connect elsewhere or as somebody else. A CA is required: the machine's list of
 * public CAs is never trusted silently.
 *
 * Immutable after loading: may be read by several threads. No text of a fault holds a secret.
 */
#pragma once

#include <stddef.h>

#include "common/base/cleanup.h"

struct fault;
struct strbuf;

/* Bytes, or a file that is read again while the process runs. At most one of the two is set; none:
 * absent. */
struct kube_source {
        char *path; /* absolute, or relative to the working directory */
        char *data; /* NUL-terminated; wiped when freed */
        size_t len;
};

struct kube_config {
        char *server;     /* "https://host[:port][/prefix]", without a '/' at the end */
        char *namespace_; /* the pod's, or the context's; NULL when none is known */
        struct kube_source ca;
        struct kube_source token;
        struct kube_source client_cert, client_key; /* both or none */
};

#define KUBE_SERVICE_ACCOUNT_DIR "/var/run/secrets/kubernetes.io/serviceaccount"

/* Wipes; accepts one of zeros, may be called twice. */
void kube_config_done(struct kube_config *config);

/* Follows the order above; reads environment and files. path: of the flag; NULL or "": not given.
 * ret_config must be zero or done. Return: 0, -FAULT_INVALID (what is wrong with which file),
 * -FAULT_IO, -FAULT_NOMEM. */
int kube_config_load(const char *path, struct kube_config *ret_config, struct fault *f) MUST_CHECK;

/* The pod's own. host and port: of KUBERNETES_SERVICE_HOST and _PORT (an IPv6 address gets its
 * brackets here); dir holds token, ca.crt and namespace. */
int kube_config_in_cluster(const char *host, const char *port, const char *dir,
                           struct kube_config *ret_config, struct fault *f) MUST_CHECK;

/* Reads the text of a kubeconfig (at most 1 MiB); relative paths in it are relative to dir. Pure.
 */
int kube_config_parse(const char *text, size_t len, const char *dir, struct kube_config *ret_config,
                      struct fault *f) MUST_CHECK;

/* Reads a whole file into out, up to out->max. Return: 0, -FAULT_IO (it is too long, too),
 * -FAULT_NOMEM. */
int kube_config_read_file(const char *path, struct strbuf *out, struct fault *f) MUST_CHECK;
