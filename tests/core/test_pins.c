/* test_pins.c: who runs on which processors. */
#include "sched/pins.h"

#include <sched.h>

#include "support.h"

static const uint32_t numbers[] = {0, 1, 2, 5, 6, 7};

static exl_pins_t six(void)
{
    exl_pins_t pins;
    assert_int_equal(exl_pins_init_with(&pins, numbers, 6), 0);
    return pins;
}

static void assert_taken(exl_pins_t *pins, uint32_t count, const uint32_t *expected)
{
    uint32_t cpus[8];
    assert_true(exl_pins_take(pins, count, cpus));
    assert_memory_equal(cpus, expected, count * sizeof *cpus);
}

#define ASSERT_TAKEN(pins, ...)                                                                                        \
    do {                                                                                                               \
        const uint32_t expected[] = {__VA_ARGS__};                                                                     \
        assert_taken(pins, sizeof expected / sizeof *expected, expected);                                              \
    } while (0)

static void nobody_shares(void **state)
{
    exl_pins_t pins = six();
    uint32_t cpus[8];
    for (uint32_t i = 0; i < 6; i++)
        ASSERT_TAKEN(&pins, numbers[i]);
    assert_false(exl_pins_take(&pins, 1, cpus));
    exl_pins_give(&pins, 1, (const uint32_t[]){5});
    ASSERT_TAKEN(&pins, 5);
    exl_pins_fini(&pins);
}

static void neighbours_where_possible(void **state)
{
    exl_pins_t pins = six();
    ASSERT_TAKEN(&pins, 0);
    ASSERT_TAKEN(&pins, 5, 6, 7); /* 1, 2 and 5 are no neighbours */
    exl_pins_give(&pins, 1, (const uint32_t[]){6});
    ASSERT_TAKEN(&pins, 1, 2);
    exl_pins_give(&pins, 1, (const uint32_t[]){0});
    ASSERT_TAKEN(&pins, 0, 6); /* better than none */
    exl_pins_fini(&pins);
}

static void all_or_nothing(void **state)
{
    exl_pins_t pins = six();
    uint32_t cpus[8];
    assert_false(exl_pins_take(&pins, 7, cpus));
    assert_false(exl_pins_take(&pins, 0, cpus));
    ASSERT_TAKEN(&pins, 0, 1, 2);
    assert_false(exl_pins_take(&pins, 4, cpus));
    ASSERT_TAKEN(&pins, 5, 6, 7);
    exl_pins_give(&pins, 3, (const uint32_t[]){0, 1, 2});
    exl_pins_give(&pins, 3, (const uint32_t[]){5, 6, 7});
    ASSERT_TAKEN(&pins, 0, 1, 2, 5, 6, 7);
    exl_pins_fini(&pins);
}

static void an_empty_ledger_has_none(void **state)
{
    exl_pins_t pins = {0};
    uint32_t cpu;
    assert_false(exl_pins_take(&pins, 1, &cpu));
    exl_pins_fini(&pins);
}

static void those_of_this_process(void **state)
{
    exl_pins_t pins;
    cpu_set_t set;
    assert_int_equal(sched_getaffinity(0, sizeof set, &set), 0);
    assert_int_equal(exl_pins_init(&pins), 0);
    assert_int_equal(pins.count, CPU_COUNT(&set));
    for (uint32_t i = 0; i < pins.count; i++)
        assert_true(CPU_ISSET(pins.cpus[i], &set));
    exl_pins_fini(&pins);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        EXL_TEST(nobody_shares),         EXL_TEST(neighbours_where_possible),
        EXL_TEST(all_or_nothing),        EXL_TEST(an_empty_ledger_has_none),
        EXL_TEST(those_of_this_process),
    };
    return EXL_RUN(tests);
}
