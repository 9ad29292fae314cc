/* renewal.c: what somebody else says of agents, and what it is told. */
#include "engine/renewal.h"

#include <errno.h>

#include "base/parker.h"
#include "engine/fleet_private.h"

/* For whoever renews agents, and waits for a change. */
void exl__renewal_announce(exl_fleet_t *fleet)
{
    (void)atomic_fetch_add(&fleet->pool->agents_word, 1);
    exl_engine_wake(&fleet->pool->agents_word);
}

/* Calls wait for agents: one that has nothing to do and no time for them makes room for another. */
void exl__renewal_look_for_more(exl_fleet_t *fleet)
{
    bool parked = !exl_list_empty(&fleet->parked);
    EXL_LIST_FOREACH_SAFE(&fleet->idle, link)
    {
        exl_remote_t *remote = EXL_CONTAINER(link, exl_remote_t, idle_link);
        if (!parked)
            break;
        if (!exl__fleet_in_time(exl__task_of(fleet->parked.next), remote->end_ns))
            exl__remote_dismiss(remote);
    }
    bool wanted = fleet->nvacant && (parked || fleet->pool->queue.count);
    if (wanted && !fleet->asked)
        exl__renewal_announce(fleet);
    fleet->asked = wanted;
}

/* Under the lock. */
static int find(exl_pool_t *pool, uint32_t index, exl_remote_t **ret_remote)
{
    exl_fleet_t *fleet = exl_pool_foreign(pool) ? NULL : pool->fleet;
    int rc = exl_pool_foreign(pool)                              ? EXL_EFORKED
             : !fleet                                            ? EXL_ECLOSED
             : !fleet->config.renewed || index > EXL_AGENTS_MOST ? -EINVAL
             : index >= fleet->config.agents                     ? exl__fleet_grow(fleet, index)
                                                                 : 0;
    if (rc == 0)
        *ret_remote = fleet->remotes[index];
    return rc;
}

int exl_renewal_expect(exl_pool_t *pool, uint32_t index)
{
    exl_remote_t *remote;
    exl_engine_lock();
    int rc = find(pool, index, &remote);
    if (rc == 0 && remote->fleet->ending)
        rc = EXL_ECLOSED;
    else if (rc == 0)
        rc = remote->state == EXL_REMOTE_VACANT ? exl__fleet_await(remote) : EXL_EILLEGAL;
    if (rc == 0)
        exl__renewal_announce(remote->fleet);
    exl_engine_unlock();
    return rc;
}

static void bury(exl_remote_t *remote, exl_payload_t *exception)
{
    exl__fleet_gone(remote, "its batch job has ended", false);
    while (!exl_list_empty(&remote->outstanding)) {
        exl_task_t *task = exl__task_of(remote->outstanding.next);
        exl__remote_detach(remote, task);
        if (exception)
            exl__pool_finish(task, EXL_OUTCOME_EXCEPTION, exception, NULL);
        else
            exl__pool_fail(task, EXL_BLAME_NODE, "its agent has gone");
    }
    remote->fleet->nvacant += remote->state != EXL_REMOTE_VACANT;
    remote->state = EXL_REMOTE_VACANT;
    exl__renewal_announce(remote->fleet);
    exl__pool_due(remote->fleet->pool);
}

int exl_renewal_bury(exl_pool_t *pool, uint32_t index, exl_payload_t *exception)
{
    exl_remote_t *remote;
    exl_engine_lock();
    int rc = find(pool, index, &remote);
    if (rc == 0)
        bury(remote, exception);
    exl_engine_unlock();
    return rc;
}

int exl_renewal_dismiss(exl_pool_t *pool, uint32_t index)
{
    exl_remote_t *remote;
    exl_engine_lock();
    int rc = find(pool, index, &remote);
    if (rc == 0 && remote->state == EXL_REMOTE_AWAITED)
        bury(remote, NULL);
    else if (rc == 0 && remote->state == EXL_REMOTE_THERE && !remote->dismissed)
        exl__remote_dismiss(remote);
    exl_engine_unlock();
    return rc;
}

int exl_renewal_fail(exl_pool_t *pool, exl_payload_t *exception)
{
    exl_engine_lock();
    exl_fleet_t *fleet = exl_pool_foreign(pool) ? NULL : pool->fleet;
    if (fleet) {
        exl__fleet_unpark(fleet);
        for (exl_queue_item_t *item; (item = exl_queue_pop_before(&pool->queue, UINT64_MAX));)
            exl__pool_finish(EXL_CONTAINER(item, exl_task_t, item), EXL_OUTCOME_EXCEPTION, exception, NULL);
        fleet->asked = false;
        exl__pool_due(pool);
    }
    exl_engine_unlock();
    return fleet ? 0 : EXL_ECLOSED;
}

int exl_renewal_watch(exl_pool_t *pool, uint32_t *seen, int64_t deadline_ns, char *states, uint32_t capacity,
                      uint32_t *ret_agents, bool *ret_wanted)
{
    static const char letters[] = {
        [EXL_REMOTE_VACANT] = 'v', [EXL_REMOTE_AWAITED] = 'a', [EXL_REMOTE_THERE] = 't', [EXL_REMOTE_GONE] = 'g'};
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
