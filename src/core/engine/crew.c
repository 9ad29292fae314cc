/* crew.c: persistent workers: how many there are, which gets the next call, and taking calls back.
 *
 * Calls are sent ahead, so that a worker goes from one to the next without asking; a worker with nothing to do takes what
 * another was sent and has not begun (claim.h decides who has it). Large arguments are never sent ahead. */
#include "engine/guest.h"
#include "engine/pool_private.h"
#include "engine/timeline.h"

#include <assert.h>
#include <errno.h>
#include <signal.h>

/* DEPTH: calls given to one worker at once. From a submitting thread only SUBMIT_DEPTH, so that a burst of submissions
 * costs few system calls: the engine fills up to DEPTH when answers come, and only below REFILL, many calls in one write. */
enum { DEPTH = 32, REFILL = 16, SUBMIT_DEPTH = 2, MAX_AHEAD_BYTES = 128 * 1024 };

static const exl_resources_t unlimited = {0};

static exl_worker_t *worker_of(exl_list_t *link)
{
    return EXL_CONTAINER(link, exl_worker_t, link);
}

static exl_task_t *next_task(exl_pool_t *pool)
{
    return EXL_CONTAINER(exl_queue_pop(&pool->queue, &unlimited), exl_task_t, item);
}

/* ---- starting and ending workers ---- */

static void ready_cb(exl_worker_t *worker)
{
    exl_pool_t *pool = worker->owner;
    pool->nunborn = 0;
    exl__pool_due(pool);
}

/* Workers cannot start: the calls that were waiting when this one was asked for end with the reason. */
static void fail_waiting(exl_pool_t *pool, uint64_t before, exl_outcome_t outcome, exl_payload_t *exception,
                         exl_failure_t *failure)
{
    pool->failed_order = pool->last_order;
    EXL_LIST_FOREACH(&pool->workers, link)
    if (worker_of(link)->ready && !worker_of(link)->ending)
        return; /* somebody else can run them */
    for (exl_queue_item_t *item; (item = exl_queue_pop_before(&pool->queue, before));)
        exl__pool_finish(EXL_CONTAINER(item, exl_task_t, item), outcome, exception, failure);
}

static void setup_failed_cb(exl_worker_t *worker, exl_payload_t *exception)
{
    fail_waiting(worker->owner, worker->start_order, EXL_OUTCOME_EXCEPTION, exception, NULL);
    exl__pool_due(worker->owner);
}

static exl_task_t *outstanding_task(exl_worker_t *worker, uint64_t number)
{
    EXL_LIST_FOREACH(&worker->outstanding, link)
    if (exl__task_of(link)->number == number)
        return exl__task_of(link);
    return NULL;
}

static void detach(exl_worker_t *worker, exl_task_t *task)
{
    exl_list_remove(&task->item.link);
    worker->noutstanding--;
    worker->noutstanding_bytes -= (uint32_t)exl_payload_size(task->call);
}

static void answer_cb(exl_worker_t *worker, uint64_t number, bool raised, exl_payload_t *payload)
{
    exl_task_t *task = outstanding_task(worker, number);
    if (!task || task->verdict)
        return;
    detach(worker, task);
    exl__pool_finish(task, raised ? EXL_OUTCOME_EXCEPTION : EXL_OUTCOME_RESULT, payload, NULL);
    exl__pool_due(worker->owner);
}

static void imports_cb(exl_worker_t *worker, exl_payload_t *modules)
{
    (void)worker;
    (void)modules;
}

static void return_resources(exl_pool_t *pool, exl_request_t request, exl_holding_t *holding)
{
    if (pool->room.cores) { /* a guest's are its host's */
        pool->holding = *holding;
        *holding = (exl_holding_t){0};
        return;
    }
    exl_resources_give(&pool->resources, request, holding);
    exl_resources_give_gpus(&pool->resources, request, holding);
}

