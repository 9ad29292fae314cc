/* simulated_agents.c: a row of calls for each agent, and the ends of the functions that lead to it. */
#include "simulated_agents.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/engine.h"
#include "node/door.h"
#include "node/peer.h"

/* Calls in the order in which they came, in a ring. */
typedef struct agent {
    exl_list_t link;  /* among those that have something to say */
    exl_peer_t *peer; /* borrowed; NULL: has not come, or has gone */
    uint32_t epoch;   /* how often one has come here */
    bool away;        /* its connection is broken: it hears and says nothing */
    uint32_t cores;
    uint64_t *calls; /* owned */
    uint32_t first, ncalls, capacity;
    uint32_t given_back; /* of the calls, the last ones */
    bool is_asked;       /* for calls */
    bool ends;
} agent_t;

static struct {
    exl_door_cb arrived;
    void *owner; /* borrowed */
    agent_t *agents;
    uint32_t nagents, ncome;
    agent_t *coming;
    exl_list_t talking;
    bool in_job;
    exl_payload_t *answer;
    simulated_counts_t counts;
} all;

/* ---- an agent ---- */

static uint64_t *call_at(const agent_t *agent, uint32_t index)
{
    return &agent->calls[(agent->first + index) & (agent->capacity - 1)];
}

static int grow(agent_t *agent)
{
    uint32_t capacity = agent->capacity ? agent->capacity * 2 : 16;
    uint64_t *calls = malloc(capacity * sizeof *calls);
    if (!calls)
        return -ENOMEM;
    for (uint32_t i = 0; i < agent->ncalls; i++)
        calls[i] = *call_at(agent, i);
    free(agent->calls);
    agent->calls = calls;
    agent->capacity = capacity;
    agent->first = 0;
    return 0;
}

static int hear(agent_t *agent, const exl_frame_t *frame)
{
    if (frame->type == EXL_FRAME_CALL) {
        all.counts.calls++;
        if (agent->ncalls == agent->capacity && grow(agent) < 0)
            return -ENOMEM;
        *call_at(agent, agent->ncalls++) = frame->id;
    } else if (frame->type == EXL_FRAME_RECALL) {
        uint32_t waiting = agent->ncalls > agent->cores ? agent->ncalls - agent->cores : 0;
        all.counts.recalls++;
        agent->is_asked = true;
        agent->given_back = frame->arg < waiting ? frame->arg : waiting;
    } else if (frame->type == EXL_FRAME_END) {
        agent->ends = true;
    } else {
        return 0;
    }
    if (exl_list_empty(&agent->link))
        exl_list_push_back(&all.talking, &agent->link);
    return 0;
}

static void say(agent_t *agent, exl_frame_t frame, exl_payload_t *payload)
{
    exl_message_t message = {.frame = frame, .payload = payload};
    agent->peer->events->message(agent->peer, &message);
}

static void give_back(agent_t *agent)
{
    for (; agent->given_back; agent->given_back--)
        say(agent, (exl_frame_t){.type = EXL_FRAME_RETURNED, .id = *call_at(agent, --agent->ncalls)}, NULL);
    agent->is_asked = false;
    say(agent, (exl_frame_t){.type = EXL_FRAME_RECALL}, NULL);
}

static uint32_t finish_calls(agent_t *agent, uint32_t most)
{
    uint32_t running = simulated_agent_busy((uint32_t)(agent - all.agents)), count = most < running ? most : running;
    for (uint32_t i = 0; i < count; i++) {
        uint64_t number = *call_at(agent, 0);
        agent->first++;
        agent->ncalls--;
        say(agent, (exl_frame_t){.type = EXL_FRAME_RESULT, .id = number}, all.answer);
    }
    return count;
}

/* ---- all of them ---- */

