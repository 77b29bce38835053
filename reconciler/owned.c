/* SPDX-License-Identifier: Apache-2.0 */
#include "reconciler/owned.h"

#include <pthread.h>
#include <string.h>

/* Without this uthash ends the process when it is out of memory. */
#define HASH_NONFATAL_OOM 1
#include <uthash.h>

#define OWNED_FRESH_MS 10000

struct listed {
        int64_t began_ms;
        char *uids; /* "\nuid\nuid\n" */
        UT_hash_handle hh;
        char namespace_[];
};

struct owned {
        pthread_mutex_t mutex;
        struct listed *listed;
};

struct owned *owned_new(void) {
        struct owned *o = calloc(1, sizeof(*o));

        if (o)
                pthread_mutex_init(&o->mutex, NULL);
        return o;
}

static void forget(struct owned *o, struct listed *l) {
        HASH_DEL(o->listed, l);
        free(l->uids);
        free(l);
}

void owned_free(struct owned *o) {
        struct listed *l, *tmp;

        if (!o)
                return;
        HASH_ITER (hh, o->listed, l, tmp) {
                forget(o, l);
        }
        pthread_mutex_destroy(&o->mutex);
        free(o);
}

static bool contains(const char *uids, const char *uid) {
        size_t len = strlen(uid);

        for (const char *at = uids; (at = strstr(at, uid)); at++)
                if (at[-1] == '\n' && at[len] == '\n')
                        return true;
        return false;
}

bool owned_is_free(struct owned *o, const char *namespace_, const char *uid, int64_t now_ms) {
        struct listed *l;
        bool is_free;

        pthread_mutex_lock(&o->mutex);
        HASH_FIND_STR(o->listed, namespace_, l);
        is_free = l && now_ms - l->began_ms < OWNED_FRESH_MS && !contains(l->uids, uid);
        pthread_mutex_unlock(&o->mutex);
        return is_free;
}

/* Takes uids. */
static void learn_locked(struct owned *o, const char *namespace_, char *uids, int64_t began_ms) {
        size_t len = strlen(namespace_);
        struct listed *l, *tmp;

        HASH_ITER (hh, o->listed, l, tmp) {
                if (began_ms - l->began_ms >= OWNED_FRESH_MS ||
                    strcmp(l->namespace_, namespace_) == 0)
                        forget(o, l);
        }
        l = calloc(1, sizeof(*l) + len + 1);
        if (l) {
                memcpy(l->namespace_, namespace_, len);
                l->began_ms = began_ms;
                l->uids = uids;
                HASH_ADD_STR(o->listed, namespace_, l);
        }
        if (l && l->hh.tbl)
                return;
        free(uids);
        free(l);
}

void owned_learn(struct owned *o, const char *namespace_, const char *uids, int64_t began_ms) {
        char *copy = NULL;

        if (asprintf(&copy, "\n%s", uids) < 0)
                return;
        pthread_mutex_lock(&o->mutex);
        learn_locked(o, namespace_, copy, began_ms);
        pthread_mutex_unlock(&o->mutex);
}
