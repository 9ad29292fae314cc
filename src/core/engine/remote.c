/* remote.c: what is said to an agent, and what is counted of it. */
#include "engine/remote.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "base/clock.h"
#include "engine/fleet_private.h"
#include "engine/parcel.h"

/* ---- its calls ---- */

static bool stays(const exl_remote_t *remote)
{
    return remote->state == EXL_REMOTE_THERE && remote->known && !remote->dismissed;
}

static void note_idleness(exl_remote_t *remote)
{
    if (!stays(remote) || remote->place.ncalls)
        exl_list_remove(&remote->idle_link);
    else if (exl_list_empty(&remote->idle_link))
        exl_list_push_back(&remote->fleet->idle, &remote->idle_link);
}

void exl__remote_update(exl_remote_t *remote)
{
    exl_places_t *places = &remote->fleet->places;
    exl_places_last(places, &remote->place, stays(remote) ? remote->end_ns : 0);
    exl_places_open(places, &remote->place, stays(remote) && !remote->asked_back && !remote->died);
    note_idleness(remote);
}

void exl__remote_look_at_host(exl_remote_t *remote)
{
    const exl_hosts_t *ledger = exl__fleet_ledger(remote->fleet);
    bool shared = remote->host >= 0 && exl_hosts_shared(ledger);
    exl_places_share(&remote->fleet->places, &remote->place, shared,
                     shared ? exl_hosts_free(ledger, (uint32_t)remote->host) : 0);
}

static void is_stale(exl_remote_t *remote)
{
    if (exl_list_empty(&remote->stale_link))
        exl_list_push_back(&remote->fleet->stale, &remote->stale_link);
}

static void host_changed_cb(exl_hosts_watch_t *watch)
{
    is_stale(EXL_CONTAINER(watch, exl_remote_t, host_watch));
}

static void attach(exl_remote_t *remote, exl_task_t *task)
{
    exl_list_push_back(&remote->outstanding, &task->item.link);
    task->remote = remote;
    if (remote->host >= 0)
        exl_hosts_use(exl__fleet_ledger(remote->fleet), (uint32_t)remote->host,
                      exl_place_width(&remote->place, &task->item.request));
    exl_places_take(&remote->fleet->places, &remote->place, &task->item.request);
    note_idleness(remote);
}

void exl__remote_detach(exl_remote_t *remote, exl_task_t *task)
{
    (void)exl_idmap_remove(&remote->calls, task->number);
    exl_list_remove(&task->item.link);
    task->remote = NULL;
    if (remote->host >= 0)
        exl_hosts_return(exl__fleet_ledger(remote->fleet), (uint32_t)remote->host,
                         exl_place_width(&remote->place, &task->item.request));
    exl_places_give(&remote->fleet->places, &remote->place, &task->item.request);
    note_idleness(remote);
}

/* ---- telling it ---- */

int exl__remote_tell(exl_remote_t *remote, exl_frame_t frame, exl_payload_t *payload)
{
    if (exl_list_empty(&remote->unsent_link))
        exl_list_push_back(&remote->fleet->unsent, &remote->unsent_link);
    return exl_peer_send(&remote->peer, frame, payload);
}

void exl__remote_flush(exl_remote_t *remote)
{
    exl_list_remove(&remote->unsent_link);
    exl_peer_flush(&remote->peer);
}

static int send_setup(exl_remote_t *remote, const exl_task_t *task)
{
    if (!task->setup || task->setup == remote->setup)
        return 0;
    int rc = exl__remote_tell(remote, (exl_frame_t){.type = EXL_FRAME_SETUP}, task->setup);
    if (rc == 0) {
        exl_payload_unref(remote->setup);
        remote->setup = exl_payload_ref(task->setup);
    }
    return rc;
}

