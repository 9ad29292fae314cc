/* cpus.c: what the user says, affinity mask, cgroup quota, Slurm's share. */
#include "sched/cpus.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { PATH_SIZE = 4096, TEXT_SIZE = 4096 };

static int least(int a, int b)
{
    return a == 0 ? b : b == 0 ? a : a < b ? a : b;
}

static int cores_of(long long quota_us, long long period_us)
{
    if (quota_us <= 0 || period_us <= 0)
        return 0;
    long long cores = quota_us / period_us + (quota_us % period_us != 0);
    return cores > INT_MAX ? 0 : (int)cores;
}

int exl_cpus_from_cgroup_v2(const char *cpu_max_text)
{
    long long quota_us, period_us;
    return sscanf(cpu_max_text, "%lld %lld", &quota_us, &period_us) == 2 ? cores_of(quota_us, period_us) : 0;
}

int exl_cpus_from_cgroup_v1(const char *quota_us_text, const char *period_us_text)
{
    return cores_of(strtoll(quota_us_text, NULL, 10), strtoll(period_us_text, NULL, 10));
}

int exl_cpus_from_variable(const char *text)
{
    if (!text)
        return 0;
    char *end;
    long cores = strtol(text, &end, 10);
    return end != text && *end == '\0' && cores > 0 && cores <= INT_MAX ? (int)cores : 0;
}

static int read_text(const char *path, char text[TEXT_SIZE])
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    ssize_t size = read(fd, text, TEXT_SIZE - 1);
    (void)close(fd);
    if (size < 0)
        return -EIO;
    text[size] = '\0';
    return 0;
}

static int cores_of_group(const char *root, const char *group, int version)
{
    char path[PATH_SIZE], text[TEXT_SIZE], period[TEXT_SIZE];
    (void)snprintf(path, sizeof path, "%s%s/%s", root, group, version == 2 ? "cpu.max" : "cpu.cfs_quota_us");
    if (read_text(path, text) < 0)
        return 0;
    if (version == 2)
        return exl_cpus_from_cgroup_v2(text);
    (void)snprintf(path, sizeof path, "%s%s/cpu.cfs_period_us", root, group);
    return read_text(path, period) < 0 ? 0 : exl_cpus_from_cgroup_v1(text, period);
}

/* A quota on a parent group limits its children too, so every level up to the root counts. */
static int cores_of_hierarchy(const char *root, char *group, int version)
{
    int cores = 0;
    for (;;) {
        cores = least(cores, cores_of_group(root, group, version));
        char *slash = strrchr(group, '/');
        if (!slash)
            return cores;
        *slash = '\0';
    }
}

static int cores_of_cgroup(void)
{
    char text[TEXT_SIZE];
    int cores = 0;
    if (read_text("/proc/self/cgroup", text) < 0)
        return 0;
    char *rest = text, *line;
    while ((line = strsep(&rest, "\n"))) {
        char *controllers = strchr(line, ':');
        char *group = controllers ? strchr(controllers + 1, ':') : NULL;
        if (!group)
            continue;
        *group++ = '\0';
        if (strcmp(controllers, ":") == 0)
            cores = least(cores, cores_of_hierarchy("/sys/fs/cgroup", group, 2));
        else if (strstr(controllers, "cpu,") || strcmp(controllers, ":cpu") == 0)
            cores = least(cores, cores_of_hierarchy("/sys/fs/cgroup/cpu", group, 1));
    }
    return cores;
}

static int cores_of_affinity(void)
{
    for (int ncpus = 1024; ncpus <= 1 << 20; ncpus *= 2) {
        cpu_set_t *set = CPU_ALLOC((size_t)ncpus);
        size_t size = CPU_ALLOC_SIZE((size_t)ncpus);
        if (!set)
            return 0;
        int rc = sched_getaffinity(0, size, set);
        int cores = rc == 0 ? CPU_COUNT_S(size, set) : 0;
        CPU_FREE(set);
        /* EINVAL: the kernel's mask is longer than ours. */
        if (rc == 0 || errno != EINVAL)
            return cores;
    }
    return 0;
}

int exl_cpus_usable(void)
{
    int cores = exl_cpus_from_variable(getenv("PYTHON_CPU_COUNT"));
    if (cores > 0)
        return cores;
    cores = least(cores_of_affinity(), cores_of_cgroup());
    cores = least(cores, exl_cpus_from_variable(getenv("SLURM_CPUS_ON_NODE")));
    return cores > 0 ? cores : 1;
}
