/* queue.c: one lane per (priority, request), each in submission order. */
#include "sched/queue.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct exl_queue_lane {
    int32_t priority;
    exl_request_t request;
    exl_list_t *items;       /* owned head, apart from the array: links point at it, and the array moves */
    exl_shortage_t shortage; /* what the first item lacks; of use within exl_queue_pop() only */
};

void exl_queue_init(exl_queue_t *queue, uint32_t patience)
{
    *queue = (exl_queue_t){.patience = patience};
}

void exl_queue_fini(exl_queue_t *queue)
{
    for (size_t i = 0; i < queue->nlanes; i++)
        free(queue->lanes[i].items);
    free(queue->lanes);
    exl_queue_init(queue, queue->patience);
}

static bool lane_matches(const struct exl_queue_lane *lane, const exl_queue_item_t *item)
{
    return lane->priority == item->priority && lane->request.cores == item->request.cores &&
           lane->request.gpus == item->request.gpus && lane->request.gpu_share == item->request.gpu_share &&
           lane->request.nodes == item->request.nodes && lane->request.node_cores == item->request.node_cores;
}

static exl_list_t *lane_new(exl_queue_t *queue, const exl_queue_item_t *item)
{
    if (queue->nlanes == queue->capacity) {
        size_t capacity = queue->capacity ? queue->capacity * 2 : 4;
        void *grown = realloc(queue->lanes, capacity * sizeof *queue->lanes);
        if (!grown)
            return NULL;
        queue->lanes = grown;
        queue->capacity = capacity;
    }
    exl_list_t *items = malloc(sizeof *items);
    if (!items)
        return NULL;
    exl_list_init(items);
    size_t at = 0;
    while (at < queue->nlanes && queue->lanes[at].priority >= item->priority)
        at++;
    memmove(queue->lanes + at + 1, queue->lanes + at, (queue->nlanes - at) * sizeof *queue->lanes);
    queue->nlanes++;
    queue->lanes[at] = (struct exl_queue_lane){.priority = item->priority, .request = item->request, .items = items};
    return items;
}

/* Lanes that ran empty go when a new one is needed, so a lane that is used all the time is not made anew each time. */
static void drop_empty_lanes(exl_queue_t *queue)
{
    size_t kept = 0;
    for (size_t i = 0; i < queue->nlanes; i++) {
        if (exl_list_empty(queue->lanes[i].items))
            free(queue->lanes[i].items);
        else
            queue->lanes[kept++] = queue->lanes[i];
    }
    queue->nlanes = kept;
}

/* Where such items wait, or NULL. */
static exl_list_t *lane_for(exl_queue_t *queue, const exl_queue_item_t *item)
{
    for (size_t i = 0; i < queue->nlanes; i++)
        if (lane_matches(&queue->lanes[i], item))
            return queue->lanes[i].items;
    drop_empty_lanes(queue);
    return lane_new(queue, item);
}

static exl_queue_item_t *item_of(exl_list_t *link)
{
    return EXL_CONTAINER(link, exl_queue_item_t, link);
}

int exl_queue_push(exl_queue_t *queue, exl_queue_item_t *item)
{
    exl_list_t *at = lane_for(queue, item);
    if (!at)
        return -ENOMEM;
    /* New items go to the back and returning ones near the front: search from the end that is nearer. */
    if (!exl_list_empty(at) && item_of(at->prev)->order > item->order)
        for (at = at->next; item_of(at)->order < item->order; at = at->next) {
        }
    exl_list_insert_before(at, &item->link);
    queue->count++;
    return 0;
}

void exl_queue_remove(exl_queue_t *queue, exl_queue_item_t *item)
{
    assert(queue->count && item->link.next != &item->link);
    exl_list_remove(&item->link);
    queue->count--;
}

exl_queue_item_t *exl_queue_first(const exl_queue_t *queue)
{
    exl_queue_item_t *first = NULL;
    for (size_t i = 0; i < queue->nlanes && (!first || queue->lanes[i].priority == first->priority); i++) {
        if (exl_list_empty(queue->lanes[i].items))
            continue;
        exl_queue_item_t *item = item_of(queue->lanes[i].items->next);
        if (!first || item->order < first->order)
            first = item;
    }
    return first;
}

