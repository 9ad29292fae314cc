/* link.c: two counters and a list. */
#include "wire/link.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"
#include "base/error.h"
#include "base/list.h"

/* After so much the peer is told that it can let go of what it keeps. */
enum { ACK_FRAMES = 32, ACK_BYTES = 256 * 1024 };

typedef struct kept {
    exl_list_t link;
    exl_payload_t *payload; /* owned or NULL */
    size_t size;            /* header included */
    uint8_t header[EXL_FRAME_SIZE];
} kept_t;

struct exl_link {
    exl_list_t kept;  /* frames that the peer has not acknowledged, oldest first */
    exl_list_t *next; /* the first of them that take() has not handed out whole, or the list's head */
    size_t offset;    /* … and how far it has */
    uint64_t sent;    /* frames ever given to send() */
    uint64_t nkept, backlog;
    uint64_t received, acknowledged; /* the latter is what the peer has been told */
    uint64_t received_bytes;         /* since then */
    bool ack_due;
    uint8_t control[EXL_FRAME_SIZE]; /* an uncounted frame that is being handed out */
    size_t control_left;
    exl_buffer_t in;
    bool has_header; /* `incoming` is known, and its payload is arriving */
    exl_frame_t incoming;
    exl_payload_t *payload; /* owned or NULL */
    size_t arrived;
};

exl_link_t *exl_link_create(void)
{
    exl_link_t *link = calloc(1, sizeof *link);
    if (!link)
        return NULL;
    exl_list_init(&link->kept);
    link->next = &link->kept;
    exl_buffer_init(&link->in);
    return link;
}

static void let_go(exl_link_t *link, kept_t *kept)
{
    link->nkept--;
    link->backlog -= kept->size;
    exl_list_remove(&kept->link);
    exl_payload_unref(kept->payload);
    free(kept);
}

static kept_t *oldest(exl_link_t *link)
{
    return EXL_CONTAINER(link->kept.next, kept_t, link); /* NOLINT(clang-analyzer-unix.Malloc) */
}

static void forget_incoming(exl_link_t *link)
{
    exl_payload_unref(link->payload);
    link->payload = NULL;
    link->has_header = false;
    link->arrived = 0;
}

void exl_link_destroy(exl_link_t *link)
{
    if (!link)
        return;
    while (link->nkept)
        let_go(link, oldest(link));
    forget_incoming(link);
    exl_buffer_fini(&link->in);
    free(link);
}

int exl_link_send(exl_link_t *link, exl_frame_t frame, exl_payload_t *payload)
{
    int rc = payload ? exl_payload_map(payload) : 0;
    kept_t *kept = rc < 0 ? NULL : calloc(1, sizeof *kept);
    if (!kept)
        return rc < 0 ? rc : -ENOMEM;
    frame.nfds = 0;
    frame.flags = payload ? EXL_FRAME_PAYLOAD : 0;
    frame.size = payload ? exl_payload_size(payload) : 0;
    exl_frame_encode(&frame, kept->header);
    kept->payload = payload ? exl_payload_ref(payload) : NULL;
    kept->size = EXL_FRAME_SIZE + frame.size;
    exl_list_push_back(&link->kept, &kept->link);
    if (link->next == &link->kept)
        link->next = &kept->link;
    link->sent++;
    link->nkept++;
    link->backlog += kept->size;
    return 0;
}

uint64_t exl_link_backlog(const exl_link_t *link)
{
    return link->backlog;
}

bool exl_link_pending(const exl_link_t *link)
{
    return link->control_left || link->ack_due || link->next != &link->kept;
}

/* Between two frames only. */
static void begin_control(exl_link_t *link)
{
    if (!link->ack_due)
        return;
    exl_frame_encode(&(exl_frame_t){.type = EXL_FRAME_ACK, .id = link->received}, link->control);
    link->acknowledged = link->received;
    link->received_bytes = 0;
    link->ack_due = false;
    link->control_left = EXL_FRAME_SIZE;
}

static size_t take_control(exl_link_t *link, uint8_t *bytes, size_t capacity)
{
    size_t size = link->control_left < capacity ? link->control_left : capacity;
    memcpy(bytes, link->control + EXL_FRAME_SIZE - link->control_left, size);
    link->control_left -= size;
    return size;
}

