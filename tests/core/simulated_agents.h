/* simulated_agents.h: agents without nodes, processes or connections. In the place of node/door.c, node/peer.c and
 * wire/connection.c, so that a program with thousands of them measures the engine and nothing else.
 *
 *   pool -- queue -- fleet -- exl_peer_send() | the first `cores` calls of an agent run, those behind them wait
 *                          <-- message_cb  -- | simulated_agents_finish() ends some that run
 *
 * Everything happens in the calling thread: what a program does with them is the same each time. */
#ifndef EXL_TEST_SIMULATED_AGENTS_H
#define EXL_TEST_SIMULATED_AGENTS_H

#include "engine/fleet.h"
#include "wire/record.h"

/* What has been said to them. */
typedef struct simulated_counts {
    uint64_t calls, recalls, flushes;
} simulated_counts_t;

typedef struct simulated_fleet {
    uint32_t agents, depth;
    const char *job; /* of an allocation whose nodes others may use as well, or NULL */
    bool renewed;
} simulated_fleet_t;

/* An executor whose calls these agents run. One at a time in a process. */
int simulated_agents_create(const simulated_fleet_t *fleet, exl_pool_t **ret_pool, exl_error_t *err);

/* The next agents come, each with a node like this. In an allocation each node has a name of its own. */
void simulated_agents_come(uint32_t count, const exl_node_record_t *node);

/* This one comes. False: it was sent away. */
bool simulated_agent_comes(uint32_t index, const exl_node_record_t *node);

/* Its connection breaks with this code; with -ETIMEDOUT it lives on and can return, else it has gone. Nothing happens if it is not
 * there. */
void simulated_agent_breaks(uint32_t index, int code);
void simulated_agent_returns(uint32_t index);

/* Of each agent that has calls at most `each` that run end, on no more than `agents` agents; those that have waited longest. Then the
 * executor looks what to do next. Returns how many have ended. */
uint64_t simulated_agents_finish(uint32_t agents, uint32_t each);

/* The same until there is nothing left to end. */
uint64_t simulated_agents_finish_all(void);

/* Those that have been asked for calls give them back, until nobody is asked; none ends. */
void simulated_agents_give_back(void);

/* How many of the agent's calls run. */
uint32_t simulated_agent_busy(uint32_t index);

simulated_counts_t simulated_agents_counts(void);

/* After the pool has closed. */
void simulated_agents_destroy(void);

#endif
