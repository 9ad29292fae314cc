/* test_watch.c: files that appear, in all the ways they can, and processes that end. */
#include "batch/watch.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "batch/file_system.h"
#include "support.h"

static char folder[64];
static exl_watch_t *watch;

/* The linker sends the core's call here: the tests make it fail, as when the user's limit is reached. */
int __real_inotify_add_watch(int fd, const char *path, uint32_t mask);
int __wrap_inotify_add_watch(int fd, const char *path, uint32_t mask);
static _Atomic bool limit_reached;

int __wrap_inotify_add_watch(int fd, const char *path, uint32_t mask)
{
    if (!limit_reached)
        return __real_inotify_add_watch(fd, path, mask);
    errno = ENOSPC;
    return -1;
}

static int begin(void **state)
{
    limit_reached = false;
    (void)snprintf(folder, sizeof folder, "/tmp/exl-watch-XXXXXX");
    return mkdtemp(folder) && exl_test_begin(state) == 0 ? exl_watch_create(&watch) : -1;
}

static int end(void **state)
{
    char command[96];
    exl_watch_destroy(watch);
    (void)snprintf(command, sizeof command, "rm -rf %s", folder);
    return system(command) == 0 ? exl_test_end(state) : -1;
}

static const char *path_of(const char *name)
{
    static char path[128];
    (void)snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

static void make_file(const char *name)
{
    char temporary[128];
    (void)snprintf(temporary, sizeof temporary, "%s", path_of("temporary"));
    assert_int_equal(close(open(temporary, O_CREAT | O_WRONLY | O_CLOEXEC, 0600)), 0);
    assert_int_equal(rename(temporary, path_of(name)), 0);
}

static int soon_ms(void)
{
    return (int)((exl_test_soon_ns() - exl_clock_ns()) / EXL_NS_PER_MS);
}

static exl_watch_event_t next_event(void)
{
    exl_watch_event_t event = {0};
    assert_int_equal(exl_watch_next(watch, &event, 1, soon_ms()), 1);
    return event;
}

/* Runs the loop until inotify serves the folder, so that a test knows what it tests. */
static void arm(const char *name)
{
    exl_watch_event_t event;
    for (int i = 0; i < 1000 && !exl_watch_notified(watch, path_of(name)); i++)
        assert_int_equal(exl_watch_next(watch, &event, 1, 1), 0);
    assert_true(exl_watch_notified(watch, path_of(name)));
}

static void tells_of_a_renamed_file_at_once(void **state)
{
    int64_t least_ns = INT64_MAX;
    make_file("unrelated");
    /* The scans of a folder with inotify come later than a second; on a busy machine once in a while all does. */
    for (int i = 0; i < 5 && least_ns >= EXL_NS_PER_S; i++) {
        char name[16];
        (void)snprintf(name, sizeof name, "%d_o.h5", i);
        assert_int_equal(exl_watch_add_file(watch, 7, path_of(name)), 0);
        arm(name);
        int64_t began_ns = exl_clock_ns();
        make_file(name);
        exl_watch_event_t event = next_event();
        least_ns = exl_clock_ns() - began_ns;
        assert_int_equal(event.id, 7);
        assert_int_equal(event.kind, EXL_WATCH_FILE);
        assert_int_equal(exl_watch_next(watch, &event, 1, 0), 0);
    }
    assert_true(least_ns < EXL_NS_PER_S);
}

static void finds_what_is_there_already(void **state)
{
    make_file("b_o.h5");
    assert_int_equal(exl_watch_add_file(watch, 1, path_of("b_o.h5")), 0);
    assert_int_equal(next_event().id, 1);
}

static void scans_where_the_limit_of_watches_is_reached(void **state)
{
    exl_watch_event_t event;
    limit_reached = true;
    assert_int_equal(exl_watch_add_file(watch, 1, path_of("c_o.h5")), 0);
    assert_int_equal(exl_watch_next(watch, &event, 1, 10), 0);
    assert_false(exl_watch_notified(watch, path_of("c_o.h5")));
    make_file("c_o.h5");
    assert_int_equal(next_event().id, 1);
}

static void follows_a_folder_that_is_removed_and_made_again(void **state)
{
    exl_watch_event_t event;
    assert_int_equal(exl_watch_add_file(watch, 1, path_of("d_o.h5")), 0);
    arm("d_o.h5");
    assert_int_equal(rmdir(folder), 0);
    while (exl_watch_notified(watch, path_of("d_o.h5")))
        assert_int_equal(exl_watch_next(watch, &event, 1, 1), 0);
    assert_int_equal(mkdir(folder, 0700), 0);
    make_file("d_o.h5");
    assert_int_equal(next_event().id, 1);
}

static void follows_a_folder_that_is_replaced(void **state)
{
    char moved[80];
    (void)snprintf(moved, sizeof moved, "%s-moved", folder);
    assert_int_equal(exl_watch_add_file(watch, 1, path_of("e_o.h5")), 0);
    arm("e_o.h5");
    assert_int_equal(rename(folder, moved), 0);
    assert_int_equal(mkdir(folder, 0700), 0);
    make_file("e_o.h5");
    assert_int_equal(next_event().id, 1);
    assert_int_equal(rmdir(moved), 0);
}

static void waits_for_a_folder_that_is_not_there_yet(void **state)
{
    exl_watch_event_t event;
    assert_int_equal(exl_watch_add_file(watch, 1, path_of("sub/f_o.h5")), 0);
    assert_int_equal(exl_watch_next(watch, &event, 1, 10), 0);
    assert_int_equal(mkdir(path_of("sub"), 0700), 0);
    make_file("sub/f_o.h5");
    assert_int_equal(next_event().id, 1);
}

static void many_names_of_one_folder_are_told_once_each(void **state)
{
    enum { COUNT = 500 };
    char name[32];
    bool seen[COUNT + 1] = {false};
    limit_reached = true;
    for (int i = 1; i <= COUNT; i++) {
        (void)snprintf(name, sizeof name, "%d_o.h5", i);
        assert_int_equal(exl_watch_add_file(watch, (uint64_t)i, path_of(name)), 0);
        make_file(name);
    }
    for (int i = 0; i < COUNT; i++) {
        uint64_t id = next_event().id;
        assert_in_range(id, 1, COUNT);
        assert_false(seen[id]);
        seen[id] = true;
    }
}

static void removed_names_are_not_told(void **state)
{
    exl_watch_event_t event;
    assert_int_equal(exl_watch_add_file(watch, 1, path_of("g_o.h5")), 0);
    assert_int_equal(exl_watch_add_file(watch, 2, path_of("h_o.h5")), 0);
    assert_int_equal(exl_watch_add_file(watch, 3, path_of("h_o.h5")), -EEXIST);
    exl_watch_remove(watch, 1);
    exl_watch_remove(watch, 99);
    make_file("g_o.h5");
    make_file("h_o.h5");
    assert_int_equal(next_event().id, 2);
    assert_int_equal(exl_watch_next(watch, &event, 1, 0), 0);
}

static long involuntary_and_voluntary_switches(void)
{
    struct rusage usage;
    assert_int_equal(getrusage(RUSAGE_THREAD, &usage), 0);
    return usage.ru_nvcsw;
}

static void with_nothing_awaited_nothing_wakes_up(void **state)
{
    exl_watch_event_t event;
    assert_int_equal(exl_watch_add_file(watch, 1, path_of("i_o.h5")), 0);
    arm("i_o.h5");
    exl_watch_remove(watch, 1);
    assert_int_equal(exl_watch_next(watch, &event, 1, 1), 0);
    long before = involuntary_and_voluntary_switches();
    assert_int_equal(exl_watch_next(watch, &event, 1, 300), 0);
    assert_in_range(involuntary_and_voluntary_switches() - before, 0, 2);
}

static void *wake(void *unused)
{
    exl_watch_wake(watch);
    return unused;
}

static void can_be_woken(void **state)
{
    pthread_t thread;
    exl_watch_event_t event;
    assert_int_equal(pthread_create(&thread, NULL, wake, NULL), 0);
    assert_int_equal(exl_watch_next(watch, &event, 1, -1), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
}

static void tells_how_a_child_ended(void **state)
{
    pid_t pid = fork();
    if (pid == 0)
        for (;;)
            (void)pause();
    assert_int_equal(exl_watch_add_process(watch, 5, pid), 0);
    assert_int_equal(kill(pid, SIGKILL), 0);
    exl_watch_event_t event = next_event();
    assert_int_equal(event.id, 5);
    assert_int_equal(event.kind, EXL_WATCH_EXIT);
    assert_true(WIFSIGNALED(event.status));
    assert_int_equal(WTERMSIG(event.status), SIGKILL);
    assert_int_equal(waitpid(pid, NULL, 0), -1);
    assert_int_equal(exl_watch_add_process(watch, 6, pid), -ESRCH);
}

static void another_processes_child_has_no_status(void **state)
{
    int said[2];
    pid_t grandchild;
    assert_int_equal(pipe2(said, O_CLOEXEC), 0);
    pid_t child = fork();
    if (child == 0) {
        pid_t pid = fork();
        if (pid == 0)
            for (;;)
                (void)pause();
        (void)!write(said[1], &pid, sizeof pid);
        (void)waitpid(pid, NULL, 0);
        _exit(0);
    }
    exl_test_read(said[0], &grandchild, sizeof grandchild);
    assert_int_equal(exl_watch_add_process(watch, 5, grandchild), 0);
    assert_int_equal(kill(grandchild, SIGTERM), 0);
    assert_int_equal(next_event().status, EXL_WATCH_UNKNOWN_STATUS);
    assert_int_equal(waitpid(child, NULL, 0), child);
    (void)close(said[0]);
    (void)close(said[1]);
}

static void an_end_with_awaited_files_and_processes_frees_all(void **state)
{
    pid_t pid = fork();
    if (pid == 0)
        for (;;)
            (void)pause();
    assert_int_equal(exl_watch_add_process(watch, 5, pid), 0);
    assert_int_equal(exl_watch_add_file(watch, 5, path_of("j_o.h5")), 0);
    exl_watch_destroy(watch);
    watch = NULL;
    assert_int_equal(kill(pid, SIGKILL), 0);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
}

/* Opening a named pipe waits for the other side as a file system waits for its server; O_DIRECTORY would refuse it, so the
 * test's own open() takes the place of the core's. */
static _Atomic int stuck = -1;
int __real_open(const char *path, int flags, ...);
int __wrap_open(const char *path, int flags, ...);

int __wrap_open(const char *path, int flags, ...)
{
    char byte;
    if (stuck >= 0 && strstr(path, "/stuck-"))
        (void)!read(stuck, &byte, 1);
    return __real_open(path, flags, 0600);
}

static void folders_that_hang_block_neither_the_loop_nor_the_pool(void **state)
{
    int door[2];
    char name[32];
    exl_watch_event_t event;
    assert_int_equal(pipe2(door, O_CLOEXEC), 0);
    stuck = door[0];
    int64_t deadline_ns = exl_test_soon_ns();
    for (int i = 1; i <= 8; i++) {
        (void)snprintf(name, sizeof name, "stuck-%d/k_o.h5", i);
        assert_int_equal(exl_watch_add_file(watch, (uint64_t)i, path_of(name)), 0);
    }
    assert_int_equal(exl_watch_next(watch, &event, 1, 50), 0);
    assert_true(exl_clock_ns() < deadline_ns);
    /* Processes are still told of, and no more threads of the pool are taken than are allowed. */
    pid_t pid = fork();
    if (pid == 0)
        _exit(0);
    assert_int_equal(exl_watch_add_process(watch, 9, pid), 0);
    assert_int_equal(next_event().id, 9);
    assert_int_equal(close(door[1]), 0);
    for (int i = 1; i <= 8; i++) {
        (void)snprintf(name, sizeof name, "stuck-%d", i);
        assert_int_equal(mkdir(path_of(name), 0700), 0);
        (void)snprintf(name, sizeof name, "stuck-%d/k_o.h5", i);
        make_file(name);
    }
    for (int i = 1; i <= 8; i++)
        assert_int_equal(next_event().kind, EXL_WATCH_FILE);
    stuck = -1;
    (void)close(door[0]);
}

static void network_file_systems_are_not_trusted(void **state)
{
    static const unsigned long shared[] = {
        0x6969,     /* NFS */
        0x0BD00BD0, /* Lustre */
        0x47504653, /* GPFS */
        0x65735546, /* FUSE */
        0xFF534D42, /* CIFS */
        0xFE534D42, /* SMB2 */
        0x00C36400, /* Ceph */
        0x19830326, /* BeeGFS */
        0x01021997, /* 9P */
        0x5346414F, /* AFS */
        0x20030528, /* OrangeFS */
        0x01161970, /* GFS2 */
        0x7461636F, /* OCFS2 */
        0xAAD7AAEA, /* PanFS */
        0x12345678, /* one that nobody knows */
    };
    for (size_t i = 0; i < sizeof shared / sizeof *shared; i++)
        assert_false(exl_file_system_magic_is_local(shared[i]));
    assert_true(exl_file_system_magic_is_local(0xEF53));
    assert_true(exl_file_system_magic_is_local(0x01021994));
    assert_false(exl_file_system_is_local(-1));
}

#define WATCH_TEST(function) cmocka_unit_test_setup_teardown(function, begin, end)

int main(void)
{
    /* What libuv keeps for the process is not a leak of the first test. */
    if (exl_watch_create(&watch) == 0)
        exl_watch_destroy(watch);
    const struct CMUnitTest tests[] = {
        WATCH_TEST(tells_of_a_renamed_file_at_once),
        WATCH_TEST(finds_what_is_there_already),
        WATCH_TEST(scans_where_the_limit_of_watches_is_reached),
        WATCH_TEST(follows_a_folder_that_is_removed_and_made_again),
        WATCH_TEST(follows_a_folder_that_is_replaced),
        WATCH_TEST(waits_for_a_folder_that_is_not_there_yet),
        WATCH_TEST(many_names_of_one_folder_are_told_once_each),
        WATCH_TEST(removed_names_are_not_told),
        WATCH_TEST(with_nothing_awaited_nothing_wakes_up),
        WATCH_TEST(can_be_woken),
        WATCH_TEST(tells_how_a_child_ended),
        WATCH_TEST(another_processes_child_has_no_status),
        WATCH_TEST(an_end_with_awaited_files_and_processes_frees_all),
        WATCH_TEST(folders_that_hang_block_neither_the_loop_nor_the_pool),
        WATCH_TEST(network_file_systems_are_not_trusted),
    };
    return EXL_RUN(tests);
}
