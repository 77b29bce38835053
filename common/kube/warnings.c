/* SPDX-License-Identifier: Apache-2.0 */
#include "common/kube/warnings.h"

#include <pthread.h>
#include <stdint.h>
#include <string.h>

struct warnings {
        pthread_mutex_t mutex;
        uint64_t told[WARNINGS_MAX]; /* hashes */
        size_t count;
};

struct warnings *warnings_new(void) {
        struct warnings *w = calloc(1, sizeof(*w));

        if (w && pthread_mutex_init(&w->mutex, NULL)) {
                free(w);
                return NULL;
        }
        return w;
}

void warnings_free(struct warnings *w) {
        if (!w)
                return;
        pthread_mutex_destroy(&w->mutex);
        free(w);
}

/* FNV-1a: equal texts of one server are what matters, not enemies. */
static uint64_t hash_text(const char *text) {
        uint64_t hash = 14695981039346656037U;

        for (; *text; text++)
                hash = (hash ^ (unsigned char)*text) * 1099511628211U;
        return hash;
}

static bool add(struct warnings *w, uint64_t hash) {
        for (size_t i = 0; i < w->count; i++) {
                if (w->told[i] == hash)
                        return false;
        }
        if (w->count == WARNINGS_MAX)
                return false;
        w->told[w->count++] = hash;
        return true;
}

bool warnings_is_new(struct warnings *w, const char *text) {
        bool added;

        pthread_mutex_lock(&w->mutex);
        added = add(w, hash_text(text));
        pthread_mutex_unlock(&w->mutex);
        return added;
}

bool warning_read(const char *value, char ret_text[WARNING_TEXT_SIZE]) {
        size_t len = 0;

        if (strncmp(value, "299 ", 4) != 0)
                return false;
        value += 4;
        value += strcspn(value, " "); /* who says it */
        value += strspn(value, " ");
        if (*value++ != '"')
                return false;
        for (; *value && *value != '"' && len + 1 < WARNING_TEXT_SIZE; value++) {
                if (*value == '\\' && value[1])
                        value++;
                ret_text[len++] = *value;
        }
        ret_text[len] = '\0';
        return len > 0;
}
