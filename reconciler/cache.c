/* SPDX-License-Identifier: Apache-2.0 */
#include "reconciler/cache.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

/* Without this uthash ends the process when it is out of memory. */
#define HASH_NONFATAL_OOM 1
#include <uthash.h>
#include <utlist.h>

#include "common/api/names.h"
#include "common/base/clock.h"
#include "common/base/fault.h"
#include "common/base/strbuf.h"
#include "common/json/json_write.h"

#define CACHE_TOMBSTONE_MS 300000

/* More than the API server stores (etcd's limit is 1.5 MiB a request). */
#define CACHE_OBJECT_MAX (4U << 20)

/* A Job or a Pod. Both records begin with their meta. */
struct child {
        void *record;  /* owned: struct job_record or pod_record */
        unsigned mark; /* when it was upserted or learned last, in lists begun */
        unsigned told; /* when it was upserted: an own write alone proves no presence, it may be
                          answered after the deletion */
        struct child *next;
};

struct object {
        char *uid, *resource_version, *name; /* NULL: there is no object */
        char *text;
        size_t len;
        int64_t run_since_s;
        bool settled;
        unsigned state;
        unsigned mark, told; /* as a child's */
};

struct entry {
        struct object object;
        struct child *children[CACHE_KINDS]; /* CACHE_OBJECT stays empty */
        UT_hash_handle hh;
        char key[];
};

struct tombstone {
        int64_t expires_ms;
        UT_hash_handle hh;
        char uid[];
};

struct cache {
        pthread_mutex_t mutex;
        const struct clock *clock;
        struct entry *entries;
        struct tombstone *tombstones; /* uthash keeps the order of insertion: the oldest first */
        unsigned mark;                /* counts lists: what is upserted carries it */
        size_t count[CACHE_KINDS];
        size_t states[CACHE_STATES];
};

struct cache *cache_new(const struct clock *clock) {
        struct cache *c = calloc(1, sizeof(*c));

        if (!c)
                return NULL;
        pthread_mutex_init(&c->mutex, NULL);
        c->clock = clock;
        return c;
}

/* Contents only: the counts are the callers' business (forget_object). */
static void object_done(struct object *object) {
        free(object->uid);
        free(object->resource_version);
        free(object->name);
        free(object->text);
        *object = (struct object){ 0 };
}

static void child_free(struct child *child) {
        free(child->record);
        free(child);
}

static void entry_free(struct entry *entry) {
        object_done(&entry->object);
        for (size_t kind = 0; kind < CACHE_KINDS; kind++) {
                while (entry->children[kind]) {
                        struct child *child = entry->children[kind];

                        entry->children[kind] = child->next;
                        child_free(child);
                }
        }
        free(entry);
}

void cache_free(struct cache *c) {
        struct entry *entry, *entry_tmp;
        struct tombstone *tombstone, *tombstone_tmp;

        if (!c)
                return;
        HASH_ITER (hh, c->entries, entry, entry_tmp) {
                HASH_DEL(c->entries, entry);
                entry_free(entry);
        }
        HASH_ITER (hh, c->tombstones, tombstone, tombstone_tmp) {
                HASH_DEL(c->tombstones, tombstone);
                free(tombstone);
        }
        pthread_mutex_destroy(&c->mutex);
        free(c);
}

static bool is_number(const char *text) {
        return *text && strspn(text, "0123456789") == strlen(text);
}

bool cache_version_newer(const char *a, const char *b, bool *ret_comparable) {
        size_t a_len, b_len;

        *ret_comparable = is_number(a) && is_number(b);
        if (!*ret_comparable)
                return strcmp(a, b) != 0;
        a += strspn(a, "0");
        b += strspn(b, "0");
        a_len = strlen(a);
        b_len = strlen(b);
        return a_len != b_len ? a_len > b_len : strcmp(a, b) > 0;
}

