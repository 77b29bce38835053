/* SPDX-License-Identifier: Apache-2.0 */
/* Starts kubectl: the only way to the cluster, since only it logs in as its user does (exec
 * plugins, proxies, contexts, defaults). No shell is involved. Several calls may run at a time.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "common/base/cleanup.h"

struct args_through;
struct fault;
struct strbuf;

enum kubectl_output {
        KUBECTL_READ,      /* stdout is read here, stderr goes to the user */
        KUBECTL_READ_BOTH, /* both are read here, in one stream */
        KUBECTL_PASS,      /* both go to the user */
        KUBECTL_SILENT,    /* stdout is read here, stderr goes nowhere */
};

/* A kubectl under way. */
struct kubectl_call {
        pid_t pid; /* 0: none */
        int fd;    /* what it prints; -1: not read here */
};
#define KUBECTL_CALL_INIT                                                                          \
        { .pid = 0, .fd = -1 }

/* A command has fewer words. */
#define KUBECTL_WORDS_MAX 16

/* Starts `kubectl WORDS... THROUGH...`; words end with NULL. Return: 0, -FAULT_IO. */
int kubectl_start(struct kubectl_call *ret_call, const char *const *words,
                  const struct args_through *through, enum kubectl_output output, struct fault *f)
        MUST_CHECK;

enum {
        KUBECTL_E_LATE = 1, /* the deadline came first */
};

/* Waits until there is something to read, at the end of what it prints too. deadline_ms: of the
 * monotonic clock; 0 for none. Return: 0, KUBECTL_E_LATE, -FAULT_IO. */
int kubectl_poll(const struct kubectl_call *call, int64_t deadline_ms, struct fault *f) MUST_CHECK;

/* Reads to the end what it prints. Return: 0, KUBECTL_E_LATE, -FAULT_IO, -FAULT_NOMEM past out's
 * cap. */
int kubectl_read(struct kubectl_call *call, int64_t deadline_ms, struct strbuf *out,
                 struct fault *f) MUST_CHECK;

/* Waits for its end. *ret_well: it exited with 0. Return: 0, -FAULT_IO. */
int kubectl_end(struct kubectl_call *call, bool *ret_well, struct fault *f) MUST_CHECK;

/* Ends it when it still runs. May be called twice. */
void kubectl_call_done(struct kubectl_call *call);
