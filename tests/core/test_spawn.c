/* test_spawn.c: what a program finds when it has been started. It is this test itself, with an argument. */
#include "launch/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support.h"

extern char **environ;

/* What the program says about itself, over descriptor 3. */
struct report {
    bool own_session, all_default, none_blocked, null_stdin, one_socket;
    int extra_fds;
};

static bool all_signals_default(void)
{
    for (int signal = 1; signal < 32; signal++) {
        struct sigaction action;
        if (sigaction(signal, NULL, &action) == 0 && action.sa_handler != SIG_DFL)
            return false;
    }
    return true;
}

static int probe(void)
{
    struct stat status, null;
    struct report report = {0};
    sigset_t blocked;
    report.own_session = getsid(0) == getpid();
    report.all_default = all_signals_default();
    (void)sigprocmask(SIG_SETMASK, NULL, &blocked);
    report.none_blocked = sigisemptyset(&blocked);
    report.null_stdin = fstat(0, &status) == 0 && stat("/dev/null", &null) == 0 && status.st_rdev == null.st_rdev &&
                        S_ISCHR(status.st_mode);
    report.one_socket = fstat(EXL_SPAWN_CONTROL_FD, &status) == 0 && S_ISSOCK(status.st_mode);
    for (int fd = EXL_SPAWN_CONTROL_FD + 1; fd < 256; fd++)
        report.extra_fds += fcntl(fd, F_GETFD) >= 0;
    (void)!write(STDERR_FILENO, "stderr", 6);
    (void)!write(EXL_SPAWN_CONTROL_FD, &report, sizeof report);
    return 42;
}

static void expect_report(pid_t pid, int control_fd, int stderr_fd)
{
    struct report report = {0};
    char text[6];
    int status;
    exl_test_read(control_fd, &report, sizeof report);
    exl_test_read(stderr_fd, text, sizeof text);
    assert_memory_equal(text, "stderr", 6);
    assert_true(report.own_session);
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
    assert_true(report.all_default); /* a sanitizer has handlers of its own */
#endif
    assert_true(report.none_blocked);
    assert_true(report.null_stdin);
    assert_true(report.one_socket);
    assert_int_equal(report.extra_fds, 0);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(WEXITSTATUS(status), 42);
}

static void starts_in_a_clean_state(void **state)
{
    struct sigaction ignore = {.sa_handler = SIG_IGN}, old_pipe, old_int;
    sigset_t all, old_mask;
    int pair[2], error[2];
    char program[] = "/proc/self/exe", argument[] = "probe";
    char *argv[] = {program, argument, NULL};
    pid_t pid = 0;
    exl_error_t err = {""};
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    assert_int_equal(pipe2(error, O_CLOEXEC), 0);
    assert_int_equal(sigaction(SIGPIPE, &ignore, &old_pipe), 0);
    assert_int_equal(sigaction(SIGINT, &ignore, &old_int), 0);
    (void)sigfillset(&all);
    (void)sigdelset(&all, SIGALRM);
    assert_int_equal(sigprocmask(SIG_SETMASK, &all, &old_mask), 0);
    exl_spawn_t spawn = {.argv = argv, .envp = environ, .control_fd = pair[1], .stderr_fd = error[1]};
    int rc = exl_spawn(&spawn, &pid, &err);
    assert_int_equal(sigprocmask(SIG_SETMASK, &old_mask, NULL), 0);
    assert_int_equal(sigaction(SIGPIPE, &old_pipe, NULL), 0);
    assert_int_equal(sigaction(SIGINT, &old_int, NULL), 0);
    assert_int_equal(rc, 0);
    expect_report(pid, pair[0], error[0]);
    for (int i = 0; i < 2; i++) {
        (void)close(pair[i]);
        (void)close(error[i]);
    }
}

/* A driver that was started without a stdin or stderr may have any of our descriptors at 0 to 3. */
static void descriptors_in_the_way_do_not_matter(void **state)
{
    int saved[3], pair[2], error[2];
    char program[] = "/proc/self/exe", argument[] = "probe";
    char *argv[] = {program, argument, NULL};
    for (int fd = 0; fd < 3; fd++)
        saved[fd] = fcntl(fd, F_DUPFD_CLOEXEC, 10);
    (void)close(0);
    (void)close(2);
    /* The control end is 2, the stderr end 3 or the like. */
    int rc_pair = socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair);
    int rc_error = pipe2(error, O_CLOEXEC);
    pid_t pid = 0;
    exl_spawn_t spawn = {.argv = argv, .envp = environ, .control_fd = pair[1], .stderr_fd = error[1]};
    int rc = exl_spawn(&spawn, &pid, NULL);
    int control_fd = fcntl(pair[0], F_DUPFD_CLOEXEC, 20), stderr_fd = fcntl(error[0], F_DUPFD_CLOEXEC, 20);
    bool low = pair[1] <= 3 && pair[0] <= 3;
    for (int i = 0; i < 2; i++) {
        (void)close(pair[i]);
        (void)close(error[i]);
    }
    for (int fd = 0; fd < 3; fd++) {
        (void)dup2(saved[fd], fd);
        (void)close(saved[fd]);
    }
    assert_int_equal(rc_pair, 0);
    assert_int_equal(rc_error, 0);
    assert_true(low);
    assert_int_equal(rc, 0);
    expect_report(pid, control_fd, stderr_fd);
    (void)close(control_fd);
    (void)close(stderr_fd);
}

static int spawn_program(const char *name, exl_error_t *err)
{
    char program[64];
    (void)snprintf(program, sizeof program, "%s", name);
    char *argv[] = {program, NULL};
    pid_t pid = 0;
    exl_spawn_t spawn = {.argv = argv, .envp = environ, .control_fd = STDERR_FILENO, .stderr_fd = STDERR_FILENO};
    int rc = exl_spawn(&spawn, &pid, err);
    if (rc == 0)
        (void)waitpid(pid, NULL, 0);
    return rc;
}

static void says_why_a_program_cannot_start(void **state)
{
    exl_error_t err = {""};
    assert_int_equal(spawn_program("/no/such/program", &err), -ENOENT);
    assert_string_equal(err.text, "cannot start /no/such/program: No such file or directory");
    assert_int_equal(spawn_program("no-such-program-in-path", &err), -ENOENT);
    assert_int_equal(spawn_program("/dev/null", &err), -EACCES);
    assert_non_null(strstr(err.text, "/dev/null"));
    assert_int_equal(spawn_program("/no/such/program", NULL), -ENOENT);
}

static void looks_a_program_up_in_path(void **state)
{
    exl_error_t err = {""};
    assert_int_equal(spawn_program("true", &err), 0);
}

static void tells_of_bad_descriptors(void **state)
{
    char program[] = "true";
    char *argv[] = {program, NULL};
    pid_t pid = 0;
    exl_error_t err = {""};
    exl_spawn_t spawn = {.argv = argv, .envp = environ, .control_fd = 1023, .stderr_fd = STDERR_FILENO};
    assert_true(exl_spawn(&spawn, &pid, &err) < 0);
    assert_string_not_equal(err.text, "");
}

int main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "probe") == 0)
        return probe();
    const struct CMUnitTest tests[] = {
        EXL_TEST(starts_in_a_clean_state),         EXL_TEST(descriptors_in_the_way_do_not_matter),
        EXL_TEST(says_why_a_program_cannot_start), EXL_TEST(looks_a_program_up_in_path),
        EXL_TEST(tells_of_bad_descriptors),
    };
    return EXL_RUN(tests);
}
