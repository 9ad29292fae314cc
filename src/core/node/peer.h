/* peer.h: one end of a link, on the engine's loop, with the connection that carries it at present, if there is one.
 *
 * A connection may break and another take its place: the link resumes, and nothing is lost or repeated. A connection that is
 * closed with a good-bye ends the matter. Under the engine's lock. */
#ifndef EXL_NODE_PEER_H
#define EXL_NODE_PEER_H

#include "node/node.h"
#include "wire/connection.h"
#include "wire/link.h"

typedef struct exl_peer exl_peer_t;

typedef struct exl_peer_events {
    void (*message)(exl_peer_t *peer, exl_message_t *message); /* borrowed */
    /* The connection is gone. EXL_ECLOSED: with a good-bye; EXL_EPROTOCOL, -ENOMEM: the link is of no use any more either;
     * anything else: another connection may go on. */
    void (*broken)(exl_peer_t *peer, int code, const char *reason);
} exl_peer_events_t;

struct exl_peer {
    exl_node_t *node; /* borrowed */
    const exl_peer_events_t *events;
    exl_link_t *link;             /* owned */
    exl_connection_t *connection; /* owned or NULL */
    struct exl_watch *watch;      /* owned by the loop; NULL without a connection */
    exl_socket_t socket;          /* … of the connection */
    bool write_wanted;
};

int exl_peer_init(exl_peer_t *peer, exl_node_t *node, const exl_peer_events_t *events);

/* Closes the connection, with a good-bye if asked for. No event follows. Idempotent. */
void exl_peer_fini(exl_peer_t *peer, bool good_bye);

/* Takes a connection whose peer has received so many of our frames; one that there was is dropped. EXL_EPROTOCOL: the count
 * cannot be, and the connection is closed. */
int exl_peer_connect(exl_peer_t *peer, exl_connection_t *connection, uint64_t received);

/* Drops the connection, if there is one, as if it had broken, without an event. */
void exl_peer_disconnect(exl_peer_t *peer);

static inline bool exl_peer_connected(const exl_peer_t *peer)
{
    return peer->connection != NULL;
}

/* Queues a frame, also without a connection; it leaves with exl_peer_flush(). */
int exl_peer_send(exl_peer_t *peer, exl_frame_t frame, exl_payload_t *payload);
void exl_peer_flush(exl_peer_t *peer);

#endif
