/* SPDX-License-Identifier: Apache-2.0 */
/* One credential of a kube_config, kept in memory and read again when its file may have changed:
 * the kubelet rotates tokens and certificates under a running process. Belongs to one thread. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "common/base/cleanup.h"
#include "common/base/strbuf.h"

struct fault;
struct kube_source;

/* client-go caches tokens for a minute, too; the kubelet replaces one long before it expires. */
#define KUBE_CREDENTIAL_MAX_AGE_MS 60000
/* A CA bundle of some hundred certificates. */
#define KUBE_CREDENTIAL_MAX_BYTES (1024 * 1024)

struct kube_credential {
        const struct kube_source *source; /* borrowed */
        struct strbuf bytes;              /* without white space at the end */
        int64_t read_ms;                  /* when it was last tried */
        bool loaded;
};

enum {
        KUBE_CREDENTIAL_E_STALE = 1, /* reading again failed: the old content stays; f says why */
};

void kube_credential_init(struct kube_credential *c, const struct kube_source *source);
/* Wipes. */
void kube_credential_done(struct kube_credential *c);

/* Whether there is such a credential at all. */
bool kube_credential_present(const struct kube_credential *c);

/* Makes bytes current. Return: 0, KUBE_CREDENTIAL_E_STALE, -FAULT_IO (never read yet, or empty),
 * -FAULT_NOMEM. */
int kube_credential_refresh(struct kube_credential *c, int64_t now_ms, struct fault *f) MUST_CHECK;

/* Has the next refresh read the file whatever its age. */
void kube_credential_expire(struct kube_credential *c);
