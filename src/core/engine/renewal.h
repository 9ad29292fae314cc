/* renewal.h: fleets whose agents come and go, one after the other, at places numbered from 0.
 *
 * Such a fleet has as many places as have been asked for, and calls wait however few agents there are: somebody else sees to it that
 * some come. An executor whose agents are batch jobs does: it expects an agent and submits its job, watches what comes of it,
 * buries the agent once it knows why that has gone, and expects the next one there. To grow is to expect agents at more
 * places, to shrink to dismiss some.
 *
 *            expect                comes                  connection ends
 *   vacant ─────────▶ awaited ─────────────▶ there ────────────────────────▶ gone
 *     ▲                  │                                                     │
 *     └──────────────────┴───────────────────── bury ──────────────────────────┘
 *
 * All but the last part without the lock. Of a pool without such a fleet: -EINVAL; of one that is closed: EXL_ECLOSED; in a child
 * made by fork(): EXL_EFORKED. */
#ifndef EXL_ENGINE_RENEWAL_H
#define EXL_ENGINE_RENEWAL_H

#include "engine/fleet.h"

/* From now on an agent may come to this place, where nobody is. EXL_EILLEGAL: somebody is; EXL_ECLOSED: the executor ends; -ENOMEM. */
int exl_renewal_expect(exl_pool_t *pool, uint32_t index);

/* It has gone, or will not come: the calls that it had and that may not start again end with `exception`, as a worker would
 * have sent it, or NULL. Until this is called they wait. Its place is vacant then. */
int exl_renewal_bury(exl_pool_t *pool, uint32_t index, exl_payload_t *exception);

/* It gets no more calls, and goes when it has ended those that have begun; one that has not come is buried. */
int exl_renewal_dismiss(exl_pool_t *pool, uint32_t index);

/* All calls that wait for an agent end with `exception`. */
int exl_renewal_fail(exl_pool_t *pool, exl_payload_t *exception);

/* Waits until something has changed since `*seen` (0 at first) or the deadline: agents have come or gone, or calls wait while
 * there is a vacant place. Writes the state of at most `capacity` places: v(acant), a(waited), t(here), g(one); how many
 * there are; and whether calls wait. EXL_ECLOSED: all calls have ended, agents have been told to go; EXL_EINTERRUPTED. */
int exl_renewal_watch(exl_pool_t *pool, uint32_t *seen, int64_t deadline_ns, char *states, uint32_t capacity,
                      uint32_t *ret_agents, bool *ret_wanted);

/* For fleet.c. Somebody has come or gone. */
void exl__renewal_announce(exl_fleet_t *fleet);

/* At the end of a pass: calls may still wait. */
void exl__renewal_look_for_more(exl_fleet_t *fleet);

#endif
