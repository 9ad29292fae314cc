/* test_relay.c: a relay between a socket, whose other end this test holds, and a peer that it plays. */
#include "node/relay.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "node/peer.h"
#include "support.h"
#include "wire/tls_openssl.h"

static const uint8_t key[EXL_TLS_KEY_SIZE] = "0123456789abcdef0123456789abcdef";

enum { MANY = 500, SMALL = 8 * 1024, LARGE = 1024 * 1024 };

static struct {
    uv_loop_t loop;
    exl_node_t node;
    exl_relay_t *relay;
    exl_channel_t socket; /* this end of it */
    exl_peer_t peer;
    int fd; /* of the peer's connection */
    uint64_t heard, bytes;
    uint8_t last_type;
    bool peer_broken, ended;
    int code;
} all;

/* ---- the relay's surroundings ---- */

static void message_cb(exl_peer_t *peer, exl_message_t *message)
{
    assert_int_equal(message->frame.id, all.heard + 1); /* in order */
    assert_int_equal(message->frame.nfds, 0);
    all.heard++;
    all.last_type = message->frame.type;
    all.bytes += message->payload ? exl_payload_size(message->payload) : 0;
}

static void broken_cb(exl_peer_t *peer, int code, const char *reason)
{
    all.peer_broken = true;
}

static const exl_peer_events_t events = {message_cb, broken_cb};

static void changed(void *owner)
{
}

static void ended_cb(void *owner, exl_relay_t *relay, int code, const char *reason)
{
    assert_false(all.ended);
    all.ended = true;
    all.code = code;
    exl_relay_destroy(relay, code == 0);
}

static exl_connection_t *end_of(int fd, exl_tls_side_t side)
{
    exl_connection_t *connection = NULL;
    assert_int_equal(exl_connection_create(fd, side, "a rank", key, &connection, NULL), 0);
    return connection;
}

/* Two ends that have greeted each other. */
static void meet(exl_connection_t **ret_here, exl_connection_t **ret_there)
{
    int pair[2];
    exl_frame_t hello;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair), 0);
    exl_connection_t *here = end_of(pair[0], EXL_TLS_CONNECTS), *there = end_of(pair[1], EXL_TLS_ACCEPTS);
    exl_connection_greet(here, (exl_frame_t){.id = 0});
    exl_connection_greet(there, (exl_frame_t){.id = 0});
    for (int i = 0; !exl_connection_greeted(here, &hello) || !exl_connection_greeted(there, &hello); i++) {
        assert_true(i < 20);
        assert_true(exl_connection_write(here) >= 0 && exl_connection_read(there, NULL) >= 0);
        assert_true(exl_connection_write(there) >= 0 && exl_connection_read(here, NULL) >= 0);
    }
    all.fd = pair[1];
    *ret_here = here;
    *ret_there = there;
}

static int begin(void **state)
{
    int rc = exl_test_begin(state), pair[2];
    exl_connection_t *here, *there;
    memset(&all, 0, sizeof all);
    assert_int_equal(uv_loop_init(&all.loop), 0);
    all.node = (exl_node_t){.loop = &all.loop, .changed = changed};
    exl_list_init(&all.node.sockets);
    meet(&here, &there);
    assert_int_equal(exl_peer_init(&all.peer, &all.node, &events), 0);
    assert_int_equal(exl_peer_connect(&all.peer, there, 0), 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    assert_int_equal(fcntl(pair[1], F_SETFL, O_NONBLOCK), 0);
    exl_channel_init(&all.socket, pair[1]);
    assert_int_equal(exl_relay_create(&all.node, pair[0], here, ended_cb, NULL, &all.relay), 0);
    return rc;
}

static int end(void **state)
{
    if (!all.ended)
        exl_relay_destroy(all.relay, true);
    exl_peer_fini(&all.peer, false);
    exl_channel_fini(&all.socket);
    (void)uv_run(&all.loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&all.loop), 0);
    return exl_test_end(state);
}

static void turn(void)
{
    (void)uv_run(&all.loop, UV_RUN_NOWAIT);
}

static exl_payload_t *payload_of(size_t size)
{
    static char bytes[LARGE];
    exl_payload_t *payload = NULL;
    assert_int_equal(exl_payload_of(bytes, size, &payload), 0);
    return payload;
}

static void peer_says(uint64_t id, size_t size)
{
    exl_payload_t *payload = size ? payload_of(size) : NULL;
    assert_int_equal(exl_peer_send(&all.peer, (exl_frame_t){.type = EXL_FRAME_CALL, .arg = 1, .id = id}, payload), 0);
    exl_payload_unref(payload);
    exl_peer_flush(&all.peer);
}

