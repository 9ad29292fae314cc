/* idmap.c: open addressing with linear probing and backward-shift deletion, so that there are no tombstones. */
#include "base/idmap.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

enum { INITIAL_CAPACITY = 16 };

static size_t home_of(const exl_idmap_t *map, uint64_t id)
{
    return (size_t)((id * UINT64_C(0x9E3779B97F4A7C15)) >> 32) & (map->capacity - 1);
}

/* The slot that holds `id`, or the free one where it would go. */
static exl_idmap_slot_t *find(const exl_idmap_t *map, uint64_t id)
{
    size_t index = home_of(map, id);
    while (map->slots[index].id != 0 && map->slots[index].id != id)
        index = (index + 1) & (map->capacity - 1);
    return &map->slots[index];
}

void exl_idmap_init(exl_idmap_t *map)
{
    *map = (exl_idmap_t){0};
}

void exl_idmap_fini(exl_idmap_t *map)
{
    free(map->slots);
    exl_idmap_init(map);
}

void *exl_idmap_get(const exl_idmap_t *map, uint64_t id)
{
    return map->count && id ? find(map, id)->value : NULL;
}

static int grow(exl_idmap_t *map)
{
    exl_idmap_t larger = {.capacity = map->capacity ? map->capacity * 2 : INITIAL_CAPACITY, .count = map->count};
    larger.slots = calloc(larger.capacity, sizeof *larger.slots);
    if (!larger.slots)
        return -ENOMEM;
    for (size_t i = 0; i < map->capacity; i++)
        if (map->slots[i].id)
            *find(&larger, map->slots[i].id) = map->slots[i];
    free(map->slots);
    *map = larger;
    return 0;
}

int exl_idmap_put(exl_idmap_t *map, uint64_t id, void *value)
{
    assert(id && value);
    if ((map->count + 1) * 4 > map->capacity * 3) {
        int rc = grow(map);
        if (rc < 0)
            return rc;
    }
    exl_idmap_slot_t *slot = find(map, id);
    map->count += slot->id == 0;
    *slot = (exl_idmap_slot_t){id, value};
    return 0;
}

void *exl_idmap_remove(exl_idmap_t *map, uint64_t id)
{
    if (!map->count || !id)
        return NULL;
    exl_idmap_slot_t *slot = find(map, id);
    void *value = slot->value;
    if (!slot->id)
        return NULL;
    size_t mask = map->capacity - 1;
    size_t hole = (size_t)(slot - map->slots);
    for (size_t next = (hole + 1) & mask; map->slots[next].id; next = (next + 1) & mask) {
        size_t home = home_of(map, map->slots[next].id);
        /* An entry moves back only if the hole lies on its way from home to where it is. */
        if (((next - home) & mask) >= ((next - hole) & mask)) {
            map->slots[hole] = map->slots[next];
            hole = next;
        }
    }
    map->slots[hole] = (exl_idmap_slot_t){0};
    map->count--;
    return value;
}
