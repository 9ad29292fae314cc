/* pool.c: submission, the end of a call, cancelling, closing. crew.c and solo.c start the calls. */
#include "engine/pool.h"

#include <assert.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/parker.h"
#include "engine/fleet.h"
#include "engine/guest.h"
#include "engine/parcel.h"
#include "engine/pool_private.h"
#include "engine/timeline.h"
#include "engine/wait.h"
#include "task/graph.h"

enum { PATIENCE = 64, END_GRACE_MS = 5000, MAX_UNBORN = 3 };

bool exl_pool_foreign(const exl_pool_t *pool)
{
    return pool && pool->generation != exl_engine_generation();
}

exl_engine_t *exl_pool_engine(const exl_pool_t *pool)
{
    return pool->engine;
}

/* ---- the end of a call ---- */

static void drop_deadline(exl_task_t *task)
{
    exl_deadline_stop(task->deadline);
    task->deadline = NULL;
}

static void end_task(exl_task_t *task, exl_outcome_t outcome, exl_payload_t *payload, exl_failure_t *failure)
{
    exl_pool_t *pool = task->pool;
    task->outcome = (uint8_t)outcome;
    task->result = payload ? exl_payload_ref(payload) : NULL;
    task->failure = exl_failure_ref(failure);
    if (pool && pool->journal)
        exl__timeline_ended(task);
    drop_deadline(task);
    task->worker = NULL;
    task->pool = NULL;
    int rc = exl_task_update(task, outcome == EXL_OUTCOME_CANCELLED ? EXL_TASK_CANCEL : EXL_TASK_FINISH);
    assert(rc == 0);
    (void)rc;
    exl_task_drop_inputs(task);
    exl_task_announce(task);
    if (task->ended)
        task->ended(task);
    if (!pool)
        return; /* an external task belongs to no executor of ours */
    pool->npending--;
    if (pool->closing)
        exl__pool_due(pool);
}

static void make_ready(exl_task_t *task)
{
    (void)exl_task_update(task, EXL_TASK_ARGUMENTS);
    if (exl_queue_push(&task->pool->queue, &task->item) < 0)
        exl__pool_fail(task, EXL_BLAME_ENGINE, "out of memory");
    else
        exl__pool_due(task->pool);
}

/* Tasks whose dependents are still to hear of their end. A list, since a chain of a million failing calls must not become
 * a million stack frames; one for all, so that an end within an end only adds to it. */
static exl_list_t ended = {&ended, &ended};

/* A producer is done: its consumer ends with it, or has one argument more. */
static void settle(exl_task_t *producer, const exl_edge_t *edge)
{
    exl_task_t *consumer = edge->consumer;
    if (exl_task_done(consumer))
        return;
    exl_graph_resolve(consumer, edge->index);
    if (producer->outcome != EXL_OUTCOME_RESULT) {
        exl_list_remove(&consumer->item.link);
        end_task(consumer, (exl_outcome_t)producer->outcome, producer->result, producer->failure);
        exl_list_push_back(&ended, &consumer->item.link);
    } else if (consumer->npending == 0) {
        exl_list_remove(&consumer->item.link);
        if (consumer->pool->journal)
            exl__timeline_ready(consumer);
        make_ready(consumer);
    }
}

static void propagate(void)
{
    for (exl_list_t *link; (link = exl_list_pop_front(&ended));) {
        exl_task_t *task = exl__task_of(link);
        for (exl_edge_t *edge; (edge = exl_graph_pop(task));) {
            settle(task, edge);
            exl_edge_destroy(edge);
        }
        exl_task_unref(task); /* the reference of "pending" */
    }
}

void exl__pool_finish(exl_task_t *task, exl_outcome_t outcome, exl_payload_t *payload, exl_failure_t *failure)
{
    end_task(task, outcome, payload, failure);
    exl_list_push_back(&ended, &task->item.link);
    propagate();
}

exl_task_t *exl_external_create(void)
{
    exl_task_t *task = exl_task_create(NULL);
    if (task) {
        exl_task_ref(task); /* of "pending" */
        (void)exl_task_update(task, EXL_TASK_SUBMIT);
    }
    return task;
}

void exl_external_finish(exl_task_t *task, exl_outcome_t outcome, exl_payload_t *payload)
{
    exl_engine_lock();
    if (!exl_task_done(task))
        exl__pool_finish(task, outcome, payload, NULL);
    exl_engine_unlock();
}

