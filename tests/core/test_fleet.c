/* test_fleet.c: calls that run behind agents: in threads of this process where nobody dies, in processes where somebody does. */
#include "engine/fleet.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/agent.h"
#include "pool_support.h"
#include "wire/tls_openssl.h"

extern char **environ;

static const uint8_t key[EXL_TLS_KEY_SIZE] = "fedcba9876543210fedcba9876543210";
static const uint8_t wrong_key[EXL_TLS_KEY_SIZE] = "Fedcba9876543210fedcba9876543210";
static const char *const here[] = {"127.0.0.1", NULL};

enum { MOST_AGENTS = 4, GRACE_MS = 30000 };

typedef struct side {
    exl_agent_config_t config;
    bool persistent;
    pthread_t thread;
    pid_t pid;
    int code;
} side_t;

typedef struct fleet {
    exl_pool_t *pool;
    uint32_t nagents;
    side_t agents[MOST_AGENTS];
} fleet_t;

/* What an agent's process does. */
static int run_agent(side_t *side)
{
    exl_agent_t *agent = NULL;
    exl_error_t err = {""};
    side->config.pool =
        side->persistent ? stub_crew(side->config.calls)
                         : stub_pool((stub_pool_t){.max_cores = side->config.cores, .max_workers = side->config.calls});
    if (exl_agent_start(&side->config, &agent, &err) < 0)
        fail_msg("no agent: %s", err.text);
    while ((side->code = exl_agent_wait(agent, &err)) == EXL_EINTERRUPTED) {
    }
    (void)exl_pool_shutdown(side->config.pool, true);
    return side->code == 0 ? (finish(side->config.pool), exl_agent_destroy(agent), 0) : 1;
}

/* Before they start. */
static void make_persistent(fleet_t *fleet, uint32_t workers)
{
    for (uint32_t i = 0; i < fleet->nagents; i++) {
        fleet->agents[i].persistent = true;
        fleet->agents[i].config.cores = 0;
        fleet->agents[i].config.calls = workers;
    }
}

static void *agent_thread(void *argument)
{
    (void)run_agent(argument);
    return NULL;
}

static fleet_t fleet_of(uint32_t nagents, uint32_t cores, uint32_t depth)
{
    fleet_t fleet = {.nagents = nagents};
    const exl_fleet_config_t config = {
        .address = "127.0.0.1", .name = "test", .key = key, .agents = nagents, .depth = depth, .grace_ms = GRACE_MS};
    fleet.pool = stub_pool((stub_pool_t){.fleet = &config, .persistent = cores == 0});
    uint16_t port = exl_fleet_port(fleet.pool);
    assert_int_not_equal(port, 0);
    for (uint32_t i = 0; i < nagents; i++)
        fleet.agents[i] = (side_t){.config = {.addresses = here,
                                              .port = port,
                                              .name = "test",
                                              .key = key,
                                              .index = i,
                                              .grace_ms = GRACE_MS,
                                              .cores = cores}};
    return fleet;
}

static void await_agents(const fleet_t *fleet)
{
    int64_t deadline = exl_test_soon_ns();
    while (exl_fleet_agents(fleet->pool) < fleet->nagents)
        assert_true(sched_yield() == 0 && exl_clock_ns() < deadline);
}

static void start_threads(fleet_t *fleet)
{
    for (uint32_t i = 0; i < fleet->nagents; i++)
        assert_int_equal(pthread_create(&fleet->agents[i].thread, NULL, agent_thread, &fleet->agents[i]), 0);
    await_agents(fleet); /* one that came after the end of the executor would try for long */
}

static void end_threads(fleet_t *fleet)
{
    finish(fleet->pool);
    for (uint32_t i = 0; i < fleet->nagents; i++) {
        assert_int_equal(pthread_join(fleet->agents[i].thread, NULL), 0);
        assert_int_equal(fleet->agents[i].code, 0);
    }
}

/* ---- calls ---- */

