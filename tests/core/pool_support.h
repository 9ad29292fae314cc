/* pool_support.h: executors on stub zygotes, and what their calls are expected to end with. */
#ifndef EXL_TEST_POOL_SUPPORT_H
#define EXL_TEST_POOL_SUPPORT_H

#include "engine/pool.h"
#include "engine/wait.h"
#include "support.h"

/* Also asks for the end of the engine, and counts processes that left the family. */
#define POOL_TEST(function) cmocka_unit_test_setup_teardown(function, pool_test_begin, pool_test_end)

int pool_test_begin(void **state);
int pool_test_end(void **state);

/* Arguments of a call of the stub, zero where not needed. */
typedef struct stub_call {
    const char *text, *setup, *options, *imports;
    exl_shared_t *const *functions;
    uint32_t nfunctions; /* the last one is the call's own */
    uint64_t import_key;
    uint32_t cores, run_time_ms, grace_ms, gpus, gpu_share;
    bool pin;
    int32_t priority;
    exl_task_t *const *producers;
    uint32_t nproducers;
} stub_call_t;

/* Zero: one process per call, no limits. */
typedef struct stub_pool {
    bool persistent;
    uint32_t max_cores, max_workers, restart_limit;
    exl_request_t each;
    const char *gpus; /* names, one letter each */
    const char *setup, *key;
    const char *program; /* instead of the stub */
    const char *argument;
    exl_pool_t *host; /* of a guest */
    const struct exl_fleet_config *fleet;
} stub_pool_t;

exl_pool_t *stub_pool(stub_pool_t config);
exl_pool_t *stub_crew(uint32_t workers); /* persistent */

exl_shared_t *stub_function(const char *text);
exl_task_t *stub_submit(exl_pool_t *pool, stub_call_t call);
exl_task_t *submit(exl_pool_t *pool, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Wait for the end, check it, and drop the reference. */
void expect_result(exl_task_t *task, const char *text);
void expect_exception(exl_task_t *task, const char *text);
void expect_lost(exl_task_t *task, exl_blame_t blame, const char *in_reason);
void expect_exit(exl_task_t *task, int status);
void expect_killed(exl_task_t *task, int signal);
void expect_cancelled(exl_task_t *task);

/* Of two tasks, in either order. */
void expect_each_once(exl_task_t *const tasks[2], const char *one, const char *other);

/* Wait for the end only. */
void await(exl_task_t *task);
exl_failure_t *await_failure(exl_task_t *task);

/* Waits for a result that is a number. */
long number_from(exl_task_t *task);

/* Shuts down, waits until all is closed, releases. */
void finish(exl_pool_t *pool);
void release(exl_pool_t *pool);

/* A pipe whose ends all workers have; made before the pool. */
typedef struct gate {
    int in, out;
} gate_t;
gate_t gate_open(void);
void gate_close(gate_t *gate);

/* Lets `count` waiting calls go on. */
void gate_pass(const gate_t *gate, size_t count);

/* Waits until a call has said exactly this. */
void gate_expect(const gate_t *gate, const char *text);
pid_t gate_pid(const gate_t *gate);

/* A thread's main function: submits to the pool and waits, 500 times. NULL, or the pool when a call could not be made or
 * did not end in time. */
void *exl_test_submit_and_wait(void *pool);

#endif
