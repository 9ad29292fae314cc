/* fuzz_frame.c: any bytes, in pieces of any size and with any descriptors, through a channel.
 *
 * The input's first byte is the size of the pieces, the second says how many descriptors come with each. */
#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/error.h"
#include "wire/channel.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MOST_FDS = 8, FILE_SIZE = 4096, MOST_PIECES = 200 };

/* A file that a frame may name as its payload: a region with one buffer. */
static int payload_file(void)
{
    static int fd = -1;
    if (fd < 0) {
        const uint64_t words[] = {5, 1, 100};
        fd = memfd_create("fuzz", MFD_CLOEXEC);
        assert(fd >= 0 && ftruncate(fd, FILE_SIZE) == 0 && pwrite(fd, words, sizeof words, 0) == sizeof words);
    }
    return fd;
}

static void send_piece(int socket, const uint8_t *bytes, size_t size, unsigned nfds)
{
    union {
        char bytes[CMSG_SPACE(MOST_FDS * sizeof(int))];
        struct cmsghdr align;
    } control;
    uint8_t copy[256];
    memcpy(copy, bytes, size);
    struct iovec span = {copy, size};
    struct msghdr message = {.msg_iov = &span, .msg_iovlen = 1};
    if (nfds) {
        memset(&control, 0, sizeof control);
        message.msg_control = &control;
        message.msg_controllen = CMSG_SPACE(nfds * sizeof(int));
        struct cmsghdr *header = CMSG_FIRSTHDR(&message);
        header->cmsg_level = SOL_SOCKET;
        header->cmsg_type = SCM_RIGHTS;
        header->cmsg_len = CMSG_LEN(nfds * sizeof(int));
        for (unsigned i = 0; i < nfds; i++) {
            int fd = payload_file();
            memcpy(CMSG_DATA(header) + i * sizeof fd, &fd, sizeof fd);
        }
    }
    ssize_t sent = sendmsg(socket, &message, 0);
    assert(sent == (ssize_t)size);
}

static void check(const exl_message_t *message)
{
    uint8_t bytes[EXL_FRAME_SIZE];
    exl_frame_t again, frame = message->frame;
    /* The payload's own descriptor no longer counts in a message. */
    frame.nfds = (uint8_t)(frame.nfds + (frame.flags & EXL_FRAME_FILE ? 1 : 0));
    exl_frame_encode(&frame, bytes);
    int rc = exl_frame_decode(bytes, &again);
    assert(rc == 0 && again.id == frame.id && again.size == frame.size && again.type == frame.type);
    assert((message->payload != NULL) == ((frame.flags & EXL_FRAME_PAYLOAD) != 0));
    assert(!message->payload || exl_payload_size(message->payload) == frame.size);
    for (unsigned i = 0; i < message->frame.nfds; i++)
        assert(message->fds[i] >= 0);
}

/* False when the channel is of no use any more. */
static int take_all(exl_channel_t *channel)
{
    exl_message_t message;
    int rc = exl_channel_fill(channel);
    while (rc >= 0 && (rc = exl_channel_next(channel, &message)) > 0) {
        check(&message);
        exl_message_fini(&message);
    }
    return rc;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    int pair[2];
    exl_channel_t channel;
    if (size < 2 || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) < 0)
        return 0;
    size_t piece = (size_t)data[0] + 1;
    unsigned nfds = data[1] % (MOST_FDS + 1);
    exl_channel_init(&channel, pair[1]);
    size_t at = 2;
    for (int i = 0; i < MOST_PIECES && at < size; i++) {
        size_t next = size - at < piece ? size - at : piece;
        send_piece(pair[0], data + at, next, nfds);
        at += next;
        if (take_all(&channel) < 0)
            break;
    }
    (void)close(pair[0]);
    exl_channel_fini(&channel);
    return 0;
}
