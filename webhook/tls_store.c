/* SPDX-License-Identifier: Apache-2.0 */
#include "webhook/tls_store.h"

#include <errno.h>
#include <gnutls/abstract.h>
#include <gnutls/x509.h>
#include <libgen.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>

#include "common/base/clock.h"
#include "common/base/fault.h"
#include "common/base/log.h"
#include "common/base/metrics.h"

#define TLS_LOOK_MS 10000
/* Longer than any handshake may take (the server's reaper ends it after 10 s). */
#define TLS_GRACE_MS 60000
/* A leaf and its chain. */
#define TLS_CERTS_MAX 8

struct generation {
        gnutls_pcert_st certs[TLS_CERTS_MAX];
        unsigned count;
        gnutls_privkey_t key;
        int64_t not_before_s, not_after_s; /* Unix time */
        gnutls_datum_t cert_text;          /* as read, to see a change */
        int64_t retired_ms;                /* monotonic */
        struct generation *older;
};

struct tls_store {
        struct tls_store_opts opts;
        struct generation *generations; /* the newest first; the thread's */
        char last_error[FAULT_TEXT_MAX + 1];
        int inotify, stop; /* descriptors */
        pthread_t thread;
};

/* What the callback hands out; see the header for why it is global. */
static _Atomic(struct generation *) tls_current;

DEFINE_CLEANUP(gnutls_x509_crt_t, gnutls_x509_crt_deinit)

static void generation_free(struct generation *g) {
        if (!g)
                return;
        for (unsigned i = 0; i < g->count; i++)
                gnutls_pcert_deinit(&g->certs[i]);
        if (g->key)
                gnutls_privkey_deinit(g->key);
        gnutls_free(g->cert_text.data);
        free(g);
}
DEFINE_CLEANUP(struct generation *, generation_free)

/* A file's content; wiped when released, since one of them is the key. */
static void datum_done(gnutls_datum_t *d) {
        if (d->data)
                explicit_bzero(d->data, d->size);
        gnutls_free(d->data);
        d->data = NULL;
}

static int load(const char *path, gnutls_datum_t *ret_text, struct fault *f) {
        int code = gnutls_load_file(path, ret_text);

        return code ? fault_set(f, FAULT_IO, "read %s: %s", path, gnutls_strerror(code)) : 0;
}

/* Do the key and the certificate belong together? Same key id: the hash of the public key. */
static bool is_pair(gnutls_x509_crt_t leaf, gnutls_privkey_t key) {
        unsigned char of_cert[64], of_key[64]; /* SHA-256 needs 32 */
        size_t cert_size = sizeof(of_cert), key_size = sizeof(of_key);
        gnutls_pubkey_t public = NULL;
        bool same;

        if (gnutls_pubkey_init(&public))
                return false;
        same = gnutls_pubkey_import_privkey(public, key, 0, 0) == 0 &&
               gnutls_pubkey_get_key_id(public, GNUTLS_KEYID_USE_SHA256, of_key, &key_size) == 0 &&
               gnutls_x509_crt_get_key_id(leaf, GNUTLS_KEYID_USE_SHA256, of_cert, &cert_size) ==
                       0 &&
               cert_size == key_size && memcmp(of_cert, of_key, key_size) == 0;
        gnutls_pubkey_deinit(public);
        return same;
}

