/* job.c: claims are symbolic links "pid start namespace boot host". */
#include "batch/job.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "launch/spawn.h"

enum { STAT_START_FIELD = 22, MAX_TRIES = 100 };

/* ---- who a process is ---- */

static int read_text(const char *path, char *text, size_t size)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    ssize_t length = read(fd, text, size - 1);
    int rc = length < 0 ? -errno : 0;
    (void)close(fd);
    text[length < 0 ? 0 : length] = '\0';
    return rc;
}

/* The name of the program, in parentheses, may hold anything: fields are counted from its end. */
static int start_of(pid_t pid, uint64_t *ret_start)
{
    char path[48], text[1024];
    (void)snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    int rc = read_text(path, text, sizeof text);
    if (rc < 0)
        return rc == -ENOENT ? -ESRCH : rc;
    char *field = strrchr(text, ')');
    /* A zombie has ended, though nobody has waited for it yet. */
    if (!field || field[1] == '\0' || field[2] == 'Z' || field[2] == 'X')
        return -ESRCH;
    field += 2;
    for (int i = 3; i < STAT_START_FIELD && field; i++) {
        field = strchr(field, ' ');
        field = field ? field + 1 : NULL;
    }
    if (!field)
        return -ESRCH;
    *ret_start = strtoull(field, NULL, 10);
    return 0;
}

int exl_claim_of(pid_t pid, exl_claim_t *ret_claim)
{
    exl_claim_t claim = {.pid = pid ? pid : getpid()};
    struct stat status;
    int rc = start_of(claim.pid, &claim.start);
    if (rc == 0)
        rc = read_text("/proc/sys/kernel/random/boot_id", claim.boot, sizeof claim.boot);
    if (rc == 0 && stat("/proc/self/ns/pid", &status) < 0)
        rc = -errno;
    if (rc != 0)
        return rc;
    claim.boot[strcspn(claim.boot, "\n")] = '\0';
    claim.namespace = status.st_ino;
    (void)gethostname(claim.host, sizeof claim.host - 1);
    *ret_claim = claim;
    return 0;
}

exl_holder_t exl_claim_holder(const exl_claim_t *claim)
{
    exl_claim_t here;
    uint64_t start;
    if (claim->pid <= 0)
        return EXL_HOLDER_GONE;
    if (exl_claim_of(0, &here) != 0)
        return EXL_HOLDER_ELSEWHERE;
    if (strcmp(here.boot, claim->boot) != 0)
        /* The same machine, started anew since, has none of its processes left. */
        return strcmp(here.host, claim->host) == 0 ? EXL_HOLDER_GONE : EXL_HOLDER_ELSEWHERE;
    if (here.namespace != claim->namespace)
        return EXL_HOLDER_ELSEWHERE;
    return start_of(claim->pid, &start) == 0 && start == claim->start ? EXL_HOLDER_LIVES : EXL_HOLDER_GONE;
}

/* ---- claims ---- */

static bool generation_of(const char *name, unsigned *ret_generation)
{
    char *end;
    if (strncmp(name, "claim.", 6) != 0 || name[6] < '1' || name[6] > '9')
        return false;
    unsigned long number = strtoul(name + 6, &end, 10);
    *ret_generation = (unsigned)number;
    return *end == '\0' && number < UINT_MAX;
}

static int highest_generation(const char *folder, unsigned *ret_highest)
{
    DIR *directory = opendir(folder);
    if (!directory)
        return -errno;
    unsigned highest = 0, generation;
    for (struct dirent *entry; (entry = readdir(directory));)
        if (generation_of(entry->d_name, &generation) && generation > highest)
            highest = generation;
    (void)closedir(directory);
    *ret_highest = highest;
    return 0;
}

static int claim_path(const char *folder, unsigned generation, char path[PATH_MAX])
{
    int length = snprintf(path, PATH_MAX, "%s/claim.%u", folder, generation);
    return length < 0 || length >= PATH_MAX ? -ENAMETOOLONG : 0;
}

/* What is not a claim of ours has no pid: nobody lives who holds it. */
static void parse(const char *text, exl_claim_t *claim)
{
    int pid = 0;
    if (sscanf(text, "%d %" SCNu64 " %" SCNu64 " %39s %71s", &pid, &claim->start, &claim->namespace, claim->boot,
               claim->host) < 5)
        pid = 0;
    claim->pid = pid;
}

