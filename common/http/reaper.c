/* SPDX-License-Identifier: Apache-2.0 */
#include "common/http/reaper.h"

#include <pthread.h>
#include <stdbool.h>
#include <sys/socket.h>
#include <time.h>
#include <utlist.h>

#include "common/base/clock.h"
#include "common/base/fault.h"

/* How late a deadline may be noticed. */
#define REAPER_PERIOD_MS 500

struct reaper_entry {
        int fd;
        int64_t deadline_ms; /* monotonic; when it was ended, if that was earlier */
        int64_t since_ms;    /* without an answer; monotonic */
        bool ended;
        struct reaper_entry *prev, *next;
};

struct reaper {
        const struct clock *clock;
        size_t crowd;
        int64_t grace_ms;
        pthread_mutex_t mutex;
        pthread_cond_t stop; /* on CLOCK_MONOTONIC */
        bool stopping;
        struct reaper_entry *entries; /* the one without an answer for longest comes first */
        size_t count;
        size_t live; /* those not ended */
        uint64_t slow, crowded;
        pthread_t thread;
};

/* The lock keeps the descriptor from being closed, and used again, in between. */
static void end_locked(struct reaper *reaper, struct reaper_entry *entry) {
        (void)shutdown(entry->fd, SHUT_RDWR);
        entry->ended = true;
        reaper->live--;
}

/* Ends the one without an answer for longest, if that has had its time. Return: whether it did. */
static bool make_room_locked(struct reaper *reaper) {
        int64_t now_ms = clock_mono_ms(reaper->clock);
        struct reaper_entry *entry;

        DL_FOREACH(reaper->entries, entry) {
                if (entry->ended)
                        continue;
                if (now_ms - entry->since_ms < reaper->grace_ms)
                        return false;
                end_locked(reaper, entry);
                entry->deadline_ms = now_ms;
                reaper->crowded++;
                return true;
        }
        return false;
}

static void reap_locked(struct reaper *reaper) {
        int64_t now_ms = clock_mono_ms(reaper->clock);
        struct reaper_entry *entry;

        DL_FOREACH(reaper->entries, entry) {
                if (entry->ended || now_ms < entry->deadline_ms)
                        continue;
                end_locked(reaper, entry);
                reaper->slow++;
        }
        /* Those that were too young when the others came. */
        while (reaper->live > reaper->crowd && make_room_locked(reaper))
                continue;
}

static void *reaper_main(void *ctx) {
        struct reaper *reaper = ctx;

        pthread_mutex_lock(&reaper->mutex);
        while (!reaper->stopping) {
                struct timespec until;

                clock_gettime(CLOCK_MONOTONIC, &until);
                until.tv_nsec += REAPER_PERIOD_MS * 1000000L;
                if (until.tv_nsec >= 1000000000L) {
                        until.tv_sec++;
                        until.tv_nsec -= 1000000000L;
                }
                /* Without connections it sleeps until there is one. */
                if (reaper->entries)
                        (void)pthread_cond_timedwait(&reaper->stop, &reaper->mutex, &until);
                else
                        (void)pthread_cond_wait(&reaper->stop, &reaper->mutex);
                reap_locked(reaper);
        }
        pthread_mutex_unlock(&reaper->mutex);
        return NULL;
}

int reaper_new(const struct clock *clock, size_t crowd, int64_t grace_ms,
               struct reaper **ret_reaper, struct fault *f) {
        CLEANUP(free_p) struct reaper *reaper = calloc(1, sizeof(*reaper));
        pthread_condattr_t attributes;
        int error;

        if (!reaper)
                return fault_set(f, FAULT_NOMEM, "out of memory");
        reaper->clock = clock;
        reaper->crowd = crowd;
        reaper->grace_ms = grace_ms;
        pthread_mutex_init(&reaper->mutex, NULL);
        pthread_condattr_init(&attributes);
        pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
        pthread_cond_init(&reaper->stop, &attributes);
        pthread_condattr_destroy(&attributes);
        error = pthread_create(&reaper->thread, NULL, reaper_main, reaper);
        if (error)
                return fault_set_errno(f, FAULT_IO, error, "start a thread");
        *ret_reaper = TAKE(reaper);
        return 0;
}

void reaper_free(struct reaper *reaper) {
        if (!reaper)
                return;
        pthread_mutex_lock(&reaper->mutex);
        reaper->stopping = true;
        pthread_cond_signal(&reaper->stop);
        pthread_mutex_unlock(&reaper->mutex);
        pthread_join(reaper->thread, NULL);
        pthread_cond_destroy(&reaper->stop);
        pthread_mutex_destroy(&reaper->mutex);
        free(reaper);
}

struct reaper_entry *reaper_add(struct reaper *reaper, int fd, int64_t within_ms) {
        struct reaper_entry *entry = calloc(1, sizeof(*entry));

        if (!entry)
                return NULL;
        entry->fd = fd;
        entry->since_ms = clock_mono_ms(reaper->clock);
        entry->deadline_ms = entry->since_ms + within_ms;
        pthread_mutex_lock(&reaper->mutex);
        /* Those already ended make room by themselves: to end another for each that comes meanwhile
         * would strike the very ones that ask at once. */
        if (reaper->live >= reaper->crowd)
                (void)make_room_locked(reaper);
        DL_APPEND(reaper->entries, entry);
        reaper->live++;
        if (++reaper->count == 1)
                pthread_cond_signal(&reaper->stop);
        pthread_mutex_unlock(&reaper->mutex);
        return entry;
}

void reaper_set(struct reaper *reaper, struct reaper_entry *entry, int64_t within_ms) {
        int64_t deadline_ms = clock_mono_ms(reaper->clock) + within_ms;

        if (!entry)
                return;
        pthread_mutex_lock(&reaper->mutex);
        if (!entry->ended)
                entry->deadline_ms = deadline_ms;
        pthread_mutex_unlock(&reaper->mutex);
}

void reaper_served(struct reaper *reaper, struct reaper_entry *entry, int64_t within_ms) {
        int64_t now_ms = clock_mono_ms(reaper->clock);

        if (!entry)
                return;
        pthread_mutex_lock(&reaper->mutex);
        entry->since_ms = now_ms;
        if (!entry->ended)
                entry->deadline_ms = now_ms + within_ms;
        DL_DELETE(reaper->entries, entry);
        DL_APPEND(reaper->entries, entry);
        pthread_mutex_unlock(&reaper->mutex);
}

void reaper_remove(struct reaper *reaper, struct reaper_entry *entry) {
        if (!entry)
                return;
        pthread_mutex_lock(&reaper->mutex);
        DL_DELETE(reaper->entries, entry);
        reaper->count--;
        if (!entry->ended)
                reaper->live--;
        pthread_mutex_unlock(&reaper->mutex);
        free(entry);
}

/* How far the most overdue connection is past its deadline. */
static int64_t overdue_locked(const struct reaper *reaper) {
        int64_t now_ms = clock_mono_ms(reaper->clock), most_ms = 0;
        const struct reaper_entry *entry;

        DL_FOREACH(reaper->entries, entry) {
                if (now_ms - entry->deadline_ms > most_ms)
                        most_ms = now_ms - entry->deadline_ms;
        }
        return most_ms;
}

struct reaper_load reaper_load(struct reaper *reaper) {
        struct reaper_load load;

        pthread_mutex_lock(&reaper->mutex);
        load = (struct reaper_load){
                .connections = reaper->count,
                .slow = reaper->slow,
                .crowded = reaper->crowded,
                .overdue_ms = overdue_locked(reaper),
        };
        pthread_mutex_unlock(&reaper->mutex);
        return load;
}
