/* deadline.c: one timer of the loop for each deadline. */
#include "engine/deadline.h"

#include <errno.h>
#include <stdlib.h>

struct exl_deadline {
    uv_timer_t timer;
    exl_node_t *node;
    void (*passed)(void *subject);
    void *subject; /* borrowed */
};

static void passed_cb(uv_timer_t *timer)
{
    exl_deadline_t *deadline = timer->data;
    deadline->passed(deadline->subject);
}

static void closed_cb(uv_handle_t *handle)
{
    free(handle->data);
}

int exl_deadline_start(exl_node_t *node, uint32_t ms, void (*passed)(void *subject), void *subject,
                       exl_deadline_t **ret_deadline)
{
    exl_deadline_t *deadline = calloc(1, sizeof *deadline);
    if (!deadline)
        return -ENOMEM;
    *deadline = (exl_deadline_t){.node = node, .passed = passed, .subject = subject};
    (void)uv_timer_init(node->loop, &deadline->timer);
    deadline->timer.data = deadline;
    uv_update_time(node->loop); /* which is as old as the engine's last wake-up */
    /* The loop counts whole milliseconds that have begun: one more, so that none is missing. */
    (void)uv_timer_start(&deadline->timer, passed_cb, (uint64_t)ms + 1, 0);
    node->changed(node->owner);
    *ret_deadline = deadline;
    return 0;
}

void exl_deadline_stop(exl_deadline_t *deadline)
{
    if (!deadline)
        return;
    uv_close((uv_handle_t *)&deadline->timer, closed_cb);
    deadline->node->changed(deadline->node->owner);
}
