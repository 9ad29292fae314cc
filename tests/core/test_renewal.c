/* test_renewal.c: fleets whose agents come and go, and ends of what agents run in. Agents are threads of this process. */
#include "engine/renewal.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include "agent/agent.h"
#include "pool_support.h"
#include "wire/tls_openssl.h"

static const uint8_t key[EXL_TLS_KEY_SIZE] = "fedcba9876543210fedcba9876543210";
static const char *const here[] = {"127.0.0.1", NULL};

enum { GRACE_MS = 30000, PLACES = 8 };

/* An agent with one persistent worker. */
typedef struct pilot {
    exl_pool_t *pool;
    exl_agent_t *agent;
    pthread_t thread;
    int code;
} pilot_t;

static exl_pool_t *fleet_with(uint32_t agents, bool renewed, uint32_t restart_limit)
{
    const exl_fleet_config_t config = {.address = "127.0.0.1",
                                       .name = "test",
                                       .key = key,
                                       .agents = agents,
                                       .depth = 2,
                                       .grace_ms = GRACE_MS,
                                       .renewed = renewed};
    return stub_pool((stub_pool_t){.fleet = &config, .persistent = true, .restart_limit = restart_limit});
}

static void *serve(void *argument)
{
    pilot_t *pilot = argument;
    exl_error_t err = {""};
    while ((pilot->code = exl_agent_wait(pilot->agent, &err)) == EXL_EINTERRUPTED) {
    }
    finish(pilot->pool);
    exl_agent_destroy(pilot->agent);
    return NULL;
}

/* With so much time left. */
static void start_until(pilot_t *pilot, exl_pool_t *fleet, uint32_t index, uint64_t left_ms)
{
    exl_error_t err = {""};
    pilot->pool = stub_crew(1);
    if (left_ms != EXL_NO_END)
        assert_int_equal(exl_pool_set_end(pilot->pool, left_ms), 0);
    const exl_agent_config_t config = {.addresses = here,
                                       .port = exl_fleet_port(fleet),
                                       .name = "test",
                                       .key = key,
                                       .index = index,
                                       .grace_ms = GRACE_MS,
                                       .calls = 1,
                                       .pool = pilot->pool};
    assert_int_equal(exl_agent_start(&config, &pilot->agent, &err), 0);
    assert_int_equal(pthread_create(&pilot->thread, NULL, serve, pilot), 0);
}

static void start(pilot_t *pilot, exl_pool_t *fleet, uint32_t index)
{
    start_until(pilot, fleet, index, EXL_NO_END);
}

static void expect_end(const pilot_t *pilot, int code)
{
    assert_int_equal(pthread_join(pilot->thread, NULL), 0);
    assert_int_equal(pilot->code, code);
}

static void expect_agent(exl_pool_t *fleet, uint32_t index)
{
    assert_int_equal(exl_renewal_expect(fleet, index), 0);
}

/* Waits until the places are in these states and calls wait, or none do. */
static void await_states(exl_pool_t *fleet, const char *states, bool wanted)
{
    char found[PLACES + 1] = "";
    uint32_t seen = 0, agents = 0;
    bool waiting = !wanted;
    while (strcmp(found, states) != 0 || waiting != wanted) {
        memset(found, 0, sizeof found);
        assert_int_equal(exl_renewal_watch(fleet, &seen, exl_test_soon_ns(), found, PLACES, &agents, &waiting), 0);
        if (seen == 0)
            break;
    }
}

static exl_pool_t *renewed_fleet(uint32_t restart_limit)
{
    return fleet_with(1, true, restart_limit);
}

static void come(pilot_t *pilot, exl_pool_t *fleet, uint32_t index)
{
    expect_agent(fleet, index);
    start(pilot, fleet, index);
}

/* A call that has begun, and waits until it is let through the gate. */
static exl_task_t *begin_call(exl_pool_t *fleet, const gate_t *gate, const gate_t *said)
{
    exl_task_t *task = submit(fleet, "say %d .; wait %d; pid", said->in, gate->out);
    gate_expect(said, ".");
    return task;
}

/* The only agent has gone, or is about to, and this call waits: another comes, and runs it. */
static void finish_with_successor(exl_pool_t *fleet, exl_task_t *task, const char *text)
{
    pilot_t successor;
    await_states(fleet, "g", true);
    assert_int_equal(exl_renewal_bury(fleet, 0, NULL), 0);
    come(&successor, fleet, 0);
    expect_result(task, text);
    finish(fleet);
    expect_end(&successor, 0);
}

