/* test_spin.c: how long a wait is spent awake. */
#include "base/spin.h"

#include <sched.h>

#include "base/clock.h"
#include "support.h"

enum { LONGEST_NS = 400000 };

/* Budgets are zero on a machine, or under an affinity, that leaves one processor. */
static bool alone(void)
{
    cpu_set_t set;
    assert_int_equal(sched_getaffinity(0, sizeof set, &set), 0);
    return CPU_COUNT(&set) < 2;
}

static void the_first_wait_sleeps(void **state)
{
    exl_spin_t spin = {0};
    assert_false(exl_spin_on(&spin, exl_clock_ns()));
}

static void a_short_wait_lets_the_next_one_begin_awake(void **state)
{
    exl_spin_t spin = {0};
    for (int64_t waited_ns = 0; waited_ns <= LONGEST_NS; waited_ns += 1000) {
        exl_spin_learn(&spin, waited_ns);
        if (alone()) {
            assert_int_equal(spin.budget_ns, 0);
            continue;
        }
        /* At least as long again, and never for longer than that is worth. */
        assert_in_range(spin.budget_ns, waited_ns, LONGEST_NS);
        assert_true(spin.budget_ns > waited_ns || waited_ns == LONGEST_NS);
    }
}

static void a_long_wait_or_none_at_all_ends_it(void **state)
{
    const int64_t long_ns[] = {LONGEST_NS + 1, EXL_NS_PER_S, INT64_MAX / 2, INT64_MAX};
    for (size_t i = 0; i < sizeof long_ns / sizeof *long_ns; i++) {
        exl_spin_t spin = {0};
        exl_spin_learn(&spin, 1000);
        exl_spin_learn(&spin, long_ns[i]);
        assert_int_equal(spin.budget_ns, 0);
        assert_false(exl_spin_on(&spin, exl_clock_ns()));
    }
}

static void it_ends_with_the_budget(void **state)
{
    exl_spin_t spin = {.budget_ns = LONGEST_NS};
    int64_t begun_ns = exl_clock_ns();
    while (exl_spin_on(&spin, begun_ns)) {
    }
    /* Either the time was up, or somebody else wanted the processor. */
    assert_true(spin.crowded || exl_clock_ns() - begun_ns >= LONGEST_NS);
    assert_false(exl_spin_on(&spin, exl_clock_ns() - LONGEST_NS));
}

static void who_had_to_wait_for_the_processor_sleeps_next_time(void **state)
{
    exl_spin_t spin = {.budget_ns = LONGEST_NS, .crowded = true};
    exl_spin_learn(&spin, 1000);
    assert_int_equal(spin.budget_ns, 0);
    assert_false(spin.crowded);
    /* Once only: the wait after that counts again. */
    exl_spin_learn(&spin, 1000);
    assert_true(spin.budget_ns > 0 || alone());
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        EXL_TEST(the_first_wait_sleeps),
        EXL_TEST(a_short_wait_lets_the_next_one_begin_awake),
        EXL_TEST(a_long_wait_or_none_at_all_ends_it),
        EXL_TEST(it_ends_with_the_budget),
        EXL_TEST(who_had_to_wait_for_the_processor_sleeps_next_time),
    };
    return EXL_RUN(tests);
}
