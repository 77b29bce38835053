/* SPDX-License-Identifier: Apache-2.0 */
#include "common/kube/event_queue.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

/* Without this uthash ends the process when it is out of memory. */
#define HASH_NONFATAL_OOM 1
#include <uthash.h>
#include <utlist.h>

#include "common/base/strbuf.h"

/* As client-go has them, but for the refresh (30 min there), the first wait (10 s there) and the
 * number of those remembered (no limit there). */
#define SERIES_END_MS     360000
#define SERIES_REFRESH_MS 60000
#define SERIES_MAX        1024
#define TRIES_MAX         12
#define BACKOFF_FIRST_MS  1000
#define BACKOFF_LAST_MS   30000

/* "uid", reason, action, type and note of one that repeats. */
#define IDENTITY_MAX (8UL * 1024)

struct item {
        struct event event; /* its strings are in texts */
        struct event_when when;
        char *texts;
        char *last_key; /* the newest occurrence of a series; NULL: event.key */
        bool posted;    /* there is an event that can be patched */
        bool waiting;   /* in the list of what is to be posted */
        int64_t told;   /* the count that was sent last */
        int64_t told_ms, seen_ms;
        struct item *prev, *next;
        char *identity; /* of one that repeats: its place in `series` */
        UT_hash_handle hh;
};

struct event_queue {
        size_t max, waiting_count;
        struct item *waiting; /* to be posted, in order */
        struct item *series; /* by identity: all that repeat; uthash keeps the order of insertion */
        struct item *sending; /* between next and done */
        int64_t sending_count;
        unsigned tries;
        int64_t hold_ms; /* nothing before */
        bool hurry;
};

struct event_queue *event_queue_new(size_t max) {
        struct event_queue *q = calloc(1, sizeof(*q));

        if (q)
                q->max = max;
        return q;
}

static void item_free(struct item *item) {
        free(item->texts);
        free(item->last_key);
        free(item->identity);
        free(item);
}

static void drop(struct event_queue *q, struct item *item) {
        if (item->waiting) {
                DL_DELETE(q->waiting, item);
                q->waiting_count--;
        }
        if (item->identity)
                HASH_DEL(q->series, item);
        item_free(item);
}

void event_queue_free(struct event_queue *q) {
        struct item *item, *tmp;

        if (!q)
                return;
        DL_FOREACH_SAFE(q->waiting, item, tmp) {
                drop(q, item);
        }
        HASH_ITER (hh, q->series, item, tmp) {
                drop(q, item);
        }
        free(q);
}

/* All strings of an event behind each other in one allocation. Return: false without memory. */
static bool copy_event(struct item *item, const struct event *from) {
        struct event *to = &item->event;
        const char **const places[] = {
                &to->regarding.api_version,
                &to->regarding.kind,
                &to->regarding.namespace_,
                &to->regarding.name,
                &to->regarding.uid,
                &to->regarding.resource_version,
                &to->reason,
                &to->action,
                &to->note,
                &to->key,
        };
        const size_t count = sizeof(places) / sizeof(places[0]);
        size_t size = 0;
        char *at;

        *to = *from;
        for (size_t i = 0; i < count; i++)
                size += strlen(*places[i]) + 1;
        at = item->texts = malloc(size);
        if (!at)
                return false;
        for (size_t i = 0; i < count; i++) {
                size_t len = strlen(*places[i]) + 1;

                *places[i] = memcpy(at, *places[i], len);
                at += len;
        }
        return true;
}

/* Return: heap; NULL when out of memory. */
static char *identity_of(const struct event *event) {
        CLEANUP(strbuf_done) struct strbuf text = STRBUF_INIT(IDENTITY_MAX);
        char *taken;

        /* No UID, reason or action has a line break in it. */
        strbuf_printf(&text, "%s\n%s\n%s\n%d\n%s", event->regarding.uid, event->reason,
                      event->action, event->warning, event->note);
        return strbuf_take(&text, &taken, NULL) ? NULL : taken;
}

/* Forgets series that have ended, and where there are too many, those that began first. */
static void limit_series(struct event_queue *q, int64_t now_ms) {
        struct item *item, *tmp;

        HASH_ITER (hh, q->series, item, tmp) {
                bool ended =
                        now_ms - item->seen_ms >= SERIES_END_MS && item->when.count == item->told;

                if (!ended && HASH_COUNT(q->series) <= SERIES_MAX)
                        return;
                if (!item->waiting && item != q->sending)
                        drop(q, item);
        }
}

/* Return: NULL when out of memory. */
static struct item *item_new(const struct event *event, int64_t wall_us, int64_t now_ms) {
        struct item *item = calloc(1, sizeof(*item));

        if (!item || !copy_event(item, event)) {
                free(item);
                return NULL;
        }
        item->when = (struct event_when){ .first_us = wall_us, .last_us = wall_us, .count = 1 };
        item->seen_ms = now_ms;
        return item;
}

