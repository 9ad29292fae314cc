/* fleet.h: the third way to run calls: on other hosts, by agents that have come in through the door.
 *
 *   driver                                     agent (agent/agent.h), one per node
 *   pool -- queue -- fleet -- peer  ======  peer -- pool, with workers of its own
 *
 * An agent runs calls as a pool of its own does, with all that belongs to it: processes, ranks, GPUs, time limits, restarts. The
 * fleet decides which agent gets a call: the one with the most cores free; and gives it some more than its node has cores, so
 * that the way there and back costs nothing. When one agent has nothing to do and another has calls that it has not begun,
 * these are asked back.
 *
 * An agent whose connection broke because its process died, or that has been silent for the grace time, is gone, and its calls
 * are lost or start again elsewhere. All under the engine's lock unless said otherwise. */
#ifndef EXL_ENGINE_FLEET_H
#define EXL_ENGINE_FLEET_H

#include "engine/pool.h"
#include "wire/tls.h"

typedef struct exl_fleet exl_fleet_t;

/* A pool made with this has no zygote: exl_pool_config_t.fleet. All is copied. */
typedef struct exl_fleet_config {
    const char *address; /* where agents come in: a numeric address of this host */
    const char *name;    /* what they call themselves, see exl_tls_create() */
    const uint8_t *key;  /* EXL_TLS_KEY_SIZE bytes */
    uint32_t agents;     /* how many are to come; their indices go from 0 */
    uint32_t depth;      /* calls that one core or worker of an agent is given at once */
    uint32_t grace_ms;   /* how long an agent may be silent */
    bool renewed;        /* agents come and go, see renewal.h */
} exl_fleet_config_t;

enum { EXL_AGENTS_MOST = 1 << 20 };

/* Without the lock: the port at which agents come in; 0 for a pool that has no fleet or is closed. */
uint16_t exl_fleet_port(exl_pool_t *pool);

/* Without the lock: starts what starts the agents. Once. When it ends, agents that have not come by then never will. On success
 * `handover`, a file that the agents read, or NULL, is removed as soon as none is awaited any more. */
int exl_fleet_launch(exl_pool_t *pool, const char *const *argv, const char *const *envp, const char *handover,
                     exl_error_t *err);

/* Without the lock: how many persistent workers each of the agents has from now on, and their ids. EXL_EFORKED, EXL_ECLOSED, -ENOMEM;
 * -EINVAL: of a pool that has none, or not so many agents. */
int exl_fleet_resize(exl_pool_t *pool, const uint32_t *const *ids, const uint32_t *nids, uint32_t nagents);

/* Without the lock: how many agents are there. */
uint32_t exl_fleet_agents(exl_pool_t *pool);

/* For pool.c. */
int exl__fleet_create(exl_pool_t *pool, const exl_fleet_config_t *config, exl_fleet_t **ret_fleet, exl_error_t *err);
void exl__fleet_destroy(exl_fleet_t *fleet); /* once it has ended; NULL is fine */
void exl__fleet_schedule(exl_pool_t *pool);
void exl__fleet_recall_all(exl_pool_t *pool);

/* Takes the task back if it has not been given to an agent: its arguments are being copied. */
bool exl__fleet_recall(exl_pool_t *pool, exl_task_t *task);

/* Asks the agent that has the call to end it. */
void exl__fleet_stop(exl_task_t *task);

/* No more calls. The agents and the launcher go; exl__fleet_ended() says when they have. */
void exl__fleet_end(exl_pool_t *pool);
void exl__fleet_kill(exl_pool_t *pool); /* the grace time is over */
bool exl__fleet_ended(const exl_pool_t *pool);

#endif
