/* agent.h: a node of somebody else's executor: what a driver's fleet (engine/fleet.h) speaks with.
 *
 *   driver ==== peer -- agent -- pool -- workers, ranks, GPUs of this node
 *
 * An agent connects to its driver, says what there is on its node, and from then on submits to a pool of its own what the driver
 * gives it, and says what came of it. It ends when the driver tells it to, when the driver has died, and when the driver has been out
 * of reach for the grace time; until then it keeps computing, keeps its results, and tries to reach it. */
#ifndef EXL_AGENT_AGENT_H
#define EXL_AGENT_AGENT_H

#include "engine/pool.h"
#include "wire/tls.h"

typedef struct exl_agent_config {
    const char *const *addresses; /* of the driver, numeric, ended by NULL; tried in turn */
    uint16_t port;
    const char *name;   /* see exl_tls_create() */
    const uint8_t *key; /* EXL_TLS_KEY_SIZE bytes */
    uint32_t index;     /* which of the driver's agents this is */
    uint32_t grace_ms;
    uint32_t cores, calls, gpus, all_cores; /* what the driver may count with, see exl_node_record_t */
    const char *node;                       /* its name for the scheduler, or "" */
    exl_pool_t *pool;                       /* borrowed: runs the calls */
} exl_agent_config_t;

typedef struct exl_agent exl_agent_t;

/* Connects in the background. -ENOMEM, -EINVAL (an address), EXL_EFORKED. */
int exl_agent_start(const exl_agent_config_t *config, exl_agent_t **ret_agent, exl_error_t *err);

/* Waits until there is nothing to do any more. 0: the driver said so, and all is done. EXL_ECLOSED: the driver has gone: what still
 * runs is of no use. -ETIMEDOUT: it is out of reach; EXL_EPROTOCOL: it is not ours. EXL_EINTERRUPTED: a signal, wait again. */
int exl_agent_wait(exl_agent_t *agent, exl_error_t *err);

/* After exl_agent_wait(), and after its pool has closed. */
void exl_agent_destroy(exl_agent_t *agent);

#endif
