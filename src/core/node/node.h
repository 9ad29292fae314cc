/* node.h: this host as a place where workers live: its zygotes, its workers, and the loop and stderr reader they share.
 *
 * Everything in node/ except tee, claim and descendants runs under the engine's lock. Handles are libuv's and are freed in
 * their close callbacks; `nhandles` says how many are still open. */
#ifndef EXL_NODE_NODE_H
#define EXL_NODE_NODE_H

#include <uv.h>

#include "base/idmap.h"
#include "base/list.h"
#include "node/tee.h"
#include "sched/pins.h"

/* A socket that a child made by fork() must not keep open: its end would not be heard. */
typedef struct exl_socket {
    exl_list_t link;
    int fd; /* borrowed */
} exl_socket_t;

typedef struct exl_node {
    uv_loop_t *loop; /* borrowed */
    exl_tee_t *tee;  /* owned */
    exl_list_t zygotes;
    exl_list_t sockets;    /* those that lead to other hosts */
    exl_idmap_t processes; /* id -> exl_worker_t or template exl_zygote_t, by the id's lowest bit */
    uint64_t next_id;
    exl_pins_t pins; /* the processors; shared by all executors */
    /* Handles were added or changed: the loop must look at them before it sleeps. */
    void (*changed)(void *owner);
    void *owner;
} exl_node_t;

int exl_node_init(exl_node_t *node, uv_loop_t *loop, void (*changed)(void *owner), void *owner);

/* All zygotes must be gone. */
void exl_node_fini(exl_node_t *node);

static inline void exl_node_add_socket(exl_node_t *node, exl_socket_t *socket, int fd)
{
    socket->fd = fd;
    exl_list_push_back(&node->sockets, &socket->link);
}

/* In a child made by fork(): closes the descriptors that lead to zygotes, workers and other hosts, and nothing else. */
void exl_node_abandon(exl_node_t *node);

/* Ids are never reused. Workers are even, templates odd. */
static inline uint64_t exl_node_worker_id(exl_node_t *node)
{
    return node->next_id += 2;
}

static inline uint64_t exl_node_template_id(exl_node_t *node)
{
    return (node->next_id += 2) | 1;
}

#endif
