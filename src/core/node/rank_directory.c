/* rank_directory.c: see rank_directory.h. */
#include "node/rank_directory.h"

#include <dirent.h>
#include <errno.h>
#include <ftw.h>
#include <limits.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *const parents[] = {"/dev/shm", "/tmp"};
static const char segment_prefix[] = "/dev/shm/mpich_";

/* Containers may share the directory but not the pids: the number of the pid namespace is part of the name. */
static void prefix_of(pid_t owner, char *prefix, size_t size)
{
    struct stat pids = {.st_ino = 0};
    (void)stat("/proc/self/ns/pid", &pids);
    (void)snprintf(prefix, size, "executorlib-%lu-%d-", (unsigned long)pids.st_ino, (int)owner);
}

int exl_rank_directory_create(char path[EXL_RANK_DIRECTORY_SIZE])
{
    char prefix[EXL_RANK_DIRECTORY_SIZE - 16];
    const char *parent = access(parents[0], W_OK | X_OK) == 0 ? parents[0] : parents[1];
    prefix_of(getpid(), prefix, sizeof prefix);
    (void)snprintf(path, EXL_RANK_DIRECTORY_SIZE, "%s/%sXXXXXX", parent, prefix);
    if (mkdtemp(path))
        return 0;
    path[0] = '\0';
    return -errno;
}

void exl_rank_directory_note(const char *path, pid_t rank)
{
    char maps_path[32], line[PATH_MAX], link[PATH_MAX];
    (void)snprintf(maps_path, sizeof maps_path, "/proc/%d/maps", (int)rank);
    FILE *maps = fopen(maps_path, "re");
    while (maps && fgets(line, sizeof line, maps)) {
        char *name = strstr(line, segment_prefix);
        if (!name)
            continue;
        name[strcspn(name, " \n")] = '\0';
        if (snprintf(link, sizeof link, "%s/%s", path, strrchr(name, '/') + 1) < (int)sizeof link)
            (void)!symlink(name, link); /* may be there already */
    }
    if (maps)
        (void)fclose(maps);
}

static uint32_t fnv1_hash(const char *text)
{
    uint32_t hash = UINT32_C(2166136261);
    for (; *text; text++)
        hash = (hash ^ (uint8_t)*text) * UINT32_C(16777619);
    return hash;
}

/* It names them by a hash of the store's name, to which it will add how often the process has started MPI. */
void exl_rank_directory_expect(const char *path)
{
    static const char *const kinds[] = {"shm", "vci"}, *const suffixes[] = {"", "-1"};
    char name[EXL_RANK_DIRECTORY_SIZE], target[64], link[2 * EXL_RANK_DIRECTORY_SIZE];
    for (size_t i = 0; i < 4; i++) {
        (void)snprintf(name, sizeof name, "%s%s", strrchr(path, '/') + 1, suffixes[i / 2]);
        (void)snprintf(target, sizeof target, "%s%s_%x_0", segment_prefix, kinds[i % 2], fnv1_hash(name));
        (void)snprintf(link, sizeof link, "%s/%s", path, strrchr(target, '/') + 1);
        (void)!symlink(target, link);
    }
}

static int remove_entry(const char *path, const struct stat *status, int type, struct FTW *position)
{
    char target[PATH_MAX];
    (void)status;
    ssize_t length = type == FTW_SL ? readlink(path, target, sizeof target - 1) : -1;
    if (length > 0) {
        target[length] = '\0';
        bool is_ticket = strcmp(path + position->base, "ticket") == 0;
        if (is_ticket || strncmp(target, segment_prefix, sizeof segment_prefix - 1) == 0)
            (void)unlink(target);
    }
    (void)remove(path);
    return 0;
}

void exl_rank_directory_remove(const char *path)
{
    enum { OPEN_DIRECTORIES = 16 };
    if (path[0])
        (void)nftw(path, remove_entry, OPEN_DIRECTORIES, FTW_DEPTH | FTW_PHYS);
}

/* The process in the name of a directory of this pid namespace; 0 for anything else. */
static pid_t owner_of(const char *name)
{
    char prefix[EXL_RANK_DIRECTORY_SIZE];
    prefix_of(0, prefix, sizeof prefix); /* ends in "0-" */
    size_t length = strlen(prefix) - 2;
    return strncmp(name, prefix, length) == 0 ? (pid_t)strtol(name + length, NULL, 10) : 0;
}

void exl_rank_directory_sweep_all(void)
{
    for (size_t i = 0; i < sizeof parents / sizeof *parents; i++) {
        DIR *parent = opendir(parents[i]);
        for (const struct dirent *entry; parent && (entry = readdir(parent));) {
            pid_t owner = owner_of(entry->d_name);
            if (owner > 0 && kill(owner, 0) < 0 && errno == ESRCH)
                exl_rank_directory_sweep(owner);
        }
        if (parent)
            (void)closedir(parent);
    }
}

/* Where the directories are everybody may make one: with links in it that make us remove files of our own. */
static bool is_ours(const char *path)
{
    struct stat status;
    return lstat(path, &status) == 0 && S_ISDIR(status.st_mode) && status.st_uid == geteuid() &&
           !(status.st_mode & (S_IRWXG | S_IRWXO));
}

void exl_rank_directory_sweep(pid_t owner)
{
    char prefix[EXL_RANK_DIRECTORY_SIZE], path[PATH_MAX];
    prefix_of(owner, prefix, sizeof prefix);
    for (size_t i = 0; i < sizeof parents / sizeof *parents; i++) {
        DIR *parent = opendir(parents[i]);
        for (const struct dirent *entry; parent && (entry = readdir(parent));)
            if (strncmp(entry->d_name, prefix, strlen(prefix)) == 0) {
                (void)snprintf(path, sizeof path, "%s/%s", parents[i], entry->d_name);
                if (is_ours(path))
                    exl_rank_directory_remove(path);
            }
        if (parent)
            (void)closedir(parent);
    }
}
