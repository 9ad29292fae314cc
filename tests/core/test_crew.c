/* test_crew.c: persistent workers: what they keep, who gets which call, and their number. */
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "pool_support.h"

/* A clock that the tests may set forward. It is libuv's: the linker sends the core's own calls to the second function
 * (--wrap), since the kernel knows nothing of it and has to wait for the core's deadlines. */
static _Atomic int64_t skipped_s;

__attribute__((visibility("default"))) int clock_gettime(clockid_t clock, struct timespec *now);
int __wrap_clock_gettime(clockid_t clock, struct timespec *now);

int clock_gettime(clockid_t clock, struct timespec *now)
{
    int rc = __wrap_clock_gettime(clock, now);
    if (clock == CLOCK_MONOTONIC || clock == CLOCK_MONOTONIC_COARSE)
        now->tv_sec += atomic_load(&skipped_s);
    return rc;
}

int __wrap_clock_gettime(clockid_t clock, struct timespec *now)
{
    return (int)syscall(SYS_clock_gettime, clock, now);
}

/* ---- what a worker keeps ---- */

static void a_worker_runs_call_after_call(void **state)
{
    exl_pool_t *pool = stub_crew(1);
    long pid = number_from(submit(pool, "pid"));
    for (int i = 2; i < 20; i++) {
        assert_int_equal(number_from(submit(pool, "count")), i);
    }
    assert_int_equal(number_from(submit(pool, "pid")), pid);
    finish(pool);
}

static void workers_are_set_up_and_numbered(void **state)
{
    enum { WORKERS = 3 };
    gate_t gate = gate_open(), said = gate_open(), entered = gate_open();
    exl_task_t *tasks[WORKERS];
    char setup[32];
    (void)snprintf(setup, sizeof setup, "say %d +", said.in);
    exl_pool_t *pool = stub_pool((stub_pool_t){.persistent = true, .max_workers = WORKERS, .setup = setup});
    for (int i = 0; i < WORKERS; i++)
        tasks[i] = submit(pool, "say %d in; wait %d; index", entered.in, gate.out);
    gate_expect(&said, "+++");
    gate_expect(&entered, "ininin");
    gate_pass(&gate, WORKERS);
    int seen = 0;
    for (int i = 0; i < WORKERS; i++)
        seen |= 1 << number_from(tasks[i]);
    assert_int_equal(seen, 7);
    expect_result(submit(pool, "setup"), setup);
    finish(pool);
    gate_close(&entered);
    gate_close(&gate);
    gate_close(&said);
}

static exl_task_t *submit_function(exl_pool_t *pool, const char *text, exl_shared_t *function)
{
    return stub_submit(pool, (stub_call_t){.text = text, .functions = &function, .nfunctions = 1});
}

static void a_function_is_sent_once(void **state)
{
    exl_pool_t *pool = stub_crew(1);
    exl_shared_t *first = stub_function("first"), *second = stub_function("second");
    for (int i = 0; i < 3; i++) {
        expect_result(submit_function(pool, "function", first), "first");
        expect_result(submit_function(pool, "function", second), "second");
    }
    assert_int_equal(number_from(submit(pool, "functions")), 2);
    /* A new worker knows nothing. */
    expect_exit(submit(pool, "exit 1"), 1);
    assert_int_equal(number_from(submit(pool, "functions")), 0);
    expect_result(submit_function(pool, "function", first), "first");
    exl_shared_unref(first);
    exl_shared_unref(second);
    finish(pool);
}

static void a_worker_keeps_only_so_many_functions(void **state)
{
    enum { FUNCTIONS = 300, MOST = 128 };
    exl_pool_t *pool = stub_crew(1);
    exl_shared_t *first = stub_function("first");
    for (int i = 0; i < FUNCTIONS; i++) {
        exl_shared_t *function = stub_function("another");
        expect_result(submit_function(pool, "function", function), "another");
        exl_shared_unref(function);
        assert_in_range(number_from(submit_function(pool, "functions", first)), 1, MOST);
    }
    expect_result(submit_function(pool, "function", first), "first");
    exl_shared_unref(first);
    finish(pool);
}

