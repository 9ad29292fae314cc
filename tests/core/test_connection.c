/* test_connection.c: two ends of a socket, from the proof of the key to frames of a link, and what breaks on the way. */
#include "wire/connection.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "support.h"
#include "wire/tls_openssl.h"

static const char name[] = "an agent";

typedef struct ends {
    exl_connection_t *agent, *driver;
    exl_link_t *agent_link, *driver_link; /* outlive the connection */
} ends_t;

static const uint8_t key[EXL_TLS_KEY_SIZE] = "0123456789abcdef0123456789abcdef";

static exl_connection_t *end_of(int fd, exl_tls_side_t side)
{
    exl_connection_t *connection = NULL;
    assert_int_equal(exl_connection_create(fd, side, name, key, &connection, NULL), 0);
    assert_int_equal(exl_connection_fd(connection), fd);
    return connection;
}

static void connect_both(ends_t *ends)
{
    int pair[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair), 0);
    ends->agent = end_of(pair[0], EXL_TLS_CONNECTS);
    ends->driver = end_of(pair[1], EXL_TLS_ACCEPTS);
}

static ends_t two_ends(void)
{
    ends_t ends = {.agent_link = exl_link_create(), .driver_link = exl_link_create()};
    connect_both(&ends);
    return ends;
}

static void end_both(ends_t *ends)
{
    exl_connection_destroy(ends->agent, false);
    exl_connection_destroy(ends->driver, false);
    exl_link_destroy(ends->agent_link);
    exl_link_destroy(ends->driver_link);
}

/* One turn of both ends. */
static void turn(ends_t *ends)
{
    assert_true(exl_connection_write(ends->agent) >= 0);
    assert_true(exl_connection_read(ends->driver, NULL) >= 0);
    assert_true(exl_connection_write(ends->driver) >= 0);
    assert_true(exl_connection_read(ends->agent, NULL) >= 0);
}

static void greet(ends_t *ends)
{
    exl_frame_t hello;
    exl_connection_greet(ends->agent, (exl_frame_t){.arg = 7, .id = exl_link_received(ends->agent_link)});
    assert_false(exl_connection_greeted(ends->driver, &hello));
    for (int i = 0; !exl_connection_greeted(ends->driver, &hello); i++) {
        assert_true(i < 10);
        turn(ends);
    }
    assert_int_equal(hello.arg, 7);
    assert_int_equal(exl_link_resume(ends->driver_link, hello.id), 0);
    exl_connection_greet(ends->driver, (exl_frame_t){.id = exl_link_received(ends->driver_link)});
    exl_connection_attach(ends->driver, ends->driver_link);
    for (int i = 0; !exl_connection_greeted(ends->agent, &hello); i++) {
        assert_true(i < 10);
        turn(ends);
    }
    assert_int_equal(exl_link_resume(ends->agent_link, hello.id), 0);
    exl_connection_attach(ends->agent, ends->agent_link);
}

static void send_text(exl_link_t *link, uint64_t id, const char *text)
{
    exl_payload_t *payload = exl_test_payload(text);
    assert_int_equal(exl_payload_seal(payload), 0);
    assert_int_equal(exl_link_send(link, (exl_frame_t){.type = EXL_FRAME_CALL, .id = id}, payload), 0);
    exl_payload_unref(payload);
}

static exl_message_t await(ends_t *ends, exl_link_t *link)
{
    exl_message_t message;
    int rc;
    for (int i = 0; (rc = exl_link_next(link, &message)) == 0; i++) {
        assert_true(i < 100000);
        turn(ends);
    }
    assert_int_equal(rc, 1);
    return message;
}

static void assert_hears(ends_t *ends, exl_link_t *link, uint64_t id, const char *text)
{
    exl_message_t message = await(ends, link);
    assert_int_equal(message.frame.id, id);
    assert_int_equal(exl_payload_map(message.payload), 0);
    exl_test_assert_body(message.payload, text);
    exl_message_fini(&message);
}

static void frames_cross(void **state)
{
    ends_t ends = two_ends();
    greet(&ends);
    send_text(ends.driver_link, 1, "a call");
    send_text(ends.agent_link, 2, "an answer");
    assert_hears(&ends, ends.agent_link, 1, "a call");
    assert_hears(&ends, ends.driver_link, 2, "an answer");
    end_both(&ends);
}

static void more_than_a_socket_takes_crosses(void **state)
{
    enum { SIZE = 4 << 20 };
    ends_t ends = two_ends();
    char *text = malloc(SIZE + 1);
    assert_non_null(text);
    memset(text, 'x', SIZE);
    text[SIZE] = '\0';
    greet(&ends);
    send_text(ends.driver_link, 1, text);
    send_text(ends.driver_link, 2, "behind it");
    assert_int_equal(exl_connection_write(ends.driver), 1); /* full */
    assert_hears(&ends, ends.agent_link, 1, text);
    assert_hears(&ends, ends.agent_link, 2, "behind it");
    free(text);
    end_both(&ends);
}