static void gone_cb(exl_worker_t *worker)
{
    exl_pool_t *pool = worker->owner;
    uint64_t started = exl_worker_started(worker);
    exl_list_remove(&worker->link);
    pool->nworkers--;
    return_resources(pool, worker->request, &worker->holding);
    if (worker->reserved)
        worker->reserved->worker = NULL; /* whoever copies its arguments finds that out */
    while (!exl_list_empty(&worker->outstanding)) {
        exl_task_t *task = exl__task_of(worker->outstanding.next);
        detach(worker, task);
        if (task->number <= started)
            exl__pool_lost(task, worker);
        else
            exl__pool_return(task);
    }
    if (pool->room.cores && worker->ready && !worker->ending) {
        pool->lost = true;
        pool->loss = exl_worker_failure(worker);
        exl__guest_leave(pool);
    }
    if (worker->unborn) {
        exl_payload_unref(pool->imports); /* its template is gone: the next one does its own imports */
        pool->imports = NULL;
    }
    if (!worker->ready && !worker->failed && !worker->ending && !exl__pool_retries(pool, worker)) {
        exl_failure_t *failure = exl_worker_failure(worker);
        fail_waiting(pool, worker->start_order, EXL_OUTCOME_LOST, NULL, failure);
        exl_failure_unref(failure);
    }
    exl__pool_due(pool);
}

static const exl_worker_events_t events = {NULL, ready_cb, setup_failed_cb, answer_cb, imports_cb, gone_cb};

static bool has_index(const exl_pool_t *pool, uint32_t index, bool ending_too)
{
    EXL_LIST_FOREACH(&pool->workers, link)
    if (worker_of(link)->index == index && (ending_too || !worker_of(link)->ending))
        return true;
    return false;
}

/* The first number that no worker has, so that a restarted worker gets its predecessor's. Of given ones there are no more than
 * workers, so a new one may have to take that of one that is ending. */
static uint32_t free_index(const exl_pool_t *pool)
{
    uint32_t i = 0;
    for (int pass = 0; pass < 2; pass++)
        for (i = 0; i < pool->nworker_ids; i++)
            if (!has_index(pool, pool->worker_ids[i], pass == 0))
                return pool->worker_ids[i];
    while (has_index(pool, i, true))
        i++;
    return i;
}

static void could_not_start(exl_pool_t *pool, const char *reason)
{
    exl_failure_t *failure = exl_failure_create(EXL_BLAME_WORKER, 0, NULL, reason, NULL, 0);
    fail_waiting(pool, pool->last_order + 1, EXL_OUTCOME_LOST, NULL, failure);
    exl_failure_unref(failure);
}

static int prepare_worker(exl_pool_t *pool, exl_worker_t *worker, exl_holding_t *holding)
{
    int rc = exl__pool_assign(pool, worker, pool->each, holding);
    return rc < 0 ? rc : exl_worker_set_up(worker, pool->setup);
}

static int take_resources(exl_pool_t *pool, exl_holding_t *ret_holding)
{
    if (pool->room.cores) { /* a guest's have been taken from its host */
        *ret_holding = pool->holding;
        pool->holding = (exl_holding_t){0};
        return 0;
    }
    if (!exl_resources_fits(&pool->resources, pool->each)) {
        if (pool->nworkers == 0 && !pool->each.nodes)
            could_not_start(pool, "a worker needs more GPUs than there are");
        return -EAGAIN; /* a worker that is about to end has them; a pass follows when it is gone */
    }
    int rc = exl_resources_take(&pool->resources, pool->each, ret_holding);
    if (rc < 0)
        could_not_start(pool, "out of memory");
    return rc;
}

