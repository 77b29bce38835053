/* SPDX-License-Identifier: Apache-2.0 */
/* What both processes do around their work: signals, core dumps, memory settings.
 *
 * Order of calls: lifecycle_init before any thread is made, then threads, then lifecycle_wait in
 * the main thread.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/* Blocks the signals that lifecycle_wait takes (as process 1, their default is to be ignored),
 * ignores SIGPIPE, switches core dumps off (keys are in memory) and keeps malloc from growing an
 * arena for every thread. */
void lifecycle_init(void);

/* Waits for SIGTERM or SIGINT; meanwhile SIGUSR1 makes the log say more, SIGUSR2 less. After it
 * returns a second SIGTERM or SIGINT ends the process at once with status 1. */
void lifecycle_wait(void);
