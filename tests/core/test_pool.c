/* test_pool.c: what holds for every executor, with persistent workers and with one process per call. */
#include "engine/pool.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "pool_support.h"

static stub_pool_t persistent = {.persistent = true, .max_workers = 1};
static stub_pool_t per_call = {.max_workers = 1};

static stub_pool_t with_workers(void **state, uint32_t workers)
{
    stub_pool_t config = *(const stub_pool_t *)*state;
    config.max_workers = workers;
    return config;
}

static exl_pool_t *new_pool(void **state, uint32_t workers)
{
    return stub_pool(with_workers(state, workers));
}

/* ---- calls ---- */

static void runs_calls(void **state)
{
    enum { CALLS = 60 };
    exl_task_t *tasks[CALLS];
    exl_pool_t *pool = new_pool(state, 2);
    for (int i = 0; i < CALLS; i++)
        tasks[i] = submit(pool, "call %d", i);
    for (int i = 0; i < CALLS; i++) {
        char text[16];
        (void)snprintf(text, sizeof text, "call %d", i);
        expect_result(tasks[i], text);
    }
    expect_exception(submit(pool, "raise boom"), "boom");
    finish(pool);
}

static void an_unused_pool_closes(void **state)
{
    finish(new_pool(state, 2));
    for (int i = 0; i < 5; i++)
        finish(new_pool(state, 2));
}

static void function_and_options_arrive(void **state)
{
    exl_pool_t *pool = new_pool(state, 1);
    exl_shared_t *functions[] = {stub_function("other"), stub_function("f")};
    for (int i = 0; i < 3; i++)
        expect_result(stub_submit(pool, (stub_call_t){.text = "function", .functions = functions, .nfunctions = 2}),
                      "f");
    expect_result(submit(pool, "function"), "none");
    exl_shared_unref(functions[0]);
    exl_shared_unref(functions[1]);
    expect_result(stub_submit(pool, (stub_call_t){.text = "options", .options = "o"}), "o");
    expect_result(submit(pool, "options"), "none");
    finish(pool);
}

static void waiting_has_a_deadline(void **state)
{
    gate_t gate = gate_open();
    exl_pool_t *pool = new_pool(state, 1);
    exl_task_t *task = submit(pool, "wait %d; count", gate.out);
    assert_int_equal(exl_task_wait(task, exl_clock_ns()), -ETIMEDOUT);
    assert_int_equal(exl_pool_shutdown(pool, false), 0);
    assert_int_equal(exl_pool_wait_closed(pool, exl_clock_ns()), -ETIMEDOUT);
    gate_pass(&gate, 1);
    expect_result(task, "1");
    finish(pool);
    gate_close(&gate);
}

static void *wait_for(void *task)
{
    return (void *)(intptr_t)exl_task_wait(task, exl_test_soon_ns());
}

static void many_threads_wait_for_one_call(void **state)
{
    enum { THREADS = 80 }; /* more than the wake-ups that are collected under the lock */
    pthread_t threads[THREADS];
    gate_t gate = gate_open();
    exl_pool_t *pool = new_pool(state, 1);
    exl_task_t *task = submit(pool, "wait %d; pid", gate.out);
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, wait_for, task), 0);
    gate_pass(&gate, 1);
    for (int i = 0; i < THREADS; i++) {
        void *rc;
        assert_int_equal(pthread_join(threads[i], &rc), 0);
        assert_null(rc);
    }
    assert_true(number_from(task) > 0);
    finish(pool);
    gate_close(&gate);
}

static void *submit_many(void *pool)
{
    enum { CALLS = 50 };
    exl_task_t *tasks[CALLS];
    for (int i = 0; i < CALLS; i++) {
        exl_call_t call = {.request = {.cores = 1}};
        if (exl_payload_of("text", 4, &call.call) < 0 || exl_pool_submit(pool, &call, &tasks[i], NULL) < 0)
            abort();
        exl_payload_unref(call.call);
    }
    for (int i = 0; i < CALLS; i++) {
        if (exl_task_wait(tasks[i], exl_test_soon_ns()) != 0 || tasks[i]->outcome != EXL_OUTCOME_RESULT)
            return pool;
        exl_task_unref(tasks[i]);
    }
    return NULL;
}

