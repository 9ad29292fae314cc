/* test_fork.c: what a child of the user's process may do with its parent's executors, and what the driver's death ends. */
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "engine/engine.h"
#include "pool_support.h"

/* In a child: leaves with the line that failed. */
#define MUST(condition)                                                                                                \
    do {                                                                                                               \
        if (!(condition))                                                                                              \
            _exit(__LINE__ % 250 + 1);                                                                                 \
    } while (0)

static void expect_child(pid_t pid)
{
    int status;
    assert_true(pid > 0);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    if (status)
        fail_msg("the child failed: status %d, line %% 250 = %d", status, WEXITSTATUS(status) - 1);
}

static void try_everything_in_child(exl_pool_t *pool, exl_task_t *queued, exl_task_t *done)
{
    exl_payload_t *payload = exl_test_payload("text");
    exl_call_t call = {.call = payload, .request = {.cores = 1}};
    exl_task_t *task = NULL;
    exl_error_t err = {""};
    MUST(exl_pool_submit(pool, &call, &task, &err) == EXL_EFORKED);
    MUST(strlen(err.text) > 0 && !task);
    MUST(exl_pool_shutdown(pool, true) == EXL_EFORKED);
    MUST(exl_pool_wait_closed(pool, -1) == EXL_EFORKED);
    MUST(exl_pool_resize(pool, 3) == EXL_EFORKED);
    MUST(exl_task_cancel(queued) == EXL_EFORKED);
    MUST(exl_task_wait(queued, -1) == EXL_EFORKED);
    MUST(exl_task_wait(done, -1) == 0);
    MUST(done->outcome == EXL_OUTCOME_RESULT);
    MUST(exl_delivery_flush(-1) == 0);
    exl_payload_unref(payload);
    exl_task_unref(queued);
    exl_task_unref(done);
    exl_pool_release(pool);
}

static void run_pool_in_child(void)
{
    (void)alarm(60);
    exl_pool_t *pool = stub_crew(1);
    exl_task_t *task = submit(pool, "text");
    MUST(exl_task_wait(task, exl_test_soon_ns()) == 0 && task->outcome == EXL_OUTCOME_RESULT);
    exl_task_unref(task);
    MUST(exl_pool_shutdown(pool, false) == 0);
    MUST(exl_pool_wait_closed(pool, exl_test_soon_ns()) == 0);
    exl_pool_release(pool);
    MUST(exl_delivery_next() == NULL);
    MUST(exl_engine_wait_ended(exl_test_soon_ns()) == 0);
}

static void a_forked_child_is_told(void **state)
{
    for (int persistent = 0; persistent < 2; persistent++) {
        gate_t gate = gate_open(), said = gate_open();
        exl_pool_t *pool = stub_pool((stub_pool_t){.persistent = persistent, .max_workers = 1});
        exl_task_t *done = submit(pool, "done");
        await(done);
        exl_task_t *running = submit(pool, "say %d in; wait %d; pid", said.in, gate.out);
        exl_task_t *queued = submit(pool, "queued");
        gate_expect(&said, "in");
        pid_t pid = fork();
        if (pid == 0) {
            try_everything_in_child(pool, queued, done);
            run_pool_in_child();
            _exit(0);
        }
        expect_child(pid);
        /* The parent goes on as if nothing had been. */
        gate_pass(&gate, 1);
        assert_true(number_from(running) > 0);
        expect_result(queued, "queued");
        expect_result(done, "done");
        finish(pool);
        gate_close(&gate);
        gate_close(&said);
    }
}

static void a_child_does_not_keep_the_parents_workers_alive(void **state)
{
    gate_t gate = gate_open();
    exl_pool_t *pool = stub_crew(2);
    pid_t zygote = (pid_t)number_from(submit(pool, "parent"));
    pid_t pid = fork();
    if (pid == 0) {
        char byte;
        (void)close(gate.in);
        _exit((int)read(gate.out, &byte, 1));
    }
    finish(pool);
    assert_true(exl_test_process_ends(zygote));
    gate_close(&gate);
    expect_child(pid);
}

/* An undelivered end belongs to the parent: the child's delivery thread must not see it. */
static void a_child_delivers_nothing_of_its_parents(void **state)
{
    int observer;
    gate_t gate = gate_open();
    exl_pool_t *pool = stub_crew(1);
    exl_task_t *task = submit(pool, "wait %d; pid", gate.out);
    assert_int_equal(exl_task_observe(task, &observer), 0);
    gate_pass(&gate, 1);
    await(task);
    pid_t pid = fork();
    if (pid == 0) {
        MUST(exl_delivery_flush(exl_clock_ns()) == 0);
        MUST(exl_delivery_next() == NULL);
        run_pool_in_child();
        _exit(0);
    }
    expect_child(pid);
    exl_task_t *mine = exl_delivery_next();
    assert_ptr_equal(mine, task);
    exl_task_unref(mine);
    exl_task_unref(task);
    finish(pool);
    gate_close(&gate);
}

static void forking_while_calls_run(void **state)
{
    pthread_t thread;
    void *failed;
    exl_pool_t *pool = stub_crew(2);
    assert_int_equal(pthread_create(&thread, NULL, exl_test_submit_and_wait, pool), 0);
    for (int i = 0; i < 20; i++) {
        pid_t pid = fork();
        if (pid == 0) {
            MUST(exl_pool_shutdown(pool, false) == EXL_EFORKED);
            _exit(0);
        }
        expect_child(pid);
    }
    assert_int_equal(pthread_join(thread, &failed), 0);
    assert_null(failed);
    finish(pool);
}

/* ---- the driver's death ---- */

static void everything_ends_with_the_driver(void **state)
{
    for (int persistent = 0; persistent < 2; persistent++) {
        gate_t said = gate_open();
        pid_t driver = fork();
        if (driver == 0) {
            (void)alarm(60);
            exl_pool_t *pool = stub_pool((stub_pool_t){.persistent = persistent, .max_workers = 2});
            (void)submit(pool, "daemon %d; pause", said.in);
            for (;;)
                (void)pause();
        }
        pid_t daemon = gate_pid(&said);
        assert_int_equal(kill(driver, SIGKILL), 0);
        assert_int_equal(waitpid(driver, NULL, 0), driver);
        assert_true(exl_test_process_ends(daemon));
        exl_test_reap_children(); /* the zygote, now ours */
        gate_close(&said);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        POOL_TEST(a_forked_child_is_told),
        POOL_TEST(a_child_does_not_keep_the_parents_workers_alive),
        POOL_TEST(a_child_delivers_nothing_of_its_parents),
        POOL_TEST(forking_while_calls_run),
        POOL_TEST(everything_ends_with_the_driver),
    };
    return EXL_RUN(tests);
}
