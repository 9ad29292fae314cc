/* heap.h: things in the order of a key that changes, highest first; among equal keys the one that was put there first. A link of
 * the caller's knows its place, so that a change costs the logarithm of how many there are. */
#ifndef EXL_BASE_HEAP_H
#define EXL_BASE_HEAP_H

#include <stddef.h>
#include <stdint.h>

typedef struct exl_heap_link {
    size_t at; /* 1 + its place; 0: in no heap */
} exl_heap_link_t;

typedef struct exl_heap_slot {
    uint64_t key, order;
    exl_heap_link_t *link; /* borrowed */
} exl_heap_slot_t;

typedef struct exl_heap {
    exl_heap_slot_t *slots; /* owned */
    size_t count, capacity;
    uint64_t last_order;
} exl_heap_t;

void exl_heap_init(exl_heap_t *heap);
void exl_heap_fini(exl_heap_t *heap); /* the links are the caller's */

/* Makes room for so many together. -ENOMEM. */
int exl_heap_reserve(exl_heap_t *heap, size_t count);

/* Puts it behind all that have the same key, whether it was there or not; there must be room. */
void exl_heap_put(exl_heap_t *heap, exl_heap_link_t *link, uint64_t key);

void exl_heap_remove(exl_heap_t *heap, exl_heap_link_t *link); /* idempotent */

/* NULL when empty. */
const exl_heap_slot_t *exl_heap_first(const exl_heap_t *heap);

#endif
