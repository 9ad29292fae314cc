/* test_gpus.c: whole GPUs and shares of them. */
#include "sched/gpus.h"

#include <stdlib.h>
#include <string.h>

#include "support.h"

static const char *const names[] = {"0", "GPU-8932f937-d72c-4106-c12f-20bd9faed9f6", "MIG-GPU-1/2/0", "7"};

static exl_gpus_t four(void)
{
    exl_gpus_t gpus;
    assert_int_equal(exl_gpus_init(&gpus, names, 4), 0);
    return gpus;
}

static void assert_taken(exl_gpus_t *gpus, uint32_t count, uint32_t share, const uint32_t *expected)
{
    uint32_t places[8];
    assert_true(exl_gpus_fit(gpus, count, share));
    exl_gpus_take(gpus, count, share, places);
    assert_memory_equal(places, expected, count * sizeof *places);
}

#define ASSERT_TAKEN(gpus, share, ...)                                                                                 \
    do {                                                                                                               \
        const uint32_t expected[] = {__VA_ARGS__};                                                                     \
        assert_taken(gpus, sizeof expected / sizeof *expected, share, expected);                                       \
    } while (0)

static void an_empty_ledger_has_none(void **state)
{
    exl_gpus_t gpus = {0};
    assert_true(exl_gpus_fit(&gpus, 0, 0));
    assert_false(exl_gpus_fit(&gpus, 1, 0));
    assert_false(exl_gpus_fit(&gpus, 1, 1));
    exl_gpus_fini(&gpus);
    assert_int_equal(exl_gpus_init(&gpus, NULL, 0), 0);
    assert_false(exl_gpus_fit(&gpus, 1, 0));
    exl_gpus_fini(&gpus);
}

static void names_are_copied(void **state)
{
    char name[] = "GPU-1";
    const char *list[] = {name};
    exl_gpus_t gpus;
    assert_int_equal(exl_gpus_init(&gpus, list, 1), 0);
    name[0] = 'X';
    assert_string_equal(exl_gpus_name(&gpus, 0), "GPU-1");
    exl_gpus_fini(&gpus);
    assert_int_equal(gpus.count, 0);
}

static void whole_ones(void **state)
{
    exl_gpus_t gpus = four();
    assert_false(exl_gpus_fit(&gpus, 5, 0));
    ASSERT_TAKEN(&gpus, 0, 0, 1, 2);
    assert_true(exl_gpus_fit(&gpus, 1, EXL_GPU_WHOLE));
    assert_false(exl_gpus_fit(&gpus, 2, 0));
    exl_gpus_give(&gpus, 1, 0, (const uint32_t[]){1});
    ASSERT_TAKEN(&gpus, 0, 1, 3);
    assert_false(exl_gpus_fit(&gpus, 1, 0));
    assert_false(exl_gpus_fit(&gpus, 1, 1));
    exl_gpus_fini(&gpus);
}

static void ledgers_side_by_side_take_different_ones(void **state)
{
    exl_gpus_t first = four(), second = four(), third;
    assert_int_equal(exl_gpus_init(&third, names + 2, 2), 0);
    ASSERT_TAKEN(&first, 0, 0);
    ASSERT_TAKEN(&second, 0, 1);
    ASSERT_TAKEN(&second, 500, 2);
    ASSERT_TAKEN(&third, 0, 1);       /* the last of the four */
    ASSERT_TAKEN(&third, 0, 0);       /* half of it is free elsewhere, and nobody waits */
    ASSERT_TAKEN(&first, 0, 1, 2, 3); /* all that it has itself */
    exl_gpus_fini(&second);           /* with what it has of them */
    exl_gpus_give(&third, 1, 0, (const uint32_t[]){1});
    exl_gpus_give(&first, 2, 0, (const uint32_t[]){2, 3});
    ASSERT_TAKEN(&first, 0, 3);
    exl_gpus_fini(&first);
    exl_gpus_fini(&third);
    exl_gpus_t alone = four();
    ASSERT_TAKEN(&alone, 0, 0, 1, 2, 3);
    exl_gpus_fini(&alone);
}

