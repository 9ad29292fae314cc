/* solo.c: one process per call. The process is forked ahead: while one call runs, a spare for the next is made, which waits
 * for its setup and its call and serves no more than that one. A call's cores are free again with its answer, while its process finishes: handlers that
 * run at exit, files that are flushed. No more processes finish at once than calls may run. */
#include "engine/guest.h"
#include "engine/pool_private.h"
#include "engine/timeline.h"

#include <errno.h>
#include <signal.h>

/* Of a call that has no worker. */
static void give_back(exl_pool_t *pool, exl_task_t *task)
{
    exl_resources_give(&pool->resources, task->item.request, &task->holding);
    exl_resources_give_gpus(&pool->resources, task->item.request, &task->holding);
}

/* Of a call that has ended. Its process may still use the GPUs while it finishes: they are free when it is gone. */
static void give_back_cores(exl_worker_t *worker)
{
    exl_pool_t *pool = worker->owner;
    exl_resources_give(&pool->resources, worker->request, &worker->holding);
}

/* The call's time runs: from the fork of its process, and of MPI ranks from when all of them are there. */
static void begun(exl_worker_t *worker)
{
    if (!worker->task || exl__pool_begun(worker->task) == 0)
        return;
    worker->reason = "there was no memory for its time limit";
    exl_worker_kill(worker, SIGKILL);
}

static void forked_cb(exl_worker_t *worker)
{
    if (!worker->head)
        begun(worker);
}

static void ready_cb(exl_worker_t *worker)
{
    if (worker->head)
        begun(worker);
}

static void finish(exl_worker_t *worker, exl_outcome_t outcome, exl_payload_t *payload)
{
    exl_pool_t *pool = worker->owner;
    exl_task_t *task = worker->task;
    if (!task || task->verdict)
        return;
    worker->task = NULL;
    pool->nunborn = 0;
    pool->nending++;
    if (!pool->steps) /* a step holds them, for the scheduler, until it has ended */
        give_back_cores(worker);
    exl__pool_finish(task, outcome, payload, NULL);
    exl__pool_due(pool);
}

static void setup_failed_cb(exl_worker_t *worker, exl_payload_t *exception)
{
    finish(worker, EXL_OUTCOME_EXCEPTION, exception);
}

static void answer_cb(exl_worker_t *worker, uint64_t number, bool raised, exl_payload_t *payload)
{
    (void)number;
    finish(worker, raised ? EXL_OUTCOME_EXCEPTION : EXL_OUTCOME_RESULT, payload);
}

static void imports_cb(exl_worker_t *worker, exl_payload_t *modules)
{
    exl_pool_t *pool = worker->owner;
    if (worker->task)
        exl_zygote_learn(pool->zygote, worker->task->import_key, worker->task->setup, modules);
}

static void gone_cb(exl_worker_t *worker)
{
    exl_pool_t *pool = worker->owner;
    exl_task_t *task = worker->task;
    if (worker == pool->spare) {
        pool->spare = NULL; /* the next call asks for a process of its own */
        return;
    }
    exl_list_remove(&worker->link);
    pool->nworkers--;
    if (task || (pool->steps && worker->request.cores)) /* a spare has none */
        give_back_cores(worker);
    exl_resources_give_gpus(&pool->resources, worker->request, &worker->holding);
    if (task) {
        worker->task = NULL;
        if (!task->verdict && exl__pool_retries(pool, worker))
            exl__pool_return(task);
        else
            exl__pool_lost(task, worker);
    } else {
        pool->nending--;
    }
    exl__pool_due(pool);
}

static const exl_worker_events_t events = {forked_cb, ready_cb, setup_failed_cb, answer_cb, imports_cb, gone_cb};

static void fail(exl_pool_t *pool, exl_task_t *task, exl_blame_t blame, const char *reason)
{
    give_back(pool, task);
    exl__pool_fail(task, blame, reason);
}

/* All that the worker is to know before it gets the call, and the call. */
static int hand_over(exl_pool_t *pool, exl_worker_t *worker, exl_task_t *task, bool report_imports)
{
    int rc = exl__pool_assign(pool, worker, task->item.request, &task->holding);
    if (rc == 0)
        rc = exl_worker_set_up(worker, task->setup);
    if (rc == 0 && worker->pid && !worker->head)
        rc = exl__pool_begun(task);
    return rc < 0 ? rc : exl__pool_send(worker, task, 1, report_imports);
}

static void adopt(exl_pool_t *pool, exl_worker_t *worker)
{
    exl_list_push_back(&pool->workers, &worker->link);
    pool->nworkers++;
}

void exl__solo_drop_spare(exl_pool_t *pool)
{
    exl_worker_t *spare = pool->spare;
    if (!spare)
        return;
    pool->spare = NULL;
    adopt(pool, spare);
    pool->nending++;
    exl_worker_end(spare);
}

