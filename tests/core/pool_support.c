/* pool_support.c: short words for long setups. */
#include "pool_support.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "engine/engine.h"

extern char **environ;

/* libuv's own descriptors, which last as long as the process, must not count. */
static void warm_up(void)
{
    static uv_loop_t loop;
    if (uv_loop_init(&loop) == 0)
        (void)uv_loop_close(&loop);
}

int pool_test_begin(void **state)
{
    warm_up();
    (void)exl_test_begin(state);
    /* Processes that nobody ended come to us, so that they are noticed. */
    return prctl(PR_SET_CHILD_SUBREAPER, 1);
}

static _Atomic int unfinished; /* pools */

int pool_test_end(void **state)
{
    if (unfinished) {
        print_error("%d executors were not finished\n", unfinished);
        unfinished = 0;
        (void)exl_test_end(state);
        return -1;
    }
    /* As long as an engine lives, there may be something to deliver. */
    for (exl_task_t *task; (task = exl_delivery_next());)
        exl_task_unref(task);
    assert_int_equal(exl_engine_wait_ended(exl_test_soon_ns()), 0);
    return exl_test_end(state);
}

static void set_gpus(exl_pool_t *pool, const char *letters)
{
    char text[32][2] = {{0}};
    const char *names[32];
    uint32_t count = (uint32_t)strlen(letters);
    assert_true(count <= 32);
    for (uint32_t i = 0; i < count; i++) {
        text[i][0] = letters[i];
        names[i] = text[i];
    }
    assert_int_equal(exl_pool_set_gpus(pool, "GPUS", names, count), 0);
}

exl_pool_t *stub_pool(stub_pool_t config)
{
    const char *argv[] = {config.program ? config.program : STUB_ZYGOTE, config.argument, NULL};
    exl_payload_t *setup = config.setup ? exl_test_payload(config.setup) : NULL;
    exl_pool_config_t full = {
        .zygote = {.key = config.key ? config.key : "stub", .argv = argv, .envp = (const char *const *)environ},
        .persistent = config.persistent,
        .max_cores = config.max_cores,
        .max_workers = config.max_workers,
        .restart_limit = config.restart_limit,
        .each = config.each,
        .host = config.host,
        .fleet = config.fleet,
        .setup = setup};
    exl_pool_t *pool = NULL;
    exl_error_t err = {""};
    if (exl_pool_create(&full, &pool, &err) != 0)
        fail_msg("no pool: %s", err.text);
    exl_payload_unref(setup);
    if (config.gpus)
        set_gpus(pool, config.gpus);
    unfinished++;
    return pool;
}

exl_pool_t *stub_crew(uint32_t workers)
{
    return stub_pool((stub_pool_t){.persistent = true, .max_workers = workers});
}

static exl_payload_t *payload_or_null(const char *text)
{
    return text ? exl_test_payload(text) : NULL;
}

exl_shared_t *stub_function(const char *text)
{
    exl_shared_t *function = exl_shared_create(exl_test_payload(text));
    assert_non_null(function);
    return function;
}

exl_task_t *stub_submit(exl_pool_t *pool, stub_call_t call)
{
    exl_call_t full = {.call = exl_test_payload(call.text),
                       .setup = payload_or_null(call.setup),
                       .options = payload_or_null(call.options),
                       .imports = payload_or_null(call.imports),
                       .functions = call.functions,
                       .nfunctions = call.nfunctions,
                       .function_id = call.nfunctions ? call.functions[call.nfunctions - 1]->id : 0,
                       .import_key = call.import_key,
                       .request = {.cores = call.cores ? call.cores : 1,
                                   .gpus = call.gpus,
                                   .gpu_share = call.gpu_share,
                                   .pin = call.pin},
                       .run_time_ms = call.run_time_ms,
                       .grace_ms = call.grace_ms,
                       .priority = call.priority,
                       .producers = call.producers,
                       .nproducers = call.nproducers};
    exl_task_t *task = NULL;
    exl_error_t err = {""};
    if (exl_pool_submit(pool, &full, &task, &err) != 0)
        fail_msg("not submitted: %s", err.text);
    exl_payload_unref(full.call);
    exl_payload_unref(full.setup);
    exl_payload_unref(full.options);
    exl_payload_unref(full.imports);
    return task;
}

exl_task_t *submit(exl_pool_t *pool, const char *format, ...)
{
    char text[512];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    return stub_submit(pool, (stub_call_t){.text = text});
}

void await(exl_task_t *task)
{
    int rc = exl_task_wait(task, exl_test_soon_ns());
    if (rc != 0)
        fail_msg("waiting for a call that is %s: %d", exl_task_state_to_string(exl_task_state(task)), rc);
}

static void expect_outcome(exl_task_t *task, exl_outcome_t outcome)
{
    await(task);
    if (task->outcome != outcome)
        fail_msg("%s (%s) instead of %s", exl_outcome_to_string((exl_outcome_t)task->outcome),
                 task->failure ? task->failure->reason : "", exl_outcome_to_string(outcome));
}

