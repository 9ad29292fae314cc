/* test_places.c: which node a call goes to. */
#include "sched/places.h"

#include <errno.h>

#include "support.h"

enum { DEPTH = 2 };

static const exl_request_t narrow = {.cores = 1}, wide = {.cores = 3}, all_cores = {.cores = EXL_ALL_CORES},
                           a_gpu = {.cores = 1, .gpus = 1}, half_a_gpu = {.cores = 1, .gpus = 1, .gpu_share = 500};

static exl_places_t places;

static int begin(void **state)
{
    exl_places_init(&places, DEPTH);
    return exl_test_begin(state);
}

static int end(void **state)
{
    exl_places_fini(&places);
    return exl_test_end(state);
}

static void add(exl_place_t *place, uint32_t cores, uint32_t calls, uint32_t gpus)
{
    exl_place_init(place);
    assert_int_equal(exl_places_describe(&places, place, cores, calls, gpus), 0);
    exl_places_open(&places, place, true);
}

static void a_call_goes_where_most_is_to_spare(void **state)
{
    exl_place_t one, two;
    assert_null(exl_places_find(&places, &narrow));
    add(&one, 4, 0, 0);
    add(&two, 4, 0, 0);
    assert_int_equal(places.spare, 8);
    assert_ptr_equal(exl_places_find(&places, &narrow), &one); /* which has waited longer */
    exl_places_take(&places, &one, &narrow);
    assert_ptr_equal(exl_places_find(&places, &narrow), &two);
    exl_places_take(&places, &two, &wide);
    assert_ptr_equal(exl_places_find(&places, &narrow), &one);
    assert_int_equal(places.spare, 4);
    exl_places_give(&places, &one, &narrow);
    exl_places_give(&places, &two, &wide);
    assert_int_equal(places.spare, 8);
}

static void what_cannot_start_goes_where_most_room_is(void **state)
{
    exl_place_t small, large;
    add(&small, 1, 0, 0);
    add(&large, 4, 0, 0);
    exl_places_take(&places, &large, &all_cores);
    assert_int_equal(exl_place_room(&places, &large), 4);
    assert_ptr_equal(exl_places_find(&places, &narrow), &small); /* it can start there */
    exl_places_take(&places, &small, &narrow);
    assert_ptr_equal(exl_places_find(&places, &narrow), &large);
    assert_int_equal(places.spare, 0);
}

static void a_call_goes_only_where_it_fits(void **state)
{
    exl_place_t small, large;
    add(&small, 2, 0, 0);
    add(&large, 4, 0, 1);
    exl_places_take(&places, &large, &all_cores);
    exl_places_take(&places, &large, &all_cores);
    assert_ptr_equal(exl_places_find(&places, &wide), &large); /* though it has no room now */
    assert_ptr_equal(exl_places_find(&places, &all_cores), &small);
    assert_ptr_equal(exl_places_find(&places, &a_gpu), &large);
    exl_places_open(&places, &large, false);
    assert_null(exl_places_find(&places, &wide));
    assert_null(exl_places_find(&places, &a_gpu));
    assert_null(exl_places_find(&places, &(exl_request_t){.cores = 5}));
}

static void a_call_with_gpus_goes_where_most_of_them_are_left(void **state)
{
    exl_place_t one, two;
    add(&one, 8, 0, 2);
    add(&two, 4, 0, 2);
    assert_ptr_equal(exl_places_find(&places, &a_gpu), &one);
    exl_places_take(&places, &one, &half_a_gpu);
    assert_ptr_equal(exl_places_find(&places, &a_gpu), &two); /* though it has fewer cores */
    exl_places_take(&places, &two, &a_gpu);
    assert_ptr_equal(exl_places_find(&places, &half_a_gpu), &one);
    for (int i = 0; i < 5; i++)
        exl_places_take(&places, &one, &a_gpu);
    assert_int_equal(exl_place_ahead(&one), 4); /* half a GPU too much counts as one */
    assert_ptr_equal(exl_places_find(&places, &a_gpu), &two);
}

