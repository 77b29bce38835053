/* SPDX-License-Identifier: Apache-2.0 */
#include "reconciler/election.h"

#include <pthread.h>
#include <stdbool.h>
#include <unistd.h>

#include "common/api/names.h"
#include "common/base/clock.h"
#include "common/base/fault.h"
#include "common/base/log.h"
#include "common/base/metrics.h"
#include "common/base/random.h"
#include "common/kube/leader.h"

/* A host name has at most 64 bytes, a Pod's name 253; 128 random bits as hex, and "_". */
#define ELECTION_IDENTITY_SIZE 512

/* How long past its deadline a thread may still be on its way to end the process. */
#define ELECTION_GRACE_MS 20000

struct election {
        struct election_opts opts;
        char identity[ELECTION_IDENTITY_SIZE];
        struct leader *leader;
        pthread_t thread;
        bool started;
};

static void on_leading(void *ctx) {
        struct election *e = ctx;

        series_set(e->opts.leading_gauge, 1);
        e->opts.leading(e->opts.ctx);
}

/* Another identity in each process: a Pod that is started again must not take its old self's
 * Lease for its own. */
static void make_identity(struct election *e) {
        const struct random *random = e->opts.kube.random;
        uint32_t parts[4];

        for (size_t i = 0; i < 4; i++)
                parts[i] = random->u32(random->ctx);
        (void)snprintf(e->identity, sizeof(e->identity), "%.253s_%08x%08x%08x%08x",
                       e->opts.instance, parts[0], parts[1], parts[2], parts[3]);
}

int election_new(const struct election_opts *opts, struct election **ret_election,
                 struct fault *f) {
        CLEANUP(election_free_p) struct election *e = calloc(1, sizeof(*e));
        struct leader_opts leader;
        int r;

        if (!e)
                return fault_set(f, FAULT_NOMEM, "out of memory");
        e->opts = *opts;
        e->opts.kube.component = "leader-election";
        make_identity(e);
        leader = (struct leader_opts){
                .lease = { .namespace_ = opts->namespace_,
                           .name = opts->name,
                           .identity = e->identity,
                           .duration_ms = opts->duration_ms,
                           .renew_deadline_ms = opts->renew_ms,
                           .retry_ms = opts->retry_ms },
                .field_manager = NAMES_FIELD_MANAGER,
                .clock = opts->kube.clock,
                .random = opts->kube.random,
                .leading = on_leading,
                .ctx = e,
        };
        r = kube_curl_new(&e->opts.kube, &leader.kube, f);
        if (!r)
                r = leader_new(&leader, &e->leader, f);
        if (r)
                return r;
        *ret_election = TAKE(e);
        return 0;
}

static void *election_main(void *ctx) {
        struct election *e = ctx;

        if (leader_run(e->leader) == LEADER_E_LOST)
                _exit(EXIT_FAILURE); /* leader_run has said why */
        series_set(e->opts.leading_gauge, 0);
        return NULL;
}

int election_start(struct election *e, struct fault *f) {
        int error = pthread_create(&e->thread, NULL, election_main, e);

        if (error)
                return fault_set_errno(f, FAULT_IO, error, "start a thread");
        e->started = true;
        return 0;
}

void election_stop(struct election *e) {
        if (!e->started)
                return;
        leader_stop(e->leader);
        pthread_join(e->thread, NULL);
        e->started = false;
}

void election_free(struct election *e) {
        if (!e)
                return;
        election_stop(e);
        leader_free(e->leader);
        free(e);
}

int64_t election_write_deadline_ms(void *election) {
        struct election *e = election;

        return leader_write_deadline_ms(e->leader);
}

int election_check(void *election, struct fault *f) {
        struct election *e = election;
        int64_t deadline_ms = leader_write_deadline_ms(e->leader);

        if (deadline_ms && clock_boot_ms(e->opts.kube.clock) > deadline_ms + ELECTION_GRACE_MS)
                return fault_set(f, FAULT_BUG, "leadership was lost long ago");
        return 0;
}
