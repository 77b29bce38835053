/* SPDX-License-Identifier: Apache-2.0 */
/* A kubeconfig of any form. */
#include "common/base/fault.h"
#include "common/kube/kube_config.h"
#include "common/kube/yaml_tree.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        CLEANUP(kube_config_done) struct kube_config config = { .server = NULL };
        struct fault f = FAULT_INIT;

        if (kube_config_parse((const char *)data, size, "/nonexistent", &config, &f))
                MUST(f.text[0]);
        else
                MUST(config.server && config.server[0]);
        return 0;
}