static void a_failing_setup_fails_the_calls(void **state)
{
    exl_pool_t *pool = stub_pool((stub_pool_t){.persistent = true, .max_workers = 2, .setup = "raise bad"});
    exl_task_t *tasks[10];
    for (int i = 0; i < 10; i++)
        tasks[i] = submit(pool, "text");
    for (int i = 0; i < 10; i++)
        expect_exception(tasks[i], "bad");
    expect_exception(submit(pool, "text"), "bad");
    finish(pool);
}

static void a_setup_that_ends_the_worker_fails_the_calls(void **state)
{
    exl_pool_t *pool = stub_pool((stub_pool_t){.persistent = true, .max_workers = 2, .setup = "stderr oh; exit 5"});
    for (int i = 0; i < 3; i++) {
        exl_task_t *task = submit(pool, "text");
        const exl_failure_t *failure = await_failure(task);
        assert_int_equal(failure->blame, EXL_BLAME_WORKER);
        assert_int_equal(failure->wait_status, 5 << 8);
        assert_string_equal(failure->stderr_tail, "oh");
        exl_task_unref(task);
    }
    finish(pool);
}

static void a_tail_shows_the_present_call_only(void **state)
{
    exl_pool_t *pool = stub_crew(1);
    for (int i = 0; i < 20; i++)
        exl_task_unref(submit(pool, "stderr old%d", i));
    exl_task_t *task = submit(pool, "stderr new; exit 1");
    assert_string_equal(await_failure(task)->stderr_tail, "new");
    exl_task_unref(task);
    finish(pool);
}

static void an_answer_that_nobody_asked_for_is_ignored(void **state)
{
    exl_pool_t *pool = stub_crew(1);
    for (int i = 0; i < 5; i++) {
        expect_result(submit(pool, "twice"), "twice");
        expect_result(submit(pool, "text %d", 7), "text 7");
    }
    finish(pool);
}

/* ---- who gets which call ---- */

static void a_long_call_holds_up_nobody_else(void **state)
{
    enum { CALLS = 200 };
    gate_t gate = gate_open(), said = gate_open();
    exl_task_t *tasks[CALLS];
    exl_pool_t *pool = stub_crew(2);
    exl_task_t *running = submit(pool, "say %d in; wait %d; pid", said.in, gate.out);
    for (int i = 0; i < CALLS; i++)
        tasks[i] = submit(pool, "text");
    gate_expect(&said, "in");
    for (int i = 0; i < CALLS; i++)
        expect_result(tasks[i], "text");
    gate_pass(&gate, 1);
    assert_true(number_from(running) > 0);
    finish(pool);
    gate_close(&gate);
    gate_close(&said);
}

/* A call deep in a worker's share turns out long: those behind it go to the other worker. */
static void what_was_sent_ahead_is_taken_back(void **state)
{
    enum { CALLS = 100 };
    gate_t gate = gate_open();
    exl_task_t *tasks[CALLS];
    exl_pool_t *pool = stub_crew(2);
    assert_true(number_from(submit(pool, "pid")) > 0);
    for (int i = 0; i < CALLS; i++)
        tasks[i] = i == 20 ? submit(pool, "wait %d; pid", gate.out) : submit(pool, "text");
    for (int i = 0; i < CALLS; i++)
        if (i != 20)
            expect_result(tasks[i], "text");
    assert_false(exl_task_done(tasks[20]));
    gate_pass(&gate, 1);
    assert_true(number_from(tasks[20]) > 0);
    finish(pool);
    gate_close(&gate);
}

