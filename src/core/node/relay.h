/* relay.h: frames between a socket of this host and a peer on another one.
 *
 *   head == socket == [ relay ] ====== TLS ====== [ relay ] == socket == rank
 *
 * Both ends speak as if the other were on their host: payloads arrive in memory files, and large ones leave from there without a
 * copy. Descriptors beside them do not cross, and neither do LOG frames, which are about one. On a loop of its owner's. */
#ifndef EXL_NODE_RELAY_H
#define EXL_NODE_RELAY_H

#include "node/node.h"
#include "wire/connection.h"

typedef struct exl_relay exl_relay_t;

/* How long who is at the socket has to take what a peer that has ended said. */
enum { EXL_RELAY_LIMIT_MS = 2000 };

/* One of the two has ended; what it had said has been passed on, as far as the other has taken it. `code` and `reason` are those of the
 * peer, or 0 where it was the socket. The relay is to be destroyed. */
typedef void (*exl_relay_cb)(void *owner, exl_relay_t *relay, int code, const char *reason);

/* Takes both, also on failure. The connection's peer has been greeted, and has received nothing. -ENOMEM, or what libuv says. */
int exl_relay_create(exl_node_t *node, int fd, exl_connection_t *connection, exl_relay_cb ended, void *owner,
                     exl_relay_t **ret_relay);
void exl_relay_destroy(exl_relay_t *relay, bool good_bye);

/* Passes on what the socket has said, whose other end has gone without closing it, and then ends. */
void exl_relay_finish(exl_relay_t *relay);

#endif
