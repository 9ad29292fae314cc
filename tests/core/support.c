/* support.c: time limits and leak counts of the tests. */
#include "support.h"

#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { MAX_FDS = 4096, TARGET_SIZE = 256, SOON_S = 30 };

static bool open_before[MAX_FDS];
static int files_before;

int exl_test_time_factor(void)
{
    const char *text = getenv("EXECUTORLIB_TEST_TIME_FACTOR");
    int factor = text ? atoi(text) : 0;
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    enum { BUILD_FACTOR = 8 };
#else
    enum { BUILD_FACTOR = 1 };
#endif
    return factor > BUILD_FACTOR ? factor : BUILD_FACTOR;
}

int64_t exl_test_soon_ns(void)
{
    return exl_clock_ns() + exl_test_time_factor() * SOON_S * EXL_NS_PER_S;
}

static void out_of_time(int signal)
{
    static const char text[] = "the test ran into its time limit\n";
    (void)signal;
    (void)!write(STDERR_FILENO, text, sizeof text - 1);
    _exit(124);
}

/* What a descriptor refers to; false once it is closed. */
static bool target_of(int fd, char target[TARGET_SIZE])
{
    char path[64];
    (void)snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(path, target, TARGET_SIZE - 1);
    target[length < 0 ? 0 : length] = '\0';
    return length >= 0;
}

/* Notes every open descriptor, but neither the one used for looking nor the file that malloc opens for a moment in a
 * thread that is about to end. */
static void note_fds(bool open_ones[MAX_FDS])
{
    char target[TARGET_SIZE];
    DIR *directory = opendir("/proc/self/fd");
    memset(open_ones, 0, MAX_FDS * sizeof *open_ones);
    for (struct dirent *entry; directory && (entry = readdir(directory));) {
        int fd = atoi(entry->d_name);
        if (entry->d_name[0] != '.' && fd != dirfd(directory) && fd < MAX_FDS)
            open_ones[fd] = target_of(fd, target) && strcmp(target, "/proc/sys/vm/overcommit_memory") != 0;
    }
    if (directory)
        (void)closedir(directory);
}

static int lost_fds(void)
{
    static bool open_now[MAX_FDS];
    char target[TARGET_SIZE];
    int count = 0;
    note_fds(open_now);
    for (int fd = 0; fd < MAX_FDS; fd++)
        if (open_now[fd] != open_before[fd]) {
            (void)target_of(fd, target);
            print_error("descriptor %d was %s: %s\n", fd, open_now[fd] ? "left open" : "closed", target);
            count++;
        }
    return count;
}

static int lost_children(void)
{
    int count = 0;
    for (pid_t pid; (pid = waitpid(-1, NULL, WNOHANG)) >= 0; count++)
        if (pid == 0) {
            print_error("a child is still running\n");
            return 1;
        } else {
            print_error("child %d was not waited for\n", (int)pid);
        }
    return count;
}

int exl_test_begin(void **state)
{
    (void)state;
    struct sigaction action = {.sa_handler = out_of_time};
    (void)sigaction(SIGALRM, &action, NULL);
    (void)alarm((unsigned)(EXL_TEST_LIMIT_S * exl_test_time_factor()));
    note_fds(open_before);
    files_before = exl_memory_files_open();
    return 0;
}

int exl_test_end(void **state)
{
    (void)state;
    (void)alarm(0);
    int lost = lost_fds() + lost_children();
    if (exl_memory_files_open() != files_before) {
        print_error("%d memory files more than before\n", exl_memory_files_open() - files_before);
        lost++;
    }
    return lost ? -1 : 0;
}

const char *exl_test_name(const char *file)
{
    const char *slash = strrchr(file, '/');
    return slash ? slash + 1 : file;
}

void exl_test_reap_children(void)
{
    while (waitpid(-1, NULL, 0) > 0 || errno == EINTR) {
    }
}

bool exl_test_process_lives(pid_t pid)
{
    char path[64], text[512];
    (void)snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    FILE *file = fopen(path, "re");
    if (!file)
        return false;
    size_t size = fread(text, 1, sizeof text - 1, file);
    (void)fclose(file);
    text[size] = '\0';
    const char *after = strrchr(text, ')');
    return after && after[1] && after[2] != 'Z' && after[2] != 'X';
}

bool exl_test_process_ends(pid_t pid)
{
    int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
    struct pollfd process = {.fd = pidfd, .events = POLLIN};
    if (pidfd < 0)
        return errno == ESRCH;
    int rc = poll(&process, 1, exl_test_time_factor() * SOON_S * 1000);
    (void)close(pidfd);
    return rc == 1;
}

void exl_test_read(int fd, void *bytes, size_t size)
{
    for (size_t done = 0; done < size;) {
        ssize_t got = read(fd, (char *)bytes + done, size - done);
        assert_true(got > 0);
        done += (size_t)got;
    }
}

void exl_test_write(int fd, const void *bytes, size_t size)
{
    for (size_t done = 0; done < size;) {
        ssize_t put = write(fd, (const char *)bytes + done, size - done);
        assert_true(put > 0);
        done += (size_t)put;
    }
}

exl_payload_t *exl_test_payload(const char *text)
{
    exl_payload_t *payload = NULL;
    assert_int_equal(exl_payload_of(text, strlen(text), &payload), 0);
    return payload;
}

void exl_test_assert_body(exl_payload_t *payload, const char *text)
{
    exl_payload_view_t view;
    assert_non_null(payload);
    assert_int_equal(exl_payload_map(payload), 0);
    assert_int_equal(exl_payload_view(payload, &view), 0);
    assert_int_equal(view.body_size, strlen(text));
    assert_memory_equal(view.body, text, view.body_size);
}
