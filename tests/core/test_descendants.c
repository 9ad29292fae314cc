/* test_descendants.c: finding and ending a tree of processes. */
#include "node/descendants.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support.h"

static int gate[2]; /* the processes live until it is closed, at the latest */
static int told[2]; /* where they tell their pids */

static int begin(void **state)
{
    (void)exl_test_begin(state);
    (void)prctl(PR_SET_CHILD_SUBREAPER, 1);
    return pipe(gate) < 0 || pipe(told) < 0 ? -1 : 0;
}

static int end(void **state)
{
    (void)close(gate[0]);
    (void)close(gate[1]);
    (void)close(told[0]);
    (void)close(told[1]);
    exl_test_reap_children();
    return exl_test_end(state);
}

static void tell_and_stay(void)
{
    pid_t pid = getpid();
    char byte;
    (void)close(gate[1]);
    (void)!write(told[1], &pid, sizeof pid);
    _exit((int)read(gate[0], &byte, 1));
}

/* Each process has `width` children, `depth` levels down; all have told their pids when this returns. */
static void grow(int depth, int width)
{
    for (int i = 0; i < width; i++) {
        pid_t pid = fork();
        assert(pid >= 0);
        if (pid == 0) {
            if (depth > 1)
                grow(depth - 1, width);
            tell_and_stay();
        }
    }
}

static pid_t next_told(void)
{
    pid_t pid;
    exl_test_read(told[0], &pid, sizeof pid);
    return pid;
}

static void finds_children_only(void **state)
{
    pid_t found[8];
    assert_int_equal(exl_children_of(getpid(), found, 8), 0);
    grow(2, 3);
    for (int i = 0; i < 12; i++)
        (void)next_told();
    assert_int_equal(exl_children_of(getpid(), found, 8), 3);
    for (int i = 0; i < 3; i++) {
        pid_t grandchildren[8];
        assert_int_equal(exl_children_of(found[i], grandchildren, 8), 3);
    }
}

static void counts_more_than_there_is_room_for(void **state)
{
    pid_t found[2] = {0, 77};
    grow(1, 4);
    assert_int_equal(exl_children_of(getpid(), found, 1), 4);
    assert_true(found[0] > 0);
    assert_int_equal(found[1], 77);
    assert_int_equal(exl_children_of(getpid(), NULL, 0), 4);
}

static void a_strange_name_hides_nobody(void **state)
{
    pid_t found[2];
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        (void)prctl(PR_SET_NAME, "a) R 1 (b");
        tell_and_stay();
    }
    assert_int_equal(next_told(), pid);
    assert_int_equal(exl_children_of(getpid(), found, 2), 1);
    assert_int_equal(found[0], pid);
}

static void nobody_has_no_children(void **state)
{
    pid_t found[2];
    pid_t pid = fork();
    if (pid == 0)
        _exit(0);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    assert_true(exl_children_of(pid, found, 2) <= 0);
    exl_descendants_signal(pid, SIGKILL);
}

static void ends_the_whole_tree_but_not_its_root(void **state)
{
    enum { ALL = 3 + 9 + 27 };
    pid_t pids[ALL];
    grow(3, 3);
    for (int i = 0; i < ALL; i++)
        pids[i] = next_told();
    exl_descendants_signal(getpid(), SIGKILL);
    int killed = 0, status;
    while (waitpid(-1, &status, 0) > 0)
        killed += WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
    assert_int_equal(killed, ALL);
    for (int i = 0; i < ALL; i++)
        assert_false(exl_test_process_lives(pids[i]));
}

static pid_t sleeper(const char *variable)
{
    char program[] = "sleep", seconds[] = "1000", marker[64];
    (void)snprintf(marker, sizeof marker, "%s", variable);
    char *const argv[] = {program, seconds, NULL};
    char *const envp[] = {marker, NULL};
    int exec_done[2];
    assert_int_equal(pipe(exec_done), 0);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        (void)close(exec_done[0]);
        (void)fcntl(exec_done[1], F_SETFD, FD_CLOEXEC);
        (void)execve("/bin/sleep", argv, envp);
        _exit(127);
    }
    char byte;
    (void)close(exec_done[1]);
    assert_int_equal(read(exec_done[0], &byte, 1), 0); /* the end of file comes with the new environment */
    (void)close(exec_done[0]);
    return pid;
}

/* Who kills the tree that it belongs to lives on to kill the root. */
static void spares_the_caller(void **state)
{
    pid_t root = fork();
    assert_true(root >= 0);
    if (root == 0) {
        grow(1, 1);
        if (fork() == 0) {
            exl_descendants_signal(getppid(), SIGKILL);
            tell_and_stay();
        }
        tell_and_stay();
    }
    for (int i = 0; i < 3; i++)
        (void)next_told(); /* the child, the root, and the caller when it has killed */
}

static void ends_those_that_carry_the_marker(void **state)
{
    pid_t marked = sleeper("EXL_TEST_MARKER=0123456789abcdef");
    pid_t similar = sleeper("EXL_TEST_MARKER=0123456789abcdefg");
    int status;
    exl_marked_kill("EXL_TEST_MARKER=0123456789abcdef");
    assert_int_equal(waitpid(marked, &status, 0), marked);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    assert_true(exl_test_process_lives(similar));
    (void)kill(similar, SIGTERM);
    assert_int_equal(waitpid(similar, &status, 0), similar);
    assert_int_equal(WTERMSIG(status), SIGTERM);
}

#define TREE_TEST(function) cmocka_unit_test_setup_teardown(function, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TREE_TEST(finds_children_only),
        TREE_TEST(counts_more_than_there_is_room_for),
        TREE_TEST(a_strange_name_hides_nobody),
        TREE_TEST(nobody_has_no_children),
        TREE_TEST(ends_the_whole_tree_but_not_its_root),
        TREE_TEST(spares_the_caller),
        TREE_TEST(ends_those_that_carry_the_marker),
    };
    return EXL_RUN(tests);
}
