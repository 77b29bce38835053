/* SPDX-License-Identifier: Apache-2.0 */
/* Kubernetes quantities ("80", "250m", "1.5Gi", "5e3"), by the grammar that
 * k8s.io/apimachinery/pkg/api/resource documents. Pure. Thread-safe. */
#pragma once

#include <stdbool.h>

bool quantity_valid(const char *text);
