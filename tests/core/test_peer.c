/* test_peer.c: a link's end on a loop. */
#include "node/peer.h"

#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>

#include "support.h"
#include "wire/tls_openssl.h"

static const uint8_t key[EXL_TLS_KEY_SIZE] = "0123456789abcdef0123456789abcdef";

static uint64_t heard; /* the id of the last frame */

static void message_cb(exl_peer_t *peer, exl_message_t *message)
{
    heard = message->frame.id;
}

static void broken_cb(exl_peer_t *peer, int code, const char *reason)
{
    fail_msg("broken: %s", reason);
}

static const exl_peer_events_t events = {message_cb, broken_cb};

static void changed(void *owner)
{
}

static exl_connection_t *end_of(int fd, exl_tls_side_t side)
{
    exl_connection_t *connection = NULL;
    assert_int_equal(exl_connection_create(fd, side, "a peer", key, &connection, NULL), 0);
    return connection;
}

/* The other end says something behind its greeting at once, and both are read together: nothing more comes that would tell. */
static void what_comes_with_the_greeting_is_heard(void **state)
{
    int pair[2];
    uv_loop_t loop;
    exl_peer_t peer;
    exl_frame_t hello;
    exl_link_t *link = exl_link_create();
    assert_int_equal(uv_loop_init(&loop), 0);
    exl_node_t node = {.loop = &loop, .changed = changed};
    exl_list_init(&node.sockets);
    assert_int_equal(exl_peer_init(&peer, &node, &events), 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair), 0);
    exl_connection_t *here = end_of(pair[0], EXL_TLS_CONNECTS), *there = end_of(pair[1], EXL_TLS_ACCEPTS);
    exl_connection_greet(here, (exl_frame_t){.id = 0});
    for (int i = 0; !exl_connection_greeted(there, &hello); i++) {
        assert_true(i < 10);
        assert_true(exl_connection_write(here) >= 0 && exl_connection_read(there, NULL) >= 0);
        if (!exl_connection_greeted(there, &hello))
            assert_true(exl_connection_write(there) >= 0 && exl_connection_read(here, NULL) >= 0);
    }
    exl_connection_greet(there, (exl_frame_t){.id = 0});
    exl_connection_attach(there, link);
    assert_int_equal(exl_link_send(link, (exl_frame_t){.type = EXL_FRAME_STOP, .id = 7}, NULL), 0);
    assert_int_equal(exl_connection_write(there), 0);
    assert_true(exl_connection_read(here, NULL) >= 0);
    assert_true(exl_connection_greeted(here, &hello));

    heard = 0;
    assert_int_equal(exl_peer_connect(&peer, here, hello.id), 0);
    int64_t deadline = exl_test_soon_ns();
    while (!heard && exl_clock_ns() < deadline)
        (void)uv_run(&loop, UV_RUN_NOWAIT);
    assert_int_equal(heard, 7);
    exl_peer_fini(&peer, false);
    (void)uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&loop), 0);
    exl_connection_destroy(there, false);
    exl_link_destroy(link);
}

static int warm_up(void **state)
{
    /* libuv's own descriptors last as long as the process. */
    uv_loop_t loop;
    exl_tls_provide(&exl_tls_openssl);
    return uv_loop_init(&loop) == 0 && uv_loop_close(&loop) == 0 ? 0 : -1;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        EXL_TEST(what_comes_with_the_greeting_is_heard),
    };
    cmocka_set_test_filter(getenv("EXL_TEST_FILTER"));
    return cmocka_run_group_tests_name(exl_test_name(__FILE__), tests, warm_up, NULL);
}
