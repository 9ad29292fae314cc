/* pins.h: which processors are whose, for calls that are to be bound to processors of their own.
 *
 * One ledger serves a whole process, since all its executors run on the same processors. Being pinned is never a reason
 * to wait: who finds too few left runs unpinned. */
#ifndef EXL_SCHED_PINS_H
#define EXL_SCHED_PINS_H

#include <stdbool.h>
#include <stdint.h>

typedef struct exl_pins {
    uint32_t count;
    uint32_t *cpus; /* owned; the kernel's numbers, ascending */
    bool *taken;    /* owned */
} exl_pins_t;

/* Of the processors that this process may run on. -ENOMEM, or another negative code, with nothing changed. An all-zero
 * ledger has none to give. */
int exl_pins_init(exl_pins_t *pins);

/* Of these processors. */
int exl_pins_init_with(exl_pins_t *pins, const uint32_t *cpus, uint32_t count);
void exl_pins_fini(exl_pins_t *pins);

/* Takes `count` processors, neighbours where possible, and writes their numbers; false and nothing taken when fewer are
 * left. */
bool exl_pins_take(exl_pins_t *pins, uint32_t count, uint32_t *ret_cpus);
void exl_pins_give(exl_pins_t *pins, uint32_t count, const uint32_t *cpus);

#endif