static void socket_says(uint8_t type, uint64_t id, size_t size)
{
    exl_payload_t *payload = size ? payload_of(size) : NULL;
    assert_int_equal(exl_channel_queue(&all.socket, (exl_frame_t){.type = type, .id = id}, payload, NULL, 0, false), 0);
    exl_payload_unref(payload);
    assert_true(exl_channel_flush(&all.socket) >= 0);
}

/* The next frame at this end of the socket. */
static exl_message_t hear(void)
{
    exl_message_t message;
    int rc;
    while ((rc = exl_channel_next(&all.socket, &message)) == 0) {
        turn();
        (void)exl_channel_fill(&all.socket);
    }
    assert_int_equal(rc, 1);
    return message;
}

static void expect(uint64_t id, size_t size)
{
    exl_message_t message = hear();
    assert_int_equal(message.frame.type, EXL_FRAME_CALL);
    assert_int_equal(message.frame.id, id);
    assert_int_equal(message.payload ? exl_payload_size(message.payload) : 0, size);
    exl_message_fini(&message);
}

static size_t region(size_t size)
{
    exl_payload_t *payload = payload_of(size);
    size_t whole = exl_payload_size(payload);
    exl_payload_unref(payload);
    return whole;
}

static void await_heard(uint64_t count)
{
    while (all.heard < count) {
        assert_true(exl_channel_flush(&all.socket) >= 0);
        turn();
    }
}

static void await_end(void)
{
    while (!all.ended)
        (void)uv_run(&all.loop, UV_RUN_ONCE);
}

/* ---- both ways ---- */

static void frames_pass_both_ways(void **state)
{
    peer_says(1, 0);
    peer_says(2, SMALL);
    peer_says(3, LARGE);
    expect(1, 0);
    expect(2, region(SMALL));
    expect(3, region(LARGE));
    socket_says(EXL_FRAME_RESULT, 1, 0);
    socket_says(EXL_FRAME_RESULT, 2, SMALL);
    socket_says(EXL_FRAME_RESULT, 3, LARGE);
    await_heard(3);
    assert_int_equal(all.bytes, region(SMALL) + region(LARGE));
}

static void descriptors_and_logs_stay_on_their_host(void **state)
{
    const exl_frame_t frame = {.type = EXL_FRAME_SETUP, .id = 1}, log = {.type = EXL_FRAME_LOG, .id = 9};
    int fd = STDERR_FILENO;
    assert_int_equal(exl_channel_queue(&all.socket, frame, NULL, &fd, 1, false), 0);
    assert_int_equal(exl_channel_queue(&all.socket, log, NULL, &fd, 1, false), 0);
    socket_says(EXL_FRAME_RESULT, 2, 0);
    await_heard(2); /* and in order: nothing was between them */
    assert_int_equal(all.last_type, EXL_FRAME_RESULT);
}

static void a_frame_in_pieces_is_passed_on_whole(void **state)
{
    uint8_t bytes[EXL_FRAME_SIZE];
    exl_frame_encode(&(exl_frame_t){.type = EXL_FRAME_RESULT, .id = 1}, bytes);
    for (size_t i = 0; i < sizeof bytes; i++) {
        assert_int_equal(all.heard, 0);
        exl_test_write(all.socket.fd, bytes + i, 1);
        turn();
        turn();
    }
    await_heard(1);
}

/* ---- who is slow ---- */

static void a_slow_reader_gets_all_in_order(void **state)
{
    for (uint64_t id = 1; id <= MANY; id++) {
        peer_says(id, SMALL);
        turn();
    }
    for (uint64_t id = 1; id <= MANY; id++)
        expect(id, region(SMALL));
    assert_false(all.ended);
}

static void so_does_a_slow_peer(void **state)
{
    (void)uv_poll_stop((uv_poll_t *)all.peer.watch); /* its first member */
    for (uint64_t id = 1; id <= MANY; id++) {
        socket_says(EXL_FRAME_RESULT, id, SMALL);
        turn();
        turn();
    }
    assert_int_equal(all.heard, 0);
    exl_peer_t *peer = &all.peer;
    exl_connection_t *connection = peer->connection;
    while (all.heard < MANY) { /* it reads again */
        assert_true(exl_connection_read(connection, NULL) >= 0);
        for (exl_message_t message; exl_link_next(peer->link, &message) > 0; exl_message_fini(&message))
            message_cb(peer, &message);
        assert_true(exl_connection_write(connection) >= 0);
        assert_true(exl_channel_flush(&all.socket) >= 0);
        turn();
    }
    assert_false(all.ended);
}

/* ---- who ends ---- */

static void what_the_socket_said_last_is_passed_on(void **state)
{
    socket_says(EXL_FRAME_RESULT, 1, SMALL);
    socket_says(EXL_FRAME_END, 2, 0);
    exl_channel_fini(&all.socket);
    await_end();
    assert_int_equal(all.code, 0);
    while (!all.peer_broken)
        turn();
    assert_int_equal(all.heard, 2);
}

