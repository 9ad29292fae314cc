/* test_tee.c: stderr is carried over, and its end remembered, also while nobody takes it. */
#include "node/tee.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support.h"

static int output[2]; /* what the tee writes into, as the driver's stderr */

static exl_tee_t *new_tee(void)
{
    exl_tee_t *tee = NULL;
    assert_int_equal(pipe2(output, O_CLOEXEC), 0);
    assert_int_equal(exl_tee_create(output[1], &tee), 0);
    return tee;
}

static void destroy(exl_tee_t *tee)
{
    exl_tee_destroy(tee);
    (void)close(output[0]);
    (void)close(output[1]);
}

static exl_stream_t *open_stream(exl_tee_t *tee, exl_claim_t *claim, int *ret_fd)
{
    exl_stream_t *stream = NULL;
    assert_int_equal(exl_stream_open(tee, claim, &stream, ret_fd), 0);
    return stream;
}

static void say(int fd, const char *text)
{
    exl_test_write(fd, text, strlen(text));
}

/* Waits until the text has come out. */
static void assert_output(const char *text)
{
    size_t size = strlen(text);
    char *bytes = malloc(size);
    assert_non_null(bytes);
    exl_test_read(output[0], bytes, size);
    assert_memory_equal(bytes, text, size);
    free(bytes);
}

static void assert_tail(exl_stream_t *stream, uint64_t mark, const char *text)
{
    char tail[EXL_TAIL_SIZE];
    size_t size = exl_stream_tail(stream, mark, tail);
    assert_int_equal(size, strlen(text));
    assert_memory_equal(tail, text, size);
}

static void carries_over_and_remembers(void **state)
{
    int fd;
    exl_tee_t *tee = new_tee();
    exl_stream_t *stream = open_stream(tee, NULL, &fd);
    assert_tail(stream, 0, "");
    say(fd, "one ");
    assert_tail(stream, 0, "one ");
    say(fd, "two");
    assert_output("one two");
    assert_tail(stream, 0, "one two");
    (void)close(fd);
    exl_stream_close(stream);
    destroy(tee);
}

static void a_mark_hides_what_came_before(void **state)
{
    int fd;
    exl_tee_t *tee = new_tee();
    exl_stream_t *stream = open_stream(tee, NULL, &fd);
    say(fd, "beforeafter");
    assert_tail(stream, 6, "after");
    assert_tail(stream, 11, "");
    assert_tail(stream, 12, "");
    assert_tail(stream, UINT64_MAX, "");
    (void)close(fd);
    exl_stream_close(stream);
    assert_output("beforeafter");
    destroy(tee);
}

static void remembers_the_last_bytes_only(void **state)
{
    enum { SIZE = 3 * EXL_TAIL_SIZE + 100 };
    static char text[SIZE + 1];
    int fd;
    exl_tee_t *tee = new_tee();
    exl_stream_t *stream = open_stream(tee, NULL, &fd);
    for (int i = 0; i < SIZE; i++)
        text[i] = (char)('a' + i % 23);
    for (int at = 0; at < SIZE; at += 100)
        exl_test_write(fd, text + at, at + 100 < SIZE ? 100 : (size_t)(SIZE - at));
    assert_tail(stream, 0, text + SIZE - EXL_TAIL_SIZE);
    assert_tail(stream, SIZE - 10, text + SIZE - 10);
    assert_output(text);
    (void)close(fd);
    exl_stream_close(stream);
    destroy(tee);
}

static void closing_carries_over_the_rest(void **state)
{
    int fd;
    exl_tee_t *tee = new_tee();
    exl_stream_t *stream = open_stream(tee, NULL, &fd);
    say(fd, "last words");
    exl_stream_close(stream);
    exl_tee_destroy(tee);
    assert_output("last words");
    (void)close(fd);
    (void)close(output[0]);
    (void)close(output[1]);
}

static void streams_do_not_mix_in_the_tail(void **state)
{
    enum { STREAMS = 40 };
    exl_stream_t *streams[STREAMS];
    int fds[STREAMS];
    exl_tee_t *tee = new_tee();
    for (int i = 0; i < STREAMS; i++) {
        char text[2] = {(char)('A' + i), '\0'};
        streams[i] = open_stream(tee, NULL, &fds[i]);
        say(fds[i], text);
    }
    for (int i = 0; i < STREAMS; i++) {
        char text[2] = {(char)('A' + i), '\0'};
        assert_tail(streams[i], 0, text);
        (void)close(fds[i]);
        exl_stream_close(streams[i]);
    }
    char bytes[STREAMS];
    exl_test_read(output[0], bytes, sizeof bytes);
    destroy(tee);
}