void exl__pool_fail(exl_task_t *task, exl_blame_t blame, const char *reason)
{
    exl_failure_t *failure = exl_failure_create(blame, 0, NULL, reason, NULL, 0);
    exl__pool_finish(task, EXL_OUTCOME_LOST, NULL, failure);
    exl_failure_unref(failure);
}

void exl__pool_return(exl_task_t *task)
{
    drop_deadline(task);
    if (task->pool->journal)
        exl__timeline_returned(task);
    task->worker = NULL;
    (void)exl_task_update(task, EXL_TASK_RETURN);
    if (exl_queue_push(&task->pool->queue, &task->item) < 0)
        exl__pool_fail(task, EXL_BLAME_ENGINE, "out of memory");
}

void exl__pool_lost(exl_task_t *task, exl_worker_t *worker)
{
    if (!task->verdict && task->restarts < task->pool->restart_limit) {
        task->restarts++;
        exl__pool_return(task);
        return;
    }
    exl_failure_t *failure = exl_worker_failure(worker);
    if (failure) {
        failure->restarts = task->restarts;
        if (task->verdict == EXL_VERDICT_LIMIT) {
            failure->blame = EXL_BLAME_LIMIT;
            failure->limit_ms = task->run_time_ms;
        }
    }
    bool terminated = task->verdict == EXL_VERDICT_TERMINATE;
    exl__pool_finish(task, terminated ? EXL_OUTCOME_TERMINATED : EXL_OUTCOME_LOST, NULL, failure);
    exl_failure_unref(failure);
}

bool exl__pool_retries(exl_pool_t *pool, const exl_worker_t *worker)
{
    if (!worker->unborn) {
        pool->nunborn = 0;
        return false;
    }
    return ++pool->nunborn <= MAX_UNBORN;
}

/* ---- ending a call that runs ---- */

/* False: its answer is here already, or so nearly that its worker is at another call. */
static bool end_running(exl_task_t *task, exl_verdict_t verdict)
{
    exl_worker_t *worker = task->worker;
    exl_worker_read(worker);
    if (exl_task_done(task) || (worker->claim && exl_worker_started(worker) != task->number))
        return false;
    task->verdict = (uint8_t)verdict;
    drop_deadline(task);
    exl_worker_terminate(worker, task->grace_ms);
    return true;
}

static void limit_passed(void *subject)
{
    exl_task_t *task = exl_task_ref(subject);
    exl_pool_t *pool = task->pool;
    /* A worker that was stopped may not have begun it; it then starts anew, and so does its time. */
    if (!pool->persistent || !exl__crew_recall(pool, task))
        (void)end_running(task, EXL_VERDICT_LIMIT);
    exl_task_unref(task);
}

int exl__pool_begun(exl_task_t *task)
{
    if (!task->run_time_ms || task->deadline)
        return 0;
    return exl_deadline_start(exl_engine_node(task->pool->engine), task->run_time_ms, limit_passed, task,
                              &task->deadline);
}

/* ---- the end of what the pool runs in ---- */

static void recall_all(exl_pool_t *pool)
{
    if (pool->fleet)
        exl__fleet_recall_all(pool);
    else
        exl__crew_recall_all(pool);
}

bool exl__pool_too_late(exl_task_t *task)
{
    int64_t end_ns = task->pool->end_ns;
    if (!end_ns || exl_clock_ns() + task->run_time_ms * INT64_C(1000000) < end_ns)
        return false;
    exl__pool_finish(task, EXL_OUTCOME_CANCELLED, NULL, NULL);
    return true;
}

/* Nothing starts any more. */
static void cancel_ready(exl_pool_t *pool)
{
    for (exl_queue_item_t *item; (item = exl_queue_pop_before(&pool->queue, UINT64_MAX));)
        exl__pool_finish(EXL_CONTAINER(item, exl_task_t, item), EXL_OUTCOME_CANCELLED, NULL, NULL);
}

int exl_pool_set_end(exl_pool_t *pool, uint64_t left_ms)
{
    int64_t most_ms = INT64_MAX / 4000000;
    exl_engine_lock();
    int rc = exl_pool_foreign(pool) ? EXL_EFORKED : 0;
    if (rc == 0 && !pool->closed) {
        pool->end_ns = left_ms < (uint64_t)most_ms ? exl_clock_ns() + (int64_t)left_ms * 1000000 : 0;
        if (!left_ms)
            recall_all(pool);
        if (pool->end_follower)
            exl_engine_due(pool->end_follower);
        exl__pool_due(pool);
    }
    exl_engine_unlock();
    return rc;
}

