/* resources.c: the ledger of cores, calls, GPUs and processors. */
#include "sched/resources.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

static bool has_cores(const exl_resources_t *resources, exl_request_t request)
{
    if (request.nodes && resources->hosts && !exl_hosts_fit(resources->hosts, request.nodes, request.node_cores))
        return false;
    if (resources->calls && resources->calls_used >= resources->calls)
        return false;
    if (request.cores == EXL_ALL_CORES ? resources->calls_used > 0 : resources->cores_used == EXL_ALL_CORES)
        return false;
    if (!resources->cores || resources->cores_used == 0)
        return true;
    return resources->cores_used < resources->cores && request.cores <= resources->cores - resources->cores_used;
}

exl_shortage_t exl_resources_shortage(const exl_resources_t *resources, exl_request_t request)
{
    if (!has_cores(resources, request))
        return EXL_SHORT_OF_CORES;
    if (resources->gpus && !exl_gpus_fit(resources->gpus, request.gpus, request.gpu_share))
        return EXL_SHORT_OF_GPUS;
    return EXL_SHORT_OF_NOTHING;
}

bool exl_resources_fits(const exl_resources_t *resources, exl_request_t request)
{
    return exl_resources_shortage(resources, request) == EXL_SHORT_OF_NOTHING;
}

static void take_cpus(exl_resources_t *resources, uint32_t count, exl_holding_t *holding)
{
    if (exl_pins_take(resources->pins, count, holding->cpus))
        return;
    free(holding->cpus);
    holding->cpus = NULL;
}

int exl_resources_take(exl_resources_t *resources, exl_request_t request, exl_holding_t *ret_holding)
{
    bool gpus = resources->gpus && request.gpus;
    bool pin = resources->pins && request.pin && request.cores <= resources->pins->count;
    bool nodes = resources->hosts && request.nodes;
    exl_holding_t holding = {.nodes = nodes ? malloc(request.nodes * sizeof *holding.nodes) : NULL,
                             .gpus = gpus ? malloc(request.gpus * sizeof *holding.gpus) : NULL,
                             .cpus = pin ? malloc(request.cores * sizeof *holding.cpus) : NULL};
    assert(exl_resources_fits(resources, request) && (ret_holding || !(gpus || pin || nodes)));
    if ((gpus && !holding.gpus) || (pin && !holding.cpus) || (nodes && !holding.nodes)) {
        free(holding.nodes);
        free(holding.gpus);
        free(holding.cpus);
        return -ENOMEM;
    }
    resources->cores_used += request.cores;
    resources->calls_used++;
    if (gpus)
        exl_gpus_take(resources->gpus, request.gpus, request.gpu_share, holding.gpus);
    if (nodes)
        exl_hosts_take(resources->hosts, request.nodes, request.node_cores, holding.nodes);
    if (pin)
        take_cpus(resources, request.cores, &holding);
    if (ret_holding)
        *ret_holding = holding;
    return 0;
}

void exl_resources_give(exl_resources_t *resources, exl_request_t request, exl_holding_t *holding)
{
    assert(resources->calls_used && resources->cores_used >= request.cores);
    resources->cores_used -= request.cores;
    resources->calls_used--;
    if (!holding || !holding->cpus)
        return;
    exl_pins_give(resources->pins, request.cores, holding->cpus);
    free(holding->cpus);
    holding->cpus = NULL;
}

void exl_resources_give_gpus(exl_resources_t *resources, exl_request_t request, exl_holding_t *holding)
{
    if (holding->nodes)
        exl_hosts_give(resources->hosts, request.nodes, request.node_cores, holding->nodes);
    free(holding->nodes);
    holding->nodes = NULL;
    if (!holding->gpus)
        return;
    exl_gpus_give(resources->gpus, request.gpus, request.gpu_share, holding->gpus);
    free(holding->gpus);
    holding->gpus = NULL;
}
