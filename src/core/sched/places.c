/* places.c: for each kind of place its orders by room, by GPUs and by end. */
#include "sched/places.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

struct exl_place_kind {
    uint32_t cores, gpus;
    size_t nplaces;
    exl_heap_t by_room;
    exl_heap_t by_gpus;      /* empty where there are none */
    exl_heap_t by_end;       /* of all that count, also those that are closed */
    exl_heap_t ready_by_end; /* of those that are open and have something to spare */
};

/* Keys of the order by room: what can start at once is above all that would have to wait. */
#define STARTS_AT_ONCE (UINT64_C(1) << 32)

static uint64_t left(uint64_t most, uint64_t used)
{
    return most > used ? most - used : 0;
}

uint32_t exl_place_room(const exl_places_t *places, const exl_place_t *place)
{
    uint32_t depth = place->shared ? 1 : places->depth;
    uint64_t calls = left((uint64_t)place->calls * depth, place->ncalls);
    if (!place->cores)
        return (uint32_t)calls;
    uint64_t cores = left((uint64_t)place->cores * depth, place->cores_used);
    if (place->shared && place->free < cores)
        cores = place->free;
    return (uint32_t)(place->calls && calls < cores ? calls : cores);
}

uint32_t exl_place_ahead(const exl_place_t *place)
{
    uint64_t cores = place->cores ? left(place->cores_used, place->cores) : 0;
    uint64_t calls = place->calls || !place->cores ? left(place->ncalls, place->calls) : 0;
    uint64_t gpus = (left(place->gpus_used, place->gpus * UINT64_C(1000)) + 999) / 1000;
    calls = gpus > calls && place->cores ? gpus : calls;
    return (uint32_t)(cores > calls ? cores : calls);
}

/* How many calls of one core it could run besides those that it has. */
static uint32_t spare_of(const exl_place_t *place)
{
    uint64_t calls = left(place->calls, place->ncalls), cores = left(place->cores, place->cores_used);
    if (place->shared && place->free < cores)
        cores = place->free;
    return (uint32_t)(!place->cores || (place->calls && calls < cores) ? calls : cores);
}

uint32_t exl_place_width(const exl_place_t *place, const exl_request_t *request)
{
    return !place->cores ? 0 : request->cores == EXL_ALL_CORES ? place->cores : request->cores;
}

/* In thousandths. */
static uint64_t gpus_of(const exl_request_t *request)
{
    return request->gpus * (uint64_t)(request->gpu_share ? request->gpu_share : 1000);
}

/* ---- orders ---- */

static uint64_t room_key(const exl_places_t *places, const exl_place_t *place)
{
    return place->spare ? STARTS_AT_ONCE + place->spare : exl_place_room(places, place);
}

/* By GPUs that are left, which may be less than none, and then by room. */
static uint64_t gpus_key(const exl_places_t *places, const exl_place_t *place)
{
    int64_t gpus = place->gpus * INT64_C(1000) - (int64_t)place->gpus_used;
    gpus = gpus < INT32_MIN ? INT32_MIN : gpus > INT32_MAX ? INT32_MAX : gpus;
    return (uint64_t)(gpus - INT32_MIN) << 32 | exl_place_room(places, place);
}

static void leave(exl_places_t *places, exl_place_t *place)
{
    places->spare -= place->spare;
    place->spare = 0;
    exl_list_remove(&place->ahead_link);
    if (!place->kind)
        return;
    exl_heap_remove(&place->kind->by_room, &place->by_room);
    exl_heap_remove(&place->kind->by_gpus, &place->by_gpus);
    exl_heap_remove(&place->kind->ready_by_end, &place->ready_by_end);
}

/* What does not change with each call is put into its order when it changes only. */
static void order_by_end(exl_heap_t *heap, exl_heap_link_t *link, const exl_place_t *place, bool belongs)
{
    if (!belongs)
        exl_heap_remove(heap, link);
    else if (!link->at || heap->slots[link->at - 1].key != (uint64_t)place->end_ns)
        exl_heap_put(heap, link, (uint64_t)place->end_ns);
}

