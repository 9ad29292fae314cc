/* test_solo.c: one process per call: cores, limits, and templates. */
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

#include "pool_support.h"

static exl_pool_t *pool_of(uint32_t max_cores, uint32_t max_workers)
{
    return stub_pool((stub_pool_t){.max_cores = max_cores, .max_workers = max_workers});
}

/* A call that says `name`, then waits at the gate. */
static exl_task_t *submit_waiting(exl_pool_t *pool, const gate_t *said, const gate_t *gate, char name, uint32_t cores)
{
    char text[64];
    (void)snprintf(text, sizeof text, "say %d %c; wait %d; pid", said->in, name, gate->out);
    return stub_submit(pool, (stub_call_t){.text = text, .cores = cores});
}

static void end_all(exl_task_t **tasks, int count)
{
    for (int i = 0; i < count; i++)
        assert_true(number_from(tasks[i]) > 0);
}

static void every_call_has_a_process_of_its_own(void **state)
{
    exl_pool_t *pool = pool_of(0, 0);
    long last = 0;
    for (int i = 0; i < 5; i++) {
        long pid = number_from(submit(pool, "pid"));
        assert_int_not_equal(pid, last);
        last = pid;
        assert_int_equal(number_from(submit(pool, "count")), 1);
    }
    finish(pool);
}

static void without_limits_all_run_at_once(void **state)
{
    enum { CALLS = 12 };
    gate_t gate = gate_open(), said = gate_open();
    exl_task_t *tasks[CALLS];
    exl_pool_t *pool = pool_of(0, 0);
    for (int i = 0; i < CALLS; i++)
        tasks[i] = submit_waiting(pool, &said, &gate, '.', 1);
    gate_expect(&said, "............");
    gate_pass(&gate, CALLS);
    end_all(tasks, CALLS);
    finish(pool);
    gate_close(&gate);
    gate_close(&said);
}

static void no_more_calls_than_workers(void **state)
{
    enum { CALLS = 6 };
    gate_t gate = gate_open(), said = gate_open();
    exl_task_t *tasks[CALLS];
    exl_pool_t *pool = pool_of(0, 2);
    for (int i = 0; i < CALLS; i++)
        tasks[i] = submit_waiting(pool, &said, &gate, '.', 1);
    for (int left = CALLS; left > 0; left--) {
        gate_expect(&said, left == CALLS ? ".." : left >= 2 ? "." : "");
        int running = 0;
        for (int i = 0; i < CALLS; i++)
            running += exl_task_running(tasks[i]);
        assert_int_equal(running, left >= 2 ? 2 : 1);
        gate_pass(&gate, 1);
        int done = 0;
        while (done < CALLS - left + 1) {
            done = 0;
            for (int i = 0; i < CALLS; i++)
                done += exl_task_done(tasks[i]);
        }
    }
    end_all(tasks, CALLS);
    finish(pool);
    gate_close(&gate);
    gate_close(&said);
}

static void cores_are_shared_out(void **state)
{
    gate_t first = gate_open(), second = gate_open(), said = gate_open();
    exl_pool_t *pool = pool_of(2, 0);
    exl_task_t *narrow = submit_waiting(pool, &said, &first, 'n', 1);
    gate_expect(&said, "n");
    exl_task_t *wide = submit_waiting(pool, &said, &second, 'w', 2);
    exl_task_t *filler = submit_waiting(pool, &said, &first, 'f', 1);
    gate_expect(&said, "f"); /* in the gap that the wide one leaves */
    assert_false(exl_task_running(wide));
    gate_pass(&first, 2);
    assert_true(number_from(narrow) > 0);
    assert_true(number_from(filler) > 0);
    gate_expect(&said, "w");
    exl_task_t *last = submit_waiting(pool, &said, &first, 'l', 1);
    assert_false(exl_task_running(last));
    gate_pass(&second, 1);
    assert_true(number_from(wide) > 0);
    gate_expect(&said, "l");
    gate_pass(&first, 1);
    assert_true(number_from(last) > 0);
    finish(pool);
    gate_close(&first);
    gate_close(&second);
    gate_close(&said);
}