/* What the first call is going to import: workers there are forked from a template that has. */
static int send_imports(exl_remote_t *remote, exl_payload_t *imports)
{
    if (!imports || remote->has_imports)
        return 0;
    remote->has_imports = true;
    return exl__remote_tell(remote, (exl_frame_t){.type = EXL_FRAME_IMPORTS}, imports);
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

static int send_needs(exl_remote_t *remote, const exl_task_t *task)
{
    exl_needs_record_t needs = needs_of(task);
    exl_payload_t *payload = NULL;
    if (remote->has_needs && exl_needs_record_same(&needs, &remote->needs))
        return 0;
    int rc = exl_needs_record_write(&needs, &payload);
    if (rc == 0)
        rc = exl__remote_tell(remote, (exl_frame_t){.type = EXL_FRAME_NEEDS}, payload);
    exl_payload_unref(payload);
    if (rc == 0) {
        remote->needs = needs;
        remote->has_needs = true;
    }
    return rc;
}

static int to_agent(void *remote, exl_frame_t frame, exl_payload_t *payload)
{
    return exl__remote_tell(remote, frame, payload);
}

static int send_call(exl_remote_t *remote, const exl_task_t *task)
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

void exl__remote_give(exl_remote_t *remote, exl_task_t *task)
{
    exl_fleet_t *fleet = remote->fleet;
    task->number = ++fleet->last_number;
    /* Narrow ones only: who has something to spare can begin them, so they do not go to and fro. */
    fleet->passed_over |= fleet->ngiving && task->item.request.cores == 1 && !task->item.request.gpus;
    attach(remote, task);
    if (exl_idmap_put(&remote->calls, task->number, task) == 0 && send_call(remote, task) == 0)
        return;
    exl__remote_detach(remote, task);
    exl__pool_fail(task, EXL_BLAME_ENGINE, "out of memory while sending the call");
}

/* ---- taking calls back, and the end ---- */

void exl__remote_ask_back(exl_remote_t *remote, uint32_t count)
{
    exl_fleet_t *fleet = remote->fleet;
    if (exl__remote_tell(remote, (exl_frame_t){.type = EXL_FRAME_RECALL, .arg = count}, NULL) < 0)
        return;
    fleet->ngiving += !remote->asked_back;
    remote->asked_back = true;
    remote->asked_at = fleet->nmissed;
    exl__remote_update(remote);
    exl__remote_flush(remote);
}

void exl__remote_has_given_back(exl_remote_t *remote)
{
    exl_fleet_t *fleet = remote->fleet;
    fleet->changed |= fleet->passed_over;
    fleet->again |= remote->asked_back && remote->asked_at != fleet->nmissed;
    fleet->passed_over = false;
    fleet->ngiving -= remote->asked_back;
    remote->asked_back = false;
}

void exl__remote_send_end(exl_remote_t *remote)
{
    exl_link_acknowledge(remote->peer.link);
    (void)exl__remote_tell(remote, (exl_frame_t){.type = EXL_FRAME_END}, NULL);
}

void exl__remote_dismiss(exl_remote_t *remote)
{
    remote->dismissed = true;
    exl__remote_update(remote);
    exl__remote_ask_back(remote, UINT32_MAX); /* the answer tells that it has nothing else */
}

/* ---- what there is on its node ---- */

/* What may be counted upon there from now on. */
static int count_on(exl_remote_t *remote, const exl_node_record_t *node)
{
    int rc = exl_places_describe(&remote->fleet->places, &remote->place, node->cores, node->calls, node->gpus);
    if (rc == 0)
        remote->node = *node;
    remote->fleet->changed = true;
    return rc;
}

void exl__remote_hold(exl_remote_t *remote, uint32_t workers)
{
    if (remote->host < 0)
        return;
    uint32_t before = remote->held;
    remote->held = workers * remote->fleet->pool->each.cores;
    exl_hosts_use(exl__fleet_ledger(remote->fleet), (uint32_t)remote->host, remote->held);
    if (before)
        exl_hosts_return(exl__fleet_ledger(remote->fleet), (uint32_t)remote->host, before);
}

static void join_ledger(exl_remote_t *remote)
{
    const exl_node_record_t *node = &remote->node;
    if (!exl__fleet_ledger(remote->fleet) || !node->name[0])
        return;
    remote->host =
        exl_hosts_add(exl__fleet_ledger(remote->fleet), node->name, node->all_cores ? node->all_cores : node->cores);
    if (remote->host < 0)
        return;
    exl_hosts_watch(exl__fleet_ledger(remote->fleet), (uint32_t)remote->host, &remote->host_watch);
    if (remote->fleet->pool->persistent)
        exl__remote_hold(remote, node->calls);
}

/* How many workers there are from now on; what it has too much of is shared out. */
void exl__remote_tell_workers(exl_remote_t *remote)
{
    exl_node_record_t node = remote->node;
    exl_segment_t ids = {remote->workers, remote->nworkers * sizeof *remote->workers};
    exl_payload_t *payload = NULL;
    node.calls = remote->nworkers;
    int rc = exl_payload_create(&ids, 1, NULL, 0, NULL, NULL, &payload);
    if (rc == 0 && (rc = exl_payload_seal(payload)) == 0)
        rc = exl__remote_tell(remote, (exl_frame_t){.type = EXL_FRAME_RESIZE, .arg = remote->nworkers}, payload);
    exl_payload_unref(payload);
    free(remote->workers);
    remote->workers = NULL;
    exl__remote_hold(remote, remote->nworkers);
    if (rc < 0 || count_on(remote, &node) < 0)
        return;
    uint32_t ahead = exl_place_ahead(&remote->place);
    if (ahead && !remote->asked_back && exl_peer_connected(&remote->peer))
        exl__remote_ask_back(remote, ahead);
}

int exl__remote_describe(exl_remote_t *remote, const exl_node_record_t *node)
{
    int rc = remote->known ? 0 : count_on(remote, node);
    if (rc < 0 || remote->known)
        return rc;
    remote->known = true;
    join_ledger(remote);
    is_stale(remote);
    if (remote->workers)
        exl__remote_tell_workers(remote);
    return 0;
}

int exl__remote_set_workers(exl_remote_t *remote, const uint32_t *ids, uint32_t nids)
{
    uint32_t *copy = malloc((nids + 1) * sizeof *copy);
    if (!copy)
        return -ENOMEM;
    for (uint32_t i = 0; i < nids; i++)
        copy[i] = ids[i];
    free(remote->workers);
    remote->workers = copy;
    remote->nworkers = nids;
    if (remote->state == EXL_REMOTE_THERE && remote->known)
        exl__remote_tell_workers(remote);
    return 0;
}

/* ---- life ---- */

int exl__remote_create(exl_fleet_t *fleet, uint32_t index, exl_remote_t **ret_remote)
{
    exl_remote_t *remote = calloc(1, sizeof *remote);
    if (!remote)
        return -ENOMEM;
    *remote = (exl_remote_t){.fleet = fleet, .index = index, .host = -1};
    exl_place_init(&remote->place);
    exl_list_init(&remote->unsent_link);
    exl_list_init(&remote->idle_link);
    exl_list_init(&remote->stale_link);
    exl_list_init(&remote->host_watch.link);
    remote->host_watch.changed = host_changed_cb;
    exl_list_init(&remote->outstanding);
    *ret_remote = remote;
    return 0;
}

void exl__remote_destroy(exl_remote_t *remote)
{
    if (remote->peer.link)
        exl_peer_fini(&remote->peer, false);
    free(remote->workers);
    free(remote);
}

int exl__remote_await(exl_remote_t *remote, const exl_peer_events_t *events)
{
    assert(remote->state == EXL_REMOTE_VACANT);
    int rc = exl_peer_init(&remote->peer, exl__fleet_node(remote->fleet), events);
    if (rc < 0)
        return rc;
    exl_idmap_init(&remote->calls);
    exl_idmap_init(&remote->functions);
    remote->known = remote->dismissed = remote->has_needs = remote->has_imports = false;
    remote->end_ns = EXL_NO_END_NS;
    remote->state = EXL_REMOTE_AWAITED;
    return 0;
}

void exl__remote_close(exl_remote_t *remote, bool good_bye)
{
    exl_list_remove(&remote->unsent_link);
    exl_deadline_stop(remote->silence);
    remote->silence = NULL;
    exl__remote_hold(remote, 0);
    exl_hosts_unwatch(&remote->host_watch);
    exl_list_remove(&remote->stale_link);
    remote->host = -1;
    exl_peer_fini(&remote->peer, good_bye);
    exl_idmap_fini(&remote->calls);
    exl_idmap_fini(&remote->functions);
    exl_payload_unref(remote->setup);
    remote->setup = NULL;
}
