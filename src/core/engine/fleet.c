/* fleet.c: which agent gets which call, and what becomes of the calls of one that is gone. */
#include "engine/fleet.h"

#include <assert.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/parker.h"
#include "engine/parcel.h"
#include "engine/pool_private.h"
#include "node/door.h"
#include "node/launcher.h"
#include "node/peer.h"
#include "sched/places.h"
#include "wire/record.h"

/* MOST_MS: what is further away is no end. LAST_WORDS_MS: of a launcher, after the death of an agent. */
enum { MOST_MS = 1 << 30, LAST_WORDS_MS = 250 };

typedef enum remote_state {
    VACANT,  /* nobody is to come */
    AWAITED, /* has not come yet */
    THERE,   /* has come; its connection may be broken at the moment */
    GONE     /* for good, or, where agents are renewed, until it is known why */
} remote_state_t;

typedef struct exl_remote {
    exl_place_t place;
    exl_list_t unsent_link; /* among those that have been told something which has not left */
    exl_fleet_t *fleet;     /* borrowed */
    remote_state_t state;
    uint32_t index, instance; /* the latter tells an agent from its successor */
    bool known;               /* it has said what there is on its node */
    bool asked_back;          /* it is giving calls back, and gets none meanwhile */
    uint64_t asked_at;        /* … and so often the fleet had missed some before */
    bool dismissed;           /* it gets no more calls */
    int64_t end_ns;           /* nothing starts there later; 0: no end is known */
    bool died;                /* and the launcher may still say why */
    exl_peer_t peer;
    exl_deadline_t *silence; /* owned; runs while the connection is broken */
    exl_node_record_t node;
    exl_list_t outstanding;
    int host;          /* in the ledger of the allocation; negative: not counted there */
    uint32_t held;     /* cores there that its persistent workers have */
    uint32_t *workers; /* owned: ids of its persistent workers, to be told; NULL: none */
    uint32_t nworkers;
    exl_idmap_t calls;     /* number -> task */
    exl_idmap_t functions; /* those that it has */
    exl_payload_t *setup;  /* a reference: the last that it was told */
    exl_needs_record_t needs;
    bool has_needs, has_imports;
} remote_t;