/* ---- handing a call to a worker ---- */

static int to_worker(void *worker, exl_frame_t frame, exl_payload_t *payload)
{
    return exl_worker_send(worker, frame, payload);
}

int exl__pool_send(exl_worker_t *worker, exl_task_t *task, uint64_t number, bool report_imports)
{
    const exl_receiver_t receiver = {.send = to_worker, .owner = worker, .functions = &worker->functions};
    exl_frame_t call = {.type = EXL_FRAME_CALL, .id = number, .epoch = worker->epoch};
    if (report_imports)
        call.arg |= EXL_CALL_REPORT_IMPORTS;
    int rc = exl__parcel_send(&receiver, task, call);
    task->worker = worker;
    task->number = number;
    return rc;
}

struct copy {
    exl_copy_t copy;
    exl_task_t *task; /* a reference */
    exl_pool_t *pool;
    void (*placed)(exl_task_t *task);
};

static void copied(exl_copy_t *copy, int rc)
{
    struct copy *job = EXL_CONTAINER(copy, struct copy, copy);
    exl_pool_t *pool = job->pool;
    pool->ncopying--;
    if (!exl_task_done(job->task)) {
        if (rc < 0)
            job->task->failure = exl_failure_create(EXL_BLAME_ENGINE, 0, NULL, exl_strerror(rc), NULL, 0);
        job->placed(job->task);
    }
    exl_task_unref(job->task);
    free(job);
    exl__pool_due(pool);
}

bool exl__pool_needs_copy(const exl_task_t *task)
{
    return exl_payload_pinned(task->call);
}

int exl__pool_copy(exl_task_t *task, void (*placed)(exl_task_t *task))
{
    struct copy *job = calloc(1, sizeof *job);
    if (!job)
        return -ENOMEM;
    *job = (struct copy){.copy = {.payload = exl_payload_ref(task->call), .done = copied},
                         .task = exl_task_ref(task),
                         .pool = task->pool,
                         .placed = placed};
    int rc = exl_engine_copy(task->pool->engine, &job->copy);
    if (rc < 0) {
        exl_payload_unref(job->copy.payload);
        exl_task_unref(task);
        free(job);
        return rc;
    }
    task->pool->ncopying++;
    return 0;
}

/* ---- life of the executor ---- */

void exl__pool_unref(exl_pool_t *pool)
{
    if (--pool->refs > 0)
        return;
    exl_failure_unref(pool->loss);
    free(pool->worker_ids);
    free(pool);
}

static void grace_closed_cb(uv_handle_t *handle)
{
    exl__pool_unref(handle->data);
}

static void grace_cb(uv_timer_t *timer)
{
    exl_pool_t *pool = timer->data;
    if (pool->fleet)
        exl__fleet_kill(pool);
    EXL_LIST_FOREACH(&pool->workers, link)
    exl_worker_kill(EXL_CONTAINER(link, exl_worker_t, link), SIGKILL);
}

static void freed_cb(exl_hosts_user_t *user)
{
    exl__pool_due(EXL_CONTAINER(user, exl_pool_t, hosts_user));
}

static void leave_hosts(exl_pool_t *pool)
{
    if (pool->resources.hosts)
        exl_hosts_leave(pool->resources.hosts, &pool->hosts_user);
    pool->resources.hosts = NULL;
}

static int join_hosts(exl_pool_t *pool, const exl_pool_hosts_t *hosts)
{
    pool->hosts_user.freed = freed_cb;
    pool->resources.hosts = exl_hosts_join(hosts->job, &pool->hosts_user);
    int rc = pool->resources.hosts ? 0 : -ENOMEM;
    for (uint32_t i = 0; rc >= 0 && i < hosts->count; i++)
        rc = exl_hosts_add(pool->resources.hosts, hosts->names[i], hosts->cores[i]);
    if (rc < 0)
        leave_hosts(pool);
    return rc;
}