static void a_call_runs_behind_an_agent(void **state)
{
    fleet_t fleet = fleet_of(1, 2, 2);
    start_threads(&fleet);
    expect_result(submit(fleet.pool, "hello"), "hello");
    expect_exception(submit(fleet.pool, "raise no"), "no");
    end_threads(&fleet);
}

static void calls_that_came_before_the_agents_wait_for_them(void **state)
{
    fleet_t fleet = fleet_of(2, 2, 2);
    exl_task_t *task = submit(fleet.pool, "early");
    start_threads(&fleet);
    expect_result(task, "early");
    end_threads(&fleet);
}

static void many_calls_end_each_with_its_own_result(void **state)
{
    enum { CALLS = 200 };
    for (int persistent = 0; persistent < 2; persistent++) {
        fleet_t fleet = fleet_of(3, 2, 4);
        exl_task_t *tasks[CALLS];
        if (persistent)
            make_persistent(&fleet, 2);
        start_threads(&fleet);
        for (int i = 0; i < CALLS; i++)
            tasks[i] = submit(fleet.pool, "call %d", i);
        for (int i = 0; i < CALLS; i++) {
            char text[32];
            (void)snprintf(text, sizeof text, "call %d", i);
            expect_result(tasks[i], text);
        }
        end_threads(&fleet);
    }
}

static void arguments_and_functions_travel(void **state)
{
    fleet_t fleet = fleet_of(1, 2, 2);
    exl_shared_t *function = stub_function("a function");
    start_threads(&fleet);
    exl_task_t *one = submit(fleet.pool, "one"), *two = submit(fleet.pool, "two");
    exl_task_t *producers[] = {one, two};
    exl_task_t *join = stub_submit(fleet.pool, (stub_call_t){.text = "join", .producers = producers, .nproducers = 2});
    expect_result(join, "one+two");
    for (int i = 0; i < 2; i++)
        expect_result(
            stub_submit(fleet.pool, (stub_call_t){.text = "function", .functions = &function, .nfunctions = 1}),
            "a function");
    expect_result(stub_submit(fleet.pool, (stub_call_t){.text = "options", .options = "an option"}), "an option");
    expect_result(submit(fleet.pool, "options"), "none");
    expect_result(stub_submit(fleet.pool, (stub_call_t){.text = "setup", .setup = "first"}), "first");
    expect_result(stub_submit(fleet.pool, (stub_call_t){.text = "setup", .setup = "second"}), "second");
    exl_task_unref(one);
    exl_task_unref(two);
    exl_shared_unref(function);
    end_threads(&fleet);
}

static void large_results_and_arguments_travel(void **state)
{
    enum { SIZE = 3 << 20 };
    fleet_t fleet = fleet_of(1, 2, 2);
    char *text = malloc(SIZE + 1);
    assert_non_null(text);
    memset(text, 'x', SIZE);
    text[SIZE] = '\0';
    start_threads(&fleet);
    exl_task_t *big = submit(fleet.pool, "big %d", SIZE);
    await(big);
    assert_true(exl_payload_size(big->result) >= SIZE);
    exl_task_unref(big);
    memcpy(text, "size; ", 6);
    assert_true(number_from(stub_submit(fleet.pool, (stub_call_t){.text = text})) >= SIZE);
    free(text);
    end_threads(&fleet);
}

static void wide_calls_have_their_cores(void **state)
{
    gate_t gate = gate_open(), said = gate_open();
    fleet_t fleet = fleet_of(2, 2, 1);
    char text[64];
    start_threads(&fleet);
    (void)snprintf(text, sizeof text, "say %d w; wait %d", said.in, gate.out);
    exl_task_t *wide[2];
    for (int i = 0; i < 2; i++)
        wide[i] = stub_submit(fleet.pool, (stub_call_t){.text = text, .cores = 2});
    gate_expect(&said, "ww");
    (void)snprintf(text, sizeof text, "say %d n", said.in);
    exl_task_t *narrow = submit(fleet.pool, "%s", text);
    gate_pass(&gate, 2);
    for (int i = 0; i < 2; i++) {
        await(wide[i]);
        exl_task_unref(wide[i]);
    }
    gate_expect(&said, "n");
    await(narrow);
    exl_task_unref(narrow);
    end_threads(&fleet);
    gate_close(&gate);
    gate_close(&said);
}

