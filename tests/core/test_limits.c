/* test_limits.c: calls that are ended while they run, and calls that run alone. */
#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "pool_support.h"

/* ROOMY: enough for a process to start and to say so. */
enum { SHORT_MS = 50, ROOMY_MS = 1000, LONG_MS = 600000, GRACE_MS = 20 };

static exl_pool_t *pool_in(void **state, uint32_t max_workers)
{
    return stub_pool((stub_pool_t){.persistent = *state != NULL, .max_workers = max_workers, .restart_limit = 2});
}

static exl_task_t *submit_limited(exl_pool_t *pool, const char *text, uint32_t run_time_ms)
{
    return stub_submit(pool, (stub_call_t){.text = text, .run_time_ms = run_time_ms, .grace_ms = GRACE_MS});
}

static void expect_terminated(exl_task_t *task)
{
    await(task);
    assert_int_equal(task->outcome, EXL_OUTCOME_TERMINATED);
    assert_non_null(task->failure);
    assert_true(task->failure->pid > 0);
    exl_task_unref(task);
}

static void expect_limit(exl_task_t *task, uint32_t ms)
{
    const exl_failure_t *failure = await_failure(task);
    assert_int_equal(failure->blame, EXL_BLAME_LIMIT);
    assert_int_equal(failure->limit_ms, ms);
    assert_int_equal(failure->restarts, 0);
    exl_task_unref(task);
}

/* ---- time limits ---- */

static void a_call_that_runs_too_long_is_ended(void **state)
{
    exl_pool_t *pool = pool_in(state, 1);
    exl_task_t *limited = submit_limited(pool, "stderr oh; pause", ROOMY_MS);
    exl_task_t *next = submit(pool, "text");
    const exl_failure_t *failure = await_failure(limited);
    assert_string_equal(failure->stderr_tail, "oh");
    assert_int_equal(failure->wait_status, SIGTERM);
    expect_limit(limited, ROOMY_MS);
    expect_result(next, "text");
    finish(pool);
}

static void one_that_resists_is_killed_with_its_daemon(void **state)
{
    gate_t gate = gate_open();
    char text[64];
    (void)snprintf(text, sizeof text, "deaf; daemon %d; pause", gate.in);
    exl_pool_t *pool = pool_in(state, 1);
    exl_task_t *limited = submit_limited(pool, text, ROOMY_MS);
    pid_t daemon = gate_pid(&gate);
    assert_int_equal(await_failure(limited)->wait_status, SIGKILL);
    assert_false(exl_test_process_lives(daemon));
    expect_limit(limited, ROOMY_MS);
    finish(pool);
    gate_close(&gate);
}

static void calls_in_time_are_left_alone(void **state)
{
    enum { CALLS = 100 };
    exl_task_t *tasks[CALLS];
    exl_pool_t *pool = pool_in(state, 2);
    for (int i = 0; i < CALLS; i++)
        tasks[i] = i % 2 ? submit_limited(pool, "text", LONG_MS) : submit(pool, "text");
    for (int i = 0; i < CALLS; i++)
        expect_result(tasks[i], "text");
    finish(pool);
}

/* The first worker waits at the gate for longer than the second call may run. */
static void the_time_in_the_queue_does_not_count(void **state)
{
    gate_t gate = gate_open();
    exl_pool_t *pool = pool_in(state, 1), *other = pool_in(state, 1);
    exl_task_t *held = submit(pool, "wait %d; pid", gate.out);
    exl_task_t *limited = submit_limited(pool, "text", ROOMY_MS);
    expect_limit(submit_limited(other, "pause", ROOMY_MS + SHORT_MS), ROOMY_MS + SHORT_MS);
    assert_false(exl_task_done(limited));
    gate_pass(&gate, 1);
    assert_true(number_from(held) > 0);
    expect_result(limited, "text");
    finish(pool);
    finish(other);
    gate_close(&gate);
}

/* With SIGTERM it answers, which is too late. */
static void an_answer_after_the_limit_counts_for_nothing(void **state)
{
    exl_pool_t *pool = pool_in(state, 1);
    for (int i = 0; i < 5; i++) {
        expect_limit(submit_limited(pool, "reply", SHORT_MS), SHORT_MS);
        expect_result(submit(pool, "text"), "text");
    }
    finish(pool);
}

static void dependents_end_with_it(void **state)
{
    exl_pool_t *pool = pool_in(state, 1);
    exl_task_t *limited = submit_limited(pool, "pause", SHORT_MS);
    exl_task_t *dependent =
        stub_submit(pool, (stub_call_t){.text = "join", .producers = (exl_task_t *[]){limited}, .nproducers = 1});
    expect_limit(dependent, SHORT_MS);
    expect_limit(limited, SHORT_MS);
    finish(pool);
}

/* ---- terminating ---- */

static void a_call_that_runs_is_terminated(void **state)
{
    gate_t said = gate_open();
    exl_task_t *behind[20];
    exl_pool_t *pool = pool_in(state, 1);
    exl_task_t *running = submit(pool, "say %d in; pause", said.in);
    gate_expect(&said, "in");
    for (int i = 0; i < 20; i++)
        behind[i] = submit(pool, "text");
    assert_int_equal(exl_task_terminate(running), 1);
    assert_int_equal(exl_task_terminate(running), 1);
    for (int i = 0; i < 20; i++)
        expect_result(behind[i], "text");
    assert_int_equal(exl_task_terminate(running), 1);
    expect_terminated(running);
    finish(pool);
    gate_close(&said);
}