static void many_threads_submit(void **state)
{
    enum { THREADS = 6 };
    pthread_t threads[THREADS];
    exl_pool_t *pool = new_pool(state, 2);
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, submit_many, pool), 0);
    for (int i = 0; i < THREADS; i++) {
        void *failed;
        assert_int_equal(pthread_join(threads[i], &failed), 0);
        assert_null(failed);
    }
    finish(pool);
}

/* A worker may be at work before the engine has read who it is. */
static pid_t only_pid(exl_pool_t *pool)
{
    pid_t pids[2] = {0, 0};
    int64_t deadline_ns = exl_test_soon_ns();
    while (exl_pool_pids(pool, pids, 2) == 0 && exl_clock_ns() < deadline_ns)
        (void)sched_yield();
    assert_true(pids[0] > 0);
    assert_int_equal(pids[1], 0);
    return pids[0];
}

static void a_call_runs_from_start_to_end(void **state)
{
    gate_t gate = gate_open(), said = gate_open();
    exl_pool_t *pool = new_pool(state, 1);
    exl_task_t *first = submit(pool, "say %d in; wait %d; pid", said.in, gate.out);
    exl_task_t *second = submit(pool, "pid");
    gate_expect(&said, "in");
    assert_true(exl_task_running(first));
    assert_false(exl_task_running(second));
    assert_false(exl_task_done(first));
    assert_int_equal(exl_pool_pending(pool), 2);
    pid_t pid = only_pid(pool);
    gate_pass(&gate, 1);
    await(first);
    assert_false(exl_task_running(first));
    assert_int_equal(number_from(first), pid);
    assert_true(number_from(second) > 0);
    finish(pool);
    gate_close(&gate);
    gate_close(&said);
}

/* ---- large arguments and results ---- */

static void count_release(void *owner)
{
    (void)atomic_fetch_add((atomic_int *)owner, 1);
}

static void large_arguments_are_released_once(void **state)
{
    enum { SIZE = 2000000, CALLS = 4 };
    atomic_int released = 0;
    char *text = malloc(SIZE + 1);
    exl_task_t *tasks[CALLS];
    assert_non_null(text);
    memset(text, 'x', SIZE);
    memcpy(text + SIZE - 6, "; size", 7);
    exl_pool_t *pool = new_pool(state, 2);
    for (int i = 0; i < CALLS; i++) {
        exl_segment_t body = {text, SIZE};
        exl_call_t call = {.request = {.cores = 1}};
        assert_int_equal(exl_payload_create(&body, 1, NULL, 0, count_release, &released, &call.call), 0);
        assert_int_equal(exl_pool_submit(pool, &call, &tasks[i], NULL), 0);
        exl_payload_unref(call.call);
    }
    for (int i = 0; i < CALLS; i++)
        assert_int_equal(number_from(tasks[i]), SIZE);
    assert_int_equal(atomic_load(&released), CALLS);
    finish(pool);
    free(text);
}

static void large_results_come_back_and_travel_on(void **state)
{
    enum { SIZE = 1500000 };
    exl_payload_view_t view;
    exl_pool_t *pool = new_pool(state, 2);
    exl_task_t *producer = submit(pool, "big %d", SIZE);
    exl_task_t *consumer = stub_submit(pool, (stub_call_t){.text = "join", .producers = &producer, .nproducers = 1});
    await(consumer); /* from here on the result is ours alone */
    assert_int_equal(exl_payload_map(producer->result), 0);
    assert_int_equal(exl_payload_view(producer->result, &view), 0);
    assert_int_equal(view.body_size, SIZE);
    for (size_t i = 0; i < SIZE; i++)
        assert_int_equal(view.body[i], 'a' + i % 26);
    char start[101];
    memcpy(start, view.body, 100);
    start[100] = '\0';
    exl_task_unref(producer);
    expect_result(consumer, start);
    finish(pool);
}

/* ---- calls that wait for others ---- */

static exl_task_t *join_of(exl_pool_t *pool, exl_task_t *const *producers, uint32_t count)
{
    return stub_submit(pool, (stub_call_t){.text = "join", .producers = producers, .nproducers = count});
}

