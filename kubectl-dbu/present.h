/* SPDX-License-Identifier: Apache-2.0 */
/* What several commands say of an object in the same words. Pure. */
#pragma once

#include "kubectl-dbu/text.h"
#include "kubectl-dbu/verdict.h"

struct dbupgrade;
struct dbupgrade_run;
struct json_writer;
struct strbuf;

enum style present_style(enum state state);

/* Appends why it stands as it does, in words, as others wrote it: to be cleaned. */
void present_reason(struct strbuf *out, const struct dbupgrade *object, const struct verdict *v);

/* Appends "NAME: STATE: REASON", harmless, the state coloured, wrapped on a terminal; no line end.
 */
void present_line(struct strbuf *out, const struct dbupgrade *object, const struct look *look);

/* The members of an object in -o json: name, namespace, state, reason, message, since, … */
void present_json(struct json_writer *w, const struct dbupgrade *object);

/* The members of one run in -o json. */
void present_run_json(struct json_writer *w, const struct dbupgrade_run *run);
