/* SPDX-License-Identifier: Apache-2.0 */
#include "reconciler/queue.h"

#include <assert.h>
#include <pthread.h>
#include <string.h>
#include <time.h>

/* Without this uthash ends the process when it is out of memory. */
#define HASH_NONFATAL_OOM 1
#include <uthash.h>
#include <utlist.h>

#include "common/base/clock.h"
#include "common/base/fault.h"

/* Failures of all keys together: one each interval, and that many at once. */
#define BUCKET_INTERVAL_US 100000
#define BUCKET_BURST       100

enum item_state {
        ITEM_IDLE,    /* nothing to do; kept only for its count of failures */
        ITEM_DELAYED, /* in the heap */
        ITEM_READY,   /* in a list */
        ITEM_TAKEN,   /* a worker has it */
};

struct item {
        enum item_state state;
        enum queue_priority priority;
        bool again; /* taken, and added meanwhile */
        int64_t due_us;
        size_t heap_index;
        unsigned failures;
        struct item *prev, *next;
        UT_hash_handle hh;
        char key[];
};

struct queue {
        struct item *items; /* by key */
        struct item *ready[QUEUE_PRIORITIES];
        struct queue_stats stats;
        int64_t bucket_us;  /* until when the failures so far have used up their share */
        struct item **heap; /* delayed ones, the earliest first */
        size_t heap_count, heap_cap;
};

struct queue *queue_new(void) {
        struct queue *q = calloc(1, sizeof(*q));

        if (q)
                q->bucket_us = INT64_MIN;
        return q;
}

void queue_free(struct queue *q) {
        struct item *item, *tmp;

        if (!q)
                return;
        HASH_ITER (hh, q->items, item, tmp) {
                HASH_DEL(q->items, item);
                free(item);
        }
        free(q->heap);
        free(q);
}

static void heap_put(struct queue *q, size_t index, struct item *item) {
        q->heap[index] = item;
        item->heap_index = index;
}

static void heap_up(struct queue *q, size_t index) {
        struct item *item = q->heap[index];

        while (index > 0 && q->heap[(index - 1) / 2]->due_us > item->due_us) {
                heap_put(q, index, q->heap[(index - 1) / 2]);
                index = (index - 1) / 2;
        }
        heap_put(q, index, item);
}

static void heap_down(struct queue *q, size_t index) {
        struct item *item = q->heap[index];

        for (;;) {
                size_t child = 2 * index + 1;

                if (child + 1 < q->heap_count &&
                    q->heap[child + 1]->due_us < q->heap[child]->due_us)
                        child++;
                if (child >= q->heap_count || q->heap[child]->due_us >= item->due_us)
                        break;
                heap_put(q, index, q->heap[child]);
                index = child;
        }
        heap_put(q, index, item);
}

static void heap_remove(struct queue *q, struct item *item) {
        size_t index = item->heap_index;
        struct item *last = q->heap[--q->heap_count];

        if (last == item)
                return;
        heap_put(q, index, last);
        heap_up(q, index);
        heap_down(q, last->heap_index);
}

static int heap_reserve(struct queue *q, struct fault *f) {
        size_t cap = q->heap_cap ? q->heap_cap * 2 : 16;
        struct item **heap;

        if (q->heap_count < q->heap_cap)
                return 0;
        heap = realloc(q->heap, cap * sizeof(struct item *));
        if (!heap)
                return fault_set(f, FAULT_NOMEM, "out of memory");
        q->heap = heap;
        q->heap_cap = cap;
        return 0;
}

static void make_ready(struct queue *q, struct item *item) {
        item->state = ITEM_READY;
        DL_APPEND(q->ready[item->priority], item);
        q->stats.depth[item->priority]++;
        q->stats.adds++;
}

/* Puts an idle item where its due time says. The heap has room. */
static void schedule(struct queue *q, struct item *item, int64_t now_us) {
        if (item->due_us <= now_us) {
                item->due_us = now_us;
                make_ready(q, item);
                return;
        }
        item->state = ITEM_DELAYED;
        heap_put(q, q->heap_count++, item);
        heap_up(q, item->heap_index);
}

static struct item *item_find(const struct queue *q, const char *key) {
        struct item *item;

        HASH_FIND_STR(q->items, key, item);
        return item;
}

