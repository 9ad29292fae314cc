/* resources.h: what an executor may use and what it uses now. Plain arithmetic; the queue and the executor ask it. */
#ifndef EXL_SCHED_RESOURCES_H
#define EXL_SCHED_RESOURCES_H

#include <stdbool.h>
#include <stdint.h>

/* A call that asks for so many runs alone, whatever the limits are. */
#define EXL_ALL_CORES UINT32_MAX

/* A call's request. Threads are in `cores` already: cores = ranks x threads per rank. */
typedef struct exl_request {
    uint32_t cores;
    uint32_t gpus;
} exl_request_t;

typedef struct exl_resources {
    uint32_t cores, calls, gpus; /* capacity; 0 cores or calls: unlimited */
    uint32_t cores_used, calls_used, gpus_used;
} exl_resources_t;

/* A call wider than the whole capacity fits only when nothing else runs. */
bool exl_resources_fits(const exl_resources_t *resources, exl_request_t request);
void exl_resources_take(exl_resources_t *resources, exl_request_t request);
void exl_resources_give(exl_resources_t *resources, exl_request_t request);

#endif
