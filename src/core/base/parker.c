/* parker.c: futex wait and wake. */
#include "base/parker.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <stddef.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/error.h"

int exl_parker_wait_change(_Atomic uint32_t *word, uint32_t seen, int64_t deadline_ns)
{
    struct timespec deadline = {.tv_sec = deadline_ns / EXL_NS_PER_S, .tv_nsec = deadline_ns % EXL_NS_PER_S};
    while (atomic_load_explicit(word, memory_order_acquire) == seen) {
        /* FUTEX_WAIT_BITSET takes an absolute monotonic deadline, so that a retry needs no arithmetic. */
        long rc = syscall(SYS_futex, word, FUTEX_WAIT_BITSET_PRIVATE, seen, deadline_ns < 0 ? NULL : &deadline, NULL,
                          FUTEX_BITSET_MATCH_ANY);
        if (rc == 0 || errno == EAGAIN)
            continue;
        return errno == EINTR ? EXL_EINTERRUPTED : -errno;
    }
    return 0;
}

int exl_parker_wait(exl_parker_t *parker, int64_t deadline_ns)
{
    return exl_parker_wait_change(&parker->word, 0, deadline_ns);
}

void exl_parker_wake(_Atomic uint32_t *word)
{
    (void)syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0);
}