static int import(struct generation *g, const gnutls_datum_t *cert, const gnutls_datum_t *key,
                  struct fault *f) {
        CLEANUP(gnutls_x509_crt_deinit_p) gnutls_x509_crt_t leaf = NULL;
        unsigned count = TLS_CERTS_MAX;
        /* A chain cut short would be served, and trusted by nobody. */
        int code = gnutls_pcert_list_import_x509_raw(g->certs, &count, cert, GNUTLS_X509_FMT_PEM,
                                                     GNUTLS_X509_CRT_LIST_IMPORT_FAIL_IF_EXCEED);

        if (code == GNUTLS_E_SHORT_MEMORY_BUFFER)
                return fault_set(f, FAULT_INVALID, "certificate: more than %d in the chain",
                                 TLS_CERTS_MAX);
        if (code < 0)
                return fault_set(f, FAULT_INVALID, "certificate: %s", gnutls_strerror(code));
        g->count = count;
        code = gnutls_privkey_init(&g->key);
        if (!code)
                code = gnutls_privkey_import_x509_raw(g->key, key, GNUTLS_X509_FMT_PEM, NULL, 0);
        if (code)
                return fault_set(f, FAULT_INVALID, "key: %s", gnutls_strerror(code));
        code = gnutls_x509_crt_init(&leaf);
        if (!code)
                code = gnutls_x509_crt_import(leaf, cert, GNUTLS_X509_FMT_PEM);
        if (code)
                return fault_set(f, FAULT_INVALID, "certificate: %s", gnutls_strerror(code));
        if (!is_pair(leaf, g->key))
                return fault_set(f, FAULT_INVALID, "the key does not belong to the certificate");
        g->not_before_s = gnutls_x509_crt_get_activation_time(leaf);
        g->not_after_s = gnutls_x509_crt_get_expiration_time(leaf);
        return 0;
}

static bool is_served(const struct tls_store *store, const gnutls_datum_t *cert) {
        const struct generation *g = store->generations;

        return g && g->cert_text.size == cert->size &&
               memcmp(g->cert_text.data, cert->data, cert->size) == 0;
}

/* Reads the files and makes them the current generation unless they are already. */
static int reload(struct tls_store *store, struct fault *f) {
        CLEANUP(datum_done) gnutls_datum_t cert = { NULL, 0 };
        CLEANUP(datum_done) gnutls_datum_t key = { NULL, 0 };
        CLEANUP(generation_free_p) struct generation *g = NULL;
        int r = load(store->opts.cert_path, &cert, f);

        if (r)
                return r;
        if (is_served(store, &cert))
                return 0;
        r = load(store->opts.key_path, &key, f);
        if (r)
                return r;
        g = calloc(1, sizeof(*g));
        if (!g)
                return fault_set(f, FAULT_NOMEM, "out of memory");
        r = import(g, &cert, &key, f);
        if (r)
                return fault_wrap(f, r, "%s", store->opts.cert_path);
        g->cert_text = cert;
        cert.data = NULL;
        if (store->generations)
                store->generations->retired_ms = clock_mono_ms(store->opts.clock);
        g->older = store->generations;
        store->generations = g;
        atomic_store(&tls_current, g);
        series_set(store->opts.expiry, (double)g->not_after_s);
        log_info("serving certificate loaded", LOG_INT("notAfter", g->not_after_s));
        g = NULL;
        return 0;
}

static void free_retired(struct tls_store *store) {
        int64_t now_ms = clock_mono_ms(store->opts.clock);
        struct generation *g = store->generations;

        while (g && g->older) {
                struct generation *old = g->older;

                if (now_ms - old->retired_ms < TLS_GRACE_MS) {
                        g = old;
                        continue;
                }
                g->older = old->older;
                generation_free(old);
        }
}

static void look(struct tls_store *store) {
        struct fault f = FAULT_INIT;

        free_retired(store);
        series_add(store->opts.reads, 1);
        if (reload(store, &f) == 0) {
                store->last_error[0] = '\0';
                return;
        }
        series_add(store->opts.errors, 1);
        if (strcmp(store->last_error, f.text) == 0)
                return;
        log_warning("the serving certificate cannot be read; the one before stays",
                    LOG_STR("error", f.text));
        memcpy(store->last_error, f.text, sizeof(store->last_error));
}

static void drain(int fd) {
        char bytes[4096]; /* what inotify reports does not matter: all files are read */

        while (read(fd, bytes, sizeof(bytes)) > 0)
                ;
}