/* One agent is given more than it has cores for; the other comes later and gets what the first has not begun. */
static void what_has_not_begun_is_shared_out(void **state)
{
    gate_t gate = gate_open(), said = gate_open();
    fleet_t fleet = fleet_of(2, 1, 8);
    exl_task_t *tasks[4];
    assert_int_equal(pthread_create(&fleet.agents[0].thread, NULL, agent_thread, &fleet.agents[0]), 0);
    for (int i = 0; i < 4; i++)
        tasks[i] = submit(fleet.pool, "say %d .; wait %d; pid", said.in, gate.out);
    gate_expect(&said, ".");
    assert_int_equal(pthread_create(&fleet.agents[1].thread, NULL, agent_thread, &fleet.agents[1]), 0);
    gate_expect(&said, "."); /* nobody has passed the gate yet */
    gate_pass(&gate, 4);
    gate_expect(&said, "..");
    for (int i = 0; i < 4; i++)
        assert_true(number_from(tasks[i]) > 0);
    end_threads(&fleet);
    gate_close(&gate);
    gate_close(&said);
}

/* ---- nodes that differ ---- */

static void a_call_goes_where_it_fits(void **state)
{
    gate_t gate = gate_open(), said = gate_open();
    fleet_t fleet = fleet_of(2, 1, 4);
    fleet.agents[1].config.cores = 3;
    start_threads(&fleet);
    exl_task_t *tasks[3];
    char text[64];
    (void)snprintf(text, sizeof text, "say %d w; wait %d; pid", said.in, gate.out);
    for (int i = 0; i < 3; i++)
        tasks[i] = stub_submit(fleet.pool, (stub_call_t){.text = text, .cores = 3});
    gate_expect(&said, "w"); /* the other node is not wide enough for any of them */
    expect_result(submit(fleet.pool, "narrow"), "narrow");
    gate_pass(&gate, 3);
    for (int i = 0; i < 3; i++)
        assert_true(number_from(tasks[i]) > 0);
    expect_lost(stub_submit(fleet.pool, (stub_call_t){.text = text, .cores = 4}), EXL_BLAME_NODE, "as many cores");
    expect_lost(stub_submit(fleet.pool, (stub_call_t){.text = text, .gpus = 1}), EXL_BLAME_NODE, "as many cores");
    end_threads(&fleet);
    gate_close(&gate);
    gate_close(&said);
}

static void calls_at_once_are_limited(void **state)
{
    gate_t gate = gate_open(), said = gate_open();
    fleet_t fleet = fleet_of(2, 4, 2);
    exl_task_t *tasks[6];
    for (int i = 0; i < 2; i++)
        fleet.agents[i].config.calls = 1;
    start_threads(&fleet);
    for (int i = 0; i < 6; i++)
        tasks[i] = submit(fleet.pool, "say %d .; wait %d; pid", said.in, gate.out);
    gate_expect(&said, ".."); /* one on each node, though there are cores for more */
    gate_pass(&gate, 6);
    for (int i = 0; i < 6; i++)
        assert_true(number_from(tasks[i]) > 0);
    end_threads(&fleet);
    gate_close(&gate);
    gate_close(&said);
}

/* ---- persistent workers ---- */

/* So many calls run at once, no more, each on a worker of its own; `ids` are bits. */
static void expect_workers(const fleet_t *fleet, const gate_t *gate, const gate_t *said, uint32_t count, uint32_t ids)
{
    exl_task_t *tasks[8];
    char dots[] = "........";
    uint32_t found = 0;
    dots[count] = '\0';
    for (uint32_t i = 0; i <= count; i++)
        tasks[i] = submit(fleet->pool, "say %d .; wait %d; index", said->in, gate->out);
    gate_expect(said, dots);
    gate_pass(gate, count + 1);
    for (uint32_t i = 0; i <= count; i++)
        found |= 1U << number_from(tasks[i]);
    gate_expect(said, ".");
    assert_int_equal(found, ids);
}

