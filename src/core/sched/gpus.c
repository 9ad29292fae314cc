/* gpus.c: best fit for shares, then the one that is used least elsewhere, then the first. */
#include "sched/gpus.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/list.h"

/* One GPU, for all ledgers. */
struct exl_gpu {
    exl_list_t link;
    uint32_t refs; /* ledgers that list it */
    uint64_t used; /* thousandths, of all ledgers together */
    char name[];
};

static exl_list_t known = {&known, &known};

static struct exl_gpu *gpu_find(const char *name)
{
    EXL_LIST_FOREACH(&known, link)
    {
        struct exl_gpu *gpu = EXL_CONTAINER(link, struct exl_gpu, link);
        if (strcmp(gpu->name, name) == 0)
            return gpu;
    }
    return NULL;
}

static struct exl_gpu *gpu_ref(const char *name)
{
    struct exl_gpu *gpu = gpu_find(name);
    size_t size = strlen(name) + 1;
    if (!gpu && (gpu = calloc(1, sizeof *gpu + size))) {
        memcpy(gpu->name, name, size);
        exl_list_push_back(&known, &gpu->link);
    }
    if (gpu)
        gpu->refs++;
    return gpu;
}

static void gpu_unref(struct exl_gpu *gpu)
{
    if (--gpu->refs)
        return;
    exl_list_remove(&gpu->link);
    free(gpu);
}

int exl_gpus_init(exl_gpus_t *gpus, const char *const *names, uint32_t count)
{
    exl_gpus_t made = {.gpus = (struct exl_gpu **)calloc((size_t)count + 1, sizeof *made.gpus),
                       .used = calloc((size_t)count + 1, sizeof *made.used)};
    bool complete = made.gpus && made.used;
    while (complete && made.count < count) {
        made.gpus[made.count] = gpu_ref(names[made.count]);
        complete = made.gpus[made.count] != NULL;
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
    for (uint32_t i = 0; i < gpus->count; i++) {
        gpus->gpus[i]->used -= gpus->used[i];
        gpu_unref(gpus->gpus[i]);
    }
    free((void *)gpus->gpus);
    free(gpus->used);
    *gpus = (exl_gpus_t){0};
}

const char *exl_gpus_name(const exl_gpus_t *gpus, uint32_t place)
{
    assert(place < gpus->count);
    return gpus->gpus[place]->name;
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

static bool is_better(const exl_gpus_t *gpus, uint32_t a, uint32_t b)
{
    if (gpus->used[a] != gpus->used[b])
        return gpus->used[a] > gpus->used[b];
    return gpus->gpus[a]->used < gpus->gpus[b]->used;
}

/* Of those that have enough left. */
static uint32_t best(const exl_gpus_t *gpus, uint32_t share)
{
    uint32_t found = gpus->count;
    for (uint32_t i = 0; i < gpus->count; i++)
        if (EXL_GPU_WHOLE - gpus->used[i] >= share && (found == gpus->count || is_better(gpus, i, found)))
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
        gpus->gpus[ret_places[i]]->used += thousandths(share);
    }
    qsort(ret_places, count, sizeof *ret_places, compare);
}

void exl_gpus_give(exl_gpus_t *gpus, uint32_t count, uint32_t share, const uint32_t *places)
{
    for (uint32_t i = 0; i < count; i++) {
        assert(places[i] < gpus->count && gpus->used[places[i]] >= thousandths(share));
        gpus->used[places[i]] -= thousandths(share);
        gpus->gpus[places[i]]->used -= thousandths(share);
    }
}
