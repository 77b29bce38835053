/* SPDX-License-Identifier: Apache-2.0 */
#include "common/base/lifecycle.h"

#include <check.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/base/log.h"

/* ---- a process of its own, which tells its parent how far it is ---- */

struct child {
        pid_t pid;
        int out; /* what it writes to stdout and to its log */
        char text[4096];
        size_t len;
};

static void put(const char *text) {
        if (write(STDOUT_FILENO, text, strlen(text)) != (ssize_t)strlen(text))
                _exit(99);
}

/* Runs run in a new process, whose end is its exit status; nothing of the parent runs in it. */
static struct child start(void (*run)(void)) {
        struct child child = { .len = 0 };
        int pipes[2];

        ck_assert_int_eq(pipe(pipes), 0);
        child.pid = fork();
        ck_assert_int_ge(child.pid, 0);
        if (child.pid == 0) {
                (void)dup2(pipes[1], STDOUT_FILENO);
                (void)dup2(pipes[1], STDERR_FILENO);
                (void)close(pipes[0]);
                (void)close(pipes[1]);
                run();
                _exit(0);
        }
        (void)close(pipes[1]);
        child.out = pipes[0];
        return child;
}

/* Reads until this text is there. */
static void await(struct child *child, const char *text) {
        while (!strstr(child->text, text)) {
                ssize_t n = read(child->out, child->text + child->len,
                                 sizeof(child->text) - 1 - child->len);

                ck_assert_msg(n > 0, "ended without \"%s\": %s", text, child->text);
                child->len += (size_t)n;
                child->text[child->len] = '\0';
        }
}

static int end_of(struct child *child) {
        int status;

        ck_assert_int_eq(waitpid(child->pid, &status, 0), child->pid);
        (void)close(child->out);
        return status;
}

static void send(const struct child *child, int signal) {
        ck_assert_int_eq(kill(child->pid, signal), 0);
}

/* ---- what runs there ---- */

static void wait_once(void) {
        lifecycle_init();
        log_init("test", LOG_INFO, LOG_FORMAT_JSON);
        put("ready\n");
        lifecycle_wait();
        put("returned\n");
}

/* As one whose way out hangs. */
static void wait_and_hang(void) {
        wait_once();
        for (;;)
                (void)pause();
}

/* Both signals before anybody waits. */
static void wait_late(void) {
        lifecycle_init();
        log_init("test", LOG_INFO, LOG_FORMAT_JSON);
        (void)raise(SIGTERM);
        put("still here\n");
        lifecycle_wait();
        put("returned\n");
}

static const struct {
        int signal;
        const char *line;
} ends[] = {
        { SIGTERM, "\"msg\":\"stopping\",\"signal\":\"SIGTERM\"" },
        { SIGINT, "\"msg\":\"stopping\",\"signal\":\"SIGINT\"" },
};

START_TEST(the_first_signal_lets_main_go_on) {
        struct child child = start(wait_once);
        int status;

        await(&child, "ready");
        send(&child, ends[_i].signal);
        await(&child, "returned");
        ck_assert_ptr_nonnull(strstr(child.text, ends[_i].line));
        status = end_of(&child);
        ck_assert(WIFEXITED(status));
        ck_assert_int_eq(WEXITSTATUS(status), 0);
}
END_TEST

/* SIGTERM, SIGINT in each order and twice. */
START_TEST(the_second_signal_ends_it_with_1) {
        struct child child = start(wait_and_hang);
        int status;

        await(&child, "ready");
        send(&child, ends[_i % 2].signal);
        await(&child, "returned");
        send(&child, ends[_i / 2].signal);
        status = end_of(&child);
        ck_assert(WIFEXITED(status));
        ck_assert_int_eq(WEXITSTATUS(status), 1);
}
END_TEST

