/* handshake.h: a socket on its way to becoming a peer: the proof of the key and the two greetings, within a time limit.
 *
 * The accepting end is done when it has the other's greeting; it answers with its own. The connecting end greets first and is
 * done with the answer. Either way `done` gets a connection to attach a link to, or the reason why there is none. */
#ifndef EXL_NODE_HANDSHAKE_H
#define EXL_NODE_HANDSHAKE_H

#include "base/list.h"
#include "node/node.h"
#include "wire/connection.h"

typedef struct exl_handshake exl_handshake_t;

/* `connection` is the receiver's; NULL: `reason` says why, and code is negative. The handshake itself is gone afterwards. */
typedef void (*exl_handshake_cb)(void *owner, exl_handshake_t *handshake, exl_connection_t *connection,
                                 const exl_frame_t *hello, int code, const char *reason);

typedef struct exl_handshake_config {
    exl_node_t *node;
    exl_tls_side_t side;
    const char *name;   /* see exl_tls_create() */
    const uint8_t *key; /* copied */
    exl_frame_t hello;  /* of the connecting end */
    uint32_t limit_ms;
    exl_handshake_cb done;
    void *owner; /* borrowed */
} exl_handshake_config_t;

/* Takes the descriptor of a non-blocking socket, which may still be connecting; on success only. */
int exl_handshake_start(const exl_handshake_config_t *config, int fd, exl_handshake_t **ret_handshake,
                        exl_error_t *err);

/* Gives up without a word: `done` is not called. */
void exl_handshake_cancel(exl_handshake_t *handshake);

#endif
