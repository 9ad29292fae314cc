/* claim.c: making and mapping the shared page, and the stderr mark. */
#include "node/claim.h"

#include <errno.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

static int map_page(int fd, exl_claim_t **ret_claim)
{
    void *page = mmap(NULL, EXL_CLAIM_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (page == MAP_FAILED)
        return -errno;
    *ret_claim = page;
    return 0;
}

int exl_claim_create(exl_claim_t **ret_claim, int *ret_fd)
{
    int fd = memfd_create("executorlib-claim", MFD_CLOEXEC);
    if (fd < 0)
        return -errno;
    int rc = ftruncate(fd, EXL_CLAIM_SIZE) < 0 ? -errno : map_page(fd, ret_claim);
    if (rc < 0)
        (void)close(fd);
    else
        *ret_fd = fd;
    return rc;
}

int exl_claim_open(int fd, exl_claim_t **ret_claim)
{
    int rc = map_page(fd, ret_claim);
    (void)close(fd);
    return rc;
}

void exl_claim_close(exl_claim_t *claim)
{
    if (claim)
        (void)munmap(claim, EXL_CLAIM_SIZE);
}

_Static_assert(sizeof(exl_claim_t) <= EXL_CLAIM_SIZE, "one page");

void exl_claim_begin(exl_claim_t *claim, uint64_t number)
{
    exl_claim_run_t *run = &claim->runs[number % EXL_CLAIM_RUNS];
    atomic_store(&run->number, 0);
    atomic_store(&run->began_ns, exl_clock_ns());
    atomic_store(&run->ended_ns, 0);
    atomic_store(&run->number, number);
}

bool exl_claim_times(const exl_claim_t *claim, uint64_t number, int64_t *ret_began_ns, int64_t *ret_ended_ns)
{
    const exl_claim_run_t *run = &claim->runs[number % EXL_CLAIM_RUNS];
    if (atomic_load(&run->number) != number)
        return false;
    int64_t began_ns = atomic_load(&run->began_ns), ended_ns = atomic_load(&run->ended_ns);
    if (atomic_load(&run->number) != number) /* overwritten meanwhile */
        return false;
    *ret_began_ns = began_ns;
    *ret_ended_ns = ended_ns;
    return true;
}

void exl_claim_mark_stderr(exl_claim_t *claim, int stderr_fd)
{
    /* The reader holds the sequence odd for one read(). Bounded, since a stopped driver must not stop the worker. */
    for (int attempt = 0; attempt < 1000; attempt++) {
        uint32_t before = atomic_load(&claim->drain_sequence);
        if (before & 1) {
            (void)sched_yield();
            continue;
        }
        uint64_t drained = atomic_load(&claim->drained);
        int unread = 0;
        if (ioctl(stderr_fd, FIONREAD, &unread) < 0)
            return;
        if (atomic_load(&claim->drain_sequence) != before)
            continue;
        atomic_store(&claim->stderr_mark, drained + (uint64_t)unread);
        return;
    }
}