static void a_call_wider_than_everything_runs_alone(void **state)
{
    gate_t gate = gate_open(), said = gate_open();
    exl_pool_t *pool = pool_of(2, 0);
    exl_task_t *tasks[3];
    tasks[0] = submit_waiting(pool, &said, &gate, 'a', 1);
    gate_expect(&said, "a");
    tasks[1] = submit_waiting(pool, &said, &gate, 'w', 64);
    assert_false(exl_task_running(tasks[1]));
    gate_pass(&gate, 1);
    gate_expect(&said, "w");
    tasks[2] = submit_waiting(pool, &said, &gate, 'b', 1);
    assert_false(exl_task_running(tasks[2]));
    gate_pass(&gate, 1);
    gate_expect(&said, "b");
    gate_pass(&gate, 1);
    end_all(tasks, 3);
    finish(pool);
    gate_close(&gate);
    gate_close(&said);
}

static void a_lost_call_gives_its_cores_back(void **state)
{
    exl_pool_t *pool = pool_of(2, 0);
    for (int i = 0; i < 10; i++)
        expect_exit(stub_submit(pool, (stub_call_t){.text = "exit 6", .cores = 2}), 6);
    expect_result(stub_submit(pool, (stub_call_t){.text = "text", .cores = 2}), "text");
    finish(pool);
}

static void the_urgent_come_first(void **state)
{
    gate_t gate = gate_open(), said = gate_open();
    exl_task_t *tasks[4];
    exl_pool_t *pool = pool_of(0, 1);
    exl_task_t *running = submit_waiting(pool, &said, &gate, '-', 1);
    gate_expect(&said, "-");
    const int priorities[] = {-1, 0, 5, 0};
    for (int i = 0; i < 4; i++) {
        char text[64];
        (void)snprintf(text, sizeof text, "say %d %d; pid", said.in, i);
        tasks[i] = stub_submit(pool, (stub_call_t){.text = text, .priority = priorities[i]});
    }
    gate_pass(&gate, 1);
    gate_expect(&said, "2130");
    assert_true(number_from(running) > 0);
    end_all(tasks, 4);
    finish(pool);
    gate_close(&gate);
    gate_close(&said);
}

static void every_call_has_a_setup_of_its_own(void **state)
{
    exl_pool_t *pool = pool_of(0, 0);
    expect_result(stub_submit(pool, (stub_call_t){.text = "setup", .setup = "one"}), "one");
    expect_result(stub_submit(pool, (stub_call_t){.text = "setup", .setup = "two"}), "two");
    expect_result(submit(pool, "setup"), "");
    expect_exception(stub_submit(pool, (stub_call_t){.text = "text", .setup = "raise bad"}), "bad");
    expect_exit(stub_submit(pool, (stub_call_t){.text = "text", .setup = "exit 5"}), 5);
    expect_result(submit(pool, "text"), "text");
    finish(pool);
}

/* ---- templates ---- */

static exl_task_t *submit_learning(exl_pool_t *pool, const char *text, uint64_t key, const char *setup)
{
    return stub_submit(pool, (stub_call_t){.text = text, .setup = setup, .import_key = key});
}

/* Until a template answers for the calls of this key, as one does soon after the first of them. */
static pid_t template_of(exl_pool_t *pool, uint64_t key, const char *setup)
{
    pid_t zygote = (pid_t)number_from(submit(pool, "parent"));
    int64_t deadline_ns = exl_test_soon_ns();
    while (exl_clock_ns() < deadline_ns) {
        pid_t parent = (pid_t)number_from(submit_learning(pool, "parent", key, setup));
        if (parent != zygote)
            return parent;
    }
    fail_msg("no template after %d s", exl_test_time_factor());
    return 0;
}

static void later_calls_of_a_function_come_from_a_template(void **state)
{
    exl_pool_t *pool = pool_of(0, 0);
    pid_t template = template_of(pool, 7, "setup");
    expect_result(submit_learning(pool, "text", 7, "setup"), "text");
    assert_int_equal(number_from(submit_learning(pool, "parent", 7, "setup")), template);
    assert_int_not_equal(number_from(submit_learning(pool, "parent", 7, "another")), template);
    assert_int_not_equal(number_from(submit_learning(pool, "parent", 8, "setup")), template);
    finish(pool);
    assert_true(exl_test_process_ends(template));
}

static void there_are_only_so_many_templates(void **state)
{
    enum { KEYS = 9 };
    pid_t templates[KEYS];
    exl_pool_t *pool = pool_of(0, 0);
    for (int i = 0; i < KEYS; i++)
        templates[i] = template_of(pool, (uint64_t)i + 1, "setup");
    int living = 0;
    for (int i = 0; i < KEYS; i++)
        living += exl_test_process_lives(templates[i]);
    assert_in_range(living, 1, KEYS - 1);
    finish(pool);
    for (int i = 0; i < KEYS; i++)
        assert_true(exl_test_process_ends(templates[i]));
}

