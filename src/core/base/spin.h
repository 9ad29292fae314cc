/* spin.h: how long to look for an event before sleeping for it.
 *
 * Waking a thread on an idle processor costs tens of microseconds, and a hundred in virtual machines. Who has just waited
 * shortly looks for the next event awake, for about twice as long as the last took. So only the quick exchange of short
 * calls is ever spent awake; an idle executor sleeps. */
#ifndef EXL_BASE_SPIN_H
#define EXL_BASE_SPIN_H

#include <stdbool.h>
#include <stdint.h>

typedef struct exl_spin {
    int64_t budget_ns; /* that the next wait may spend awake */
    bool crowded;      /* somebody else wanted the processor during this one */
} exl_spin_t;

/* Notes how long the last wait took; INT64_MAX: it was given up. */
void exl_spin_learn(exl_spin_t *spin, int64_t waited_ns);

/* Between two looks, in a wait that began at `begun_ns`: whether to look again. Lets others run, and leaves the core to
 * the thread that shares it, which may be the one that is waited for. Who then has to wait for the processor itself keeps
 * it from somebody with work to do: the answer is no. */
bool exl_spin_on(exl_spin_t *spin, int64_t begun_ns);

#endif