/* Something about it has changed. */
static void update(exl_places_t *places, exl_place_t *place)
{
    struct exl_place_kind *kind = place->kind;
    bool has_any = place->cores || place->calls;
    if (kind)
        order_by_end(&kind->by_end, &place->by_end, place, has_any && place->end_ns);
    if (!place->open || !has_any) {
        leave(places, place);
        return;
    }
    assert(kind); /* who is open has said what it is */
    places->spare -= place->spare;
    place->spare = spare_of(place);
    places->spare += place->spare;
    if (!exl_place_ahead(place))
        exl_list_remove(&place->ahead_link);
    else if (exl_list_empty(&place->ahead_link))
        exl_list_push_back(&places->ahead, &place->ahead_link);
    exl_heap_put(&kind->by_room, &place->by_room, room_key(places, place));
    if (kind->gpus)
        exl_heap_put(&kind->by_gpus, &place->by_gpus, gpus_key(places, place));
    order_by_end(&kind->ready_by_end, &place->ready_by_end, place, place->end_ns && place->spare);
}

/* ---- kinds ---- */

static struct exl_place_kind *kind_new(exl_places_t *places, uint32_t cores, uint32_t gpus)
{
    struct exl_place_kind **kinds = realloc(places->kinds, (places->nkinds + 1) * sizeof *kinds);
    if (kinds)
        places->kinds = kinds;
    struct exl_place_kind *kind = kinds ? calloc(1, sizeof *kind) : NULL;
    if (!kind)
        return NULL;
    *kind = (struct exl_place_kind){.cores = cores, .gpus = gpus};
    exl_heap_init(&kind->by_room);
    exl_heap_init(&kind->by_gpus);
    exl_heap_init(&kind->by_end);
    exl_heap_init(&kind->ready_by_end);
    kinds[places->nkinds++] = kind;
    return kind;
}

/* With room for one more place; NULL when memory is out. */
static struct exl_place_kind *kind_for(exl_places_t *places, uint32_t cores, uint32_t gpus)
{
    struct exl_place_kind *kind = NULL;
    for (size_t i = 0; i < places->nkinds && !kind; i++)
        if (places->kinds[i]->cores == cores && places->kinds[i]->gpus == gpus)
            kind = places->kinds[i];
    if (!kind && !(kind = kind_new(places, cores, gpus)))
        return NULL;
    size_t count = kind->nplaces + 1;
    if (exl_heap_reserve(&kind->by_room, count) < 0 || (gpus && exl_heap_reserve(&kind->by_gpus, count) < 0) ||
        exl_heap_reserve(&kind->by_end, count) < 0 || exl_heap_reserve(&kind->ready_by_end, count) < 0)
        return NULL;
    return kind;
}

static bool suits(const struct exl_place_kind *kind, const exl_request_t *request)
{
    uint32_t width = !kind->cores ? 0 : request->cores == EXL_ALL_CORES ? kind->cores : request->cores;
    return width <= kind->cores && gpus_of(request) <= kind->gpus * UINT64_C(1000);
}

bool exl_place_may_take(const exl_place_t *place, const exl_request_t *request)
{
    return !place->shared || !place->cores || exl_place_width(place, request) <= spare_of(place);
}

/* ---- what is asked ---- */

bool exl_place_suits(const exl_place_t *place, const exl_request_t *request)
{
    return (place->cores || place->calls) && suits(place->kind, request);
}

exl_place_t *exl_places_find(const exl_places_t *places, const exl_request_t *request)
{
    const exl_heap_slot_t *best = NULL;
    for (size_t i = 0; i < places->nkinds; i++) {
        const struct exl_place_kind *kind = places->kinds[i];
        const exl_heap_slot_t *slot =
            suits(kind, request) ? exl_heap_first(request->gpus ? &kind->by_gpus : &kind->by_room) : NULL;
        if (slot && (!best || slot->key > best->key))
            best = slot;
    }
    return !best           ? NULL
           : request->gpus ? EXL_CONTAINER(best->link, exl_place_t, by_gpus)
                           : EXL_CONTAINER(best->link, exl_place_t, by_room);
}