static void close_pool(exl_pool_t *pool)
{
    assert(exl_list_empty(&pool->waiting) && pool->queue.count == 0);
    pool->closed = true;
    if (pool->journal)
        exl__timeline_closed(pool);
    exl_journal_unref(pool->journal);
    pool->journal = NULL;
    exl__guest_leave(pool);
    exl__guests_admit_all(pool);
    exl_queue_fini(&pool->queue);
    exl_payload_unref(pool->setup);
    exl_payload_unref(pool->imports);
    pool->setup = pool->imports = NULL;
    exl_gpus_fini(&pool->gpus);
    free(pool->gpu_variable);
    pool->gpu_variable = NULL;
    pool->resources.gpus = NULL;
    pool->resources.pins = NULL; /* go with the engine */
    leave_hosts(pool);
    exl__fleet_destroy(pool->fleet);
    pool->fleet = NULL;
    if (pool->zygote)
        exl_zygote_release(pool->zygote);
    pool->zygote = NULL;
    exl_engine_release(pool->engine);
    atomic_store(&pool->closed_word, 1);
    exl_engine_wake(&pool->closed_word);
    (void)atomic_fetch_add(&pool->agents_word, 1);
    exl_engine_wake(&pool->agents_word);
    if (pool->grace_open)
        uv_close((uv_handle_t *)&pool->grace, grace_closed_cb);
    else
        exl__pool_unref(pool);
}

/* Workers, agents, and arguments that are being copied. */
static bool has_gone(const exl_pool_t *pool)
{
    return exl_list_empty(&pool->workers) && pool->ncopying == 0 && (!pool->fleet || exl__fleet_ended(pool));
}

/* All calls have ended: let the workers go, with a time limit, and then the executor. */
static void wind_up(exl_pool_t *pool)
{
    exl__solo_drop_spare(pool);
    if (!pool->ended && (pool->fleet || !exl_list_empty(&pool->workers))) {
        exl_node_t *node = exl_engine_node(pool->engine);
        pool->ended = true;
        if (pool->fleet)
            exl__fleet_end(pool);
        else
            exl__crew_end(pool);
        pool->grace_open = uv_timer_init(node->loop, &pool->grace) == 0;
        pool->grace.data = pool;
        uv_update_time(node->loop); /* which is as old as the engine's last wake-up */
        (void)uv_timer_start(&pool->grace, grace_cb, END_GRACE_MS, 0);
        node->changed(node->owner);
    }
    if (has_gone(pool))
        close_pool(pool);
}

static void pool_pass(exl_due_t *due)
{
    exl_pool_t *pool = EXL_CONTAINER(due, exl_pool_t, due);
    if (pool->closed || exl_pool_foreign(pool))
        return;
    if (pool->end_ns && exl_clock_ns() >= pool->end_ns)
        cancel_ready(pool);
    if (pool->fleet)
        exl__fleet_schedule(pool);
    else if (pool->persistent)
        exl__crew_schedule(pool);
    else
        exl__solo_schedule(pool);
    if (pool->closing && pool->npending == 0)
        wind_up(pool);
}

static exl_pool_t *pool_new(const exl_pool_config_t *config)
{
    exl_pool_t *pool = calloc(1, sizeof *pool);
    if (!pool)
        return NULL;
    exl_list_init(&pool->due.link);
    pool->due.run = pool_pass;
    exl_list_init(&pool->waiting);
    exl_list_init(&pool->workers);
    exl_list_init(&pool->guests);
    exl_list_init(&pool->guest_link);
    exl_queue_init(&pool->queue, PATIENCE);
    pool->refs = 2;
    pool->persistent = config->persistent;
    pool->steps = config->steps;
    pool->max_workers = config->max_workers;
    pool->ranks = config->ranks;
    pool->restart_limit = config->restart_limit;
    pool->setup = config->setup ? exl_payload_ref(config->setup) : NULL;
    pool->each = config->each;
    if (pool->each.cores == EXL_ALL_CORES) /* that calls are exclusive does not concern the workers */
        pool->each = (exl_request_t){.cores = 1, .gpus = config->each.gpus, .gpu_share = config->each.gpu_share};
    pool->resources.gpus = &pool->gpus;
    if (!config->persistent) {
        pool->resources.cores = config->max_cores;
        pool->resources.calls = config->max_workers;
    }
    return pool;
}

/* Where the calls are to run: the agents to come, or a zygote. */
static int find_place(exl_pool_t *pool, const exl_pool_config_t *config, exl_error_t *err)
{
    if (config->fleet)
        return exl__fleet_create(pool, config->fleet, &pool->fleet, err);
    int rc = exl_zygote_acquire(exl_engine_node(pool->engine), &config->zygote, &pool->zygote);
    if (rc < 0)
        return exl_error_set(err, rc, "%s", exl_strerror(rc));
    exl_zygote_start(pool->zygote);
    return 0;
}

