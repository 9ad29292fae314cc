/* task.h: one call and its life. Drawn in docs/task-life.dot; the diagram and this file change together.
 *
 *   created -> waiting -> ready -> placed -> running -> done
 *
 * exl_task_update() changes state only, does no I/O, and refuses events that the state does not allow. What is to be done
 * about a state is the executor's business (engine/pool.c). All fields are protected by the engine's lock, except that
 * `state` is atomic, so that a future can ask "done?" without it, and that references are atomic. */
#ifndef EXL_TASK_TASK_H
#define EXL_TASK_TASK_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "sched/queue.h"
#include "task/failure.h"
#include "task/payload.h"
#include "task/shared.h"

typedef enum exl_task_state {
    EXL_TASK_CREATED,
    EXL_TASK_WAITING, /* for arguments that other calls compute */
    EXL_TASK_READY,   /* in its executor's queue */
    EXL_TASK_PLACED,  /* given to a worker; on a persistent worker it may or may not have begun (claim.h knows) */
    EXL_TASK_RUNNING, /* the only call of its worker */
    EXL_TASK_DONE
} exl_task_state_t;

typedef enum exl_task_event {
    EXL_TASK_SUBMIT,    /* created -> waiting */
    EXL_TASK_ARGUMENTS, /* waiting -> ready: every argument is there */
    EXL_TASK_PLACE,     /* ready -> placed */
    EXL_TASK_START,     /* placed -> running */
    EXL_TASK_RETURN,    /* placed, running -> ready: recalled unstarted, or lost and started again */
    EXL_TASK_FINISH,    /* any but done -> done */
    EXL_TASK_CANCEL     /* created, waiting, ready -> done */
} exl_task_event_t;

typedef enum exl_outcome {
    EXL_OUTCOME_NONE,
    EXL_OUTCOME_RESULT,    /* payload: the value */
    EXL_OUTCOME_EXCEPTION, /* payload: what the function raised */
    EXL_OUTCOME_LOST,      /* failure: the worker went */
    EXL_OUTCOME_CANCELLED,
    EXL_OUTCOME_TERMINATED
} exl_outcome_t;

/* Why a call that runs is being ended from outside: its answer, should one come, counts for nothing. */
typedef enum exl_verdict {
    EXL_VERDICT_NONE,
    EXL_VERDICT_LIMIT,    /* its time is up */
    EXL_VERDICT_TERMINATE /* the user's program asked for it */
} exl_verdict_t;

typedef struct exl_task exl_task_t;
typedef struct exl_edge exl_edge_t; /* task/graph.h */

/* An argument that another call computes. */
typedef struct exl_dependency {
    exl_task_t *producer;   /* owned until it is done, then NULL */
    exl_payload_t *payload; /* owned, once the producer is done */
} exl_dependency_t;

struct exl_task {
    exl_queue_item_t item; /* its link also chains waiting tasks and a worker's outstanding ones */
    _Atomic uint32_t refs;
    _Atomic uint8_t state;
    uint8_t outcome;
    uint8_t verdict;          /* exl_verdict_t */
    bool cloudpickled;        /* the worker will need cloudpickle */
    bool observed;            /* goes through the delivery queue, see engine/wait.h */
    bool start_told;          /* the executor's journal knows that it has started */
    struct exl_pool *pool;    /* borrowed; NULL once done */
    uint64_t id;              /* its number in a journal, or 0 */
    exl_payload_t *call;      /* owned until done */
    exl_shared_t **functions; /* owned references: functions by value that the call names */
    exl_payload_t *setup;     /* owned or NULL: environment of a one-process-per-call call */
    exl_payload_t *options;   /* owned or NULL */
    uint64_t function_id;     /* of a map: the call's function, one of `functions`; the payload holds arguments only */
    uint32_t nfunctions;
    uint64_t import_key;            /* equal for calls of one function; 0: unknown */
    exl_dependency_t *dependencies; /* owned until done */
    uint32_t ndependencies, npending;
    uint32_t holds;         /* submissions under way that name this task: its result must not be dropped */
    exl_edge_t *dependents; /* owned list */
    uint32_t restarts;
    uint32_t ranks;                  /* MPI ranks that run the call; 0 or 1: none */
    uint32_t run_time_ms, grace_ms;  /* time limit from its start, or 0; from SIGTERM to SIGKILL when it is ended */
    exl_holding_t holding;           /* one process per call: from its place in the queue to its worker */
    struct exl_deadline *deadline;   /* owned; runs while a call with a time limit does */
    struct exl_worker *worker;       /* borrowed; while placed or running */
    struct exl_remote *remote;       /* borrowed; while an agent has it (engine/fleet.h) */
    uint64_t number;                 /* on that worker or agent */
    exl_payload_t *result;           /* owned; of RESULT and EXCEPTION */
    exl_failure_t *failure;          /* owned; of LOST */
    struct exl_waiter *waiters;      /* borrowed list of threads in exl_task_wait() */
    void *observer;                  /* the future to complete through the delivery queue, or whom `ended` tells */
    void (*ended)(exl_task_t *task); /* under the lock, once it is done; or NULL */
    exl_task_t *next_delivery;
};

const char *exl_task_state_to_string(exl_task_state_t state);
const char *exl_outcome_to_string(exl_outcome_t outcome);

/* A created task with one reference. Takes nothing; references the payload. */
exl_task_t *exl_task_create(exl_payload_t *call);
exl_task_t *exl_task_ref(exl_task_t *task);
void exl_task_unref(exl_task_t *task); /* NULL is fine */

/* 0, or EXL_EILLEGAL with nothing changed. */
int exl_task_update(exl_task_t *task, exl_task_event_t event);

static inline exl_task_state_t exl_task_state(const exl_task_t *task)
{
    return (exl_task_state_t)atomic_load_explicit(&task->state, memory_order_acquire);
}

static inline bool exl_task_done(const exl_task_t *task)
{
    return exl_task_state(task) == EXL_TASK_DONE;
}

/* Drops what only a call that has not ended needs: arguments, function, environment. */
void exl_task_drop_inputs(exl_task_t *task);

#endif
