/* deadline.h: a point in time at which something has to have ended. All under the engine's lock. */
#ifndef EXL_ENGINE_DEADLINE_H
#define EXL_ENGINE_DEADLINE_H

#include <stdint.h>

#include "node/node.h"

typedef struct exl_deadline exl_deadline_t;

/* Calls `passed(subject)` once, not before `ms` from now have gone by, unless it is stopped first. -ENOMEM. */
int exl_deadline_start(exl_node_t *node, uint32_t ms, void (*passed)(void *subject), void *subject,
                       exl_deadline_t **ret_deadline);

/* Every deadline is stopped in the end, also one that has passed; `passed` itself may do it. NULL is fine. */
void exl_deadline_stop(exl_deadline_t *deadline);

#endif
