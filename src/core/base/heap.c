/* heap.c: a binary heap in an array that has the keys too, so that comparing touches nothing else. */
#include "base/heap.h"

#include <assert.h>
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>

void exl_heap_init(exl_heap_t *heap)
{
    *heap = (exl_heap_t){0};
}

void exl_heap_fini(exl_heap_t *heap)
{
    free(heap->slots);
    exl_heap_init(heap);
}

int exl_heap_reserve(exl_heap_t *heap, size_t count)
{
    if (count <= heap->capacity)
        return 0;
    size_t capacity = count > 2 * heap->capacity ? count : 2 * heap->capacity;
    exl_heap_slot_t *slots = realloc(heap->slots, capacity * sizeof *slots);
    if (!slots)
        return -ENOMEM;
    heap->slots = slots;
    heap->capacity = capacity;
    return 0;
}

static bool comes_before(const exl_heap_slot_t *a, const exl_heap_slot_t *b)
{
    return a->key != b->key ? a->key > b->key : a->order < b->order;
}

static void set(exl_heap_t *heap, size_t at, exl_heap_slot_t slot)
{
    heap->slots[at] = slot;
    slot.link->at = at + 1;
}

static void move_up(exl_heap_t *heap, size_t at, exl_heap_slot_t slot)
{
    while (at > 0 && comes_before(&slot, &heap->slots[(at - 1) / 2])) {
        set(heap, at, heap->slots[(at - 1) / 2]);
        at = (at - 1) / 2;
    }
    set(heap, at, slot);
}

static void move_down(exl_heap_t *heap, size_t at, exl_heap_slot_t slot)
{
    for (size_t child; (child = 2 * at + 1) < heap->count; at = child) {
        if (child + 1 < heap->count && comes_before(&heap->slots[child + 1], &heap->slots[child]))
            child++;
        if (!comes_before(&heap->slots[child], &slot))
            break;
        set(heap, at, heap->slots[child]);
    }
    set(heap, at, slot);
}

/* Where something else was before. */
static void settle(exl_heap_t *heap, size_t at, exl_heap_slot_t slot)
{
    if (at > 0 && comes_before(&slot, &heap->slots[(at - 1) / 2]))
        move_up(heap, at, slot);
    else
        move_down(heap, at, slot);
}

void exl_heap_put(exl_heap_t *heap, exl_heap_link_t *link, uint64_t key)
{
    exl_heap_slot_t slot = {.key = key, .order = ++heap->last_order, .link = link};
    if (link->at) {
        settle(heap, link->at - 1, slot);
        return;
    }
    assert(heap->count < heap->capacity);
    move_up(heap, heap->count++, slot);
}

void exl_heap_remove(exl_heap_t *heap, exl_heap_link_t *link)
{
    if (!link->at)
        return;
    size_t at = link->at - 1;
    link->at = 0;
    heap->count--;
    if (at < heap->count)
        settle(heap, at, heap->slots[heap->count]);
}

const exl_heap_slot_t *exl_heap_first(const exl_heap_t *heap)
{
    return heap->count ? &heap->slots[0] : NULL;
}
