/* test_rank_group.c: ranks of a stub launcher: how a group starts, answers and ends. This process is the head. */
#include "node/rank_group.h"

#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support.h"

extern char **environ;

enum { MAX_RANKS = 6, MAX_DIRECTORIES = 64 };

static exl_rank_group_t *group;
static exl_error_t err;

/* ---- what must not be left behind ---- */

static int count_directories(const char *folder)
{
    int count = 0;
    DIR *directory = opendir(folder);
    for (struct dirent *entry; directory && (entry = readdir(directory));) {
        char path[512], line[128] = "";
        /* Those of other users of the machine come and go: ours are ours by our pid in their name, were there one. */
        (void)snprintf(path, sizeof path, "%s/%.200s", folder, entry->d_name);
        count += strncmp(entry->d_name, "executorlib-", 12) == 0 && access(path, X_OK) == 0 && !line[0];
    }
    if (directory)
        (void)closedir(directory);
    return count;
}