static int start_worker(exl_pool_t *pool, bool preloaded)
{
    exl_error_t err = {""};
    exl_worker_t *worker;
    exl_holding_t holding;
    int rc = take_resources(pool, &holding);
    if (rc < 0)
        return rc;
    exl_zygote_t *zygote =
        pool->imports && pool->setup ? exl_zygote_prepare(pool->zygote, pool->setup, pool->imports) : pool->zygote;
    unsigned kind = (pool->ranks > 1 || pool->steps ? EXL_WORKER_HEAD : 0) | (preloaded ? EXL_WORKER_PRELOADED : 0);
    rc = exl_worker_start(zygote, kind | EXL_WORKER_PERSISTENT, &events, pool, &worker, &err);
    if (rc < 0) {
        return_resources(pool, pool->each, &holding);
        if (rc != -EAGAIN) /* else the old zygote is not buried yet; a pass follows when it is */
            could_not_start(pool, err.text);
        return rc;
    }
    if (pool->journal)
        exl__timeline_times(worker);
    worker->index = free_index(pool);
    worker->start_order = pool->last_order + 1;
    exl_list_push_back(&pool->workers, &worker->link);
    pool->nworkers++;
    rc = prepare_worker(pool, worker, &holding);
    if (rc < 0) {
        /* Its end then fails what waits for it. */
        worker->reason = "its setup could not be sent";
        worker->reason_code = rc;
        exl_worker_kill(worker, SIGKILL);
    }
    exl_worker_flush(worker);
    return 0;
}

static uint32_t count_ahead(const exl_worker_t *worker)
{
    if (!worker->noutstanding)
        return 0;
    uint64_t started = exl_worker_started(worker);
    uint32_t count = 0;
    for (const exl_list_t *link = worker->outstanding.prev; link != &worker->outstanding; link = link->prev) {
        if (EXL_CONTAINER(link, exl_task_t, item.link)->number <= started)
            break;
        count++;
    }
    return count;
}

/* The next call that no worker has begun, in the queue or sent ahead to a busy one; NULL: none. */
static const exl_task_t *unbegun(const exl_pool_t *pool)
{
    if (pool->queue.count)
        return EXL_CONTAINER(exl_queue_first(&pool->queue), exl_task_t, item);
    EXL_LIST_FOREACH(&pool->workers, link)
    if (count_ahead(worker_of(link)))
        return exl__task_of(worker_of(link)->outstanding.prev);
    return NULL;
}

/* Workers are started when there is work, all that may be at once. */
static void start_workers(exl_pool_t *pool)
{
    uint32_t usable = 0, ready = 0;
    EXL_LIST_FOREACH(&pool->workers, link)
    {
        /* One that is being ended keeps its place until it is gone: so many at once are what was asked for. */
        usable += worker_of(link)->terminated || (!worker_of(link)->ending && !worker_of(link)->failed);
        ready += worker_of(link)->ready && !worker_of(link)->ending;
    }
    /* While others work, a worker that could not start is tried again only for a later call. */
    if (ready && pool->last_order <= pool->failed_order)
        return;
    for (const exl_task_t *task; usable < exl__guests_leave_workers(pool) && (task = unbegun(pool)); usable++)
        if (start_worker(pool, task->cloudpickled) < 0)
            return;
}

static void retire_workers(exl_pool_t *pool)
{
    uint32_t usable = 0;
    EXL_LIST_FOREACH(&pool->workers, link)
    usable += !worker_of(link)->ending && !worker_of(link)->failed && !worker_of(link)->terminated;
    while (usable > exl__guests_leave_workers(pool)) {
        exl_worker_t *last = NULL;
        EXL_LIST_FOREACH(&pool->workers, link)
        if (!worker_of(link)->ending && !worker_of(link)->terminated && (!last || worker_of(link)->index > last->index))
            last = worker_of(link);
        if (!last || last->reserved)
            return;
        exl_list_t *outstanding = &last->outstanding;
        if (!exl_list_empty(outstanding))
            (void)exl__crew_recall(pool, exl__task_of(outstanding->prev));
        exl_worker_end(last);
        usable--;
    }
}

void exl__crew_end(exl_pool_t *pool)
{
    if (!pool->persistent)
        return;
    EXL_LIST_FOREACH(&pool->workers, link)
    exl_worker_end(worker_of(link));
}

/* ---- taking back ---- */

