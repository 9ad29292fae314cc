/* pool.h: one executor: its queue, its limits, its workers, and the calls it has been given.
 *
 * Persistent workers (block allocation) are run by crew.c, one process per call by solo.c; this file is what both share:
 * submission, the end of a call and of all that waits for it, cancelling, and closing. */
#ifndef EXL_ENGINE_POOL_H
#define EXL_ENGINE_POOL_H

#include <stdbool.h>

#include "base/error.h"
#include "node/zygote.h"
#include "task/task.h"

typedef struct exl_pool exl_pool_t;

/* Shared by all executors of the process in that job. */
typedef struct exl_pool_hosts {
    const char *job;
    const char *const *names; /* of its nodes */
    const uint32_t *cores;    /* … of each */
    uint32_t count;
} exl_pool_hosts_t;

typedef struct exl_pool_config {
    exl_zygote_spec_t zygote; /* copied */
    bool persistent;
    uint32_t max_cores;                 /* one process per call: cores in use at once; 0: no limit */
    uint32_t max_workers;               /* persistent: number of workers; else calls at once, 0: no limit */
    uint32_t ranks;                     /* persistent: MPI ranks of each worker; 0 or 1: none */
    const struct exl_pool_hosts *hosts; /* borrowed, or NULL: the nodes of the allocation in which its calls count */
    bool steps; /* each call, or persistent worker, is a step of a scheduler (rank_group.h), also of one rank */
    uint32_t restart_limit; /* how often a call whose worker was lost is started again */
    exl_payload_t *setup;   /* referenced; persistent workers' environment and initializer, or NULL */
    exl_request_t each;     /* persistent: GPUs of each worker, and whether it is pinned to so many cores */
    /* Persistent only: the pool is a guest (guest.h) with one worker, which is never replaced. Borrowed, or NULL. */
    struct exl_pool *host;
    const struct exl_fleet_config
        *fleet;           /* borrowed, or NULL: calls run on other hosts (fleet.h), there is no zygote */
    const char *timeline; /* copied: the log of what happens (journal.h), or NULL */
} exl_pool_config_t;

/* What is submitted. All pointers are borrowed; payloads are referenced. */
typedef struct exl_call {
    exl_payload_t *call, *setup, *options;
    exl_payload_t *imports;         /* modules that the call is going to import, or NULL; the first call's count */
    exl_shared_t *const *functions; /* referenced */
    uint32_t nfunctions;
    uint64_t function_id, import_key; /* see task.h */
    exl_request_t request;
    uint32_t ranks;       /* MPI ranks that run the call; 0 or 1: none, a plain process */
    uint32_t run_time_ms; /* time limit from its start, 0: none */
    uint32_t grace_ms;    /* from SIGTERM to SIGKILL when it is ended */
    int32_t priority;
    bool cloudpickled;
    exl_task_t *const *producers;
    uint32_t nproducers;
    const char *name; /* of the function, for the journal; or NULL */
} exl_call_t;

/* The functions below take the lock themselves. */

int exl_pool_create(const exl_pool_config_t *config, exl_pool_t **ret_pool, exl_error_t *err);

/* Gives up the handle. An open pool finishes what it has and closes. NULL is fine. */
void exl_pool_release(exl_pool_t *pool);

/* The GPUs that it may give to its calls: their names, copied, and the variable of the environment by which a process is told
 * which are its own. Before the first call or worker that needs some, and only once: later ones change nothing.
 * EXL_EFORKED, -ENOMEM. */
int exl_pool_set_gpus(exl_pool_t *pool, const char *variable, const char *const *names, uint32_t count);

/* The task comes with a reference. EXL_ECLOSED after shutdown, EXL_EFORKED, -ENOMEM. */
int exl_pool_submit(exl_pool_t *pool, const exl_call_t *call, exl_task_t **ret_task, exl_error_t *err);

/* No more submissions; with `cancel`, calls that have not begun are cancelled. Returns at once. */
int exl_pool_shutdown(exl_pool_t *pool, bool cancel);

/* Waits until all calls have ended, all workers are gone, and the timeline is written. 0, -ETIMEDOUT, EXL_EINTERRUPTED, EXL_EFORKED. */
int exl_pool_wait_closed(exl_pool_t *pool, int64_t deadline_ns);

/* From now on no call starts that may last longer than the time left, in ms, and after that time none at all: those that
 * wait then are cancelled. EXL_NO_END: no such limit. EXL_EFORKED. */
int exl_pool_set_end(exl_pool_t *pool, uint64_t left_ms);

/* Persistent workers only: sets their number. */
int exl_pool_resize(exl_pool_t *pool, uint32_t max_workers);

/* Persistent workers only: their ids, which are otherwise those from 0 on. Before the first call. -ENOMEM. */
int exl_pool_number_workers(exl_pool_t *pool, const uint32_t *ids, uint32_t nids);

/* True once a guest's worker was lost: every call ends with that loss. */
bool exl_pool_lost(exl_pool_t *pool);

/* Calls that have not ended. */
uint64_t exl_pool_pending(exl_pool_t *pool);

/* Writes at most `capacity` pids of live workers, returns how many there are. */
size_t exl_pool_pids(exl_pool_t *pool, pid_t *pids, size_t capacity);

/* 1: cancelled, now or before. 0: it has begun or ended. EXL_EFORKED. */
int exl_task_cancel(exl_task_t *task);

/* Ends a call, also one that has begun: its process and everything that this one started get SIGTERM, and SIGKILL after the
 * call's grace time. Returns at once. 1: it is cancelled, or ends with EXL_OUTCOME_TERMINATED, now or before. 0: it has
 * ended, or its time limit is ending it. EXL_EFORKED. */
int exl_task_terminate(exl_task_t *task);

/* True if the call has begun and has not ended. */
bool exl_task_running(exl_task_t *task);

/* A task that somebody else completes: a future of another library that one of our calls takes as argument. One reference
 * is the caller's. finish() takes the lock; the first one counts. Outcome RESULT or EXCEPTION with a payload, or CANCELLED. */
exl_task_t *exl_external_create(void);
void exl_external_finish(exl_task_t *task, exl_outcome_t outcome, exl_payload_t *payload);

/* Under the lock: the engine of an open pool, borrowed. */
struct exl_engine *exl_pool_engine(const exl_pool_t *pool);

/* Under the lock: the pool belongs to the parent of this process. */
bool exl_pool_foreign(const exl_pool_t *pool);

#endif