static void results_become_arguments(void **state)
{
    exl_pool_t *pool = new_pool(state, 2);
    exl_task_t *parts[3] = {submit(pool, "a"), submit(pool, "b"), submit(pool, "c")};
    exl_task_t *all[3] = {parts[0], parts[1], parts[0]};
    exl_task_t *joined = join_of(pool, all, 3);
    exl_task_t *late[2] = {joined, parts[2]};
    await(parts[2]);
    expect_result(join_of(pool, late, 2), "a+b+a+c");
    expect_result(joined, "a+b+a");
    for (int i = 0; i < 3; i++)
        exl_task_unref(parts[i]);
    finish(pool);
}

static void a_chain_runs_in_order(void **state)
{
    enum { LENGTH = 60 };
    exl_pool_t *pool = new_pool(state, 2);
    exl_task_t *last = submit(pool, "seed");
    for (int i = 0; i < LENGTH; i++) {
        exl_task_t *next = join_of(pool, &last, 1);
        exl_task_unref(last);
        last = next;
    }
    expect_result(last, "seed");
    finish(pool);
}

static void calls_of_two_executors_depend_on_each_other(void **state)
{
    exl_pool_t *here = new_pool(state, 1), *there = new_pool(state, 1);
    exl_task_t *a = submit(here, "a");
    exl_task_t *b = join_of(there, &a, 1);
    exl_task_t *c = join_of(here, &b, 1);
    expect_result(c, "a");
    expect_result(b, "a");
    expect_result(a, "a");
    finish(here);
    finish(there);
}

static void failing_arguments_fail_what_needs_them(void **state)
{
    exl_pool_t *pool = new_pool(state, 1);
    exl_task_t *raising = submit(pool, "raise boom");
    exl_task_t *child = join_of(pool, &raising, 1);
    exl_task_t *grandchild = join_of(pool, &child, 1);
    expect_exception(grandchild, "boom");
    expect_exception(child, "boom");
    /* And when it has failed before. */
    expect_exception(join_of(pool, &raising, 1), "boom");
    expect_exception(raising, "boom");

    exl_task_t *dying = submit(pool, "exit 3");
    child = join_of(pool, &dying, 1);
    exl_failure_t *failure = await_failure(child);
    assert_ptr_equal(failure, await_failure(dying));
    exl_task_unref(child);
    exl_task_unref(dying);
    finish(pool);
}

static void a_very_long_failing_chain_is_no_deep_recursion(void **state)
{
    enum { LENGTH = 100000 };
    gate_t gate = gate_open();
    exl_pool_t *pool = new_pool(state, 1);
    exl_task_t *last = submit(pool, "wait %d; raise boom", gate.out);
    for (int i = 0; i < LENGTH; i++) {
        exl_call_t call = {.request = {.cores = 1}, .producers = &last, .nproducers = 1};
        exl_task_t *next;
        call.call = exl_test_payload("join");
        assert_int_equal(exl_pool_submit(pool, &call, &next, NULL), 0);
        exl_payload_unref(call.call);
        exl_task_unref(last);
        last = next;
    }
    assert_int_equal(exl_pool_pending(pool), LENGTH + 1);
    gate_pass(&gate, 1);
    expect_exception(last, "boom");
    finish(pool);
    gate_close(&gate);
}

static void somebody_elses_future_may_be_an_argument(void **state)
{
    exl_pool_t *pool = new_pool(state, 1);
    const exl_outcome_t outcomes[] = {EXL_OUTCOME_RESULT, EXL_OUTCOME_EXCEPTION, EXL_OUTCOME_CANCELLED};
    for (int i = 0; i < 3; i++) {
        exl_task_t *external = exl_external_create();
        exl_task_t *consumer = join_of(pool, &external, 1);
        exl_payload_t *payload = i < 2 ? exl_test_payload("outside") : NULL;
        exl_external_finish(external, outcomes[i], payload);
        exl_external_finish(external, EXL_OUTCOME_CANCELLED, NULL); /* too late */
        exl_payload_unref(payload);
        if (i == 0)
            expect_result(consumer, "outside");
        else if (i == 1)
            expect_exception(consumer, "outside");
        else
            expect_cancelled(consumer);
        assert_int_equal(external->outcome, outcomes[i]);
        exl_task_unref(external);
    }
    finish(pool);
}