/* Makes an item the beginning of a series; takes *identity. Return: false when out of memory. */
static bool begin_series(struct event_queue *q, struct item *item, char **identity) {
        if (!*identity)
                return false;
        HASH_ADD_KEYPTR(hh, q->series, *identity, strlen(*identity), item);
        if (!item->hh.tbl)
                return false;
        item->identity = TAKE(*identity);
        return true;
}

static enum event_taken add_new(struct event_queue *q, const struct event *event, char **identity,
                                int64_t wall_us, int64_t now_ms) {
        struct item *item = q->waiting_count < q->max ? item_new(event, wall_us, now_ms) : NULL;

        if (!item)
                return EVENT_DROPPED;
        if (event->repeats && !begin_series(q, item, identity)) {
                item_free(item);
                return EVENT_DROPPED;
        }
        item->waiting = true;
        DL_APPEND(q->waiting, item);
        q->waiting_count++;
        limit_series(q, now_ms);
        return EVENT_QUEUED;
}

static enum event_taken count_up(struct item *item, const char *key, int64_t wall_us,
                                 int64_t now_ms) {
        char *copy;

        if (strcmp(item->last_key ? item->last_key : item->event.key, key) == 0)
                return EVENT_KNOWN;
        copy = strdup(key);
        if (!copy)
                return EVENT_DROPPED;
        free(item->last_key);
        item->last_key = copy;
        item->when.count++;
        item->when.last_us = wall_us;
        item->seen_ms = now_ms;
        return EVENT_REPEATED;
}

enum event_taken event_queue_add(struct event_queue *q, const struct event *event, int64_t wall_us,
                                 int64_t now_ms) {
        CLEANUP(free_p) char *identity = event->repeats ? identity_of(event) : NULL;
        struct item *item = NULL;

        if (identity)
                HASH_FIND_STR(q->series, identity, item);
        if (item && (now_ms - item->seen_ms < SERIES_END_MS || item->waiting || item == q->sending))
                return count_up(item, event->key, wall_us, now_ms);
        if (item)
                drop(q, item);
        return add_new(q, event, &identity, wall_us, now_ms);
}

/* A series that has grown since it was told of; *next_ms is brought forward to when it is due. */
static struct item *grown_series(struct event_queue *q, int64_t now_ms, int64_t *next_ms) {
        struct item *item, *tmp;

        HASH_ITER (hh, q->series, item, tmp) {
                /* The second is told at once: from then on people know that it repeats. */
                int64_t due_ms = item->told == 1 ? 0 : item->told_ms + SERIES_REFRESH_MS;

                if (item->waiting || item->when.count == item->told)
                        continue;
                if (q->hurry || due_ms <= now_ms)
                        return item;
                if (due_ms < *next_ms)
                        *next_ms = due_ms;
        }
        return NULL;
}

bool event_queue_next(struct event_queue *q, int64_t now_ms, struct event_task *ret_task,
                      int64_t *ret_next_ms) {
        struct item *item = q->waiting;

        assert(!q->sending);
        *ret_next_ms = INT64_MAX;
        if (!item)
                item = grown_series(q, now_ms, ret_next_ms);
        if (item && now_ms < q->hold_ms) {
                *ret_next_ms = q->hold_ms;
                return false;
        }
        if (!item)
                return false;
        q->sending = item;
        q->sending_count = item->when.count;
        *ret_task = (struct event_task){
                .event = &item->event,
                .when = item->when,
                .patch = item->posted,
        };
        return true;
}

/* Jitter of up to a quarter. */
static int64_t backoff_ms(unsigned tries, uint32_t random) {
        int64_t ms = tries < 6 ? (int64_t)BACKOFF_FIRST_MS << (tries - 1) : BACKOFF_LAST_MS;

        return ms + (int64_t)(random % 256) * ms / 1024;
}

static void sent(struct event_queue *q, struct item *item, int64_t now_ms) {
        if (!item->identity) {
                drop(q, item);
                return;
        }
        if (item->waiting) {
                DL_DELETE(q->waiting, item);
                q->waiting_count--;
                item->waiting = false;
        }
        item->posted = true;
        item->told = q->sending_count;
        item->told_ms = now_ms;
}

bool event_queue_done(struct event_queue *q, int64_t now_ms, uint32_t random,
                      enum event_result result) {
        struct item *item = q->sending;

        assert(item);
        q->sending = NULL;
        if (result == EVENT_LATER && ++q->tries < TRIES_MAX) {
                q->hold_ms = now_ms + backoff_ms(q->tries, random);
                return false;
        }
        q->tries = 0;
        q->hold_ms = 0;
        switch (result) {
        case EVENT_SENT:
                sent(q, item, now_ms);
                return false;
        case EVENT_GONE:
                item->posted = false;
                return false;
        case EVENT_LATER:
        case EVENT_REFUSED:
                break;
        }
        drop(q, item);
        return true;
}

void event_queue_hurry(struct event_queue *q) {
        q->hurry = true;
        q->hold_ms = 0;
}

size_t event_queue_waiting(const struct event_queue *q) {
        return q->waiting_count;
}