int simulated_agents_create(const simulated_fleet_t *simulated, exl_pool_t **ret_pool, exl_error_t *err)
{
    const char *job = simulated->job;
    uint32_t count = simulated->agents;
    const exl_pool_hosts_t hosts = {.job = job};
    static const uint8_t key[EXL_TLS_KEY_SIZE];
    const exl_fleet_config_t fleet = {.address = "",
                                      .name = "",
                                      .key = key,
                                      .agents = count,
                                      .depth = simulated->depth,
                                      .grace_ms = 60000,
                                      .renewed = simulated->renewed};
    exl_list_init(&all.talking);
    all.agents = calloc(count, sizeof *all.agents);
    if (!all.agents || exl_payload_of("answer", 6, &all.answer) < 0)
        return exl_error_set(err, -ENOMEM, "out of memory");
    all.nagents = count;
    for (uint32_t i = 0; i < count; i++)
        exl_list_init(&all.agents[i].link);
    all.in_job = job != NULL;
    return exl_pool_create(&(exl_pool_config_t){.fleet = &fleet, .hosts = job ? &hosts : NULL}, ret_pool, err);
}

static void introduce(agent_t *agent, const exl_node_record_t *node)
{
    exl_node_record_t named = *node;
    exl_payload_t *payload = NULL;
    if (all.in_job)
        (void)snprintf(named.name, sizeof named.name, "node%u", (unsigned)(agent - all.agents));
    if (exl_node_record_write(&named, &payload) < 0)
        abort();
    say(agent, (exl_frame_t){.type = EXL_FRAME_NODE}, payload);
    exl_payload_unref(payload);
}

static void arrive(agent_t *agent)
{
    all.coming = agent;
    if (all.arrived)
        all.arrived(all.owner, (exl_connection_t *)agent,
                    &(exl_frame_t){.arg = (uint32_t)(agent - all.agents), .epoch = agent->epoch});
}

/* Under the lock. */
static bool come(agent_t *agent, const exl_node_record_t *node)
{
    if (agent->peer)
        return false;
    agent->epoch++;
    agent->cores = node->cores;
    arrive(agent);
    if (agent->peer)
        introduce(agent, node);
    return agent->peer != NULL;
}

bool simulated_agent_comes(uint32_t index, const exl_node_record_t *node)
{
    exl_engine_lock();
    bool came = come(&all.agents[index], node);
    exl_engine_unlock();
    return came;
}

void simulated_agents_come(uint32_t count, const exl_node_record_t *node)
{
    exl_engine_lock();
    for (; count; count--, all.ncome++) {
        assert(all.ncome < all.nagents);
        (void)come(&all.agents[all.ncome], node);
    }
    exl_engine_unlock();
}

void simulated_agent_breaks(uint32_t index, int code)
{
    agent_t *agent = &all.agents[index];
    exl_engine_lock();
    exl_peer_t *peer = agent->peer;
    if (peer && !agent->away) {
        agent->away = true;
        peer->connection = NULL;
        peer->events->broken(peer, code, "");
    }
    exl_engine_unlock();
}

void simulated_agent_returns(uint32_t index)
{
    agent_t *agent = &all.agents[index];
    exl_engine_lock();
    if (agent->peer && agent->away)
        arrive(agent);
    exl_engine_unlock();
}

uint64_t simulated_agents_finish(uint32_t agents, uint32_t each)
{
    uint64_t count = 0;
    exl_list_t heard;
    exl_engine_lock();
    exl_list_init(&heard);
    for (exl_list_t *link; agents && (link = exl_list_pop_front(&all.talking)); agents--)
        exl_list_push_back(&heard, link);
    for (exl_list_t *link; (link = exl_list_pop_front(&heard));) {
        agent_t *agent = EXL_CONTAINER(link, agent_t, link);
        if (agent->away) {
            exl_list_push_back(&all.talking, link);
            continue;
        }
        if (agent->is_asked)
            give_back(agent);
        count += finish_calls(agent, each);
        if (agent->ends && !agent->ncalls)
            agent->peer->events->broken(agent->peer, EXL_ECLOSED, "");
        else if ((agent->ncalls || agent->ends) && exl_list_empty(&agent->link))
            exl_list_push_back(&all.talking, &agent->link);
    }
    exl_engine_unlock();
    return count;
}