static void pool_delete(exl_pool_t *pool)
{
    exl_payload_unref(pool->setup);
    exl_journal_unref(pool->journal);
    free(pool);
}

int exl_pool_create(const exl_pool_config_t *config, exl_pool_t **ret_pool, exl_error_t *err)
{
    exl_pool_t *pool = pool_new(config);
    if (!pool)
        return exl_error_set(err, -ENOMEM, "out of memory");
    int rc = config->timeline ? exl_journal_open(config->timeline, &pool->journal, err) : 0;
    if (rc < 0) {
        pool_delete(pool);
        return rc;
    }
    exl_engine_lock();
    pool->generation = exl_engine_generation();
    rc = !config->host ? 0 : exl_pool_foreign(config->host) ? EXL_EFORKED : config->host->closing ? EXL_ECLOSED : 0;
    if (rc < 0)
        (void)exl_error_set(err, rc, "%s", exl_strerror(rc));
    else
        rc = exl_engine_acquire(&pool->engine, err);
    if (rc == 0) {
        pool->resources.pins = &exl_engine_node(pool->engine)->pins;
        rc = config->hosts ? join_hosts(pool, config->hosts) : 0;
        if (rc < 0)
            (void)exl_error_set(err, rc, "%s", exl_strerror(rc));
        rc = rc < 0 ? rc : find_place(pool, config, err);
        if (rc < 0) {
            leave_hosts(pool);
            exl_engine_release(pool->engine);
        }
    }
    if (rc == 0 && pool->journal)
        exl__timeline_opened(pool, config->host);
    if (rc == 0 && config->host)
        exl__guest_arrive(pool, config->host, config->host->persistent ? pool->each : config->each);
    exl_engine_unlock();
    if (rc < 0) {
        pool_delete(pool);
        return rc;
    }
    *ret_pool = pool;
    return 0;
}

void exl_pool_release(exl_pool_t *pool)
{
    if (!pool)
        return;
    exl_engine_lock();
    if (!pool->closing && !exl_pool_foreign(pool)) {
        pool->closing = true;
        exl__pool_due(pool);
    }
    exl__pool_unref(pool);
    exl_engine_unlock();
}

/* No function has this key: theirs are odd. */
enum { IMPORTS_OF_HEADS = 2 };

static exl_task_t *task_of_call(const exl_call_t *call)
{
    exl_task_t *task = exl_task_create(call->call);
    if (!task)
        return NULL;
    if (call->nfunctions && !(task->functions = malloc(call->nfunctions * sizeof *task->functions))) {
        exl_task_unref(task);
        return NULL;
    }
    for (; task->nfunctions < call->nfunctions; task->nfunctions++)
        task->functions[task->nfunctions] = exl_shared_ref(call->functions[task->nfunctions]);
    task->setup = call->setup ? exl_payload_ref(call->setup) : NULL;
    task->options = call->options ? exl_payload_ref(call->options) : NULL;
    task->function_id = call->function_id;
    /* A library imported ahead may have looked for GPUs or counted processors already. */
    bool shares = !call->request.gpus && !call->request.pin;
    task->import_key = !shares ? 0 : call->ranks > 1 ? IMPORTS_OF_HEADS : call->import_key;
    task->item.request = call->request;
    task->ranks = call->ranks;
    task->run_time_ms = call->run_time_ms;
    task->grace_ms = call->grace_ms;
    task->item.priority = call->priority;
    task->cloudpickled = call->cloudpickled;
    return task;
}

static void begin(exl_pool_t *pool, exl_task_t *task)
{
    task->pool = pool;
    task->item.order = ++pool->last_order;
    pool->npending++;
    if (pool->steps)
        task->import_key = 0; /* the head of a step imports nothing, and ranks elsewhere have no templates */
    exl_task_ref(task);       /* of "pending" */
    (void)exl_task_update(task, EXL_TASK_SUBMIT);
    exl_task_t *failed = exl_graph_failed_producer(task);
    if (failed)
        exl__pool_finish(task, (exl_outcome_t)failed->outcome, failed->result, failed->failure);
    else if (task->npending)
        exl_list_push_back(&pool->waiting, &task->item.link);
    else
        make_ready(task);
}

