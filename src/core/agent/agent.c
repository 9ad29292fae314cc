/* agent.c: frames into calls, ends of calls into frames. */
#include "agent/agent.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/idmap.h"
#include "base/parker.h"
#include "base/random.h"
#include "engine/deadline.h"
#include "engine/pool_private.h"
#include "node/handshake.h"
#include "node/peer.h"
#include "wire/record.h"

/* RETRY: between two attempts to reach the driver; it grows. ATTEMPT: how long one may take. */
enum { RETRY_MS = 200, RETRY_MOST_MS = 5000, ATTEMPT_MS = 10000, MAX_FUNCTIONS_OF_A_CALL = 4096 };

/* A call that the driver has given, until its end has been said. */
typedef struct errand {
    exl_list_t link; /* in the agent, in the order of arrival */
    exl_agent_t *agent;
    exl_task_t *task; /* a reference */
    uint64_t number;  /* the driver's */
} errand_t;

/* What the driver has said about the next call. */
typedef struct draft {
    exl_payload_t *setup; /* until told otherwise */
    exl_needs_record_t needs;
    exl_payload_t *options, *imports;
    exl_shared_t **functions;
    uint32_t nfunctions, functions_capacity;
    exl_task_t **producers;
    uint32_t nproducers, producers_capacity;
} draft_t;

struct exl_agent {
    exl_due_t due; /* what the calls of this round had to say is sent at its end */
    exl_pool_t *pool;
    exl_node_t *node;
    exl_peer_t peer;
    exl_handshake_t *handshake; /* its own; NULL unless it is under way */
    exl_deadline_t *retry, *silence;
    struct sockaddr_in6 *addresses; /* owned; IPv4 ones are mapped */
    unsigned naddresses, next_address;
    uint32_t retry_ms;
    uint8_t key[EXL_TLS_KEY_SIZE];
    char name[EXL_TLS_NAME_MAX + 1];
    uint32_t index, instance, grace_ms;
    exl_node_record_t record;
    int64_t told_end_ns;   /* the pool's end that the driver knows of */
    exl_idmap_t functions; /* the driver's id -> exl_shared_t, owned */
    exl_list_t errands;
    draft_t draft;
    bool ending;                /* the driver wants no more */
    int code;                   /* … of exl_agent_wait() */
    _Atomic uint32_t over_word; /* futex */
    exl_error_t why;
};

static void seek(exl_agent_t *agent);

/* ---- the end of the agent ---- */

static void over(exl_agent_t *agent, int code, const char *why)
{
    if (atomic_load(&agent->over_word))
        return;
    agent->code = exl_error_set(&agent->why, code, "%s", why);
    agent->pool->end_follower = NULL;
    exl_deadline_stop(agent->retry);
    exl_deadline_stop(agent->silence);
    agent->retry = agent->silence = NULL;
    if (agent->handshake)
        exl_handshake_cancel(agent->handshake);
    agent->handshake = NULL;
    exl_peer_flush(&agent->peer);
    exl_peer_fini(&agent->peer, code == 0);
    atomic_store(&agent->over_word, 1);
    exl_engine_wake(&agent->over_word);
}

static bool is_over(const exl_agent_t *agent)
{
    return atomic_load(&agent->over_word) != 0;
}

static void introduce(exl_agent_t *agent);

static void flush_due(exl_due_t *due)
{
    exl_agent_t *agent = EXL_CONTAINER(due, exl_agent_t, due);
    if (!is_over(agent) && agent->told_end_ns != agent->pool->end_ns)
        introduce(agent);
    if (is_over(agent))
        return;
    exl_peer_flush(&agent->peer);
    if (agent->ending && exl_list_empty(&agent->errands) && exl_link_backlog(agent->peer.link) == 0)
        over(agent, 0, "");
}

/* ---- ends of calls ---- */

static void say_end(exl_agent_t *agent, const exl_task_t *task, uint64_t number)
{
    exl_frame_t frame = {.id = number};
    exl_payload_t *payload = NULL;
    switch ((exl_outcome_t)task->outcome) {
    case EXL_OUTCOME_RESULT:
    case EXL_OUTCOME_EXCEPTION:
        frame.type = task->outcome == EXL_OUTCOME_RESULT ? EXL_FRAME_RESULT : EXL_FRAME_EXCEPTION;
        payload = exl_payload_ref(task->result);
        break;
    case EXL_OUTCOME_CANCELLED:
        frame.type = EXL_FRAME_RETURNED;
        break;
    default:
        frame.type = task->outcome == EXL_OUTCOME_LOST ? EXL_FRAME_LOST : EXL_FRAME_TERMINATED;
        if (task->failure && !task->failure->host[0])
            (void)exl_failure_set_host(task->failure, agent->record.host, strlen(agent->record.host));
        if (!task->failure || exl_failure_write(task->failure, &payload) < 0)
            payload = NULL; /* the driver then says that the agent did not say how */
    }
    if (exl_peer_send(&agent->peer, frame, payload) < 0)
        over(agent, -ENOMEM, "out of memory while sending an answer");
    exl_payload_unref(payload);
}