static void a_held_result_stays_for_others(void **state)
{
    exl_pool_t *pool = new_pool(state, 1);
    exl_task_t *task = submit(pool, "value");
    assert_true(exl_task_hold(task));
    await(task);
    exl_payload_t *first = exl_task_take_result(task);
    exl_test_assert_body(first, "value");
    exl_payload_unref(first);
    expect_result(join_of(pool, &task, 1), "value");
    exl_task_release_hold(task);
    exl_payload_t *second = exl_task_take_result(task);
    exl_test_assert_body(second, "value");
    exl_payload_unref(second);
    assert_null(exl_task_take_result(task));
    assert_false(exl_task_hold(task));
    exl_task_unref(task);
    finish(pool);
}

/* ---- cancelling and closing ---- */

static void only_what_has_not_begun_is_cancelled(void **state)
{
    gate_t gate = gate_open(), said = gate_open();
    exl_pool_t *pool = new_pool(state, 1);
    exl_task_t *running = submit(pool, "say %d in; wait %d; pid", said.in, gate.out);
    exl_task_t *queued = submit(pool, "say %d no", said.in);
    exl_task_t *waiting = join_of(pool, &running, 1);
    exl_task_t *dependent = join_of(pool, &queued, 1);
    gate_expect(&said, "in");
    assert_int_equal(exl_task_cancel(running), 0);
    assert_int_equal(exl_task_cancel(queued), 1);
    assert_int_equal(exl_task_cancel(queued), 1);
    assert_int_equal(exl_task_cancel(waiting), 1);
    assert_int_equal(exl_task_cancel(dependent), 1);
    expect_cancelled(queued);
    expect_cancelled(waiting);
    expect_cancelled(dependent);
    gate_pass(&gate, 1);
    await(running);
    assert_int_equal(exl_task_cancel(running), 0);
    exl_task_unref(running);
    exl_task_t *next = submit(pool, "say %d yes", said.in);
    gate_expect(&said, "yes"); /* and not "no" before it */
    await(next);
    exl_task_unref(next);
    finish(pool);
    gate_close(&gate);
    gate_close(&said);
}

static void shutdown_may_cancel_what_has_not_begun(void **state)
{
    enum { CALLS = 50 };
    gate_t gate = gate_open(), said = gate_open();
    exl_task_t *tasks[CALLS];
    exl_pool_t *pool = new_pool(state, 1);
    exl_task_t *running = submit(pool, "say %d in; wait %d; pid", said.in, gate.out);
    for (int i = 0; i < CALLS; i++)
        tasks[i] = i % 2 ? submit(pool, "text") : join_of(pool, &running, 1);
    gate_expect(&said, "in");
    assert_int_equal(exl_pool_shutdown(pool, true), 0);
    for (int i = 0; i < CALLS; i++)
        expect_cancelled(tasks[i]);
    assert_int_equal(exl_pool_pending(pool), 1);
    gate_pass(&gate, 1);
    assert_true(number_from(running) > 0);
    finish(pool);
    gate_close(&gate);
    gate_close(&said);
}

static void a_closed_pool_takes_no_calls(void **state)
{
    exl_pool_t *pool = new_pool(state, 1);
    exl_call_t call = {.call = exl_test_payload("text"), .request = {.cores = 1}};
    exl_task_t *task = NULL;
    exl_error_t err = {""};
    expect_result(submit(pool, "text"), "text");
    assert_int_equal(exl_pool_shutdown(pool, false), 0);
    assert_int_equal(exl_pool_submit(pool, &call, &task, &err), EXL_ECLOSED);
    assert_string_not_equal(err.text, "");
    assert_int_equal(exl_pool_resize(pool, 2), EXL_ECLOSED);
    assert_int_equal(exl_pool_shutdown(pool, true), 0);
    assert_int_equal(exl_pool_wait_closed(pool, exl_test_soon_ns()), 0);
    assert_int_equal(exl_pool_shutdown(pool, false), 0);
    assert_int_equal(exl_pool_submit(pool, &call, &task, &err), EXL_ECLOSED);
    assert_null(task);
    exl_payload_unref(call.call);
    release(pool);
    exl_pool_release(NULL);
}