/* Who asks for more of the log while it stops must not end it. */
START_TEST(a_user_signal_does_not_end_it) {
        struct child child = start(wait_and_hang);
        int status;

        await(&child, "ready");
        send(&child, SIGTERM);
        await(&child, "returned");
        send(&child, _i ? SIGUSR2 : SIGUSR1);
        send(&child, SIGTERM);
        status = end_of(&child);
        ck_assert(WIFEXITED(status));
        ck_assert_int_eq(WEXITSTATUS(status), 1);
}
END_TEST

START_TEST(a_signal_before_the_wait_is_not_lost) {
        struct child child = start(wait_late);
        int status;

        await(&child, "returned");
        ck_assert_ptr_nonnull(strstr(child.text, "still here"));
        status = end_of(&child);
        ck_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}
END_TEST

/* Levels: debug 0, info 1, warning 2, error 3. */
START_TEST(user_signals_change_the_level_within_its_range) {
        static const struct {
                int signal;
                const char *line; /* NULL: at the end of the range nothing is said */
        } steps[] = {
                { SIGUSR1, "\"msg\":\"log level changed\",\"level\":0}" },
                { SIGUSR1, NULL },
                { SIGUSR2, "\"msg\":\"log level changed\",\"level\":1}" },
                { SIGUSR2, "\"msg\":\"log level changed\",\"level\":2}" },
                { SIGUSR2, "\"msg\":\"log level changed\",\"level\":3}" },
                { SIGUSR2, NULL },
                { SIGUSR1, "\"msg\":\"log level changed\",\"level\":2}" },
        };
        struct child child = start(wait_once);

        await(&child, "ready");
        for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
                child.len = 0;
                child.text[0] = '\0';
                send(&child, steps[i].signal);
                if (steps[i].line)
                        await(&child, steps[i].line);
        }
        ck_assert_ptr_null(strstr(child.text, "returned"));
        send(&child, SIGTERM);
        await(&child, "returned");
        ck_assert_ptr_null(strstr(child.text, "stopping")); /* below the level */
        (void)end_of(&child);
}
END_TEST

/* Exits with the number of what is not as it should be. */
static void look_around(void) {
        struct rlimit core;
        sigset_t blocked;
        struct sigaction pipe_action;

        lifecycle_init();
        if (getrlimit(RLIMIT_CORE, &core) || core.rlim_cur != 0 || core.rlim_max != 0)
                _exit(1);
        if (prctl(PR_GET_DUMPABLE) != 0)
                _exit(2);
        if (sigaction(SIGPIPE, NULL, &pipe_action) || pipe_action.sa_handler != SIG_IGN)
                _exit(3);
        if (sigprocmask(SIG_SETMASK, NULL, &blocked) || !sigismember(&blocked, SIGTERM) ||
            !sigismember(&blocked, SIGINT) || !sigismember(&blocked, SIGUSR1) ||
            !sigismember(&blocked, SIGUSR2))
                _exit(4);
        if (sigismember(&blocked, SIGSEGV) || sigismember(&blocked, SIGALRM))
                _exit(5);
}

START_TEST(init_prepares_the_process) {
        struct child child = start(look_around);
        int status = end_of(&child);

        ck_assert(WIFEXITED(status));
        ck_assert_int_eq(WEXITSTATUS(status), 0);
}
END_TEST

int main(void) {
        Suite *suite = suite_create("lifecycle");
        TCase *tcase = tcase_create("lifecycle");
        SRunner *runner = srunner_create(suite);
        int failed;

        suite_add_tcase(suite, tcase);
        tcase_add_loop_test(tcase, the_first_signal_lets_main_go_on, 0, 2);
        tcase_add_loop_test(tcase, the_second_signal_ends_it_with_1, 0, 4);
        tcase_add_loop_test(tcase, a_user_signal_does_not_end_it, 0, 2);
        tcase_add_test(tcase, a_signal_before_the_wait_is_not_lost);
        tcase_add_test(tcase, user_signals_change_the_level_within_its_range);
        tcase_add_test(tcase, init_prepares_the_process);
        srunner_run_all(runner, CK_ENV);
        failed = srunner_ntests_failed(runner);
        srunner_free(runner);
        return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