static int submit(exl_pool_t *pool, const exl_call_t *call, exl_task_t *task)
{
    int rc = exl_pool_foreign(pool) ? EXL_EFORKED : pool->closing ? EXL_ECLOSED : 0;
    if (rc == 0 && (rc = exl_graph_link(task, call->producers, call->nproducers)) < 0)
        (void)exl_task_update(task, EXL_TASK_FINISH); /* edges that were made find it done */
    if (rc == 0 && call->imports && pool->persistent && !pool->imports && !pool->nworkers)
        pool->imports = exl_payload_ref(call->imports);
    if (rc == 0 && pool->journal)
        exl__timeline_submitted(pool, task, call);
    if (rc == 0)
        begin(pool, task);
    return rc;
}

int exl_pool_submit(exl_pool_t *pool, const exl_call_t *call, exl_task_t **ret_task, exl_error_t *err)
{
    exl_task_t *task = task_of_call(call);
    if (!task)
        return exl_error_set(err, -ENOMEM, "out of memory");
    exl_engine_lock();
    int rc = submit(pool, call, task);
    if (rc == 0 && task->npending)
        exl_engine_glance(pool->engine);
    exl_engine_unlock();
    if (rc < 0) {
        exl_task_unref(task);
        return exl_error_set(err, rc, "%s", exl_strerror(rc));
    }
    *ret_task = task;
    return 0;
}

int exl__pool_submit(exl_pool_t *pool, const exl_call_t *call, void (*ended_cb)(exl_task_t *task), void *observer,
                     exl_task_t **ret_task)
{
    exl_task_t *task = task_of_call(call);
    if (!task)
        return -ENOMEM;
    task->ended = ended_cb;
    task->observer = observer;
    *ret_task = task;
    int rc = submit(pool, call, task);
    if (rc < 0) {
        task->ended = NULL;
        exl_task_unref(task);
    }
    return rc;
}

int exl_pool_set_gpus(exl_pool_t *pool, const char *variable, const char *const *names, uint32_t count)
{
    exl_engine_lock();
    int rc = exl_pool_foreign(pool) ? EXL_EFORKED : 0;
    if (rc == 0 && !pool->closed && !pool->gpu_variable) {
        rc = exl_gpus_init(&pool->gpus, names, count);
        pool->gpu_variable = rc == 0 ? strdup(variable) : NULL;
        if (rc == 0 && !pool->gpu_variable) {
            exl_gpus_fini(&pool->gpus);
            rc = -ENOMEM;
        }
        exl__pool_due(pool); /* another thread's call may be waiting for them already */
    }
    exl_engine_unlock();
    return rc;
}

static void cancel_queued(exl_pool_t *pool)
{
    for (exl_list_t *link; (link = exl_list_pop_front(&pool->waiting));)
        exl__pool_finish(exl__task_of(link), EXL_OUTCOME_CANCELLED, NULL, NULL);
    cancel_ready(pool);
}

int exl_pool_shutdown(exl_pool_t *pool, bool cancel)
{
    exl_engine_lock();
    int rc = exl_pool_foreign(pool) ? EXL_EFORKED : 0;
    if (rc == 0 && !pool->closed) {
        pool->closing = true;
        if (cancel) {
            recall_all(pool);
            cancel_queued(pool);
        }
        exl__pool_due(pool);
    }
    exl_engine_unlock();
    return rc;
}

int exl_pool_wait_closed(exl_pool_t *pool, int64_t deadline_ns)
{
    exl_engine_lock();
    bool foreign = exl_pool_foreign(pool);
    exl_engine_unlock();
    if (foreign)
        return EXL_EFORKED;
    int rc = exl_parker_wait_change(&pool->closed_word, 0, deadline_ns);
    return rc < 0 ? rc : exl_journals_settle(deadline_ns);
}

int exl__pool_resize(exl_pool_t *pool, uint32_t max_workers)
{
    if (exl_pool_foreign(pool) || pool->closing)
        return exl_pool_foreign(pool) ? EXL_EFORKED : EXL_ECLOSED;
    pool->max_workers = max_workers;
    pool->failed_order = 0; /* worth another try */
    if (pool->journal)
        exl__timeline_resized(pool);
    exl__pool_due(pool);
    return 0;
}

