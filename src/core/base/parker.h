/* parker.h: one thread sleeps until another thread says so, once. A futex word on the sleeper's stack.
 *
 * unpark() touches the word only before the kernel call; the sleeper may be gone when the call is made, which
 * the kernel and every futex user tolerate as a spurious wake-up. */
#ifndef EXL_BASE_PARKER_H
#define EXL_BASE_PARKER_H

#include <stdatomic.h>
#include <stdint.h>

typedef struct exl_parker {
    _Atomic uint32_t word; /* 0 asleep, 1 released */
} exl_parker_t;

static inline void exl_parker_init(exl_parker_t *parker)
{
    atomic_init(&parker->word, 0);
}

/* Returns 0 when released, -ETIMEDOUT when `deadline_ns` (monotonic; < 0: none) passed, EXL_EINTERRUPTED on a signal. */
int exl_parker_wait(exl_parker_t *parker, int64_t deadline_ns);

/* The same for any word: sleeps while it is `seen`. */
int exl_parker_wait_change(_Atomic uint32_t *word, uint32_t seen, int64_t deadline_ns);

/* Two halves, so that a lock can be dropped in between: release under it, wake after it. */
static inline void exl_parker_release(exl_parker_t *parker)
{
    atomic_store_explicit(&parker->word, 1, memory_order_release);
}
void exl_parker_wake(_Atomic uint32_t *word);

#endif
