/* guest.c: room for one pool, set aside in another. */
#include "engine/guest.h"

#include <errno.h>
#include <stdlib.h>

static exl_pool_t *guest_of(exl_list_t *link)
{
    return EXL_CONTAINER(link, exl_pool_t, guest_link);
}

/* Of GPUs, in thousandths. */
static uint64_t share_of(exl_request_t request)
{
    return (uint64_t)request.gpus * (request.gpu_share ? request.gpu_share : EXL_GPU_WHOLE);
}

void exl__guest_arrive(exl_pool_t *guest, exl_pool_t *host, exl_request_t room)
{
    guest->host = host;
    guest->room = room;
    guest->arrival = ++host->last_order;
    host->refs++;
    host->nguests++;
    exl_list_push_back(&host->guests, &guest->guest_link);
    if (host->closed)
        exl__guests_admit_all(host);
    else
        exl__pool_due(host);
}

static int admit(exl_pool_t *guest)
{
    exl_pool_t *host = guest->host;
    if (!host->closed && exl_resources_take(&host->resources, guest->room, &guest->holding) < 0)
        return -ENOMEM;
    exl_list_remove(&guest->guest_link);
    guest->admitted = true;
    guest->counted = !host->closed;
    host->nadmitted++;
    host->admitted_cores += guest->room.cores;
    host->admitted_share += share_of(guest->room);
    exl__pool_due(guest);
    return 0;
}

static void give_back(exl_pool_t *guest, exl_pool_t *host)
{
    /* A closed host has no books any more; only processors are the engine's. */
    exl_resources_t rest = {.cores_used = guest->room.cores, .calls_used = 1, .pins = guest->resources.pins};
    exl_resources_t *resources = host->closed ? &rest : &host->resources;
    if (guest->counted)
        exl_resources_give(resources, guest->room, &guest->holding);
    if (guest->counted && !host->closed)
        exl_resources_give_gpus(resources, guest->room, &guest->holding);
    free(guest->holding.gpus);
    guest->holding = (exl_holding_t){0};
}

void exl__guest_leave(exl_pool_t *guest)
{
    exl_pool_t *host = guest->host;
    if (!host)
        return;
    guest->host = NULL;
    host->nguests--;
    if (!guest->admitted) {
        exl_list_remove(&guest->guest_link);
    } else {
        host->nadmitted--;
        host->admitted_cores -= guest->room.cores;
        host->admitted_share -= share_of(guest->room);
        give_back(guest, host);
    }
    if (!host->closed)
        exl__pool_due(host);
    exl__pool_unref(host);
}

static bool fits_beside(const exl_pool_t *host, exl_request_t request, const exl_pool_t *guest)
{
    const exl_resources_t *limits = &host->resources;
    if (limits->calls && host->nadmitted + 1 >= limits->calls)
        return false;
    if (request.gpus &&
        share_of(request) + share_of(guest->room) + host->admitted_share > (uint64_t)host->gpus.count * EXL_GPU_WHOLE)
        return false;
    return !limits->cores || (uint64_t)request.cores + guest->room.cores + host->admitted_cores <= limits->cores;
}

/* Whether a call that came before the guest is not ready yet and would have to wait until the guest is gone. */
static bool somebody_waits(const exl_pool_t *host, const exl_pool_t *guest)
{
    for (exl_list_t *link = host->waiting.next; link != &host->waiting; link = link->next) {
        const exl_queue_item_t *item = &exl__task_of(link)->item;
        if (item->order < guest->arrival && !fits_beside(host, item->request, guest))
            return true;
    }
    return false;
}

static bool room_for(const exl_pool_t *host, const exl_pool_t *guest)
{
    if (!exl_resources_fits(&host->resources, guest->room))
        return false;
    if (host->persistent)
        return host->nworkers + host->nadmitted < host->max_workers;
    return exl_queue_oldest(&host->queue) > guest->arrival;
}

void exl__guests_admit(exl_pool_t *host)
{
    host->queue.barrier = 0;
    while (!exl_list_empty(&host->guests)) {
        exl_pool_t *guest = guest_of(host->guests.next);
        if (!host->persistent && somebody_waits(host, guest))
            return;
        if (!room_for(host, guest)) {
            host->queue.barrier = host->persistent ? 0 : guest->arrival;
            return;
        }
        if (admit(guest) < 0)
            return; /* out of memory: the next pass tries again */
    }
}

void exl__guests_admit_all(exl_pool_t *host)
{
    while (!exl_list_empty(&host->guests))
        (void)admit(guest_of(host->guests.next));
}

uint32_t exl__guests_leave_workers(const exl_pool_t *host)
{
    if (host->max_workers > host->nguests)
        return host->max_workers - host->nguests;
    return host->max_workers && host->npending; /* calls that were there before the guests are completed */
}
