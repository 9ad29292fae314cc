/* connection.h: one stream socket to a peer that has the key: socket, TLS, and the link whose frames it carries.
 *
 *   owner  <-- exl_link_next --   [ link ]  <--  [ TLS ]  <--  socket   exl_connection_read()
 *   owner   -- exl_link_send -->  [ link ]  -->  [ TLS ]  -->  socket   exl_connection_write()
 *
 * A connection begins with the proof of the key, then each end greets: one frame of type HELLO, that of the connecting end
 * first. From it the owner knows which link the connection is for and how far the peer has received it; it resumes the link
 * and attaches it. The link outlives the connection.
 *
 * The socket is non-blocking. Nothing that arrives before the key was proved reaches a parser of ours. Not thread-safe. */
#ifndef EXL_WIRE_CONNECTION_H
#define EXL_WIRE_CONNECTION_H

#include <stdbool.h>

#include "base/error.h"
#include "wire/frame.h"
#include "wire/link.h"
#include "wire/tls.h"

typedef struct exl_connection exl_connection_t;

/* For a TCP socket: small frames leave at once, and the kernel notices a peer that has gone without a word in about half the
 * grace time that it is to have, or half a minute where that is less. */
void exl_connection_tune(int fd, uint32_t grace_ms);

/* Takes the descriptor, on success only. See exl_tls_create() for side, name and key. */
int exl_connection_create(int fd, exl_tls_side_t side, const char *name, const uint8_t key[EXL_TLS_KEY_SIZE],
                          exl_connection_t **ret_connection, exl_error_t *err);

/* Closes the socket; with `good_bye` the peer is told that this end is done, as far as the socket takes it at once. */
void exl_connection_destroy(exl_connection_t *connection, bool good_bye); /* NULL is fine */

int exl_connection_fd(const exl_connection_t *connection);

/* What this end says first, once the key is proved. Once. */
void exl_connection_greet(exl_connection_t *connection, exl_frame_t hello);

/* The peer's greeting: true once it is there. */
bool exl_connection_greeted(const exl_connection_t *connection, exl_frame_t *ret_hello);

/* Frames flow from now on; the link is borrowed. */
void exl_connection_attach(exl_connection_t *connection, exl_link_t *link);

/* Takes what has arrived; the link may have frames then. >0: there may be more, or what comes after them is an end; look at the link, and
 * read again. 0: nothing more for now. EXL_ECLOSED: the peer has said good-bye. -errno: the connection broke. EXL_EPROTOCOL: the peer is none of ours. */
int exl_connection_read(exl_connection_t *connection, exl_error_t *err);

/* Sends what TLS and the link have to say. 0: all of it. 1: the socket is full. -errno, EXL_EPROTOCOL. */
int exl_connection_write(exl_connection_t *connection);

#endif
