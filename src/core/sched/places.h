/* places.h: nodes that calls can be given to, by what is free there.
 *
 * A place is given some more than it can run at once, `depth` times as much, so that it need not ask for its next call. A call goes
 * to a place that can start it at once, the one with the most to spare; else to the one with the most room for calls ahead; one
 * with GPUs to the one with the most of those. Among equals to the one that has waited longest. Where nothing may start after some
 * time the best may end too early for a call: exl_places_lasting() is then the one to ask.
 *
 * Places that have as many cores and GPUs are of one kind. What is asked here costs the number of kinds and the logarithm of the
 * number of places. Pure arithmetic; not thread-safe: the owner serialises. */
#ifndef EXL_SCHED_PLACES_H
#define EXL_SCHED_PLACES_H

#include <stdbool.h>

#include "base/heap.h"
#include "base/list.h"
#include "sched/resources.h"

/* Of a place whose end is not known. */
#define EXL_NO_END_NS INT64_MAX

/* Inside an object of the caller's. To be read only; all-zero before it is described. */
typedef struct exl_place {
    uint32_t cores; /* 0: not counted, it has workers */
    uint32_t calls; /* at once; 0 where cores are counted: no limit */
    uint32_t gpus;
    uint32_t cores_used; /* may be more than there are */
    uint32_t ncalls;
    uint32_t nwide;     /* of these, with more than one core or with GPUs */
    uint64_t gpus_used; /* thousandths */
    bool open;          /* calls may be given to it */
    bool shared;        /* others use its node: it is given nothing ahead, and no more than `free` cores */
    uint32_t free;
    int64_t end_ns; /* nothing may start there later, and it counts as lasting until then; 0: it does not count */
    struct exl_place_kind *kind; /* borrowed; NULL: not described */
    exl_heap_link_t by_room, by_gpus, by_end, ready_by_end;
    exl_list_t ahead_link;
    uint32_t spare; /* its part of the sum */
} exl_place_t;

typedef struct exl_places {
    uint32_t depth;
    struct exl_place_kind **kinds; /* owned */
    size_t nkinds;
    uint32_t nopen;
    uint64_t spare;   /* of all open places */
    exl_list_t ahead; /* open places that have more than they can run, by `ahead_link`; who came last is last */
} exl_places_t;

static inline exl_place_t *exl_place_ahead_of(exl_list_t *link)
{
    return EXL_CONTAINER(link, exl_place_t, ahead_link);
}

void exl_places_init(exl_places_t *places, uint32_t depth);
void exl_places_fini(exl_places_t *places); /* the places themselves are the caller's */

void exl_place_init(exl_place_t *place);

/* What there is. The number of cores stays the same while it has calls. -ENOMEM, -EINVAL (so many that they cannot be
 * counted); nothing is changed then. */
int exl_places_describe(exl_places_t *places, exl_place_t *place, uint32_t cores, uint32_t calls, uint32_t gpus);

/* A closed one is not found, and what it has is neither spare nor ahead. Open only once described. Idempotent. */
void exl_places_open(exl_places_t *places, exl_place_t *place, bool open);

/* Until when it lasts, open or not: EXL_NO_END_NS where no end is known, 0 when it is not to be counted upon any more. */
void exl_places_last(exl_places_t *places, exl_place_t *place, int64_t end_ns);

/* Whether somebody else uses the node as well, and how many of its cores nobody has. */
void exl_places_share(exl_places_t *places, exl_place_t *place, bool shared, uint32_t free);

/* A call is given to it, or taken from it. */
void exl_places_take(exl_places_t *places, exl_place_t *place, const exl_request_t *request);
void exl_places_give(exl_places_t *places, exl_place_t *place, const exl_request_t *request);

/* Which is best for the call, which may have to wait there; NULL: none that is open has what it needs. */
exl_place_t *exl_places_find(const exl_places_t *places, const exl_request_t *request);

/* Of those that have what the call needs and can start something at once, the one that lasts longest, or NULL. */
exl_place_t *exl_places_lasting(const exl_places_t *places, const exl_request_t *request);

/* Until when the last of those lasts that have what the call needs, whatever they do now; 0: there are none. */
int64_t exl_places_end(const exl_places_t *places, const exl_request_t *request);

/* The best for a call of one core, also if it has no room for it; NULL: none is open. */
exl_place_t *exl_places_first(const exl_places_t *places);

/* Whether it has what the call needs, free or not. */
bool exl_place_suits(const exl_place_t *place, const exl_request_t *request);

/* Cores that the call has there; 0 where they are not counted. */
uint32_t exl_place_width(const exl_place_t *place, const exl_request_t *request);

/* Cores, or where these are not counted calls, that it may still be given. */
uint32_t exl_place_room(const exl_places_t *places, const exl_place_t *place);

/* Whether it could start the call at once where it may give it nothing ahead; true for all others. */
bool exl_place_may_take(const exl_place_t *place, const exl_request_t *request);

/* How much it has beyond what runs there at once: in cores, calls or GPUs, whichever is most. */
uint32_t exl_place_ahead(const exl_place_t *place);

#endif
