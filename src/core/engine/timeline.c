/* timeline.c: see timeline.h. */
#include "engine/timeline.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "base/clock.h"
#include "engine/journal.h"

enum { MAX_TEXT = 255 };

/* Of this process. */
static uint64_t last_call;
static uint32_t last_executor;

static void tell(const exl_pool_t *pool, exl_event_t *event, const char *text, const uint64_t *after)
{
    size_t size = text ? strlen(text) : 0;
    if (size > MAX_TEXT)
        for (size = MAX_TEXT; size > 0 && ((unsigned char)text[size] & 0xC0) == 0x80; size--) {
            /* not in the middle of a character */
        }
    event->text_size = (uint16_t)size;
    event->executor = pool->number;
    exl_journal_tell(pool->journal, event, text, after);
}

/* ---- executors ---- */

static uint32_t cores_of(const exl_pool_t *pool)
{
    uint32_t each = pool->each.cores && pool->each.cores != EXL_ALL_CORES ? pool->each.cores : 1;
    if (pool->persistent)
        return pool->max_workers * each;
    return pool->resources.cores ? pool->resources.cores : pool->resources.calls * each;
}

static void tell_limits(const exl_pool_t *pool, const exl_pool_t *host)
{
    exl_event_t event = {.kind = EXL_EVENT_EXECUTOR,
                         .t_ns = exl_clock_ns(),
                         .persistent = pool->persistent,
                         .cores = cores_of(pool),
                         .workers = pool->persistent ? pool->max_workers : pool->resources.calls,
                         .host = host ? host->number : 0};
    tell(pool, &event, NULL, NULL);
}

void exl__timeline_opened(exl_pool_t *pool, const exl_pool_t *host)
{
    pool->number = ++last_executor;
    tell_limits(pool, host);
}

void exl__timeline_resized(const exl_pool_t *pool)
{
    tell_limits(pool, pool->host);
}

void exl__timeline_closed(const exl_pool_t *pool)
{
    exl_event_t event = {.kind = EXL_EVENT_CLOSED, .t_ns = exl_clock_ns()};
    tell(pool, &event, NULL, NULL);
}

/* ---- a call before it runs ---- */

/* The calls whose results it takes; those of other libraries have no number. NULL: none, or no memory for the list. */
static uint64_t *producers_of(const exl_call_t *call, uint32_t *ret_count)
{
    uint64_t *ids = call->nproducers ? malloc(call->nproducers * sizeof *ids) : NULL;
    uint32_t count = 0;
    for (uint32_t i = 0; ids && i < call->nproducers; i++)
        if (call->producers[i]->id)
            ids[count++] = call->producers[i]->id;
    *ret_count = count;
    return ids;
}

void exl__timeline_submitted(const exl_pool_t *pool, exl_task_t *task, const exl_call_t *call)
{
    const exl_request_t *request = &call->request;
    task->id = ++last_call;
    exl_event_t event = {.kind = EXL_EVENT_SUBMITTED,
                         .t_ns = exl_clock_ns(),
                         .call = task->id,
                         .cores = request->cores == EXL_ALL_CORES ? cores_of(pool) : request->cores,
                         .ranks = call->ranks ? call->ranks : 1,
                         .gpus = request->gpus * (request->gpu_share ? request->gpu_share : EXL_GPU_WHOLE)};
    uint64_t *after = producers_of(call, &event.nafter);
    tell(pool, &event, call->name, after);
    free(after);
}

void exl__timeline_ready(const exl_task_t *task)
{
    exl_event_t event = {.kind = EXL_EVENT_READY, .t_ns = exl_clock_ns(), .call = task->id};
    tell(task->pool, &event, NULL, NULL);
}

/* ---- a call on a worker ---- */

static void name_worker(exl_event_t *event, const exl_worker_t *worker)
{
    event->worker = worker->persistent ? worker->index : (uint32_t)worker->id;
    event->pid = (int32_t)worker->pid;
}

/* One process per call is told of at once; a persistent worker may not have come to the call. */
static bool has_begun(const exl_task_t *task)
{
    const exl_worker_t *worker = task->worker;
    if (exl_task_state(task) == EXL_TASK_RUNNING)
        return worker != NULL;
    return exl_task_state(task) == EXL_TASK_PLACED && worker && worker->claim && task->number &&
           exl_worker_started(worker) >= task->number;
}