exl_queue_item_t *exl_queue_pop_before(exl_queue_t *queue, uint64_t order)
{
    for (size_t i = 0; i < queue->nlanes; i++) {
        exl_list_t *items = queue->lanes[i].items;
        if (exl_list_empty(items) || item_of(items->next)->order >= order)
            continue;
        exl_queue_item_t *item = item_of(items->next);
        exl_queue_remove(queue, item);
        return item;
    }
    return NULL;
}

uint64_t exl_queue_oldest(const exl_queue_t *queue)
{
    uint64_t oldest = UINT64_MAX;
    for (size_t i = 0; i < queue->nlanes; i++) {
        const exl_list_t *items = queue->lanes[i].items;
        if (!exl_list_empty(items) && item_of(items->next)->order < oldest)
            oldest = item_of(items->next)->order;
    }
    return oldest;
}

int32_t exl_queue_priority(const exl_queue_t *queue)
{
    const exl_queue_item_t *first = queue->count ? exl_queue_first(queue) : NULL;
    return first ? first->priority : INT32_MIN;
}

static bool comes_before(const exl_queue_item_t *a, const exl_queue_item_t *b)
{
    return a->priority > b->priority || (a->priority == b->priority && a->order < b->order);
}

static void keep_first(exl_queue_item_t **first, exl_queue_item_t *item)
{
    if (!*first || comes_before(item, *first))
        *first = item;
}

/* Notes of each lane what its first item lacks. Of the items that fit, the first of each kind; else NULL. */
static void look(exl_queue_t *queue, const exl_resources_t *resources, exl_queue_item_t **ret_plain,
                 exl_queue_item_t **ret_with_gpus)
{
    *ret_plain = *ret_with_gpus = NULL;
    for (size_t i = 0; i < queue->nlanes; i++) {
        struct exl_queue_lane *lane = &queue->lanes[i];
        lane->shortage = EXL_SHORT_OF_NOTHING;
        if (exl_list_empty(lane->items))
            continue;
        exl_queue_item_t *item = item_of(lane->items->next);
        if (queue->barrier && item->order > queue->barrier)
            continue;
        lane->shortage = exl_resources_shortage(resources, item->request);
        if (lane->shortage == EXL_SHORT_OF_NOTHING)
            keep_first(item->request.gpus ? ret_with_gpus : ret_plain, item);
    }
}

/* Who takes no GPU is not in the way of who waits for one. */
static bool is_in_the_way(const exl_queue_item_t *item, const struct exl_queue_lane *lane)
{
    return lane->shortage == EXL_SHORT_OF_CORES || (lane->shortage == EXL_SHORT_OF_GPUS && item->request.gpus);
}

/* Whether it would pass one that has been passed often enough. Of a lane, its first has been most often. */
static bool must_wait(const exl_queue_t *queue, const exl_queue_item_t *item)
{
    for (size_t i = 0; i < queue->nlanes; i++) {
        const struct exl_queue_lane *lane = &queue->lanes[i];
        if (!is_in_the_way(item, lane))
            continue;
        const exl_queue_item_t *blocked = item_of(lane->items->next);
        if (blocked->passed >= queue->patience && comes_before(blocked, item))
            return true;
    }
    return false;
}

/* Counts it for all that it passes, also those behind the first of their lane. Each is counted `patience` times at most,
 * so this costs little however many wait. */
static void pass(exl_queue_t *queue, const exl_queue_item_t *item)
{
    for (size_t i = 0; i < queue->nlanes; i++) {
        struct exl_queue_lane *lane = &queue->lanes[i];
        if (!is_in_the_way(item, lane))
            continue;
        for (exl_list_t *at = lane->items->next; at != lane->items && comes_before(item_of(at), item); at = at->next)
            item_of(at)->passed++;
    }
}

exl_queue_item_t *exl_queue_pop(exl_queue_t *queue, const exl_resources_t *resources)
{
    if (!queue->count)
        return NULL;
    exl_queue_item_t *item, *with_gpus;
    look(queue, resources, &item, &with_gpus);
    if (item && must_wait(queue, item))
        item = NULL;
    if (with_gpus && !must_wait(queue, with_gpus))
        keep_first(&item, with_gpus);
    if (!item)
        return NULL;
    pass(queue, item);
    exl_queue_remove(queue, item);
    return item;
}