static char *join_key(const char *namespace_, const char *label) {
        char *key = NULL;

        return asprintf(&key, "%s/%s", namespace_, label) < 0 ? NULL : key;
}

char *cache_key(const char *namespace_, const char *object_name) {
        char label[NAMES_LABEL_SIZE];

        names_label(object_name, label);
        return join_key(namespace_, label);
}

static struct entry *entry_find(const struct cache *c, const char *key) {
        struct entry *entry;

        HASH_FIND_STR(c->entries, key, entry);
        return entry;
}

static struct entry *entry_make(struct cache *c, const char *key) {
        struct entry *entry = entry_find(c, key);
        size_t len = strlen(key);

        if (entry)
                return entry;
        entry = calloc(1, sizeof(*entry) + len + 1);
        if (!entry)
                return NULL;
        memcpy(entry->key, key, len);
        HASH_ADD_STR(c->entries, key, entry);
        if (!entry->hh.tbl) {
                free(entry);
                return NULL;
        }
        return entry;
}

static void entry_drop_if_empty(struct cache *c, struct entry *entry) {
        if (entry->object.uid || entry->children[CACHE_JOB] || entry->children[CACHE_POD])
                return;
        HASH_DEL(c->entries, entry);
        entry_free(entry);
}

static bool is_buried(const struct cache *c, const char *uid) {
        struct tombstone *tombstone;

        HASH_FIND_STR(c->tombstones, uid, tombstone);
        return tombstone != NULL;
}

static void unbury(struct cache *c, const char *uid) {
        struct tombstone *tombstone;

        HASH_FIND_STR(c->tombstones, uid, tombstone);
        if (!tombstone)
                return;
        HASH_DEL(c->tombstones, tombstone);
        free(tombstone);
}

static void bury(struct cache *c, const char *uid) {
        int64_t now_ms = clock_mono_ms(c->clock);
        struct tombstone *tombstone, *tmp;
        size_t len = strlen(uid);

        HASH_ITER (hh, c->tombstones, tombstone, tmp) {
                if (tombstone->expires_ms > now_ms)
                        break;
                HASH_DEL(c->tombstones, tombstone);
                free(tombstone);
        }
        if (is_buried(c, uid))
                return;
        /* Without memory for it a late answer could bring the UID back until the next list. */
        tombstone = calloc(1, sizeof(*tombstone) + len + 1);
        if (!tombstone)
                return;
        memcpy(tombstone->uid, uid, len);
        tombstone->expires_ms = now_ms + CACHE_TOMBSTONE_MS;
        HASH_ADD_STR(c->tombstones, uid, tombstone);
        if (!tombstone->hh.tbl)
                free(tombstone);
}

/* One thing that was decoded outside of the lock, ready to be put in. */
struct news {
        enum cache_kind kind;
        char *key, *uid, *resource_version;
        char *name, *text; /* of an object */
        size_t len;
        void *record; /* of a child */
        bool own_write;
        unsigned list_mark; /* 0: not of a list */
};

static void news_done(struct news *news) {
        free(news->key);
        free(news->uid);
        free(news->resource_version);
        free(news->name);
        free(news->text);
        free(news->record);
}

/* Members of an object that are kept: managedFields and the like are several times their size. */
enum {
        KEEP_NAMESPACE,
        KEEP_NAME,
        KEEP_UID,
        KEEP_VERSION,
        KEEP_GENERATION,
        KEEP_DELETION,
        KEEP_RETRY,
        KEEP_SPEC,
        KEEP_STATUS,
        KEEP_COUNT
};

