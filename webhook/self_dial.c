/* SPDX-License-Identifier: Apache-2.0 */
#include "webhook/self_dial.h"

#include <arpa/inet.h>
#include <errno.h>
#include <gnutls/gnutls.h>
#include <pthread.h>
#include <stdbool.h>
#include <sys/socket.h>
#include <sys/time.h>

#include "common/base/clock.h"
#include "common/base/fault.h"
#include "webhook/tls_store.h"

#define SELF_DIAL_FRESH_MS 1000
#define SELF_DIAL_TRIES    2

struct self_dial {
        struct self_dial_opts opts;
        gnutls_certificate_credentials_t credentials; /* none: it trusts nobody, it compares */
        pthread_mutex_t mutex;
        bool asked;
        int64_t asked_ms; /* monotonic */
        int outcome;
        struct fault fault;
};

DEFINE_CLEANUP(gnutls_session_t, gnutls_deinit)

static int dial_tcp(const struct self_dial *dial, int *ret_fd, struct fault *f) {
        CLEANUP(close_p) int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        const struct timeval within = {
                .tv_sec = (time_t)(dial->opts.within_ms / 1000),
                .tv_usec = (suseconds_t)(dial->opts.within_ms % 1000 * 1000),
        };
        const struct sockaddr_in address = {
                .sin_family = AF_INET,
                .sin_port = htons(dial->opts.port),
                .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
        };

        /* The time-out of sending is that of connecting too: a full backlog answers nothing. */
        if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &within, sizeof(within)) ||
            connect(fd, (const struct sockaddr *)&address, sizeof(address)))
                return fault_set_errno(f, FAULT_IO, errno, "connect to port %u", dial->opts.port);
        *ret_fd = fd;
        fd = -1;
        return 0;
}

static bool presents_ours(const struct self_dial *dial, gnutls_session_t session) {
        unsigned count = 0;
        const gnutls_datum_t *certs = gnutls_certificate_get_peers(session, &count);

        return certs && count > 0 && tls_store_serves(dial->opts.tls, certs[0].data, certs[0].size);
}

static int dial_tls(const struct self_dial *dial, int fd, struct fault *f) {
        CLEANUP(gnutls_deinit_p) gnutls_session_t session = NULL;
        int code = gnutls_init(&session, GNUTLS_CLIENT);

        if (!code)
                code = gnutls_set_default_priority(session);
        if (!code)
                code = gnutls_credentials_set(session, GNUTLS_CRD_CERTIFICATE, dial->credentials);
        if (code)
                return fault_set(f, FAULT_IO, "prepare a handshake: %s", gnutls_strerror(code));
        gnutls_transport_set_int(session, fd);
        gnutls_handshake_set_timeout(session, (unsigned)dial->opts.within_ms);
        do
                code = gnutls_handshake(session);
        while (code < 0 && !gnutls_error_is_fatal(code));
        if (code < 0)
                return fault_set(f, FAULT_IO, "handshake with port %u: %s", dial->opts.port,
                                 gnutls_strerror(code));
        if (!presents_ours(dial, session))
                return fault_set(f, FAULT_IO, "port %u presents another certificate",
                                 dial->opts.port);
        (void)gnutls_bye(session, GNUTLS_SHUT_WR);
        return 0;
}

static int dial_once(const struct self_dial *dial, struct fault *f) {
        CLEANUP(close_p) int fd = -1;
        int r = dial_tcp(dial, &fd, f);

        return r ? r : dial_tls(dial, fd, f);
}

static void ask_locked(struct self_dial *dial) {
        int r = -FAULT_IO;

        for (int i = 0; i < SELF_DIAL_TRIES && r; i++) {
                dial->fault = (struct fault)FAULT_INIT;
                r = dial_once(dial, &dial->fault);
        }
        dial->outcome = r;
        dial->asked = true;
        dial->asked_ms = clock_mono_ms(dial->opts.clock);
}

int self_dial_check(void *ctx, struct fault *f) {
        struct self_dial *dial = ctx;
        int r;

        pthread_mutex_lock(&dial->mutex);
        if (!dial->asked || clock_mono_ms(dial->opts.clock) - dial->asked_ms >= SELF_DIAL_FRESH_MS)
                ask_locked(dial);
        r = dial->outcome;
        if (r && f)
                *f = dial->fault;
        pthread_mutex_unlock(&dial->mutex);
        return r;
}

int self_dial_new(const struct self_dial_opts *opts, struct self_dial **ret_dial, struct fault *f) {
        CLEANUP(free_p) struct self_dial *dial = calloc(1, sizeof(*dial));

        if (!dial || gnutls_certificate_allocate_credentials(&dial->credentials))
                return fault_set(f, FAULT_NOMEM, "out of memory");
        dial->opts = *opts;
        pthread_mutex_init(&dial->mutex, NULL);
        *ret_dial = TAKE(dial);
        return 0;
}

void self_dial_free(struct self_dial *dial) {
        if (!dial)
                return;
        gnutls_certificate_free_credentials(dial->credentials);
        pthread_mutex_destroy(&dial->mutex);
        free(dial);
}