uint64_t simulated_agents_finish_all(void)
{
    uint64_t count = 0;
    while (!exl_list_empty(&all.talking))
        count += simulated_agents_finish(UINT32_MAX, UINT32_MAX);
    return count;
}

static bool is_anybody_asked(void)
{
    for (uint32_t i = 0; i < all.nagents; i++)
        if (all.agents[i].is_asked)
            return true;
    return false;
}

void simulated_agents_give_back(void)
{
    while (is_anybody_asked())
        (void)simulated_agents_finish(UINT32_MAX, 0);
}

uint32_t simulated_agent_busy(uint32_t index)
{
    const agent_t *agent = &all.agents[index];
    return agent->ncalls < agent->cores ? agent->ncalls : agent->cores;
}

simulated_counts_t simulated_agents_counts(void)
{
    return all.counts;
}

void simulated_agents_destroy(void)
{
    for (uint32_t i = 0; i < all.nagents; i++)
        free(all.agents[i].calls);
    free(all.agents);
    exl_payload_unref(all.answer);
    memset(&all, 0, sizeof all);
}

/* ---- in the place of door.c ---- */

int exl_door_open(exl_node_t *node, const char *address, const char *name, const uint8_t key[EXL_TLS_KEY_SIZE],
                  exl_door_cb arrived, void *owner, exl_door_t **ret_door, exl_error_t *err)
{
    all.arrived = arrived;
    all.owner = owner;
    *ret_door = NULL;
    return 0;
}

void exl_door_close(exl_door_t *door)
{
    all.arrived = NULL;
}

uint16_t exl_door_port(const exl_door_t *door)
{
    return 0;
}

/* ---- in the place of connection.c ---- */

void exl_connection_tune(int fd, uint32_t grace_ms)
{
}

int exl_connection_fd(const exl_connection_t *connection)
{
    return -1;
}

void exl_connection_greet(exl_connection_t *connection, exl_frame_t hello)
{
}

void exl_connection_destroy(exl_connection_t *connection, bool good_bye)
{
}

/* ---- in the place of peer.c: a peer's connection is the agent ---- */

int exl_peer_init(exl_peer_t *peer, exl_node_t *node, const exl_peer_events_t *events)
{
    *peer = (exl_peer_t){.node = node, .events = events, .link = exl_link_create()};
    return peer->link ? 0 : -ENOMEM;
}

static agent_t *agent_of(const exl_peer_t *peer)
{
    for (uint32_t i = 0; i < all.nagents; i++)
        if (all.agents[i].peer == peer)
            return &all.agents[i];
    return NULL;
}

/* The agent is gone for the driver, and hears it. */
static void forget(agent_t *agent)
{
    exl_list_remove(&agent->link);
    agent->peer = NULL;
    agent->away = agent->is_asked = agent->ends = false;
    agent->ncalls = agent->given_back = 0;
}

void exl_peer_fini(exl_peer_t *peer, bool good_bye)
{
    agent_t *agent = peer->link ? agent_of(peer) : NULL;
    if (agent)
        forget(agent);
    exl_link_destroy(peer->link);
    peer->link = NULL;
    peer->connection = NULL;
}

int exl_peer_connect(exl_peer_t *peer, exl_connection_t *connection, uint64_t received)
{
    peer->connection = connection;
    all.coming->peer = peer;
    all.coming->away = false;
    return 0;
}

void exl_peer_disconnect(exl_peer_t *peer)
{
}

int exl_peer_send(exl_peer_t *peer, exl_frame_t frame, exl_payload_t *payload)
{
    /* What is said while the connection is broken is heard later; here it is heard, and answered later. */
    agent_t *agent = peer->connection ? (agent_t *)peer->connection : agent_of(peer);
    return agent ? hear(agent, &frame) : 0;
}

void exl_peer_flush(exl_peer_t *peer)
{
    all.counts.flushes++;
}
