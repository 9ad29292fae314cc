/* test_channel.c: frames over a socketpair: in pieces, with descriptors, and with a peer that misbehaves. */
#include "wire/channel.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "support.h"

static void open_pair(exl_channel_t *a, exl_channel_t *b, bool blocking)
{
    int pair[2];
    int flags = SOCK_STREAM | SOCK_CLOEXEC | (blocking ? 0 : SOCK_NONBLOCK);
    assert_int_equal(socketpair(AF_UNIX, flags, 0, pair), 0);
    exl_channel_init(a, pair[0]);
    exl_channel_init(b, pair[1]);
}

static void close_pair(exl_channel_t *a, exl_channel_t *b)
{
    exl_channel_fini(a);
    exl_channel_fini(b);
}

static void queue_text(exl_channel_t *channel, uint64_t id, const char *text)
{
    exl_payload_t *payload = exl_test_payload(text);
    exl_frame_t frame = {.type = EXL_FRAME_CALL, .id = id};
    assert_int_equal(exl_channel_queue(channel, frame, payload, NULL, 0, false), 0);
    exl_payload_unref(payload);
}

static void assert_text(exl_channel_t *channel, uint64_t id, const char *text)
{
    exl_message_t message;
    assert_int_equal(exl_channel_next(channel, &message), 1);
    assert_int_equal(message.frame.type, EXL_FRAME_CALL);
    assert_int_equal(message.frame.id, id);
    exl_test_assert_body(message.payload, text);
    exl_message_fini(&message);
}