static void halves_share_one(void **state)
{
    exl_gpus_t gpus = four();
    ASSERT_TAKEN(&gpus, 500, 0);
    ASSERT_TAKEN(&gpus, 0, 1, 2, 3);
    assert_false(exl_gpus_fit(&gpus, 1, 0)); /* the shared one is not given whole */
    ASSERT_TAKEN(&gpus, 500, 0);
    assert_false(exl_gpus_fit(&gpus, 1, 1));
    exl_gpus_give(&gpus, 1, 500, (const uint32_t[]){0});
    assert_false(exl_gpus_fit(&gpus, 1, 0));
    exl_gpus_give(&gpus, 1, 500, (const uint32_t[]){0});
    ASSERT_TAKEN(&gpus, 0, 0);
    exl_gpus_fini(&gpus);
}

static void shares_go_where_least_is_left(void **state)
{
    exl_gpus_t gpus = four();
    ASSERT_TAKEN(&gpus, 300, 0);
    ASSERT_TAKEN(&gpus, 800, 1);
    ASSERT_TAKEN(&gpus, 200, 1);
    ASSERT_TAKEN(&gpus, 200, 0);
    ASSERT_TAKEN(&gpus, 600, 2);
    ASSERT_TAKEN(&gpus, 0, 3);
    exl_gpus_fini(&gpus);
}

/* As the ranks of one call take them. */
static void several_shares_at_once(void **state)
{
    exl_gpus_t gpus = four();
    assert_true(exl_gpus_fit(&gpus, 8, 500));
    assert_false(exl_gpus_fit(&gpus, 9, 500));
    assert_false(exl_gpus_fit(&gpus, 5, 501));
    ASSERT_TAKEN(&gpus, 333, 0, 0, 0, 1);
    exl_gpus_give(&gpus, 4, 333, (const uint32_t[]){0, 0, 0, 1});
    assert_true(exl_gpus_fit(&gpus, 4, 0));
    exl_gpus_fini(&gpus);
}

static void any_order_ends_where_it_began(void **state)
{
    enum { ROUNDS = 20000, HOLDERS = 16 };
    static const uint32_t shares[] = {0, 1, 125, 250, 500, 999};
    struct holder {
        uint32_t count, share, places[4];
    } holders[HOLDERS] = {{0}};
    exl_gpus_t gpus = four();
    srand(1);
    for (int i = 0; i < ROUNDS; i++) {
        struct holder *holder = &holders[rand() % HOLDERS];
        if (holder->count) {
            exl_gpus_give(&gpus, holder->count, holder->share, holder->places);
            holder->count = 0;
        } else {
            uint32_t count = 1 + (uint32_t)rand() % 4, share = shares[rand() % 6];
            if (!exl_gpus_fit(&gpus, count, share))
                continue;
            *holder = (struct holder){.count = count, .share = share};
            exl_gpus_take(&gpus, count, share, holder->places);
        }
        uint32_t used[4] = {0};
        for (int k = 0; k < HOLDERS; k++)
            for (uint32_t n = 0; n < holders[k].count; n++)
                used[holders[k].places[n]] += holders[k].share ? holders[k].share : EXL_GPU_WHOLE;
        for (int k = 0; k < 4; k++)
            assert_true(used[k] <= EXL_GPU_WHOLE && used[k] == gpus.used[k]);
    }
    exl_gpus_fini(&gpus);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        EXL_TEST(an_empty_ledger_has_none),
        EXL_TEST(names_are_copied),
        EXL_TEST(whole_ones),
        EXL_TEST(ledgers_side_by_side_take_different_ones),
        EXL_TEST(halves_share_one),
        EXL_TEST(shares_go_where_least_is_left),
        EXL_TEST(several_shares_at_once),
        EXL_TEST(any_order_ends_where_it_began),
    };
    return EXL_RUN(tests);
}
