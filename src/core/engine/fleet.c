/* fleet.c: which agent gets which call, and what becomes of the calls of one that is gone. */
#include "engine/fleet.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/fd_limit.h"
#include "engine/fleet_private.h"
#include "engine/renewal.h"

/* MOST_MS: what is further away is no end. LAST_WORDS_MS: of a launcher, after the death of an agent. */
enum { MOST_MS = 1 << 30, LAST_WORDS_MS = 250 };

static exl_remote_t *remote_of(exl_peer_t *peer)
{
    return EXL_CONTAINER(peer, exl_remote_t, peer);
}

static exl_remote_t *remote_at(exl_place_t *place)
{
    return place ? EXL_CONTAINER(place, exl_remote_t, place) : NULL;
}

static void flush_all(exl_fleet_t *fleet)
{
    while (!exl_list_empty(&fleet->unsent))
        exl__remote_flush(EXL_CONTAINER(fleet->unsent.next, exl_remote_t, unsent_link));
}

/* ---- where a call goes ---- */

bool exl__fleet_in_time(const exl_task_t *task, int64_t end_ns)
{
    return end_ns == EXL_NO_END_NS || exl_clock_ns() + task->run_time_ms * INT64_C(1000000) < end_ns;
}

/* Where an end is known, a call with a time limit is to begin at once: it might wait there until it is too late. */
static bool may_begin(const exl_remote_t *remote, const exl_task_t *task)
{
    bool may_wait = remote->end_ns == EXL_NO_END_NS || !task->run_time_ms;
    return exl__fleet_in_time(task, remote->end_ns) && (may_wait || remote->place.spare);
}

static bool is_shared(const exl_fleet_t *fleet)
{
    return exl__fleet_ledger(fleet) && exl_hosts_shared(exl__fleet_ledger(fleet));
}

/* Cores that come free are kept for a call over several nodes. Persistent workers have theirs. */
static bool is_held_back(const exl_fleet_t *fleet)
{
    return !fleet->pool->persistent && is_shared(fleet) && exl_hosts_hold_back(exl__fleet_ledger(fleet));
}

/* What other executors leave of the nodes, where that has changed. */
static void look_at_hosts(exl_fleet_t *fleet)
{
    bool shared = is_shared(fleet);
    if (shared != fleet->was_shared)
        for (uint32_t i = 0; i < fleet->config.agents; i++)
            if (fleet->remotes[i]->state == EXL_REMOTE_THERE && fleet->remotes[i]->known)
                exl__remote_look_at_host(fleet->remotes[i]);
    fleet->was_shared = shared;
    for (exl_list_t *link; (link = exl_list_pop_front(&fleet->stale));)
        exl__remote_look_at_host(EXL_CONTAINER(link, exl_remote_t, stale_link));
}

/* Where the best ends too early, of those that can start something at once the one that ends last: it is the likeliest to last. */
static exl_remote_t *place_for(const exl_fleet_t *fleet, const exl_task_t *task)
{
    const exl_request_t *request = &task->item.request;
    exl_remote_t *best = is_held_back(fleet) ? NULL : remote_at(exl_places_find(&fleet->places, request));
    if (!best || !exl_place_may_take(&best->place, request))
        return NULL;
    if (may_begin(best, task))
        return best;
    exl_remote_t *last = remote_at(exl_places_lasting(&fleet->places, request));
    return last && exl_place_may_take(&last->place, request) && may_begin(last, task) ? last : NULL;
}

