/* test_cpus.c: the parsers of the kernel's and Slurm's answers, and their least. */
#include "sched/cpus.h"

#include <sched.h>
#include <stdlib.h>

#include "support.h"

static void cgroup_v2(void **state)
{
    assert_int_equal(exl_cpus_from_cgroup_v2("200000 100000\n"), 2);
    assert_int_equal(exl_cpus_from_cgroup_v2("150000 100000"), 2);
    assert_int_equal(exl_cpus_from_cgroup_v2("1 100000"), 1);
    assert_int_equal(exl_cpus_from_cgroup_v2("max 100000\n"), 0);
    assert_int_equal(exl_cpus_from_cgroup_v2(""), 0);
    assert_int_equal(exl_cpus_from_cgroup_v2("200000"), 0);
    assert_int_equal(exl_cpus_from_cgroup_v2("-1 100000"), 0);
    assert_int_equal(exl_cpus_from_cgroup_v2("200000 0"), 0);
    assert_int_equal(exl_cpus_from_cgroup_v2("9223372036854775807 100000"), 0);
    assert_int_equal(exl_cpus_from_cgroup_v2("99999999999999999999999 1"), 0);
}

static void cgroup_v1(void **state)
{
    assert_int_equal(exl_cpus_from_cgroup_v1("400000\n", "100000\n"), 4);
    assert_int_equal(exl_cpus_from_cgroup_v1("400001\n", "100000\n"), 5);
    assert_int_equal(exl_cpus_from_cgroup_v1("-1\n", "100000\n"), 0);
    assert_int_equal(exl_cpus_from_cgroup_v1("", ""), 0);
    assert_int_equal(exl_cpus_from_cgroup_v1("9223372036854775807", "2"), 0);
}

static void variable(void **state)
{
    assert_int_equal(exl_cpus_from_variable("16"), 16);
    assert_int_equal(exl_cpus_from_variable(NULL), 0);
    assert_int_equal(exl_cpus_from_variable("0"), 0);
    assert_int_equal(exl_cpus_from_variable("-4"), 0);
    assert_int_equal(exl_cpus_from_variable(""), 0);
    assert_int_equal(exl_cpus_from_variable("16(x2)"), 0);
    assert_int_equal(exl_cpus_from_variable("many"), 0);
    assert_int_equal(exl_cpus_from_variable("99999999999999999999"), 0);
}

static void usable_is_the_least(void **state)
{
    cpu_set_t all, one;
    assert_int_equal(unsetenv("SLURM_CPUS_ON_NODE"), 0);
    assert_int_equal(unsetenv("PYTHON_CPU_COUNT"), 0);
    assert_int_equal(sched_getaffinity(0, sizeof all, &all), 0);
    int cores = exl_cpus_usable();
    assert_in_range(cores, 1, CPU_COUNT(&all));

    assert_int_equal(setenv("SLURM_CPUS_ON_NODE", "1", 1), 0);
    assert_int_equal(exl_cpus_usable(), 1);
    assert_int_equal(setenv("SLURM_CPUS_ON_NODE", "1000000", 1), 0);
    assert_int_equal(exl_cpus_usable(), cores);
    assert_int_equal(setenv("SLURM_CPUS_ON_NODE", "nonsense", 1), 0);
    assert_int_equal(exl_cpus_usable(), cores);

    assert_int_equal(setenv("PYTHON_CPU_COUNT", "48", 1), 0);
    assert_int_equal(exl_cpus_usable(), 48);
    assert_int_equal(setenv("PYTHON_CPU_COUNT", "default", 1), 0);
    assert_int_equal(exl_cpus_usable(), cores);
    assert_int_equal(unsetenv("PYTHON_CPU_COUNT"), 0);
    assert_int_equal(unsetenv("SLURM_CPUS_ON_NODE"), 0);

    int first = 0;
    while (!CPU_ISSET(first, &all))
        first++;
    CPU_ZERO(&one);
    CPU_SET(first, &one);
    assert_int_equal(sched_setaffinity(0, sizeof one, &one), 0);
    int alone = exl_cpus_usable();
    assert_int_equal(sched_setaffinity(0, sizeof all, &all), 0);
    assert_int_equal(alone, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        EXL_TEST(cgroup_v2),
        EXL_TEST(cgroup_v1),
        EXL_TEST(variable),
        EXL_TEST(usable_is_the_least),
    };
    return EXL_RUN(tests);
}