static void ended_cb(exl_task_t *task)
{
    errand_t *errand = task->observer;
    exl_agent_t *agent = errand->agent;
    if (!is_over(agent))
        say_end(agent, task, errand->number);
    exl_list_remove(&errand->link);
    exl_task_unref(errand->task);
    free(errand);
    exl_engine_due(&agent->due);
}

/* ---- calls ---- */

static void *grown(void *array, uint32_t count, uint32_t *capacity, size_t size)
{
    if (count < *capacity)
        return array;
    uint32_t wanted = *capacity ? *capacity * 2 : 4;
    void *larger = realloc(array, wanted * size);
    if (larger)
        *capacity = wanted;
    return larger;
}

static int use_function(draft_t *draft, exl_shared_t *function)
{
    exl_shared_t **larger =
        draft->nfunctions < MAX_FUNCTIONS_OF_A_CALL
            ? grown(draft->functions, draft->nfunctions, &draft->functions_capacity, sizeof *draft->functions)
            : NULL;
    if (!larger)
        return -ENOMEM;
    draft->functions = larger;
    draft->functions[draft->nfunctions++] = exl_shared_ref(function);
    return 0;
}

static int take_function(exl_agent_t *agent, uint64_t id, exl_payload_t *payload)
{
    exl_shared_t *function = id ? exl_idmap_get(&agent->functions, id) : NULL;
    if (!id || (!function && !payload))
        return EXL_EPROTOCOL;
    if (!function) {
        int rc = exl_payload_map(payload);
        if (rc < 0)
            return rc;
        function = exl_shared_create_as(id, payload);
        if (!function)
            return -ENOMEM;
        exl_payload_ref(payload);
        if (exl_idmap_put(&agent->functions, id, function) < 0) {
            exl_shared_unref(function);
            return -ENOMEM;
        }
    }
    return use_function(&agent->draft, function);
}

static void forget_functions(exl_agent_t *agent)
{
    for (size_t i = 0; i < agent->functions.capacity; i++)
        exl_shared_unref(agent->functions.slots[i].value);
    exl_idmap_fini(&agent->functions);
    exl_idmap_init(&agent->functions);
}

/* An argument that another call has computed is, here, the result of a task that is done. */
static int take_dependency(draft_t *draft, exl_payload_t *payload)
{
    exl_task_t **larger =
        grown(draft->producers, draft->nproducers, &draft->producers_capacity, sizeof *draft->producers);
    if (larger)
        draft->producers = larger;
    exl_task_t *task = larger ? exl_external_create() : NULL;
    if (!task)
        return -ENOMEM;
    exl__pool_finish(task, EXL_OUTCOME_RESULT, payload, NULL);
    draft->producers[draft->nproducers++] = task;
    return 0;
}

static void keep(exl_payload_t **slot, exl_payload_t *payload)
{
    exl_payload_unref(*slot);
    *slot = exl_payload_ref(payload);
}

/* All of it but what holds until told otherwise. */
static void clear(draft_t *draft)
{
    exl_payload_unref(draft->options);
    exl_payload_unref(draft->imports);
    draft->options = draft->imports = NULL;
    while (draft->nfunctions)
        exl_shared_unref(draft->functions[--draft->nfunctions]);
    while (draft->nproducers)
        exl_task_unref(draft->producers[--draft->nproducers]);
}

