/* resources.c: the ledger of cores, calls and GPUs. */
#include "sched/resources.h"

#include <assert.h>

bool exl_resources_fits(const exl_resources_t *resources, exl_request_t request)
{
    if (resources->calls && resources->calls_used >= resources->calls)
        return false;
    if (request.cores == EXL_ALL_CORES ? resources->calls_used > 0 : resources->cores_used == EXL_ALL_CORES)
        return false;
    if (request.gpus > resources->gpus - resources->gpus_used)
        return false;
    if (!resources->cores || resources->cores_used == 0)
        return true;
    return resources->cores_used < resources->cores && request.cores <= resources->cores - resources->cores_used;
}

void exl_resources_take(exl_resources_t *resources, exl_request_t request)
{
    assert(exl_resources_fits(resources, request));
    resources->cores_used += request.cores;
    resources->gpus_used += request.gpus;
    resources->calls_used++;
}

void exl_resources_give(exl_resources_t *resources, exl_request_t request)
{
    assert(resources->calls_used && resources->cores_used >= request.cores && resources->gpus_used >= request.gpus);
    resources->cores_used -= request.cores;
    resources->gpus_used -= request.gpus;
    resources->calls_used--;
}
