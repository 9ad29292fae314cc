/* peer.c: reads and writes as the socket allows. */
#include "node/peer.h"

#include <errno.h>
#include <stdlib.h>

/* Of its own, since the loop lets go of a closed handle later, and a new connection may be there before. */
struct exl_watch {
    uv_poll_t poll;
    exl_peer_t *peer; /* borrowed; NULL once closed */
};

static void poll_cb(uv_poll_t *poll, int status, int events);

int exl_peer_init(exl_peer_t *peer, exl_node_t *node, const exl_peer_events_t *events)
{
    *peer = (exl_peer_t){.node = node, .events = events, .link = exl_link_create()};
    return peer->link ? 0 : -ENOMEM;
}

static void closed_cb(uv_handle_t *handle)
{
    free(handle->data);
}

static void disconnect(exl_peer_t *peer, bool good_bye)
{
    if (!peer->connection)
        return;
    peer->watch->peer = NULL;
    exl_list_remove(&peer->socket.link);
    uv_close((uv_handle_t *)&peer->watch->poll, closed_cb);
    exl_connection_destroy(peer->connection, good_bye);
    peer->watch = NULL;
    peer->connection = NULL;
    peer->node->changed(peer->node->owner);
}

void exl_peer_disconnect(exl_peer_t *peer)
{
    disconnect(peer, false);
}

void exl_peer_fini(exl_peer_t *peer, bool good_bye)
{
    disconnect(peer, good_bye);
    exl_link_destroy(peer->link);
    peer->link = NULL;
}

static void watch(exl_peer_t *peer, bool write_wanted)
{
    peer->write_wanted = write_wanted;
    (void)uv_poll_start(&peer->watch->poll, UV_READABLE | (write_wanted ? UV_WRITABLE : 0), poll_cb);
    peer->node->changed(peer->node->owner);
}

static void broken(exl_peer_t *peer, int code, const char *reason)
{
    disconnect(peer, false);
    peer->events->broken(peer, code, reason);
}

void exl_peer_flush(exl_peer_t *peer)
{
    if (!peer->connection)
        return;
    /* What cannot be sent is the reader's to tell: there may be answers before the end. */
    int rc = exl_connection_write(peer->connection);
    if ((rc > 0) != peer->write_wanted)
        watch(peer, rc > 0);
}

/* Frames that are there. Negative: the link is of no use any more. */
static int take_all(exl_peer_t *peer)
{
    exl_message_t message;
    int rc = 0;
    while (peer->link && (rc = exl_link_next(peer->link, &message)) > 0) {
        peer->events->message(peer, &message);
        exl_message_fini(&message);
    }
    return rc;
}

/* A handler may drop the connection, and another may be there already. */
static void read_all(exl_peer_t *peer)
{
    const exl_connection_t *connection = peer->connection;
    exl_error_t err = {""};
    int rc;
    do {
        rc = exl_connection_read(peer->connection, &err);
        int taken = take_all(peer);
        if (peer->connection != connection)
            return;
        if (taken < 0)
            rc = exl_error_set(&err, taken, "%s", exl_strerror(taken));
    } while (rc > 0);
    if (rc < 0)
        broken(peer, rc, err.text);
    else
        exl_peer_flush(peer); /* acknowledgements, and what the socket did not take */
}

static void poll_cb(uv_poll_t *poll, int status, int events)
{
    const struct exl_watch *watched = poll->data;
    exl_peer_t *peer = watched->peer;
    (void)events;
    if (!peer)
        return;
    /* libuv calls every error of a socket EBADF and watches it no more. Reading tells which one it is, after all that has come
     * before it: a process that has died is another matter than a network that is away. */
    if (status < 0)
        watch(peer, peer->write_wanted);
    read_all(peer); /* also when only writable: what came with the greeting has left the socket already */
}

int exl_peer_connect(exl_peer_t *peer, exl_connection_t *connection, uint64_t received)
{
    disconnect(peer, false);
    int rc = exl_link_resume(peer->link, received);
    struct exl_watch *fresh = rc == 0 ? calloc(1, sizeof *fresh) : NULL;
    if (rc == 0 && !fresh)
        rc = -ENOMEM;
    if (rc == 0 && (rc = uv_poll_init(peer->node->loop, &fresh->poll, exl_connection_fd(connection))) < 0)
        free(fresh);
    if (rc != 0) {
        exl_connection_destroy(connection, false);
        return rc;
    }
    fresh->peer = peer;
    fresh->poll.data = fresh;
    peer->watch = fresh;
    peer->connection = connection;
    exl_node_add_socket(peer->node, &peer->socket, exl_connection_fd(connection));
    exl_connection_attach(connection, peer->link);
    watch(peer, true);
    return 0;
}

int exl_peer_send(exl_peer_t *peer, exl_frame_t frame, exl_payload_t *payload)
{
    return exl_link_send(peer->link, frame, payload);
}
