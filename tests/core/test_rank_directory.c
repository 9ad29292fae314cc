/* test_rank_directory.c: what others can have put beside our directories, where everybody may write. */
#include "node/rank_directory.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support.h"

enum { STRANGER = 65534 };

static char victim[] = "/tmp/exl-victim-XXXXXX";
static pid_t ended;

static int begin(void **state)
{
    (void)exl_test_begin(state);
    if ((ended = fork()) == 0)
        _exit(EXIT_SUCCESS);
    (void)waitpid(ended, NULL, 0);
    (void)strcpy(strrchr(victim, '-'), "-XXXXXX");
    int fd = mkstemp(victim);
    (void)close(fd);
    return fd < 0 ? -1 : 0;
}

static int end(void **state)
{
    (void)unlink(victim);
    return exl_test_end(state);
}

/* Where the process that has ended would have had its directory. */
static void name_it(char path[EXL_RANK_DIRECTORY_SIZE])
{
    struct stat pids;
    assert_int_equal(stat("/proc/self/ns/pid", &pids), 0);
    (void)snprintf(path, EXL_RANK_DIRECTORY_SIZE, "/tmp/executorlib-%lu-%d-planted", (unsigned long)pids.st_ino,
                   (int)ended);
}

/* A link like those which sweep() follows. */
static void put_link(const char *directory)
{
    char link[2 * EXL_RANK_DIRECTORY_SIZE];
    (void)snprintf(link, sizeof link, "%s/ticket", directory);
    assert_int_equal(symlink(victim, link), 0);
}

/* The mode comes last: until then no other process takes it for its own user's, and sweeps it. */
static void plant(char path[EXL_RANK_DIRECTORY_SIZE], uid_t owner, mode_t mode)
{
    name_it(path);
    assert_int_equal(mkdir(path, 0755), 0);
    put_link(path);
    assert_int_equal(chown(path, owner, (gid_t)-1), 0);
    assert_int_equal(chmod(path, mode), 0);
}

static void unplant(const char *path)
{
    exl_rank_directory_remove(path); /* as the group's own end does */
    assert_int_equal(access(path, F_OK), -1);
}

static void a_process_that_ended_leaves_nothing(void **state)
{
    char path[EXL_RANK_DIRECTORY_SIZE];
    (void)state;
    plant(path, geteuid(), 0700);
    exl_rank_directory_sweep(ended);
    assert_int_equal(access(path, F_OK), -1);
    assert_int_equal(access(victim, F_OK), -1);
}

static void what_others_could_write_to_is_left_alone(void **state)
{
    char path[EXL_RANK_DIRECTORY_SIZE];
    (void)state;
    plant(path, geteuid(), 0770);
    exl_rank_directory_sweep(ended);
    exl_rank_directory_sweep_all();
    assert_int_equal(access(victim, F_OK), 0);
    assert_int_equal(access(path, F_OK), 0);
    unplant(path);
}

static void what_others_have_made_is_left_alone(void **state)
{
    char path[EXL_RANK_DIRECTORY_SIZE];
    (void)state;
    if (geteuid() != 0)
        skip();
    plant(path, STRANGER, 0700);
    exl_rank_directory_sweep(ended);
    exl_rank_directory_sweep_all();
    assert_int_equal(access(victim, F_OK), 0);
    assert_int_equal(access(path, F_OK), 0);
    unplant(path);
}

static void a_link_of_such_a_name_is_not_followed(void **state)
{
    char path[EXL_RANK_DIRECTORY_SIZE], kept[] = "/tmp/exl-kept-XXXXXX";
    (void)state;
    name_it(path);
    assert_non_null(mkdtemp(kept));
    put_link(kept);
    assert_int_equal(symlink(kept, path), 0);
    exl_rank_directory_sweep(ended);
    assert_int_equal(access(victim, F_OK), 0);
    assert_int_equal(access(kept, F_OK), 0);
    (void)unlink(path);
    exl_rank_directory_remove(kept);
}

#define DIRECTORY_TEST(function) cmocka_unit_test_setup_teardown(function, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        DIRECTORY_TEST(a_process_that_ended_leaves_nothing),
        DIRECTORY_TEST(what_others_could_write_to_is_left_alone),
        DIRECTORY_TEST(what_others_have_made_is_left_alone),
        DIRECTORY_TEST(a_link_of_such_a_name_is_not_followed),
    };
    return EXL_RUN(tests);
}