static void workers_are_as_many_as_asked_for_and_have_their_ids(void **state)
{
    static const uint32_t first[] = {0, 2, 4}, second[] = {1, 3}, none[] = {0};
    const uint32_t *const both[] = {first, second}, *const one[] = {none, second};
    gate_t gate = gate_open(), said = gate_open();
    fleet_t fleet = fleet_of(2, 0, 4);
    make_persistent(&fleet, 1);
    assert_int_equal(exl_fleet_resize(fleet.pool, both, (const uint32_t[]){2, 1}, 2), 0); /* told when they come */
    start_threads(&fleet);
    expect_workers(&fleet, &gate, &said, 3, 07);
    assert_int_equal(exl_fleet_resize(fleet.pool, both, (const uint32_t[]){3, 2}, 2), 0);
    expect_workers(&fleet, &gate, &said, 5, 037);
    assert_int_equal(exl_fleet_resize(fleet.pool, one, (const uint32_t[]){0, 1}, 2), 0);
    expect_workers(&fleet, &gate, &said, 1, 02);
    assert_int_equal(exl_fleet_resize(fleet.pool, both, (const uint32_t[]){1, 1}, 1), -EINVAL);
    end_threads(&fleet);
    gate_close(&gate);
    gate_close(&said);
}

/* ---- ends ---- */

static void a_lost_worker_is_told_with_its_host(void **state)
{
    char name[256];
    fleet_t fleet = fleet_of(1, 1, 2);
    start_threads(&fleet);
    exl_task_t *task = submit(fleet.pool, "stderr last words; signal 9");
    const exl_failure_t *failure = await_failure(task);
    assert_int_equal(failure->blame, EXL_BLAME_FUNCTION);
    assert_int_equal(WTERMSIG(failure->wait_status), SIGKILL);
    assert_int_equal(gethostname(name, sizeof name), 0);
    assert_string_equal(failure->host, name);
    assert_non_null(strstr(failure->stderr_tail, "last words"));
    exl_task_unref(task);
    expect_result(submit(fleet.pool, "the next"), "the next");
    end_threads(&fleet);
}

static void a_running_call_can_be_ended(void **state)
{
    gate_t said = gate_open();
    fleet_t fleet = fleet_of(1, 1, 2);
    start_threads(&fleet);
    exl_task_t *task = submit(fleet.pool, "say %d .; pause", said.in);
    gate_expect(&said, ".");
    assert_true(exl_task_running(task));
    assert_int_equal(exl_task_cancel(task), 0);
    assert_int_equal(exl_task_terminate(task), 1);
    await(task);
    assert_int_equal(task->outcome, EXL_OUTCOME_TERMINATED);
    exl_task_unref(task);
    end_threads(&fleet);
    gate_close(&said);
}

static void a_time_limit_counts_behind_an_agent(void **state)
{
    fleet_t fleet = fleet_of(1, 1, 2);
    start_threads(&fleet);
    exl_task_t *task = stub_submit(fleet.pool, (stub_call_t){.text = "pause", .run_time_ms = 50, .grace_ms = 10});
    const exl_failure_t *failure = await_failure(task);
    assert_int_equal(failure->blame, EXL_BLAME_LIMIT);
    assert_int_equal(failure->limit_ms, 50);
    exl_task_unref(task);
    end_threads(&fleet);
}

