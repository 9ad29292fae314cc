/* test_resources.c: the ledger, and the choice among persistent workers. */
#include "sched/resources.h"

#include "sched/place.h"
#include "support.h"

static void without_limits_everything_fits(void **state)
{
    exl_resources_t resources = {0};
    for (int i = 0; i < 1000; i++) {
        assert_true(exl_resources_fits(&resources, (exl_request_t){.cores = 100}));
        exl_resources_take(&resources, (exl_request_t){.cores = 100});
    }
    assert_false(exl_resources_fits(&resources, (exl_request_t){.cores = 1, .gpus = 1}));
}

static void cores_are_counted(void **state)
{
    exl_resources_t resources = {.cores = 4};
    exl_request_t three = {.cores = 3}, two = {.cores = 2}, one = {.cores = 1};
    exl_resources_take(&resources, three);
    assert_false(exl_resources_fits(&resources, two));
    assert_true(exl_resources_fits(&resources, one));
    exl_resources_take(&resources, one);
    assert_false(exl_resources_fits(&resources, one));
    exl_resources_give(&resources, three);
    assert_true(exl_resources_fits(&resources, two));
}

static void calls_are_counted(void **state)
{
    exl_resources_t resources = {.calls = 2};
    exl_request_t one = {.cores = 1};
    exl_resources_take(&resources, one);
    exl_resources_take(&resources, one);
    assert_false(exl_resources_fits(&resources, one));
    exl_resources_give(&resources, one);
    assert_true(exl_resources_fits(&resources, one));
}

static void gpus_are_counted(void **state)
{
    exl_resources_t resources = {.gpus = 2};
    exl_request_t one = {.cores = 1, .gpus = 1};
    assert_false(exl_resources_fits(&resources, (exl_request_t){.cores = 1, .gpus = 3}));
    exl_resources_take(&resources, one);
    exl_resources_take(&resources, one);
    assert_false(exl_resources_fits(&resources, one));
    assert_true(exl_resources_fits(&resources, (exl_request_t){.cores = 1}));
}

static void a_call_wider_than_everything_fits_alone(void **state)
{
    exl_resources_t resources = {.cores = 2};
    exl_request_t wide = {.cores = 5}, one = {.cores = 1};
    exl_resources_take(&resources, one);
    assert_false(exl_resources_fits(&resources, wide));
    exl_resources_give(&resources, one);
    assert_true(exl_resources_fits(&resources, wide));
    exl_resources_take(&resources, wide);
    assert_false(exl_resources_fits(&resources, one));
    exl_resources_give(&resources, wide);
    assert_int_equal(resources.cores_used, 0);
}

static void an_exclusive_call_fits_alone_whatever_the_limits_are(void **state)
{
    const exl_resources_t limits[] = {{.cores = 0}, {.cores = 2}, {.calls = 2}, {.cores = 4, .calls = 2}};
    exl_request_t all = {.cores = EXL_ALL_CORES}, one = {.cores = 1};
    for (size_t i = 0; i < sizeof limits / sizeof *limits; i++) {
        exl_resources_t resources = limits[i];
        exl_resources_take(&resources, one);
        assert_false(exl_resources_fits(&resources, all));
        exl_resources_give(&resources, one);
        exl_resources_take(&resources, all);
        assert_false(exl_resources_fits(&resources, one));
        assert_false(exl_resources_fits(&resources, all));
        exl_resources_give(&resources, all);
        assert_true(exl_resources_fits(&resources, one));
        assert_int_equal(resources.cores_used, 0);
    }
}

static void the_least_loaded_worker_below_the_depth(void **state)
{
    const uint32_t loads[] = {3, 1, UINT32_MAX, 1, 0};
    assert_int_equal(exl_place_least_loaded(loads, 5, 8), 4);
    assert_int_equal(exl_place_least_loaded(loads, 4, 8), 1);
    assert_int_equal(exl_place_least_loaded(loads, 4, 1), -1);
    assert_int_equal(exl_place_least_loaded(loads, 0, 8), -1);
    assert_int_equal(exl_place_least_loaded(loads + 2, 1, UINT32_MAX), -1);
}

static void the_worker_with_most_calls_ahead(void **state)
{
    const uint32_t ahead[] = {0, 2, 5, 5};
    assert_int_equal(exl_place_most_ahead(ahead, 4), 2);
    assert_int_equal(exl_place_most_ahead(ahead, 1), -1);
    assert_int_equal(exl_place_most_ahead(ahead, 0), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        EXL_TEST(without_limits_everything_fits),
        EXL_TEST(cores_are_counted),
        EXL_TEST(calls_are_counted),
        EXL_TEST(gpus_are_counted),
        EXL_TEST(a_call_wider_than_everything_fits_alone),
        EXL_TEST(an_exclusive_call_fits_alone_whatever_the_limits_are),
        EXL_TEST(the_least_loaded_worker_below_the_depth),
        EXL_TEST(the_worker_with_most_calls_ahead),
    };
    return EXL_RUN(tests);
}