static int item_new(struct queue *q, const char *key, struct item **ret_item, struct fault *f) {
        size_t len = strlen(key);
        struct item *item = calloc(1, sizeof(*item) + len + 1);

        if (!item)
                return fault_set(f, FAULT_NOMEM, "out of memory");
        memcpy(item->key, key, len);
        HASH_ADD_STR(q->items, key, item);
        if (!item->hh.tbl) {
                free(item);
                return fault_set(f, FAULT_NOMEM, "out of memory");
        }
        *ret_item = item;
        return 0;
}

int queue_add(struct queue *q, const char *key, enum queue_priority priority, int64_t now_us,
              int64_t due_us, struct fault *f) {
        struct item *item = item_find(q, key);
        int r = heap_reserve(q, f);

        if (r)
                return r;
        if (!item) {
                r = item_new(q, key, &item, f);
                if (r)
                        return r;
                item->priority = priority;
        }
        switch (item->state) {
        case ITEM_IDLE:
                item->priority = priority;
                item->due_us = due_us;
                schedule(q, item, now_us);
                break;
        case ITEM_DELAYED:
                if (due_us >= item->due_us)
                        break;
                heap_remove(q, item);
                item->priority = priority;
                item->due_us = due_us;
                schedule(q, item, now_us);
                break;
        case ITEM_READY:
                if (priority == QUEUE_FRESH && item->priority == QUEUE_LOW) {
                        DL_DELETE(q->ready[QUEUE_LOW], item);
                        DL_APPEND(q->ready[QUEUE_FRESH], item);
                        q->stats.depth[QUEUE_LOW]--;
                        q->stats.depth[QUEUE_FRESH]++;
                        item->priority = QUEUE_FRESH;
                }
                break;
        case ITEM_TAKEN:
                if (!item->again || due_us < item->due_us)
                        item->due_us = due_us;
                item->again = true;
                item->priority = QUEUE_FRESH;
                break;
        }
        return 0;
}

const char *queue_next(struct queue *q, int64_t now_us, int64_t *ret_us) {
        struct item *item;

        while (q->heap_count > 0 && q->heap[0]->due_us <= now_us) {
                item = q->heap[0];
                heap_remove(q, item);
                make_ready(q, item);
        }
        item = q->ready[QUEUE_FRESH] ? q->ready[QUEUE_FRESH] : q->ready[QUEUE_LOW];
        if (!item) {
                *ret_us = q->heap_count > 0 ? q->heap[0]->due_us : INT64_MAX;
                return NULL;
        }
        DL_DELETE(q->ready[item->priority], item);
        q->stats.depth[item->priority]--;
        item->state = ITEM_TAKEN;
        item->again = false;
        *ret_us = item->due_us;
        return item->key;
}

void queue_done(struct queue *q, const char *key, int64_t now_us) {
        struct item *item = item_find(q, key);

        assert(item && item->state == ITEM_TAKEN);
        item->state = ITEM_IDLE;
        if (item->again) {
                /* Room in the heap was reserved by the add; others may have used it since. */
                if (heap_reserve(q, NULL))
                        item->due_us = now_us;
                schedule(q, item, now_us);
        } else if (item->failures == 0) {
                HASH_DEL(q->items, item);
                free(item);
        }
}

/* One more failure takes its share. Return: how long until it is free. */
static int64_t bucket_take_us(struct queue *q, int64_t now_us) {
        int64_t full_us = now_us - (int64_t)BUCKET_BURST * BUCKET_INTERVAL_US;

        q->bucket_us = (q->bucket_us > full_us ? q->bucket_us : full_us) + BUCKET_INTERVAL_US;
        return q->bucket_us > now_us ? q->bucket_us - now_us : 0;
}

int64_t queue_failed_ms(struct queue *q, const char *key, int64_t now_us, uint32_t random) {
        struct item *item = item_find(q, key);
        int64_t shared_ms = bucket_take_us(q, now_us) / 1000;
        int64_t own_ms;

        assert(item);
        q->stats.retries++;
        if (item->failures < 64)
                item->failures++;
        own_ms = queue_backoff_ms(item->failures, random);
        return own_ms > shared_ms ? own_ms : shared_ms;
}

void queue_forget(struct queue *q, const char *key) {
        struct item *item = item_find(q, key);

        assert(item);
        item->failures = 0;
}

struct queue_stats queue_read_stats(const struct queue *q) {
        return q->stats;
}

int64_t queue_backoff_ms(unsigned failures, uint32_t random) {
        const int64_t most_ms = 300000;
        unsigned doublings = failures > 0 ? failures - 1 : 0;
        int64_t delay = doublings < 16 ? INT64_C(5) << doublings : most_ms;

        if (delay > most_ms)
                delay = most_ms;
        return delay + (int64_t)(random % 256) * delay / 1024;
}

