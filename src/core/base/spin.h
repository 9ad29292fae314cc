/* spin.h: how long to look for an event before sleeping for it.
 *
 * Waking a thread on an idle processor costs tens of microseconds, much of it in virtual machines. Who has just waited less
 * than that looks again for that long first. So only the quick exchange of short calls is ever spent awake; an idle
 * executor sleeps. */
#ifndef EXL_BASE_SPIN_H
#define EXL_BASE_SPIN_H

#include <stdbool.h>

enum { EXL_SPIN_NS = 50000 };

/* False where there is one processor only: whoever spins there keeps the other from answering. */
bool exl_may_spin(void);

#endif
