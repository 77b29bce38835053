/* SPDX-License-Identifier: Apache-2.0 */
/* Shell completion: by kubectl's own mechanism (a program kubectl_complete-dbu in PATH that speaks
 * the protocol of Cobra), and by scripts for kubectl-dbu itself that ask the same.
 */
#pragma once

#include "common/base/cleanup.h"

struct fault;
struct strbuf;

/* Appends what the last of words[0..count) may become: one a line, "word TAB description", and at
 * the end ":4", no file names, or ":0", file names. What cannot be asked of the cluster is left
 * out: completion never complains. */
void complete(struct strbuf *out, int count, char **words);

/* The script for bash, zsh or fish. Static storage. */
const char *complete_script(const char *shell);