static void write_compact(struct strbuf *out, const struct json_want wants[KEEP_COUNT]) {
        struct json_writer w = JSON_WRITER_INIT(out);

        json_object(&w);
        json_kv_object(&w, "metadata");
        for (size_t i = KEEP_NAMESPACE; i <= KEEP_DELETION; i++)
                json_kv_span(&w, wants[i].path[1], &wants[i].span);
        if (wants[KEEP_RETRY].span.text) {
                json_kv_object(&w, "annotations");
                json_kv_span(&w, DBUPGRADE_ANNOTATION_RETRY, &wants[KEEP_RETRY].span);
                json_end_object(&w);
        }
        json_end_object(&w);
        json_kv_span(&w, "spec", &wants[KEEP_SPEC].span);
        json_kv_span(&w, "status", &wants[KEEP_STATUS].span);
        json_end_object(&w);
}

/* A checked span as a heap string; NULL when it is no string. Return: 0, -FAULT_NOMEM. */
static int copy_span(const struct json_span *span, char **ret_text, struct fault *f) {
        CLEANUP(free_p) char *text = NULL;

        if (!span->text)
                return 0;
        text = malloc(span->len + 1);
        if (!text)
                return fault_set(f, FAULT_NOMEM, "out of memory");
        if (json_span_string(span, text, span->len + 1))
                *ret_text = TAKE(text);
        return 0;
}

static int object_news(const char *json, size_t len, struct news *news, struct fault *f) {
        struct json_want wants[KEEP_COUNT] = {
                [KEEP_NAMESPACE] = { .path = { "metadata", "namespace" } },
                [KEEP_NAME] = { .path = { "metadata", "name" } },
                [KEEP_UID] = { .path = { "metadata", "uid" } },
                [KEEP_VERSION] = { .path = { "metadata", "resourceVersion" } },
                [KEEP_GENERATION] = { .path = { "metadata", "generation" } },
                [KEEP_DELETION] = { .path = { "metadata", "deletionTimestamp" } },
                [KEEP_RETRY] = { .path = { "metadata", "annotations",
                                           DBUPGRADE_ANNOTATION_RETRY } },
                [KEEP_SPEC] = { .path = { "spec" } },
                [KEEP_STATUS] = { .path = { "status" } },
        };
        CLEANUP(strbuf_done) struct strbuf text = STRBUF_INIT(CACHE_OBJECT_MAX);
        CLEANUP(free_p) char *namespace_ = NULL;
        int r = json_check(json, len, wants, KEEP_COUNT, f);

        if (!r)
                r = copy_span(&wants[KEEP_NAMESPACE].span, &namespace_, f);
        if (!r)
                r = copy_span(&wants[KEEP_NAME].span, &news->name, f);
        if (!r)
                r = copy_span(&wants[KEEP_UID].span, &news->uid, f);
        if (!r)
                r = copy_span(&wants[KEEP_VERSION].span, &news->resource_version, f);
        if (r)
                return r;
        if (!namespace_ || !news->name || !news->uid || !news->resource_version)
                return fault_set(f, FAULT_INVALID,
                                 "a DBUpgrade without name, namespace, uid or resourceVersion");
        news->key = cache_key(namespace_, news->name);
        if (!news->key)
                return fault_set(f, FAULT_NOMEM, "out of memory");
        write_compact(&text, wants);
        news->len = text.len;
        return strbuf_take(&text, &news->text, f);
}

static int child_news(const char *json, size_t len, struct news *news, struct fault *f) {
        const struct record_meta *meta;
        struct job_record *job;
        struct pod_record *pod;
        int r;

        if (news->kind == CACHE_JOB) {
                r = job_record_decode(json, len, &job, f);
                if (r)
                        return r;
                news->record = job;
        } else {
                r = pod_record_decode(json, len, &pod, f);
                if (r)
                        return r;
                news->record = pod;
        }
        meta = news->record;
        if (!*meta->name_label)
                return 0;
        news->key = join_key(meta->namespace_, meta->name_label);
        news->uid = strdup(meta->uid);
        news->resource_version = strdup(meta->resource_version);
        if (!news->key || !news->uid || !news->resource_version)
                return fault_set(f, FAULT_NOMEM, "out of memory");
        return 0;
}