exl_place_t *exl_places_lasting(const exl_places_t *places, const exl_request_t *request)
{
    const exl_heap_slot_t *last = NULL;
    for (size_t i = 0; i < places->nkinds; i++) {
        const struct exl_place_kind *kind = places->kinds[i];
        const exl_heap_slot_t *slot = suits(kind, request) ? exl_heap_first(&kind->ready_by_end) : NULL;
        if (slot && (!last || slot->key > last->key))
            last = slot;
    }
    return last ? EXL_CONTAINER(last->link, exl_place_t, ready_by_end) : NULL;
}

int64_t exl_places_end(const exl_places_t *places, const exl_request_t *request)
{
    uint64_t end_ns = 0;
    for (size_t i = 0; i < places->nkinds; i++) {
        const struct exl_place_kind *kind = places->kinds[i];
        const exl_heap_slot_t *slot = suits(kind, request) ? exl_heap_first(&kind->by_end) : NULL;
        end_ns = slot && slot->key > end_ns ? slot->key : end_ns;
    }
    return (int64_t)end_ns;
}

exl_place_t *exl_places_first(const exl_places_t *places)
{
    return exl_places_find(places, &(exl_request_t){.cores = 1});
}

/* ---- life ---- */

void exl_places_init(exl_places_t *places, uint32_t depth)
{
    *places = (exl_places_t){.depth = depth};
    exl_list_init(&places->ahead);
}

void exl_places_fini(exl_places_t *places)
{
    for (size_t i = 0; i < places->nkinds; i++) {
        exl_heap_fini(&places->kinds[i]->by_room);
        exl_heap_fini(&places->kinds[i]->by_gpus);
        exl_heap_fini(&places->kinds[i]->by_end);
        exl_heap_fini(&places->kinds[i]->ready_by_end);
        free(places->kinds[i]);
    }
    free(places->kinds);
    exl_places_init(places, places->depth);
}

void exl_place_init(exl_place_t *place)
{
    *place = (exl_place_t){0};
    exl_list_init(&place->ahead_link);
}

int exl_places_describe(exl_places_t *places, exl_place_t *place, uint32_t cores, uint32_t calls, uint32_t gpus)
{
    assert(!place->ncalls || place->cores == cores);
    if ((uint64_t)(cores ? cores : calls) * places->depth > INT32_MAX)
        return -EINVAL;
    struct exl_place_kind *kind = kind_for(places, cores, gpus);
    if (!kind)
        return -ENOMEM;
    leave(places, place);
    if (place->kind) {
        exl_heap_remove(&place->kind->by_end, &place->by_end);
        place->kind->nplaces--;
    }
    kind->nplaces++;
    place->kind = kind;
    place->cores = cores;
    place->calls = calls;
    place->gpus = gpus;
    update(places, place);
    return 0;
}

void exl_places_open(exl_places_t *places, exl_place_t *place, bool open)
{
    assert(!open || place->kind);
    places->nopen = places->nopen + open - place->open;
    place->open = open;
    update(places, place);
}

void exl_places_last(exl_places_t *places, exl_place_t *place, int64_t end_ns)
{
    if (place->end_ns == end_ns)
        return;
    place->end_ns = end_ns;
    update(places, place);
}

void exl_places_share(exl_places_t *places, exl_place_t *place, bool shared, uint32_t free)
{
    if (place->shared == shared && place->free == free)
        return;
    place->shared = shared;
    place->free = free;
    update(places, place);
}

/* ---- calls come and go ---- */

static bool is_wide(const exl_place_t *place, const exl_request_t *request)
{
    return request->gpus || exl_place_width(place, request) > 1;
}

void exl_places_take(exl_places_t *places, exl_place_t *place, const exl_request_t *request)
{
    place->ncalls++;
    place->nwide += is_wide(place, request);
    place->cores_used += exl_place_width(place, request);
    place->gpus_used += gpus_of(request);
    place->free = (uint32_t)left(place->free, exl_place_width(place, request));
    update(places, place);
}

void exl_places_give(exl_places_t *places, exl_place_t *place, const exl_request_t *request)
{
    assert(place->ncalls);
    place->ncalls--;
    place->nwide -= is_wide(place, request);
    place->cores_used -= exl_place_width(place, request);
    place->gpus_used -= gpus_of(request);
    update(places, place);
}
