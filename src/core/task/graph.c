/* graph.c: edges between calls. */
#include "task/graph.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "base/error.h"

static int add_edge(exl_task_t *producer, exl_task_t *consumer, uint32_t index)
{
    exl_edge_t *edge = malloc(sizeof *edge);
    if (!edge)
        return -ENOMEM;
    *edge = (exl_edge_t){.next = producer->dependents, .consumer = exl_task_ref(consumer), .index = index};
    producer->dependents = edge;
    return 0;
}

int exl_graph_link(exl_task_t *consumer, exl_task_t *const *producers, uint32_t count)
{
    assert(exl_task_state(consumer) == EXL_TASK_CREATED && !consumer->dependencies);
    if (count == 0)
        return 0;
    consumer->dependencies = calloc(count, sizeof *consumer->dependencies);
    if (!consumer->dependencies)
        return -ENOMEM;
    for (uint32_t i = 0; i < count; i++) {
        if (producers[i] == consumer)
            return EXL_ECYCLE;
        consumer->dependencies[i].producer = exl_task_ref(producers[i]);
        consumer->ndependencies = i + 1;
        consumer->npending++;
        if (exl_task_done(producers[i])) {
            exl_graph_resolve(consumer, i);
        } else {
            int rc = add_edge(producers[i], consumer, i);
            if (rc < 0)
                return rc;
        }
    }
    return 0;
}

void exl_graph_resolve(exl_task_t *consumer, uint32_t index)
{
    exl_dependency_t *dependency = &consumer->dependencies[index];
    exl_task_t *producer = dependency->producer;
    assert(producer && exl_task_done(producer) && consumer->npending);
    consumer->npending--;
    if (producer->outcome != EXL_OUTCOME_RESULT)
        return;
    dependency->payload = exl_payload_ref(producer->result);
    dependency->producer = NULL;
    exl_task_unref(producer);
}

exl_edge_t *exl_graph_pop(exl_task_t *producer)
{
    exl_edge_t *edge = producer->dependents;
    if (edge)
        producer->dependents = edge->next;
    return edge;
}

void exl_edge_destroy(exl_edge_t *edge)
{
    exl_task_unref(edge->consumer);
    free(edge);
}

exl_task_t *exl_graph_failed_producer(const exl_task_t *consumer)
{
    for (uint32_t i = 0; i < consumer->ndependencies; i++) {
        exl_task_t *producer = consumer->dependencies[i].producer;
        if (producer && exl_task_done(producer) && producer->outcome != EXL_OUTCOME_RESULT)
            return producer;
    }
    return NULL;
}