static bool needs_head(const exl_task_t *task)
{
    return task->ranks > 1 || task->pool->steps;
}

static unsigned kind_for(const exl_task_t *task)
{
    return (needs_head(task) ? EXL_WORKER_HEAD : 0) | (task->cloudpickled ? EXL_WORKER_PRELOADED : 0);
}

/* A process from `zygote`: the spare one if it comes from there. */
static int get_worker(exl_pool_t *pool, exl_zygote_t *zygote, const exl_task_t *task, exl_worker_t **ret_worker,
                      exl_error_t *err)
{
    exl_worker_t *spare = pool->spare;
    bool fits = spare && spare->zygote == zygote && !spare->channel.ended && spare->head == needs_head(task) &&
                spare->launcher == exl_worker_launcher_needed();
    if (fits) {
        pool->spare = NULL;
        *ret_worker = spare;
        return 0;
    }
    exl__solo_drop_spare(pool);
    return exl_worker_start(zygote, kind_for(task), &events, pool, ret_worker, err);
}

static void make_spare(exl_pool_t *pool, exl_zygote_t *zygote, const exl_task_t *task)
{
    exl_worker_t *spare;
    if (!pool->spare && !(pool->closing && pool->queue.count == 0) &&
        exl_worker_start(zygote, kind_for(task), &events, pool, &spare, NULL) == 0)
        pool->spare = spare;
}

/* The task has its resources; its arguments can be sent. */
static void start(exl_pool_t *pool, exl_task_t *task)
{
    exl_error_t err = {""};
    exl_worker_t *worker;
    exl_zygote_t *zygote = exl_zygote_for(pool->zygote, task->import_key, task->setup);
    int rc = get_worker(pool, zygote, task, &worker, &err);
    if (rc == -EAGAIN) {
        give_back(pool, task);
        exl__pool_return(task); /* the old zygote is not buried yet; a pass follows when it is */
        return;
    }
    if (rc < 0) {
        fail(pool, task, EXL_BLAME_WORKER, err.text);
        return;
    }
    adopt(pool, worker);
    rc = hand_over(pool, worker, task, zygote == pool->zygote && task->import_key && task->ranks <= 1);
    if (rc < 0) {
        pool->nending++;
        exl_worker_end(worker);
        if (!pool->steps)
            give_back_cores(worker);
        exl__pool_fail(task, EXL_BLAME_ENGINE, "out of memory while sending the call");
        return;
    }
    worker->task = task;
    (void)exl_task_update(task, EXL_TASK_START);
    if (pool->journal)
        exl__timeline_started(task);
    exl_worker_flush(worker);
    make_spare(pool, zygote, task);
}

static void copied(exl_task_t *task)
{
    exl_pool_t *pool = task->pool;
    exl_failure_t *failure = task->failure;
    if (!failure) {
        start(pool, task);
        return;
    }
    task->failure = NULL;
    give_back(pool, task);
    exl__pool_finish(task, EXL_OUTCOME_LOST, NULL, failure);
    exl_failure_unref(failure);
}

bool exl__solo_recall(exl_pool_t *pool, exl_task_t *task)
{
    give_back(pool, task);
    exl__pool_return(task);
    exl__pool_due(pool);
    return exl_task_state(task) == EXL_TASK_READY;
}

static bool may_start(const exl_pool_t *pool)
{
    uint32_t limit = pool->resources.cores ? pool->resources.cores : pool->resources.calls;
    return limit == 0 || pool->nending < limit;
}

void exl__solo_schedule(exl_pool_t *pool)
{
    /* Bounded, since a start that has to wait for a new zygote puts its call back. */
    for (size_t tries = pool->queue.count; tries && may_start(pool); tries--) {
        exl__guests_admit(pool);
        exl_queue_item_t *item = exl_queue_pop(&pool->queue, &pool->resources);
        if (!item)
            break;
        exl_task_t *task = EXL_CONTAINER(item, exl_task_t, item);
        if (exl__pool_too_late(task))
            continue;
        int rc = exl_resources_take(&pool->resources, item->request, &task->holding);
        (void)exl_task_update(task, EXL_TASK_PLACE);
        if (rc < 0)
            exl__pool_fail(task, EXL_BLAME_ENGINE, "out of memory");
        else if (!exl__pool_needs_copy(task))
            start(pool, task);
        else if (exl__pool_copy(task, copied) < 0)
            fail(pool, task, EXL_BLAME_ENGINE, "out of memory while copying the arguments");
    }
    if (pool->resources.hosts && !pool->queue.count)
        exl_hosts_nobody_waits(pool->resources.hosts);
    exl__guests_admit(pool);
}
