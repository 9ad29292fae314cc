/* test_gate.c: ranks in processes of their own, which reach this one, their head, through two gates. */
#include "node/gate.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "node/door.h"
#include "support.h"
#include "wire/channel.h"
#include "wire/tls_openssl.h"

enum { MANY = 200, SMALL = 8 * 1024 };

static struct {
    char folder[32], path[64]; /* of the socket at which ranks come in */
    int listener;
    exl_ticket_t ticket;
    pid_t gate;
} head;

static int begin(void **state)
{
    int rc = exl_test_begin(state);
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    exl_error_t err = {""};
    memset(&head, 0, sizeof head);
    (void)strcpy(head.folder, "/tmp/exl-gate-XXXXXX");
    assert_non_null(mkdtemp(head.folder));
    (void)snprintf(head.path, sizeof head.path, "%s/head", head.folder);
    (void)snprintf(address.sun_path, sizeof address.sun_path, "%s", head.path);
    head.listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(head.listener, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(listen(head.listener, 8), 0);
    (void)strcpy(head.ticket.addresses, "127.0.0.1");
    if (exl_gate_open(head.path, &head.ticket, &head.gate, &err) < 0)
        fail_msg("no gate: %s", err.text);
    assert_true(head.ticket.port != 0);
    return rc;
}

static void end_gate(void)
{
    if (!head.gate)
        return;
    (void)kill(head.gate, SIGKILL);
    assert_int_equal(waitpid(head.gate, NULL, 0), head.gate);
    head.gate = 0;
}

static int end(void **state)
{
    end_gate();
    (void)close(head.listener);
    (void)unlink(head.path);
    (void)rmdir(head.folder);
    return exl_test_end(state);
}

/* ---- a rank ---- */

/* Gives back each call's payload as its result, until it is told to end, or the head has gone; says so then. */
static void echo(exl_channel_t *channel)
{
    exl_message_t message;
    while (exl_channel_receive(channel, &message) == 1) {
        exl_frame_t frame = {.type = EXL_FRAME_RESULT, .id = message.frame.id};
        bool ends = message.frame.type == EXL_FRAME_END;
        if (!ends &&
            (exl_channel_queue(channel, frame, message.payload, NULL, 0, false) < 0 || exl_channel_flush(channel) < 0))
            _exit(2);
        exl_message_fini(&message);
        if (ends)
            _exit(0);
    }
    _exit(3);
}

/* As one that computes and hears nothing; its child neither. */
static void compute(int started)
{
    pid_t pids[2] = {getpid(), fork()};
    if (pids[1])
        (void)!write(started, pids, sizeof pids);
    for (;;)
        (void)pause();
}

typedef struct rank {
    pid_t pid;
    int out; /* what it writes: the name of its directory, if it gets through to a gate of its own */
} rank_t;

typedef enum deed { ECHOES, COMPUTES } deed_t;

static rank_t start_rank(const exl_ticket_t *ticket, deed_t deed)
{
    int out[2];
    assert_int_equal(pipe(out), 0);
    pid_t pid = fork();
    if (pid == 0) {
        char directory[EXL_RANK_DIRECTORY_SIZE] = "";
        exl_channel_t channel;
        exl_error_t err = {""};
        int fd;
        (void)close(out[0]);
        (void)close(head.listener);
        if (exl_gate_pass(ticket, &fd, directory, &err) < 0)
            _exit(1);
        (void)!write(out[1], directory, sizeof directory);
        if (deed == COMPUTES)
            compute(out[1]);
        (void)close(out[1]);
        exl_channel_init(&channel, fd);
        (void)exl_channel_queue(&channel, (exl_frame_t){.type = EXL_FRAME_HELLO}, NULL, NULL, 0, false);
        (void)exl_channel_flush(&channel);
        echo(&channel);
    }
    (void)close(out[1]);
    return (rank_t){.pid = pid, .out = out[0]};
}

/* What the rank's gate holds as well is its end of the pipe: both have gone when it ends. */
static void await_rank_and_gate(const rank_t *rank)
{
    char byte;
    while (read(rank->out, &byte, 1) > 0) {
    }
    (void)close(rank->out);
}

static int status_of(const rank_t *rank)
{
    int status = 0;
    assert_int_equal(waitpid(rank->pid, &status, 0), rank->pid);
    return status;
}

static void expect_killed(const rank_t *rank)
{
    int status = status_of(rank);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    await_rank_and_gate(rank);
}

/* ---- the head ---- */

static exl_channel_t let_in(void)
{
    exl_channel_t channel;
    exl_message_t message;
    exl_channel_init(&channel, accept(head.listener, NULL, NULL));
    assert_true(channel.fd >= 0);
    assert_int_equal(exl_channel_receive(&channel, &message), 1);
    assert_int_equal(message.frame.type, EXL_FRAME_HELLO);
    exl_message_fini(&message);
    return channel;
}

static void send_frame(exl_channel_t *channel, uint8_t type, uint64_t id, size_t size)
{
    static char bytes[SMALL];
    exl_payload_t *payload = NULL;
    if (size)
        assert_int_equal(exl_payload_of(bytes, size, &payload), 0);
    assert_int_equal(exl_channel_queue(channel, (exl_frame_t){.type = type, .id = id}, payload, NULL, 0, false), 0);
    exl_payload_unref(payload);
    assert_int_equal(exl_channel_flush(channel), 0);
}

static void expect_result(exl_channel_t *channel, uint64_t id)
{
    exl_message_t message;
    assert_int_equal(exl_channel_receive(channel, &message), 1);
    assert_int_equal(message.frame.type, EXL_FRAME_RESULT);
    assert_int_equal(message.frame.id, id);
    exl_message_fini(&message);
}

static void expect_end(exl_channel_t *channel)
{
    exl_message_t message;
    assert_int_equal(exl_channel_receive(channel, &message), EXL_ECLOSED);
    exl_channel_fini(channel);
}

static void expect_nobody(void)
{
    struct pollfd waits = {.fd = head.listener, .events = POLLIN};
    assert_int_equal(poll(&waits, 1, 0), 0);
}

/* ---- */

static void ranks_reach_their_head_and_are_heard_to_their_end(void **state)
{
    char directory[EXL_RANK_DIRECTORY_SIZE];
    rank_t ranks[2];
    exl_channel_t channels[2];
    for (int i = 0; i < 2; i++)
        ranks[i] = start_rank(&head.ticket, ECHOES);
    for (int i = 0; i < 2; i++) {
        channels[i] = let_in();
        send_frame(&channels[i], EXL_FRAME_CALL, 7, SMALL);
        send_frame(&channels[i], EXL_FRAME_CALL, 8, 0);
        expect_result(&channels[i], 7);
        expect_result(&channels[i], 8);
    }
    for (int i = 0; i < 2; i++)
        send_frame(&channels[i], EXL_FRAME_END, 0, 0);
    for (int i = 0; i < 2; i++) {
        struct stat status;
        expect_end(&channels[i]);
        assert_int_equal(status_of(&ranks[i]), 0);
        exl_test_read(ranks[i].out, directory, sizeof directory);
        await_rank_and_gate(&ranks[i]);
        assert_int_equal(stat(directory, &status), -1); /* it has gone with the rank */
    }
}

static void a_slow_rank_gets_all_in_order(void **state)
{
    rank_t rank = start_rank(&head.ticket, ECHOES);
    exl_channel_t channel = let_in();
    (void)kill(rank.pid, SIGSTOP);
    for (uint64_t id = 1; id <= MANY; id++)
        send_frame(&channel, EXL_FRAME_CALL, id, SMALL);
    (void)kill(rank.pid, SIGCONT);
    for (uint64_t id = 1; id <= MANY; id++)
        expect_result(&channel, id);
    send_frame(&channel, EXL_FRAME_END, 0, 0);
    expect_end(&channel);
    assert_int_equal(status_of(&rank), 0);
    await_rank_and_gate(&rank);
}

static void a_rank_that_dies_is_heard(void **state)
{
    rank_t rank = start_rank(&head.ticket, ECHOES);
    exl_channel_t channel = let_in();
    (void)kill(rank.pid, SIGKILL);
    expect_end(&channel);
    expect_killed(&rank);
}

static void a_rank_without_the_key_is_ended_and_nobody_comes(void **state)
{
    exl_ticket_t ticket = head.ticket;
    ticket.key[0] ^= 1;
    rank_t rank = start_rank(&ticket, COMPUTES);
    expect_killed(&rank);
    expect_nobody();
}

static void so_is_one_that_goes_by_another_name(void **state)
{
    exl_ticket_t ticket = head.ticket;
    ticket.name[0] ^= 1;
    rank_t rank = start_rank(&ticket, COMPUTES);
    expect_killed(&rank);
    expect_nobody();
}

static void so_is_one_that_comes_when_all_are_in(void **state)
{
    assert_int_equal(unlink(head.path), 0);
    rank_t rank = start_rank(&head.ticket, COMPUTES);
    expect_killed(&rank);
}

/* What a rank has started is ended with it. */
static void a_rank_and_its_children_end_with_the_program(void **state)
{
    char directory[EXL_RANK_DIRECTORY_SIZE];
    pid_t pids[2];
    rank_t rank = start_rank(&head.ticket, COMPUTES);
    int fd = accept(head.listener, NULL, NULL);
    exl_test_read(rank.out, directory, sizeof directory);
    exl_test_read(rank.out, pids, sizeof pids);
    end_gate();
    expect_killed(&rank);
    assert_true(exl_test_process_ends(pids[1]));
    (void)close(fd);
}

/* The same where the head alone has gone, and in the middle of a call. */
static void a_rank_ends_when_its_head_closes(void **state)
{
    rank_t rank = start_rank(&head.ticket, ECHOES);
    exl_channel_t channel = let_in();
    exl_message_t message;
    uint8_t bytes[EXL_FRAME_SIZE];
    exl_frame_encode(&(exl_frame_t){.type = EXL_FRAME_CALL, .id = 1}, bytes);
    send_frame(&channel, EXL_FRAME_CALL, 1, SMALL);
    assert_int_equal(exl_channel_receive(&channel, &message), 1);
    exl_message_fini(&message);
    exl_test_write(channel.fd, bytes, sizeof bytes / 2);
    exl_channel_fini(&channel);
    (void)status_of(&rank); /* by its gate, or by itself when that has closed */
    await_rank_and_gate(&rank);
}

/* ---- strangers ---- */

static int call_at(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(head.ticket.port)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
    return fd;
}

static void expect_sent_away(int fd)
{
    char bytes[256];
    while (recv(fd, bytes, sizeof bytes, 0) > 0) { /* an alert may come first */
    }
    (void)close(fd);
}

static void strangers_are_sent_away_and_hold_nobody_up(void **state)
{
    static const char *const texts[] = {"GET / HTTP/1.1\r\n\r\n",
                                        "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 half of it", ""};
    int strangers[3];
    for (int i = 0; i < 3; i++) {
        strangers[i] = call_at();
        (void)!send(strangers[i], texts[i], strlen(texts[i]), MSG_NOSIGNAL);
    }
    rank_t rank = start_rank(&head.ticket, ECHOES);
    exl_channel_t channel = let_in();
    expect_nobody();
    expect_sent_away(strangers[0]); /* the others after EXL_DOOR_LIMIT_MS */
    (void)close(strangers[1]);
    (void)close(strangers[2]);
    send_frame(&channel, EXL_FRAME_CALL, 1, 0);
    expect_result(&channel, 1);
    send_frame(&channel, EXL_FRAME_END, 0, 0);
    expect_end(&channel);
    assert_int_equal(status_of(&rank), 0);
    await_rank_and_gate(&rank);
}

static void one_stranger_too_many_takes_the_place_of_the_oldest(void **state)
{
    int strangers[EXL_DOOR_STRANGERS + 1];
    for (int i = 0; i <= EXL_DOOR_STRANGERS; i++)
        strangers[i] = call_at();
    expect_sent_away(strangers[0]);
    for (int i = 1; i <= EXL_DOOR_STRANGERS; i++)
        (void)close(strangers[i]);
}

static int warm_up(void **state)
{
    exl_tls_provide(&exl_tls_openssl);
    return signal(SIGPIPE, SIG_IGN) == SIG_ERR ? -1 : 0;
}

#define GATE_TEST(function) cmocka_unit_test_setup_teardown(function, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        GATE_TEST(ranks_reach_their_head_and_are_heard_to_their_end),
        GATE_TEST(a_slow_rank_gets_all_in_order),
        GATE_TEST(a_rank_that_dies_is_heard),
        GATE_TEST(a_rank_without_the_key_is_ended_and_nobody_comes),
        GATE_TEST(so_is_one_that_goes_by_another_name),
        GATE_TEST(so_is_one_that_comes_when_all_are_in),
        GATE_TEST(a_rank_and_its_children_end_with_the_program),
        GATE_TEST(a_rank_ends_when_its_head_closes),
        GATE_TEST(strangers_are_sent_away_and_hold_nobody_up),
        GATE_TEST(one_stranger_too_many_takes_the_place_of_the_oldest),
    };
    cmocka_set_test_filter(getenv("EXL_TEST_FILTER"));
    return cmocka_run_group_tests_name(exl_test_name(__FILE__), tests, warm_up, NULL);
}
