/* scheduler.c: what a call costs in the engine with so many nodes: scheduler NODES CORES CALLS plain|gpus|mixed|limited|shared
 *
 * The agents are simulated in this thread, so what is measured is submitting, placing and finishing: the queue, the fleet, the ends
 * of calls. All calls are pending before the first agent comes. One half of them ends many at a time, as from agents that are busy
 * with short calls, the other half one by one, each with a look at what can start next. Prints seconds and bytes as JSON. */
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "engine/pool.h"
#include "simulated_agents.h"

enum { DEPTH = 2, SMALL_CORES = 2, HOUR_MS = 3600 * 1000 };

static void freed_cb(exl_hosts_user_t *user)
{
    (void)user;
}

static void check(int rc, const char *what)
{
    if (rc == 0)
        return;
    (void)fprintf(stderr, "%s: %s\n", what, exl_strerror(rc));
    exit(1);
}

static exl_task_t *submit(exl_pool_t *pool, const char *kind, exl_request_t request)
{
    exl_call_t call = {.request = request, .run_time_ms = strcmp(kind, "limited") == 0 ? 2 * HOUR_MS : 0};
    exl_task_t *task = NULL;
    exl_error_t err = {""};
    check(exl_payload_of("a call", 6, &call.call), "payload");
    check(exl_pool_submit(pool, &call, &task, &err), err.text);
    exl_payload_unref(call.call);
    return task;
}

/* Calls of one core each, which may take longer than half of the nodes last if they are limited, or whose nodes another executor
 * uses, too; or with a GPU; or some of them so wide that only every other node suits. */
static exl_request_t request_of(const char *kind, uint32_t cores, uint32_t number)
{
    exl_request_t request = {.cores = 1};
    if (strcmp(kind, "gpus") == 0)
        request.gpus = 1;
    else if (strcmp(kind, "mixed") == 0 && number % 10 == 0)
        request.cores = SMALL_CORES + 1 < cores ? SMALL_CORES + 1 : cores;
    return request;
}

static void come(const char *kind, uint32_t nodes, uint32_t cores)
{
    exl_node_record_t node = {.cores = cores, .gpus = strcmp(kind, "gpus") == 0 ? cores : 0};
    uint32_t small = strcmp(kind, "mixed") == 0 ? nodes / 2 : 0;
    if (strcmp(kind, "limited") == 0) {
        node.ends = true;
        node.left_ms = 3 * HOUR_MS;
        simulated_agents_come(nodes - nodes / 2, &node);
        node.left_ms = HOUR_MS;
        simulated_agents_come(nodes / 2, &node);
        return;
    }
    simulated_agents_come(nodes - small, &node);
    node.cores = SMALL_CORES;
    simulated_agents_come(small, &node);
}

static double seconds_since(int64_t *start_ns)
{
    int64_t now_ns = exl_clock_ns();
    double seconds = (double)(now_ns - *start_ns) / EXL_NS_PER_S;
    *start_ns = now_ns;
    return seconds;
}

int main(int argc, char **argv)
{
    if (argc != 5) {
        (void)fprintf(stderr, "usage: %s NODES CORES CALLS plain|gpus|mixed|limited|shared\n", argv[0]);
        return 2;
    }
    uint32_t nodes = (uint32_t)atoi(argv[1]), cores = (uint32_t)atoi(argv[2]), calls = (uint32_t)atoi(argv[3]);
    exl_pool_t *pool = NULL;
    exl_error_t err = {""};
    exl_task_t **tasks = calloc(calls, sizeof(exl_task_t *));
    check(tasks ? 0 : -1, "out of memory");
    exl_hosts_user_t neighbour = {.freed = freed_cb};
    const char *job = strcmp(argv[4], "shared") == 0 ? "17" : NULL;
    check(simulated_agents_create(&(simulated_fleet_t){.agents = nodes, .depth = DEPTH, .job = job}, &pool, &err),
          err.text);
    exl_hosts_t *hosts = job ? exl_hosts_join(job, &neighbour) : NULL;
    size_t before = mallinfo2().uordblks;
    int64_t clock_ns = exl_clock_ns();
    for (uint32_t i = 0; i < calls; i++)
        tasks[i] = submit(pool, argv[4], request_of(argv[4], cores, i));
    double submitting = seconds_since(&clock_ns);
    size_t pending = mallinfo2().uordblks - before;
    (void)seconds_since(&clock_ns);
    come(argv[4], nodes, cores);
    uint64_t ended = 0;
    while (ended < calls / 2)
        ended += simulated_agents_finish(16, UINT32_MAX);
    double many = seconds_since(&clock_ns);
    uint64_t half = ended;
    while (ended < calls)
        ended += simulated_agents_finish(1, 1);
    double one = seconds_since(&clock_ns);
    simulated_counts_t counts = simulated_agents_counts();
    check(exl_pool_shutdown(pool, false), "shutdown");
    (void)simulated_agents_finish_all();
    check(exl_pool_wait_closed(pool, -1), "closing");
    exl_pool_release(pool);
    for (uint32_t i = 0; i < calls; i++) {
        check(tasks[i]->outcome == EXL_OUTCOME_RESULT ? 0 : -1, "a call has no result");
        exl_task_unref(tasks[i]);
    }
    if (hosts)
        exl_hosts_leave(hosts, &neighbour);
    free(tasks);
    simulated_agents_destroy();
    (void)printf(
        "{\"submit_s\": %.9f, \"many_s\": %.9f, \"one_s\": %.9f, \"bytes\": %.1f, \"sent\": %.3f, \"recalls\": %.3f, "
        "\"flushes\": %.3f}\n",
        submitting / calls, many / (double)half, one / (double)(calls - half), (double)pending / calls,
        (double)counts.calls / calls, (double)counts.recalls / calls, (double)counts.flushes / calls);
    return 0;
}
