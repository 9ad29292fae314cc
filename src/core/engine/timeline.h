/* timeline.h: what an executor tells its journal, at the places where a call's state moves (task/task.c). All under the lock, and
 * only of executors that have a journal: whoever calls looks first, so that without one an event costs a branch.
 *
 *   submitted  exl_pool_submit()
 *   ready      its last argument's call has ended                      not told of a call that waits for none
 *   started    one process per call: it has its cores, and its process, which may yet have to be forked and to import
 *              a persistent worker: the call was given to it while it was free, or, of a call sent ahead, the worker
 *              claimed it (node/claim.h), by the worker's clock; told when the driver next looks at that worker
 *   returned   it had started and is in the queue again
 *   finished, failed, lost, cancelled, terminated
 *              its end, as the driver has it; with the times `began` and `ended` between which a persistent worker was at it */
#ifndef EXL_ENGINE_TIMELINE_H
#define EXL_ENGINE_TIMELINE_H

#include "engine/pool_private.h"

/* Gives the pool its number. `host` is NULL or whose guest it is. */
void exl__timeline_opened(exl_pool_t *pool, const exl_pool_t *host);
void exl__timeline_resized(const exl_pool_t *pool);
void exl__timeline_closed(const exl_pool_t *pool);

void exl__timeline_submitted(const exl_pool_t *pool, exl_task_t *task, const exl_call_t *call);
void exl__timeline_ready(const exl_task_t *task);
void exl__timeline_started(exl_task_t *task);

/* Calls sent ahead that the workers of a pool have begun since. */
void exl__timeline_claimed(const exl_pool_t *pool);

/* Before its state changes, its worker is forgotten, and its inputs are dropped. */
void exl__timeline_returned(exl_task_t *task);
void exl__timeline_ended(const exl_task_t *task);

/* Makes a worker measure its calls. */
void exl__timeline_times(exl_worker_t *worker);

#endif
