/* SPDX-License-Identifier: Apache-2.0 */
#include "common/base/lifecycle.h"

#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "common/base/log.h"

/* Two arenas serve a handful of threads; eight a core, the default, would hold memory for nothing.
 */
#define LIFECYCLE_ARENAS         2
#define LIFECYCLE_TRIM_THRESHOLD (64 * 1024)

static sigset_t lifecycle_signals(void) {
        sigset_t set;

        sigemptyset(&set);
        sigaddset(&set, SIGTERM);
        sigaddset(&set, SIGINT);
        sigaddset(&set, SIGUSR1);
        sigaddset(&set, SIGUSR2);
        return set;
}

void lifecycle_init(void) {
        const struct rlimit none = { .rlim_cur = 0, .rlim_max = 0 };
        struct sigaction ignore = { .sa_handler = SIG_IGN };
        sigset_t set = lifecycle_signals();

        (void)setrlimit(RLIMIT_CORE, &none);
        (void)prctl(PR_SET_DUMPABLE, 0);
        (void)mallopt(M_ARENA_MAX, LIFECYCLE_ARENAS);
        (void)mallopt(M_TRIM_THRESHOLD, LIFECYCLE_TRIM_THRESHOLD);
        (void)sigaction(SIGPIPE, &ignore, NULL);
        (void)pthread_sigmask(SIG_BLOCK, &set, NULL);
}

static void change_level(int delta) {
        int level = (int)log_get_level() + delta;

        if (level < LOG_DEBUG || level > LOG_ERROR)
                return;
        log_set_level((enum log_level)level);
        log_write(LOG_ERROR, "log level changed",
                  (const struct log_field[]){ LOG_INT("level", level), LOG_END });
}

static void end_now(int signal) {
        (void)signal;
        _exit(1);
}

void lifecycle_wait(void) {
        struct sigaction end = { .sa_handler = end_now };
        sigset_t set = lifecycle_signals();
        int signal = 0;

        while (signal != SIGTERM && signal != SIGINT) {
                if (sigwait(&set, &signal))
                        continue;
                if (signal == SIGUSR1)
                        change_level(-1);
                if (signal == SIGUSR2)
                        change_level(1);
        }
        log_info("stopping", LOG_STR("signal", signal == SIGTERM ? "SIGTERM" : "SIGINT"));
        (void)sigaction(SIGTERM, &end, NULL);
        (void)sigaction(SIGINT, &end, NULL);
        /* The others stay blocked: by default they would end the process. */
        (void)sigdelset(&set, SIGUSR1);
        (void)sigdelset(&set, SIGUSR2);
        (void)pthread_sigmask(SIG_UNBLOCK, &set, NULL);
}
