/* SPDX-License-Identifier: Apache-2.0 */
/* Leader election by a Lease (coordination.k8s.io/v1), interoperable with client-go's.
 *
 * A state machine without I/O: it says what to do next and is told the answer. Times are
 * milliseconds of CLOCK_BOOTTIME, for a machine that slept has lost its lease meanwhile; wall time
 * is only written for people. Whether another holder's lease has expired is judged by our own clock
 * since we last saw the record change, never by the times in it: clocks differ.
 *
 *     lease_next(l, now, wall, &step)                    LEASE_WAIT: wait, and ask again
 *                                                        LEASE_LOST: stop acting at once
 *                                                        otherwise send step's request, and
 *     lease_answer(l, now, result, json, len, random)    what kube_request returned
 *
 * Stricter than client-go in one point: a leader whose Lease somebody deletes has lost, for a
 * candidate may take the new one at once.
 *
 * Not shared between threads.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/cleanup.h"
#include "common/base/strbuf.h"

struct fault;

struct lease_config {
        const char *namespace_, *name; /* borrowed, as identity */
        const char *identity;          /* "hostname_uuid": another one in each process */
        int64_t duration_ms;           /* others wait that long after the last change: 15000 */
        int64_t renew_deadline_ms;     /* we stop that long after our last renewal: 10000 */
        int64_t retry_ms;              /* between two renewals or attempts: 2000 */
};

/* duration > renew deadline > 1.2 retry, so that a leader stops before others begin, and has more
 * than one try. Return: 0, -FAULT_INVALID. */
int lease_config_check(const struct lease_config *config, struct fault *f) MUST_CHECK;

enum lease_action {
        LEASE_WAIT,
        LEASE_READ,   /* GET */
        LEASE_CREATE, /* POST body to the collection */
        LEASE_UPDATE, /* PUT body */
        LEASE_LOST,
};

struct lease_step {
        enum lease_action action;
        int64_t wait_ms;    /* of LEASE_WAIT */
        int64_t timeout_ms; /* of a request */
        const char *body;   /* of LEASE_CREATE and LEASE_UPDATE; valid until the next call */
        size_t body_len;
};

#define LEASE_HOLDER_SIZE 512 /* hostname (64) and UUID (36) take 101; others may take more */
#define LEASE_TIME_SIZE   64  /* RFC 3339 with any fraction */

struct lease {
        const struct lease_config *config;
        bool leading;
        bool lost;
        int64_t renewed_ms; /* when the request was sent by which we hold it */

        /* The record as last seen. */
        bool exists;
        bool fresh;             /* need not be read again before a write */
        struct strbuf metadata; /* JSON, goes back as it came */
        struct strbuf spec;     /* JSON, to see a change */
        char holder[LEASE_HOLDER_SIZE];
        char acquire_time[LEASE_TIME_SIZE];
        int64_t transitions;
        int64_t valid_ms;    /* how long the holder's claim holds after a change */
        int64_t observed_ms; /* when we saw it change */

        enum lease_action action; /* under way */
        int64_t request_ms;       /* when it began */
        bool just_read;           /* this attempt began with a read */
        int64_t next_ms;          /* no request before */
        struct strbuf body;
};

void lease_init(struct lease *l, const struct lease_config *config);
void lease_done(struct lease *l);

/* Return: 0, -FAULT_NOMEM (wait a little and ask again; the deadline runs). */
int lease_next(struct lease *l, int64_t now_ms, int64_t wall_us, struct lease_step *ret_step,
               struct fault *f) MUST_CHECK;

/* result: of kube_request; json: the checked answer of a success; random: any number. */
void lease_answer(struct lease *l, int64_t now_ms, int result, const char *json, size_t len,
                  uint32_t random);

/* Gives up leadership of one's own accord: no writes may be under way any more. The step is the
 * update that lets others begin at once, or LEASE_LOST when there is nothing to give back. Return:
 * 0, -FAULT_NOMEM. */
int lease_release(struct lease *l, int64_t now_ms, int64_t wall_us, struct lease_step *ret_step,
                  struct fault *f) MUST_CHECK;

/* Until when we may act as the leader; 0 when we are not. */
int64_t lease_deadline_ms(const struct lease *l);