static size_t take_frame(exl_link_t *link, uint8_t *bytes, size_t capacity)
{
    kept_t *kept = EXL_CONTAINER(link->next, kept_t, link);
    size_t size = 0;
    if (link->offset < EXL_FRAME_SIZE) {
        size = EXL_FRAME_SIZE - link->offset < capacity ? EXL_FRAME_SIZE - link->offset : capacity;
        memcpy(bytes, kept->header + link->offset, size);
        link->offset += size;
    }
    size_t rest = kept->size - link->offset;
    if (rest > capacity - size)
        rest = capacity - size;
    if (rest && link->offset >= EXL_FRAME_SIZE) {
        memcpy(bytes + size, exl_payload_region(kept->payload) + link->offset - EXL_FRAME_SIZE, rest);
        link->offset += rest;
        size += rest;
    }
    if (link->offset == kept->size) {
        link->next = kept->link.next;
        link->offset = 0;
    }
    return size;
}

size_t exl_link_take(exl_link_t *link, void *ret_bytes, size_t capacity)
{
    uint8_t *bytes = ret_bytes;
    size_t size = 0;
    while (size < capacity) {
        if (!link->control_left && link->offset == 0)
            begin_control(link);
        if (link->control_left)
            size += take_control(link, bytes + size, capacity - size);
        else if (link->next != &link->kept)
            size += take_frame(link, bytes + size, capacity - size);
        else
            break;
    }
    return size;
}

int exl_link_feed(exl_link_t *link, const void *bytes, size_t size)
{
    return exl_buffer_append(&link->in, bytes, size);
}

/* The peer has so many; it may not have what was never handed out whole. */
static int acknowledged(exl_link_t *link, uint64_t count)
{
    uint64_t gone = link->sent - link->nkept;
    if (count < gone || count > link->sent)
        return EXL_EPROTOCOL;
    for (; gone < count; gone++) {
        if (link->next == link->kept.next)
            return EXL_EPROTOCOL;
        let_go(link, oldest(link));
    }
    return 0;
}

/* 1: a frame's header is known. 0: not yet. */
static int read_header(exl_link_t *link)
{
    if (exl_buffer_size(&link->in) < EXL_FRAME_SIZE)
        return 0;
    exl_frame_t frame;
    int rc = exl_frame_decode(exl_buffer_data(&link->in), &frame);
    if (rc < 0)
        return rc;
    bool payload = frame.flags & EXL_FRAME_PAYLOAD;
    if (frame.nfds || (frame.flags & EXL_FRAME_FILE) || (!payload && frame.size))
        return EXL_EPROTOCOL;
    if (payload && (rc = exl_payload_allocate(frame.size, &link->payload)) < 0)
        return rc;
    exl_buffer_consume(&link->in, EXL_FRAME_SIZE);
    link->incoming = frame;
    link->has_header = true;
    return 1;
}

/* 1: the payload is there. 0: not yet. */
static int read_payload(exl_link_t *link)
{
    size_t wanted = link->incoming.size - link->arrived, size = exl_buffer_size(&link->in);
    if (size > wanted)
        size = wanted;
    int rc = size ? exl_payload_write(link->payload, link->arrived, exl_buffer_data(&link->in), size) : 0;
    if (rc < 0)
        return rc;
    exl_buffer_consume(&link->in, size);
    link->arrived += size;
    return size == wanted;
}

/* 1: the frame is the owner's. 0: it was ours. */
static int finish(exl_link_t *link, exl_message_t *ret_message)
{
    exl_message_t message = {.frame = link->incoming, .payload = link->payload};
    link->payload = NULL;
    forget_incoming(link);
    if (message.frame.type == EXL_FRAME_ACK) {
        exl_payload_unref(message.payload);
        return acknowledged(link, message.frame.id);
    }
    link->received++;
    link->received_bytes += message.frame.size;
    if (link->received - link->acknowledged >= ACK_FRAMES || link->received_bytes >= ACK_BYTES)
        link->ack_due = true;
    *ret_message = message;
    return 1;
}

int exl_link_next(exl_link_t *link, exl_message_t *ret_message)
{
    for (;;) {
        int rc = link->has_header ? 1 : read_header(link);
        if (rc > 0)
            rc = read_payload(link);
        if (rc <= 0)
            return rc;
        if ((rc = finish(link, ret_message)) != 0)
            return rc;
    }
}

void exl_link_acknowledge(exl_link_t *link)
{
    link->ack_due = link->received != link->acknowledged;
}

uint64_t exl_link_received(const exl_link_t *link)
{
    return link->received;
}

int exl_link_resume(exl_link_t *link, uint64_t received)
{
    int rc = acknowledged(link, received);
    if (rc < 0)
        return rc;
    link->next = link->kept.next;
    link->offset = link->control_left = 0;
    /* The peer knows our count from the exchange that preceded this. */
    link->acknowledged = link->received;
    link->received_bytes = 0;
    link->ack_due = false;
    forget_incoming(link);
    exl_buffer_consume(&link->in, exl_buffer_size(&link->in));
    return 0;
}