static void what_waits_can_be_cancelled(void **state)
{
    gate_t gate = gate_open(), said = gate_open();
    fleet_t fleet = fleet_of(1, 1, 4);
    exl_task_t *tasks[12];
    start_threads(&fleet);
    for (int i = 0; i < 12; i++)
        tasks[i] = submit(fleet.pool, "say %d .; wait %d; pid", said.in, gate.out);
    gate_expect(&said, ".");
    assert_int_equal(exl_task_cancel(tasks[11]), 1); /* it is still here */
    assert_int_equal(exl_pool_shutdown(fleet.pool, true), 0);
    for (int i = 1; i < 12; i++) /* … and these come back */
        expect_cancelled(tasks[i]);
    gate_pass(&gate, 1);
    assert_true(number_from(tasks[0]) > 0);
    end_threads(&fleet);
    gate_close(&gate);
    gate_close(&said);
}

/* ---- processes that die ---- */

/* This program again, in another role: a child of a process with threads may do little more than that. */
static pid_t play(char *role, uint32_t first, uint32_t second, uint32_t third)
{
    char numbers[3][16];
    pid_t pid;
    (void)snprintf(numbers[0], sizeof numbers[0], "%u", first);
    (void)snprintf(numbers[1], sizeof numbers[1], "%u", second);
    (void)snprintf(numbers[2], sizeof numbers[2], "%u", third);
    char name[] = "test_fleet", *const argv[] = {name, role, numbers[0], numbers[1], numbers[2], NULL};
    assert_int_equal(posix_spawn(&pid, "/proc/self/exe", NULL, NULL, argv, environ), 0);
    return pid;
}

static void start_processes(fleet_t *fleet)
{
    char role[] = "agent";
    for (uint32_t i = 0; i < fleet->nagents; i++)
        fleet->agents[i].pid = play(role, fleet->agents[i].config.port, i, fleet->agents[i].config.cores);
}

static int be_agent(uint32_t port, uint32_t index, uint32_t cores)
{
    side_t side = {.config = {.addresses = here,
                              .port = (uint16_t)port,
                              .name = "test",
                              .key = key,
                              .index = index,
                              .grace_ms = GRACE_MS,
                              .cores = cores}};
    return run_agent(&side);
}

/* Says which process its agent is, and waits to be killed. */
static int be_driver(int said)
{
    fleet_t fleet = fleet_of(1, 1, 1);
    start_processes(&fleet);
    await(submit(fleet.pool, "pid"));
    exl_test_write(said, &fleet.agents[0].pid, sizeof fleet.agents[0].pid);
    for (;;)
        (void)pause();
    return 1;
}

static int status_of(pid_t pid)
{
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return status;
}

/* What a killed process has started ends by itself, and comes to us. */
static void reap_all(void)
{
    while (waitpid(-1, NULL, 0) > 0 || errno == EINTR) {
    }
}

static void agents_in_processes_end_with_the_executor(void **state)
{
    fleet_t fleet = fleet_of(2, 2, 2);
    start_processes(&fleet);
    await_agents(&fleet);
    expect_result(submit(fleet.pool, "hello"), "hello");
    finish(fleet.pool);
    for (int i = 0; i < 2; i++)
        assert_int_equal(status_of(fleet.agents[i].pid), 0);
    reap_all();
}

static void the_calls_of_a_killed_agent_are_lost_and_no_others(void **state)
{
    gate_t gate = gate_open(), said = gate_open();
    fleet_t fleet = fleet_of(2, 1, 1);
    start_processes(&fleet);
    exl_task_t *tasks[2];
    for (int i = 0; i < 2; i++)
        tasks[i] = submit(fleet.pool, "say %d .; wait %d; pid", said.in, gate.out);
    gate_expect(&said, "..");
    assert_int_equal(kill(fleet.agents[0].pid, SIGKILL), 0);
    /* One of them had it. */
    int64_t deadline = exl_test_soon_ns();
    while (!exl_task_done(tasks[0]) && !exl_task_done(tasks[1]))
        assert_true(exl_task_wait(tasks[0], exl_clock_ns() + EXL_NS_PER_MS) != -EINVAL && exl_clock_ns() < deadline);
    int lost = exl_task_done(tasks[0]) ? 0 : 1;
    expect_lost(tasks[lost], EXL_BLAME_NODE, "died");
    gate_pass(&gate, 2); /* the other's worker may still take one */
    assert_true(number_from(tasks[!lost]) > 0);
    expect_result(submit(fleet.pool, "on the other"), "on the other");
    finish(fleet.pool);
    assert_true(WIFSIGNALED(status_of(fleet.agents[0].pid)));
    assert_int_equal(status_of(fleet.agents[1].pid), 0);
    reap_all();
    gate_close(&gate);
    gate_close(&said);
}

