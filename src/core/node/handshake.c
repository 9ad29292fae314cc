/* handshake.c: a poll handle and a timer around a connection that nobody knows yet. */
#include "node/handshake.h"

#include <errno.h>
#include <stdlib.h>

struct exl_handshake {
    exl_handshake_config_t config;
    exl_connection_t *connection; /* owned until done */
    uv_poll_t poll;
    uv_timer_t timer;
    exl_socket_t socket;
    unsigned nhandles;
};

static void closed_cb(uv_handle_t *handle)
{
    exl_handshake_t *handshake = handle->data;
    if (--handshake->nhandles == 0)
        free(handshake);
}

static void close_handles(exl_handshake_t *handshake)
{
    exl_node_t *node = handshake->config.node;
    exl_list_remove(&handshake->socket.link);
    uv_close((uv_handle_t *)&handshake->poll, closed_cb);
    uv_close((uv_handle_t *)&handshake->timer, closed_cb);
    node->changed(node->owner);
}

void exl_handshake_cancel(exl_handshake_t *handshake)
{
    close_handles(handshake); /* before the descriptor, whose number may be somebody else's next */
    exl_connection_destroy(handshake->connection, false);
    handshake->connection = NULL;
}

static void finish(exl_handshake_t *handshake, const exl_frame_t *hello, int code, const char *reason)
{
    exl_connection_t *connection = handshake->connection;
    handshake->connection = NULL;
    close_handles(handshake);
    if (code < 0) {
        exl_connection_destroy(connection, false);
        connection = NULL;
    }
    handshake->config.done(handshake->config.owner, handshake, connection, hello, code, reason);
}

static void poll_cb(uv_poll_t *poll, int status, int events);

/* 1: the socket is full. */
static int say(exl_handshake_t *handshake)
{
    int rc = exl_connection_write(handshake->connection);
    if (rc == -ENOTCONN || rc == -EINPROGRESS)
        rc = 1;
    if (rc >= 0)
        (void)uv_poll_start(&handshake->poll, UV_READABLE | (rc > 0 ? UV_WRITABLE : 0), poll_cb);
    return rc;
}

static void poll_cb(uv_poll_t *poll, int status, int events)
{
    exl_handshake_t *handshake = poll->data;
    exl_error_t err = {""};
    exl_frame_t hello;
    int rc = status < 0 ? exl_error_set(&err, status, "%s", exl_strerror(status)) : 0;
    if (rc == 0 && (events & UV_READABLE))
        rc = exl_connection_read(handshake->connection, &err);
    int said = say(handshake); /* even after an error: an alert tells the other end why */
    if (rc >= 0 && said < 0)
        rc = exl_error_set(&err, said, "%s", exl_strerror(said));
    if (exl_connection_greeted(handshake->connection, &hello))
        finish(handshake, &hello, 0, NULL);
    else if (rc < 0)
        finish(handshake, NULL, rc, err.text);
}

static void timer_cb(uv_timer_t *timer)
{
    finish(timer->data, NULL, -ETIMEDOUT, "nothing came of the connection in time");
}

int exl_handshake_start(const exl_handshake_config_t *config, int fd, exl_handshake_t **ret_handshake, exl_error_t *err)
{
    exl_node_t *node = config->node;
    exl_handshake_t *handshake = calloc(1, sizeof *handshake);
    if (!handshake)
        return exl_error_set(err, -ENOMEM, "out of memory");
    handshake->config = *config;
    int rc = exl_connection_create(fd, config->side, config->name, config->key, &handshake->connection, err);
    if (rc < 0) {
        free(handshake);
        return rc;
    }
    handshake->config.name = NULL; /* borrowed for the moment only */
    handshake->config.key = NULL;
    if (config->side == EXL_TLS_CONNECTS)
        exl_connection_greet(handshake->connection, config->hello);
    (void)uv_timer_init(node->loop, &handshake->timer);
    rc = uv_poll_init(node->loop, &handshake->poll, fd);
    handshake->poll.data = handshake->timer.data = handshake;
    handshake->nhandles = rc < 0 ? 1 : 2;
    if (rc < 0) {
        uv_close((uv_handle_t *)&handshake->timer, closed_cb);
        node->changed(node->owner);
        return exl_error_set(err, rc, "cannot watch a socket: %s", exl_strerror(rc));
    }
    exl_node_add_socket(node, &handshake->socket, fd);
    uv_update_time(node->loop);
    (void)uv_timer_start(&handshake->timer, timer_cb, config->limit_ms, 0);
    (void)uv_poll_start(&handshake->poll, UV_READABLE | UV_WRITABLE, poll_cb);
    node->changed(node->owner);
    *ret_handshake = handshake;
    return 0;
}
