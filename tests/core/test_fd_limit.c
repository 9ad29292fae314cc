/* test_fd_limit.c: descriptors for what is needed, and none for who is started. */
#include "base/fd_limit.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "launch/spawn.h"
#include "support.h"

enum { SOFT = 256, MANY = 500, FEW = 10 };

static struct rlimit original;

static void set_soft(rlim_t limit)
{
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &(struct rlimit){limit, original.rlim_max}), 0);
}

static rlim_t soft(void)
{
    struct rlimit limit;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    return limit.rlim_cur;
}

static int begin(void **state)
{
    int rc = exl_test_begin(state);
    (void)getrlimit(RLIMIT_NOFILE, &original);
    set_soft(SOFT);
    return rc;
}

static int end(void **state)
{
    (void)setrlimit(RLIMIT_NOFILE, &original);
    return exl_test_end(state);
}

static void what_is_much_comes_on_top(void **state)
{
    exl_fd_limit_add(FEW);
    assert_int_equal(soft(), SOFT);
    exl_fd_limit_add(MANY);
    assert_int_equal(soft(), SOFT + FEW + MANY);
    assert_int_equal(exl_fd_limit_inherited(), SOFT);
    exl_fd_limit_subtract(MANY);
    assert_int_equal(soft(), SOFT);
    exl_fd_limit_subtract(FEW);
    assert_int_equal(soft(), SOFT);
}

static void as_far_as_the_hard_limit_goes(void **state)
{
    exl_fd_limit_add(UINT32_MAX);
    assert_true(soft() == original.rlim_max || soft() == SOFT + (rlim_t)UINT32_MAX);
    exl_fd_limit_subtract(UINT32_MAX);
    assert_int_equal(soft(), SOFT);
}

static void what_the_program_sets_meanwhile_is_left(void **state)
{
    exl_fd_limit_add(MANY);
    set_soft(SOFT + 1);
    assert_int_equal(exl_fd_limit_inherited(), SOFT + 1);
    exl_fd_limit_subtract(MANY);
    assert_int_equal(soft(), SOFT + 1);
}

static void who_is_started_has_the_limit_of_before(void **state)
{
    const char *const argv[] = {"/bin/sh", "-c", "read -r word <&3; ulimit -S -n", NULL}, *const envp[] = {NULL};
    char text[16] = "";
    int out[2], in[2], status;
    pid_t pid;
    assert_int_equal(pipe2(out, O_CLOEXEC) | pipe2(in, O_CLOEXEC), 0);
    exl_fd_limit_add(MANY);
    assert_int_equal(exl_spawn(&(exl_spawn_t){.argv = (char *const *)argv,
                                              .envp = (char *const *)envp,
                                              .control_fd = in[0],
                                              .stdout_fd = out[1],
                                              .stderr_fd = 2},
                               &pid, NULL),
                     0);
    exl_fd_limit_subtract(MANY);
    (void)close(out[1]);
    exl_test_write(in[1], "\n", 1); /* once it has been given */
    assert_true(read(out[0], text, sizeof text - 1) > 0);
    assert_int_equal(atoi(text), SOFT);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    (void)close(out[0]);
    (void)close(in[0]);
    (void)close(in[1]);
}

static void more_than_the_hard_limit_is_refused(void **state)
{
    pid_t pid = fork(); /* whose hard limit is lowered for good */
    if (pid == 0) {
        (void)setrlimit(RLIMIT_NOFILE, &(struct rlimit){SOFT, SOFT});
        _exit(exl_fd_limit_allows(FEW) == 0 && exl_fd_limit_allows(SOFT) == -EMFILE ? 0 : 1);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

#define LIMIT_TEST(function) cmocka_unit_test_setup_teardown(function, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        LIMIT_TEST(what_is_much_comes_on_top),
        LIMIT_TEST(as_far_as_the_hard_limit_goes),
        LIMIT_TEST(what_the_program_sets_meanwhile_is_left),
        LIMIT_TEST(who_is_started_has_the_limit_of_before),
        LIMIT_TEST(more_than_the_hard_limit_is_refused),
    };
    return EXL_RUN(tests);
}