void expect_result(exl_task_t *task, const char *text)
{
    expect_outcome(task, EXL_OUTCOME_RESULT);
    exl_test_assert_body(task->result, text);
    exl_task_unref(task);
}

void expect_each_once(exl_task_t *const tasks[2], const char *one, const char *other)
{
    exl_payload_view_t view;
    expect_outcome(tasks[0], EXL_OUTCOME_RESULT);
    assert_int_equal(exl_payload_view(tasks[0]->result, &view), 0);
    bool in_order = view.body_size == strlen(one) && memcmp(view.body, one, view.body_size) == 0;
    expect_result(tasks[0], in_order ? one : other);
    expect_result(tasks[1], in_order ? other : one);
}

void expect_exception(exl_task_t *task, const char *text)
{
    expect_outcome(task, EXL_OUTCOME_EXCEPTION);
    exl_test_assert_body(task->result, text);
    exl_task_unref(task);
}

void expect_cancelled(exl_task_t *task)
{
    expect_outcome(task, EXL_OUTCOME_CANCELLED);
    assert_null(task->result);
    assert_null(task->failure);
    exl_task_unref(task);
}

exl_failure_t *await_failure(exl_task_t *task)
{
    expect_outcome(task, EXL_OUTCOME_LOST);
    assert_non_null(task->failure);
    return task->failure;
}

void expect_lost(exl_task_t *task, exl_blame_t blame, const char *in_reason)
{
    const exl_failure_t *failure = await_failure(task);
    if (failure->blame != blame || !strstr(failure->reason, in_reason))
        fail_msg("%s: %s, stderr: %s", exl_blame_to_string(failure->blame), failure->reason, failure->stderr_tail);
    exl_task_unref(task);
}

static void expect_status(exl_task_t *task, int wait_status)
{
    const exl_failure_t *failure = await_failure(task);
    assert_int_equal(failure->blame, EXL_BLAME_FUNCTION);
    assert_true(failure->status_known);
    assert_int_equal(failure->wait_status, wait_status);
    exl_task_unref(task);
}

void expect_exit(exl_task_t *task, int status)
{
    expect_status(task, W_EXITCODE(status, 0));
}

void expect_killed(exl_task_t *task, int signal)
{
    await(task);
    if (task->failure)
        task->failure->wait_status &= ~WCOREFLAG;
    expect_status(task, W_EXITCODE(0, signal));
}

long number_from(exl_task_t *task)
{
    exl_payload_view_t view;
    char text[32] = "";
    expect_outcome(task, EXL_OUTCOME_RESULT);
    assert_int_equal(exl_payload_view(task->result, &view), 0);
    assert_true(view.body_size < sizeof text);
    memcpy(text, view.body, view.body_size);
    exl_task_unref(task);
    return strtol(text, NULL, 10);
}

void finish(exl_pool_t *pool)
{
    assert_int_equal(exl_pool_shutdown(pool, false), 0);
    int rc = exl_pool_wait_closed(pool, exl_test_soon_ns());
    if (rc != 0)
        fail_msg("not closed: %d", rc);
    assert_int_equal(exl_pool_pending(pool), 0);
    assert_int_equal(exl_pool_pids(pool, NULL, 0), 0);
    release(pool);
}

void release(exl_pool_t *pool)
{
    exl_pool_release(pool);
    unfinished--;
}

gate_t gate_open(void)
{
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    /* Above 3, which is the zygote's control channel. */
    gate_t gate = {.out = fcntl(ends[0], F_DUPFD, 10), .in = fcntl(ends[1], F_DUPFD, 10)};
    (void)close(ends[0]);
    (void)close(ends[1]);
    return gate;
}

void gate_close(gate_t *gate)
{
    (void)close(gate->in);
    (void)close(gate->out);
}

void gate_pass(const gate_t *gate, size_t count)
{
    for (size_t i = 0; i < count; i++)
        exl_test_write(gate->in, ".", 1);
}

void gate_expect(const gate_t *gate, const char *text)
{
    char said[256];
    assert_true(strlen(text) < sizeof said);
    exl_test_read(gate->out, said, strlen(text));
    assert_memory_equal(said, text, strlen(text));
}

pid_t gate_pid(const gate_t *gate)
{
    pid_t pid;
    exl_test_read(gate->out, &pid, sizeof pid);
    return pid;
}

void *exl_test_submit_and_wait(void *argument)
{
    exl_pool_t *pool = argument;
    for (int i = 0; i < 500; i++) {
        exl_call_t call = {.request = {.cores = 1}};
        exl_task_t *task = NULL;
        if (exl_payload_of("text", 4, &call.call) < 0 || exl_pool_submit(pool, &call, &task, NULL) < 0 ||
            exl_task_wait(task, exl_test_soon_ns()) < 0)
            return pool;
        exl_payload_unref(call.call);
        exl_task_unref(task);
    }
    return NULL;
}