static int take_call(exl_agent_t *agent, const exl_message_t *message)
{
    draft_t *draft = &agent->draft;
    bool names_function = message->frame.arg & EXL_CALL_FUNCTION;
    if (!message->payload || (names_function && !draft->nfunctions))
        return EXL_EPROTOCOL;
    exl_call_t call = {.call = message->payload,
                       .setup = draft->setup,
                       .options = draft->options,
                       .imports = draft->imports,
                       .functions = draft->functions,
                       .nfunctions = draft->nfunctions,
                       .function_id = names_function ? draft->functions[draft->nfunctions - 1]->id : 0,
                       .import_key = draft->needs.import_key,
                       .request = draft->needs.request,
                       .ranks = draft->needs.ranks,
                       .run_time_ms = draft->needs.run_time_ms,
                       .grace_ms = draft->needs.grace_ms,
                       .priority = draft->needs.priority,
                       .cloudpickled = draft->needs.cloudpickled,
                       .producers = draft->producers,
                       .nproducers = draft->nproducers};
    errand_t *errand = calloc(1, sizeof *errand);
    if (!errand)
        return -ENOMEM;
    *errand = (errand_t){.agent = agent, .number = message->frame.id};
    exl_list_push_back(&agent->errands, &errand->link);
    int rc = exl__pool_submit(agent->pool, &call, ended_cb, errand, &errand->task);
    if (rc < 0) {
        exl_list_remove(&errand->link);
        free(errand);
    }
    clear(draft);
    return rc;
}

/* The latest first: they would have waited longest. Those that have begun stay. */
static void give_back(exl_agent_t *agent, uint32_t count)
{
    for (exl_list_t *link = agent->errands.prev, *before; count && link != &agent->errands; link = before) {
        before = link->prev;
        if (exl__pool_cancel(EXL_CONTAINER(link, errand_t, link)->task) > 0)
            count--;
    }
    (void)exl_peer_send(&agent->peer, (exl_frame_t){.type = EXL_FRAME_RECALL}, NULL);
}

static void stop_call(exl_agent_t *agent, uint64_t number)
{
    EXL_LIST_FOREACH_SAFE(&agent->errands, link)
    {
        errand_t *errand = EXL_CONTAINER(link, errand_t, link);
        if (errand->number != number)
            continue;
        (void)exl__pool_terminate(errand->task);
        return;
    }
}

static int resize(exl_agent_t *agent, uint32_t workers, const exl_payload_t *ids)
{
    exl_payload_view_t view;
    if (!ids || exl_payload_view(ids, &view) < 0 || view.body_size != workers * sizeof(uint32_t))
        return EXL_EPROTOCOL;
    int rc = exl__pool_number_workers(agent->pool, (const uint32_t *)(const void *)view.body, workers);
    if (rc == 0)
        (void)exl__pool_resize(agent->pool, workers); /* one that closes has no use for it */
    return rc;
}

static int obey(exl_agent_t *agent, exl_message_t *message)
{
    exl_payload_t *payload = message->payload;
    switch (message->frame.type) {
    case EXL_FRAME_SETUP:
        if (!payload)
            return EXL_EPROTOCOL;
        keep(&agent->draft.setup, payload);
        return exl_payload_map(payload);
    case EXL_FRAME_NEEDS:
        return payload ? exl_needs_record_read(payload, &agent->draft.needs) : EXL_EPROTOCOL;
    case EXL_FRAME_FUNCTION:
        return take_function(agent, message->frame.id, payload);
    case EXL_FRAME_FORGET:
        forget_functions(agent);
        return 0;
    case EXL_FRAME_DEPENDENCY:
        return payload ? take_dependency(&agent->draft, payload) : EXL_EPROTOCOL;
    case EXL_FRAME_OPTIONS:
        if (!payload)
            return EXL_EPROTOCOL;
        keep(&agent->draft.options, payload);
        return 0;
    case EXL_FRAME_IMPORTS:
        if (!payload)
            return EXL_EPROTOCOL;
        keep(&agent->draft.imports, payload);
        return 0;
    case EXL_FRAME_CALL:
        return take_call(agent, message);
    case EXL_FRAME_RECALL:
        give_back(agent, message->frame.arg);
        return 0;
    case EXL_FRAME_STOP:
        stop_call(agent, message->frame.id);
        return 0;
    case EXL_FRAME_RESIZE:
        return resize(agent, message->frame.arg, payload);
    case EXL_FRAME_END:
        agent->ending = true;
        return 0;
    default:
        return EXL_EPROTOCOL;
    }
}

static void message_cb(exl_peer_t *peer, exl_message_t *message)
{
    exl_agent_t *agent = EXL_CONTAINER(peer, exl_agent_t, peer);
    int rc = is_over(agent) ? 0 : obey(agent, message);
    if (rc < 0)
        over(agent, rc, exl_strerror(rc));
    else
        exl_engine_due(&agent->due);
}

/* ---- reaching the driver ---- */

static void silence_cb(void *subject)
{
    over(subject, -ETIMEDOUT, "the driver is out of reach");
}

static void retry_cb(void *subject)
{
    exl_agent_t *agent = subject;
    exl_deadline_stop(agent->retry);
    agent->retry = NULL;
    seek(agent);
}

