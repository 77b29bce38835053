/* SPDX-License-Identifier: Apache-2.0 */

/* The first process of every pod: holds its namespaces open. */
#include <signal.h>
#include <unistd.h>

static void end(int signal) {
        (void)signal;
        _exit(0);
}

int main(void) {
        signal(SIGINT, end);
        signal(SIGTERM, end);
        signal(SIGCHLD, SIG_IGN); /* the kernel reaps orphans */
        for (;;)
                pause();
}
