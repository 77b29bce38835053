/* SPDX-License-Identifier: Apache-2.0 */
#include "certs/renew.h"

/* When a third of the life is left. */
static int64_t due_s(const struct renew_pair *pair) {
        return pair->not_after_s - (pair->not_after_s - pair->not_before_s) / 3;
}

static bool is_due(const struct renew_pair *pair, int64_t now_s) {
        return pair->state != RENEW_GOOD || now_s >= due_s(pair);
}

struct renew_step renew_decide(const struct renew_input *in) {
        int64_t next_s;

        if (is_due(&in->ca, in->now_s))
                return (struct renew_step){ .action = RENEW_WRITE_CA };
        /* The bundle first: a serving certificate is of use only to who trusts its CA. */
        for (int i = 0; i < RENEW_CONFIGURATIONS; i++)
                if (in->bundles[i] == RENEW_OTHER_BUNDLE)
                        return (struct renew_step){ .action = RENEW_PATCH_BUNDLE, .which = i };
        if (is_due(&in->serving, in->now_s))
                return (struct renew_step){ .action = RENEW_WRITE_SERVING };
        next_s = due_s(&in->serving) < due_s(&in->ca) ? due_s(&in->serving) : due_s(&in->ca);
        return (struct renew_step){ .action = RENEW_WAIT, .again_s = next_s - in->now_s };
}
