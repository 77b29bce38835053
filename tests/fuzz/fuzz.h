/* SPDX-License-Identifier: Apache-2.0 */
/* What every fuzz target needs. A broken promise is an abort, which the fuzzer keeps as a finding.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define MUST(condition)                                                                            \
        do {                                                                                       \
                if (!(condition)) {                                                                \
                        (void)fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);      \
                        abort();                                                                   \
                }                                                                                  \
        } while (0)