static void a_released_pool_finishes_what_it_has(void **state)
{
    gate_t gate = gate_open();
    exl_pool_t *pool = new_pool(state, 1);
    exl_task_t *running = submit(pool, "wait %d", gate.out);
    exl_task_t *queued = submit(pool, "second");
    exl_task_t *waiting = join_of(pool, &queued, 1);
    release(pool);
    gate_pass(&gate, 1);
    await(running);
    exl_task_unref(running);
    expect_result(queued, "second");
    expect_result(waiting, "second");
    gate_close(&gate);
}

/* ---- lost workers ---- */

static void a_lost_worker_is_explained(void **state)
{
    exl_pool_t *pool = new_pool(state, 1);
    exl_task_t *task = submit(pool, "stderr boom; exit 3");
    const exl_failure_t *failure = await_failure(task);
    assert_int_equal(failure->blame, EXL_BLAME_FUNCTION);
    assert_string_equal(failure->reason, ""); /* the status says it all */
    assert_string_equal(failure->stderr_tail, "boom");
    assert_true(failure->status_known);
    assert_true(WIFEXITED(failure->wait_status));
    assert_int_equal(WEXITSTATUS(failure->wait_status), 3);
    assert_true(failure->pid > 0);
    assert_int_equal(failure->restarts, 0);
    exl_task_unref(task);
    expect_killed(submit(pool, "signal %d", SIGSEGV), SIGSEGV);
    expect_killed(submit(pool, "signal %d", SIGKILL), SIGKILL);
    expect_exit(submit(pool, "exit 0"), 0);
    expect_lost(submit(pool, "close; pause"), EXL_BLAME_FUNCTION, "closed its channel");
    expect_lost(submit(pool, "exec"), EXL_BLAME_FUNCTION, "closed its channel");
    expect_lost(submit(pool, "garbage; pause"), EXL_BLAME_FUNCTION, "malformed frame");
    expect_result(submit(pool, "well again"), "well again");
    finish(pool);
}

static void what_a_lost_worker_started_is_ended(void **state)
{
    gate_t said = gate_open();
    exl_pool_t *pool = new_pool(state, 1);
    exl_task_t *task = submit(pool, "daemon %d; signal %d", said.in, SIGTERM);
    pid_t daemon = gate_pid(&said);
    expect_killed(task, SIGTERM);
    assert_true(exl_test_process_ends(daemon));
    /* A call's daemon lives on with its worker, and no longer. */
    assert_true(number_from(submit(pool, "daemon %d; pid", said.in)) > 0);
    daemon = gate_pid(&said);
    finish(pool);
    assert_true(exl_test_process_ends(daemon));
    gate_close(&said);
}

static void a_lost_call_is_restarted_so_often(void **state)
{
    gate_t said = gate_open();
    stub_pool_t config = with_workers(state, 1);
    config.restart_limit = 2;
    exl_pool_t *pool = stub_pool(config);
    exl_task_t *task = submit(pool, "say %d once; exit 4", said.in);
    const exl_failure_t *failure = await_failure(task);
    assert_int_equal(failure->restarts, 2);
    expect_exit(task, 4);
    task = submit(pool, "say %d end", said.in);
    gate_expect(&said, "onceonceonceend");
    await(task);
    exl_task_unref(task);
    finish(pool);
    gate_close(&said);
}

static void a_restarted_call_may_succeed(void **state)
{
    gate_t gate = gate_open(), said = gate_open();
    stub_pool_t config = with_workers(state, 1);
    config.restart_limit = 1;
    exl_pool_t *pool = stub_pool(config);
    exl_task_t *argument = submit(pool, "argument");
    char text[64];
    (void)snprintf(text, sizeof text, "say %d in; wait %d; join", said.in, gate.out);
    exl_shared_t *function = stub_function("f");
    exl_task_t *task = stub_submit(pool, (stub_call_t){.text = text,
                                                       .functions = &function,
                                                       .nfunctions = 1,
                                                       .options = "o",
                                                       .producers = &argument,
                                                       .nproducers = 1});
    exl_shared_unref(function);
    gate_expect(&said, "in");
    (void)kill(only_pid(pool), SIGKILL);
    gate_expect(&said, "in");
    gate_pass(&gate, 1);
    expect_result(task, "argument");
    exl_task_unref(argument);
    finish(pool);
    gate_close(&gate);
    gate_close(&said);
}

