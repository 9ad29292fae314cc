/* node.c: the local node's beginning and end. */
#include "node/node.h"

#include <assert.h>
#include <unistd.h>

#include "node/zygote.h"

int exl_node_init(exl_node_t *node, uv_loop_t *loop, void (*changed)(void *owner), void *owner)
{
    *node = (exl_node_t){.loop = loop, .changed = changed, .owner = owner};
    exl_list_init(&node->zygotes);
    exl_list_init(&node->sockets);
    exl_idmap_init(&node->processes);
    int rc = exl_tee_create(STDERR_FILENO, &node->tee);
    if (rc == 0)
        (void)exl_pins_init(&node->pins); /* nobody is pinned where that fails */
    return rc;
}

void exl_node_fini(exl_node_t *node)
{
    assert(exl_list_empty(&node->zygotes));
    exl_tee_destroy(node->tee);
    node->tee = NULL;
    exl_idmap_fini(&node->processes);
    exl_pins_fini(&node->pins);
}

void exl_node_abandon(exl_node_t *node)
{
    exl_zygotes_abandon(&node->zygotes);
    EXL_LIST_FOREACH(&node->sockets, link)
    (void)close(EXL_CONTAINER(link, exl_socket_t, link)->fd);
    exl_tee_abandon(node->tee);
}