static void without_agents_calls_fail_with_the_reason(void **state)
{
    gate_t said = gate_open();
    fleet_t fleet = fleet_of(1, 1, 1);
    start_processes(&fleet);
    exl_task_t *running = submit(fleet.pool, "say %d .; pause", said.in), *waiting = submit(fleet.pool, "next");
    gate_expect(&said, ".");
    assert_int_equal(kill(fleet.agents[0].pid, SIGKILL), 0);
    expect_lost(running, EXL_BLAME_NODE, "died");
    expect_lost(waiting, EXL_BLAME_NODE, "died");
    expect_lost(submit(fleet.pool, "later"), EXL_BLAME_NODE, "died");
    finish(fleet.pool);
    (void)status_of(fleet.agents[0].pid);
    reap_all();
    gate_close(&said);
}

static void agents_end_when_the_driver_is_killed(void **state)
{
    gate_t said = gate_open();
    char role[] = "driver";
    pid_t driver = play(role, (uint32_t)said.in, 0, 0), agent = gate_pid(&said);
    assert_int_equal(kill(driver, SIGKILL), 0);
    assert_true(WIFSIGNALED(status_of(driver)));
    assert_true(exl_test_process_ends(agent));
    reap_all();
    gate_close(&said);
}

/* ---- the launcher ---- */

static void a_launcher_that_fails_says_why(void **state)
{
    fleet_t fleet = fleet_of(2, 1, 1);
    const char *const argv[] = {"sh", "-c", "echo no such partition >&2; exit 3", NULL};
    const char *const envp[] = {"PATH=/usr/bin:/bin", NULL};
    exl_error_t err = {""};
    exl_task_t *task = submit(fleet.pool, "waiting");
    assert_int_equal(exl_fleet_launch(fleet.pool, argv, envp, NULL, &err), 0);
    const exl_failure_t *failure = await_failure(task);
    assert_int_equal(failure->blame, EXL_BLAME_NODE);
    assert_non_null(strstr(failure->reason, "sh ended with exit status 3"));
    assert_non_null(strstr(failure->reason, "no such partition"));
    exl_task_unref(task);
    finish(fleet.pool);
}

static void a_launcher_that_does_not_exist_is_an_error(void **state)
{
    fleet_t fleet = fleet_of(1, 1, 1);
    const char *const argv[] = {"/no-such-launcher", NULL};
    const char *const envp[] = {NULL};
    exl_error_t err = {""};
    assert_int_equal(exl_fleet_launch(fleet.pool, argv, envp, NULL, &err), -ENOENT);
    assert_non_null(strstr(err.text, "no-such-launcher"));
    finish(fleet.pool);
}

static void a_launcher_is_ended_if_nobody_comes(void **state)
{
    fleet_t fleet = fleet_of(1, 1, 1);
    const char *const argv[] = {"sleep", "1000", NULL};
    const char *const envp[] = {"PATH=/usr/bin:/bin", NULL};
    assert_int_equal(exl_fleet_launch(fleet.pool, argv, envp, NULL, NULL), 0);
    finish(fleet.pool);
}

/* ---- strangers ---- */

static void an_agent_with_another_key_is_not_let_in(void **state)
{
    fleet_t fleet = fleet_of(1, 1, 1);
    exl_agent_t *stranger = NULL;
    exl_pool_t *pool = stub_pool((stub_pool_t){.max_cores = 1});
    exl_agent_config_t config = fleet.agents[0].config;
    exl_error_t err = {""};
    config.key = wrong_key;
    config.pool = pool;
    config.grace_ms = 500;
    assert_int_equal(exl_agent_start(&config, &stranger, &err), 0);
    assert_int_equal(exl_agent_wait(stranger, &err), -ETIMEDOUT);
    assert_int_equal(exl_fleet_agents(fleet.pool), 0);
    finish(pool);
    exl_agent_destroy(stranger);
    finish(fleet.pool);
}