/* Tries again after a while, until the grace time is over. */
static void seek_later(exl_agent_t *agent)
{
    int rc = exl_deadline_start(agent->node, agent->retry_ms, retry_cb, agent, &agent->retry);
    if (rc == 0 && !agent->silence)
        rc = exl_deadline_start(agent->node, agent->grace_ms, silence_cb, agent, &agent->silence);
    if (rc < 0)
        over(agent, rc, exl_strerror(rc));
    agent->retry_ms = agent->retry_ms * 2 < RETRY_MOST_MS ? agent->retry_ms * 2 : RETRY_MOST_MS;
}

static void broken_cb(exl_peer_t *peer, int code, const char *reason)
{
    exl_agent_t *agent = EXL_CONTAINER(peer, exl_agent_t, peer);
    if (code == EXL_ECLOSED || code == -ECONNRESET)
        over(agent, agent->ending && exl_list_empty(&agent->errands) ? 0 : EXL_ECLOSED, "the driver has ended");
    else if (code == EXL_EPROTOCOL || code == -ENOMEM)
        over(agent, code, reason);
    else
        seek(agent);
}

static const exl_peer_events_t peer_events = {message_cb, broken_cb};

static uint64_t left_ms(const exl_agent_t *agent)
{
    int64_t end_ns = agent->pool->end_ns, now_ns = exl_clock_ns();
    return end_ns > now_ns ? (uint64_t)(end_ns - now_ns) / 1000000 : 0;
}

static void introduce(exl_agent_t *agent)
{
    exl_payload_t *payload = NULL;
    agent->told_end_ns = agent->pool->end_ns;
    agent->record.ends = agent->pool->end_ns != 0;
    agent->record.left_ms = left_ms(agent);
    int rc = exl_node_record_write(&agent->record, &payload);
    if (rc == 0)
        rc = exl_peer_send(&agent->peer, (exl_frame_t){.type = EXL_FRAME_NODE}, payload);
    exl_payload_unref(payload);
    if (rc < 0)
        over(agent, rc, exl_strerror(rc));
}

static void met_cb(void *owner, exl_handshake_t *handshake, exl_connection_t *connection, const exl_frame_t *hello,
                   int code, const char *reason)
{
    exl_agent_t *agent = owner;
    (void)handshake;
    agent->handshake = NULL;
    if (code == EXL_ECLOSED) {
        over(agent, EXL_ECLOSED, "the driver has no use for this agent");
    } else if (code < 0) {
        exl_error_set(&agent->why, code, "%s", reason);
        seek_later(agent);
    }
    if (code < 0)
        return;
    exl_connection_tune(exl_connection_fd(connection), agent->grace_ms);
    if (exl_peer_connect(&agent->peer, connection, hello->id) < 0) {
        over(agent, EXL_EPROTOCOL, "the driver lost count of what was said");
    } else {
        exl_deadline_stop(agent->silence);
        agent->silence = NULL;
        agent->retry_ms = RETRY_MS;
        exl_engine_due(&agent->due);
    }
}

static int dial(const struct sockaddr_in6 *address)
{
    struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = address->sin6_port};
    bool is_v4 = IN6_IS_ADDR_V4MAPPED(&address->sin6_addr);
    if (is_v4)
        memcpy(&v4.sin_addr, address->sin6_addr.s6_addr + 12, sizeof v4.sin_addr);
    const struct sockaddr *name = is_v4 ? (const struct sockaddr *)&v4 : (const struct sockaddr *)address;
    int fd = socket(name->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    exl_connection_tune(fd, UINT32_MAX);
    if (connect(fd, name, is_v4 ? sizeof v4 : sizeof *address) < 0 && errno != EINPROGRESS) {
        int rc = -errno;
        (void)close(fd);
        return rc;
    }
    return fd;
}

static void seek(exl_agent_t *agent)
{
    exl_handshake_config_t config = {
        .node = agent->node,
        .side = EXL_TLS_CONNECTS,
        .name = agent->name,
        .key = agent->key,
        .hello = {.arg = agent->index, .epoch = agent->instance, .id = exl_link_received(agent->peer.link)},
        .limit_ms = ATTEMPT_MS,
        .done = met_cb,
        .owner = agent};
    int fd = dial(&agent->addresses[agent->next_address]);
    assert(agent->naddresses > 0);
    agent->next_address = (agent->next_address + 1) % agent->naddresses;
    if (fd >= 0 && exl_handshake_start(&config, fd, &agent->handshake, &agent->why) == 0)
        return;
    if (fd >= 0)
        (void)close(fd);
    else
        (void)exl_error_set(&agent->why, fd, "cannot connect: %s", exl_strerror(fd));
    seek_later(agent);
}