static void a_new_connection_goes_on_where_the_old_one_broke(void **state)
{
    ends_t ends = two_ends();
    greet(&ends);
    send_text(ends.driver_link, 1, "arrives");
    assert_hears(&ends, ends.agent_link, 1, "arrives");
    send_text(ends.driver_link, 2, "is lost on the way");
    assert_int_equal(exl_connection_write(ends.driver), 0);
    exl_connection_destroy(ends.agent, false);
    exl_error_t err = {""};
    int rc;
    while ((rc = exl_connection_read(ends.driver, &err)) > 0) {
    }
    assert_int_equal(rc, -ECONNRESET);
    assert_non_null(strstr(err.text, "broke"));
    exl_connection_destroy(ends.driver, false);
    send_text(ends.driver_link, 3, "is said meanwhile");

    connect_both(&ends);
    greet(&ends);
    assert_hears(&ends, ends.agent_link, 2, "is lost on the way");
    assert_hears(&ends, ends.agent_link, 3, "is said meanwhile");
    end_both(&ends);
}

static void a_good_bye_differs_from_a_break(void **state)
{
    ends_t ends = two_ends();
    greet(&ends);
    turn(&ends);
    exl_connection_destroy(ends.driver, true);
    ends.driver = NULL;
    int rc;
    while ((rc = exl_connection_read(ends.agent, NULL)) > 0) {
    }
    assert_int_equal(rc, EXL_ECLOSED);
    end_both(&ends);
}

/* What was said just before the end is heard before the end is. */
static void frames_before_a_good_bye_are_heard(void **state)
{
    ends_t ends = two_ends();
    greet(&ends);
    turn(&ends);
    send_text(ends.driver_link, 5, "last words");
    assert_int_equal(exl_connection_write(ends.driver), 0);
    exl_connection_destroy(ends.driver, true);
    ends.driver = NULL;
    exl_message_t message;
    assert_int_equal(exl_connection_read(ends.agent, NULL), 1);
    assert_int_equal(exl_link_next(ends.agent_link, &message), 1);
    exl_test_assert_body(message.payload, "last words");
    exl_message_fini(&message);
    assert_int_equal(exl_connection_read(ends.agent, NULL), EXL_ECLOSED);
    end_both(&ends);
}

static void strangers_never_reach_the_link(void **state)
{
    ends_t ends = two_ends();
    exl_frame_t hello;
    exl_error_t err = {""};
    uint8_t bytes[EXL_FRAME_SIZE];
    exl_frame_encode(&(exl_frame_t){.type = EXL_FRAME_HELLO, .arg = 7}, bytes);
    exl_connection_attach(ends.driver, ends.driver_link);
    exl_test_write(exl_connection_fd(ends.agent), bytes, sizeof bytes);
    assert_int_equal(exl_connection_read(ends.driver, &err), EXL_EPROTOCOL);
    assert_non_null(strstr(err.text, "not authenticated"));
    assert_false(exl_connection_greeted(ends.driver, &hello));
    assert_int_equal(exl_link_received(ends.driver_link), 0);
    end_both(&ends);
}

static void a_greeting_that_is_none_is_refused(void **state)
{
    ends_t ends = two_ends();
    /* A friend by its key that speaks out of turn. */
    send_text(ends.agent_link, 1, "no greeting");
    exl_connection_attach(ends.agent, ends.agent_link);
    int rc = 0;
    for (int i = 0; rc == 0 && i < 10; i++) {
        assert_true(exl_connection_write(ends.agent) >= 0);
        rc = exl_connection_read(ends.driver, NULL);
        assert_true(exl_connection_write(ends.driver) >= 0 || rc < 0);
        if (rc == 0)
            assert_true(exl_connection_read(ends.agent, NULL) >= 0);
    }
    assert_int_equal(rc, EXL_EPROTOCOL);
    end_both(&ends);
}

int main(void)
{
    exl_tls_provide(&exl_tls_openssl);
    const struct CMUnitTest tests[] = {
        EXL_TEST(frames_cross),
        EXL_TEST(more_than_a_socket_takes_crosses),
        EXL_TEST(a_new_connection_goes_on_where_the_old_one_broke),
        EXL_TEST(a_good_bye_differs_from_a_break),
        EXL_TEST(frames_before_a_good_bye_are_heard),
        EXL_TEST(strangers_never_reach_the_link),
        EXL_TEST(a_greeting_that_is_none_is_refused),
    };
    return EXL_RUN(tests);
}
