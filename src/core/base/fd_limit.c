/* fd_limit.c: the soft limit is what it was, and what is needed on top where that is much. */
#include "base/fd_limit.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/resource.h>

/* Below a quarter of the limit nothing is raised. */
enum { OTHERS = 32, MUCH = 4 };

static uint64_t added;
static _Atomic rlim_t inherited, raised; /* the latter is what the limit was raised to; 0: it was not */

int exl_fd_limit_allows(uint32_t count)
{
    struct rlimit limit;
    return getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_max < (rlim_t)count + OTHERS ? -EMFILE : 0;
}

/* The program may have set it since: then that is what it has. */
static rlim_t without_added(const struct rlimit *limit)
{
    rlim_t ours = atomic_load(&raised);
    return ours && limit->rlim_cur == ours ? atomic_load(&inherited) : limit->rlim_cur;
}

static void change(int64_t count)
{
    struct rlimit limit;
    added += (uint64_t)count;
    if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
        return;
    rlim_t before = limit.rlim_cur, own = without_added(&limit);
    bool much = own != RLIM_INFINITY && added > own / MUCH;
    limit.rlim_cur = !much ? own : limit.rlim_max - own < added ? limit.rlim_max : own + added;
    atomic_store(&inherited, own);
    atomic_store(&raised, much ? limit.rlim_cur : 0);
    if (limit.rlim_cur != before)
        (void)setrlimit(RLIMIT_NOFILE, &limit);
}

void exl_fd_limit_add(uint32_t count)
{
    change(count);
}

void exl_fd_limit_subtract(uint32_t count)
{
    change(-(int64_t)count);
}

uint64_t exl_fd_limit_inherited(void)
{
    struct rlimit limit = {RLIM_INFINITY, RLIM_INFINITY};
    (void)getrlimit(RLIMIT_NOFILE, &limit);
    return without_added(&limit);
}

void exl_fd_limit_give(pid_t child)
{
    struct rlimit limit;
    if (!atomic_load(&raised) || getrlimit(RLIMIT_NOFILE, &limit) < 0)
        return;
    limit.rlim_cur = without_added(&limit);
    (void)prlimit(child, RLIMIT_NOFILE, &limit, NULL);
}
