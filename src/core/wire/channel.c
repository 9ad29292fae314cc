/* channel.c: frames, partial reads and writes, descriptors.
 *
 * The kernel attaches descriptors to the first byte of a sendmsg() and never merges bytes across them on receipt, so a
 * frame that carries descriptors always begins a sendmsg(); attachments remember where in the byte stream those are. */
#include "wire/channel.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/error.h"

struct exl_channel_attachment {
    uint64_t position;      /* of the frame's first byte, counted like exl_channel_t.sent */
    exl_payload_t *payload; /* owned: keeps the memory file open until it has left */
    bool take;
    unsigned nfds;
    int fds[EXL_FRAME_MAX_FDS];
};

enum { READ_SIZE = 64 * 1024 };

void exl_channel_init(exl_channel_t *channel, int fd)
{
    *channel = (exl_channel_t){.fd = fd};
    exl_buffer_init(&channel->in);
    exl_buffer_init(&channel->out);
}

static void attachment_fini(struct exl_channel_attachment *attachment)
{
    if (attachment->take)
        for (unsigned i = 0; i < attachment->nfds; i++)
            (void)close(attachment->fds[i]);
    exl_payload_unref(attachment->payload);
}

void exl_channel_abandon(exl_channel_t *channel)
{
    for (unsigned i = 0; i < channel->nattachments; i++)
        attachment_fini(&channel->attachments[channel->first_attachment + i]);
    for (unsigned i = 0; i < channel->nfds; i++)
        (void)close(channel->fds[i]);
    if (channel->fd >= 0)
        (void)close(channel->fd);
    channel->nattachments = channel->nfds = 0;
    channel->fd = -1;
}

void exl_channel_fini(exl_channel_t *channel)
{
    exl_channel_abandon(channel);
    free(channel->attachments);
    free(channel->fds);
    exl_buffer_fini(&channel->in);
    exl_buffer_fini(&channel->out);
    exl_channel_init(channel, -1);
}

size_t exl_channel_backlog(const exl_channel_t *channel)
{
    return exl_buffer_size(&channel->out);
}

static struct exl_channel_attachment *attachment_add(exl_channel_t *channel)
{
    if (channel->first_attachment + channel->nattachments == channel->attachment_capacity) {
        if (channel->first_attachment) {
            memmove(channel->attachments, channel->attachments + channel->first_attachment,
                    channel->nattachments * sizeof *channel->attachments);
            channel->first_attachment = 0;
        } else {
            unsigned capacity = channel->attachment_capacity ? channel->attachment_capacity * 2 : 4;
            void *grown = realloc(channel->attachments, capacity * sizeof *channel->attachments);
            if (!grown)
                return NULL;
            channel->attachments = grown;
            channel->attachment_capacity = capacity;
        }
    }
    return &channel->attachments[channel->first_attachment + channel->nattachments++];
}

int exl_channel_queue(exl_channel_t *channel, exl_frame_t frame, exl_payload_t *payload, const int *fds, unsigned nfds,
                      bool take_fds)
{
    int file = payload ? exl_payload_fd(payload) : -1;
    const uint8_t *region = payload ? exl_payload_region(payload) : NULL;
    assert(!payload || file >= 0 || region);
    assert(nfds + (file >= 0) <= EXL_FRAME_MAX_FDS);
    if (channel->fd < 0)
        return EXL_ECLOSED;
    frame.nfds = (uint8_t)(nfds + (file >= 0));
    frame.flags = (uint8_t)((payload ? EXL_FRAME_PAYLOAD : 0) | (file >= 0 ? EXL_FRAME_FILE : 0));
    frame.size = payload ? exl_payload_size(payload) : 0;
    size_t inline_size = file < 0 ? frame.size : 0;

    uint8_t *room = exl_buffer_reserve(&channel->out, EXL_FRAME_SIZE + inline_size);
    if (!room)
        return -ENOMEM;
    if (frame.nfds) {
        struct exl_channel_attachment *attachment = attachment_add(channel);
        if (!attachment)
            return -ENOMEM;
        *attachment = (struct exl_channel_attachment){
            .position = channel->sent + exl_buffer_size(&channel->out), .take = take_fds, .nfds = nfds};
        if (nfds)
            memcpy(attachment->fds, fds, nfds * sizeof *fds);
        if (file >= 0) {
            exl_payload_share_file(payload);
            attachment->payload = exl_payload_ref(payload);
        }
    }
    exl_frame_encode(&frame, room);
    if (inline_size)
        memcpy(room + EXL_FRAME_SIZE, region, inline_size);
    channel->out.end += EXL_FRAME_SIZE + inline_size;
    return 0;
}

