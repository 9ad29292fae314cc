/* test_door.c: a door where descriptors run out. */
#include "node/door.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"
#include "support.h"
#include "wire/tls_openssl.h"

static const uint8_t key[EXL_TLS_KEY_SIZE] = "0123456789abcdef0123456789abcdef";

static unsigned ncomplaints, narrived, nmet;
static char complaint[512];

static void log_cb(const char *text)
{
    (void)strncpy(complaint, text, sizeof complaint - 1);
    ncomplaints++;
}

static void changed(void *owner)
{
}

static void arrived_cb(void *owner, exl_connection_t *connection, const exl_frame_t *hello)
{
    narrived++;
    exl_connection_destroy(connection, true);
}

static void met_cb(void *owner, exl_handshake_t *handshake, exl_connection_t *connection, const exl_frame_t *hello,
                   int code, const char *reason)
{
    nmet++;
    exl_connection_destroy(connection, false);
}

static int connect_to(uint16_t port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
    return fd;
}

/* No descriptor is left. */
static void take_all(struct rlimit *original)
{
    int lowest = dup(STDERR_FILENO);
    assert_true(lowest >= 0);
    (void)close(lowest);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, original), 0);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &(struct rlimit){(rlim_t)lowest, original->rlim_max}), 0);
}

static void who_comes_when_descriptors_are_lacking_waits(void **state)
{
    enum { PAUSES = 3 };
    uv_loop_t loop;
    exl_door_t *door;
    exl_handshake_t *handshake;
    struct rlimit original;
    exl_error_t err = {""};
    ncomplaints = narrived = nmet = 0;
    exl_log_set_hook(log_cb);
    assert_int_equal(uv_loop_init(&loop), 0);
    exl_node_t node = {.loop = &loop, .changed = changed};
    exl_list_init(&node.sockets);
    assert_int_equal(exl_door_open(&node, "127.0.0.1", "a rank", key, arrived_cb, NULL, &door, &err), 0);
    const exl_handshake_config_t config = {.node = &node,
                                           .side = EXL_TLS_CONNECTS,
                                           .name = "a rank",
                                           .key = key,
                                           .limit_ms = EXL_TEST_LIMIT_S * 1000,
                                           .done = met_cb};
    assert_int_equal(exl_handshake_start(&config, connect_to(exl_door_port(door)), &handshake, &err), 0);
    take_all(&original);
    while (ncomplaints == 0)
        (void)uv_run(&loop, UV_RUN_ONCE);
    int64_t begun_ns = exl_clock_ns();
    for (int turn = 0; turn < 2 * PAUSES; turn++) /* one until it tries again, one in which that fails */
        (void)uv_run(&loop, UV_RUN_ONCE);
    assert_true(exl_clock_ns() - begun_ns >= (PAUSES - 1) * EXL_DOOR_RETRY_MS * EXL_NS_PER_MS);
    assert_int_equal(ncomplaints, 1);
    assert_non_null(strstr(complaint, "ulimit -n"));
    assert_int_equal(narrived, 0);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &original), 0);
    while (!narrived || !nmet)
        (void)uv_run(&loop, UV_RUN_ONCE);
    assert_int_equal(narrived, 1);
    exl_door_close(door);
    (void)uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&loop), 0);
    exl_log_set_hook(NULL);
}

/* Also while it pauses. */
static void it_can_be_closed_meanwhile(void **state)
{
    uv_loop_t loop;
    exl_door_t *door;
    struct rlimit original;
    exl_error_t err = {""};
    ncomplaints = 0;
    exl_log_set_hook(log_cb);
    assert_int_equal(uv_loop_init(&loop), 0);
    exl_node_t node = {.loop = &loop, .changed = changed};
    exl_list_init(&node.sockets);
    assert_int_equal(exl_door_open(&node, "127.0.0.1", "a rank", key, arrived_cb, NULL, &door, &err), 0);
    int fd = connect_to(exl_door_port(door));
    take_all(&original);
    while (ncomplaints == 0)
        (void)uv_run(&loop, UV_RUN_ONCE);
    exl_door_close(door);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &original), 0);
    (void)uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&loop), 0);
    (void)close(fd);
    exl_log_set_hook(NULL);
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
        EXL_TEST(who_comes_when_descriptors_are_lacking_waits),
        EXL_TEST(it_can_be_closed_meanwhile),
    };
    cmocka_set_test_filter(getenv("EXL_TEST_FILTER"));
    return cmocka_run_group_tests_name(exl_test_name(__FILE__), tests, warm_up, NULL);
}