static exl_payload_t *text_payload(const char *text)
{
    const exl_segment_t body = {text, strlen(text)};
    exl_payload_t *payload = NULL;
    assert_int_equal(exl_payload_create(&body, 1, NULL, 0, NULL, NULL, &payload), 0);
    return payload;
}

/* ---- places ---- */

static void calls_wait_for_agents_that_are_yet_to_be_expected(void **state)
{
    pilot_t pilot;
    exl_pool_t *fleet = renewed_fleet(0);
    exl_task_t *task = submit(fleet, "hello");
    await_states(fleet, "v", true);
    expect_agent(fleet, 0);
    assert_int_equal(exl_renewal_expect(fleet, 0), EXL_EILLEGAL);
    await_states(fleet, "a", true);
    start(&pilot, fleet, 0);
    expect_result(task, "hello");
    await_states(fleet, "t", false);
    finish(fleet);
    expect_end(&pilot, 0);
}

static void there_may_be_more_places_later(void **state)
{
    pilot_t pilots[2];
    exl_pool_t *fleet = renewed_fleet(0);
    for (uint32_t i = 0; i < 2; i++) {
        come(&pilots[i], fleet, 3 * i);
    }
    await_states(fleet, "tvvt", false);
    assert_int_equal(exl_fleet_agents(fleet), 2);
    expect_result(submit(fleet, "hello"), "hello");
    finish(fleet);
    for (int i = 0; i < 2; i++)
        expect_end(&pilots[i], 0);
}

static void an_agent_that_nobody_expects_is_sent_away(void **state)
{
    pilot_t pilot;
    exl_pool_t *fleet = renewed_fleet(0);
    start(&pilot, fleet, 0);
    expect_end(&pilot, EXL_ECLOSED);
    finish(fleet);
}

static void only_such_a_fleet_has_places(void **state)
{
    exl_pool_t *fleet = fleet_with(1, false, 0);
    assert_int_equal(exl_renewal_expect(fleet, 0), -EINVAL);
    assert_int_equal(exl_renewal_bury(fleet, 0, NULL), -EINVAL);
    assert_int_equal(exl_renewal_dismiss(fleet, 0), -EINVAL);
    finish(fleet);
}

static void watching_ends_with_the_executor(void **state)
{
    exl_pool_t *fleet = renewed_fleet(0);
    char states[PLACES];
    uint32_t seen = 0, agents;
    bool wanted;
    expect_agent(fleet, 0);
    await_states(fleet, "a", false);
    assert_int_equal(exl_pool_shutdown(fleet, false), 0);
    assert_int_equal(exl_pool_wait_closed(fleet, exl_test_soon_ns()), 0);
    assert_int_equal(exl_renewal_watch(fleet, &seen, 0, states, PLACES, &agents, &wanted), EXL_ECLOSED);
    assert_int_equal(exl_renewal_expect(fleet, 0), EXL_ECLOSED);
    release(fleet);
}

/* ---- agents that go ---- */

static void a_dismissed_agent_ends_its_call_and_gives_the_next_to_its_successor(void **state)
{
    gate_t gate = gate_open(), said = gate_open();
    pilot_t first;
    exl_pool_t *fleet = renewed_fleet(0);
    come(&first, fleet, 0);
    exl_task_t *running = begin_call(fleet, &gate, &said);
    exl_task_t *next = submit(fleet, "next");
    assert_int_equal(exl_renewal_dismiss(fleet, 0), 0);
    gate_pass(&gate, 1);
    assert_true(number_from(running) > 0);
    expect_end(&first, 0);
    finish_with_successor(fleet, next, "next");
    gate_close(&gate);
    gate_close(&said);
}

static void an_idle_agent_that_is_dismissed_goes_at_once(void **state)
{
    pilot_t pilot;
    exl_pool_t *fleet = renewed_fleet(0);
    come(&pilot, fleet, 0);
    expect_result(submit(fleet, "hello"), "hello");
    assert_int_equal(exl_renewal_dismiss(fleet, 0), 0);
    expect_end(&pilot, 0);
    finish(fleet);
}

static void one_that_has_not_come_is_not_expected_any_more(void **state)
{
    exl_pool_t *fleet = renewed_fleet(0);
    expect_agent(fleet, 0);
    assert_int_equal(exl_renewal_dismiss(fleet, 0), 0);
    await_states(fleet, "v", false);
    finish(fleet);
}

