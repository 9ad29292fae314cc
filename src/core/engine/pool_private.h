/* pool_private.h: what pool.c, crew.c and solo.c share. All under the engine's lock. */
#ifndef EXL_ENGINE_POOL_PRIVATE_H
#define EXL_ENGINE_POOL_PRIVATE_H

#include "engine/deadline.h"
#include "engine/engine.h"
#include "engine/journal.h"
#include "engine/pool.h"
#include "node/worker.h"
#include "sched/queue.h"

struct exl_pool {
    exl_due_t due;                     /* a scheduling pass */
    exl_engine_t *engine;              /* a reference, until closed */
    exl_zygote_t *zygote;              /* a reference, until closed; NULL with a fleet */
    struct exl_fleet *fleet;           /* owned, until closed: calls run on other hosts; or NULL */
    uint32_t generation;               /* of the process it was made in */
    uint32_t *worker_ids, nworker_ids; /* owned: of persistent workers; those after them are their indices */
    uint32_t number;                   /* in the journal */
    exl_journal_t *journal;            /* a reference, or NULL: what happens is not logged */
    unsigned refs;                     /* the handle, and the engine until closed */
    bool persistent, steps, closing, closed;
    bool ended;      /* workers have been told to end; the grace timer runs */
    bool grace_open; /* the timer's handle needs closing */
    uint32_t max_workers, restart_limit;
    uint32_t ranks;         /* persistent: MPI ranks of each worker; 0 or 1: none */
    exl_payload_t *setup;   /* owned or NULL */
    exl_payload_t *imports; /* owned or NULL; persistent: what a template imports before workers are forked from it */
    exl_queue_t queue;
    exl_hosts_user_t hosts_user; /* of resources.hosts, if that is there */
    exl_resources_t resources;   /* one process per call; persistent: GPUs and processors of the workers */
    exl_request_t each;          /* persistent: what each worker has */
    exl_gpus_t gpus;
    char *gpu_variable; /* owned; NULL until the GPUs are known */
    exl_list_t waiting; /* tasks whose arguments are not there yet */
    exl_list_t workers;
    uint32_t nworkers;   /* in the list */
    uint32_t nending;    /* one process per call: answered, not yet gone */
    exl_worker_t *spare; /* one process per call: forked ahead for the next call, not in `workers` */
    uint32_t ncopying;   /* arguments on their way into memory files */
    uint32_t nunborn;    /* workers in a row whose zygote went before it forked them */
    uint64_t npending;
    uint64_t last_order;
    uint64_t failed_order; /* persistent: calls up to here have seen a worker fail to start */
    uv_timer_t grace;
    exl_list_t guests;       /* those that wait for room here, see guest.h */
    uint32_t nguests;        /* these and those that are in */
    uint32_t nadmitted;      /* those that are in */
    uint32_t admitted_cores; /* their cores */
    uint64_t admitted_share; /* thousandths of their GPUs */
    struct exl_pool *host;   /* a reference: whose guest this pool is, or NULL */
    exl_list_t guest_link;
    exl_request_t room;
    uint64_t arrival; /* in the host's order of calls */
    bool admitted, counted;
    exl_holding_t holding;        /* GPUs and processors of the room, while no worker has them */
    bool lost;                    /* a guest's only worker is gone */
    exl_failure_t *loss;          /* owned or NULL: how */
    int64_t end_ns;               /* no call starts that may last longer, see exl_pool_set_end(); 0: none */
    exl_due_t *end_follower;      /* borrowed or NULL: is due when that changes */
    _Atomic uint32_t closed_word; /* futex */
    _Atomic uint32_t agents_word; /* futex; with a fleet: changes as agents come and go */
};

/* The two ways to run calls on this host; fleet.h has the third. */
void exl__crew_schedule(exl_pool_t *pool);
void exl__crew_end(exl_pool_t *pool);
/* Takes the task back from its worker if it has not begun; true if it is in the queue now. If its arguments are being
 * copied, the caller ends it then. */
bool exl__crew_recall(exl_pool_t *pool, exl_task_t *task);
void exl__crew_recall_all(exl_pool_t *pool);
void exl__solo_schedule(exl_pool_t *pool);
bool exl__solo_recall(exl_pool_t *pool, exl_task_t *task); /* likewise: while its arguments are being copied */
void exl__solo_drop_spare(exl_pool_t *pool);

void exl__pool_unref(exl_pool_t *pool);

static inline exl_task_t *exl__task_of(exl_list_t *link)
{
    return EXL_CONTAINER(link, exl_task_t, item.link);
}

static inline void exl__pool_due(exl_pool_t *pool)
{
    exl_engine_due(&pool->due);
}

/* Ends a task that is in no list, and everything that depends on it failing. Payload and failure are referenced. */
void exl__pool_finish(exl_task_t *task, exl_outcome_t outcome, exl_payload_t *payload, exl_failure_t *failure);

/* Whether to ask for a worker again whose zygote went before it was forked. Bounded: something may kill every zygote. */
bool exl__pool_retries(exl_pool_t *pool, const exl_worker_t *worker);

/* A failure of ours, without a process. */
void exl__pool_fail(exl_task_t *task, exl_blame_t blame, const char *reason);

/* exl_pool_submit(), exl_task_cancel() and exl_task_terminate() under the lock. `ended_cb` is called when the call has ended, which
 * may be at once: *ret_task is set before. */
int exl__pool_submit(exl_pool_t *pool, const exl_call_t *call, void (*ended_cb)(exl_task_t *task), void *observer,
                     exl_task_t **ret_task);
int exl__pool_cancel(exl_task_t *task);
int exl__pool_terminate(exl_task_t *task);

/* exl_pool_resize() and exl_pool_number_workers() under the lock. */
int exl__pool_resize(exl_pool_t *pool, uint32_t max_workers);
int exl__pool_number_workers(exl_pool_t *pool, const uint32_t *ids, uint32_t nids);

/* placed or running -> ready. */
void exl__pool_return(exl_task_t *task);

/* The call begins: its time limit, if it has one, counts from now. */
int exl__pool_begun(exl_task_t *task);

/* Its worker went while the call ran: start it again, if it may be, or end it. */
void exl__pool_lost(exl_task_t *task, exl_worker_t *worker);

/* Whether the call could not have ended, with the time that it may take, before the pool's end. If so it is cancelled. */
bool exl__pool_too_late(exl_task_t *task);

/* Copies pinned arguments; `placed` runs when they are ready, unless the task has ended or lost its place meanwhile. */
bool exl__pool_needs_copy(const exl_task_t *task);
int exl__pool_copy(exl_task_t *task, void (*placed)(exl_task_t *task));

/* The worker has `holding`, which it takes over even on failure, until its executor gives it back; and is told so, before
 * its setup. */
int exl__pool_assign(const exl_pool_t *pool, exl_worker_t *worker, exl_request_t request, exl_holding_t *holding);

/* Queues all frames of a call. */
int exl__pool_send(exl_worker_t *worker, exl_task_t *task, uint64_t number, bool report_imports);

#endif
