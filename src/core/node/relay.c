/* relay.c: a channel and a peer, back to back. */
#include "node/relay.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "node/peer.h"
#include "wire/channel.h"

struct exl_relay {
    exl_peer_t peer;
    exl_channel_t channel;
    uv_poll_t poll;      /* … of the channel */
    uv_timer_t patience; /* … with who is to take what the peer had said */
    unsigned nhandles;
    bool finished; /* the channel has no more to say */
    bool ending;   /* the peer has ended; what it said is not all with the channel yet */
    int code;      /* … how */
    char reason[160];
    exl_relay_cb ended;
    void *owner; /* borrowed */
};

static void poll_cb(uv_poll_t *poll, int status, int events);

static void watch(exl_relay_t *relay, bool write_wanted)
{
    int events = (relay->finished ? 0 : UV_READABLE) | (write_wanted ? UV_WRITABLE : 0);
    if (events)
        (void)uv_poll_start(&relay->poll, events, poll_cb);
    else
        (void)uv_poll_stop(&relay->poll);
}

/* Who has closed the socket is heard when it is read. */
static void flush_channel(exl_relay_t *relay)
{
    bool full = exl_channel_flush(&relay->channel) > 0;
    watch(relay, full);
    if (relay->ending && !full)
        relay->ended(relay->owner, relay, relay->code, relay->reason);
}

static void patience_cb(uv_timer_t *patience)
{
    exl_relay_t *relay = patience->data;
    relay->ended(relay->owner, relay, relay->code, relay->reason);
}

static void broken_cb(exl_peer_t *peer, int code, const char *reason)
{
    exl_relay_t *relay = EXL_CONTAINER(peer, exl_relay_t, peer);
    relay->finished = relay->ending = true;
    relay->code = code;
    (void)snprintf(relay->reason, sizeof relay->reason, "%s", reason);
    uv_update_time(relay->patience.loop);
    (void)uv_timer_start(&relay->patience, patience_cb, EXL_RELAY_LIMIT_MS, 0);
    flush_channel(relay);
}

static void message_cb(exl_peer_t *peer, exl_message_t *message)
{
    exl_relay_t *relay = EXL_CONTAINER(peer, exl_relay_t, peer);
    int rc = exl_channel_queue(&relay->channel, message->frame, message->payload, NULL, 0, false);
    if (rc < 0)
        broken_cb(peer, rc, exl_strerror(rc));
    else
        flush_channel(relay);
}

static const exl_peer_events_t peer_events = {message_cb, broken_cb};

/* Negative: the channel has ended. */
static int pass_on(exl_relay_t *relay)
{
    exl_message_t message;
    int rc, filled;
    do {
        filled = exl_channel_fill_now(&relay->channel);
        while ((rc = exl_channel_next(&relay->channel, &message)) > 0) {
            if (message.frame.type != EXL_FRAME_LOG)
                rc = exl_peer_send(&relay->peer,
                                   (exl_frame_t){.type = message.frame.type,
                                                 .arg = message.frame.arg,
                                                 .epoch = message.frame.epoch,
                                                 .id = message.frame.id},
                                   message.payload);
            exl_message_fini(&message);
            if (rc < 0)
                break;
        }
    } while (rc >= 0 && filled > 0);
    exl_peer_flush(&relay->peer);
    return rc < 0 ? rc : filled;
}

static void poll_cb(uv_poll_t *poll, int status, int events)
{
    exl_relay_t *relay = poll->data;
    if (!relay->finished && (status < 0 || (events & UV_READABLE))) {
        int rc = status < 0 ? status : pass_on(relay);
        if (rc < 0) {
            exl_relay_finish(relay);
            return;
        }
    }
    if (events & UV_WRITABLE)
        flush_channel(relay);
}

void exl_relay_finish(exl_relay_t *relay)
{
    if (relay->finished)
        return;
    (void)pass_on(relay);
    relay->finished = true;
    watch(relay, false);
    /* Until the kernel has it all: there is no more to come, so the peer may be waited for. */
    if (relay->peer.connection) {
        int fd = exl_connection_fd(relay->peer.connection), flags = fcntl(fd, F_GETFL);
        (void)fcntl(fd, F_SETFL, flags & ~O_NONBLOCK);
        (void)exl_connection_write(relay->peer.connection);
        (void)fcntl(fd, F_SETFL, flags);
    }
    relay->ended(relay->owner, relay, 0, NULL);
}

static void closed_cb(uv_handle_t *handle)
{
    exl_relay_t *relay = handle->data;
    if (--relay->nhandles == 0)
        free(relay);
}

int exl_relay_create(exl_node_t *node, int fd, exl_connection_t *connection, exl_relay_cb ended, void *owner,
                     exl_relay_t **ret_relay)
{
    exl_relay_t *relay = calloc(1, sizeof *relay);
    int rc = relay ? exl_peer_init(&relay->peer, node, &peer_events) : -ENOMEM;
    if (rc == 0 && (rc = uv_poll_init(node->loop, &relay->poll, fd)) < 0)
        exl_peer_fini(&relay->peer, false);
    if (rc < 0) {
        exl_connection_destroy(connection, false);
        (void)close(fd);
        free(relay);
        return rc;
    }
    (void)fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
    relay->ended = ended;
    relay->owner = owner;
    (void)uv_timer_init(node->loop, &relay->patience);
    relay->nhandles = 2;
    relay->poll.data = relay->patience.data = relay;
    exl_channel_init(&relay->channel, fd);
    watch(relay, false);
    rc = exl_peer_connect(&relay->peer, connection, 0);
    if (rc < 0)
        exl_relay_destroy(relay, false);
    else
        *ret_relay = relay;
    return rc;
}

void exl_relay_destroy(exl_relay_t *relay, bool good_bye)
{
    relay->finished = true;
    exl_peer_fini(&relay->peer, good_bye);
    uv_close((uv_handle_t *)&relay->poll, closed_cb);
    uv_close((uv_handle_t *)&relay->patience, closed_cb);
    exl_channel_fini(&relay->channel);
}