/* A worker that is about to begin its only call has nothing to share, and must not hide another one that has. */
static void what_waits_behind_a_long_call_goes_to_a_free_worker(void **state)
{
    enum { CALLS = 3 };
    gate_t first = gate_open(), second = gate_open(), said = gate_open();
    exl_task_t *tasks[CALLS];
    exl_pool_t *pool = stub_crew(2);
    exl_task_t *quick = submit(pool, "say %d in; wait %d; pid", said.in, first.out);
    gate_expect(&said, "in");
    exl_task_t *lasting = submit(pool, "say %d in; wait %d; pid", said.in, second.out);
    gate_expect(&said, "in");
    gate_pass(&first, 1);
    pid_t idle = (pid_t)number_from(quick);
    assert_int_equal(kill(idle, SIGSTOP), 0);
    for (int i = 0; i < CALLS; i++)
        tasks[i] = submit(pool, "text");
    assert_int_equal(exl_pool_resize(pool, 3), 0);
    /* The stopped worker keeps one, and the lasting call holds up none. */
    int done = 0;
    for (int64_t deadline_ns = exl_test_soon_ns(); done < CALLS - 1 && exl_clock_ns() < deadline_ns;) {
        done = 0;
        for (int i = 0; i < CALLS; i++)
            done += exl_task_done(tasks[i]);
        (void)sched_yield();
    }
    assert_int_equal(kill(idle, SIGCONT), 0);
    assert_int_equal(done, CALLS - 1);
    for (int i = 0; i < CALLS; i++)
        expect_result(tasks[i], "text");
    gate_pass(&second, 1);
    assert_true(number_from(lasting) > 0);
    finish(pool);
    gate_close(&first);
    gate_close(&second);
    gate_close(&said);
}

static void the_urgent_come_first(void **state)
{
    gate_t gate = gate_open(), said = gate_open();
    exl_task_t *tasks[4];
    exl_pool_t *pool = stub_crew(1);
    exl_task_t *running = submit(pool, "say %d in; wait %d; pid", said.in, gate.out);
    gate_expect(&said, "in");
    const int priorities[] = {0, 0, 5, 9};
    for (int i = 0; i < 4; i++) {
        char text[32];
        (void)snprintf(text, sizeof text, "say %d %d", said.in, i);
        tasks[i] = stub_submit(pool, (stub_call_t){.text = text, .priority = priorities[i]});
    }
    gate_pass(&gate, 1);
    gate_expect(&said, "3201");
    await(running);
    exl_task_unref(running);
    for (int i = 0; i < 4; i++) {
        await(tasks[i]);
        exl_task_unref(tasks[i]);
    }
    finish(pool);
    gate_close(&gate);
    gate_close(&said);
}

static void only_the_guilty_call_is_lost(void **state)
{
    enum { CALLS = 50 };
    exl_task_t *tasks[CALLS];
    exl_pool_t *pool = stub_crew(1);
    for (int i = 0; i < CALLS; i++)
        tasks[i] = i == 10 || i == 30 ? submit(pool, "exit 9") : submit(pool, "text");
    for (int i = 0; i < CALLS; i++)
        if (i == 10 || i == 30)
            expect_exit(tasks[i], 9);
        else
            expect_result(tasks[i], "text");
    finish(pool);
}

/* One worker is busy, with a call sent ahead of its time; the other one goes. */
static void a_lost_worker_is_replaced_for_what_was_sent_ahead(void **state)
{
    gate_t first = gate_open(), second = gate_open(), said = gate_open();
    exl_pool_t *pool = stub_crew(2);
    exl_task_t *running = submit(pool, "say %d in; wait %d; pid", said.in, first.out);
    exl_task_t *dying = submit(pool, "say %d in; wait %d; exit 1", said.in, second.out);
    gate_expect(&said, "inin");
    exl_task_t *ahead = submit(pool, "text");
    gate_pass(&second, 1);
    expect_exit(dying, 1);
    expect_result(ahead, "text");
    gate_pass(&first, 1);
    assert_true(number_from(running) > 0);
    finish(pool);
    gate_close(&first);
    gate_close(&second);
    gate_close(&said);
}

static void a_cancelled_call_never_runs(void **state)
{
    gate_t gate = gate_open(), said = gate_open();
    exl_pool_t *pool = stub_crew(1);
    exl_task_t *running = submit(pool, "say %d in; wait %d; count", said.in, gate.out);
    exl_task_t *ahead = submit(pool, "say %d no", said.in);
    exl_task_t *behind = submit(pool, "count");
    gate_expect(&said, "in");
    assert_int_equal(exl_task_cancel(ahead), 1);
    gate_pass(&gate, 1);
    assert_int_equal(number_from(running), 1);
    assert_int_equal(number_from(behind), 2);
    expect_cancelled(ahead);
    finish(pool);
    gate_close(&gate);
    gate_close(&said);
}

