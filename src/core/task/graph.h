/* graph.h: which call waits for which. Edges hang on the producer; under the engine's lock. */
#ifndef EXL_TASK_GRAPH_H
#define EXL_TASK_GRAPH_H

#include "task/task.h"

struct exl_edge {
    exl_edge_t *next;
    exl_task_t *consumer; /* owned */
    uint32_t index;       /* of the dependency in the consumer */
};

/* Makes `consumer` (created) depend on the producers, each referenced. Producers that are done already are resolved at
 * once; afterwards consumer->npending counts the others. EXL_ECYCLE, -ENOMEM. */
int exl_graph_link(exl_task_t *consumer, exl_task_t *const *producers, uint32_t count);

/* The producer is done with a result: consumer's dependency `index` takes it over. */
void exl_graph_resolve(exl_task_t *consumer, uint32_t index);

/* Detaches the first edge of a producer; the caller frees it by exl_edge_destroy(). NULL: none left. */
exl_edge_t *exl_graph_pop(exl_task_t *producer);
void exl_edge_destroy(exl_edge_t *edge);

/* The first producer that is done without a result, or NULL. */
exl_task_t *exl_graph_failed_producer(const exl_task_t *consumer);

#endif