void exl__timeline_times(exl_worker_t *worker)
{
    if (worker->claim)
        atomic_store(&worker->claim->timed, 1);
}

static void tell_started(exl_task_t *task, int64_t t_ns)
{
    exl_event_t event = {.kind = EXL_EVENT_STARTED, .t_ns = t_ns, .call = task->id};
    name_worker(&event, task->worker);
    tell(task->pool, &event, NULL, NULL);
    task->start_told = true;
}

void exl__timeline_started(exl_task_t *task)
{
    tell_started(task, exl_clock_ns());
}

void exl__timeline_claimed(const exl_pool_t *pool)
{
    EXL_LIST_FOREACH(&pool->workers, link)
    {
        const exl_worker_t *worker = EXL_CONTAINER(link, exl_worker_t, link);
        exl_task_t *task = exl_list_empty(&worker->outstanding) ? NULL : exl__task_of(worker->outstanding.next);
        int64_t began_ns, ended_ns;
        if (task && !task->start_told && has_begun(task) &&
            exl_claim_times(worker->claim, task->number, &began_ns, &ended_ns))
            tell_started(task, began_ns);
    }
}

/* The worker's page is the worker's to write: what cannot be is not believed. */
static void measure(exl_event_t *event, const exl_task_t *task)
{
    const exl_claim_t *claim = task->worker->claim;
    if (!claim || !exl_claim_times(claim, task->number, &event->began_ns, &event->ended_ns))
        return;
    if (event->ended_ns == 0 || event->ended_ns > event->t_ns)
        event->ended_ns = event->t_ns;
    if (event->began_ns > event->ended_ns || event->began_ns < 0)
        event->began_ns = event->ended_ns;
}

static uint64_t bytes_sent(const exl_task_t *task)
{
    uint64_t size = task->call ? exl_payload_size(task->call) : 0;
    for (uint32_t i = 0; i < task->ndependencies; i++)
        size += task->dependencies[i].payload ? exl_payload_size(task->dependencies[i].payload) : 0;
    return size;
}

static void describe_run(exl_event_t *event, const exl_task_t *task)
{
    event->ran = task->start_told || has_begun(task);
    if (!event->ran || !task->worker)
        return;
    name_worker(event, task->worker);
    measure(event, task);
    event->starts = !task->start_told;
    event->sent = bytes_sent(task);
    event->received = task->result ? exl_payload_size(task->result) : 0;
}

void exl__timeline_returned(exl_task_t *task)
{
    exl_event_t event = {.kind = EXL_EVENT_RETURNED, .t_ns = exl_clock_ns(), .call = task->id, .count = task->restarts};
    describe_run(&event, task);
    event.lost = has_begun(task);
    if (event.ran)
        tell(task->pool, &event, NULL, NULL);
    task->start_told = false;
}

static uint8_t kind_of(exl_outcome_t outcome)
{
    switch (outcome) {
    case EXL_OUTCOME_RESULT:
        return EXL_EVENT_FINISHED;
    case EXL_OUTCOME_EXCEPTION:
        return EXL_EVENT_FAILED;
    case EXL_OUTCOME_CANCELLED:
        return EXL_EVENT_CANCELLED;
    case EXL_OUTCOME_TERMINATED:
        return EXL_EVENT_TERMINATED;
    default:
        return EXL_EVENT_LOST;
    }
}

static const char *reason_for(const exl_failure_t *failure, char *text, size_t size)
{
    if (!failure)
        return NULL;
    if (failure->blame == EXL_BLAME_LIMIT)
        (void)snprintf(text, size, "ran longer than %u ms", failure->limit_ms);
    else if (failure->status_known && WIFSIGNALED(failure->wait_status))
        (void)snprintf(text, size, "killed by signal %d", WTERMSIG(failure->wait_status));
    else if (failure->status_known && !*failure->reason)
        (void)snprintf(text, size, "exit status %d", WEXITSTATUS(failure->wait_status));
    else
        return failure->reason;
    return text;
}

void exl__timeline_ended(const exl_task_t *task)
{
    char text[64];
    exl_event_t event = {.kind = kind_of((exl_outcome_t)task->outcome), .t_ns = exl_clock_ns(), .call = task->id};
    describe_run(&event, task);
    tell(task->pool, &event, reason_for(task->failure, text, sizeof text), NULL);
}
