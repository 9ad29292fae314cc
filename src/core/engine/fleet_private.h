/* fleet_private.h: what fleet.c, remote.c and renewal.c share. All under the engine's lock. */
#ifndef EXL_ENGINE_FLEET_PRIVATE_H
#define EXL_ENGINE_FLEET_PRIVATE_H

#include "engine/fleet.h"
#include "engine/pool_private.h"
#include "engine/remote.h"
#include "node/door.h"
#include "node/launcher.h"

struct exl_fleet {
    exl_pool_t *pool; /* borrowed: the pool owns the fleet */
    exl_fleet_config_t config;
    exl_door_t *door;         /* owned; NULL once closed */
    exl_launcher_t *launcher; /* its own; NULL when there is none */
    exl_remote_t **remotes;   /* owned, and so is each; config.agents of them */
    uint32_t nvacant, nawaited, nthere;
    exl_list_t parked;   /* calls for which no agent has the time that they may take */
    uint64_t longest_ms; /* the most that an agent had when it came */
    bool asked;          /* calls wait, and whoever renews agents has been told */
    exl_places_t places; /* open are those that take calls */
    exl_list_t unsent;   /* agents that have been told something which has not left */
    exl_list_t idle;     /* agents that are there and have nothing to do */
    exl_list_t stale;    /* agents of whose node others may use more or less than before */
    uint64_t last_number;
    bool ending, cancelling;
    bool was_shared;     /* other executors used the nodes */
    bool changed;        /* somebody may have become able to do more */
    bool again;          /* … and one that could not be asked then can be now */
    bool passed_over;    /* a call has been given while an agent that could have begun it was giving back */
    uint32_t ngiving;    /* agents that are giving calls back */
    uint64_t nmissed;    /* how often that had to be shared out which they may have kept */
    exl_failure_t *loss; /* owned: why there are no agents any more */
    char *handover;      /* owned; NULL once it is being removed */
};

static inline exl_node_t *exl__fleet_node(const exl_fleet_t *fleet)
{
    return exl_engine_node(fleet->pool->engine);
}

/* The ledger of the allocation's nodes, or NULL. */
static inline exl_hosts_t *exl__fleet_ledger(const exl_fleet_t *fleet)
{
    return fleet->pool->resources.hosts;
}

/* Whether the call can have the time that it may take before an end. */
bool exl__fleet_in_time(const exl_task_t *task, int64_t end_ns);

/* Vacant places up to and with this one. -ENOMEM. */
int exl__fleet_grow(exl_fleet_t *fleet, uint32_t index);

/* Vacant -> awaited. -ENOMEM. */
int exl__fleet_await(exl_remote_t *remote);

/* The agent has gone: its calls are lost, or start again. Idempotent. */
void exl__fleet_gone(exl_remote_t *remote, const char *reason, bool good_bye);

/* Calls that took too long for all agents are looked at anew. */
void exl__fleet_unpark(exl_fleet_t *fleet);

#endif
