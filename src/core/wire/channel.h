/* channel.h: frames over one Unix stream socket, with descriptors passed along.
 *
 * Sending queues and then tries the socket; what the kernel does not take stays queued until the next flush. Receiving
 * reads what is there and hands out whole frames. Works on blocking sockets (worker, zygote) and non-blocking ones
 * (engine) alike. Not thread-safe: the owner serialises. */
#ifndef EXL_WIRE_CHANNEL_H
#define EXL_WIRE_CHANNEL_H

#include <stdbool.h>

#include "base/buffer.h"
#include "task/payload.h"
#include "wire/frame.h"

typedef struct exl_channel {
    int fd;                                     /* owned; -1 when closed */
    bool ended;                                 /* the peer has closed */
    exl_buffer_t in;                            /* received, not yet handed out */
    exl_buffer_t out;                           /* queued, not yet taken by the kernel */
    uint64_t sent;                              /* bytes that have left `out` since the channel was made */
    struct exl_channel_attachment *attachments; /* owned ring: descriptors and where in the stream they go */
    unsigned first_attachment, nattachments, attachment_capacity;
    int *fds; /* owned: descriptors received, not yet claimed by a frame */
    unsigned nfds, fds_capacity;
} exl_channel_t;

typedef struct exl_message {
    exl_frame_t frame;
    exl_payload_t *payload;     /* owned by the receiver, or NULL */
    int fds[EXL_FRAME_MAX_FDS]; /* owned by the receiver: frame.nfds of them, less the payload's own */
} exl_message_t;

/* Takes `fd`. */
void exl_channel_init(exl_channel_t *channel, int fd);
void exl_channel_fini(exl_channel_t *channel);

/* In a forked child: closes the descriptors, those that are on their way too, and leaves the memory to the parent. */
void exl_channel_abandon(exl_channel_t *channel);

/* Queues a frame; flags, size and the payload's descriptor are filled in here. `fds` are borrowed until the frame has
 * left, unless `take_fds` is set: then they are closed once it has. The payload is copied, or referenced as a file. */
int exl_channel_queue(exl_channel_t *channel, exl_frame_t frame, exl_payload_t *payload, const int *fds, unsigned nfds,
                      bool take_fds);

/* 0: all sent. 1: the socket is full, flush again when it is writable. EXL_ECLOSED or -errno. */
int exl_channel_flush(exl_channel_t *channel);

/* Bytes queued. */
size_t exl_channel_backlog(const exl_channel_t *channel);

/* One read from the socket. >0: bytes read, 0: nothing there now, EXL_ECLOSED: the peer has closed, -errno. */
int exl_channel_fill(exl_channel_t *channel);

/* The same without waiting, on a blocking socket. */
int exl_channel_fill_now(exl_channel_t *channel);

/* 1: a whole message. 0: more bytes are needed. EXL_EPROTOCOL, -ENOMEM: the channel is of no use any more. */
int exl_channel_next(exl_channel_t *channel, exl_message_t *ret_message);

/* Fill (blocking socket) until a message is there. 1, or EXL_ECLOSED, or a negative code. */
int exl_channel_receive(exl_channel_t *channel, exl_message_t *ret_message);

/* Drops the payload and closes the descriptors of a message that nobody wants. */
void exl_message_fini(exl_message_t *message);

#endif