static void an_agent_too_many_is_sent_away(void **state)
{
    fleet_t fleet = fleet_of(1, 1, 1);
    exl_agent_t *other = NULL;
    exl_error_t err = {""};
    start_threads(&fleet);
    expect_result(submit(fleet.pool, "hello"), "hello");
    exl_pool_t *pool = stub_pool((stub_pool_t){.max_cores = 1});
    exl_agent_config_t config = fleet.agents[0].config;
    config.pool = pool;
    assert_int_equal(exl_agent_start(&config, &other, &err), 0); /* the same index, another process */
    assert_int_equal(exl_agent_wait(other, &err), EXL_ECLOSED);
    finish(pool);
    exl_agent_destroy(other);
    expect_result(submit(fleet.pool, "still there"), "still there");
    end_threads(&fleet);
}

static void an_address_must_be_numeric(void **state)
{
    static const char *const bad[] = {"localhost", NULL};
    exl_agent_t *agent = NULL;
    exl_error_t err = {""};
    exl_pool_t *pool = stub_pool((stub_pool_t){.max_cores = 1});
    const exl_agent_config_t config = {
        .addresses = bad, .port = 1, .name = "test", .key = key, .cores = 1, .pool = pool};
    assert_int_equal(exl_agent_start(&config, &agent, &err), -EINVAL);
    assert_non_null(strstr(err.text, "localhost"));
    finish(pool);
}

static uint32_t number(const char *text)
{
    return (uint32_t)strtoul(text, NULL, 10);
}

int main(int argc, char **argv)
{
    exl_tls_provide(&exl_tls_openssl);
    if (argc == 5 && strcmp(argv[1], "agent") == 0)
        return be_agent(number(argv[2]), number(argv[3]), number(argv[4]));
    if (argc == 5 && strcmp(argv[1], "driver") == 0)
        return be_driver((int)number(argv[2]));
    const struct CMUnitTest tests[] = {
        POOL_TEST(a_call_runs_behind_an_agent),
        POOL_TEST(calls_that_came_before_the_agents_wait_for_them),
        POOL_TEST(many_calls_end_each_with_its_own_result),
        POOL_TEST(arguments_and_functions_travel),
        POOL_TEST(large_results_and_arguments_travel),
        POOL_TEST(wide_calls_have_their_cores),
        POOL_TEST(what_has_not_begun_is_shared_out),
        POOL_TEST(a_call_goes_where_it_fits),
        POOL_TEST(calls_at_once_are_limited),
        POOL_TEST(workers_are_as_many_as_asked_for_and_have_their_ids),
        POOL_TEST(a_lost_worker_is_told_with_its_host),
        POOL_TEST(a_running_call_can_be_ended),
        POOL_TEST(a_time_limit_counts_behind_an_agent),
        POOL_TEST(what_waits_can_be_cancelled),
        POOL_TEST(agents_in_processes_end_with_the_executor),
        POOL_TEST(the_calls_of_a_killed_agent_are_lost_and_no_others),
        POOL_TEST(without_agents_calls_fail_with_the_reason),
        POOL_TEST(agents_end_when_the_driver_is_killed),
        POOL_TEST(a_launcher_that_fails_says_why),
        POOL_TEST(a_launcher_that_does_not_exist_is_an_error),
        POOL_TEST(a_launcher_is_ended_if_nobody_comes),
        POOL_TEST(an_agent_with_another_key_is_not_let_in),
        POOL_TEST(an_agent_too_many_is_sent_away),
        POOL_TEST(an_address_must_be_numeric),
    };
    return EXL_RUN(tests);
}