/* Fills *news; news->key stays NULL when it is no business of ours. */
static int news_read(const char *json, size_t len, struct news *news, struct fault *f) {
        return news->kind == CACHE_OBJECT ? object_news(json, len, news, f)
                                          : child_news(json, len, news, f);
}

static bool is_news(const struct news *news, const char *known_version, unsigned known_mark) {
        bool comparable;
        bool newer = cache_version_newer(news->resource_version, known_version, &comparable);

        if (known_mark < news->list_mark)
                return strcmp(news->resource_version, known_version) != 0;
        return newer && (comparable || !news->own_write);
}

static void forget_object(struct cache *c, struct object *object) {
        c->count[CACHE_OBJECT]--;
        c->states[object->state]--;
        object_done(object);
}

static bool put_object(struct cache *c, struct entry *entry, struct news *news) {
        struct object *object = &entry->object;
        bool known = object->uid && strcmp(object->uid, news->uid) == 0;
        unsigned told = news->own_write ? (known ? object->told : 0) : c->mark;
        unsigned state = known ? object->state : 0;
        int64_t run_since_s = known ? object->run_since_s : 0;

        if (known && !is_news(news, object->resource_version, object->mark)) {
                object->mark = c->mark;
                object->told = told;
                return false;
        }
        if (object->uid)
                forget_object(c, object);
        c->count[CACHE_OBJECT]++;
        c->states[state]++;
        *object = (struct object){
                .state = state,
                .run_since_s = run_since_s,
                .uid = TAKE(news->uid),
                .resource_version = TAKE(news->resource_version),
                .name = TAKE(news->name),
                .text = TAKE(news->text),
                .len = news->len,
                .mark = c->mark,
                .told = told,
        };
        return true;
}

static struct child *child_find(const struct entry *entry, enum cache_kind kind, const char *uid) {
        struct child *child;

        LL_FOREACH(entry->children[kind], child) {
                if (strcmp(((struct record_meta *)child->record)->uid, uid) == 0)
                        return child;
        }
        return NULL;
}

/* Return: 0 nothing new, 1 new, -FAULT_NOMEM. */
static int put_child(struct cache *c, struct entry *entry, struct news *news, struct fault *f) {
        struct child *child = child_find(entry, news->kind, news->uid);

        if (child) {
                const struct record_meta *known = child->record;

                bool new = is_news(news, known->resource_version, child->mark);

                child->mark = c->mark;
                if (!news->own_write)
                        child->told = c->mark;
                if (!new)
                        return 0;
                free(child->record);
                child->record = TAKE(news->record);
                return 1;
        }
        child = calloc(1, sizeof(*child));
        if (!child)
                return fault_set(f, FAULT_NOMEM, "out of memory");
        child->record = TAKE(news->record);
        child->mark = c->mark;
        child->told = news->own_write ? 0 : c->mark;
        LL_PREPEND(entry->children[news->kind], child);
        c->count[news->kind]++;
        return 1;
}

static int upsert_locked(struct cache *c, struct news *news, char **ret_key, struct fault *f) {
        struct entry *entry;
        int r;

        /* A watch tells things in their order: after a deletion it brings only what was selected
         * anew (an object may leave --selector and come back). */
        if (news->own_write && is_buried(c, news->uid))
                return 0;
        if (!news->own_write)
                unbury(c, news->uid);
        entry = entry_make(c, news->key);
        if (!entry)
                return fault_set(f, FAULT_NOMEM, "out of memory");
        if (news->kind == CACHE_OBJECT)
                r = put_object(c, entry, news);
        else
                r = put_child(c, entry, news, f);
        entry_drop_if_empty(c, entry);
        if (r < 0)
                return r;
        if (r > 0)
                *ret_key = TAKE(news->key);
        return 0;
}

