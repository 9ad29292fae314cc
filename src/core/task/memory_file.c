/* memory_file.c: making, counting and keeping memory files. */
#include "task/memory_file.h"

#include <pthread.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

/* RAM_SHARE: kept files take at most this fraction of the machine's memory. Small ones are not worth keeping. */
enum { MAX_BUDGET = 512, MAX_KEPT = 8, RAM_SHARE = 32, KEEP_SIZE = 1024 * 1024, FEW = 16 };

static struct kept {
    int fd;
    size_t size;
} kept[MAX_KEPT];
static size_t nkept, kept_bytes;
static bool keeping;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* of all four */

static atomic_int open_files;
static _Atomic uint32_t forks;

static void before_fork(void)
{
    (void)pthread_mutex_lock(&lock);
}

static void after_fork_in_parent(void)
{
    atomic_fetch_add(&forks, 1);
    (void)pthread_mutex_unlock(&lock);
}

/* The child shares the files with its parent: it must not write into them. */
static void after_fork_in_child(void)
{
    for (size_t i = 0; i < nkept; i++)
        (void)close(kept[i].fd);
    nkept = kept_bytes = 0;
    atomic_fetch_add(&forks, 1);
    (void)pthread_mutex_init(&lock, NULL);
}

static void install_fork_handlers(void)
{
    (void)pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child);
}

uint32_t exl_memory_file_forks(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    (void)pthread_once(&once, install_fork_handlers);
    return atomic_load(&forks);
}

int exl_memory_files_open(void)
{
    return atomic_load(&open_files);
}

static int budget(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_cur / 4 > MAX_BUDGET)
        return MAX_BUDGET;
    return (int)(limit.rlim_cur / 4);
}

bool exl_memory_files_scarce(int percent)
{
    int open = exl_memory_files_open();
    return open > FEW && open > budget() * percent / 100;
}

void exl_memory_file_adopt(void)
{
    atomic_fetch_add(&open_files, 1);
}

void exl_memory_file_close(int fd)
{
    (void)close(fd);
    atomic_fetch_sub(&open_files, 1);
}

static int take_kept(size_t size)
{
    size_t best = MAX_KEPT;
    int fd = -1;
    (void)pthread_mutex_lock(&lock);
    for (size_t i = 0; i < nkept; i++)
        if (kept[i].size >= size && kept[i].size / 2 <= size && (best == MAX_KEPT || kept[i].size < kept[best].size))
            best = i;
    if (best < MAX_KEPT) {
        fd = kept[best].fd;
        kept_bytes -= kept[best].size;
        kept[best] = kept[--nkept];
    }
    (void)pthread_mutex_unlock(&lock);
    return fd;
}

int exl_memory_file_open(size_t size)
{
    int fd = size >= KEEP_SIZE ? take_kept(size) : -1;
    if (fd >= 0)
        return fd;
    if (exl_memory_files_scarce(200))
        return -1;
    fd = memfd_create("executorlib", MFD_CLOEXEC);
    if (fd >= 0)
        exl_memory_file_adopt();
    return fd;
}

static size_t keep_limit(void)
{
    long pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGESIZE);
    return pages > 0 && page > 0 ? (size_t)pages / RAM_SHARE * (size_t)page : 0;
}

void exl_memory_file_recycle(int fd, size_t size)
{
    bool keep = false;
    if (size >= KEEP_SIZE) {
        size_t limit = keep_limit();
        (void)pthread_mutex_lock(&lock);
        keep = keeping && nkept < MAX_KEPT && size <= limit && kept_bytes <= limit - size;
        if (keep) {
            kept[nkept++] = (struct kept){fd, size};
            kept_bytes += size;
        }
        (void)pthread_mutex_unlock(&lock);
    }
    if (!keep)
        exl_memory_file_close(fd);
}

void exl_memory_files_keep(void)
{
    (void)pthread_mutex_lock(&lock);
    keeping = true;
    (void)pthread_mutex_unlock(&lock);
}

void exl_memory_files_drop(void)
{
    (void)pthread_mutex_lock(&lock);
    keeping = false;
    while (nkept)
        exl_memory_file_close(kept[--nkept].fd);
    kept_bytes = 0;
    (void)pthread_mutex_unlock(&lock);
}