static void calls_at_once_are_counted_too(void **state)
{
    exl_place_t limited, workers, nothing;
    add(&limited, 4, 1, 0);
    assert_int_equal(places.spare, 1);
    assert_int_equal(exl_place_room(&places, &limited), 2);
    exl_places_take(&places, &limited, &narrow);
    assert_int_equal(places.spare, 0);
    exl_places_open(&places, &limited, false);
    add(&nothing, 0, 0, 0);
    assert_null(exl_places_find(&places, &narrow)); /* there is nothing that could run it */
    add(&workers, 0, 3, 0);
    assert_ptr_equal(exl_places_find(&places, &wide), &workers); /* how wide workers are is not counted */
    assert_int_equal(places.spare, 3);
    assert_int_equal(exl_places_describe(&places, &workers, 0, 1, 0), 0);
    assert_int_equal(places.spare, 1);
    exl_places_take(&places, &workers, &narrow);
    exl_places_take(&places, &workers, &narrow);
    assert_int_equal(exl_place_ahead(&workers), 1);
    assert_int_equal(places.nopen, 2);
}

static void of_those_that_can_start_something_the_last_to_end_is_known(void **state)
{
    exl_place_t early, late, small;
    add(&early, 4, 0, 0);
    assert_int_equal(exl_places_end(&places, &narrow), 0); /* it does not count yet */
    assert_null(exl_places_lasting(&places, &narrow));
    add(&late, 4, 0, 0);
    add(&small, 1, 0, 0);
    exl_places_last(&places, &early, 10);
    exl_places_last(&places, &late, 20);
    exl_places_last(&places, &small, EXL_NO_END_NS);
    assert_int_equal(exl_places_end(&places, &narrow), EXL_NO_END_NS);
    assert_int_equal(exl_places_end(&places, &wide), 20);
    assert_ptr_equal(exl_places_lasting(&places, &narrow), &small);
    assert_ptr_equal(exl_places_lasting(&places, &wide), &late);
    exl_places_take(&places, &late, &all_cores);
    assert_ptr_equal(exl_places_lasting(&places, &wide), &early);
    assert_int_equal(exl_places_end(&places, &wide), 20); /* busy or not */
    exl_places_give(&places, &late, &all_cores);
    exl_places_open(&places, &late, false);
    assert_ptr_equal(exl_places_lasting(&places, &wide), &early);
    assert_int_equal(exl_places_end(&places, &wide), 20); /* open or not */
    exl_places_last(&places, &late, 0);
    assert_int_equal(exl_places_end(&places, &wide), 10);
    exl_places_last(&places, &early, 5);
    assert_int_equal(exl_places_end(&places, &wide), 5);
}

static void who_has_more_than_it_can_run_is_listed(void **state)
{
    exl_place_t one, two;
    add(&one, 1, 0, 0);
    add(&two, 1, 0, 0);
    exl_places_take(&places, &one, &narrow);
    exl_places_take(&places, &two, &narrow);
    assert_true(exl_list_empty(&places.ahead));
    exl_places_take(&places, &two, &wide);
    exl_places_take(&places, &one, &narrow);
    assert_int_equal(two.nwide, 1);
    assert_ptr_equal(exl_place_ahead_of(places.ahead.next), &two);
    exl_places_open(&places, &two, false);
    assert_ptr_equal(exl_place_ahead_of(places.ahead.next), &one);
    exl_places_open(&places, &two, true);
    assert_ptr_equal(exl_place_ahead_of(places.ahead.prev), &two);
    exl_places_give(&places, &one, &narrow);
    exl_places_give(&places, &two, &wide);
    assert_true(exl_list_empty(&places.ahead));
}

