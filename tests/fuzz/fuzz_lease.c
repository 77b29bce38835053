/* SPDX-License-Identifier: Apache-2.0 */
/* A Lease of any form, as it is read and as a write is answered: nobody leads by it unless its own
 * identity is in it, and what is written is JSON again. */
#include <string.h>

#include "common/base/fault.h"
#include "common/json/json_check.h"
#include "common/kube/lease.h"
#include "tests/fuzz/fuzz.h"

static const struct lease_config config = { "ns", "n", "me", 15000, 10000, 2000 };

static void play(const char *text, size_t size) {
        struct lease lease;
        int64_t now_ms = 1000000;

        lease_init(&lease, &config);
        for (int i = 0; i < 8; i++, now_ms += 4000) {
                bool led = lease_deadline_ms(&lease) != 0;
                struct lease_step step;

                if (lease_next(&lease, now_ms, now_ms * 1000, &step, NULL) ||
                    step.action == LEASE_LOST)
                        break;
                if (step.action == LEASE_WAIT) {
                        MUST(step.wait_ms > 0);
                        continue;
                }
                MUST(step.timeout_ms > 0);
                if (step.body)
                        MUST(json_check(step.body, step.body_len, NULL, 0, NULL) == 0);
                lease_answer(&lease, now_ms, 0, text, size, 7);
                if (!led && lease_deadline_ms(&lease))
                        MUST(step.action != LEASE_READ && strcmp(lease.holder, "me") == 0);
        }
        lease_done(&lease);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        play((const char *)data, size);
        return 0;
}
