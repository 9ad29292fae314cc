/* queue.h: calls that are ready, in the order in which they should start: priority first, then submission.
 *
 * A call that does not fit now may be passed by narrower ones that do, so that cores do not stand idle; but only
 * `patience` times, after which cores are kept free until it fits. Those behind it are passed as well, and it counts for
 * them too: so nobody starves, however many wide calls wait. Who lacks GPUs only is in nobody's way but theirs who take
 * GPUs. Items live inside the caller's objects; push and pop cost the number of distinct (priority, width) pairs, not the
 * number of calls. */
#ifndef EXL_SCHED_QUEUE_H
#define EXL_SCHED_QUEUE_H

#include <stddef.h>

#include "base/list.h"
#include "sched/resources.h"

typedef struct exl_queue_item {
    exl_list_t link;
    uint64_t order; /* submission number; lower starts first */
    exl_request_t request;
    int32_t priority; /* higher starts first */
    uint32_t passed;  /* how often a later call has started before this one */
} exl_queue_item_t;

typedef struct exl_queue {
    struct exl_queue_lane *lanes; /* owned; sorted by priority, highest first */
    size_t nlanes, capacity;
    size_t count;
    uint32_t patience;
    uint64_t barrier; /* exl_queue_pop() leaves alone what was submitted after this; 0: none */
} exl_queue_t;

void exl_queue_init(exl_queue_t *queue, uint32_t patience);
void exl_queue_fini(exl_queue_t *queue); /* the items are the caller's */

/* Also for items that come back (recalled, restarted): they take their old place by `order`. */
int exl_queue_push(exl_queue_t *queue, exl_queue_item_t *item);
void exl_queue_remove(exl_queue_t *queue, exl_queue_item_t *item);

/* Removes and returns the item to start now, or NULL. */
exl_queue_item_t *exl_queue_pop(exl_queue_t *queue, const exl_resources_t *resources);

/* Removes and returns any item with `order` below the given one, or NULL. */
exl_queue_item_t *exl_queue_pop_before(exl_queue_t *queue, uint64_t order);

/* The first item by priority and order, which stays; NULL when empty. */
exl_queue_item_t *exl_queue_first(const exl_queue_t *queue);

/* The lowest `order` of all items; UINT64_MAX when empty. */
uint64_t exl_queue_oldest(const exl_queue_t *queue);

/* Of the waiting items the highest priority; INT32_MIN when empty. */
int32_t exl_queue_priority(const exl_queue_t *queue);

#endif
