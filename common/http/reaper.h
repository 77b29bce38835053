/* SPDX-License-Identifier: Apache-2.0 */
/* Ends connections that take too long, or that stand in the way of others.
 *
 * libmicrohttpd's own time-out restarts with every byte, so a header or body that drips is open for
 * ever. Here each connection has one deadline, set at each phase; a thread shuts the socket of
 * those past it, and libmicrohttpd then sees a closed connection.
 *
 * In a crowd each new connection ends the one that has gone without an answer for longest: however
 * many stay silent, one that asks at once is served.
 *
 * It also tells of threads that hang: a connection that was ended and is still open a while later
 * has nobody who looks after it.
 *
 * Thread-safe.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "common/base/cleanup.h"

struct clock;
struct fault;
struct reaper;
struct reaper_entry;

/* crowd: with so many connections, those already ended aside, each new one ends another.
 * grace_ms: but none that has gone without an answer for less; the thread ends those when they
 * have. Return: 0, -FAULT_NOMEM, -FAULT_IO. */
int reaper_new(const struct clock *clock, size_t crowd, int64_t grace_ms,
               struct reaper **ret_reaper, struct fault *f) MUST_CHECK;
/* All entries must have been removed. Accepts NULL. */
void reaper_free(struct reaper *reaper);
DEFINE_CLEANUP(struct reaper *, reaper_free)

/* A connection begins: it is ended after within_ms unless reaper_set moves that. The socket must
 * stay open until reaper_remove. Return: NULL when out of memory (then nothing watches it). */
struct reaper_entry *reaper_add(struct reaper *reaper, int fd, int64_t within_ms);
void reaper_set(struct reaper *reaper, struct reaper_entry *entry, int64_t within_ms);
/* It got an answer: likewise, and in a crowd its turn comes last. */
void reaper_served(struct reaper *reaper, struct reaper_entry *entry, int64_t within_ms);
void reaper_remove(struct reaper *reaper, struct reaper_entry *entry);

struct reaper_load {
        size_t connections;
        uint64_t slow;      /* ended past their deadline */
        uint64_t crowded;   /* ended to make room */
        int64_t overdue_ms; /* how long ago the first of those still open had to end; 0: none */
};
struct reaper_load reaper_load(struct reaper *reaper);
