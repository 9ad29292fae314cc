/* test_guest.c: pools that live in the room of others. */
#include <signal.h>
#include <stdio.h>

#include "pool_support.h"

static exl_pool_t *per_call(uint32_t max_cores, uint32_t max_workers)
{
    return stub_pool((stub_pool_t){.max_cores = max_cores, .max_workers = max_workers});
}

static exl_pool_t *guest_of(exl_pool_t *host, uint32_t cores)
{
    return stub_pool((stub_pool_t){.persistent = true, .max_workers = 1, .host = host, .each = {.cores = cores}});
}

static exl_task_t *submit_waiting(exl_pool_t *pool, const gate_t *said, const gate_t *gate, char name, uint32_t cores)
{
    char text[64];
    (void)snprintf(text, sizeof text, "say %d %c; wait %d; pid", said->in, name, gate->out);
    return stub_submit(pool, (stub_call_t){.text = text, .cores = cores});
}

static exl_task_t *submit_saying(exl_pool_t *pool, const gate_t *said, char name, uint32_t cores)
{
    char text[64];
    (void)snprintf(text, sizeof text, "say %d %c; pid", said->in, name);
    return stub_submit(pool, (stub_call_t){.text = text, .cores = cores});
}

static void a_guest_has_room_of_its_host(void **state)
{
    gate_t gate = gate_open(), said = gate_open();
    exl_pool_t *host = per_call(2, 0), *guest = guest_of(host, 1);
    assert_true(number_from(submit(guest, "pid")) > 0);
    exl_task_t *first = submit_waiting(host, &said, &gate, 'a', 1), *second = submit_saying(host, &said, 'b', 1);
    gate_expect(&said, "a");
    assert_false(exl_task_running(second));
    assert_int_equal(exl_pool_pending(host), 2);
    finish(guest);
    gate_expect(&said, "b");
    gate_pass(&gate, 1);
    assert_true(number_from(first) > 0);
    assert_true(number_from(second) > 0);
    finish(host);
    gate_close(&gate);
    gate_close(&said);
}

static void a_guest_waits_for_room_and_later_calls_for_it(void **state)
{
    gate_t gate = gate_open(), said = gate_open();
    exl_pool_t *host = per_call(2, 0);
    exl_task_t *first = submit_waiting(host, &said, &gate, 'a', 2);
    gate_expect(&said, "a");
    exl_pool_t *guest = guest_of(host, 1);
    exl_task_t *late = submit_saying(host, &said, 'c', 2);
    exl_task_t *within = submit_saying(guest, &said, 'b', 1);
    gate_pass(&gate, 1);
    gate_expect(&said, "b");
    assert_true(number_from(first) > 0);
    assert_true(number_from(within) > 0);
    assert_int_equal(exl_task_running(late), 0);
    finish(guest);
    assert_true(number_from(late) > 0);
    gate_expect(&said, "c");
    finish(host);
    gate_close(&gate);
    gate_close(&said);
}

static void earlier_calls_that_could_not_run_beside_it_go_first(void **state)
{
    gate_t gate = gate_open(), said = gate_open();
    exl_pool_t *host = per_call(2, 0);
    exl_task_t *producer = submit_waiting(host, &said, &gate, 'a', 1);
    gate_expect(&said, "a");
    char text[64];
    (void)snprintf(text, sizeof text, "say %d b; pid", said.in);
    exl_task_t *consumer =
        stub_submit(host, (stub_call_t){.text = text, .cores = 2, .producers = &producer, .nproducers = 1});
    exl_pool_t *guest = guest_of(host, 1);
    exl_task_t *within = submit_saying(guest, &said, 'c', 1);
    gate_pass(&gate, 1);
    gate_expect(&said, "bc");
    assert_true(number_from(producer) > 0);
    assert_true(number_from(consumer) > 0);
    assert_true(number_from(within) > 0);
    finish(guest);
    finish(host);
    gate_close(&gate);
    gate_close(&said);
}

static void a_guest_counts_as_a_call(void **state)
{
    exl_pool_t *host = per_call(0, 1), *guest = guest_of(host, 1);
    assert_true(number_from(submit(guest, "pid")) > 0);
    exl_task_t *waiting = submit(host, "pid");
    assert_int_equal(exl_task_cancel(waiting), 1);
    expect_cancelled(waiting);
    finish(guest);
    assert_true(number_from(submit(host, "pid")) > 0);
    finish(host);
}

static void a_guest_takes_the_place_of_a_worker(void **state)
{
    exl_pool_t *host = stub_crew(1);
    long before = number_from(submit(host, "pid"));
    exl_pool_t *guest = guest_of(host, 1);
    assert_int_not_equal(number_from(submit(guest, "pid")), before);
    pid_t pids[2];
    assert_int_equal(exl_pool_pids(host, pids, 2), 0);
    finish(guest);
    assert_true(number_from(submit(host, "pid")) > 0);
    finish(host);
}

static void a_guest_has_gpus_of_its_host(void **state)
{
    for (int persistent = 0; persistent < 2; persistent++) {
        exl_request_t one = {.cores = 1, .gpus = 1};
        exl_pool_t *host =
            stub_pool((stub_pool_t){.persistent = persistent, .max_workers = 2, .each = one, .gpus = "ab"});
        exl_pool_t *guest =
            stub_pool((stub_pool_t){.persistent = true, .max_workers = 1, .each = one, .gpus = "ab", .host = host});
        expect_result(submit(guest, "devices"), "GPUS\na");
        expect_result(stub_submit(host, (stub_call_t){.text = "devices", .gpus = 1}), "GPUS\nb");
        finish(guest);
        finish(host);
    }
}

static void a_lost_worker_is_not_replaced(void **state)
{
    exl_pool_t *host = per_call(1, 0), *guest = guest_of(host, 1);
    assert_false(exl_pool_lost(guest));
    expect_killed(submit(guest, "signal %d", SIGKILL), SIGKILL);
    assert_true(exl_pool_lost(guest));
    expect_killed(submit(guest, "pid"), SIGKILL);
    assert_true(number_from(submit(host, "pid")) > 0); /* its room is free again */
    finish(guest);
    finish(host);
}

static void a_guest_outlives_its_host(void **state)
{
    gate_t gate = gate_open(), said = gate_open();
    exl_pool_t *host = per_call(1, 0);
    exl_task_t *running = submit_waiting(host, &said, &gate, 'a', 1);
    gate_expect(&said, "a");
    exl_pool_t *first = guest_of(host, 1), *second = guest_of(host, 1);
    exl_task_t *in_first = submit(first, "pid"), *in_second = submit(second, "pid");
    release(host);
    gate_pass(&gate, 1);
    assert_true(number_from(running) > 0);
    assert_true(number_from(in_first) > 0);
    assert_true(number_from(in_second) > 0);
    finish(second);
    finish(first);
    gate_close(&gate);
    gate_close(&said);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        POOL_TEST(a_guest_has_room_of_its_host),
        POOL_TEST(a_guest_waits_for_room_and_later_calls_for_it),
        POOL_TEST(earlier_calls_that_could_not_run_beside_it_go_first),
        POOL_TEST(a_guest_counts_as_a_call),
        POOL_TEST(a_guest_takes_the_place_of_a_worker),
        POOL_TEST(a_guest_has_gpus_of_its_host),
        POOL_TEST(a_lost_worker_is_not_replaced),
        POOL_TEST(a_guest_outlives_its_host),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
