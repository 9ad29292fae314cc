/* test_memory_file.c: files that are kept for the next payload, and those that must not be. */
#include "task/memory_file.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support.h"

enum { LARGE = 4 << 20 };

static int begin(void **state)
{
    int rc = exl_test_begin(state);
    exl_memory_files_keep();
    return rc;
}

static int end(void **state)
{
    exl_memory_files_drop();
    return exl_test_end(state);
}

static int open_file(size_t size)
{
    int fd = exl_memory_file_open(size);
    assert_true(fd >= 0);
    assert_int_equal(fcntl(fd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
    return fd;
}

static void counts_what_is_open(void **state)
{
    int a = open_file(10), b = open_file(LARGE);
    assert_int_equal(exl_memory_files_open(), 2);
    exl_memory_file_close(a);
    assert_int_equal(exl_memory_files_open(), 1);
    exl_memory_file_recycle(b, LARGE);
    assert_int_equal(exl_memory_files_open(), 1);
    exl_memory_files_drop();
    assert_int_equal(exl_memory_files_open(), 0);
    assert_int_equal(fcntl(b, F_GETFD), -1);
    exl_memory_file_recycle(open_file(LARGE), LARGE); /* nothing is kept any more */
    assert_int_equal(exl_memory_files_open(), 0);
}

/* With a limit of 128 descriptors the files may have 32. */
static void many_open_files_are_scarce(void **state)
{
    enum { ALLOWED = 32 };
    struct rlimit limit, low;
    int fds[2 * ALLOWED + 1];
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    low = (struct rlimit){.rlim_cur = 4 * ALLOWED, .rlim_max = limit.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
    bool scarce_half = false, scarce = false;
    for (int i = 0; i <= 2 * ALLOWED; i++) {
        fds[i] = exl_memory_file_open(LARGE);
        if (i == ALLOWED - 1)
            scarce_half = exl_memory_files_scarce(100);
        if (i == ALLOWED)
            scarce = exl_memory_files_scarce(100);
    }
    int none = exl_memory_file_open(LARGE);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
    for (int i = 0; i <= 2 * ALLOWED; i++) {
        assert_true(fds[i] >= 0);
        exl_memory_file_close(fds[i]);
    }
    assert_false(scarce_half);
    assert_true(scarce);
    assert_int_equal(none, -1);
}

static void a_few_files_are_never_scarce(void **state)
{
    struct rlimit limit, low;
    int fd = open_file(LARGE);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    low = (struct rlimit){.rlim_cur = 8, .rlim_max = limit.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
    bool scarce = exl_memory_files_scarce(0);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
    exl_memory_file_close(fd);
    assert_false(scarce);
}

static void small_files_are_not_kept(void **state)
{
    exl_memory_file_recycle(open_file(1000), 1000);
    assert_int_equal(exl_memory_files_open(), 0);
}

static void the_best_fit_is_taken(void **state)
{
    int small = open_file(LARGE), large = open_file(4 * LARGE);
    exl_memory_file_recycle(large, 4 * LARGE);
    exl_memory_file_recycle(small, LARGE);
    assert_int_equal(exl_memory_file_open(LARGE - 10), small);
    /* One that is much too large would waste memory. */
    int fresh = open_file(LARGE);
    assert_int_not_equal(fresh, large);
    assert_int_equal(exl_memory_file_open(3 * LARGE), large);
    exl_memory_file_close(small);
    exl_memory_file_close(fresh);
    exl_memory_file_close(large);
}

static void only_so_many_are_kept(void **state)
{
    int fds[40];
    for (int i = 0; i < 40; i++)
        fds[i] = open_file(LARGE);
    for (int i = 0; i < 40; i++)
        exl_memory_file_recycle(fds[i], LARGE);
    assert_true(exl_memory_files_open() <= 8);
}

static void a_file_larger_than_memory_is_not_kept(void **state)
{
    exl_memory_file_recycle(open_file(LARGE), SIZE_MAX / 2);
    assert_int_equal(exl_memory_files_open(), 0);
}

static void a_forked_child_gets_none_of_them(void **state)
{
    uint32_t forks = exl_memory_file_forks();
    int kept = open_file(LARGE), status;
    exl_memory_file_recycle(kept, LARGE);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        bool closed = fcntl(kept, F_GETFD) < 0;
        bool differs = exl_memory_file_forks() != forks;
        int fresh = exl_memory_file_open(LARGE);
        off_t size = lseek(fresh, 0, SEEK_END);
        _exit(closed && differs && fresh >= 0 && size == 0 ? 0 : 1);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    assert_int_not_equal(exl_memory_file_forks(), forks);
}

/* Both processes have the payload's file after a fork: neither may write into it, mapped by then or not. */
static void a_payload_that_a_fork_copied_is_not_reused(void **state)
{
    for (int mapped = 0; mapped < 2; mapped++) {
        char *text = malloc(LARGE + 1);
        int status;
        assert_non_null(text);
        memset(text, 'x', LARGE);
        text[LARGE] = '\0';
        exl_payload_t *payload = exl_test_payload(text);
        assert_int_equal(exl_payload_seal(payload), 0);
        exl_payload_own_file(payload);
        if (mapped)
            assert_int_equal(exl_payload_map(payload), 0);
        int fd = exl_payload_fd(payload);
        pid_t pid = fork();
        assert_true(pid >= 0);
        if (pid == 0) {
            exl_payload_unref(payload);
            _exit(exl_memory_file_open(LARGE) == fd && fcntl(fd, F_GETFD) >= 0 && lseek(fd, 0, SEEK_END) > 0);
        }
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_int_equal(status, 0);
        assert_int_equal(exl_payload_map(payload), 0);
        exl_payload_unref(payload);
        assert_int_equal(exl_memory_files_open(), 0);
        free(text);
    }
}

#define FILE_TEST(function) cmocka_unit_test_setup_teardown(function, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        FILE_TEST(counts_what_is_open),
        FILE_TEST(many_open_files_are_scarce),
        FILE_TEST(a_few_files_are_never_scarce),
        FILE_TEST(small_files_are_not_kept),
        FILE_TEST(the_best_fit_is_taken),
        FILE_TEST(only_so_many_are_kept),
        FILE_TEST(a_file_larger_than_memory_is_not_kept),
        FILE_TEST(a_forked_child_gets_none_of_them),
        FILE_TEST(a_payload_that_a_fork_copied_is_not_reused),
    };
    return EXL_RUN(tests);
}
