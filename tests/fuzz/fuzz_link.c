/* fuzz_link.c: any bytes, in pieces of any size, from the peer of a link, which has frames of its own under way.
 *
 * The input is a row of pieces. A piece begins with what is done before it, and its size. */
#include <assert.h>
#include <string.h>

#include "base/error.h"
#include "wire/link.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MOST_KEPT = 64, RESUMED_FRAMES = 4 };

static void send_one(exl_link_t *link)
{
    static const char text[] = "some payload";
    exl_segment_t body = {text, sizeof text};
    exl_payload_t *payload = NULL;
    if (exl_payload_create(&body, 1, NULL, 0, NULL, NULL, &payload) < 0)
        return;
    (void)exl_link_send(link, (exl_frame_t){.type = EXL_FRAME_CALL, .id = 7}, payload);
    exl_payload_unref(payload);
}

/* Before a piece. Negative: the peer is not who it was. */
static int act(exl_link_t *link, uint8_t what, unsigned *sent)
{
    uint8_t bytes[100];
    switch (what % 8) {
    case 0:
        if ((*sent)++ < MOST_KEPT)
            send_one(link);
        return 0;
    case 1:
        (void)exl_link_take(link, bytes, what / 8U + 1U);
        return 0;
    case 2:
        while (exl_link_take(link, bytes, sizeof bytes))
            ;
        return 0;
    case 3:
        exl_link_acknowledge(link);
        return 0;
    case 4:
        return exl_link_resume(link, what / 8U % RESUMED_FRAMES);
    default:
        return 0;
    }
}

/* What a link hands out has its payload whole, and is none of its own frames. */
static int take_all(exl_link_t *link, uint64_t *received)
{
    exl_message_t message;
    int rc;
    while ((rc = exl_link_next(link, &message)) > 0) {
        assert(exl_link_received(link) == ++*received);
        assert(message.frame.type > 0 && message.frame.type < EXL_FRAME_TYPES && message.frame.type != EXL_FRAME_ACK);
        assert((message.payload != NULL) == ((message.frame.flags & EXL_FRAME_PAYLOAD) != 0));
        assert(!message.payload || exl_payload_size(message.payload) == message.frame.size);
        assert(!message.frame.nfds);
        exl_message_fini(&message);
    }
    return rc;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    exl_link_t *link = exl_link_create();
    unsigned sent = 0;
    uint64_t received = 0;
    int rc = link ? 0 : -1;
    for (size_t at = 0; rc >= 0 && at + 2 <= size;) {
        size_t piece = data[at + 1] < size - at - 2 ? data[at + 1] : size - at - 2;
        rc = act(link, data[at], &sent);
        if (rc >= 0)
            rc = exl_link_feed(link, data + at + 2, piece);
        if (rc >= 0)
            rc = take_all(link, &received);
        at += 2 + piece;
    }
    exl_link_destroy(link);
    return 0;
}