/* Cancelling and finishing at the same time: each call has one outcome, and those that ran are counted. */
static void cancelling_races_with_running(void **state)
{
    enum { CALLS = 400 };
    exl_task_t *tasks[CALLS];
    exl_pool_t *pool = stub_crew(1);
    int cancelled = 0;
    for (int i = 0; i < CALLS; i++)
        tasks[i] = submit(pool, "text");
    for (int i = CALLS - 1; i >= 0; i -= 2)
        cancelled += exl_task_cancel(tasks[i]);
    for (int i = 0; i < CALLS; i++) {
        await(tasks[i]);
        if (tasks[i]->outcome == EXL_OUTCOME_CANCELLED) {
            cancelled--;
            expect_cancelled(tasks[i]);
        } else {
            expect_result(tasks[i], "text");
        }
    }
    assert_int_equal(cancelled, 0);
    finish(pool);
}

/* ---- their number ---- */

static void more_workers_on_request(void **state)
{
    gate_t gate = gate_open(), said = gate_open();
    exl_pool_t *pool = stub_crew(1);
    exl_task_t *first = submit(pool, "say %d in; wait %d; pid", said.in, gate.out);
    exl_task_t *second = submit(pool, "say %d in; wait %d; pid", said.in, gate.out);
    gate_expect(&said, "in");
    assert_int_equal(exl_pool_resize(pool, 2), 0);
    gate_expect(&said, "in");
    gate_pass(&gate, 2);
    assert_int_not_equal(number_from(first), number_from(second));
    finish(pool);
    gate_close(&gate);
    gate_close(&said);
}

static void fewer_workers_on_request(void **state)
{
    enum { WORKERS = 3 };
    gate_t gate = gate_open(), said = gate_open();
    exl_task_t *tasks[WORKERS];
    char setup[32];
    (void)snprintf(setup, sizeof setup, "end: say %d bye", said.in);
    exl_pool_t *pool = stub_pool((stub_pool_t){.persistent = true, .max_workers = WORKERS, .setup = setup});
    for (int i = 0; i < WORKERS; i++)
        tasks[i] = submit(pool, "say %d in; wait %d; pid", said.in, gate.out);
    gate_expect(&said, "ininin");
    assert_int_equal(exl_pool_resize(pool, 1), 0);
    exl_task_t *queued = submit(pool, "index");
    gate_pass(&gate, WORKERS); /* what has begun ends well */
    for (int i = 0; i < WORKERS; i++)
        assert_true(number_from(tasks[i]) > 0);
    gate_expect(&said, "byebye");
    assert_int_equal(number_from(queued), 0);
    finish(pool);
    gate_expect(&said, "bye");
    gate_close(&gate);
    gate_close(&said);
}

static void no_workers_at_all_for_a_while(void **state)
{
    gate_t said = gate_open();
    char setup[32];
    (void)snprintf(setup, sizeof setup, "end: say %d bye", said.in);
    exl_pool_t *pool = stub_pool((stub_pool_t){.persistent = true, .max_workers = 2, .setup = setup});
    assert_true(number_from(submit(pool, "pid")) > 0);
    assert_int_equal(exl_pool_resize(pool, 0), 0);
    gate_expect(&said, "bye");
    exl_task_t *task = submit(pool, "text");
    /* Once through the engine and the zygote: a new worker, had there been one, would have begun before. */
    exl_pool_t *other = stub_pool((stub_pool_t){.max_workers = 1});
    for (int i = 0; i < 3; i++)
        expect_result(submit(other, "text"), "text");
    assert_false(exl_task_done(task));
    assert_int_equal(exl_pool_resize(pool, 1), 0);
    expect_result(task, "text");
    finish(pool);
    finish(other);
    gate_close(&said);
}

/* ---- their end ---- */

static void a_worker_that_does_not_end_is_killed(void **state)
{
    exl_pool_t *pool = stub_pool((stub_pool_t){.persistent = true, .max_workers = 1, .setup = "end: pause"});
    expect_result(submit(pool, "text"), "text");
    finish(pool);
}