static void what_has_not_begun_is_cancelled(void **state)
{
    gate_t gate = gate_open(), said = gate_open();
    exl_pool_t *pool = pool_in(state, 1);
    exl_task_t *running = submit(pool, "say %d in; wait %d; pid", said.in, gate.out);
    exl_task_t *queued = submit(pool, "say %d no", said.in);
    exl_task_t *waiting =
        stub_submit(pool, (stub_call_t){.text = "join", .producers = (exl_task_t *[]){running}, .nproducers = 1});
    gate_expect(&said, "in");
    assert_int_equal(exl_task_terminate(queued), 1);
    assert_int_equal(exl_task_terminate(waiting), 1);
    expect_cancelled(queued);
    expect_cancelled(waiting);
    gate_pass(&gate, 1);
    await(running);
    assert_int_equal(exl_task_terminate(running), 0);
    assert_true(number_from(running) > 0);
    finish(pool);
    gate_close(&gate);
    gate_close(&said);
}

/* At any moment: each call has one outcome, and nothing is left. */
static void terminating_races_with_everything(void **state)
{
    enum { CALLS = 100 };
    exl_task_t *tasks[CALLS];
    exl_pool_t *pool = pool_in(state, 2);
    for (int i = 0; i < CALLS; i++)
        tasks[i] = i % 5 ? submit(pool, "text") : submit_limited(pool, i % 2 ? "text" : "pause", SHORT_MS);
    for (int i = 0; i < CALLS; i += 3)
        assert_in_range(exl_task_terminate(tasks[i]), 0, 1);
    for (int i = 0; i < CALLS; i++) {
        await(tasks[i]);
        if (tasks[i]->outcome == EXL_OUTCOME_CANCELLED)
            expect_cancelled(tasks[i]);
        else if (tasks[i]->outcome == EXL_OUTCOME_TERMINATED)
            expect_terminated(tasks[i]);
        else if (tasks[i]->outcome == EXL_OUTCOME_LOST)
            expect_limit(tasks[i], SHORT_MS);
        else
            expect_result(tasks[i], "text");
    }
    finish(pool);
}

static void the_limit_comes_first(void **state)
{
    gate_t gate = gate_open();
    char text[64];
    (void)snprintf(text, sizeof text, "heir %d; pause", gate.in);
    exl_pool_t *pool = pool_in(state, 1);
    exl_task_t *limited = stub_submit(pool, (stub_call_t){.text = text, .run_time_ms = ROOMY_MS, .grace_ms = LONG_MS});
    pid_t heir = gate_pid(&gate);
    gate_expect(&gate, "TERM"); /* it has until its grace time is over */
    assert_false(exl_task_done(limited));
    assert_int_equal(exl_task_terminate(limited), 0);
    assert_int_equal(kill(heir, SIGKILL), 0);
    expect_limit(limited, ROOMY_MS);
    finish(pool);
    gate_close(&gate);
}

/* ---- alone ---- */

static void an_exclusive_call_runs_alone(void **state)
{
    gate_t gate = gate_open(), said = gate_open();
    exl_pool_t *pool = pool_in(state, 3);
    exl_task_t *tasks[3];
    char text[64];
    for (int i = 0; i < 3; i++) {
        (void)snprintf(text, sizeof text, "say %d (; wait %d; say %d ); pid", said.in, gate.out, said.in);
        tasks[i] = stub_submit(pool, (stub_call_t){.text = text, .cores = EXL_ALL_CORES});
    }
    gate_pass(&gate, 3);
    gate_expect(&said, "()()()");
    for (int i = 0; i < 3; i++)
        assert_true(number_from(tasks[i]) > 0);
    finish(pool);
    gate_close(&gate);
    gate_close(&said);
}

static void an_exclusive_call_waits_for_the_others(void **state)
{
    gate_t gate = gate_open(), said = gate_open();
    exl_pool_t *pool = pool_in(state, 2);
    char text[32];
    exl_task_t *held = submit(pool, "say %d (; wait %d; say %d ); pid", said.in, gate.out, said.in);
    gate_expect(&said, "(");
    (void)snprintf(text, sizeof text, "say %d !", said.in);
    exl_task_t *alone = stub_submit(pool, (stub_call_t){.text = text, .cores = EXL_ALL_CORES});
    gate_pass(&gate, 1);
    gate_expect(&said, ")!");
    await(alone);
    exl_task_unref(alone);
    assert_true(number_from(held) > 0);
    finish(pool);
    gate_close(&gate);
    gate_close(&said);
}

static int solo_begin(void **state)
{
    *state = NULL;
    return pool_test_begin(state);
}

static int crew_begin(void **state)
{
    static int persistent;
    int rc = pool_test_begin(state);
    *state = &persistent;
    return rc;
}

#define BOTH(function)                                                                                                 \
    {"solo: " #function, function, solo_begin, pool_test_end, NULL},                                                   \
    {                                                                                                                  \
        "crew: " #function, function, crew_begin, pool_test_end, NULL                                                  \
    }

int main(void)
{
    const struct CMUnitTest tests[] = {
        BOTH(a_call_that_runs_too_long_is_ended),
        BOTH(one_that_resists_is_killed_with_its_daemon),
        BOTH(calls_in_time_are_left_alone),
        BOTH(the_time_in_the_queue_does_not_count),
        BOTH(an_answer_after_the_limit_counts_for_nothing),
        BOTH(dependents_end_with_it),
        BOTH(a_call_that_runs_is_terminated),
        BOTH(what_has_not_begun_is_cancelled),
        BOTH(terminating_races_with_everything),
        BOTH(the_limit_comes_first),
        BOTH(an_exclusive_call_runs_alone),
        BOTH(an_exclusive_call_waits_for_the_others),
    };
    return EXL_RUN(tests);
}
