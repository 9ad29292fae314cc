/* guest.h: a pool that lives in the room of another one.
 *
 * A guest is a pool with one persistent worker for which its host sets aside, for as long as the guest is there, what a
 * call as wide would occupy; a host with persistent workers of its own does without one of them. The guest starts its
 * worker when it has been admitted. Calls that were submitted to the host before it came go first if they could not run
 * beside it; those submitted later wait until it is in. All under the engine's lock. */
#ifndef EXL_ENGINE_GUEST_H
#define EXL_ENGINE_GUEST_H

#include "engine/pool_private.h"

/* `guest` asks `host` for room, and takes a reference of it. */
void exl__guest_arrive(exl_pool_t *guest, exl_pool_t *host, exl_request_t room);

/* Gives the room back. Nothing for a pool that is no guest, or not any more. */
void exl__guest_leave(exl_pool_t *guest);

/* Part of the host's scheduling pass: admits who waits and fits. */
void exl__guests_admit(exl_pool_t *host);

/* The host closes: there is room for all. */
void exl__guests_admit_all(exl_pool_t *host);

/* How many persistent workers a host may have for itself. */
uint32_t exl__guests_leave_workers(const exl_pool_t *host);

#endif
