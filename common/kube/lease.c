/* SPDX-License-Identifier: Apache-2.0 */
#include "common/kube/lease.h"

#include <string.h>

#include "common/base/clock.h"
#include "common/base/fault.h"
#include "common/json/json_get.h"
#include "common/json/json_write.h"
#include "common/kube/kube.h"

/* Metadata with managed fields, labels and annotations of a Lease is some hundred bytes. */
#define METADATA_MAX (64UL * 1024)
#define BODY_MAX     (2 * METADATA_MAX)

int lease_config_check(const struct lease_config *c, struct fault *f) {
        if (c->duration_ms <= c->renew_deadline_ms)
                return fault_set(f, FAULT_INVALID,
                                 "the lease duration must be longer than the renew deadline");
        if (c->retry_ms < 1 || c->renew_deadline_ms * 5 <= c->retry_ms * 6)
                return fault_set(f, FAULT_INVALID,
                                 "the renew deadline must be longer than 1.2 retry periods");
        if (c->duration_ms % 1000)
                return fault_set(f, FAULT_INVALID, "the lease duration must be whole seconds");
        return 0;
}

void lease_init(struct lease *l, const struct lease_config *config) {
        *l = (struct lease){ .config = config,
                             .metadata = STRBUF_INIT(METADATA_MAX),
                             .spec = STRBUF_INIT(METADATA_MAX),
                             .body = STRBUF_INIT(BODY_MAX) };
}

void lease_done(struct lease *l) {
        strbuf_done(&l->metadata);
        strbuf_done(&l->spec);
        strbuf_done(&l->body);
}

int64_t lease_deadline_ms(const struct lease *l) {
        return l->leading && !l->lost ? l->renewed_ms + l->config->renew_deadline_ms : 0;
}

static bool is_ours(const struct lease *l) {
        return l->exists && strcmp(l->holder, l->config->identity) == 0;
}

/* Whether somebody else may still act. */
static bool is_held(const struct lease *l, int64_t now_ms) {
        return l->exists && l->holder[0] && !is_ours(l) && l->observed_ms + l->valid_ms > now_ms;
}

/* The record that makes holder the leader; "" gives it back. */
static void write_record(struct lease *l, const char *holder, int64_t duration_s, int64_t wall_us) {
        struct json_writer w = JSON_WRITER_INIT(&l->body);
        char now[CLOCK_MICRO_TIME_SIZE];

        clock_format_micro_time(wall_us, now);
        strbuf_reset(&l->body);
        json_object(&w);
        json_kv_string(&w, "apiVersion", "coordination.k8s.io/v1");
        json_kv_string(&w, "kind", "Lease");
        json_key(&w, "metadata");
        if (l->exists) {
                /* Its resourceVersion makes a lost race a 409. */
                json_put_raw(&w, l->metadata.ptr, l->metadata.len);
        } else {
                json_object(&w);
                json_kv_string(&w, "name", l->config->name);
                json_kv_string(&w, "namespace", l->config->namespace_);
                json_end_object(&w);
        }
        json_kv_object(&w, "spec");
        if (holder[0])
                json_kv_string(&w, "holderIdentity", holder);
        json_kv_int(&w, "leaseDurationSeconds", duration_s);
        json_kv_string(&w, "acquireTime",
                       holder[0] && is_ours(l) && l->acquire_time[0] ? l->acquire_time : now);
        json_kv_string(&w, "renewTime", now);
        json_kv_int(&w, "leaseTransitions", !l->exists ? 0 : l->transitions + (is_ours(l) ? 0 : 1));
        json_end_object(&w);
        json_end_object(&w);
}

/* Fills the step of a request. */
static int begin(struct lease *l, enum lease_action action, int64_t now_ms,
                 struct lease_step *ret_step, struct fault *f) {
        int64_t half_ms = l->config->renew_deadline_ms / 2;
        /* One hung request must not cost the lease, as in controller-runtime. */
        int64_t timeout_ms = half_ms > 1000 ? half_ms : 1000;
        int r = action == LEASE_READ ? 0 : strbuf_check(&l->body, f);

        if (r)
                return r;
        if (l->leading && timeout_ms > lease_deadline_ms(l) - now_ms)
                timeout_ms = lease_deadline_ms(l) - now_ms;
        l->action = action;
        l->request_ms = now_ms;
        *ret_step = (struct lease_step){ .action = action,
                                         .timeout_ms = timeout_ms > 0 ? timeout_ms : 1,
                                         .body = action == LEASE_READ ? NULL : l->body.ptr,
                                         .body_len = action == LEASE_READ ? 0 : l->body.len };
        return 0;
}

int lease_next(struct lease *l, int64_t now_ms, int64_t wall_us, struct lease_step *ret_step,
               struct fault *f) {
        int64_t until_ms = l->next_ms;

        if (l->leading && now_ms >= lease_deadline_ms(l))
                l->lost = true;
        if (l->lost) {
                *ret_step = (struct lease_step){ .action = LEASE_LOST };
                return 0;
        }
        if (now_ms < until_ms) {
                if (l->leading && until_ms > lease_deadline_ms(l))
                        until_ms = lease_deadline_ms(l);
                *ret_step =
                        (struct lease_step){ .action = LEASE_WAIT, .wait_ms = until_ms - now_ms };
                return 0;
        }
        if (!l->fresh)
                return begin(l, LEASE_READ, now_ms, ret_step, f);
        write_record(l, l->config->identity, l->config->duration_ms / 1000, wall_us);
        return begin(l, l->exists ? LEASE_UPDATE : LEASE_CREATE, now_ms, ret_step, f);
}

