/* SPDX-License-Identifier: Apache-2.0 */
/* What comes with an answer: a Warning header, a Status. */
#include <string.h>

#include "common/base/fault.h"
#include "common/kube/kube.h"
#include "common/kube/warnings.h"
#include "tests/fuzz/fuzz.h"

static void read_warning(const char *text) {
        char warning[WARNING_TEXT_SIZE];

        if (warning_read(text, warning))
                MUST(*warning && strlen(warning) < WARNING_TEXT_SIZE);
}

static void read_status(const char *text, size_t size) {
        CLEANUP(kube_response_done) struct kube_response response = KUBE_RESPONSE_INIT;

        if (kube_response_read_status(&response, text, size, NULL))
                return;
        MUST(response.retry_after_ms >= 0 && response.retry_after_ms <= 60000);
        MUST(!response.status_message || *response.status_message);
        MUST(!response.status_reason || *response.status_reason);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        char *text = malloc(size + 1);

        if (!text)
                return 0;
        memcpy(text, data, size);
        text[size] = '\0';
        read_warning(text);
        read_status(text, size);
        free(text);
        return 0;
}