static void copied(exl_task_t *task)
{
    exl_pool_t *pool = task->pool;
    exl_failure_t *failure = task->failure;
    exl_remote_t *remote = place_for(pool->fleet, task);
    if (failure) {
        task->failure = NULL;
        exl__pool_finish(task, EXL_OUTCOME_LOST, NULL, failure);
        exl_failure_unref(failure);
    } else if (remote) {
        exl__remote_give(remote, task);
        exl__remote_flush(remote);
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
    return fleet->nawaited > 0 || fleet->nthere > fleet->places.nopen || fleet->config.renewed ||
           (fleet->nthere && is_shared(fleet)) || exl_places_end(&fleet->places, &task->item.request);
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
    int64_t end_ns = exl_places_end(&fleet->places, &task->item.request);
    return end_ns && !exl__fleet_in_time(task, end_ns);
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

void exl__fleet_unpark(exl_fleet_t *fleet)
{
    for (exl_list_t *link; (link = exl_list_pop_front(&fleet->parked));)
        exl__pool_return(exl__task_of(link));
}

/* ---- asking back ---- */

/* An agent could do more, and there is nothing to give it: what others have not begun is shared out. Once each time that a call
 * has ended or an agent has come, or a wide call might go to and fro. Of each that is asked half of what it has ahead, so that it is
 * not asked again soon. Who is giving back already cannot be asked: where the others have too little, it is asked again when it is
 * done, and that once, too. */
static void share_out(exl_fleet_t *fleet)
{
    uint64_t wanted = fleet->places.spare;
    if (!(fleet->changed || fleet->again) || !wanted || is_held_back(fleet))
        return;
    bool may_miss = fleet->changed && fleet->ngiving;
    fleet->changed = fleet->again = false;
    EXL_LIST_FOREACH_SAFE(&fleet->places.ahead, link)
    {
        exl_remote_t *remote = remote_at(exl_place_ahead_of(link));
        uint32_t ahead = exl_place_ahead(&remote->place), count = (ahead + 1) / 2;
        if (!exl_peer_connected(&remote->peer))
            continue;
        if (count < wanted)
            count = ahead < wanted ? ahead : (uint32_t)wanted;
        /* A wide call may not fit where there is something to spare: others are asked too. */
        bool fits = !remote->place.nwide;
        exl__remote_ask_back(remote, count);
        if (fits && wanted <= count)
            return;
        wanted -= fits ? count : 0;
    }
    fleet->nmissed += may_miss;
}

/* False: it waits, and so do those behind it. */
static bool place(exl_fleet_t *fleet, exl_task_t *task)
{
    exl_remote_t *remote = place_for(fleet, task);
    (void)exl_task_update(task, EXL_TASK_PLACE);
    if (!remote && lacks_time(fleet, task)) {
        put_off(fleet, task);
    } else if (!remote && may_find_place(fleet, task)) {
        exl__pool_return(task);
        return false;
    } else if (!remote) {
        exl__pool_fail(task, EXL_BLAME_NODE, "no node of this executor has as many cores or GPUs as the call needs");
    } else if (!exl__pool_needs_copy(task)) {
        exl__remote_give(remote, task);
    } else if (exl__pool_copy(task, copied) < 0) {
        exl__pool_fail(task, EXL_BLAME_ENGINE, "out of memory while copying the arguments");
    }
    return true;
}

void exl__fleet_schedule(exl_pool_t *pool)
{
    exl_fleet_t *fleet = pool->fleet;
    const exl_place_t *first;
    exl_task_t *task;
    if (fleet->loss)
        fail_all(pool);
    look_at_hosts(fleet);
    while (pool->queue.count && !is_held_back(fleet) && (first = exl_places_first(&fleet->places)) &&
           (task = next_task(pool, first)) && place(fleet, task)) {
    }
    if (!pool->queue.count)
        share_out(fleet);
    if (fleet->config.renewed)
        exl__renewal_look_for_more(fleet);
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
    exl__fleet_unpark(fleet);
    for (uint32_t i = 0; i < fleet->config.agents; i++)
        if (fleet->remotes[i]->state == EXL_REMOTE_THERE && !exl_list_empty(&fleet->remotes[i]->outstanding))
            exl__remote_ask_back(fleet->remotes[i], UINT32_MAX);
}

void exl__fleet_stop(exl_task_t *task)
{
    exl_remote_t *remote = task->remote;
    if (remote->state == EXL_REMOTE_GONE)
        return; /* it is about to fail */
    (void)exl__remote_tell(remote, (exl_frame_t){.type = EXL_FRAME_STOP, .id = task->number}, NULL);
    exl__remote_flush(remote);
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

static void answer(exl_remote_t *remote, exl_task_t *task, exl_message_t *message)
{
    exl_fleet_t *fleet = remote->fleet;
    fleet->changed |= message->frame.type != EXL_FRAME_RETURNED;
    exl__remote_detach(remote, task);
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

static void set_end(exl_remote_t *remote, uint64_t left_ms)
{
    exl_fleet_t *fleet = remote->fleet;
    uint64_t counted_ms = left_ms < MOST_MS ? left_ms : MOST_MS;
    remote->end_ns = left_ms == EXL_NO_END ? EXL_NO_END_NS : exl_clock_ns() + (int64_t)counted_ms * 1000000;
    if (!remote->place.ncalls && left_ms > fleet->longest_ms)
        fleet->longest_ms = left_ms;
    if (!left_ms && fleet->config.renewed && !remote->dismissed)
        exl__remote_dismiss(remote);
}

/* Said once more when its end is known, or comes. */
static void introduce(exl_remote_t *remote, const exl_payload_t *payload)
{
    exl_fleet_t *fleet = remote->fleet;
    exl_node_record_t node;
    if (!payload || exl_node_record_read(payload, &node) < 0 || exl__remote_describe(remote, &node) < 0)
        return;
    set_end(remote, node.ends ? node.left_ms : EXL_NO_END);
    exl__fleet_unpark(fleet);
    exl__remote_update(remote);
    exl__pool_due(fleet->pool);
}

static void message_cb(exl_peer_t *peer, exl_message_t *message)
{
    exl_remote_t *remote = remote_of(peer);
    exl_task_t *task;
    switch (message->frame.type) {
    case EXL_FRAME_NODE:
        introduce(remote, message->payload);
        break;
    case EXL_FRAME_RECALL: /* all that it gives back has been given back */
        exl__remote_has_given_back(remote);
        exl__remote_update(remote);
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
    if (leaves && remote->state == EXL_REMOTE_THERE && !remote->asked_back && !remote->place.ncalls)
        exl__remote_send_end(remote);
}

/* ---- coming and going ---- */

/* Where agents are renewed somebody will say why: until then it stays with what is left of its agent. */
static void lose(exl_remote_t *remote, exl_task_t *task, const char *reason)
{
    bool again = task->restarts < task->pool->restart_limit;
    if (!again && remote->fleet->config.renewed && !remote->fleet->ending)
        return;
    exl__remote_detach(remote, task);
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
    if (request && uv_fs_unlink(exl__fleet_node(fleet)->loop, request, fleet->handover, removed_cb) < 0)
        free(request);
    free(fleet->handover);
    fleet->handover = NULL;
    exl__fleet_node(fleet)->changed(exl__fleet_node(fleet)->owner);
}

/* The last of them: calls that wait have nobody to wait for. */
static void nobody_left(exl_fleet_t *fleet, const char *reason)
{
    if (fleet->nthere || fleet->nawaited || fleet->ending || fleet->loss || fleet->config.renewed)
        return;
    fleet->loss = exl_failure_create(EXL_BLAME_NODE, 0, NULL, reason, NULL, 0);
    exl__pool_due(fleet->pool);
}

void exl__fleet_gone(exl_remote_t *remote, const char *reason, bool good_bye)
{
    exl_fleet_t *fleet = remote->fleet;
    if (remote->state == EXL_REMOTE_GONE || remote->state == EXL_REMOTE_VACANT)
        return;
    if (remote->state == EXL_REMOTE_AWAITED)
        fleet->nawaited--;
    else
        fleet->nthere--;
    remote->state = EXL_REMOTE_GONE;
    exl__remote_has_given_back(remote);
    remove_handover(fleet);
    exl__remote_update(remote);
    EXL_LIST_FOREACH_SAFE(&remote->outstanding, link)
    lose(remote, exl__task_of(link), reason);
    exl__remote_close(remote, good_bye);
    nobody_left(fleet, reason);
    exl__renewal_announce(fleet);
    exl__pool_due(fleet->pool);
}

static void silence_cb(void *subject)
{
    exl_remote_t *remote = subject;
    char reason[EXL_HOST_MAX + 96];
    (void)snprintf(reason, sizeof reason, "its agent has been out of reach for %u s",
                   remote->fleet->config.grace_ms / 1000);
    exl__fleet_gone(remote, reason, false);
}

static void unexplained_cb(void *subject)
{
    exl__fleet_gone(subject, "its agent died", false);
}

/* When a job is ended from outside its agents die a moment before the launcher, which knows the reason. */
static bool wait_for_reason(exl_remote_t *remote)
{
    remote->died = remote->fleet->launcher && !remote->fleet->ending &&
                   exl_deadline_start(exl__fleet_node(remote->fleet), LAST_WORDS_MS, unexplained_cb, remote,
                                      &remote->silence) == 0;
    exl__remote_update(remote); /* it gets no more calls */
    return remote->died;
}

/* Closed by its end, it is gone; without a good-bye its process died. Else the network may come back. */
static void broken_cb(exl_peer_t *peer, int code, const char *reason)
{
    exl_remote_t *remote = remote_of(peer);
    char text[EXL_HOST_MAX + 320];
    if (code == -ECONNRESET && wait_for_reason(remote))
        return;
    bool for_good = code == EXL_ECLOSED || code == EXL_EPROTOCOL || code == -ECONNRESET || code == -ENOMEM;
    if (!for_good && exl_deadline_start(exl__fleet_node(remote->fleet), remote->fleet->config.grace_ms, silence_cb,
                                        remote, &remote->silence) == 0)
        return;
    (void)snprintf(text, sizeof text, "its agent %s",
                   code == EXL_ECLOSED   ? "ended"
                   : code == -ECONNRESET ? "died"
                                         : reason);
    exl__fleet_gone(remote, text, false);
}

static const exl_peer_events_t peer_events = {message_cb, broken_cb};

/* A greeting names the agent (arg), its process (epoch), and how many of our frames it has (id). */
static void arrived_cb(void *owner, exl_connection_t *connection, const exl_frame_t *hello)
{
    exl_fleet_t *fleet = owner;
    exl_remote_t *remote = hello->arg < fleet->config.agents ? fleet->remotes[hello->arg] : NULL;
    bool first = remote && remote->state == EXL_REMOTE_AWAITED && hello->epoch;
    bool again = remote && remote->state == EXL_REMOTE_THERE && hello->epoch == remote->instance;
    if (!first && !again) {
        exl_connection_destroy(connection, true); /* of an agent that is gone for us: it ends when it hears this */
        return;
    }
    if (first) {
        remote->state = EXL_REMOTE_THERE;
        remote->instance = hello->epoch;
        fleet->nawaited--;
        fleet->nthere++;
        remove_handover(fleet);
        exl__renewal_announce(fleet);
    }
    exl_deadline_stop(remote->silence);
    remote->silence = NULL;
    exl_connection_tune(exl_connection_fd(connection), fleet->config.grace_ms);
    exl_connection_greet(connection, (exl_frame_t){.id = exl_link_received(remote->peer.link)});
    if (exl_peer_connect(&remote->peer, connection, hello->id) < 0)
        exl__fleet_gone(remote, "its agent lost count of what was said", false);
    else if (fleet->ending)
        (void)exl__remote_tell(remote, (exl_frame_t){.type = EXL_FRAME_END}, NULL);
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
        exl_remote_t *remote = fleet->remotes[i];
        if (remote->state == EXL_REMOTE_AWAITED || (remote->state == EXL_REMOTE_THERE && remote->died))
            exl__fleet_gone(remote, remote->died ? explained : why, false);
    }
    exl__pool_due(fleet->pool);
}

/* ---- life ---- */

int exl__fleet_await(exl_remote_t *remote)
{
    int rc = exl__remote_await(remote, &peer_events);
    if (rc < 0)
        return rc;
    remote->fleet->nvacant--;
    remote->fleet->nawaited++;
    return 0;
}

int exl__fleet_grow(exl_fleet_t *fleet, uint32_t index)
{
    exl_remote_t **larger = realloc(fleet->remotes, ((size_t)index + 1) * sizeof *larger);
    if (!larger)
        return -ENOMEM;
    fleet->remotes = larger;
    while (fleet->config.agents <= index) {
        int rc = exl__remote_create(fleet, fleet->config.agents, &larger[fleet->config.agents]);
        if (rc < 0)
            return rc;
        fleet->config.agents++;
        fleet->nvacant++;
        exl_fd_limit_add(1); /* its connection */
    }
    return 0;
}

static int create_remotes(exl_fleet_t *fleet, uint32_t count)
{
    int rc = exl__fleet_grow(fleet, count - 1);
    for (uint32_t i = 0; rc == 0 && i < count && !fleet->config.renewed; i++)
        rc = exl__fleet_await(fleet->remotes[i]);
    return rc;
}

static int check_limit(uint32_t agents, exl_error_t *err)
{
    int rc = exl_fd_limit_allows(agents + EXL_DOOR_STRANGERS);
    return rc == 0 ? 0
                   : exl_error_set(err, rc,
                                   "%" PRIu32 " agents are more than this process may have connections to; raise its "
                                   "hard limit of open files (ulimit -Hn), or use fewer nodes",
                                   agents);
}

int exl__fleet_create(exl_pool_t *pool, const exl_fleet_config_t *config, exl_fleet_t **ret_fleet, exl_error_t *err)
{
    int rc = check_limit(config->agents, err);
    if (rc < 0)
        return rc;
    exl_fleet_t *fleet = calloc(1, sizeof *fleet);
    if (!fleet)
        return exl_error_set(err, -ENOMEM, "out of memory");
    *fleet = (exl_fleet_t){.pool = pool, .config = *config};
    fleet->config.agents = 0; /* so far */
    exl_list_init(&fleet->unsent);
    exl_list_init(&fleet->idle);
    exl_list_init(&fleet->stale);
    exl_list_init(&fleet->parked);
    exl_places_init(&fleet->places, config->depth);
    rc = create_remotes(fleet, config->agents);
    if (rc < 0)
        (void)exl_error_set(err, rc, "%s", exl_strerror(rc));
    else
        rc = exl_door_open(exl__fleet_node(fleet), config->address, config->name, config->key, arrived_cb, fleet,
                           &fleet->door, err);
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
    for (uint32_t i = 0; i < fleet->config.agents; i++)
        exl__remote_destroy(fleet->remotes[i]);
    exl_fd_limit_subtract(fleet->config.agents);
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
        exl_remote_t *remote = fleet->remotes[i];
        if (remote->state == EXL_REMOTE_THERE) {
            exl__remote_send_end(remote);
        } else if (remote->state == EXL_REMOTE_AWAITED && !fleet->launcher) {
            exl__fleet_gone(remote, "the executor was shut down", false);
        }
    }
    /* Where one has come the others are about to, and are told then; else it may wait for nodes for hours. */
    if (fleet->launcher && fleet->nawaited == fleet->config.agents)
        exl_launcher_signal(fleet->launcher, SIGTERM);
    exl__renewal_announce(fleet);
    flush_all(fleet);
}

void exl__fleet_kill(exl_pool_t *pool)
{
    exl_fleet_t *fleet = pool->fleet;
    for (uint32_t i = 0; i < fleet->config.agents; i++)
        exl__fleet_gone(fleet->remotes[i], "the executor was shut down", true);
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
        rc = exl_launcher_start(exl__fleet_node(fleet), argv, envp, handover, launcher_ended_cb, fleet,
                                &fleet->launcher, err);
    if (rc == 0) {
        fleet->handover = copy;
        copy = NULL;
    }
    exl_engine_unlock();
    free(copy);
    return rc;
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
        rc = exl__remote_set_workers(fleet->remotes[i], ids[i], nids[i]);
    if (rc == 0)
        exl__pool_due(pool);
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