static void *tls_main(void *ctx) {
        struct tls_store *store = ctx;

        for (;;) {
                struct pollfd fds[] = { { .fd = store->stop, .events = POLLIN },
                                        { .fd = store->inotify, .events = POLLIN } };

                (void)poll(fds, 2, TLS_LOOK_MS);
                if (fds[0].revents)
                        return NULL;
                if (fds[1].revents)
                        drain(store->inotify);
                look(store);
        }
}

/* Watches the directory: the files themselves are links that get replaced. A directory that does
 * not exist yet is looked at every 10 s. */
static int watch_directory(struct tls_store *store, struct fault *f) {
        CLEANUP(free_p) char *copy = strdup(store->opts.cert_path);

        store->inotify = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
        store->stop = eventfd(0, EFD_CLOEXEC);
        if (store->inotify < 0 || store->stop < 0)
                return fault_set_errno(f, FAULT_IO, errno, "watch the certificate");
        if (!copy)
                return fault_set(f, FAULT_NOMEM, "out of memory");
        (void)inotify_add_watch(store->inotify, dirname(copy),
                                IN_CREATE | IN_MOVED_TO | IN_CLOSE_WRITE | IN_DELETE);
        return 0;
}

static void store_free(struct tls_store *store) {
        atomic_store(&tls_current, NULL);
        while (store->generations) {
                struct generation *g = store->generations;

                store->generations = g->older;
                generation_free(g);
        }
        close_p(&store->inotify);
        close_p(&store->stop);
        free(store);
}
DEFINE_CLEANUP(struct tls_store *, store_free)

int tls_store_new(const struct tls_store_opts *opts, struct tls_store **ret_store,
                  struct fault *f) {
        CLEANUP(store_free_p) struct tls_store *store = calloc(1, sizeof(*store));
        int r;

        if (!store)
                return fault_set(f, FAULT_NOMEM, "out of memory");
        store->opts = *opts;
        store->inotify = store->stop = -1;
        r = watch_directory(store, f);
        if (r)
                return r;
        look(store);
        r = pthread_create(&store->thread, NULL, tls_main, store);
        if (r)
                return fault_set_errno(f, FAULT_IO, r, "start a thread");
        *ret_store = TAKE(store);
        return 0;
}

void tls_store_free(struct tls_store *store) {
        if (!store)
                return;
        (void)eventfd_write(store->stop, 1);
        pthread_join(store->thread, NULL);
        store_free(store);
}

/* gnutls_certificate_retrieve_function2. */
static int retrieve(gnutls_session_t session, const gnutls_datum_t *ca_names, int ca_count,
                    const gnutls_pk_algorithm_t *algorithms, int algorithm_count,
                    gnutls_pcert_st **ret_certs, unsigned *ret_count, gnutls_privkey_t *ret_key) {
        struct generation *g = atomic_load(&tls_current);

        (void)session;
        (void)ca_names;
        (void)ca_count;
        (void)algorithms;
        (void)algorithm_count;
        if (!g)
                return -1;
        *ret_certs = g->certs;
        *ret_count = g->count;
        *ret_key = g->key;
        return 0;
}

void *tls_store_callback(void) {
        /* POSIX guarantees that a function pointer survives the trip through void *. */
        gnutls_certificate_retrieve_function2 *callback = retrieve;
        void *pointer;

        memcpy(&pointer, &callback, sizeof(pointer));
        return pointer;
}

int tls_store_check(void *store, struct fault *f) {
        const struct generation *g = atomic_load(&tls_current);
        int64_t now_s = clock_wall_s(((struct tls_store *)store)->opts.clock);

        if (!g)
                return fault_set(f, FAULT_IO, "there is no certificate yet");
        if (now_s < g->not_before_s || now_s > g->not_after_s)
                return fault_set(f, FAULT_IO, "the certificate is not valid now");
        return 0;
}

bool tls_store_serves(const struct tls_store *store, const void *der, size_t len) {
        const struct generation *g = atomic_load(&tls_current);

        (void)store;
        return g && g->certs[0].cert.size == len && memcmp(g->certs[0].cert.data, der, len) == 0;
}