/* The time limit on ending counts from the shutdown, however long the engine has slept before it. */
static void ending_after_a_long_idle_time_is_not_cut_short(void **state)
{
    gate_t gate = gate_open(), said = gate_open();
    char setup[64];
    (void)snprintf(setup, sizeof setup, "end: say %d ending; wait %d; say %d ended", said.in, gate.out, said.in);
    exl_pool_t *pool = stub_pool((stub_pool_t){.persistent = true, .max_workers = 1, .setup = setup});
    exl_pool_t *other = stub_pool((stub_pool_t){.max_workers = 1});
    expect_result(submit(pool, "text"), "text");
    expect_result(submit(other, "text"), "text");
    atomic_fetch_add(&skipped_s, 3600);
    assert_int_equal(exl_pool_shutdown(pool, false), 0);
    gate_expect(&said, "ending");
    /* Once through the engine and the zygote: a kill, had there been one, would have come before. */
    for (int i = 0; i < 3; i++)
        expect_result(submit(other, "text"), "text");
    gate_pass(&gate, 1);
    gate_expect(&said, "ended");
    finish(pool);
    finish(other);
    gate_close(&gate);
    gate_close(&said);
}

static void workers_keep_their_gpus(void **state)
{
    gate_t gate = gate_open(), said = gate_open();
    exl_pool_t *pool =
        stub_pool((stub_pool_t){.persistent = true, .max_workers = 2, .each = {.cores = 1, .gpus = 1}, .gpus = "ab"});
    char text[64];
    (void)snprintf(text, sizeof text, "say %d .; wait %d; devices", said.in, gate.out);
    exl_task_t *tasks[] = {submit(pool, "%s", text), submit(pool, "%s", text)};
    gate_expect(&said, "..");
    gate_pass(&gate, 2);
    expect_each_once(tasks, "GPUS\na", "GPUS\nb");
    for (int i = 0; i < 10; i++) {
        expect_exit(submit(pool, "exit 4"), 4);
        expect_result(submit(pool, "that worker is replaced"), "that worker is replaced");
    }
    tasks[0] = submit(pool, "say %d .; wait %d", said.in, gate.out);
    tasks[1] = submit(pool, "say %d .; wait %d", said.in, gate.out);
    gate_expect(&said, ".."); /* two workers have found a GPU again */
    gate_pass(&gate, 2);
    await(tasks[0]);
    await(tasks[1]);
    exl_task_unref(tasks[0]);
    exl_task_unref(tasks[1]);
    finish(pool);
    gate_close(&gate);
    gate_close(&said);
}

static void a_worker_that_can_never_have_its_gpus_fails_the_calls(void **state)
{
    exl_pool_t *pool =
        stub_pool((stub_pool_t){.persistent = true, .max_workers = 1, .each = {.cores = 1, .gpus = 2}, .gpus = "a"});
    expect_lost(submit(pool, "text"), EXL_BLAME_WORKER, "more GPUs");
    finish(pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        POOL_TEST(a_worker_runs_call_after_call),
        POOL_TEST(workers_are_set_up_and_numbered),
        POOL_TEST(a_function_is_sent_once),
        POOL_TEST(a_worker_keeps_only_so_many_functions),
        POOL_TEST(a_failing_setup_fails_the_calls),
        POOL_TEST(a_setup_that_ends_the_worker_fails_the_calls),
        POOL_TEST(a_tail_shows_the_present_call_only),
        POOL_TEST(an_answer_that_nobody_asked_for_is_ignored),
        POOL_TEST(a_long_call_holds_up_nobody_else),
        POOL_TEST(what_was_sent_ahead_is_taken_back),
        POOL_TEST(what_waits_behind_a_long_call_goes_to_a_free_worker),
        POOL_TEST(the_urgent_come_first),
        POOL_TEST(only_the_guilty_call_is_lost),
        POOL_TEST(a_lost_worker_is_replaced_for_what_was_sent_ahead),
        POOL_TEST(a_cancelled_call_never_runs),
        POOL_TEST(cancelling_races_with_running),
        POOL_TEST(more_workers_on_request),
        POOL_TEST(fewer_workers_on_request),
        POOL_TEST(no_workers_at_all_for_a_while),
        POOL_TEST(a_worker_that_does_not_end_is_killed),
        POOL_TEST(ending_after_a_long_idle_time_is_not_cut_short),
        POOL_TEST(workers_keep_their_gpus),
        POOL_TEST(a_worker_that_can_never_have_its_gpus_fails_the_calls),
    };
    return EXL_RUN(tests);
}
