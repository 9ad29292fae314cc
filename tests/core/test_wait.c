/* test_wait.c: how threads hear of a call's end: by the delivery thread, or by running the loop while they wait. */
#include "engine/wait.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <sched.h>

#include "pool_support.h"

/* ---- delivery ---- */

static struct {
    pthread_t thread;
    int *seen[64];
    _Atomic int count;
} delivered;

static void *deliver(void *argument)
{
    for (exl_task_t *task; (task = exl_delivery_next());) {
        assert(exl_task_done(task));
        delivered.seen[atomic_fetch_add(&delivered.count, 1)] = task->observer;
        exl_task_unref(task);
    }
    return argument;
}

static void start_delivery(void)
{
    atomic_store(&delivered.count, 0);
    assert_int_equal(pthread_create(&delivered.thread, NULL, deliver, NULL), 0);
}

static void observed_calls_are_delivered_once_in_order(void **state)
{
    enum { CALLS = 30 };
    int observers[CALLS];
    exl_task_t *tasks[CALLS];
    gate_t gate = gate_open();
    exl_pool_t *pool = stub_crew(1);
    start_delivery();
    exl_task_t *first = submit(pool, "wait %d; pid", gate.out);
    for (int i = 0; i < CALLS; i++) {
        tasks[i] = submit(pool, "text");
        if (i % 3)
            assert_int_equal(exl_task_observe(tasks[i], &observers[i]), 0);
    }
    gate_pass(&gate, 1);
    assert_true(number_from(first) > 0);
    for (int i = 0; i < CALLS; i++)
        expect_result(tasks[i], "text");
    assert_int_equal(exl_delivery_flush(exl_test_soon_ns()), 0);
    assert_int_equal(atomic_load(&delivered.count), CALLS * 2 / 3);
    for (int i = 0, at = 0; i < CALLS; i++)
        if (i % 3)
            assert_ptr_equal(delivered.seen[at++], &observers[i]);
    finish(pool);
    assert_int_equal(pthread_join(delivered.thread, NULL), 0); /* it ends with the engine */
    gate_close(&gate);
}

static void a_call_that_is_done_is_not_delivered(void **state)
{
    int observer;
    exl_pool_t *pool = stub_crew(1);
    exl_task_t *task = submit(pool, "text");
    await(task);
    assert_int_equal(exl_task_observe(task, &observer), 1);
    assert_int_equal(exl_delivery_flush(exl_clock_ns()), 0);
    expect_result(task, "text");
    finish(pool);
}

static void every_kind_of_end_is_delivered(void **state)
{
    int observers[4];
    gate_t gate = gate_open();
    exl_task_t *tasks[4];
    exl_pool_t *pool = stub_crew(1);
    start_delivery();
    exl_task_t *first = submit(pool, "wait %d; pid", gate.out);
    tasks[0] = submit(pool, "raise boom");
    tasks[1] = submit(pool, "exit 1");
    tasks[2] = submit(pool, "text");
    tasks[3] = stub_submit(pool, (stub_call_t){.text = "join", .producers = &tasks[0], .nproducers = 1});
    for (int i = 0; i < 4; i++)
        assert_int_equal(exl_task_observe(tasks[i], &observers[i]), 0);
    assert_int_equal(exl_task_cancel(tasks[2]), 1);
    gate_pass(&gate, 1);
    assert_true(number_from(first) > 0);
    expect_exception(tasks[3], "boom");
    expect_exception(tasks[0], "boom");
    expect_exit(tasks[1], 1);
    expect_cancelled(tasks[2]);
    assert_int_equal(exl_delivery_flush(exl_test_soon_ns()), 0);
    assert_int_equal(atomic_load(&delivered.count), 4);
    finish(pool);
    assert_int_equal(pthread_join(delivered.thread, NULL), 0);
    gate_close(&gate);
}

static void flushing_has_a_deadline(void **state)
{
    int observer;
    exl_pool_t *pool = stub_crew(1);
    exl_task_t *task = submit(pool, "text");
    bool late = exl_task_observe(task, &observer);
    await(task);
    /* Nobody delivers yet. */
    assert_int_equal(exl_delivery_flush(exl_clock_ns()), late ? 0 : -ETIMEDOUT);
    start_delivery();
    assert_int_equal(exl_delivery_flush(exl_test_soon_ns()), 0);
    exl_task_unref(task);
    finish(pool);
    assert_int_equal(pthread_join(delivered.thread, NULL), 0);
}

/* ---- who runs the loop ---- */

static void *wait_for(void *task)
{
    return (void *)(intptr_t)exl_task_wait(task, exl_test_soon_ns());
}

/* A timer that was started while a waiting thread ran the loop: here, the one that ends a worker without a channel. */
static void a_timer_outlives_the_wait_in_which_it_began(void **state)
{
    exl_pool_t *pool = stub_crew(1);
    for (int i = 0; i < 10; i++)
        expect_lost(submit(pool, "close; pause"), EXL_BLAME_FUNCTION, "closed its channel");
    finish(pool);
}

/* The call ends by being cancelled, and the engine with its executor, while a thread waits for the call. */
static void the_engine_may_end_while_a_thread_waits(void **state)
{
    for (int i = 0; i < 50; i++) {
        pthread_t thread;
        void *rc;
        exl_pool_t *pool = stub_pool((stub_pool_t){.max_workers = 1, .program = "/no/such/program"});
        exl_task_t *external = exl_external_create();
        exl_task_t *task = stub_submit(pool, (stub_call_t){.text = "join", .producers = &external, .nproducers = 1});
        assert_int_equal(pthread_create(&thread, NULL, wait_for, task), 0);
        if (i % 2)
            (void)sched_yield();
        assert_int_equal(exl_task_cancel(task), 1);
        finish(pool);
        assert_int_equal(pthread_join(thread, &rc), 0);
        assert_null(rc);
        exl_external_finish(external, EXL_OUTCOME_CANCELLED, NULL);
        exl_task_unref(external);
        expect_cancelled(task);
    }
}

static void threads_take_turns(void **state)
{
    enum { THREADS = 4 };
    pthread_t threads[THREADS];
    exl_pool_t *pool = stub_crew(2);
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, exl_test_submit_and_wait, pool), 0);
    for (int i = 0; i < THREADS; i++) {
        void *failed;
        assert_int_equal(pthread_join(threads[i], &failed), 0);
        assert_null(failed);
    }
    finish(pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        POOL_TEST(observed_calls_are_delivered_once_in_order),
        POOL_TEST(a_call_that_is_done_is_not_delivered),
        POOL_TEST(every_kind_of_end_is_delivered),
        POOL_TEST(flushing_has_a_deadline),
        POOL_TEST(a_timer_outlives_the_wait_in_which_it_began),
        POOL_TEST(the_engine_may_end_while_a_thread_waits),
        POOL_TEST(threads_take_turns),
    };
    return EXL_RUN(tests);
}