static void the_call_of_a_lost_agent_ends_with_what_is_said_of_it(void **state)
{
    gate_t gate = gate_open(), said = gate_open();
    pilot_t first, second;
    exl_pool_t *fleet = renewed_fleet(0);
    exl_payload_t *exception = text_payload("time limit");
    come(&first, fleet, 0);
    exl_task_t *task = begin_call(fleet, &gate, &said);
    assert_int_equal(exl_renewal_bury(fleet, 0, exception), 0);
    expect_exception(task, "time limit");
    come(&second, fleet, 0);
    expect_result(submit(fleet, "hello"), "hello");
    gate_pass(&gate, 1);
    expect_end(&first, EXL_ECLOSED);
    finish(fleet);
    expect_end(&second, 0);
    exl_payload_unref(exception);
    gate_close(&gate);
    gate_close(&said);
}

static void or_starts_again(void **state)
{
    gate_t gate = gate_open(), said = gate_open();
    pilot_t first, second;
    exl_pool_t *fleet = renewed_fleet(1);
    come(&first, fleet, 0);
    exl_task_t *task = begin_call(fleet, &gate, &said);
    assert_int_equal(exl_renewal_bury(fleet, 0, NULL), 0);
    come(&second, fleet, 0);
    gate_expect(&said, ".");
    gate_pass(&gate, 2);
    assert_true(number_from(task) > 0);
    expect_end(&first, EXL_ECLOSED);
    finish(fleet);
    expect_end(&second, 0);
    gate_close(&gate);
    gate_close(&said);
}

static void calls_that_wait_in_vain_fail_together(void **state)
{
    exl_pool_t *fleet = renewed_fleet(0);
    exl_payload_t *exception = text_payload("no such partition");
    exl_task_t *tasks[3];
    for (int i = 0; i < 3; i++)
        tasks[i] = submit(fleet, "waiting");
    assert_int_equal(exl_renewal_fail(fleet, exception), 0);
    for (int i = 0; i < 3; i++)
        expect_exception(tasks[i], "no such partition");
    exl_payload_unref(exception);
    finish(fleet);
}

static void calls_that_wait_can_be_cancelled(void **state)
{
    exl_pool_t *fleet = renewed_fleet(0);
    exl_task_t *one = submit(fleet, "one"), *other = submit(fleet, "other");
    assert_int_equal(exl_task_cancel(one), 1);
    expect_cancelled(one);
    assert_int_equal(exl_pool_shutdown(fleet, true), 0);
    expect_cancelled(other);
    finish(fleet);
}

/* ---- ends ---- */

static exl_task_t *submit_limited(exl_pool_t *fleet, const char *text, uint32_t run_time_ms)
{
    return stub_submit(fleet, (stub_call_t){.text = text, .run_time_ms = run_time_ms, .grace_ms = 10});
}

enum { HOUR_MS = 3600 * 1000 };

static void a_call_that_cannot_have_its_time_waits_for_the_next_agent(void **state)
{
    pilot_t first;
    exl_pool_t *fleet = renewed_fleet(0);
    expect_agent(fleet, 0);
    start_until(&first, fleet, 0, 2 * HOUR_MS);
    expect_result(submit_limited(fleet, "early", HOUR_MS), "early");
    assert_int_equal(exl_pool_set_end(first.pool, HOUR_MS / 2), 0);
    expect_result(submit(fleet, "without a limit"), "without a limit");
    exl_task_t *late = submit_limited(fleet, "late", HOUR_MS);
    expect_end(&first, 0); /* nothing else to do: it makes room */
    finish_with_successor(fleet, late, "late");
}

static void meanwhile_others_start(void **state)
{
    gate_t gate = gate_open(), said = gate_open();
    pilot_t pilot;
    exl_pool_t *fleet = renewed_fleet(0);
    expect_agent(fleet, 0);
    start_until(&pilot, fleet, 0, 2 * HOUR_MS);
    exl_task_t *running = begin_call(fleet, &gate, &said);
    assert_int_equal(exl_pool_set_end(pilot.pool, HOUR_MS / 2), 0);
    exl_task_t *late = submit_limited(fleet, "late", HOUR_MS), *next = submit(fleet, "next");
    gate_pass(&gate, 1);
    expect_result(next, "next");
    assert_true(number_from(running) > 0);
    assert_false(exl_task_done(late));
    assert_int_equal(exl_task_cancel(late), 1);
    expect_cancelled(late);
    finish(fleet);
    expect_end(&pilot, 0);
    gate_close(&gate);
    gate_close(&said);
}

