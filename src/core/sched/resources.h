/* resources.h: what an executor may use and what it uses now. Plain arithmetic; the queue and the executor ask it. */
#ifndef EXL_SCHED_RESOURCES_H
#define EXL_SCHED_RESOURCES_H

#include <stdbool.h>
#include <stdint.h>

#include "sched/gpus.h"
#include "sched/hosts.h"
#include "sched/pins.h"

/* A call that asks for so many runs alone, whatever the limits are. */
#define EXL_ALL_CORES UINT32_MAX

/* Milliseconds that are left where no end is known. */
#define EXL_NO_END UINT64_MAX

/* A call's request. Threads are in `cores` already: cores = ranks x threads per rank. */
typedef struct exl_request {
    uint32_t cores;
    uint32_t gpus;
    uint32_t gpu_share; /* thousandths of each; 0: whole ones */
    bool pin;           /* processors of its own, where there are enough */
    uint32_t nodes;     /* of an allocation, on each of which it has `node_cores`; 0: it is not counted by node */
    uint32_t node_cores;
} exl_request_t;

typedef struct exl_resources {
    uint32_t cores, calls; /* capacity; 0: unlimited */
    uint32_t cores_used, calls_used;
    exl_gpus_t *gpus;   /* borrowed; NULL: not counted */
    exl_pins_t *pins;   /* borrowed; NULL: nobody is pinned */
    exl_hosts_t *hosts; /* owned elsewhere; NULL: nodes are not counted */
} exl_resources_t;

/* Which GPUs and processors somebody has, where it is not only a matter of how many. All-zero: none. */
typedef struct exl_holding {
    uint32_t *gpus;  /* owned; places in the inventory, as many as requested, or NULL */
    uint32_t *cpus;  /* owned; numbers of processors, as many as cores requested, or NULL */
    uint32_t *nodes; /* owned; places in the ledger of the allocation, as many as requested, or NULL */
} exl_holding_t;

typedef enum exl_shortage {
    EXL_SHORT_OF_NOTHING,
    EXL_SHORT_OF_GPUS, /* and of nothing else */
    EXL_SHORT_OF_CORES /* or of calls */
} exl_shortage_t;

/* A call wider than the whole capacity fits only when nothing else runs. */
exl_shortage_t exl_resources_shortage(const exl_resources_t *resources, exl_request_t request);
bool exl_resources_fits(const exl_resources_t *resources, exl_request_t request);

/* -ENOMEM with nothing taken. `ret_holding` may be NULL for a request without GPUs and pinning. */
int exl_resources_take(exl_resources_t *resources, exl_request_t request, exl_holding_t *ret_holding);

/* Cores, call and processors; GPUs and nodes stay until exl_resources_give_gpus(). */
void exl_resources_give(exl_resources_t *resources, exl_request_t request, exl_holding_t *holding);
void exl_resources_give_gpus(exl_resources_t *resources, exl_request_t request, exl_holding_t *holding);

#endif
