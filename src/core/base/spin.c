/* spin.c: asks once how many processors this process may use. */
#include "base/spin.h"

#include <sched.h>
#include <stdatomic.h>

bool exl_may_spin(void)
{
    static atomic_int answer; /* 0: not asked yet, 1: no, 2: yes */
    if (atomic_load_explicit(&answer, memory_order_relaxed) == 0) {
        cpu_set_t set;
        /* EINVAL: more processors than the set has room for. */
        bool several = sched_getaffinity(0, sizeof set, &set) < 0 || CPU_COUNT(&set) > 1;
        atomic_store_explicit(&answer, several ? 2 : 1, memory_order_relaxed);
    }
    return atomic_load_explicit(&answer, memory_order_relaxed) == 2;
}