static uint32_t recall_from(exl_worker_t *worker)
{
    uint32_t count = 0;
    uint64_t started = exl_worker_recall(worker);
    while (!exl_list_empty(&worker->outstanding)) {
        exl_task_t *task = exl__task_of(worker->outstanding.prev);
        if (task->number <= started)
            break;
        detach(worker, task);
        exl__pool_return(task);
        count++;
    }
    return count;
}

bool exl__crew_recall(exl_pool_t *pool, exl_task_t *task)
{
    if (!task || !task->worker)
        return false;
    if (task->worker->reserved == task) {
        task->worker->reserved = NULL;
        exl__pool_return(task);
    } else {
        (void)recall_from(task->worker);
    }
    exl__pool_due(pool);
    return exl_task_state(task) == EXL_TASK_READY;
}

void exl__crew_recall_all(exl_pool_t *pool)
{
    if (pool->persistent)
        EXL_LIST_FOREACH(&pool->workers, link)
    if (worker_of(link)->noutstanding)
        (void)recall_from(worker_of(link));
}

/* ---- giving ---- */

static uint32_t load_of(const exl_worker_t *worker)
{
    bool takes = worker->ready && !worker->ending && !worker->terminated && !worker->failed && !worker->exited &&
                 !worker->reserved && worker->noutstanding_bytes < MAX_AHEAD_BYTES;
    return takes ? worker->noutstanding : UINT32_MAX;
}

static exl_worker_t *least_loaded(exl_pool_t *pool, uint32_t depth)
{
    exl_worker_t *best = NULL;
    uint32_t best_load = depth;
    EXL_LIST_FOREACH(&pool->workers, link)
    {
        uint32_t load = load_of(worker_of(link));
        if (load < best_load) {
            best = worker_of(link);
            best_load = load;
            if (load == 0)
                break;
        }
    }
    return best;
}

/* Files and large arguments go to a worker only when it is free: taking them back would cost more than it gains. */
static bool is_heavy(const exl_task_t *task)
{
    if (!exl_payload_region(task->call) || exl_payload_fd(task->call) >= 0)
        return true;
    for (uint32_t i = 0; i < task->ndependencies; i++)
        if (exl_payload_fd(task->dependencies[i].payload) >= 0)
            return true;
    return false;
}

/* Is to begin when it is sent, since its time counts from then, or has nobody beside it. */
static bool needs_free_worker(const exl_task_t *task)
{
    return task->run_time_ms || task->item.request.cores == EXL_ALL_CORES || is_heavy(task);
}

/* An exclusive call waits until nobody works. */
static bool must_wait(const exl_pool_t *pool, const exl_task_t *task)
{
    if (task->item.request.cores != EXL_ALL_CORES)
        return false;
    EXL_LIST_FOREACH(&pool->workers, link)
    if (worker_of(link)->noutstanding || worker_of(link)->reserved)
        return true;
    return false;
}

static void give(exl_worker_t *worker, exl_task_t *task)
{
    exl_list_push_back(&worker->outstanding, &task->item.link);
    worker->noutstanding++;
    worker->noutstanding_bytes += (uint32_t)exl_payload_size(task->call);
    if (exl__pool_begun(task) < 0 || exl__pool_send(worker, task, ++worker->last_number, false) < 0) {
        detach(worker, task);
        exl__pool_fail(task, EXL_BLAME_ENGINE, "out of memory while sending the call");
    } else if (task->pool->journal && worker->noutstanding == 1) {
        exl__timeline_started(task);
    }
}

/* The arguments have been copied for a worker that was kept free meanwhile. */
static void copied(exl_task_t *task)
{
    exl_worker_t *worker = task->worker;
    if (worker)
        worker->reserved = NULL;
    if (task->failure) {
        exl_failure_t *failure = task->failure;
        task->failure = NULL;
        exl__pool_finish(task, EXL_OUTCOME_LOST, NULL, failure);
        exl_failure_unref(failure);
    } else if (!worker || worker->ending || worker->terminated) {
        exl__pool_return(task);
    } else {
        give(worker, task);
        exl_worker_flush(worker);
    }
}

