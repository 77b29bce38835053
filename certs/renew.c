/* SPDX-License-Identifier: Apache-2.0 */
#include "certs/renew.h"

static int64_t life_s(const struct renew_pair *pair) {
        return pair->not_after_s - pair->issued_s;
}

/* When a third of the life is left. */
static int64_t due_s(const struct renew_pair *pair) {
        return pair->not_after_s - life_s(pair) / 3;
}

bool renew_is_late(const struct renew_pair *pair, int64_t now_s) {
        return pair->state >= RENEW_BY_OLD && now_s >= pair->not_after_s - life_s(pair) / 8;
}

static struct renew_step step(enum renew_action action) {
        return (struct renew_step){ .action = action };
}

/* What comes at a time of its own: now, or waited for. */
static struct renew_step at(int64_t time_s, enum renew_action action, int64_t now_s) {
        if (now_s >= time_s)
                return step(action);
        return (struct renew_step){ .action = RENEW_WAIT, .again_s = time_s - now_s };
}

static struct renew_step sooner(struct renew_step a, struct renew_step b) {
        if (a.action != RENEW_WAIT)
                return a;
        return b.action != RENEW_WAIT || b.again_s < a.again_s ? b : a;
}

static struct renew_step decide_serving(const struct renew_input *in) {
        int64_t usable_s = in->ca.issued_s + in->propagation_s;

        switch (in->serving.state) {
        case RENEW_ABSENT:
        case RENEW_BROKEN:
                break;
        case RENEW_BY_OLD:
                /* Late is worse than early: nobody can use what has expired. */
                if (in->now_s < in->serving.not_after_s)
                        return at(usable_s, RENEW_WRITE_SERVING, in->now_s);
                break;
        case RENEW_GOOD:
                return at(due_s(&in->serving), RENEW_WRITE_SERVING, in->now_s);
        }
        return step(RENEW_WRITE_SERVING);
}

struct renew_step renew_decide(const struct renew_input *in) {
        struct renew_step serving;

        if (in->ca.state != RENEW_GOOD || in->now_s >= in->ca.not_after_s)
                return step(RENEW_WRITE_CA);
        if (!in->has_old && in->now_s >= due_s(&in->ca))
                return step(RENEW_WRITE_CA);
        /* The bundle first: a serving certificate is of use only to who trusts its CA. */
        for (int i = 0; i < RENEW_CONFIGURATIONS; i++)
                if (in->bundles[i] == RENEW_OTHER_BUNDLE)
                        return (struct renew_step){ .action = RENEW_PATCH_BUNDLE, .which = i };
        serving = decide_serving(in);
        if (!in->has_old)
                return sooner(serving, at(due_s(&in->ca), RENEW_WRITE_CA, in->now_s));
        if (in->serving.state != RENEW_GOOD)
                return serving;
        return sooner(serving,
                      at(in->serving.issued_s + in->propagation_s, RENEW_DROP_OLD, in->now_s));
}