static void a_killed_template_takes_its_calls_and_no_others(void **state)
{
    gate_t said = gate_open(), gate = gate_open();
    exl_pool_t *pool = pool_of(0, 0);
    pid_t template = template_of(pool, 7, "setup");
    char text[32];
    (void)snprintf(text, sizeof text, "say %d in; pause", said.in);
    exl_task_t *running = submit_learning(pool, text, 7, "setup");
    gate_expect(&said, "in");
    exl_task_t *other = submit_waiting(pool, &said, &gate, '.', 1);
    gate_expect(&said, ".");
    assert_int_equal(kill(template, SIGKILL), 0);
    expect_lost(running, EXL_BLAME_NODE, "zygote");
    gate_pass(&gate, 1);
    assert_true(number_from(other) > 0);
    expect_result(submit_learning(pool, "text", 7, "setup"), "text");
    assert_int_not_equal(template_of(pool, 7, "setup"), template);
    finish(pool);
    gate_close(&gate);
    gate_close(&said);
}

static exl_task_t *submit_with_gpus(exl_pool_t *pool, const char *text, uint32_t gpus, uint32_t share)
{
    return stub_submit(pool, (stub_call_t){.text = text, .gpus = gpus, .gpu_share = share});
}

static void a_call_is_told_its_gpus(void **state)
{
    exl_pool_t *pool = stub_pool((stub_pool_t){.gpus = "abc"});
    expect_result(submit(pool, "devices"), "none");
    expect_result(submit_with_gpus(pool, "devices", 1, 0), "GPUS\na");
    expect_result(submit_with_gpus(pool, "devices", 3, 0), "GPUS\na\nb\nc");
    expect_result(submit_with_gpus(pool, "devices", 4, 500), "GPUS\na\na\nb\nb");
    finish(pool);
}

static void no_two_calls_have_one_gpu(void **state)
{
    enum { CALLS = 5, PAIRS = 3 };
    gate_t said = gate_open(),
           gates[PAIRS]; /* one for each two: a call of the next pair must not go through their gate */
    for (int i = 0; i < PAIRS; i++)
        gates[i] = gate_open();
    exl_pool_t *pool = stub_pool((stub_pool_t){.gpus = "ab"});
    exl_task_t *tasks[CALLS];
    char text[64];
    for (int i = 0; i < CALLS; i++) {
        (void)snprintf(text, sizeof text, "say %d .; wait %d; devices", said.in, gates[i / 2].out);
        tasks[i] = submit_with_gpus(pool, text, 1, 0);
    }
    for (int i = 0; i < CALLS; i += 2) {
        gate_expect(&said, i + 1 < CALLS ? ".." : ".");
        expect_result(submit(pool, "who needs none runs"), "who needs none runs");
        int running = 0;
        for (int k = i; k < CALLS; k++)
            running += exl_task_running(tasks[k]);
        assert_int_equal(running, i + 1 < CALLS ? 2 : 1);
        gate_pass(&gates[i / 2], i + 1 < CALLS ? 2 : 1);
        if (i + 1 < CALLS)
            expect_each_once(tasks + i, "GPUS\na", "GPUS\nb");
        else
            await(tasks[i]);
    }
    exl_task_unref(tasks[CALLS - 1]);
    finish(pool);
    for (int i = 0; i < PAIRS; i++)
        gate_close(&gates[i]);
    gate_close(&said);
}

/* What it holds of a GPU goes with its process, not with its answer. */
static void a_gpu_is_free_when_the_process_is_gone(void **state)
{
    gate_t gate = gate_open();
    exl_pool_t *pool = stub_pool((stub_pool_t){.gpus = "a"});
    char text[32];
    (void)snprintf(text, sizeof text, "linger %d; pid", gate.out);
    assert_true(number_from(submit_with_gpus(pool, text, 1, 0)) > 0);
    exl_task_t *second = submit_with_gpus(pool, "devices", 1, 0);
    expect_result(submit(pool, "who needs none runs"), "who needs none runs");
    assert_false(exl_task_running(second) || exl_task_done(second));
    gate_pass(&gate, 1);
    expect_result(second, "GPUS\na");
    finish(pool);
    gate_close(&gate);
}