static void more_than_can_be_counted_is_refused(void **state)
{
    exl_place_t place;
    exl_place_init(&place);
    assert_int_equal(exl_places_describe(&places, &place, UINT32_MAX, 0, 0), -EINVAL);
    assert_int_equal(exl_places_describe(&places, &place, 0, UINT32_MAX, 0), -EINVAL);
}

/* ---- beside a plain search ---- */

enum { PLACES = 12, CALLS = 400 };

static uint64_t key_of(const exl_place_t *place, bool gpus)
{
    uint64_t spare = place->cores > place->cores_used ? place->cores - place->cores_used : 0;
    uint64_t room = exl_place_room(&places, place);
    int64_t gpus_left = place->gpus * INT64_C(1000) - (int64_t)place->gpus_used;
    return gpus ? ((uint64_t)(gpus_left + INT32_MAX) << 32) + room : spare ? (spare << 32) : room;
}

static void expect_best(const exl_place_t *all, const exl_request_t *request)
{
    const exl_place_t *found = exl_places_find(&places, request);
    uint64_t best = 0, spare = 0;
    bool any = false;
    for (int i = 0; i < PLACES; i++) {
        const exl_place_t *place = &all[i];
        if (place->open && place->cores > place->cores_used)
            spare += place->cores - place->cores_used;
        if (!place->open || request->cores > place->cores || request->gpus > place->gpus)
            continue;
        any = true;
        best = key_of(place, request->gpus) > best ? key_of(place, request->gpus) : best;
    }
    assert_int_equal(places.spare, spare);
    assert_int_equal(found != NULL, any);
    if (found) {
        assert_true(found->open && request->cores <= found->cores && request->gpus <= found->gpus);
        assert_int_equal(key_of(found, request->gpus), best);
    }
}

static void any_sequence_finds_the_best(void **state)
{
    static const exl_request_t requests[] = {{.cores = 1},
                                             {.cores = 3},
                                             {.cores = 6},
                                             {.cores = 1, .gpus = 1},
                                             {.cores = 2, .gpus = 1, .gpu_share = 300},
                                             {.cores = 1, .gpus = 2}};
    struct {
        exl_place_t *place;
        exl_request_t request;
    } calls[CALLS] = {{NULL}};
    exl_place_t all[PLACES];
    uint64_t random = 1;
    for (uint32_t i = 0; i < PLACES; i++)
        add(&all[i], 2 << i % 3, 0, i % 4 == 3 ? 2 : 0);
    for (int round = 0; round < 20000; round++) {
        random = random * UINT64_C(6364136223846793005) + 1442695040888963407;
        const exl_request_t *request = &requests[(random >> 33) % 6];
        uint32_t number = (random >> 40) % CALLS;
        expect_best(all, request);
        exl_place_t *found = exl_places_find(&places, request);
        if (calls[number].place) {
            exl_places_give(&places, calls[number].place, &calls[number].request);
            calls[number].place = NULL;
        } else if (found && exl_place_room(&places, found)) {
            exl_places_take(&places, found, request);
            calls[number].place = found;
            calls[number].request = *request;
        }
        if ((random >> 52) % 16 == 0)
            exl_places_open(&places, &all[number % PLACES], !all[number % PLACES].open);
    }
}

#define PLACES_TEST(function) cmocka_unit_test_setup_teardown(function, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        PLACES_TEST(a_call_goes_where_most_is_to_spare),
        PLACES_TEST(what_cannot_start_goes_where_most_room_is),
        PLACES_TEST(a_call_goes_only_where_it_fits),
        PLACES_TEST(a_call_with_gpus_goes_where_most_of_them_are_left),
        PLACES_TEST(calls_at_once_are_counted_too),
        PLACES_TEST(of_those_that_can_start_something_the_last_to_end_is_known),
        PLACES_TEST(who_has_more_than_it_can_run_is_listed),
        PLACES_TEST(more_than_can_be_counted_is_refused),
        PLACES_TEST(any_sequence_finds_the_best),
    };
    return EXL_RUN(tests);
}