int exl_claim_read(const char *folder, exl_claim_t *ret_claim)
{
    char path[PATH_MAX], text[256];
    for (int i = 0; i < MAX_TRIES; i++) {
        exl_claim_t claim = {0};
        int rc = highest_generation(folder, &claim.generation);
        if (rc == 0 && claim.generation == 0)
            rc = -ENOENT;
        if (rc == 0)
            rc = claim_path(folder, claim.generation, path);
        if (rc < 0)
            return rc;
        ssize_t length = readlink(path, text, sizeof text - 1);
        if (length < 0 && errno == ENOENT)
            continue; /* it was superseded or released between the two looks */
        text[length < 0 ? 0 : length] = '\0';
        parse(text, &claim);
        *ret_claim = claim;
        return 0;
    }
    return -ENOENT;
}

static int make_folders(const char *path)
{
    char part[PATH_MAX];
    if (snprintf(part, sizeof part, "%s", path) >= (int)sizeof part)
        return -ENAMETOOLONG;
    if (mkdir(part, 0777) == 0 || errno == EEXIST)
        return 0;
    if (errno != ENOENT)
        return -errno;
    for (char *slash = strchr(part + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        if (mkdir(part, 0777) < 0 && errno != EEXIST && errno != EISDIR)
            return -errno;
        *slash = '/';
    }
    return mkdir(part, 0777) == 0 || errno == EEXIST ? 0 : -errno;
}

static int make_claim(const char *folder, unsigned generation, exl_claim_t *claim)
{
    char path[PATH_MAX], text[256], found[256];
    int rc = claim_path(folder, generation, path);
    if (rc < 0)
        return rc;
    (void)snprintf(text, sizeof text, "%d %" PRIu64 " %" PRIu64 " %s %s", (int)claim->pid, claim->start,
                   claim->namespace, claim->boot, claim->host[0] ? claim->host : "-");
    claim->generation = generation;
    if (symlink(text, path) == 0)
        return 0;
    if (errno != EEXIST)
        return -errno;
    /* A network file system may have made it and lost the answer: then it says who we are. */
    ssize_t length = readlink(path, found, sizeof found - 1);
    return length == (ssize_t)strlen(text) && memcmp(found, text, (size_t)length) == 0 ? 0 : -EEXIST;
}

int exl_claim_take(const char *folder, exl_claim_t *ret_claim)
{
    exl_claim_t own, held;
    int rc = exl_claim_of(0, &own);
    for (int i = 0; rc == 0 && i < MAX_TRIES; i++) {
        held.generation = 0;
        int found = exl_claim_read(folder, &held);
        if (found == 0 && exl_claim_holder(&held) != EXL_HOLDER_GONE) {
            *ret_claim = held;
            return -EBUSY;
        }
        rc = found == -ENOENT || found == 0 ? make_folders(folder) : found;
        if (rc < 0)
            return rc;
        rc = make_claim(folder, held.generation + 1, &own);
        if (rc == 0) {
            *ret_claim = own;
            return 0;
        }
        if (rc == -EEXIST || rc == -ENOENT)
            rc = 0; /* another was first, or the folder was removed: look again */
    }
    return rc < 0 ? rc : -EAGAIN;
}

void exl_claim_release(const char *folder, unsigned generation)
{
    char path[PATH_MAX];
    for (unsigned g = generation; g > 0 && claim_path(folder, g, path) == 0; g--)
        if (unlink(path) < 0 && errno == ENOENT && g < generation)
            break; /* those below went with an earlier release */
    (void)rmdir(folder);
}

/* ---- its process ---- */

static int open_log(const char *folder, const char *name, const char *chosen, exl_error_t *err)
{
    char path[PATH_MAX];
    if (!chosen && snprintf(path, sizeof path, "%s/%s", folder, name) >= (int)sizeof path)
        return exl_error_set(err, -ENAMETOOLONG, "%s: %s", folder, strerror(ENAMETOOLONG));
    int fd = open(chosen ? chosen : path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0666);
    return fd >= 0 ? fd : exl_error_set(err, -errno, "%s: %s", chosen ? chosen : path, strerror(errno));
}

int exl_job_start(const exl_job_t *job, pid_t *ret_pid, exl_error_t *err)
{
    int rc = make_folders(job->folder);
    if (rc < 0)
        return exl_error_set(err, rc, "%s: %s", job->folder, strerror(-rc));
    int out = open_log(job->folder, "out.log", job->out, err);
    if (out < 0)
        return out;
    int error = open_log(job->folder, "err.log", job->err, err);
    if (error < 0) {
        (void)close(out);
        return error;
    }
    exl_spawn_t spawn = {.argv = job->argv, .envp = job->envp, .control_fd = -1, .stdout_fd = out, .stderr_fd = error};
    rc = exl_spawn(&spawn, ret_pid, err);
    (void)close(out);
    (void)close(error);
    return rc;
}
