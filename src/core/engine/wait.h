/* wait.h: how threads learn that a call has ended.
 *
 * A thread in result() sleeps on a word of its own stack (exl_task_wait). A future that somebody watches in Python's way
 * (its condition, callbacks) is observed: its task goes through the delivery queue to the one delivery thread. Whether a
 * task was observed before or after its end is decided under the engine's lock: exl_task_observe() answers 1 when it came
 * too late, and the caller then completes the future itself. */
#ifndef EXL_ENGINE_WAIT_H
#define EXL_ENGINE_WAIT_H

#include "task/task.h"

/* Without the lock. 0: done. -ETIMEDOUT, EXL_EINTERRUPTED, EXL_EFORKED (the call runs in the parent of this process). */
int exl_task_wait(exl_task_t *task, int64_t deadline_ns);

/* Under the lock, from the executor: wakes who waits, delivers if observed. */
void exl_task_announce(exl_task_t *task);

/* Without the lock. 0: the delivery thread will get the task, with one reference and `observer`. 1: it is done already. */
int exl_task_observe(exl_task_t *task, void *observer);

/* The result's payload with a reference, taken out of the task unless a submission holds it; NULL if it was taken. */
exl_payload_t *exl_task_take_result(exl_task_t *task);

/* While held, a result stays in the task for others to take as argument. hold() returns false if it has been taken. */
bool exl_task_hold(exl_task_t *task);
void exl_task_release_hold(exl_task_t *task);

/* The delivery thread: the next observed task that has ended, with its reference; NULL when there is none and no engine
 * lives any more, so that the thread can end. */
exl_task_t *exl_delivery_next(void);

/* Waits until the delivery thread has completed all that was queued. Same codes as exl_task_wait(). */
int exl_delivery_flush(int64_t deadline_ns);

/* In a child made by fork(): what is still to be delivered is the parent's. */
void exl_delivery_abandon(void);

/* Under the lock, from the engine: the delivery thread is to look again whether an engine lives. */
void exl_delivery_nudge(void);

#endif