static void place(exl_pool_t *pool, exl_worker_t *worker)
{
    exl_task_t *task = next_task(pool);
    if (exl__pool_too_late(task))
        return;
    (void)exl_task_update(task, EXL_TASK_PLACE);
    if (!exl__pool_needs_copy(task)) {
        give(worker, task);
        return;
    }
    task->worker = worker;
    task->number = 0;
    worker->reserved = task;
    if (exl__pool_copy(task, copied) < 0) {
        worker->reserved = NULL;
        exl__pool_fail(task, EXL_BLAME_ENGINE, "out of memory while copying the arguments");
    }
}

static void fill(exl_pool_t *pool, uint32_t depth)
{
    while (pool->queue.count) {
        const exl_task_t *first = EXL_CONTAINER(exl_queue_first(&pool->queue), exl_task_t, item);
        exl_worker_t *worker = least_loaded(pool, needs_free_worker(first) ? 1 : depth);
        if (!worker || must_wait(pool, first))
            break;
        place(pool, worker);
    }
}

/* Of those that have calls beside the one that they are at, or about to begin, the one with the most that it has not begun. */
static exl_worker_t *most_ahead(exl_pool_t *pool)
{
    exl_worker_t *found = NULL;
    uint32_t most = 0;
    EXL_LIST_FOREACH(&pool->workers, link)
    {
        uint32_t ahead = worker_of(link)->noutstanding > 1 ? count_ahead(worker_of(link)) : 0;
        if (ahead > most) {
            found = worker_of(link);
            most = ahead;
        }
    }
    return found;
}

/* A free worker and an empty queue: share out what another was sent and has not begun. False: nothing to share. */
static bool steal(exl_pool_t *pool)
{
    exl_worker_t *victim;
    if (pool->queue.count || !least_loaded(pool, 1))
        return false;
    do
        if (!(victim = most_ahead(pool)))
            return false;
    while (!recall_from(victim)); /* it has begun all of them meanwhile */
    fill(pool, DEPTH);
    return true;
}

/* A more urgent call than those sent ahead goes before them. */
static void make_way(exl_pool_t *pool)
{
    int32_t priority = exl_queue_priority(&pool->queue);
    EXL_LIST_FOREACH(&pool->workers, link)
    {
        exl_worker_t *worker = worker_of(link);
        if (worker->noutstanding > 1 && exl__task_of(worker->outstanding.prev)->item.priority < priority)
            (void)recall_from(worker);
    }
}

static void flush(exl_pool_t *pool)
{
    EXL_LIST_FOREACH(&pool->workers, link)
    if (worker_of(link)->flush_due)
        exl_worker_flush(worker_of(link));
}

/* The worker of a guest is not replaced: the next one would not know what the calls before have left in it. */
static void fail_all(exl_pool_t *pool)
{
    for (exl_queue_item_t *item; (item = exl_queue_pop_before(&pool->queue, UINT64_MAX));)
        exl__pool_finish(EXL_CONTAINER(item, exl_task_t, item), EXL_OUTCOME_LOST, NULL, pool->loss);
}

void exl__crew_schedule(exl_pool_t *pool)
{
    if (pool->closing && pool->npending == 0)
        return;
    exl__guests_admit(pool);
    if (pool->lost)
        fail_all(pool);
    if (pool->lost || (pool->host && !pool->admitted))
        return;
    retire_workers(pool);
    start_workers(pool);
    if (pool->queue.count && pool->nworkers)
        make_way(pool);
    if (exl_engine_inside()) {
        EXL_LIST_FOREACH(&pool->workers, link)
        if (load_of(worker_of(link)) < REFILL) {
            fill(pool, DEPTH);
            break;
        }
    } else {
        fill(pool, SUBMIT_DEPTH);
    }
    /* Several workers may be free, and what they can take may lie with several others. */
    for (uint32_t i = 0; i < pool->nworkers && steal(pool); i++) {
    }
    flush(pool);
    if (pool->journal)
        exl__timeline_claimed(pool);
}
