/* pins.c: the first gap that is wide enough, else the first that are free. */
#include "sched/pins.h"

#include <assert.h>
#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

int exl_pins_init_with(exl_pins_t *pins, const uint32_t *cpus, uint32_t count)
{
    exl_pins_t made = {.count = count,
                       .cpus = malloc(((size_t)count + 1) * sizeof *made.cpus),
                       .taken = calloc((size_t)count + 1, sizeof *made.taken)};
    if (!made.cpus || !made.taken) {
        exl_pins_fini(&made);
        return -ENOMEM;
    }
    if (count)
        memcpy(made.cpus, cpus, count * sizeof *cpus);
    *pins = made;
    return 0;
}

static int init_from(exl_pins_t *pins, const cpu_set_t *set, size_t size, uint32_t ncpus)
{
    uint32_t count = 0;
    uint32_t *cpus = malloc(ncpus * sizeof *cpus);
    if (!cpus)
        return -ENOMEM;
    for (uint32_t cpu = 0; cpu < ncpus; cpu++)
        if (CPU_ISSET_S(cpu, size, set))
            cpus[count++] = cpu;
    int rc = exl_pins_init_with(pins, cpus, count);
    free(cpus);
    return rc;
}

int exl_pins_init(exl_pins_t *pins)
{
    for (uint32_t ncpus = 1024; ncpus <= 1U << 20; ncpus *= 2) {
        cpu_set_t *set = CPU_ALLOC(ncpus);
        size_t size = CPU_ALLOC_SIZE(ncpus);
        if (!set)
            return -ENOMEM;
        int rc = sched_getaffinity(0, size, set) < 0 ? -errno : init_from(pins, set, size, ncpus);
        CPU_FREE(set);
        /* -EINVAL: the kernel's mask is longer than ours. */
        if (rc != -EINVAL)
            return rc;
    }
    return -EINVAL;
}

void exl_pins_fini(exl_pins_t *pins)
{
    free(pins->cpus);
    free(pins->taken);
    *pins = (exl_pins_t){0};
}

/* Where `count` neighbours are free; `pins->count` if nowhere. */
static uint32_t gap(const exl_pins_t *pins, uint32_t count)
{
    uint32_t width = 0;
    for (uint32_t i = 0; i < pins->count; i++) {
        bool neighbour = width > 0 && pins->cpus[i] == pins->cpus[i - 1] + 1;
        width = pins->taken[i] ? 0 : neighbour ? width + 1 : 1;
        if (width == count)
            return i + 1 - count;
    }
    return pins->count;
}

bool exl_pins_take(exl_pins_t *pins, uint32_t count, uint32_t *ret_cpus)
{
    uint32_t nfree = 0, ntaken = 0;
    for (uint32_t i = 0; i < pins->count; i++)
        nfree += !pins->taken[i];
    if (count == 0 || nfree < count)
        return false;
    uint32_t at = gap(pins, count);
    for (uint32_t i = at < pins->count ? at : 0; ntaken < count; i++) {
        if (pins->taken[i])
            continue;
        pins->taken[i] = true;
        ret_cpus[ntaken++] = pins->cpus[i];
    }
    return true;
}

void exl_pins_give(exl_pins_t *pins, uint32_t count, const uint32_t *cpus)
{
    for (uint32_t i = 0, given = 0; given < count && i < pins->count; i++) {
        if (pins->cpus[i] != cpus[given])
            continue;
        assert(pins->taken[i]);
        pins->taken[i] = false;
        given++;
    }
}