/* ---- zygotes ---- */

static void a_missing_program_is_explained(void **state)
{
    stub_pool_t config = with_workers(state, 2);
    config.program = "/no/such/interpreter";
    exl_pool_t *pool = stub_pool(config);
    for (int i = 0; i < 3; i++)
        expect_lost(submit(pool, "text"), EXL_BLAME_WORKER, "cannot start /no/such/interpreter: No such file");
    finish(pool);
}

static void a_zygote_that_fails_at_once_is_explained(void **state)
{
    stub_pool_t config = with_workers(state, 2);
    config.argument = "fail";
    exl_pool_t *pool = stub_pool(config);
    for (int i = 0; i < 3; i++) {
        exl_task_t *task = submit(pool, "text");
        const exl_failure_t *failure = await_failure(task);
        assert_int_equal(failure->blame, EXL_BLAME_WORKER);
        assert_non_null(strstr(failure->reason, "could not start"));
        assert_non_null(strstr(failure->stderr_tail, "no zygote today"));
        assert_true(failure->status_known);
        assert_int_equal(WEXITSTATUS(failure->wait_status), 1);
        exl_task_unref(task);
    }
    finish(pool);
}

static void executors_of_one_key_share_a_zygote(void **state)
{
    stub_pool_t config = with_workers(state, 1);
    exl_pool_t *first = stub_pool(config), *second = stub_pool(config);
    config.key = "another";
    exl_pool_t *third = stub_pool(config);
    long zygote = number_from(submit(first, "parent"));
    assert_int_equal(number_from(submit(second, "parent")), zygote);
    assert_int_not_equal(number_from(submit(third, "parent")), zygote);
    finish(first);
    assert_int_equal(number_from(submit(second, "parent")), zygote);
    assert_true(exl_test_process_lives((pid_t)zygote));
    finish(second);
    finish(third);
}

static void a_killed_zygote_takes_its_workers_and_comes_back(void **state)
{
    gate_t said = gate_open();
    exl_pool_t *pool = new_pool(state, 2);
    pid_t zygote = (pid_t)number_from(submit(pool, "parent"));
    exl_task_t *running = submit(pool, "daemon %d; pause", said.in);
    pid_t daemon = gate_pid(&said);
    assert_int_equal(kill(zygote, SIGKILL), 0);
    expect_lost(running, EXL_BLAME_NODE, "zygote");
    assert_true(exl_test_process_ends(daemon));
    expect_result(submit(pool, "again"), "again");
    assert_int_not_equal(number_from(submit(pool, "parent")), zygote);
    finish(pool);
    exl_test_reap_children();
    gate_close(&said);
}

static void calls_that_had_not_begun_survive_the_zygote(void **state)
{
    enum { CALLS = 20 };
    gate_t said = gate_open();
    exl_task_t *tasks[CALLS];
    exl_pool_t *pool = new_pool(state, 1);
    pid_t zygote = (pid_t)number_from(submit(pool, "parent"));
    exl_task_t *running = submit(pool, "say %d in; pause", said.in);
    for (int i = 0; i < CALLS; i++)
        tasks[i] = submit(pool, "text");
    gate_expect(&said, "in");
    assert_int_equal(kill(zygote, SIGKILL), 0);
    expect_lost(running, EXL_BLAME_NODE, "zygote");
    for (int i = 0; i < CALLS; i++)
        expect_result(tasks[i], "text");
    finish(pool);
    exl_test_reap_children();
    gate_close(&said);
}

static void a_call_is_restarted_on_a_new_zygote(void **state)
{
    gate_t gate = gate_open(), said = gate_open();
    stub_pool_t config = with_workers(state, 1);
    config.restart_limit = 1;
    exl_pool_t *pool = stub_pool(config);
    pid_t zygote = (pid_t)number_from(submit(pool, "parent"));
    exl_task_t *task = submit(pool, "say %d in; wait %d; parent", said.in, gate.out);
    gate_expect(&said, "in");
    assert_int_equal(kill(zygote, SIGKILL), 0);
    gate_expect(&said, "in");
    gate_pass(&gate, 1);
    assert_int_not_equal(number_from(task), zygote);
    finish(pool);
    exl_test_reap_children();
    gate_close(&gate);
    gate_close(&said);
}

