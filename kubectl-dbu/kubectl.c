/* SPDX-License-Identifier: Apache-2.0 */
#include "kubectl-dbu/kubectl.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "common/base/fault.h"
#include "common/base/strbuf.h"
#include "kubectl-dbu/args.h"

/* Where the child's stdout and stderr go; write_fd is the pipe's end, or -1. */
static int direct(posix_spawn_file_actions_t *actions, enum kubectl_output output, int write_fd) {
        int r = 0;

        if (output != KUBECTL_PASS)
                r = posix_spawn_file_actions_adddup2(actions, write_fd, STDOUT_FILENO);
        if (!r && output == KUBECTL_READ_BOTH)
                r = posix_spawn_file_actions_adddup2(actions, write_fd, STDERR_FILENO);
        if (!r && output == KUBECTL_SILENT)
                r = posix_spawn_file_actions_addopen(actions, STDERR_FILENO, "/dev/null", O_WRONLY,
                                                     0);
        return r;
}

static int spawn(pid_t *ret_pid, char **argv, enum kubectl_output output, int write_fd) {
        posix_spawn_file_actions_t actions;
        int r = posix_spawn_file_actions_init(&actions);

        if (r)
                return r;
        r = direct(&actions, output, write_fd);
        if (!r)
                r = posix_spawnp(ret_pid, argv[0], &actions, NULL, argv, environ);
        (void)posix_spawn_file_actions_destroy(&actions);
        return r;
}

int kubectl_start(struct kubectl_call *ret_call, const char *const *words,
                  const struct args_through *through, enum kubectl_output output, struct fault *f) {
        char *argv[1 + KUBECTL_WORDS_MAX + ARGS_THROUGH_MAX + 1] = { (char *)"kubectl" };
        CLEANUP(close_p) int read_fd = -1;
        CLEANUP(close_p) int write_fd = -1;
        size_t count = 1;
        int fds[2], r;
        pid_t pid;

        for (; *words && count <= KUBECTL_WORDS_MAX; words++)
                argv[count++] = (char *)*words; /* execve promises not to write */
        if (*words)
                return fault_set(f, FAULT_BUG, "more than %d words for kubectl", KUBECTL_WORDS_MAX);
        for (size_t i = 0; i < through->count; i++)
                argv[count++] = through->items[i];
        if (output != KUBECTL_PASS) {
                if (pipe2(fds, O_CLOEXEC) < 0)
                        return fault_set_errno(f, FAULT_IO, errno, "pipe");
                read_fd = fds[0];
                write_fd = fds[1];
        }
        r = spawn(&pid, argv, output, write_fd);
        if (r == ENOENT)
                return fault_set(f, FAULT_IO, "there is no kubectl in PATH");
        if (r)
                return fault_set_errno(f, FAULT_IO, r, "start kubectl");
        *ret_call = (struct kubectl_call){ .pid = pid, .fd = read_fd };
        read_fd = -1;
        return 0;
}

int kubectl_poll(const struct kubectl_call *call, int64_t deadline_ms, struct fault *f) {
        for (;;) {
                struct pollfd fd = { .fd = call->fd, .events = POLLIN };
                int64_t left = deadline_ms - clock_mono_ms(clock_system());
                int ready;

                if (deadline_ms > 0 && left <= 0)
                        return KUBECTL_E_LATE;
                ready = poll(&fd, 1, deadline_ms == 0 || left > INT_MAX ? INT_MAX : (int)left);
                if (ready > 0)
                        return 0;
                if (ready < 0 && errno != EINTR)
                        return fault_set_errno(f, FAULT_IO, errno, "wait for what kubectl prints");
        }
}

int kubectl_read(struct kubectl_call *call, int64_t deadline_ms, struct strbuf *out,
                 struct fault *f) {
        char buffer[65536];

        while (!out->bad) {
                int r = kubectl_poll(call, deadline_ms, f);
                ssize_t n = r == 0 ? read(call->fd, buffer, sizeof(buffer)) : 0;

                if (r)
                        return r;
                if (n == 0)
                        break;
                if (n < 0 && errno != EINTR)
                        return fault_set_errno(f, FAULT_IO, errno, "read what kubectl prints");
                if (n > 0)
                        strbuf_add(out, buffer, (size_t)n);
        }
        return fault_wrap(f, strbuf_check(out, f), "what kubectl prints");
}

int kubectl_end(struct kubectl_call *call, bool *ret_well, struct fault *f) {
        pid_t pid = call->pid;
        int status;

        while (waitpid(pid, &status, 0) < 0)
                if (errno != EINTR)
                        return fault_set_errno(f, FAULT_IO, errno, "wait for kubectl");
        call->pid = 0;
        *ret_well = WIFEXITED(status) && WEXITSTATUS(status) == 0;
        return 0;
}

void kubectl_call_done(struct kubectl_call *call) {
        bool well;

        close_p(&call->fd);
        call->fd = -1;
        if (call->pid == 0)
                return;
        (void)kill(call->pid, SIGTERM);
        (void)!kubectl_end(call, &well, NULL);
        call->pid = 0;
}
