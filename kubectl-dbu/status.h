/* SPDX-License-Identifier: Apache-2.0 */
/* `kubectl dbu status`: one object in full, for a person or as JSON. Pure. */
#pragma once

#include "common/base/cleanup.h"

struct fault;
struct look;
struct scene;
struct strbuf;

/* Append what is asked, what stands, the timeline, what to do next. Return: 0, -FAULT_NOMEM. */
int status_print(struct strbuf *out, const struct scene *scene, const struct look *look,
                 struct fault *f) MUST_CHECK;
int status_print_json(struct strbuf *out, const struct scene *scene, struct fault *f) MUST_CHECK;
