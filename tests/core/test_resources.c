/* test_resources.c: the ledger, and the choice among persistent workers. */
#include "sched/resources.h"

#include "support.h"

static void without_limits_everything_fits(void **state)
{
    exl_resources_t resources = {0};
    for (int i = 0; i < 1000; i++) {
        assert_true(exl_resources_fits(&resources, (exl_request_t){.cores = 100}));
        exl_resources_take(&resources, (exl_request_t){.cores = 100}, NULL);
    }
    assert_true(exl_resources_fits(&resources, (exl_request_t){.cores = 1, .gpus = 1}));
}

static void cores_are_counted(void **state)
{
    exl_resources_t resources = {.cores = 4};
    exl_request_t three = {.cores = 3}, two = {.cores = 2}, one = {.cores = 1};
    exl_resources_take(&resources, three, NULL);
    assert_false(exl_resources_fits(&resources, two));
    assert_true(exl_resources_fits(&resources, one));
    exl_resources_take(&resources, one, NULL);
    assert_false(exl_resources_fits(&resources, one));
    exl_resources_give(&resources, three, NULL);
    assert_true(exl_resources_fits(&resources, two));
}

static void calls_are_counted(void **state)
{
    exl_resources_t resources = {.calls = 2};
    exl_request_t one = {.cores = 1};
    exl_resources_take(&resources, one, NULL);
    exl_resources_take(&resources, one, NULL);
    assert_false(exl_resources_fits(&resources, one));
    exl_resources_give(&resources, one, NULL);
    assert_true(exl_resources_fits(&resources, one));
}

static void gpus_are_counted(void **state)
{
    const char *const names[] = {"a", "b"};
    exl_gpus_t gpus;
    assert_int_equal(exl_gpus_init(&gpus, names, 2), 0);
    exl_resources_t resources = {.cores = 1, .gpus = &gpus};
    exl_request_t one = {.cores = 1, .gpus = 1}, none = {.cores = 1};
    exl_holding_t first, second;
    assert_int_equal(exl_resources_shortage(&resources, (exl_request_t){.gpus = 3}), EXL_SHORT_OF_GPUS);
    assert_int_equal(exl_resources_take(&resources, one, &first), 0);
    assert_int_equal(first.gpus[0], 0);
    assert_null(first.cpus);
    assert_int_equal(exl_resources_shortage(&resources, one), EXL_SHORT_OF_CORES);
    exl_resources_give(&resources, one, &first);
    assert_int_equal(exl_resources_take(&resources, one, &second), 0);
    assert_int_equal(second.gpus[0], 1); /* a call that has ended has its GPU until its process is gone */
    exl_resources_give(&resources, one, &second);
    assert_int_equal(exl_resources_shortage(&resources, one), EXL_SHORT_OF_GPUS);
    assert_int_equal(exl_resources_shortage(&resources, none), EXL_SHORT_OF_NOTHING);
    exl_resources_give_gpus(&resources, one, &first);
    exl_resources_give_gpus(&resources, one, &first); /* has none any more */
    assert_int_equal(exl_resources_shortage(&resources, one), EXL_SHORT_OF_NOTHING);
    exl_resources_give_gpus(&resources, one, &second);
    exl_gpus_fini(&gpus);
}

static void pins_are_no_reason_to_wait(void **state)
{
    const uint32_t cpus[] = {3, 4, 8};
    exl_pins_t pins;
    assert_int_equal(exl_pins_init_with(&pins, cpus, 3), 0);
    exl_resources_t resources = {.pins = &pins};
    exl_request_t two = {.cores = 2, .pin = true}, unpinned = {.cores = 2};
    exl_holding_t first, second, third;
    assert_int_equal(exl_resources_take(&resources, unpinned, &first), 0);
    assert_null(first.cpus);
    assert_int_equal(exl_resources_take(&resources, two, &second), 0);
    assert_int_equal(second.cpus[0], 3);
    assert_int_equal(second.cpus[1], 4);
    assert_int_equal(exl_resources_take(&resources, two, &third), 0);
    assert_null(third.cpus);
    exl_resources_give(&resources, two, &second);
    assert_null(second.cpus);
    exl_resources_give(&resources, two, &third);
    exl_resources_give(&resources, unpinned, &first);
    assert_int_equal(exl_resources_take(&resources, two, &first), 0);
    assert_int_equal(first.cpus[0], 3);
    exl_resources_give(&resources, two, &first);
    exl_pins_fini(&pins);
}

static void a_call_wider_than_everything_fits_alone(void **state)
{
    exl_resources_t resources = {.cores = 2};
    exl_request_t wide = {.cores = 5}, one = {.cores = 1};
    exl_resources_take(&resources, one, NULL);
    assert_false(exl_resources_fits(&resources, wide));
    exl_resources_give(&resources, one, NULL);
    assert_true(exl_resources_fits(&resources, wide));
    exl_resources_take(&resources, wide, NULL);
    assert_false(exl_resources_fits(&resources, one));
    exl_resources_give(&resources, wide, NULL);
    assert_int_equal(resources.cores_used, 0);
}

static void an_exclusive_call_fits_alone_whatever_the_limits_are(void **state)
{
    const exl_resources_t limits[] = {{.cores = 0}, {.cores = 2}, {.calls = 2}, {.cores = 4, .calls = 2}};
    exl_request_t all = {.cores = EXL_ALL_CORES}, one = {.cores = 1};
    for (size_t i = 0; i < sizeof limits / sizeof *limits; i++) {
        exl_resources_t resources = limits[i];
        exl_resources_take(&resources, one, NULL);
        assert_false(exl_resources_fits(&resources, all));
        exl_resources_give(&resources, one, NULL);
        exl_resources_take(&resources, all, NULL);
        assert_false(exl_resources_fits(&resources, one));
        assert_false(exl_resources_fits(&resources, all));
        exl_resources_give(&resources, all, NULL);
        assert_true(exl_resources_fits(&resources, one));
        assert_int_equal(resources.cores_used, 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        EXL_TEST(without_limits_everything_fits),
        EXL_TEST(cores_are_counted),
        EXL_TEST(calls_are_counted),
        EXL_TEST(gpus_are_counted),
        EXL_TEST(pins_are_no_reason_to_wait),
        EXL_TEST(a_call_wider_than_everything_fits_alone),
        EXL_TEST(an_exclusive_call_fits_alone_whatever_the_limits_are),
    };
    return EXL_RUN(tests);
}