static int take_in(struct cache *c, struct news *news, const char *json, size_t len, char **ret_key,
                   struct fault *f) {
        int r = news_read(json, len, news, f);

        if (r || !news->key)
                return r;
        pthread_mutex_lock(&c->mutex);
        r = upsert_locked(c, news, ret_key, f);
        pthread_mutex_unlock(&c->mutex);
        return r;
}

int cache_upsert(struct cache *c, enum cache_kind kind, const char *json, size_t len,
                 unsigned list_mark, char **ret_key, struct fault *f) {
        CLEANUP(news_done) struct news news = { .kind = kind, .list_mark = list_mark };

        *ret_key = NULL;
        return take_in(c, &news, json, len, ret_key, f);
}

int cache_learn(struct cache *c, enum cache_kind kind, const char *json, size_t len,
                struct fault *f) {
        CLEANUP(news_done) struct news news = { .kind = kind, .own_write = true };
        CLEANUP(free_p) char *key = NULL;

        return take_in(c, &news, json, len, &key, f);
}

static void remove_locked(struct cache *c, const struct news *news) {
        struct entry *entry = entry_find(c, news->key);
        struct child *child;

        bury(c, news->uid);
        if (!entry)
                return;
        if (news->kind == CACHE_OBJECT) {
                /* The object may have been recreated under a new UID already. */
                if (entry->object.uid && strcmp(entry->object.uid, news->uid) == 0)
                        forget_object(c, &entry->object);
        } else {
                child = child_find(entry, news->kind, news->uid);
                if (child) {
                        LL_DELETE(entry->children[news->kind], child);
                        child_free(child);
                        c->count[news->kind]--;
                }
        }
        entry_drop_if_empty(c, entry);
}

int cache_remove(struct cache *c, enum cache_kind kind, const char *json, size_t len,
                 char **ret_key, struct fault *f) {
        CLEANUP(news_done) struct news news = { .kind = kind };
        int r = news_read(json, len, &news, f);

        if (r)
                return r;
        if (news.key) {
                pthread_mutex_lock(&c->mutex);
                remove_locked(c, &news);
                pthread_mutex_unlock(&c->mutex);
        }
        *ret_key = TAKE(news.key);
        return 0;
}

unsigned cache_list_begin(struct cache *c) {
        unsigned mark;

        pthread_mutex_lock(&c->mutex);
        mark = ++c->mark;
        pthread_mutex_unlock(&c->mutex);
        return mark;
}

/* Removes what has not been upserted since the mark. Return: whether anything was removed. */
static bool sweep_entry(struct cache *c, enum cache_kind kind, unsigned mark, struct entry *entry) {
        struct child *child, *tmp;
        bool swept = false;

        if (kind == CACHE_OBJECT && entry->object.uid && entry->object.told < mark) {
                forget_object(c, &entry->object);
                swept = true;
        }
        LL_FOREACH_SAFE(entry->children[kind], child, tmp) {
                if (child->told >= mark)
                        continue;
                LL_DELETE(entry->children[kind], child);
                child_free(child);
                c->count[kind]--;
                swept = true;
        }
        return swept;
}

static bool is_in(const struct entry *entry, const char *namespace_) {
        size_t len = namespace_ ? strlen(namespace_) : 0;

        return !namespace_ || (strncmp(entry->key, namespace_, len) == 0 && entry->key[len] == '/');
}

void cache_list_end(struct cache *c, enum cache_kind kind, const char *namespace_, unsigned mark,
                    void (*gone)(void *ctx, const char *key), void *ctx) {
        CLEANUP(strbuf_done) struct strbuf keys = STRBUF_INIT(SIZE_MAX - 1);
        struct entry *entry, *tmp;

        pthread_mutex_lock(&c->mutex);
        HASH_ITER (hh, c->entries, entry, tmp) {
                if (!is_in(entry, namespace_) || !sweep_entry(c, kind, mark, entry))
                        continue;
                strbuf_add(&keys, entry->key, strlen(entry->key) + 1);
                entry_drop_if_empty(c, entry);
        }
        pthread_mutex_unlock(&c->mutex);
        /* A key that is not heard of would wait for ever. */
        if (keys.bad)
                abort();
        for (size_t at = 0; at < keys.len; at += strlen(keys.ptr + at) + 1)
                gone(ctx, keys.ptr + at);
}