static void so_it_is_when_its_owner_says_that_it_has_ended(void **state)
{
    socket_says(EXL_FRAME_RESULT, 1, SMALL);
    exl_relay_finish(all.relay);
    assert_true(all.ended);
    assert_int_equal(all.code, 0);
    while (!all.peer_broken)
        turn();
    assert_int_equal(all.heard, 1);
}

static void half_a_frame_is_not_passed_on(void **state)
{
    uint8_t bytes[EXL_FRAME_SIZE];
    exl_frame_encode(&(exl_frame_t){.type = EXL_FRAME_RESULT, .id = 2}, bytes);
    socket_says(EXL_FRAME_RESULT, 1, 0);
    exl_test_write(all.socket.fd, bytes, sizeof bytes / 2);
    exl_channel_fini(&all.socket);
    await_end();
    assert_int_equal(all.code, 0);
    while (!all.peer_broken)
        turn();
    assert_int_equal(all.heard, 1);
}

static void what_is_no_frame_ends_it(void **state)
{
    static const char garbage[4 * EXL_FRAME_SIZE] = "GET / HTTP/1.1";
    exl_test_write(all.socket.fd, garbage, sizeof garbage);
    await_end();
    assert_int_equal(all.heard, 0);
}

static void what_the_peer_said_last_is_passed_on_though_the_socket_was_full(void **state)
{
    for (uint64_t id = 1; id <= MANY; id++) {
        peer_says(id, SMALL);
        turn();
    }
    exl_peer_fini(&all.peer, true);
    for (uint64_t id = 1; id <= MANY; id++)
        expect(id, region(SMALL));
    await_end();
    assert_int_equal(all.code, EXL_ECLOSED);
}

/* A rank that computes takes nothing: it is to be ended all the same. */
static void but_not_for_ever(void **state)
{
    for (uint64_t id = 1; id <= MANY; id++) {
        peer_says(id, SMALL);
        turn();
    }
    int64_t begun_ns = exl_clock_ns();
    exl_peer_fini(&all.peer, true);
    await_end();
    assert_true(exl_clock_ns() - begun_ns >= EXL_RELAY_LIMIT_MS * EXL_NS_PER_MS);
    assert_int_equal(all.code, EXL_ECLOSED);
}

static void a_peer_that_dies_in_the_middle_of_a_frame_is_told_as_lost(void **state)
{
    peer_says(1, 0);
    expect(1, 0);
    exl_payload_t *payload = payload_of(LARGE);
    assert_int_equal(exl_peer_send(&all.peer, (exl_frame_t){.type = EXL_FRAME_CALL, .id = 2}, payload), 0);
    exl_payload_unref(payload);
    exl_peer_flush(&all.peer); /* the socket does not take all of it */
    exl_peer_fini(&all.peer, false);
    await_end();
    assert_true(all.code < 0 && all.code != EXL_ECLOSED);
    exl_message_t message;
    (void)exl_channel_fill(&all.socket);
    assert_int_equal(exl_channel_next(&all.socket, &message), 0);
}

static void a_peer_that_speaks_no_tls_any_more_is_lost(void **state)
{
    static const char garbage[256] = "no record";
    exl_test_write(all.fd, garbage, sizeof garbage);
    await_end();
    assert_true(all.code < 0 && all.code != EXL_ECLOSED);
}

static int warm_up(void **state)
{
    /* libuv's own descriptors last as long as the process. */
    uv_loop_t loop;
    exl_tls_provide(&exl_tls_openssl);
    return uv_loop_init(&loop) == 0 && uv_loop_close(&loop) == 0 ? 0 : -1;
}

#define RELAY_TEST(function) cmocka_unit_test_setup_teardown(function, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        RELAY_TEST(frames_pass_both_ways),
        RELAY_TEST(descriptors_and_logs_stay_on_their_host),
        RELAY_TEST(a_frame_in_pieces_is_passed_on_whole),
        RELAY_TEST(a_slow_reader_gets_all_in_order),
        RELAY_TEST(so_does_a_slow_peer),
        RELAY_TEST(what_the_socket_said_last_is_passed_on),
        RELAY_TEST(so_it_is_when_its_owner_says_that_it_has_ended),
        RELAY_TEST(half_a_frame_is_not_passed_on),
        RELAY_TEST(what_is_no_frame_ends_it),
        RELAY_TEST(what_the_peer_said_last_is_passed_on_though_the_socket_was_full),
        RELAY_TEST(but_not_for_ever),
        RELAY_TEST(a_peer_that_dies_in_the_middle_of_a_frame_is_told_as_lost),
        RELAY_TEST(a_peer_that_speaks_no_tls_any_more_is_lost),
    };
    cmocka_set_test_filter(getenv("EXL_TEST_FILTER"));
    return cmocka_run_group_tests_name(exl_test_name(__FILE__), tests, warm_up, NULL);
}