static void the_tail_is_there_while_the_output_is_stuck(void **state)
{
    enum { FULL = 4096, SIZE = 60000 };
    static char text[SIZE + 1];
    int fd;
    exl_tee_t *tee = new_tee();
    exl_stream_t *stream = open_stream(tee, NULL, &fd);
    assert_int_equal(fcntl(output[1], F_SETPIPE_SZ, FULL), FULL);
    memset(text, '.', FULL);
    exl_test_write(output[1], text, FULL);
    for (int i = 0; i < SIZE; i++)
        text[i] = (char)('a' + i % 19);
    exl_test_write(fd, text, SIZE);
    assert_tail(stream, 0, text + SIZE - EXL_TAIL_SIZE);
    say(fd, "the end");
    assert_tail(stream, SIZE, "the end");
    exl_stream_close(stream);
    (void)close(fd);
    char stuck[FULL];
    exl_test_read(output[0], stuck, FULL);
    assert_output(text);
    assert_output("the end");
    destroy(tee);
}

static void an_output_that_is_gone_stops_nobody(void **state)
{
    struct sigaction ignore = {.sa_handler = SIG_IGN}, old;
    int fd;
    assert_int_equal(sigaction(SIGPIPE, &ignore, &old), 0);
    exl_tee_t *tee = new_tee();
    exl_stream_t *stream = open_stream(tee, NULL, &fd);
    (void)close(output[0]);
    for (int i = 0; i < 100; i++) {
        static char text[4096];
        exl_test_write(fd, text, sizeof text);
    }
    (void)close(fd);
    exl_stream_close(stream);
    exl_tee_destroy(tee);
    (void)close(output[1]);
    assert_int_equal(sigaction(SIGPIPE, &old, NULL), 0);
}

/* The mark is exact at every moment, whatever the reader has taken by then. */
static void the_mark_is_exact_while_the_reader_reads(void **state)
{
    exl_claim_t claim = {0};
    int fd;
    exl_tee_t *tee = new_tee();
    exl_stream_t *stream = open_stream(tee, &claim, &fd);
    uint64_t written = 0;
    for (int i = 0; i < 2000; i++) {
        size_t size = 1 + (size_t)i % 13;
        exl_test_write(fd, "0123456789abc", size);
        written += size;
        exl_claim_mark_stderr(&claim, fd);
        assert_int_equal(atomic_load(&claim.stderr_mark), written);
    }
    say(fd, "now");
    assert_tail(stream, atomic_load(&claim.stderr_mark), "now");
    assert_int_equal(atomic_load(&claim.drained), written + 3);
    exl_stream_close(stream);
    (void)close(fd);
    destroy(tee);
}

/* A process that the user forks inherits the pipe's read end, and so keeps it alive in the kernel. */
static void a_closed_stream_is_forgotten_although_a_fork_has_it(void **state)
{
#ifdef __SANITIZE_THREAD__
    skip();
#else
    int first_fd, second_fd, gate[2];
    exl_tee_t *tee = new_tee();
    exl_stream_t *first = open_stream(tee, NULL, &first_fd);
    exl_stream_t *second = open_stream(tee, NULL, &second_fd);
    assert_int_equal(pipe2(gate, O_CLOEXEC), 0);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        char byte;
        (void)close(gate[1]);
        _exit((int)read(gate[0], &byte, 1));
    }
    exl_stream_close(first);
    say(second_fd, "closed by now");
    assert_output("closed by now");
    say(first_fd, "to nobody");
    say(second_fd, "still there");
    assert_output("still there");
    (void)close(gate[0]);
    (void)close(gate[1]);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    (void)close(first_fd);
    (void)close(second_fd);
    exl_stream_close(second);
    destroy(tee);
#endif
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        EXL_TEST(carries_over_and_remembers),
        EXL_TEST(a_mark_hides_what_came_before),
        EXL_TEST(remembers_the_last_bytes_only),
        EXL_TEST(closing_carries_over_the_rest),
        EXL_TEST(streams_do_not_mix_in_the_tail),
        EXL_TEST(the_tail_is_there_while_the_output_is_stuck),
        EXL_TEST(an_output_that_is_gone_stops_nobody),
        EXL_TEST(the_mark_is_exact_while_the_reader_reads),
        EXL_TEST(a_closed_stream_is_forgotten_although_a_fork_has_it),
    };
    return EXL_RUN(tests);
}