static void a_zygote_killed_while_idle_is_replaced(void **state)
{
    exl_pool_t *pool = new_pool(state, 1);
    pid_t zygote = (pid_t)number_from(submit(pool, "parent"));
    for (int i = 0; i < 3; i++) {
        assert_int_equal(kill(zygote, SIGKILL), 0);
        assert_true(exl_test_process_ends(zygote));
        /* The engine may not have heard of it yet: then the call goes with it. */
        exl_task_t *task = submit(pool, "parent");
        await(task);
        if (task->outcome != EXL_OUTCOME_RESULT) {
            expect_lost(task, task->failure->blame, "zygote");
            task = submit(pool, "parent");
        }
        zygote = (pid_t)number_from(task);
    }
    finish(pool);
    exl_test_reap_children();
}

#define BOTH(function)                                                                                                 \
    {#function " (persistent)", function, pool_test_begin, pool_test_end, &persistent},                                \
    {                                                                                                                  \
#function " (per call)", function, pool_test_begin, pool_test_end, &per_call                                   \
    }

/* Its end closes handles whose descriptors may by then be somebody else's. */
static void a_zygote_that_is_long_in_ending_disturbs_no_other(void **state)
{
    gate_t said = gate_open(), gate = gate_open();
    char argument[32];
    (void)snprintf(argument, sizeof argument, "linger %d %d", said.in, gate.out);
    exl_pool_t *keeper = stub_pool((stub_pool_t){.key = "keeper"}); /* of the engine */
    exl_pool_t *pool = stub_pool((stub_pool_t){.key = "ending", .argument = argument});
    pid_t ending = gate_pid(&said);
    finish(pool);
    pool = new_pool(state, 1);
    assert_true(number_from(submit(pool, "pid")) > 0);
    gate_pass(&gate, 1);
    while (kill(ending, 0) == 0)
        (void)sched_yield();
    expect_exit(submit(pool, "exit 4"), 4);
    expect_result(submit(pool, "text"), "text");
    finish(pool);
    finish(keeper);
    gate_close(&said);
    gate_close(&gate);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        BOTH(runs_calls),
        BOTH(an_unused_pool_closes),
        BOTH(function_and_options_arrive),
        BOTH(waiting_has_a_deadline),
        BOTH(many_threads_wait_for_one_call),
        BOTH(many_threads_submit),
        BOTH(a_call_runs_from_start_to_end),
        BOTH(large_arguments_are_released_once),
        BOTH(large_results_come_back_and_travel_on),
        BOTH(results_become_arguments),
        BOTH(a_chain_runs_in_order),
        BOTH(calls_of_two_executors_depend_on_each_other),
        BOTH(failing_arguments_fail_what_needs_them),
        BOTH(a_very_long_failing_chain_is_no_deep_recursion),
        BOTH(somebody_elses_future_may_be_an_argument),
        BOTH(a_held_result_stays_for_others),
        BOTH(only_what_has_not_begun_is_cancelled),
        BOTH(shutdown_may_cancel_what_has_not_begun),
        BOTH(a_closed_pool_takes_no_calls),
        BOTH(a_released_pool_finishes_what_it_has),
        BOTH(a_lost_worker_is_explained),
        BOTH(what_a_lost_worker_started_is_ended),
        BOTH(a_lost_call_is_restarted_so_often),
        BOTH(a_restarted_call_may_succeed),
        BOTH(a_missing_program_is_explained),
        BOTH(a_zygote_that_fails_at_once_is_explained),
        BOTH(executors_of_one_key_share_a_zygote),
        BOTH(a_killed_zygote_takes_its_workers_and_comes_back),
        BOTH(calls_that_had_not_begun_survive_the_zygote),
        BOTH(a_call_is_restarted_on_a_new_zygote),
        BOTH(a_zygote_killed_while_idle_is_replaced),
        BOTH(a_zygote_that_is_long_in_ending_disturbs_no_other),
    };
    return EXL_RUN(tests);
}
