/* spin.c: see spin.h. */
#include "base/spin.h"

#include <sched.h>
#include <stdatomic.h>

#include "base/clock.h"

enum { LONGEST_NS = 400000, SLACK_NS = 50000, PAUSES = 16, DESCHEDULED_NS = 5000 };

/* False where there is one processor only: whoever spins there keeps the other from answering. */
static bool has_processors(void)
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

void exl_spin_learn(exl_spin_t *spin, int64_t waited_ns)
{
    if (waited_ns > LONGEST_NS || spin->crowded || !has_processors())
        spin->budget_ns = 0;
    else
        spin->budget_ns = 2 * waited_ns + SLACK_NS < LONGEST_NS ? 2 * waited_ns + SLACK_NS : LONGEST_NS;
    spin->crowded = false;
}

static void pause_core(void)
{
    for (int i = 0; i < PAUSES; i++) {
#if defined __x86_64__ || defined __i386__
        __builtin_ia32_pause();
#elif defined __aarch64__
        __asm__ volatile("yield");
#endif
    }
}

bool exl_spin_on(exl_spin_t *spin, int64_t begun_ns)
{
    if (!spin->budget_ns)
        return false;
    pause_core();
    int64_t before_ns = exl_clock_ns();
    (void)sched_yield();
    int64_t now_ns = exl_clock_ns();
    if (now_ns - before_ns > DESCHEDULED_NS) {
        spin->crowded = true;
        return false;
    }
    return now_ns - begun_ns < spin->budget_ns;
}
