/* wait.c: sleepers and the delivery queue. Everything here is under the engine's lock, except the sleeping. */
#include "engine/wait.h"

#include <errno.h>

#include "base/parker.h"
#include "engine/engine.h"
#include "engine/pool.h"

struct exl_waiter {
    struct exl_waiter *next;
    exl_engine_t *engine; /* borrowed; alive as long as the waiter is in its task's list; NULL for external tasks */
    exl_parker_t parker;
};

static struct {
    exl_task_t *first, *last;
    bool busy;               /* the thread is completing what it fetched */
    _Atomic uint32_t queued; /* futex: the delivery thread sleeps on it */
    _Atomic uint32_t idle;   /* futex: grows whenever the thread has nothing to do */
} delivery;

static void waiter_remove(exl_task_t *task, struct exl_waiter *waiter)
{
    for (struct exl_waiter **at = &task->waiters; *at; at = &(*at)->next)
        if (*at == waiter) {
            *at = waiter->next;
            if (waiter->engine)
                exl_engine_sleepers(waiter->engine, -1);
            return;
        }
}

int exl_task_wait(exl_task_t *task, int64_t deadline_ns)
{
    if (exl_task_done(task))
        return 0;
    struct exl_waiter waiter;
    exl_parker_init(&waiter.parker);
    exl_engine_lock();
    if (exl_task_done(task) || exl_pool_foreign(task->pool)) {
        bool done = exl_task_done(task);
        exl_engine_unlock();
        return done ? 0 : EXL_EFORKED;
    }
    exl_engine_t *engine = task->pool ? exl_pool_engine(task->pool) : NULL;
    int rc = engine ? exl_engine_lead(engine, task, deadline_ns) : 1;
    if (rc <= 0) {
        exl_engine_unlock();
        return rc;
    }
    waiter.next = task->waiters;
    task->waiters = &waiter;
    waiter.engine = engine;
    if (engine)
        exl_engine_sleepers(engine, 1);
    exl_engine_unlock();
    rc = exl_parker_wait(&waiter.parker, deadline_ns);
    if (rc == 0)
        return 0;
    exl_engine_lock();
    waiter_remove(task, &waiter);
    exl_engine_unlock();
    return exl_task_done(task) ? 0 : rc;
}

void exl_task_announce(exl_task_t *task)
{
    for (struct exl_waiter *waiter = task->waiters, *next; waiter; waiter = next) {
        /* Once released, the waiter may be gone with its stack. */
        next = waiter->next;
        if (waiter->engine)
            exl_engine_sleepers(waiter->engine, -1);
        _Atomic uint32_t *word = &waiter->parker.word;
        exl_parker_release(&waiter->parker);
        exl_engine_wake(word);
    }
    task->waiters = NULL;
    if (!task->observed)
        return;
    task->next_delivery = NULL;
    exl_task_ref(task);
    if (delivery.last)
        delivery.last->next_delivery = task;
    else
        delivery.first = task;
    delivery.last = task;
    exl_delivery_nudge();
}

int exl_task_observe(exl_task_t *task, void *observer)
{
    exl_engine_lock();
    bool done = exl_task_done(task);
    if (!done) {
        task->observed = true;
        task->observer = observer;
    }
    exl_engine_unlock();
    return done;
}

exl_payload_t *exl_task_take_result(exl_task_t *task)
{
    exl_engine_lock();
    exl_payload_t *payload = task->result;
    if (payload && (task->holds || task->outcome != EXL_OUTCOME_RESULT))
        exl_payload_ref(payload);
    else
        task->result = NULL;
    exl_engine_unlock();
    return payload;
}

bool exl_task_hold(exl_task_t *task)
{
    exl_engine_lock();
    bool there = !exl_task_done(task) || task->outcome != EXL_OUTCOME_RESULT || task->result;
    task->holds += there;
    exl_engine_unlock();
    return there;
}

void exl_task_release_hold(exl_task_t *task)
{
    exl_engine_lock();
    task->holds--;
    exl_engine_unlock();
}

exl_task_t *exl_delivery_next(void)
{
    for (;;) {
        exl_engine_lock();
        exl_task_t *task = delivery.first;
        uint32_t seen = atomic_load(&delivery.queued);
        bool last = !exl_engine_living();
        delivery.busy = task != NULL;
        if (task) {
            delivery.first = task->next_delivery;
            if (!delivery.first)
                delivery.last = NULL;
        } else {
            atomic_fetch_add(&delivery.idle, 1);
            exl_engine_wake(&delivery.idle);
        }
        exl_engine_unlock();
        if (task || last)
            return task;
        (void)exl_parker_wait_change(&delivery.queued, seen, -1);
    }
}

void exl_delivery_abandon(void)
{
    delivery.first = delivery.last = NULL;
    delivery.busy = false;
}

void exl_delivery_nudge(void)
{
    atomic_fetch_add(&delivery.queued, 1);
    exl_engine_wake(&delivery.queued);
}

int exl_delivery_flush(int64_t deadline_ns)
{
    for (;;) {
        exl_engine_lock();
        bool idle = !delivery.first && !delivery.busy;
        uint32_t seen = atomic_load(&delivery.idle);
        exl_engine_unlock();
        if (idle)
            return 0;
        int rc = exl_parker_wait_change(&delivery.idle, seen, deadline_ns);
        if (rc < 0)
            return rc;
    }
}
