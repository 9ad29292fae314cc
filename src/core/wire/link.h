/* link.h: frames between two ends that must not lose or repeat one, though the connection between them may break.
 *
 * A pure state machine between frames and a stream of bytes; the stream is somebody else's (tls.h, a socket).
 *
 *   frames  --send-->  [ link ]  --take-->  stream      kept until the peer has acknowledged them
 *   frames  <--next--  [ link ]  <--feed--  stream      counted
 *
 * Both ends count the frames that they have received whole. When a stream has broken and another takes its place, each end
 * tells the other its count, and resumes behind it: exl_link_received(), exl_link_resume(). So every frame arrives once,
 * and in order, however often the stream breaks and wherever it is cut.
 *
 * Payloads are sent from where they are and not copied; the stream's pace is the only limit, so who feeds a link watches
 * exl_link_backlog(). Descriptors do not cross a network: a frame that names some breaks the protocol.
 *
 * Not thread-safe: the owner serialises. */
#ifndef EXL_WIRE_LINK_H
#define EXL_WIRE_LINK_H

#include <stdbool.h>

#include "task/payload.h"
#include "wire/channel.h"
#include "wire/frame.h"

typedef struct exl_link exl_link_t;

exl_link_t *exl_link_create(void); /* NULL when memory is out */
void exl_link_destroy(exl_link_t *link);

/* Keeps the frame, and a reference to its payload, until the peer has it. The payload must be sealed; it is mapped if need
 * be. 0, -ENOMEM, -errno. */
int exl_link_send(exl_link_t *link, exl_frame_t frame, exl_payload_t *payload);

/* Bytes of frames that the peer has not acknowledged. */
uint64_t exl_link_backlog(const exl_link_t *link);

/* Whether take() has something to hand out. */
bool exl_link_pending(const exl_link_t *link);

/* Moves at most `capacity` bytes for the stream to `ret_bytes`, returns how many. */
size_t exl_link_take(exl_link_t *link, void *ret_bytes, size_t capacity);

/* Bytes from the stream. 0, -ENOMEM. */
int exl_link_feed(exl_link_t *link, const void *bytes, size_t size);

/* 1: a frame, and its payload if it has one. 0: more bytes are needed. EXL_EPROTOCOL, -ENOMEM, -errno: the link is of no
 * use any more. */
int exl_link_next(exl_link_t *link, exl_message_t *ret_message);

/* Tells the peer soon what has been received; without it, after every few frames. */
void exl_link_acknowledge(exl_link_t *link);

/* Frames received whole. */
uint64_t exl_link_received(const exl_link_t *link);

/* On a new stream, whose peer has received so many frames: what it lacks is sent again. EXL_EPROTOCOL for a count that cannot
 * be: then the peer is not who it was. */
int exl_link_resume(exl_link_t *link, uint64_t received);

#endif
