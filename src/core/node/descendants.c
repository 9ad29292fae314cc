/* descendants.c: walking /proc. A process may go at any moment: every open and read may fail, and that is no error. */
#include "node/descendants.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/idmap.h"

enum { MAX_CHILDREN = 4096, MAX_DEPTH = 64, MIN_PASSES = 4, MAX_PASSES = 100 };

static ssize_t read_file(const char *path, char *text, size_t capacity)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    size_t size = 0;
    ssize_t got;
    while (size < capacity - 1 && (got = read(fd, text + size, capacity - 1 - size)) > 0)
        size += (size_t)got;
    (void)close(fd);
    text[size] = '\0';
    return (ssize_t)size;
}

static bool is_number(const char *name)
{
    return isdigit((unsigned char)name[0]);
}

static size_t children_of_thread(pid_t pid, const char *tid, pid_t *pids, size_t capacity, bool *known)
{
    char path[128], text[16 * 1024];
    (void)snprintf(path, sizeof path, "/proc/%d/task/%.20s/children", (int)pid, tid);
    if (read_file(path, text, sizeof text) < 0)
        return 0;
    *known = true;
    size_t count = 0;
    char *rest = text;
    for (long child; (child = strtol(rest, &rest, 10)) > 0; count++)
        if (count < capacity)
            pids[count] = (pid_t)child;
    return count;
}

static pid_t parent_of(const char *pid)
{
    char path[64], text[512];
    (void)snprintf(path, sizeof path, "/proc/%.20s/stat", pid);
    if (read_file(path, text, sizeof text) < 0)
        return 0;
    /* The command, in parentheses, may itself hold spaces and parentheses. */
    char *after = strrchr(text, ')');
    int parent = 0;
    return after && sscanf(after + 1, " %*c %d", &parent) == 1 ? (pid_t)parent : 0;
}

static ssize_t children_by_parent_field(pid_t pid, pid_t *pids, size_t capacity)
{
    DIR *proc = opendir("/proc");
    if (!proc)
        return -errno;
    size_t count = 0;
    for (struct dirent *entry; (entry = readdir(proc));) {
        if (!is_number(entry->d_name) || parent_of(entry->d_name) != pid)
            continue;
        if (count < capacity)
            pids[count] = (pid_t)atoi(entry->d_name);
        count++;
    }
    (void)closedir(proc);
    return (ssize_t)count;
}

ssize_t exl_children_of(pid_t pid, pid_t *pids, size_t capacity)
{
    char path[64];
    (void)snprintf(path, sizeof path, "/proc/%d/task", (int)pid);
    DIR *threads = opendir(path);
    if (!threads)
        return -errno;
    size_t count = 0;
    bool known = false;
    for (struct dirent *entry; (entry = readdir(threads));)
        if (is_number(entry->d_name)) {
            size_t kept = count < capacity ? count : capacity;
            count += children_of_thread(pid, entry->d_name, pids + kept, capacity - kept, &known);
        }
    (void)closedir(threads);
    return known ? (ssize_t)count : children_by_parent_field(pid, pids, capacity);
}

/* Returns whether there was one that is not in `seen`; it is then. */
static bool signal_tree(pid_t pid, int signal, int depth, exl_idmap_t *seen)
{
    static char mark;
    pid_t *pids = depth < MAX_DEPTH ? calloc(MAX_CHILDREN, sizeof *pids) : NULL;
    if (!pids)
        return false;
    bool any = false;
    ssize_t count = exl_children_of(pid, pids, MAX_CHILDREN);
    for (ssize_t i = 0; i < count && i < MAX_CHILDREN; i++) {
        any |= signal_tree(pids[i], signal, depth + 1, seen);
        if (pids[i] == getpid() || exl_idmap_get(seen, (uint64_t)pids[i]))
            continue;
        (void)kill(pids[i], signal);
        any |= exl_idmap_put(seen, (uint64_t)pids[i], &mark) == 0;
    }
    free(pids);
    return any;
}

void exl_descendants_signal(pid_t pid, int signal)
{
    exl_idmap_t seen;
    exl_idmap_init(&seen);
    /* A child that ends under our eyes hands its own children up to where we have looked already. */
    for (int pass = 0; signal_tree(pid, signal, 0, &seen) && pass < MAX_PASSES; pass++) {
    }
    exl_idmap_fini(&seen);
}

void exl_await_death(pid_t pid, int timeout_ms)
{
    struct pollfd process = {.fd = (int)syscall(SYS_pidfd_open, pid, 0), .events = POLLIN};
    if (process.fd < 0)
        return; /* gone already, or a kernel without pidfds */
    (void)poll(&process, 1, timeout_ms);
    (void)close(process.fd);
}

static bool environment_holds(const char *pid, const char *marker)
{
    enum { CAPACITY = 256 * 1024 };
    char path[64];
    char *text = malloc(CAPACITY);
    if (!text)
        return false;
    (void)snprintf(path, sizeof path, "/proc/%.20s/environ", pid);
    ssize_t size = read_file(path, text, CAPACITY);
    bool found = false;
    for (ssize_t at = 0; at < size && !found; at += (ssize_t)strlen(text + at) + 1)
        found = strcmp(text + at, marker) == 0;
    free(text);
    return found;
}

static bool marked_kill_once(const char *marker)
{
    DIR *proc = opendir("/proc");
    bool found = false;
    if (!proc)
        return false;
    for (struct dirent *entry; (entry = readdir(proc));) {
        if (!is_number(entry->d_name) || atoi(entry->d_name) == getpid() || !environment_holds(entry->d_name, marker))
            continue;
        (void)kill((pid_t)atoi(entry->d_name), SIGKILL);
        found = true;
    }
    (void)closedir(proc);
    return found;
}

void exl_marked_kill(const char *marker)
{
    /* A process in the middle of exec has no environment to be seen, and one that was just forked may be behind the
     * reader: so more than one pass, and on until one finds nothing. */
    for (int pass = 0; marked_kill_once(marker) || pass < MIN_PASSES; pass++)
        if (pass == MAX_PASSES)
            return;
}