/* ---- life ---- */

static int parse_addresses(exl_agent_t *agent, const exl_agent_config_t *config, exl_error_t *err)
{
    while (config->addresses[agent->naddresses])
        agent->naddresses++;
    if (!agent->naddresses)
        return exl_error_set(err, -EINVAL, "no address of the driver was given");
    agent->addresses = calloc(agent->naddresses, sizeof *agent->addresses);
    if (!agent->addresses)
        return exl_error_set(err, -ENOMEM, "out of memory");
    for (unsigned i = 0; i < agent->naddresses; i++) {
        struct sockaddr_in6 *address = &agent->addresses[i];
        uint8_t *bytes = address->sin6_addr.s6_addr;
        *address = (struct sockaddr_in6){.sin6_family = AF_INET6, .sin6_port = htons(config->port)};
        if (inet_pton(AF_INET6, config->addresses[i], bytes) == 1)
            continue;
        if (inet_pton(AF_INET, config->addresses[i], bytes + 12) != 1)
            return exl_error_set(err, -EINVAL, "%s is not a numeric address", config->addresses[i]);
        bytes[10] = bytes[11] = 0xff;
    }
    return 0;
}

static int prepare(exl_agent_t *agent, const exl_agent_config_t *config, exl_error_t *err)
{
    *agent = (exl_agent_t){.pool = config->pool,
                           .retry_ms = RETRY_MS,
                           .index = config->index,
                           .grace_ms = config->grace_ms,
                           .record = {.cores = config->cores,
                                      .calls = config->calls,
                                      .gpus = config->gpus,
                                      .pid = (uint32_t)getpid(),
                                      .all_cores = config->all_cores}};
    exl_list_init(&agent->due.link);
    agent->due.run = flush_due;
    exl_list_init(&agent->errands);
    exl_idmap_init(&agent->functions);
    (void)gethostname(agent->record.host, sizeof agent->record.host - 1);
    if (config->node)
        (void)strncpy(agent->record.name, config->node, sizeof agent->record.name - 1);
    (void)strncpy(agent->name, config->name, EXL_TLS_NAME_MAX);
    memcpy(agent->key, config->key, sizeof agent->key);
    while (!agent->instance) {
        int rc = exl_random(&agent->instance, sizeof agent->instance);
        if (rc < 0)
            return exl_error_set(err, rc, "no random number: %s", exl_strerror(rc));
    }
    return parse_addresses(agent, config, err);
}

int exl_agent_start(const exl_agent_config_t *config, exl_agent_t **ret_agent, exl_error_t *err)
{
    exl_agent_t *agent = malloc(sizeof *agent);
    if (!agent)
        return exl_error_set(err, -ENOMEM, "out of memory");
    int rc = prepare(agent, config, err);
    if (rc != 0) {
        free(agent->addresses);
        free(agent);
        return rc;
    }
    exl_engine_lock();
    if (exl_pool_foreign(agent->pool)) {
        rc = exl_error_set(err, EXL_EFORKED, "%s", exl_strerror(EXL_EFORKED));
    } else {
        agent->node = exl_engine_node(exl_pool_engine(agent->pool));
        rc = exl_peer_init(&agent->peer, agent->node, &peer_events);
    }
    if (rc == 0) {
        agent->pool->end_follower = &agent->due;
        introduce(agent);
        seek(agent);
    }
    exl_engine_unlock();
    if (rc < 0) {
        free(agent->addresses);
        free(agent);
        return rc;
    }
    *ret_agent = agent;
    return 0;
}

int exl_agent_wait(exl_agent_t *agent, exl_error_t *err)
{
    int rc = exl_parker_wait_change(&agent->over_word, 0, -1);
    return rc < 0 ? rc : exl_error_set(err, agent->code, "%s", agent->why.text);
}

void exl_agent_destroy(exl_agent_t *agent)
{
    exl_engine_lock();
    assert(is_over(agent) && exl_list_empty(&agent->errands));
    exl_list_remove(&agent->due.link);
    forget_functions(agent);
    clear(&agent->draft);
    exl_payload_unref(agent->draft.setup);
    exl_engine_unlock();
    free(agent->draft.functions);
    free(agent->draft.producers);
    free(agent->addresses);
    memset(agent->key, 0, sizeof agent->key);
    free(agent);
}
