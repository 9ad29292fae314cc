/* gpus.c: first free for whole GPUs, best fit for shares. */
#include "sched/gpus.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

int exl_gpus_init(exl_gpus_t *gpus, const char *const *names, uint32_t count)
{
    exl_gpus_t made = {.names = calloc((size_t)count + 1, sizeof *made.names),
                       .used = calloc((size_t)count + 1, sizeof *made.used)};
    bool complete = made.names && made.used;
    while (complete && made.count < count) {
        made.names[made.count] = strdup(names[made.count]);
        complete = made.names[made.count] != NULL;
        made.count += complete;
    }
    if (!complete) {
        exl_gpus_fini(&made);
        return -ENOMEM;
    }
    *gpus = made;
    return 0;
}

void exl_gpus_fini(exl_gpus_t *gpus)
{
    for (uint32_t i = 0; i < gpus->count; i++)
        free(gpus->names[i]);
    free((void *)gpus->names);
    free(gpus->used);
    *gpus = (exl_gpus_t){0};
}

static uint32_t thousandths(uint32_t share)
{
    return share ? share : EXL_GPU_WHOLE;
}

bool exl_gpus_fit(const exl_gpus_t *gpus, uint32_t count, uint32_t share)
{
    uint32_t room = 0;
    for (uint32_t i = 0; i < gpus->count && room < count; i++)
        room += (EXL_GPU_WHOLE - gpus->used[i]) / thousandths(share);
    return room >= count;
}

/* The one with least left of those that have enough; the first of equals. */
static uint32_t best(const exl_gpus_t *gpus, uint32_t share)
{
    uint32_t found = gpus->count;
    for (uint32_t i = 0; i < gpus->count; i++)
        if (EXL_GPU_WHOLE - gpus->used[i] >= share && (found == gpus->count || gpus->used[i] > gpus->used[found]))
            found = i;
    return found;
}

static int compare(const void *a, const void *b)
{
    uint32_t left = *(const uint32_t *)a, right = *(const uint32_t *)b;
    return (left > right) - (left < right);
}

void exl_gpus_take(exl_gpus_t *gpus, uint32_t count, uint32_t share, uint32_t *ret_places)
{
    assert(exl_gpus_fit(gpus, count, share));
    for (uint32_t i = 0; i < count; i++) {
        ret_places[i] = best(gpus, thousandths(share));
        gpus->used[ret_places[i]] += thousandths(share);
    }
    qsort(ret_places, count, sizeof *ret_places, compare);
}

void exl_gpus_give(exl_gpus_t *gpus, uint32_t count, uint32_t share, const uint32_t *places)
{
    for (uint32_t i = 0; i < count; i++) {
        assert(places[i] < gpus->count && gpus->used[places[i]] >= thousandths(share));
        gpus->used[places[i]] -= thousandths(share);
    }
}
