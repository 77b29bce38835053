/* SPDX-License-Identifier: Apache-2.0 */
#include "common/kube/leader.h"

#include <stdatomic.h>
#include <string.h>

#include "common/base/clock.h"
#include "common/base/fault.h"
#include "common/base/log.h"
#include "common/base/random.h"
#include "common/base/strbuf.h"
#include "common/kube/stopper.h"

/* After a failed allocation. */
#define NOMEM_WAIT_MS 500

struct leader {
        struct leader_opts opts;
        struct lease lease; /* of the thread of leader_run */
        struct strbuf collection, path, query;
        char holder[LEASE_HOLDER_SIZE]; /* as last logged */
        struct log_limit log_limit;
        _Atomic int64_t deadline_ms;
        struct stopper stopper;
};

int leader_new(struct leader_opts *opts, struct leader **ret_leader, struct fault *f) {
        CLEANUP(kube_close) struct kube kube = opts->kube;
        CLEANUP(leader_free_p) struct leader *l = NULL;
        int r;

        opts->kube = (struct kube){ 0 };
        r = lease_config_check(&opts->lease, f);
        if (r)
                return r;
        l = calloc(1, sizeof(*l));
        if (!l || stopper_init(&l->stopper)) {
                free(TAKE(l));
                return fault_set(f, FAULT_NOMEM, "out of memory");
        }
        l->opts = *opts;
        l->opts.kube = kube;
        kube = (struct kube){ 0 };
        lease_init(&l->lease, &l->opts.lease);
        l->collection = (struct strbuf)STRBUF_INIT(1024);
        l->path = (struct strbuf)STRBUF_INIT(1024);
        strbuf_str(&l->collection, "/apis/coordination.k8s.io/v1/namespaces/");
        strbuf_url(&l->collection, opts->lease.namespace_);
        strbuf_str(&l->collection, "/leases");
        strbuf_printf(&l->path, "%s/", strbuf_text(&l->collection));
        strbuf_url(&l->path, opts->lease.name);
        l->query = (struct strbuf)STRBUF_INIT(1024);
        strbuf_str(&l->query, "fieldManager=");
        strbuf_url(&l->query, opts->field_manager);
        r = strbuf_check(&l->collection, f);
        if (!r)
                r = strbuf_check(&l->path, f);
        if (!r)
                r = strbuf_check(&l->query, f);
        if (r)
                return r;
        *ret_leader = TAKE(l);
        return 0;
}

void leader_free(struct leader *l) {
        if (!l)
                return;
        kube_close(&l->opts.kube);
        lease_done(&l->lease);
        strbuf_done(&l->collection);
        strbuf_done(&l->path);
        strbuf_done(&l->query);
        stopper_done(&l->stopper);
        free(l);
}

int64_t leader_write_deadline_ms(void *ctx) {
        struct leader *l = ctx;

        return atomic_load(&l->deadline_ms);
}

void leader_stop(struct leader *l) {
        stopper_stop(&l->stopper);
}

static int64_t now_ms(const struct leader *l) {
        return clock_boot_ms(l->opts.clock);
}

static enum kube_method method_of(enum lease_action action) {
        return action == LEASE_READ ? KUBE_GET : action == LEASE_CREATE ? KUBE_POST : KUBE_PUT;
}

/* Sends the step's request and hands its answer on. */
static void leader_send(struct leader *l, const struct lease_step *step) {
        CLEANUP(kube_response_done) struct kube_response response = KUBE_RESPONSE_INIT;
        const struct kube_request request = {
                .method = method_of(step->action),
                .path = step->action == LEASE_CREATE ? l->collection.ptr : l->path.ptr,
                .query = step->action == LEASE_READ ? NULL : l->query.ptr,
                .body = step->body,
                .body_len = step->body_len,
                .timeout_ms = step->timeout_ms,
        };
        struct fault f = FAULT_INIT;
        int64_t suppressed = 0;
        int r = kube_request(&l->opts.kube, &request, &response, &f);

        lease_answer(&l->lease, now_ms(l), r, strbuf_text(&response.body), response.body.len,
                     l->opts.random->u32(l->opts.random->ctx));
        /* 404 and 409 are moves of the game. */
        if (r && r != KUBE_E_NOT_FOUND && r != KUBE_E_CONFLICT &&
            log_limit_pass(&l->log_limit, 60000, &suppressed))
                log_warning("leader election request failed, will try again",
                            LOG_STR("error", f.text), LOG_INT("suppressed", suppressed));
}

/* Logs who leads when that has changed. */
static void log_holder(struct leader *l) {
        if (strcmp(l->holder, l->lease.holder) == 0)
                return;
        memcpy(l->holder, l->lease.holder, sizeof(l->holder));
        log_info(l->lease.leading ? "leading" : "waiting for the lease",
                 LOG_STR("lease", l->opts.lease.name), LOG_STR("holder", l->holder));
}

static void leader_release(struct leader *l) {
        struct lease_step step;

        atomic_store(&l->deadline_ms, 0); /* before others may begin */
        if (lease_release(&l->lease, now_ms(l), clock_wall_us(l->opts.clock), &step, NULL) == 0 &&
            step.action == LEASE_UPDATE)
                leader_send(l, &step);
}

int leader_run(struct leader *l) {
        bool told = false;
        int64_t wait_ms = 0;

        while (!stopper_wait(&l->stopper, wait_ms)) {
                struct lease_step step;
                int r = lease_next(&l->lease, now_ms(l), clock_wall_us(l->opts.clock), &step, NULL);

                wait_ms = r ? NOMEM_WAIT_MS : step.wait_ms;
                if (r || step.action == LEASE_WAIT)
                        continue;
                if (step.action == LEASE_LOST) {
                        atomic_store(&l->deadline_ms, 0);
                        log_error("leader election lost", LOG_STR("lease", l->opts.lease.name));
                        return LEADER_E_LOST;
                }
                leader_send(l, &step);
                atomic_store(&l->deadline_ms, lease_deadline_ms(&l->lease));
                log_holder(l);
                if (l->lease.leading && !told)
                        l->opts.leading(l->opts.ctx);
                told = l->lease.leading;
        }
        leader_release(l);
        return 0;
}