static void a_lost_call_gives_its_gpus_back(void **state)
{
    exl_pool_t *pool = stub_pool((stub_pool_t){.gpus = "ab"});
    for (int i = 0; i < 10; i++)
        expect_exit(submit_with_gpus(pool, "exit 6", 1 + (uint32_t)i % 2, 0), 6);
    expect_result(submit_with_gpus(pool, "devices", 2, 0), "GPUS\na\nb");
    finish(pool);
}

static void gpus_may_become_known_later(void **state)
{
    const char *const names[] = {"one", "two"}, *const others[] = {"three"};
    exl_pool_t *pool = pool_of(0, 0);
    exl_task_t *task = submit_with_gpus(pool, "devices", 1, 0);
    assert_false(exl_task_running(task));
    assert_int_equal(exl_pool_set_gpus(pool, "VARIABLE", names, 2), 0);
    assert_int_equal(exl_pool_set_gpus(pool, "OTHER", others, 1), 0); /* changes nothing */
    expect_result(task, "VARIABLE\none");
    finish(pool);
}

static void calls_with_gpus_come_from_no_template(void **state)
{
    exl_pool_t *pool = stub_pool((stub_pool_t){.gpus = "a"});
    pid_t template = template_of(pool, 7, "setup");
    exl_task_t *task = stub_submit(pool, (stub_call_t){.text = "parent", .import_key = 7, .setup = "setup", .gpus = 1});
    assert_int_not_equal(number_from(task), template);
    task = stub_submit(pool, (stub_call_t){.text = "parent", .import_key = 7, .setup = "setup", .pin = true});
    assert_int_not_equal(number_from(task), template);
    finish(pool);
}

/* Another executor of the process runs on the same processors. */
static void pinned_calls_have_processors_of_their_own(void **state)
{
    gate_t gate = gate_open(), said = gate_open();
    exl_pool_t *pools[] = {pool_of(0, 0), pool_of(0, 0)};
    exl_pins_t pins;
    assert_int_equal(exl_pins_init(&pins), 0);
    char text[64], number[16];
    (void)snprintf(text, sizeof text, "say %d .; wait %d; cpus", said.in, gate.out);
    exl_task_t *first = stub_submit(pools[0], (stub_call_t){.text = text, .pin = true});
    gate_expect(&said, ".");
    (void)snprintf(number, sizeof number, "%u", pins.count > 1 ? pins.cpus[1] : 0);
    expect_result(stub_submit(pools[1], (stub_call_t){.text = "cpus", .pin = true}), pins.count > 1 ? number : "none");
    expect_result(stub_submit(pools[1], (stub_call_t){.text = "cpus", .pin = true, .cores = pins.count}), "none");
    expect_result(stub_submit(pools[1], (stub_call_t){.text = "cpus"}), "none");
    gate_pass(&gate, 1);
    (void)snprintf(number, sizeof number, "%u", pins.cpus[0]);
    expect_result(first, number);
    expect_exit(stub_submit(pools[0], (stub_call_t){.text = "exit 3", .pin = true}), 3);
    expect_result(stub_submit(pools[1], (stub_call_t){.text = "cpus", .pin = true}), number);
    exl_pins_fini(&pins);
    finish(pools[0]);
    finish(pools[1]);
    gate_close(&gate);
    gate_close(&said);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        POOL_TEST(every_call_has_a_process_of_its_own),
        POOL_TEST(without_limits_all_run_at_once),
        POOL_TEST(no_more_calls_than_workers),
        POOL_TEST(cores_are_shared_out),
        POOL_TEST(a_call_wider_than_everything_runs_alone),
        POOL_TEST(a_lost_call_gives_its_cores_back),
        POOL_TEST(the_urgent_come_first),
        POOL_TEST(every_call_has_a_setup_of_its_own),
        POOL_TEST(later_calls_of_a_function_come_from_a_template),
        POOL_TEST(there_are_only_so_many_templates),
        POOL_TEST(a_killed_template_takes_its_calls_and_no_others),
        POOL_TEST(a_call_is_told_its_gpus),
        POOL_TEST(no_two_calls_have_one_gpu),
        POOL_TEST(a_gpu_is_free_when_the_process_is_gone),
        POOL_TEST(a_lost_call_gives_its_gpus_back),
        POOL_TEST(gpus_may_become_known_later),
        POOL_TEST(calls_with_gpus_come_from_no_template),
        POOL_TEST(pinned_calls_have_processors_of_their_own),
    };
    return EXL_RUN(tests);
}