static int copy_children(const struct entry *entry, struct cache_view *view, struct fault *f) {
        struct child *child;
        int r;

        LL_FOREACH(entry->children[CACHE_JOB], child) {
                struct job_record *job = job_record_copy(child->record);

                r = job ? job_list_add(&view->jobs, job, f)
                        : fault_set(f, FAULT_NOMEM, "out of memory");
                if (r)
                        return r;
        }
        LL_FOREACH(entry->children[CACHE_POD], child) {
                struct pod_record *pod = pod_record_copy(child->record);

                r = pod ? pod_list_add(&view->pods, pod, f)
                        : fault_set(f, FAULT_NOMEM, "out of memory");
                if (r)
                        return r;
        }
        return 0;
}

static int look_locked(const struct cache *c, const char *key, struct cache_view *view,
                       struct fault *f) {
        const struct entry *entry = entry_find(c, key);

        if (!entry)
                return 0;
        view->has_object = entry->object.uid != NULL;
        view->settled = entry->object.settled;
        if (entry->object.name) {
                view->name = strdup(entry->object.name);
                if (!view->name)
                        return fault_set(f, FAULT_NOMEM, "out of memory");
        }
        if (entry->object.text) {
                view->text = malloc(entry->object.len + 1);
                if (!view->text)
                        return fault_set(f, FAULT_NOMEM, "out of memory");
                memcpy(view->text, entry->object.text, entry->object.len + 1);
                view->len = entry->object.len;
        }
        return copy_children(entry, view, f);
}

int cache_look(struct cache *c, const char *key, struct cache_view *ret_view, struct fault *f) {
        struct cache_view view = { 0 };
        int r;

        pthread_mutex_lock(&c->mutex);
        r = look_locked(c, key, &view, f);
        pthread_mutex_unlock(&c->mutex);
        if (r) {
                cache_view_done(&view);
                return r;
        }
        *ret_view = view;
        return 0;
}

void cache_view_done(struct cache_view *view) {
        free(view->text);
        free(view->name);
        job_list_done(&view->jobs);
        pod_list_done(&view->pods);
        *view = (struct cache_view){ 0 };
}

static void note_locked(struct cache *c, struct object *object,
                        const struct cache_finding *finding) {
        c->states[object->state]--;
        c->states[finding->state]++;
        object->state = finding->state;
        object->run_since_s = finding->run_since_s;
        object->settled = finding->settled;
        if (!finding->settled)
                return;
        free(TAKE(object->text));
        object->len = 0;
}

void cache_note(struct cache *c, const char *key, const char *resource_version,
                const struct cache_finding *finding) {
        struct entry *entry;

        pthread_mutex_lock(&c->mutex);
        entry = entry_find(c, key);
        if (entry && entry->object.uid &&
            strcmp(entry->object.resource_version, resource_version) == 0)
                note_locked(c, &entry->object, finding);
        pthread_mutex_unlock(&c->mutex);
}

void cache_count(struct cache *c, struct cache_counts *ret_counts) {
        const struct entry *entry, *tmp;
        int64_t oldest_s = 0;

        pthread_mutex_lock(&c->mutex);
        memcpy(ret_counts->kinds, c->count, sizeof(c->count));
        memcpy(ret_counts->states, c->states, sizeof(c->states));
        HASH_ITER (hh, c->entries, entry, tmp) {
                int64_t since_s = entry->object.run_since_s;

                if (since_s && (!oldest_s || since_s < oldest_s))
                        oldest_s = since_s;
        }
        pthread_mutex_unlock(&c->mutex);
        ret_counts->oldest_run_s = oldest_s;
}
