/* SPDX-License-Identifier: Apache-2.0 */
/* The two streams that the user sees. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "common/base/cleanup.h"
#include "kubectl-dbu/text.h"

struct fault;
struct strbuf;

/* Of a descriptor: colours on a terminal unless NO_COLOR is set or TERM is "dumb"; its width, or
 * COLUMNS, or 80. */
struct look output_look(int fd, int64_t now_s);

/* Writes the text to stdout. Return: 0, -FAULT_NOMEM when the buffer is bad, -FAULT_IO. */
int output_print(const struct strbuf *text, struct fault *f) MUST_CHECK;
/* Likewise a JSON document, with what a terminal could act on escaped. */
int output_print_json(const struct strbuf *json, struct fault *f) MUST_CHECK;

/* One line on stderr; what others wrote in it is made harmless. */
void output_say(const char *fmt, ...) FORMAT(1, 2);