int exl_pool_resize(exl_pool_t *pool, uint32_t max_workers)
{
    exl_engine_lock();
    int rc = exl__pool_resize(pool, max_workers);
    exl_engine_unlock();
    return rc;
}

int exl__pool_number_workers(exl_pool_t *pool, const uint32_t *ids, uint32_t nids)
{
    uint32_t *copy = malloc((nids + 1) * sizeof *copy);
    if (!copy)
        return -ENOMEM;
    for (uint32_t i = 0; i < nids; i++)
        copy[i] = ids[i];
    free(pool->worker_ids);
    pool->worker_ids = copy;
    pool->nworker_ids = nids;
    return 0;
}

int exl_pool_number_workers(exl_pool_t *pool, const uint32_t *ids, uint32_t nids)
{
    exl_engine_lock();
    int rc = exl__pool_number_workers(pool, ids, nids);
    exl_engine_unlock();
    return rc;
}

bool exl_pool_lost(exl_pool_t *pool)
{
    exl_engine_lock();
    bool lost = pool->lost;
    exl_engine_unlock();
    return lost;
}

uint64_t exl_pool_pending(exl_pool_t *pool)
{
    exl_engine_lock();
    uint64_t pending = pool->npending;
    exl_engine_unlock();
    return pending;
}

size_t exl_pool_pids(exl_pool_t *pool, pid_t *pids, size_t capacity)
{
    size_t count = 0;
    exl_engine_lock();
    EXL_LIST_FOREACH(&pool->workers, link)
    {
        const exl_worker_t *worker = EXL_CONTAINER(link, exl_worker_t, link);
        if (worker->pid && count++ < capacity)
            pids[count - 1] = worker->pid;
    }
    exl_engine_unlock();
    return count;
}

/* ---- calls ---- */

static bool recall(exl_pool_t *pool, exl_task_t *task)
{
    return pool->fleet        ? exl__fleet_recall(pool, task)
           : pool->persistent ? exl__crew_recall(pool, task)
                              : exl__solo_recall(pool, task);
}

int exl__pool_cancel(exl_task_t *task)
{
    exl_pool_t *pool = task->pool;
    if (exl_task_done(task))
        return task->outcome == EXL_OUTCOME_CANCELLED;
    if (exl_pool_foreign(pool))
        return EXL_EFORKED;
    if (exl_task_state(task) == EXL_TASK_PLACED && !recall(pool, task))
        return 0;
    switch (exl_task_state(task)) {
    case EXL_TASK_WAITING:
        exl_list_remove(&task->item.link);
        break;
    case EXL_TASK_READY:
        exl_queue_remove(&pool->queue, &task->item);
        if (pool->resources.hosts)
            exl__pool_due(pool); /* others may have kept nodes free for it */
        break;
    default:
        return 0;
    }
    exl__pool_finish(task, EXL_OUTCOME_CANCELLED, NULL, NULL);
    return 1;
}

int exl_task_cancel(exl_task_t *task)
{
    exl_engine_lock();
    int rc = exl__pool_cancel(task);
    exl_engine_unlock();
    return rc;
}

int exl__pool_terminate(exl_task_t *task)
{
    int rc = exl__pool_cancel(task);
    if (rc != 0)
        return rc;
    if (exl_task_done(task))
        return task->outcome == EXL_OUTCOME_TERMINATED;
    if (task->remote) {
        exl__fleet_stop(task);
        return 1;
    }
    if (!task->worker) /* an external task, or one that its producer is about to end */
        return 0;
    if (task->verdict)
        return task->verdict == EXL_VERDICT_TERMINATE;
    return end_running(task, EXL_VERDICT_TERMINATE);
}

int exl_task_terminate(exl_task_t *task)
{
    exl_task_ref(task); /* an answer that is read meanwhile drops that of "pending" */
    exl_engine_lock();
    int rc = exl__pool_terminate(task);
    exl_engine_unlock();
    exl_task_unref(task);
    return rc;
}

bool exl_task_running(exl_task_t *task)
{
    exl_engine_lock();
    exl_task_state_t state = exl_task_state(task);
    bool running = state == EXL_TASK_RUNNING;
    if (task->remote)
        running = true; /* it may wait there for a process, but it cannot be cancelled any more */
    else if (state == EXL_TASK_PLACED && task->worker && task->worker->claim && task->number)
        running = exl_worker_started(task->worker) >= task->number;
    exl_engine_unlock();
    return running;
}
