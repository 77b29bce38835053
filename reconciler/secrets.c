/* SPDX-License-Identifier: Apache-2.0 */
#include "reconciler/secrets.h"

#include <pthread.h>
#include <string.h>

/* Without this uthash ends the process when it is out of memory. */
#define HASH_NONFATAL_OOM 1
#include <uthash.h>

/* 20 reads a second in all. */
#define SECRETS_SPACING_MS 50

/* An entry that nobody has asked for since is dropped after this. */
#define SECRETS_FORGET_MS 600000

struct missing {
        unsigned attempts;
        int64_t due_ms;
        bool has_slot; /* due_ms is a slot of its own among all reads */
        char why[SECRETS_WHY_SIZE];
        UT_hash_handle hh;
        char id[]; /* "namespace/name/key" */
};

struct secrets {
        pthread_mutex_t mutex;
        struct missing *missing; /* uthash keeps the order: the one that was read last is last */
        int64_t next_slot_ms;
};

struct secrets *secrets_new(void) {
        struct secrets *s = calloc(1, sizeof(*s));

        if (s)
                pthread_mutex_init(&s->mutex, NULL);
        return s;
}

void secrets_free(struct secrets *s) {
        struct missing *m, *tmp;

        if (!s)
                return;
        HASH_ITER (hh, s->missing, m, tmp) {
                HASH_DEL(s->missing, m);
                free(m);
        }
        pthread_mutex_destroy(&s->mutex);
        free(s);
}

int64_t secrets_delay_ms(unsigned attempt, uint32_t random) {
        static const int64_t delays_ms[] = { 1000, 2000, 4000, 8000, 15000, 30000 };
        size_t last = sizeof(delays_ms) / sizeof(delays_ms[0]) - 1;
        int64_t delay_ms = delays_ms[attempt < last ? attempt : last];

        /* Jitter of a tenth, downwards: a Secret is never seen later than promised. */
        return delay_ms - (int64_t)(random % 100) * delay_ms / 1000;
}

/* Return: "namespace/name/key", to be freed; NULL when out of memory. */
static char *secret_id(const char *namespace_, const char *name, const char *key) {
        char *id = NULL;

        return asprintf(&id, "%s/%s/%s", namespace_, name, key) < 0 ? NULL : id;
}

/* Whether a due entry may be read now; otherwise it is given the next free slot. */
static bool may_read(struct secrets *s, struct missing *m, int64_t now_ms) {
        int64_t slot_ms = now_ms > s->next_slot_ms ? now_ms : s->next_slot_ms;

        if (m->has_slot) {
                m->has_slot = false;
                return true;
        }
        s->next_slot_ms = slot_ms + SECRETS_SPACING_MS;
        m->has_slot = slot_ms > now_ms;
        m->due_ms = slot_ms;
        return !m->has_slot;
}

bool secrets_is_missing(struct secrets *s, const char *namespace_, const char *name,
                        const char *key, int64_t now_ms, char ret_why[SECRETS_WHY_SIZE],
                        int64_t *ret_wait_ms) {
        CLEANUP(free_p) char *id = secret_id(namespace_, name, key);
        struct missing *m = NULL;
        bool early;

        if (!id)
                return false;
        pthread_mutex_lock(&s->mutex);
        HASH_FIND_STR(s->missing, id, m);
        early = m && (now_ms < m->due_ms || !may_read(s, m, now_ms));
        if (early) {
                memcpy(ret_why, m->why, SECRETS_WHY_SIZE);
                *ret_wait_ms = m->due_ms - now_ms;
        }
        pthread_mutex_unlock(&s->mutex);
        return early;
}

static void drop_forgotten(struct secrets *s, int64_t now_ms) {
        struct missing *m, *tmp;

        HASH_ITER (hh, s->missing, m, tmp) {
                if (now_ms - m->due_ms < SECRETS_FORGET_MS)
                        return; /* later ones were read later */
                HASH_DEL(s->missing, m);
                free(m);
        }
}

/* The entry, made if need be, as the last one. Return: NULL when out of memory. */
static struct missing *missing_last(struct secrets *s, const char *id) {
        struct missing *m = NULL;
        size_t len = strlen(id);

        HASH_FIND_STR(s->missing, id, m);
        if (m) {
                HASH_DEL(s->missing, m);
        } else {
                m = calloc(1, sizeof(*m) + len + 1);
                if (!m)
                        return NULL;
                memcpy(m->id, id, len);
        }
        HASH_ADD_STR(s->missing, id, m);
        if (!m->hh.tbl) {
                free(m);
                return NULL;
        }
        return m;
}

static int64_t missing_locked(struct secrets *s, const char *id, const char *why, int64_t now_ms,
                              uint32_t random) {
        struct missing *m;
        int64_t due_ms;

        drop_forgotten(s, now_ms);
        m = id ? missing_last(s, id) : NULL;
        due_ms = now_ms + secrets_delay_ms(m ? m->attempts : 0, random);
        if (m) {
                m->attempts++;
                m->due_ms = due_ms;
                (void)snprintf(m->why, sizeof(m->why), "%s", why);
        }
        return due_ms - now_ms;
}

int64_t secrets_missing(struct secrets *s, const char *namespace_, const char *name,
                        const char *key, const char *why, int64_t now_ms, uint32_t random) {
        CLEANUP(free_p) char *id = secret_id(namespace_, name, key);
        int64_t wait_ms;

        pthread_mutex_lock(&s->mutex);
        wait_ms = missing_locked(s, id, why, now_ms, random);
        pthread_mutex_unlock(&s->mutex);
        return wait_ms;
}

void secrets_found(struct secrets *s, const char *namespace_, const char *name, const char *key) {
        CLEANUP(free_p) char *id = secret_id(namespace_, name, key);
        struct missing *m = NULL;

        if (!id)
                return;
        pthread_mutex_lock(&s->mutex);
        HASH_FIND_STR(s->missing, id, m);
        if (m) {
                HASH_DEL(s->missing, m);
                free(m);
        }
        pthread_mutex_unlock(&s->mutex);
}