union control {
    char bytes[CMSG_SPACE(EXL_FRAME_MAX_FDS * sizeof(int))];
    struct cmsghdr align;
};

static void attach(struct msghdr *message, union control *control, const struct exl_channel_attachment *attachment)
{
    int fds[EXL_FRAME_MAX_FDS];
    unsigned count = attachment->nfds;
    memcpy(fds, attachment->fds, count * sizeof *fds);
    if (attachment->payload)
        fds[count++] = exl_payload_fd(attachment->payload);
    memset(control, 0, sizeof *control);
    message->msg_control = control;
    message->msg_controllen = CMSG_SPACE(count * sizeof(int));
    struct cmsghdr *header = CMSG_FIRSTHDR(message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(count * sizeof(int));
    memcpy(CMSG_DATA(header), fds, count * sizeof(int));
}

int exl_channel_flush(exl_channel_t *channel)
{
    if (channel->fd < 0)
        return EXL_ECLOSED;
    while (exl_buffer_size(&channel->out)) {
        struct iovec span = {exl_buffer_data(&channel->out), exl_buffer_size(&channel->out)};
        struct msghdr message = {.msg_iov = &span, .msg_iovlen = 1};
        union control control;
        struct exl_channel_attachment *next =
            channel->nattachments ? &channel->attachments[channel->first_attachment] : NULL;
        struct exl_channel_attachment *here = next && next->position == channel->sent ? next : NULL;
        if (here) {
            attach(&message, &control, here);
            next = channel->nattachments > 1 ? here + 1 : NULL;
        }
        if (next && next->position - channel->sent < span.iov_len)
            span.iov_len = next->position - channel->sent;
        ssize_t sent = sendmsg(channel->fd, &message, MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR)
            continue;
        if (sent < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
            return 1;
        if (sent < 0)
            return errno == EPIPE || errno == ECONNRESET ? EXL_ECLOSED : -errno;
        if (here) {
            attachment_fini(here);
            channel->first_attachment++;
            channel->nattachments--;
        }
        channel->sent += (uint64_t)sent;
        exl_buffer_consume(&channel->out, (size_t)sent);
    }
    return 0;
}

static int keep_fds(exl_channel_t *channel, const int *fds, unsigned count)
{
    if (channel->nfds + count > channel->fds_capacity) {
        unsigned capacity = (channel->nfds + count) * 2;
        int *grown = realloc(channel->fds, capacity * sizeof *grown);
        if (!grown) {
            for (unsigned i = 0; i < count; i++)
                (void)close(fds[i]);
            return -ENOMEM;
        }
        channel->fds = grown;
        channel->fds_capacity = capacity;
    }
    memcpy(channel->fds + channel->nfds, fds, count * sizeof *fds);
    channel->nfds += count;
    return 0;
}

static int take_control(exl_channel_t *channel, struct msghdr *message)
{
    int rc = 0;
    for (struct cmsghdr *header = CMSG_FIRSTHDR(message); header; header = CMSG_NXTHDR(message, header)) {
        if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS)
            continue;
        int fds[EXL_FRAME_MAX_FDS];
        unsigned count = (unsigned)((header->cmsg_len - CMSG_LEN(0)) / sizeof(int));
        assert(count <= EXL_FRAME_MAX_FDS);
        memcpy(fds, CMSG_DATA(header), count * sizeof(int));
        rc = keep_fds(channel, fds, count);
    }
    /* Truncated: this process is out of descriptors, and the frame can never be completed. */
    return message->msg_flags & MSG_CTRUNC ? -EMFILE : rc;
}

static int fill(exl_channel_t *channel, int flags)
{
    if (channel->fd < 0 || channel->ended)
        return EXL_ECLOSED;
    uint8_t *room = exl_buffer_reserve(&channel->in, READ_SIZE);
    if (!room)
        return -ENOMEM;
    union control control;
    struct iovec span = {room, channel->in.capacity - channel->in.end};
    /* CMSG_LEN, not the padded size, in which the kernel would find room for one descriptor more. */
    struct msghdr message = {.msg_iov = &span,
                             .msg_iovlen = 1,
                             .msg_control = &control,
                             .msg_controllen = CMSG_LEN(EXL_FRAME_MAX_FDS * sizeof(int))};
    ssize_t received;
    do
        received = recvmsg(channel->fd, &message, MSG_CMSG_CLOEXEC | flags);
    while (received < 0 && errno == EINTR);
    if (received < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
        return 0;
    if (received == 0 || (received < 0 && errno == ECONNRESET)) {
        channel->ended = true;
        return EXL_ECLOSED;
    }
    if (received < 0)
        return -errno;
    channel->in.end += (size_t)received;
    int rc = take_control(channel, &message);
    return rc < 0 ? rc : (int)(received > 0x7fffffff ? 0x7fffffff : received);
}

int exl_channel_fill(exl_channel_t *channel)
{
    return fill(channel, 0);
}

int exl_channel_fill_now(exl_channel_t *channel)
{
    return fill(channel, MSG_DONTWAIT);
}

static int take_payload(exl_channel_t *channel, const exl_frame_t *frame, exl_message_t *message)
{
    if (frame->flags & EXL_FRAME_FILE) {
        int rc = exl_payload_from_file(message->fds[frame->nfds - 1], frame->size, &message->payload);
        if (rc == 0)
            message->frame.nfds--;
        return rc;
    }
    return exl_payload_from_region(exl_buffer_data(&channel->in) + EXL_FRAME_SIZE, frame->size, &message->payload);
}

int exl_channel_next(exl_channel_t *channel, exl_message_t *ret_message)
{
    exl_frame_t frame;
    size_t available = exl_buffer_size(&channel->in);
    if (available < EXL_FRAME_SIZE)
        return 0;
    int rc = exl_frame_decode(exl_buffer_data(&channel->in), &frame);
    if (rc < 0)
        return rc;
    size_t inline_size = frame.flags & EXL_FRAME_FILE ? 0 : frame.size;
    if (available < EXL_FRAME_SIZE + inline_size)
        return 0;
    if (frame.nfds > channel->nfds)
        return EXL_EPROTOCOL;

    exl_message_t message = {.frame = frame};
    if (frame.nfds) {
        memcpy(message.fds, channel->fds, frame.nfds * sizeof *message.fds);
        channel->nfds -= frame.nfds;
        memmove(channel->fds, channel->fds + frame.nfds, channel->nfds * sizeof *channel->fds);
    }
    if (frame.flags & EXL_FRAME_PAYLOAD)
        rc = take_payload(channel, &frame, &message);
    if (rc < 0) {
        exl_message_fini(&message);
        return rc;
    }
    exl_buffer_consume(&channel->in, EXL_FRAME_SIZE + inline_size);
    *ret_message = message;
    return 1;
}

int exl_channel_receive(exl_channel_t *channel, exl_message_t *ret_message)
{
    for (;;) {
        int rc = exl_channel_next(channel, ret_message);
        if (rc != 0)
            return rc;
        rc = exl_channel_fill(channel);
        if (rc < 0)
            return rc;
    }
}

void exl_message_fini(exl_message_t *message)
{
    for (unsigned i = 0; i < message->frame.nfds; i++)
        (void)close(message->fds[i]);
    exl_payload_unref(message->payload);
    *message = (exl_message_t){0};
}
