/* SPDX-License-Identifier: Apache-2.0 */
/* Semantic versions: semver.org 2.0.0, with an optional 'v' in front. Pure. Thread-safe. */
#pragma once

#include <stdbool.h>

bool semver_valid(const char *text);
