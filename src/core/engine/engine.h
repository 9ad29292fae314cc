/* engine.h: the one event loop of a process, and the one lock.
 *
 *   user's thread                          engine's thread                       worker
 *   submit: lock, queue, place, send  ------------------------------------------> call
 *   (or: queue only, all busy)             sleeps in poll()                       |
 *   result(): sleeps on its own futex      wakes, lock, reads answers <---------- answer
 *                      ^                   finishes calls, places the next, sends
 *                      +------------------ unlock, then wakes the sleepers
 *
 * The lock protects everything in task/, sched/, node/ and engine/ unless a header says otherwise. Whoever holds it may
 * place calls and write to sockets (non-blocking), so a submission reaches an idle worker without a second thread. Nobody
 * blocks under it, and no user code runs under it. Wake-ups that are due are collected and made after it is dropped.
 *
 * A thread that sleeps in result() may run the loop in the engine thread's place while it waits ("lead"): then an answer
 * reaches it without another thread in between. See exl_engine_lead().
 *
 * The loop is libuv's. The engine's thread sleeps on the loop's descriptor without the lock and runs the loop, without
 * waiting, under it. Who changes the loop's handles from another thread makes the engine look at them: changed().
 *
 * There is at most one live engine per process. It comes with the first executor and goes with the last. After fork() it
 * belongs to the parent: in the child every entry point of its executors answers EXL_EFORKED; new executors get a new
 * engine. */
#ifndef EXL_ENGINE_ENGINE_H
#define EXL_ENGINE_ENGINE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "base/list.h"
#include "node/node.h"
#include "task/payload.h"

typedef struct exl_engine exl_engine_t;

/* exl_engine_unlock() lets the executors that have
 * something due do it, drops the lock, and wakes who is to be woken. */
void exl_engine_lock(void);
void exl_engine_unlock(void);

/* Under the lock: the engine of this process with one more reference, started if need be. */
int exl_engine_acquire(exl_engine_t **ret_engine, exl_error_t *err);
void exl_engine_release(exl_engine_t *engine);

/* Without the lock: waits until no engine is ending any more, or the deadline. 0, -ETIMEDOUT, EXL_EINTERRUPTED. */
int exl_engine_wait_ended(int64_t deadline_ns);

/* Differs in a child made by fork() while an engine lived in its parent: what was made before belongs to the parent. */
uint32_t exl_engine_generation(void);

/* Under the lock: whether any engine lives, ending ones included. */
bool exl_engine_living(void);

/* Under the lock: a thread that is going to sleep until `task` is done may run the loop itself meanwhile ("lead"), which
 * saves the hop from the engine's thread to it. One leads at a time; it stops leading when its task is done, when the
 * deadline has passed, on a signal, or when nothing has happened for a while. 0: the task is done. 1: sleep otherwise.
 * -ETIMEDOUT, EXL_EINTERRUPTED. */
struct exl_task;
int exl_engine_lead(exl_engine_t *engine, struct exl_task *task, int64_t deadline_ns);

/* Under the lock: looks for events once, in passing. For a thread that submits a call that waits for others: their answers
 * need not wait for the engine's thread to get a processor. */
void exl_engine_glance(exl_engine_t *engine);

/* Under the lock: how many threads sleep until somebody else has run the loop. */
void exl_engine_sleepers(exl_engine_t *engine, int change);

/* For engine/ only, under the lock. */
exl_node_t *exl_engine_node(exl_engine_t *engine);
uint64_t exl_engine_next_id(void);

/* Something that is to run once before the lock is dropped. `due` stays linked until it has run. */
typedef struct exl_due {
    exl_list_t link;
    void (*run)(struct exl_due *due);
} exl_due_t;
void exl_engine_due(exl_due_t *due); /* idempotent */

/* True on the engine's own thread. */
bool exl_engine_inside(void);

/* Wakes the sleeper on `word` once the lock has been dropped. */
void exl_engine_wake(_Atomic uint32_t *word);

/* Copies pinned arguments off the engine's thread. `done` runs under the lock. */
typedef struct exl_copy {
    uv_work_t work;
    exl_payload_t *payload; /* owned until done */
    int rc;
    void (*done)(struct exl_copy *copy, int rc);
} exl_copy_t;
int exl_engine_copy(exl_engine_t *engine, exl_copy_t *copy);

#endif