int lease_release(struct lease *l, int64_t now_ms, int64_t wall_us, struct lease_step *ret_step,
                  struct fault *f) {
        if (!l->leading || l->lost || !l->fresh || now_ms >= lease_deadline_ms(l)) {
                *ret_step = (struct lease_step){ .action = LEASE_LOST };
                return 0;
        }
        write_record(l, "", 1, wall_us);
        return begin(l, LEASE_UPDATE, now_ms, ret_step, f);
}

static void copy_text(const cJSON *tree, const char *path, char *ret_text, size_t size) {
        const char *text = json_string_at(tree, path);

        ret_text[0] = '\0';
        if (strlen(text) < size)
                memcpy(ret_text, text, strlen(text) + 1);
}

enum { WANT_METADATA, WANT_SPEC, WANTS };

/* Takes over a record; notes when it has changed. Return: false when it cannot be understood. */
static bool observe(struct lease *l, int64_t now_ms, const char *json, size_t len) {
        struct json_want wants[WANTS] = {
                [WANT_METADATA] = { .path = { "metadata" } }, [WANT_SPEC] = { .path = { "spec" } }
        };
        const struct json_span *spec = &wants[WANT_SPEC].span;
        const struct json_span *metadata = &wants[WANT_METADATA].span;
        CLEANUP(cJSON_Delete_p) cJSON *tree = NULL;
        int64_t duration_s;

        if (json_check(json, len, wants, WANTS, NULL) || json_span_kind(spec) != '{' ||
            json_span_kind(metadata) != '{' || json_parse_span(spec, &tree, NULL))
                return false;
        if (strlen(json_string_at(tree, "holderIdentity")) >= sizeof(l->holder))
                return false;
        if (!l->exists || l->spec.len != spec->len ||
            memcmp(l->spec.ptr, spec->text, spec->len) != 0)
                l->observed_ms = now_ms;
        strbuf_reset(&l->metadata);
        strbuf_add(&l->metadata, metadata->text, metadata->len);
        strbuf_reset(&l->spec);
        strbuf_add(&l->spec, spec->text, spec->len);
        copy_text(tree, "holderIdentity", l->holder, sizeof(l->holder));
        copy_text(tree, "acquireTime", l->acquire_time, sizeof(l->acquire_time));
        l->transitions = json_int_at(tree, "leaseTransitions", 0);
        /* The holder's own term counts; a record without one gets ours. */
        duration_s = json_int_at(tree, "leaseDurationSeconds", 0);
        l->valid_ms = duration_s > 0 && duration_s < INT32_MAX ? duration_s * 1000
                                                               : l->config->duration_ms;
        l->exists = true;
        return !l->metadata.bad && !l->spec.bad;
}

/* Another attempt after a while. Candidates spread theirs, as client-go's. */
static void retry_later(struct lease *l, int64_t now_ms, uint32_t random) {
        int64_t spread_ms = l->leading ? 0 : (int64_t)random % (l->config->retry_ms * 6 / 5 + 1);

        l->next_ms = now_ms + l->config->retry_ms + spread_ms;
        l->fresh = false;
}

/* Somebody else holds it: looks more often than that one renews, and at the moment of expiry, so
 * that a fail-over takes little more than the lease duration. */
static void look_later(struct lease *l, int64_t now_ms, uint32_t random) {
        int64_t wait_ms = l->config->retry_ms / 4 + (int64_t)random % (l->config->retry_ms / 4 + 1);
        int64_t expiry_ms = l->observed_ms + l->valid_ms;

        l->next_ms = now_ms + wait_ms < expiry_ms ? now_ms + wait_ms : expiry_ms;
        l->fresh = false;
}

static void answer_read(struct lease *l, int64_t now_ms, int result, const char *json, size_t len,
                        uint32_t random) {
        bool absent = result == KUBE_E_NOT_FOUND;

        if (absent) {
                l->exists = false;
        } else if (result != 0 || !observe(l, now_ms, json, len)) {
                retry_later(l, now_ms, random);
                return;
        }
        if (l->leading && !is_ours(l))
                l->lost = true;
        if (is_held(l, now_ms)) {
                look_later(l, now_ms, random);
                return;
        }
        l->fresh = true;
        l->just_read = true;
}

static void answer_write(struct lease *l, int64_t now_ms, int result, const char *json, size_t len,
                         uint32_t random) {
        /* A renewal without a read may have failed because of a change: look at once. */
        bool look = l->leading && !l->just_read;

        if (result == 0 && observe(l, now_ms, json, len) && is_ours(l)) {
                l->leading = true;
                l->fresh = true;
                l->just_read = false;
                l->renewed_ms = l->request_ms;
                l->next_ms = l->request_ms + l->config->retry_ms;
                return;
        }
        retry_later(l, now_ms, random);
        if (look)
                l->next_ms = now_ms;
}

void lease_answer(struct lease *l, int64_t now_ms, int result, const char *json, size_t len,
                  uint32_t random) {
        switch (l->action) {
        case LEASE_READ:
                answer_read(l, now_ms, result, json, len, random);
                break;
        case LEASE_CREATE:
        case LEASE_UPDATE:
                answer_write(l, now_ms, result, json, len, random);
                break;
        case LEASE_WAIT:
        case LEASE_LOST:
                break;
        }
}