struct exl_fleet {
    exl_pool_t *pool; /* borrowed: the pool owns the fleet */
    exl_fleet_config_t config;
    exl_door_t *door;         /* owned; NULL once closed */
    exl_launcher_t *launcher; /* its own; NULL when there is none */
    remote_t **remotes;       /* owned, and so is each */
    uint32_t nawaited, nthere;
    exl_list_t parked;   /* calls for which no agent has the time that they may take */
    uint64_t longest_ms; /* the most that an agent had when it came */
    bool asked;          /* calls wait, and whoever renews agents has been told */
    exl_places_t places; /* open are those that take calls */
    exl_list_t unsent;
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

static remote_t *remote_of(exl_peer_t *peer)
{
    return EXL_CONTAINER(peer, remote_t, peer);
}

static exl_node_t *node_of(const exl_fleet_t *fleet)
{
    return exl_engine_node(fleet->pool->engine);
}

/* ---- who takes calls ---- */

static remote_t *remote_at(exl_place_t *place)
{
    return place ? EXL_CONTAINER(place, remote_t, place) : NULL;
}

static void update_place(remote_t *remote)
{
    exl_places_open(&remote->fleet->places, &remote->place,
                    remote->state == THERE && remote->known && !remote->asked_back && !remote->dismissed &&
                        !remote->died);
}

/* Whether the call can have the time there that it may take. */
static bool has_time(const remote_t *remote, const exl_task_t *task)
{
    return !remote->end_ns || exl_clock_ns() + task->run_time_ms * INT64_C(1000000) < remote->end_ns;
}

/* Where an end is known, a call with a time limit is to begin at once: it might wait there until it is too late. */
static bool may_begin(const remote_t *remote, const exl_task_t *task)
{
    return has_time(remote, task) && (!remote->end_ns || !task->run_time_ms || remote->place.spare);
}

static exl_hosts_t *ledger_of(const exl_fleet_t *fleet)
{
    return fleet->pool->resources.hosts;
}

static bool is_shared(const exl_fleet_t *fleet)
{
    return ledger_of(fleet) && exl_hosts_shared(ledger_of(fleet));
}

/* What other executors leave of its node. */
static void look_at_host(remote_t *remote)
{
    bool shared = remote->host >= 0 && is_shared(remote->fleet);
    exl_places_share(&remote->fleet->places, &remote->place, shared,
                     shared ? exl_hosts_free(ledger_of(remote->fleet), (uint32_t)remote->host) : 0);
}

static void attach(remote_t *remote, exl_task_t *task)
{
    exl_list_push_back(&remote->outstanding, &task->item.link);
    task->remote = remote;
    if (remote->host >= 0)
        exl_hosts_use(ledger_of(remote->fleet), (uint32_t)remote->host,
                      exl_place_width(&remote->place, &task->item.request));
    exl_places_take(&remote->fleet->places, &remote->place, &task->item.request);
}

static void detach(remote_t *remote, exl_task_t *task)
{
    (void)exl_idmap_remove(&remote->calls, task->number);
    exl_list_remove(&task->item.link);
    task->remote = NULL;
    if (remote->host >= 0)
        exl_hosts_return(ledger_of(remote->fleet), (uint32_t)remote->host,
                         exl_place_width(&remote->place, &task->item.request));
    exl_places_give(&remote->fleet->places, &remote->place, &task->item.request);
}

/* ---- giving a call ---- */

/* It leaves with flush_all(). */
static int tell(remote_t *remote, exl_frame_t frame, exl_payload_t *payload)
{
    if (exl_list_empty(&remote->unsent_link))
        exl_list_push_back(&remote->fleet->unsent, &remote->unsent_link);
    return exl_peer_send(&remote->peer, frame, payload);
}

static void flush(remote_t *remote)
{
    exl_list_remove(&remote->unsent_link);
    exl_peer_flush(&remote->peer);
}

static void flush_all(exl_fleet_t *fleet)
{
    while (!exl_list_empty(&fleet->unsent))
        flush(EXL_CONTAINER(fleet->unsent.next, remote_t, unsent_link));
}

static int send_setup(remote_t *remote, const exl_task_t *task)
{
    if (!task->setup || task->setup == remote->setup)
        return 0;
    int rc = tell(remote, (exl_frame_t){.type = EXL_FRAME_SETUP}, task->setup);
    if (rc == 0) {
        exl_payload_unref(remote->setup);
        remote->setup = exl_payload_ref(task->setup);
    }
    return rc;
}

/* What the first call is going to import: workers there are forked from a template that has. */
static int send_imports(remote_t *remote, exl_payload_t *imports)
{
    if (!imports || remote->has_imports)
        return 0;
    remote->has_imports = true;
    return tell(remote, (exl_frame_t){.type = EXL_FRAME_IMPORTS}, imports);
}

static exl_needs_record_t needs_of(const exl_task_t *task)
{
    const exl_request_t *request = &task->item.request;
    return (exl_needs_record_t){.request = {.cores = request->cores,
                                            .gpus = request->gpus,
                                            .gpu_share = request->gpu_share,
                                            .pin = request->pin},
                                .ranks = task->ranks,
                                .run_time_ms = task->run_time_ms,
                                .grace_ms = task->grace_ms,
                                .priority = task->item.priority,
                                .cloudpickled = task->cloudpickled,
                                .import_key = task->import_key};
}

static int send_needs(remote_t *remote, const exl_task_t *task)
{
    exl_needs_record_t needs = needs_of(task);
    exl_payload_t *payload = NULL;
    if (remote->has_needs && exl_needs_record_same(&needs, &remote->needs))
        return 0;
    int rc = exl_needs_record_write(&needs, &payload);
    if (rc == 0)
        rc = tell(remote, (exl_frame_t){.type = EXL_FRAME_NEEDS}, payload);
    exl_payload_unref(payload);
    if (rc == 0) {
        remote->needs = needs;
        remote->has_needs = true;
    }
    return rc;
}

static int to_agent(void *remote, exl_frame_t frame, exl_payload_t *payload)
{
    return tell(remote, frame, payload);
}

static int send_call(remote_t *remote, const exl_task_t *task)
{
    const exl_receiver_t receiver = {
        .send = to_agent, .owner = remote, .functions = &remote->functions, .wants_names = true};
    int rc = send_setup(remote, task);
    if (rc == 0)
        rc = send_imports(remote, task->pool->imports);
    if (rc == 0)
        rc = send_needs(remote, task);
    return rc < 0 ? rc : exl__parcel_send(&receiver, task, (exl_frame_t){.type = EXL_FRAME_CALL, .id = task->number});
}

static void give(remote_t *remote, exl_task_t *task)
{
    exl_fleet_t *fleet = remote->fleet;
    task->number = ++fleet->last_number;
    /* Narrow ones only: who has something to spare can begin them, so they do not go to and fro. */
    fleet->passed_over |= fleet->ngiving && task->item.request.cores == 1 && !task->item.request.gpus;
    attach(remote, task);
    if (exl_idmap_put(&remote->calls, task->number, task) == 0 && send_call(remote, task) == 0)
        return;
    detach(remote, task);
    exl__pool_fail(task, EXL_BLAME_ENGINE, "out of memory while sending the call");
}

/* Where the best ends too early, of the others the one with the most room; nothing is piled up on them. */
static remote_t *place_for(const exl_fleet_t *fleet, const exl_task_t *task)
{
    const exl_request_t *request = &task->item.request;
    remote_t *found = remote_at(exl_places_find(&fleet->places, request));
    uint32_t most = 0;
    if (!found || !exl_place_may_take(&found->place, request))
        return NULL;
    if (may_begin(found, task))
        return found;
    found = NULL;
    for (uint32_t i = 0; i < fleet->config.agents; i++) {
        remote_t *remote = fleet->remotes[i];
        const exl_place_t *place = &remote->place;
        uint32_t room = place->open ? exl_place_room(&fleet->places, place) : 0;
        if (room <= most || !exl_place_suits(place, request) || !exl_place_may_take(place, request) ||
            !may_begin(remote, task))
            continue;
        found = remote;
        most = room;
    }
    return found;
}

static void copied(exl_task_t *task)
{
    exl_pool_t *pool = task->pool;
    exl_failure_t *failure = task->failure;
    remote_t *remote = place_for(pool->fleet, task);
    if (failure) {
        task->failure = NULL;
        exl__pool_finish(task, EXL_OUTCOME_LOST, NULL, failure);
        exl_failure_unref(failure);
    } else if (remote) {
        give(remote, task);
        flush(remote);
    } else {
        exl__pool_return(task); /* the arguments are copied once */
    }
}

/* The next call that an agent with some room can take, or NULL. To one that has nothing to do any call may be given, as far
 * as the queue can say. */
static exl_task_t *next_task(exl_pool_t *pool, const exl_place_t *place)
{
    uint32_t room = exl_place_room(&pool->fleet->places, place);
    exl_resources_t resources = {.calls_used = place->ncalls};
    if (place->cores && (place->ncalls || place->shared)) {
        resources.cores = 1 + (room < place->cores ? room : place->cores);
        resources.cores_used = 1;
    }
    exl_queue_item_t *item = room ? exl_queue_pop(&pool->queue, &resources) : NULL;
    return item ? EXL_CONTAINER(item, exl_task_t, item) : NULL;
}

/* Whether an agent may still come, or take calls again, or get back what others use of its node, or take this one later. */
static bool may_find_place(const exl_fleet_t *fleet, const exl_task_t *task)
{
    bool waits = fleet->nawaited > 0 || fleet->nthere > fleet->places.nopen || fleet->config.renewed ||
                 (fleet->nthere && is_shared(fleet));
    for (uint32_t i = 0; i < fleet->config.agents && !waits; i++) {
        const remote_t *remote = fleet->remotes[i];
        waits = remote->place.open && exl_place_suits(&remote->place, &task->item.request) && has_time(remote, task);
    }
    return waits;
}

static void fail_all(exl_pool_t *pool)
{
    for (exl_queue_item_t *item; (item = exl_queue_pop_before(&pool->queue, UINT64_MAX));)
        exl__pool_finish(EXL_CONTAINER(item, exl_task_t, item), EXL_OUTCOME_LOST, NULL, pool->fleet->loss);
}

/* ---- calls that take longer than agents last ---- */

/* Whether there are agents that could run it, and all of them end too early. */
static bool lacks_time(const exl_fleet_t *fleet, const exl_task_t *task)
{
    bool lacks = false;
    for (uint32_t i = 0; i < fleet->config.agents; i++) {
        const remote_t *remote = fleet->remotes[i];
        if (remote->state != THERE || !remote->known || !exl_place_suits(&remote->place, &task->item.request))
            continue;
        if (has_time(remote, task) && !remote->dismissed)
            return false;
        lacks |= !has_time(remote, task);
    }
    return lacks;
}

/* It waits for an agent that is yet to come, if one can be long enough; else it fails now, and not when all ends. */
static void put_off(exl_fleet_t *fleet, exl_task_t *task)
{
    char reason[192];
    if (fleet->config.renewed && task->run_time_ms < fleet->longest_ms) {
        exl_list_push_back(&fleet->parked, &task->item.link);
        return;
    }
    (void)snprintf(reason, sizeof reason, "the %s too early for the call, which may take %.1f s (run_time_max)",
                   fleet->config.renewed ? "batch jobs of this executor end" : "allocation ends",
                   task->run_time_ms / 1e3);
    exl__pool_fail(task, EXL_BLAME_WORKER, reason);
}

static void unpark(exl_fleet_t *fleet)
{
    for (exl_list_t *link; (link = exl_list_pop_front(&fleet->parked));)
        exl__pool_return(exl__task_of(link));
}

/* ---- asking back ---- */

static void ask_back(remote_t *remote, uint32_t count)
{
    exl_fleet_t *fleet = remote->fleet;
    if (tell(remote, (exl_frame_t){.type = EXL_FRAME_RECALL, .arg = count}, NULL) < 0)
        return;
    fleet->ngiving += !remote->asked_back;
    remote->asked_back = true;
    remote->asked_at = fleet->nmissed;
    update_place(remote);
    flush(remote);
}

static void has_given_back(remote_t *remote)
{
    exl_fleet_t *fleet = remote->fleet;
    fleet->changed |= fleet->passed_over;
    fleet->again |= remote->asked_back && remote->asked_at != fleet->nmissed;
    fleet->passed_over = false;
    fleet->ngiving -= remote->asked_back;
    remote->asked_back = false;
}

/* An agent could do more, and there is nothing to give it: what others have not begun is shared out. Once each time that a call
 * has ended or an agent has come, or a wide call might go to and fro. Of each that is asked half of what it has ahead, so that it is
 * not asked again soon. Who is giving back already cannot be asked: where the others have too little, it is asked again when it is
 * done, and that once, too. */
static void share_out(exl_fleet_t *fleet)
{
    uint64_t wanted = fleet->places.spare;
    if (!(fleet->changed || fleet->again) || !wanted)
        return;
    bool may_miss = fleet->changed && fleet->ngiving;
    fleet->changed = fleet->again = false;
    EXL_LIST_FOREACH_SAFE(&fleet->places.ahead, link)
    {
        remote_t *remote = remote_at(exl_place_ahead_of(link));
        uint32_t ahead = exl_place_ahead(&remote->place), count = (ahead + 1) / 2;
        if (!exl_peer_connected(&remote->peer))
            continue;
        if (count < wanted)
            count = ahead < wanted ? ahead : (uint32_t)wanted;
        /* A wide call may not fit where there is something to spare: others are asked too. */
        bool fits = !remote->place.nwide;
        ask_back(remote, count);
        if (fits && wanted <= count)
            return;
        wanted -= fits ? count : 0;
    }
    fleet->nmissed += may_miss;
}

/* For whoever renews agents, and waits for a change. */
static void announce(exl_fleet_t *fleet)
{
    (void)atomic_fetch_add(&fleet->pool->agents_word, 1);
    exl_engine_wake(&fleet->pool->agents_word);
}

/* It goes when it has nothing to do and we have all that it said. */
static void send_end(remote_t *remote)
{
    exl_link_acknowledge(remote->peer.link);
    (void)tell(remote, (exl_frame_t){.type = EXL_FRAME_END}, NULL);
}

/* No more calls for it; it goes when it has ended those that have begun there. */
static void dismiss(remote_t *remote)
{
    remote->dismissed = true;
    ask_back(remote, UINT32_MAX); /* the answer tells that it has nothing else */
}

/* Calls wait for agents: one that has nothing to do and no time for them makes room for another. */
static void look_for_more(exl_fleet_t *fleet)
{
    bool vacant = false;
    for (uint32_t i = 0; i < fleet->config.agents; i++) {
        remote_t *remote = fleet->remotes[i];
        vacant |= remote->state == VACANT;
        if (remote->state == THERE && remote->known && !remote->dismissed && !remote->place.ncalls &&
            !exl_list_empty(&fleet->parked) && !has_time(remote, exl__task_of(fleet->parked.next)))
            dismiss(remote);
    }
    bool wanted = fleet->pool->queue.count || !exl_list_empty(&fleet->parked);
    if (wanted && vacant && !fleet->asked)
        announce(fleet);
    fleet->asked = wanted && vacant;
}

void exl__fleet_schedule(exl_pool_t *pool)
{
    exl_fleet_t *fleet = pool->fleet;
    if (fleet->loss)
        fail_all(pool);
    bool shared = is_shared(fleet);
    if (shared || fleet->was_shared)
        for (uint32_t i = 0; i < fleet->config.agents; i++)
            if (fleet->remotes[i]->known && fleet->remotes[i]->state == THERE)
                look_at_host(fleet->remotes[i]);
    fleet->was_shared = shared;
    for (const exl_place_t *first; pool->queue.count && (first = exl_places_first(&fleet->places));) {
        exl_task_t *task = next_task(pool, first);
        if (!task)
            break;
        remote_t *remote = place_for(fleet, task);
        (void)exl_task_update(task, EXL_TASK_PLACE);
        if (!remote && lacks_time(fleet, task)) {
            put_off(fleet, task);
            continue;
        }
        if (!remote && may_find_place(fleet, task)) {
            exl__pool_return(task);
            break;
        }
        if (!remote)
            exl__pool_fail(task, EXL_BLAME_NODE,
                           "no node of this executor has as many cores or GPUs as the call needs");
        else if (!exl__pool_needs_copy(task))
            give(remote, task);
        else if (exl__pool_copy(task, copied) < 0)
            exl__pool_fail(task, EXL_BLAME_ENGINE, "out of memory while copying the arguments");
    }
    if (!pool->queue.count)
        share_out(fleet);
    if (fleet->config.renewed)
        look_for_more(fleet);
    flush_all(fleet);
}

bool exl__fleet_recall(exl_pool_t *pool, exl_task_t *task)
{
    if (task->remote)
        return false;
    exl_list_remove(&task->item.link); /* parked */
    exl__pool_return(task);
    exl__pool_due(pool);
    return exl_task_state(task) == EXL_TASK_READY;
}

void exl__fleet_recall_all(exl_pool_t *pool)
{
    exl_fleet_t *fleet = pool->fleet;
    fleet->cancelling = true;
    unpark(fleet);
    for (uint32_t i = 0; i < fleet->config.agents; i++)
        if (fleet->remotes[i]->state == THERE && !exl_list_empty(&fleet->remotes[i]->outstanding))
            ask_back(fleet->remotes[i], UINT32_MAX);
}

void exl__fleet_stop(exl_task_t *task)
{
    remote_t *remote = task->remote;
    if (remote->state == GONE)
        return; /* it is about to fail */
    (void)tell(remote, (exl_frame_t){.type = EXL_FRAME_STOP, .id = task->number}, NULL);
    flush(remote);
}

/* ---- what agents say ---- */

static void finish_with(exl_task_t *task, exl_outcome_t outcome, const exl_payload_t *record)
{
    exl_failure_t *failure = NULL;
    if (!record || exl_failure_read(record, &failure) < 0)
        failure = exl_failure_create(EXL_BLAME_NODE, 0, NULL, "its agent did not say how it ended", NULL, 0);
    exl__pool_finish(task, outcome, NULL, failure);
    exl_failure_unref(failure);
}

static void answer(remote_t *remote, exl_task_t *task, exl_message_t *message)
{
    exl_fleet_t *fleet = remote->fleet;
    fleet->changed |= message->frame.type != EXL_FRAME_RETURNED;
    detach(remote, task);
    switch (message->frame.type) {
    case EXL_FRAME_RESULT:
    case EXL_FRAME_EXCEPTION:
        exl__pool_finish(task, message->frame.type == EXL_FRAME_RESULT ? EXL_OUTCOME_RESULT : EXL_OUTCOME_EXCEPTION,
                         message->payload, NULL);
        break;
    case EXL_FRAME_RETURNED:
        exl__pool_return(task);
        if (fleet->cancelling && !exl_task_done(task))
            (void)exl__pool_cancel(task);
        break;
    case EXL_FRAME_LOST:
        finish_with(task, EXL_OUTCOME_LOST, message->payload);
        break;
    default:
        finish_with(task, EXL_OUTCOME_TERMINATED, message->payload);
    }
    exl__pool_due(fleet->pool);
}

/* What may be counted upon there from now on. */
static int count(remote_t *remote, const exl_node_record_t *node)
{
    int rc = exl_places_describe(&remote->fleet->places, &remote->place, node->cores, node->calls, node->gpus);
    if (rc == 0)
        remote->node = *node;
    remote->fleet->changed = true;
    return rc;
}

/* Persistent workers have their cores also while they do nothing. */
static void hold(remote_t *remote, uint32_t workers)
{
    if (remote->host < 0)
        return;
    uint32_t before = remote->held;
    remote->held = workers * remote->fleet->pool->each.cores;
    exl_hosts_use(ledger_of(remote->fleet), (uint32_t)remote->host, remote->held);
    if (before)
        exl_hosts_return(ledger_of(remote->fleet), (uint32_t)remote->host, before);
}

static void join_ledger(remote_t *remote)
{
    const exl_node_record_t *node = &remote->node;
    if (!ledger_of(remote->fleet) || !node->name[0])
        return;
    remote->host = exl_hosts_add(ledger_of(remote->fleet), node->name, node->all_cores ? node->all_cores : node->cores);
    if (remote->fleet->pool->persistent)
        hold(remote, node->calls);
}

/* How many workers there are from now on; what it has too much of is shared out. */
static void tell_workers(remote_t *remote)
{
    exl_node_record_t node = remote->node;
    exl_segment_t ids = {remote->workers, remote->nworkers * sizeof *remote->workers};
    exl_payload_t *payload = NULL;
    node.calls = remote->nworkers;
    int rc = exl_payload_create(&ids, 1, NULL, 0, NULL, NULL, &payload);
    if (rc == 0 && (rc = exl_payload_seal(payload)) == 0)
        rc = tell(remote, (exl_frame_t){.type = EXL_FRAME_RESIZE, .arg = remote->nworkers}, payload);
    exl_payload_unref(payload);
    free(remote->workers);
    remote->workers = NULL;
    hold(remote, remote->nworkers);
    if (rc < 0 || count(remote, &node) < 0)
        return;
    uint32_t ahead = exl_place_ahead(&remote->place);
    if (ahead && !remote->asked_back && exl_peer_connected(&remote->peer))
        ask_back(remote, ahead);
}

static void set_end(remote_t *remote, uint64_t left_ms)
{
    exl_fleet_t *fleet = remote->fleet;
    uint64_t counted_ms = left_ms < MOST_MS ? left_ms : MOST_MS;
    remote->end_ns = left_ms == EXL_NO_END ? 0 : exl_clock_ns() + (int64_t)counted_ms * 1000000;
    if (!remote->place.ncalls && left_ms > fleet->longest_ms)
        fleet->longest_ms = left_ms;
    if (!left_ms && fleet->config.renewed && !remote->dismissed)
        dismiss(remote);
}

/* Said once more when its end is known, or comes. */
static void introduce(remote_t *remote, const exl_payload_t *payload)
{
    exl_fleet_t *fleet = remote->fleet;
    exl_node_record_t node;
    if (!payload || exl_node_record_read(payload, &node) < 0 || (!remote->known && count(remote, &node) < 0))
        return;
    bool first = !remote->known;
    remote->known = true;
    if (first)
        join_ledger(remote);
    if (first && remote->workers)
        tell_workers(remote);
    set_end(remote, node.ends ? node.left_ms : EXL_NO_END);
    unpark(fleet);
    update_place(remote);
    exl__pool_due(fleet->pool);
}

static void message_cb(exl_peer_t *peer, exl_message_t *message)
{
    remote_t *remote = remote_of(peer);
    exl_task_t *task;
    switch (message->frame.type) {
    case EXL_FRAME_NODE:
        introduce(remote, message->payload);
        break;
    case EXL_FRAME_RECALL: /* all that it gives back has been given back */
        has_given_back(remote);
        update_place(remote);
        exl__pool_due(remote->fleet->pool);
        break;
    case EXL_FRAME_RESULT:
    case EXL_FRAME_EXCEPTION:
        if (!message->payload)
            break;
        /* fallthrough */
    case EXL_FRAME_RETURNED:
    case EXL_FRAME_LOST:
    case EXL_FRAME_TERMINATED:
        task = exl_idmap_get(&remote->calls, message->frame.id);
        if (task)
            answer(remote, task, message);
        break;
    default:
        break; /* of a later version */
    }
    /* One that is to go does so when what it said has been acknowledged, and it hears that with a frame; it may have come late. */
    bool leaves = remote->dismissed || remote->fleet->ending;
    if (leaves && remote->state == THERE && !remote->asked_back && !remote->place.ncalls)
        send_end(remote);
}

/* ---- coming and going ---- */

/* Where agents are renewed somebody will say why: until then it stays with what is left of its agent. */
static void lose(remote_t *remote, exl_task_t *task, const char *reason)
{
    bool again = task->restarts < task->pool->restart_limit;
    if (!again && remote->fleet->config.renewed && !remote->fleet->ending)
        return;
    detach(remote, task);
    if (again) {
        task->restarts++;
        exl__pool_return(task);
        return;
    }
    exl_failure_t *failure = exl_failure_create(EXL_BLAME_NODE, 0, NULL, reason, NULL, 0);
    if (failure) {
        (void)exl_failure_set_host(failure, remote->node.host, strlen(remote->node.host));
        failure->restarts = task->restarts;
    }
    exl__pool_finish(task, EXL_OUTCOME_LOST, NULL, failure);
    exl_failure_unref(failure);
}

static void removed_cb(uv_fs_t *request)
{
    uv_fs_req_cleanup(request);
    free(request);
}

/* Nobody is to read it any more. Not here, since a file system may be slow. */
static void remove_handover(exl_fleet_t *fleet)
{
    if (!fleet->handover || fleet->nawaited)
        return;
    uv_fs_t *request = calloc(1, sizeof *request);
    if (request && uv_fs_unlink(node_of(fleet)->loop, request, fleet->handover, removed_cb) < 0)
        free(request);
    free(fleet->handover);
    fleet->handover = NULL;
    node_of(fleet)->changed(node_of(fleet)->owner);
}

/* The last of them: calls that wait have nobody to wait for. */
static void nobody_left(exl_fleet_t *fleet, const char *reason)
{
    if (fleet->nthere || fleet->nawaited || fleet->ending || fleet->loss || fleet->config.renewed)
        return;
    fleet->loss = exl_failure_create(EXL_BLAME_NODE, 0, NULL, reason, NULL, 0);
    exl__pool_due(fleet->pool);
}

static void gone(remote_t *remote, const char *reason, bool good_bye)
{
    exl_fleet_t *fleet = remote->fleet;
    if (remote->state == GONE || remote->state == VACANT)
        return;
    if (remote->state == AWAITED)
        fleet->nawaited--;
    else
        fleet->nthere--;
    remote->state = GONE;
    has_given_back(remote);
    remove_handover(fleet);
    exl_list_remove(&remote->unsent_link);
    update_place(remote);
    exl_deadline_stop(remote->silence);
    remote->silence = NULL;
    EXL_LIST_FOREACH_SAFE(&remote->outstanding, link)
    lose(remote, exl__task_of(link), reason);
    hold(remote, 0);
    remote->host = -1;
    exl_peer_fini(&remote->peer, good_bye);
    exl_idmap_fini(&remote->calls);
    exl_idmap_fini(&remote->functions);
    exl_payload_unref(remote->setup);
    remote->setup = NULL;
    nobody_left(fleet, reason);
    announce(fleet);
    exl__pool_due(fleet->pool);
}

static void silence_cb(void *subject)
{
    remote_t *remote = subject;
    char reason[EXL_HOST_MAX + 96];
    (void)snprintf(reason, sizeof reason, "its agent has been out of reach for %u s",
                   remote->fleet->config.grace_ms / 1000);
    gone(remote, reason, false);
}

static void unexplained_cb(void *subject)
{
    gone(subject, "its agent died", false);
}

/* When a job is ended from outside its agents die a moment before the launcher, which knows the reason. */
static bool wait_for_reason(remote_t *remote)
{
    remote->died =
        remote->fleet->launcher && !remote->fleet->ending &&
        exl_deadline_start(node_of(remote->fleet), LAST_WORDS_MS, unexplained_cb, remote, &remote->silence) == 0;
    update_place(remote); /* it gets no more calls */
    return remote->died;
}

/* Closed by its end, it is gone; without a good-bye its process died. Else the network may come back. */
static void broken_cb(exl_peer_t *peer, int code, const char *reason)
{
    remote_t *remote = remote_of(peer);
    char text[EXL_HOST_MAX + 320];
    if (code == -ECONNRESET && wait_for_reason(remote))
        return;
    bool for_good = code == EXL_ECLOSED || code == EXL_EPROTOCOL || code == -ECONNRESET || code == -ENOMEM;
    if (!for_good && exl_deadline_start(node_of(remote->fleet), remote->fleet->config.grace_ms, silence_cb, remote,
                                        &remote->silence) == 0)
        return;
    (void)snprintf(text, sizeof text, "its agent %s",
                   code == EXL_ECLOSED   ? "ended"
                   : code == -ECONNRESET ? "died"
                                         : reason);
    gone(remote, text, false);
}

static const exl_peer_events_t peer_events = {message_cb, broken_cb};

/* A greeting names the agent (arg), its process (epoch), and how many of our frames it has (id). */
static void arrived_cb(void *owner, exl_connection_t *connection, const exl_frame_t *hello)
{
    exl_fleet_t *fleet = owner;
    remote_t *remote = hello->arg < fleet->config.agents ? fleet->remotes[hello->arg] : NULL;
    bool first = remote && remote->state == AWAITED && hello->epoch;
    bool again = remote && remote->state == THERE && hello->epoch == remote->instance;
    if (!first && !again) {
        exl_connection_destroy(connection, true); /* of an agent that is gone for us: it ends when it hears this */
        return;
    }
    if (first) {
        remote->state = THERE;
        remote->instance = hello->epoch;
        fleet->nawaited--;
        fleet->nthere++;
        remove_handover(fleet);
        announce(fleet);
    }
    exl_deadline_stop(remote->silence);
    remote->silence = NULL;
    exl_connection_tune(exl_connection_fd(connection), fleet->config.grace_ms);
    exl_connection_greet(connection, (exl_frame_t){.id = exl_link_received(remote->peer.link)});
    if (exl_peer_connect(&remote->peer, connection, hello->id) < 0)
        gone(remote, "its agent lost count of what was said", false);
    else if (fleet->ending)
        (void)tell(remote, (exl_frame_t){.type = EXL_FRAME_END}, NULL);
    fleet->again |= again; /* it could not be asked for calls meanwhile */
    exl__pool_due(fleet->pool);
}

static void launcher_ended_cb(void *owner, int wait_status, const char *why)
{
    exl_fleet_t *fleet = owner;
    char explained[EXL_TAIL_SIZE + 160];
    (void)wait_status;
    fleet->launcher = NULL;
    (void)snprintf(explained, sizeof explained, "its agent died; %s", why);
    for (uint32_t i = 0; i < fleet->config.agents; i++) {
        remote_t *remote = fleet->remotes[i];
        if (remote->state == AWAITED || (remote->state == THERE && remote->died))
            gone(remote, remote->died ? explained : why, false);
    }
    exl__pool_due(fleet->pool);
}

/* ---- life ---- */

static int add_remote(exl_fleet_t *fleet, uint32_t index)
{
    remote_t *remote = calloc(1, sizeof *remote);
    if (!remote)
        return -ENOMEM;
    *remote = (remote_t){.fleet = fleet, .index = index, .host = -1};
    exl_place_init(&remote->place);
    exl_list_init(&remote->unsent_link);
    exl_list_init(&remote->outstanding);
    fleet->remotes[index] = remote;
    return 0;
}

/* From now on its agent may come. */
static int await(remote_t *remote)
{
    int rc = exl_peer_init(&remote->peer, node_of(remote->fleet), &peer_events);
    if (rc < 0)
        return rc;
    exl_idmap_init(&remote->calls);
    exl_idmap_init(&remote->functions);
    remote->known = remote->dismissed = remote->has_needs = remote->has_imports = false;
    remote->end_ns = 0;
    remote->state = AWAITED;
    remote->fleet->nawaited++;
    return 0;
}

static int create_remotes(exl_fleet_t *fleet)
{
    fleet->remotes = calloc(fleet->config.agents, sizeof(remote_t *));
    int rc = fleet->remotes ? 0 : -ENOMEM;
    for (uint32_t i = 0; rc == 0 && i < fleet->config.agents; i++)
        rc = add_remote(fleet, i);
    for (uint32_t i = 0; rc == 0 && i < fleet->config.agents && !fleet->config.renewed; i++)
        rc = await(fleet->remotes[i]);
    return rc;
}

/* All up to this one exist. */
static int grow(exl_fleet_t *fleet, uint32_t index)
{
    remote_t **larger = realloc(fleet->remotes, ((size_t)index + 1) * sizeof *larger);
    if (!larger)
        return -ENOMEM;
    fleet->remotes = larger;
    int rc = 0;
    while (rc == 0 && fleet->config.agents <= index)
        if ((rc = add_remote(fleet, fleet->config.agents)) == 0)
            fleet->config.agents++;
    return rc;
}

int exl__fleet_create(exl_pool_t *pool, const exl_fleet_config_t *config, exl_fleet_t **ret_fleet, exl_error_t *err)
{
    exl_fleet_t *fleet = calloc(1, sizeof *fleet);
    if (!fleet)
        return exl_error_set(err, -ENOMEM, "out of memory");
    *fleet = (exl_fleet_t){.pool = pool, .config = *config};
    exl_list_init(&fleet->unsent);
    exl_list_init(&fleet->parked);
    exl_places_init(&fleet->places, config->depth);
    int rc = create_remotes(fleet);
    if (rc < 0)
        (void)exl_error_set(err, rc, "%s", exl_strerror(rc));
    else
        rc = exl_door_open(node_of(fleet), config->address, config->name, config->key, arrived_cb, fleet, &fleet->door,
                           err);
    fleet->config.address = fleet->config.name = NULL;
    fleet->config.key = NULL;
    if (rc < 0) {
        exl__fleet_destroy(fleet);
        return rc;
    }
    *ret_fleet = fleet;
    return 0;
}

void exl__fleet_destroy(exl_fleet_t *fleet)
{
    if (!fleet)
        return;
    assert(!fleet->launcher);
    exl_door_close(fleet->door);
    for (uint32_t i = 0; fleet->remotes && i < fleet->config.agents && fleet->remotes[i]; i++) {
        remote_t *remote = fleet->remotes[i];
        if (remote->peer.link)
            exl_peer_fini(&remote->peer, false);
        free(remote->workers);
        free(remote);
    }
    free(fleet->remotes);
    exl_places_fini(&fleet->places);
    exl_failure_unref(fleet->loss);
    free(fleet->handover);
    free(fleet);
}

void exl__fleet_end(exl_pool_t *pool)
{
    exl_fleet_t *fleet = pool->fleet;
    fleet->ending = true;
    for (uint32_t i = 0; i < fleet->config.agents; i++) {
        remote_t *remote = fleet->remotes[i];
        if (remote->state == THERE) {
            send_end(remote);
        } else if (remote->state == AWAITED && !fleet->launcher) {
            gone(remote, "the executor was shut down", false);
        }
    }
    /* Where one has come the others are about to, and are told then; else it may wait for nodes for hours. */
    if (fleet->launcher && fleet->nawaited == fleet->config.agents)
        exl_launcher_signal(fleet->launcher, SIGTERM);
    announce(fleet);
    flush_all(fleet);
}

void exl__fleet_kill(exl_pool_t *pool)
{
    exl_fleet_t *fleet = pool->fleet;
    for (uint32_t i = 0; i < fleet->config.agents; i++)
        gone(fleet->remotes[i], "the executor was shut down", true);
    if (fleet->launcher)
        exl_launcher_signal(fleet->launcher, SIGKILL);
}

bool exl__fleet_ended(const exl_pool_t *pool)
{
    const exl_fleet_t *fleet = pool->fleet;
    return fleet->nthere == 0 && fleet->nawaited == 0 && !fleet->launcher;
}

/* ---- from any thread ---- */

uint16_t exl_fleet_port(exl_pool_t *pool)
{
    exl_engine_lock();
    uint16_t port = !exl_pool_foreign(pool) && pool->fleet ? exl_door_port(pool->fleet->door) : 0;
    exl_engine_unlock();
    return port;
}

int exl_fleet_launch(exl_pool_t *pool, const char *const *argv, const char *const *envp, const char *handover,
                     exl_error_t *err)
{
    char *copy = handover ? strdup(handover) : NULL;
    if (handover && !copy)
        return exl_error_set(err, -ENOMEM, "out of memory");
    exl_engine_lock();
    exl_fleet_t *fleet = exl_pool_foreign(pool) ? NULL : pool->fleet;
    int rc = exl_pool_foreign(pool)                   ? EXL_EFORKED
             : !fleet || fleet->ending || fleet->loss ? EXL_ECLOSED
             : fleet->launcher                        ? EXL_EILLEGAL
                                                      : 0;
    if (rc < 0)
        (void)exl_error_set(err, rc, "%s", exl_strerror(rc));
    else
        rc = exl_launcher_start(node_of(fleet), argv, envp, handover, launcher_ended_cb, fleet, &fleet->launcher, err);
    if (rc == 0) {
        fleet->handover = copy;
        copy = NULL;
    }
    exl_engine_unlock();
    free(copy);
    return rc;
}

static int set_workers(remote_t *remote, const uint32_t *ids, uint32_t nids)
{
    uint32_t *copy = malloc((nids + 1) * sizeof *copy);
    if (!copy)
        return -ENOMEM;
    for (uint32_t i = 0; i < nids; i++)
        copy[i] = ids[i];
    free(remote->workers);
    remote->workers = copy;
    remote->nworkers = nids;
    if (remote->state == THERE && remote->known)
        tell_workers(remote);
    return 0;
}

int exl_fleet_resize(exl_pool_t *pool, const uint32_t *const *ids, const uint32_t *nids, uint32_t nagents)
{
    exl_engine_lock();
    exl_fleet_t *fleet = exl_pool_foreign(pool) ? NULL : pool->fleet;
    int rc = exl_pool_foreign(pool)                                           ? EXL_EFORKED
             : pool->closing                                                  ? EXL_ECLOSED
             : !fleet || !pool->persistent || nagents != fleet->config.agents ? -EINVAL
                                                                              : 0;
    for (uint32_t i = 0; rc == 0 && i < nagents; i++)
        rc = set_workers(fleet->remotes[i], ids[i], nids[i]);
    if (rc == 0)
        exl__pool_due(pool);
    exl_engine_unlock();
    return rc;
}

/* ---- agents that are renewed ---- */

/* An agent that is or was there, or 0 and an error. Under the lock. */
static int find(exl_pool_t *pool, uint32_t index, remote_t **ret_remote)
{
    exl_fleet_t *fleet = exl_pool_foreign(pool) ? NULL : pool->fleet;
    int rc = exl_pool_foreign(pool)                              ? EXL_EFORKED
             : !fleet                                            ? EXL_ECLOSED
             : !fleet->config.renewed || index > EXL_AGENTS_MOST ? -EINVAL
             : index >= fleet->config.agents                     ? grow(fleet, index)
                                                                 : 0;
    if (rc == 0)
        *ret_remote = fleet->remotes[index];
    return rc;
}

int exl_fleet_expect(exl_pool_t *pool, uint32_t index)
{
    remote_t *remote;
    exl_engine_lock();
    int rc = find(pool, index, &remote);
    if (rc == 0 && remote->fleet->ending)
        rc = EXL_ECLOSED;
    else if (rc == 0)
        rc = remote->state == VACANT ? await(remote) : EXL_EILLEGAL;
    if (rc == 0)
        announce(remote->fleet);
    exl_engine_unlock();
    return rc;
}

static void bury(remote_t *remote, exl_payload_t *exception)
{
    gone(remote, "its batch job has ended", false);
    while (!exl_list_empty(&remote->outstanding)) {
        exl_task_t *task = exl__task_of(remote->outstanding.next);
        detach(remote, task);
        if (exception)
            exl__pool_finish(task, EXL_OUTCOME_EXCEPTION, exception, NULL);
        else
            exl__pool_fail(task, EXL_BLAME_NODE, "its agent has gone");
    }
    remote->state = VACANT;
    announce(remote->fleet);
    exl__pool_due(remote->fleet->pool);
}

int exl_fleet_bury(exl_pool_t *pool, uint32_t index, exl_payload_t *exception)
{
    remote_t *remote;
    exl_engine_lock();
    int rc = find(pool, index, &remote);
    if (rc == 0)
        bury(remote, exception);
    exl_engine_unlock();
    return rc;
}

int exl_fleet_dismiss(exl_pool_t *pool, uint32_t index)
{
    remote_t *remote;
    exl_engine_lock();
    int rc = find(pool, index, &remote);
    if (rc == 0 && remote->state == AWAITED)
        bury(remote, NULL);
    else if (rc == 0 && remote->state == THERE && !remote->dismissed)
        dismiss(remote);
    exl_engine_unlock();
    return rc;
}

int exl_fleet_fail(exl_pool_t *pool, exl_payload_t *exception)
{
    exl_engine_lock();
    exl_fleet_t *fleet = exl_pool_foreign(pool) ? NULL : pool->fleet;
    if (fleet) {
        unpark(fleet);
        for (exl_queue_item_t *item; (item = exl_queue_pop_before(&pool->queue, UINT64_MAX));)
            exl__pool_finish(EXL_CONTAINER(item, exl_task_t, item), EXL_OUTCOME_EXCEPTION, exception, NULL);
        fleet->asked = false;
        exl__pool_due(pool);
    }
    exl_engine_unlock();
    return fleet ? 0 : EXL_ECLOSED;
}

int exl_fleet_watch(exl_pool_t *pool, uint32_t *seen, int64_t deadline_ns, char *states, uint32_t capacity,
                    uint32_t *ret_agents, bool *ret_wanted)
{
    static const char letters[] = {[VACANT] = 'v', [AWAITED] = 'a', [THERE] = 't', [GONE] = 'g'};
    int rc = exl_parker_wait_change(&pool->agents_word, *seen, deadline_ns);
    if (rc == EXL_EINTERRUPTED)
        return rc;
    exl_engine_lock();
    exl_fleet_t *fleet = exl_pool_foreign(pool) ? NULL : pool->fleet;
    *seen = atomic_load(&pool->agents_word);
    *ret_agents = fleet ? fleet->config.agents : 0;
    for (uint32_t i = 0; i < *ret_agents && i < capacity; i++)
        states[i] = letters[fleet->remotes[i]->state];
    *ret_wanted = fleet && (pool->queue.count || !exl_list_empty(&fleet->parked));
    rc = exl_pool_foreign(pool) ? EXL_EFORKED : !fleet || fleet->ending ? EXL_ECLOSED : 0;
    exl_engine_unlock();
    return rc;
}

uint32_t exl_fleet_agents(exl_pool_t *pool)
{
    exl_engine_lock();
    uint32_t count = !exl_pool_foreign(pool) && pool->fleet ? pool->fleet->nthere : 0;
    exl_engine_unlock();
    return count;
}