/* A descriptor that can be told from all others: a memory file of `number` bytes. */
static int numbered_fd(int number)
{
    int fd = memfd_create("number", MFD_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(ftruncate(fd, number), 0);
    return fd;
}

static int number_of(int fd)
{
    struct stat status;
    assert_int_equal(fstat(fd, &status), 0);
    return (int)status.st_size;
}

static void carries_a_payload(void **state)
{
    exl_channel_t a, b;
    open_pair(&a, &b, true);
    queue_text(&a, 9, "hello");
    assert_true(exl_channel_backlog(&a) > EXL_FRAME_SIZE);
    assert_int_equal(exl_channel_flush(&a), 0);
    assert_int_equal(exl_channel_backlog(&a), 0);
    exl_message_t message;
    assert_int_equal(exl_channel_receive(&b, &message), 1);
    exl_test_assert_body(message.payload, "hello");
    exl_message_fini(&message);
    close_pair(&a, &b);
}

static void a_frame_without_payload_has_none(void **state)
{
    exl_channel_t a, b;
    exl_message_t message;
    open_pair(&a, &b, true);
    assert_int_equal(exl_channel_queue(&a, (exl_frame_t){.type = EXL_FRAME_END, .arg = 5}, NULL, NULL, 0, false), 0);
    assert_int_equal(exl_channel_flush(&a), 0);
    assert_int_equal(exl_channel_receive(&b, &message), 1);
    assert_int_equal(message.frame.type, EXL_FRAME_END);
    assert_int_equal(message.frame.arg, 5);
    assert_null(message.payload);
    exl_message_fini(&message);
    close_pair(&a, &b);
}

static void understands_one_byte_at_a_time(void **state)
{
    exl_channel_t a, b, c;
    exl_message_t message;
    int pair[2];
    open_pair(&a, &b, true);
    queue_text(&a, 1, "first");
    queue_text(&a, 2, "");
    queue_text(&a, 3, "the third one");
    size_t size = exl_channel_backlog(&a);
    uint8_t *bytes = malloc(size);
    assert_non_null(bytes);
    memcpy(bytes, exl_buffer_data(&a.out), size);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    exl_channel_init(&c, pair[1]);
    uint64_t found = 0;
    for (size_t i = 0; i < size; i++) {
        exl_test_write(pair[0], bytes + i, 1);
        assert_int_equal(exl_channel_fill(&c), 1);
        int rc = exl_channel_next(&c, &message);
        assert_in_range(rc, 0, 1);
        if (rc == 1) {
            assert_int_equal(message.frame.id, ++found);
            exl_message_fini(&message);
        }
    }
    assert_int_equal(found, 3);
    assert_int_equal(exl_buffer_size(&c.in), 0);
    free(bytes);
    (void)close(pair[0]);
    exl_channel_fini(&c);
    close_pair(&a, &b);
}

static void several_frames_come_out_of_one_read(void **state)
{
    exl_channel_t a, b;
    exl_message_t message;
    open_pair(&a, &b, true);
    for (uint64_t id = 1; id <= 100; id++)
        queue_text(&a, id, "x");
    assert_int_equal(exl_channel_flush(&a), 0);
    assert_true(exl_channel_fill(&b) > 0);
    for (uint64_t id = 1; id <= 100; id++)
        assert_text(&b, id, "x");
    assert_int_equal(exl_channel_next(&b, &message), 0);
    close_pair(&a, &b);
}

static void nothing_there_is_no_error(void **state)
{
    exl_channel_t a, b;
    exl_message_t message;
    open_pair(&a, &b, false);
    assert_int_equal(exl_channel_fill(&b), 0);
    assert_int_equal(exl_channel_next(&b, &message), 0);
    assert_int_equal(exl_channel_flush(&a), 0);
    close_pair(&a, &b);
}

/* A tiny socket buffer and frames of all sizes, some with descriptors, so that writes end anywhere. */
static void short_writes_lose_nothing(void **state)
{
    enum { FRAMES = 120, TINY = 1 };
    exl_channel_t a, b;
    exl_message_t message;
    int tiny = TINY;
    static char text[20001];
    open_pair(&a, &b, false);
    assert_int_equal(setsockopt(a.fd, SOL_SOCKET, SO_SNDBUF, &tiny, sizeof tiny), 0);
    memset(text, 'y', sizeof text - 1);
    for (int i = 1; i <= FRAMES; i++) {
        exl_payload_t *payload = exl_test_payload(text + (sizeof text - 1) * (size_t)(i % 7) / 7);
        int fds[2] = {i, i};
        unsigned nfds = (unsigned)i % 3;
        for (unsigned j = 0; j < nfds; j++)
            fds[j] = numbered_fd(10 * i + (int)j);
        exl_frame_t frame = {.type = EXL_FRAME_CALL, .id = (uint64_t)i};
        assert_int_equal(exl_channel_queue(&a, frame, payload, fds, nfds, true), 0);
        exl_payload_unref(payload);
    }
    int stuck = 0, next = 1;
    while (next <= FRAMES) {
        int rc = exl_channel_flush(&a);
        assert_in_range(rc, 0, 1);
        stuck += rc == 1;
        assert_true(exl_channel_fill(&b) >= 0);
        while (exl_channel_next(&b, &message) == 1) {
            assert_int_equal(message.frame.id, next);
            assert_int_equal(message.frame.nfds, next % 3);
            for (int j = 0; j < next % 3; j++)
                assert_int_equal(number_of(message.fds[j]), 10 * next + j);
            exl_test_assert_body(message.payload, text + (sizeof text - 1) * (size_t)(next % 7) / 7);
            exl_message_fini(&message);
            next++;
        }
    }
    assert_true(stuck > 0);
    assert_int_equal(exl_channel_backlog(&a), 0);
    close_pair(&a, &b);
}

static void descriptors_stay_with_their_frames(void **state)
{
    enum { FRAMES = 50 };
    exl_channel_t a, b;
    open_pair(&a, &b, false);
    for (int i = 0; i < FRAMES; i++) {
        int fds[EXL_FRAME_MAX_FDS];
        unsigned nfds = (unsigned)i % (EXL_FRAME_MAX_FDS + 1);
        for (unsigned j = 0; j < nfds; j++)
            fds[j] = numbered_fd(100 * i + (int)j);
        assert_int_equal(
            exl_channel_queue(&a, (exl_frame_t){.type = EXL_FRAME_FORK, .id = (uint64_t)i + 1}, NULL, fds, nfds, true),
            0);
    }
    assert_int_equal(exl_channel_flush(&a), 0);
    for (int i = 0; i < FRAMES; i++) {
        exl_message_t message;
        int rc;
        while ((rc = exl_channel_next(&b, &message)) == 0)
            assert_true(exl_channel_fill(&b) > 0);
        assert_int_equal(rc, 1);
        assert_int_equal(message.frame.nfds, i % (EXL_FRAME_MAX_FDS + 1));
        for (unsigned j = 0; j < message.frame.nfds; j++) {
            assert_int_equal(number_of(message.fds[j]), 100 * i + (int)j);
            assert_int_equal(fcntl(message.fds[j], F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
        }
        exl_message_fini(&message);
    }
    close_pair(&a, &b);
}

static void borrowed_descriptors_stay_open(void **state)
{
    exl_channel_t a, b;
    exl_message_t message;
    int fd = numbered_fd(7);
    open_pair(&a, &b, true);
    assert_int_equal(exl_channel_queue(&a, (exl_frame_t){.type = EXL_FRAME_FORK}, NULL, &fd, 1, false), 0);
    assert_int_equal(exl_channel_flush(&a), 0);
    assert_int_equal(number_of(fd), 7);
    assert_int_equal(exl_channel_receive(&b, &message), 1);
    assert_int_not_equal(message.fds[0], fd);
    assert_int_equal(number_of(message.fds[0]), 7);
    exl_message_fini(&message);
    (void)close(fd);
    close_pair(&a, &b);
}

static void descriptors_that_never_left_are_closed(void **state)
{
    exl_channel_t a, b;
    int fd = numbered_fd(1);
    open_pair(&a, &b, true);
    assert_int_equal(exl_channel_queue(&a, (exl_frame_t){.type = EXL_FRAME_FORK}, NULL, &fd, 1, true), 0);
    close_pair(&a, &b);
    assert_int_equal(fcntl(fd, F_GETFD), -1);
}

static void descriptors_that_nobody_claimed_are_closed(void **state)
{
    exl_channel_t a, b;
    exl_message_t message;
    open_pair(&a, &b, true);
    for (int i = 0; i < 20; i++) {
        int fds[] = {numbered_fd(1), numbered_fd(2), numbered_fd(3)};
        assert_int_equal(exl_channel_queue(&a, (exl_frame_t){.type = EXL_FRAME_FORK}, NULL, fds, 3, true), 0);
    }
    assert_int_equal(exl_channel_flush(&a), 0);
    /* One message is taken, the others stay in the channel or in the socket. */
    assert_int_equal(exl_channel_receive(&b, &message), 1);
    exl_message_fini(&message);
    close_pair(&a, &b);
}

/* Large arguments travel as a file next to the frame's own descriptors. */
static void carries_a_memory_file(void **state)
{
    enum { SIZE = 300 * 1000 };
    exl_channel_t a, b;
    exl_message_t message;
    char *text = malloc(SIZE + 1);
    assert_non_null(text);
    memset(text, 'z', SIZE);
    text[SIZE] = '\0';
    open_pair(&a, &b, true);
    exl_payload_t *payload = exl_test_payload(text);
    assert_int_equal(exl_payload_seal(payload), 0);
    int fd = numbered_fd(5);
    assert_int_equal(exl_channel_queue(&a, (exl_frame_t){.type = EXL_FRAME_CALL}, payload, &fd, 1, true), 0);
    exl_payload_unref(payload);
    assert_int_equal(exl_channel_backlog(&a), EXL_FRAME_SIZE);
    assert_int_equal(exl_channel_flush(&a), 0);
    assert_int_equal(exl_channel_receive(&b, &message), 1);
    assert_int_equal(message.frame.nfds, 1);
    assert_int_equal(number_of(message.fds[0]), 5);
    assert_true(exl_payload_fd(message.payload) >= 0);
    exl_test_assert_body(message.payload, text);
    exl_message_fini(&message);
    close_pair(&a, &b);
    free(text);
}

static void carries_a_large_payload_inline(void **state)
{
    enum { SIZE = 3 * 1000 * 1000 };
    exl_channel_t a, b;
    exl_message_t message;
    char *text = malloc(SIZE + 1);
    assert_non_null(text);
    for (size_t i = 0; i < SIZE; i++)
        text[i] = (char)('a' + i % 23);
    text[SIZE] = '\0';
    open_pair(&a, &b, false);
    exl_payload_t *payload = exl_test_payload(text);
    /* Mapped and without its file: what is left when descriptors are short. */
    assert_int_equal(exl_payload_seal(payload), 0);
    assert_int_equal(exl_payload_map(payload), 0);
    exl_payload_close_file(payload);
    assert_int_equal(exl_channel_queue(&a, (exl_frame_t){.type = EXL_FRAME_CALL}, payload, NULL, 0, false), 0);
    exl_payload_unref(payload);
    int rc;
    while ((rc = exl_channel_next(&b, &message)) == 0) {
        assert_true(exl_channel_flush(&a) >= 0);
        assert_true(exl_channel_fill(&b) >= 0);
    }
    assert_int_equal(rc, 1);
    exl_test_assert_body(message.payload, text);
    exl_message_fini(&message);
    close_pair(&a, &b);
    free(text);
}

static void the_peers_death_is_told_after_its_last_frame(void **state)
{
    exl_channel_t a, b;
    exl_message_t message;
    open_pair(&a, &b, true);
    queue_text(&a, 1, "last words");
    assert_int_equal(exl_channel_flush(&a), 0);
    exl_channel_fini(&a);
    assert_int_equal(exl_channel_receive(&b, &message), 1);
    exl_message_fini(&message);
    assert_int_equal(exl_channel_receive(&b, &message), EXL_ECLOSED);
    assert_true(b.ended);
    assert_int_equal(exl_channel_fill(&b), EXL_ECLOSED);
    queue_text(&b, 2, "nobody is there");
    assert_int_equal(exl_channel_flush(&b), EXL_ECLOSED);
    exl_channel_fini(&b);
    assert_int_equal(exl_channel_flush(&b), EXL_ECLOSED);
    assert_int_equal(exl_channel_fill(&b), EXL_ECLOSED);
    assert_int_equal(exl_channel_queue(&b, (exl_frame_t){.type = EXL_FRAME_END}, NULL, NULL, 0, false), EXL_ECLOSED);
}

static void death_in_the_middle_of_a_frame_is_an_end(void **state)
{
    for (size_t cut = 1; cut < EXL_FRAME_SIZE + 20; cut++) {
        exl_channel_t a, b;
        exl_message_t message;
        open_pair(&a, &b, true);
        queue_text(&a, 1, "twenty bytes and more than that");
        exl_test_write(a.fd, exl_buffer_data(&a.out), cut);
        exl_channel_fini(&a);
        assert_int_equal(exl_channel_receive(&b, &message), EXL_ECLOSED);
        exl_channel_fini(&b);
    }
}

/* Writes raw bytes with descriptors, as no channel of ours would. */
static void send_raw(int fd, const void *bytes, size_t size, unsigned nfds)
{
    enum { MOST = 16 };
    union {
        char bytes[CMSG_SPACE(MOST * sizeof(int))];
        struct cmsghdr align;
    } control;
    int fds[MOST];
    char *copy = malloc(size);
    assert_non_null(copy);
    memcpy(copy, bytes, size);
    struct iovec span = {copy, size};
    struct msghdr message = {.msg_iov = &span, .msg_iovlen = 1};
    assert_true(nfds <= MOST);
    for (unsigned i = 0; i < nfds; i++)
        fds[i] = numbered_fd((int)i);
    if (nfds) {
        memset(&control, 0, sizeof control);
        message.msg_control = &control;
        message.msg_controllen = CMSG_SPACE(nfds * sizeof(int));
        struct cmsghdr *header = CMSG_FIRSTHDR(&message);
        header->cmsg_level = SOL_SOCKET;
        header->cmsg_type = SCM_RIGHTS;
        header->cmsg_len = CMSG_LEN(nfds * sizeof(int));
        memcpy(CMSG_DATA(header), fds, nfds * sizeof(int));
    }
    assert_int_equal(sendmsg(fd, &message, 0), (int)size);
    for (unsigned i = 0; i < nfds; i++)
        (void)close(fds[i]);
    free(copy);
}

/* What `b` answers to a frame and descriptors sent raw. */
static int answer_to(exl_frame_t frame, const char *rest, size_t rest_size, unsigned nfds)
{
    exl_channel_t a, b;
    exl_message_t message;
    uint8_t bytes[EXL_FRAME_SIZE + 64] = {0};
    open_pair(&a, &b, false);
    exl_frame_encode(&frame, bytes);
    if (rest_size)
        memcpy(bytes + EXL_FRAME_SIZE, rest, rest_size);
    send_raw(a.fd, bytes, EXL_FRAME_SIZE + rest_size, nfds);
    int rc = exl_channel_fill(&b);
    if (rc > 0)
        rc = exl_channel_next(&b, &message);
    if (rc == 1)
        exl_message_fini(&message);
    close_pair(&a, &b);
    return rc;
}

static void refuses_garbage(void **state)
{
    exl_channel_t a, b;
    exl_message_t message;
    open_pair(&a, &b, true);
    exl_test_write(a.fd, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", 36);
    assert_int_equal(exl_channel_receive(&b, &message), EXL_EPROTOCOL);
    assert_int_equal(exl_channel_receive(&b, &message), EXL_EPROTOCOL);
    close_pair(&a, &b);
}

static void refuses_a_size_over_the_cap(void **state)
{
    exl_frame_t frame = {.type = EXL_FRAME_RESULT, .flags = EXL_FRAME_PAYLOAD, .size = EXL_FRAME_MAX_PAYLOAD + 1};
    assert_int_equal(answer_to(frame, NULL, 0, 0), EXL_EPROTOCOL);
    /* At the cap it waits for the bytes, without memory for them. */
    frame.size = EXL_FRAME_MAX_PAYLOAD;
    assert_int_equal(answer_to(frame, NULL, 0, 0), 0);
}

static void refuses_missing_descriptors(void **state)
{
    exl_frame_t frame = {.type = EXL_FRAME_FORK, .nfds = 3};
    assert_int_equal(answer_to(frame, NULL, 0, 2), EXL_EPROTOCOL);
    assert_int_equal(answer_to(frame, NULL, 0, 0), EXL_EPROTOCOL);
    assert_int_equal(answer_to(frame, NULL, 0, 3), 1);
}

static void survives_more_descriptors_than_any_frame_has(void **state)
{
    exl_frame_t frame = {.type = EXL_FRAME_FORK, .nfds = EXL_FRAME_MAX_FDS};
    for (unsigned nfds = EXL_FRAME_MAX_FDS + 1; nfds < 16; nfds++)
        assert_true(answer_to(frame, NULL, 0, nfds) < 0);
}

static void refuses_payloads_that_are_too_small(void **state)
{
    exl_frame_t frame = {.type = EXL_FRAME_RESULT, .flags = EXL_FRAME_PAYLOAD};
    for (frame.size = 0; frame.size < 16; frame.size++)
        assert_int_equal(answer_to(frame, "0123456789abcdef", frame.size, 0), EXL_EPROTOCOL);
}

static void refuses_a_file_shorter_than_it_says(void **state)
{
    /* The raw descriptors are files of 0, 1 and 2 bytes; the last one would be the payload. */
    exl_frame_t frame = {
        .type = EXL_FRAME_RESULT, .flags = EXL_FRAME_PAYLOAD | EXL_FRAME_FILE, .nfds = 3, .size = 4096};
    assert_int_equal(answer_to(frame, NULL, 0, 3), EXL_EPROTOCOL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        EXL_TEST(carries_a_payload),
        EXL_TEST(a_frame_without_payload_has_none),
        EXL_TEST(understands_one_byte_at_a_time),
        EXL_TEST(several_frames_come_out_of_one_read),
        EXL_TEST(nothing_there_is_no_error),
        EXL_TEST(short_writes_lose_nothing),
        EXL_TEST(descriptors_stay_with_their_frames),
        EXL_TEST(borrowed_descriptors_stay_open),
        EXL_TEST(descriptors_that_never_left_are_closed),
        EXL_TEST(descriptors_that_nobody_claimed_are_closed),
        EXL_TEST(carries_a_memory_file),
        EXL_TEST(carries_a_large_payload_inline),
        EXL_TEST(the_peers_death_is_told_after_its_last_frame),
        EXL_TEST(death_in_the_middle_of_a_frame_is_an_end),
        EXL_TEST(refuses_garbage),
        EXL_TEST(refuses_a_size_over_the_cap),
        EXL_TEST(refuses_missing_descriptors),
        EXL_TEST(survives_more_descriptors_than_any_frame_has),
        EXL_TEST(refuses_payloads_that_are_too_small),
        EXL_TEST(refuses_a_file_shorter_than_it_says),
    };
    return EXL_RUN(tests);
}
