/* idmap.h: a hash map from 64-bit ids to borrowed pointers. Id 0 is reserved. */
#ifndef EXL_BASE_IDMAP_H
#define EXL_BASE_IDMAP_H

#include <stddef.h>
#include <stdint.h>

typedef struct exl_idmap_slot {
    uint64_t id;
    void *value;
} exl_idmap_slot_t;

typedef struct exl_idmap {
    exl_idmap_slot_t *slots; /* owned; open addressing, capacity a power of two */
    size_t capacity, count;
} exl_idmap_t;

void exl_idmap_init(exl_idmap_t *map);
void exl_idmap_fini(exl_idmap_t *map);
void *exl_idmap_get(const exl_idmap_t *map, uint64_t id);

/* Adds or replaces; `id` and `value` must not be 0. */
int exl_idmap_put(exl_idmap_t *map, uint64_t id, void *value);

/* Returns what was removed, or NULL. */
void *exl_idmap_remove(exl_idmap_t *map, uint64_t id);

#endif