static void a_call_that_no_agent_can_ever_give_its_time_fails(void **state)
{
    for (int renewed = 0; renewed < 2; renewed++) {
        pilot_t pilot;
        exl_pool_t *fleet = fleet_with(1, renewed, 0);
        if (renewed)
            expect_agent(fleet, 0);
        start_until(&pilot, fleet, 0, HOUR_MS);
        expect_result(submit_limited(fleet, "short", HOUR_MS / 2), "short");
        expect_lost(submit_limited(fleet, "long", 2 * HOUR_MS), EXL_BLAME_WORKER,
                    renewed ? "batch jobs of this executor end too early" : "the allocation ends too early");
        expect_result(submit(fleet, "no limit"), "no limit");
        finish(fleet);
        expect_end(&pilot, 0);
    }
}

static void a_limited_call_goes_to_an_agent_with_time(void **state)
{
    pilot_t pilots[2];
    exl_pool_t *fleet = fleet_with(2, true, 0);
    for (uint32_t i = 0; i < 2; i++) {
        expect_agent(fleet, i);
        start_until(&pilots[i], fleet, i, i ? 4 * HOUR_MS : HOUR_MS);
    }
    await_states(fleet, "tt", false);
    exl_task_t *tasks[8];
    for (int i = 0; i < 8; i++)
        tasks[i] = submit_limited(fleet, "long", 2 * HOUR_MS);
    for (int i = 0; i < 8; i++)
        expect_result(tasks[i], "long");
    finish(fleet);
    for (int i = 0; i < 2; i++)
        expect_end(&pilots[i], 0);
}

static void at_the_end_what_has_begun_goes_on_and_the_rest_is_given_back(void **state)
{
    gate_t gate = gate_open(), said = gate_open();
    pilot_t first;
    exl_pool_t *fleet = renewed_fleet(0);
    come(&first, fleet, 0);
    exl_task_t *running = begin_call(fleet, &gate, &said);
    exl_task_t *next = submit(fleet, "next");
    assert_int_equal(exl_pool_set_end(first.pool, 0), 0);
    int64_t deadline = exl_test_soon_ns();
    while (exl_task_running(next)) /* until it has come back */
        assert_true(sched_yield() == 0 && exl_clock_ns() < deadline);
    gate_pass(&gate, 1);
    assert_true(number_from(running) > 0);
    expect_end(&first, 0);
    finish_with_successor(fleet, next, "next");
    gate_close(&gate);
    gate_close(&said);
}

static void on_one_host_nothing_starts_that_lasts_longer(void **state)
{
    for (int persistent = 0; persistent < 2; persistent++) {
        exl_pool_t *pool = persistent ? stub_crew(1) : stub_pool((stub_pool_t){.max_cores = 1});
        assert_int_equal(exl_pool_set_end(pool, HOUR_MS), 0);
        expect_cancelled(submit_limited(pool, "long", 2 * HOUR_MS));
        expect_result(submit_limited(pool, "short", HOUR_MS / 2), "short");
        expect_result(submit(pool, "no limit"), "no limit");
        assert_int_equal(exl_pool_set_end(pool, 0), 0);
        expect_cancelled(submit(pool, "too late"));
        assert_int_equal(exl_pool_set_end(pool, EXL_NO_END), 0);
        expect_result(submit(pool, "after all"), "after all");
        finish(pool);
    }
}

int main(void)
{
    exl_tls_provide(&exl_tls_openssl);
    const struct CMUnitTest tests[] = {
        POOL_TEST(calls_wait_for_agents_that_are_yet_to_be_expected),
        POOL_TEST(there_may_be_more_places_later),
        POOL_TEST(an_agent_that_nobody_expects_is_sent_away),
        POOL_TEST(only_such_a_fleet_has_places),
        POOL_TEST(watching_ends_with_the_executor),
        POOL_TEST(a_dismissed_agent_ends_its_call_and_gives_the_next_to_its_successor),
        POOL_TEST(an_idle_agent_that_is_dismissed_goes_at_once),
        POOL_TEST(one_that_has_not_come_is_not_expected_any_more),
        POOL_TEST(the_call_of_a_lost_agent_ends_with_what_is_said_of_it),
        POOL_TEST(or_starts_again),
        POOL_TEST(calls_that_wait_in_vain_fail_together),
        POOL_TEST(calls_that_wait_can_be_cancelled),
        POOL_TEST(a_call_that_cannot_have_its_time_waits_for_the_next_agent),
        POOL_TEST(meanwhile_others_start),
        POOL_TEST(a_call_that_no_agent_can_ever_give_its_time_fails),
        POOL_TEST(a_limited_call_goes_to_an_agent_with_time),
        POOL_TEST(at_the_end_what_has_begun_goes_on_and_the_rest_is_given_back),
        POOL_TEST(on_one_host_nothing_starts_that_lasts_longer),
    };
    return EXL_RUN(tests);
}