struct work_queue {
        pthread_mutex_t mutex;
        pthread_cond_t cond; /* on CLOCK_MONOTONIC */
        struct queue *queue;
        const struct clock *clock;
        bool stopped;
};

int work_queue_new(const struct clock *clock, struct work_queue **ret_queue, struct fault *f) {
        struct work_queue *w = calloc(1, sizeof(*w));
        pthread_condattr_t attributes;

        if (w)
                w->queue = queue_new();
        if (!w || !w->queue) {
                free(w);
                return fault_set(f, FAULT_NOMEM, "out of memory");
        }
        w->clock = clock;
        pthread_mutex_init(&w->mutex, NULL);
        pthread_condattr_init(&attributes);
        pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
        pthread_cond_init(&w->cond, &attributes);
        pthread_condattr_destroy(&attributes);
        *ret_queue = w;
        return 0;
}

void work_queue_free(struct work_queue *w) {
        if (!w)
                return;
        queue_free(w->queue);
        pthread_cond_destroy(&w->cond);
        pthread_mutex_destroy(&w->mutex);
        free(w);
}

static void add_locked(struct work_queue *w, const char *key, enum queue_priority priority,
                       int64_t delay_ms) {
        int64_t now_us = clock_mono_us(w->clock);

        /* A lost key would be a migration that never runs: rather start anew from the cluster. */
        if (queue_add(w->queue, key, priority, now_us, now_us + delay_ms * 1000, NULL))
                abort();
        pthread_cond_signal(&w->cond);
}

void work_queue_add(struct work_queue *w, const char *key, enum queue_priority priority,
                    int64_t delay_ms) {
        pthread_mutex_lock(&w->mutex);
        add_locked(w, key, priority, delay_ms);
        pthread_mutex_unlock(&w->mutex);
}

static void wait_until(struct work_queue *w, int64_t until_us) {
        struct timespec t = {
                .tv_sec = (time_t)(until_us / 1000000),
                .tv_nsec = (long)(until_us % 1000000) * 1000,
        };

        if (until_us == INT64_MAX)
                pthread_cond_wait(&w->cond, &w->mutex);
        else
                (void)pthread_cond_timedwait(&w->cond, &w->mutex, &t);
}

char *work_queue_take(struct work_queue *w, int64_t *ret_waited_us) {
        char *taken = NULL;

        pthread_mutex_lock(&w->mutex);
        while (!w->stopped && !taken) {
                int64_t now_us = clock_mono_us(w->clock), us;
                const char *key = queue_next(w->queue, now_us, &us);

                if (!key) {
                        wait_until(w, us);
                        continue;
                }
                *ret_waited_us = now_us - us;
                taken = strdup(key);
                if (!taken)
                        abort(); /* see add_locked */
        }
        pthread_mutex_unlock(&w->mutex);
        return taken;
}

static void done_locked(struct work_queue *w, const char *key) {
        queue_done(w->queue, key, clock_mono_us(w->clock));
        /* What it made due may be for a waiting worker. */
        pthread_cond_signal(&w->cond);
}

void work_queue_finish(struct work_queue *w, const char *key, int64_t again_ms) {
        pthread_mutex_lock(&w->mutex);
        queue_forget(w->queue, key);
        if (again_ms >= 0)
                add_locked(w, key, QUEUE_FRESH, again_ms);
        done_locked(w, key);
        pthread_mutex_unlock(&w->mutex);
}

int64_t work_queue_retry(struct work_queue *w, const char *key, uint32_t random) {
        int64_t delay_ms;

        pthread_mutex_lock(&w->mutex);
        delay_ms = queue_failed_ms(w->queue, key, clock_mono_us(w->clock), random);
        add_locked(w, key, QUEUE_FRESH, delay_ms);
        done_locked(w, key);
        pthread_mutex_unlock(&w->mutex);
        return delay_ms;
}

struct queue_stats work_queue_read_stats(struct work_queue *w) {
        struct queue_stats stats;

        pthread_mutex_lock(&w->mutex);
        stats = queue_read_stats(w->queue);
        pthread_mutex_unlock(&w->mutex);
        return stats;
}

void work_queue_stop(struct work_queue *w) {
        pthread_mutex_lock(&w->mutex);
        w->stopped = true;
        pthread_cond_broadcast(&w->cond);
        pthread_mutex_unlock(&w->mutex);
}
