/* test_rank_fork.c: ranks that the head has forked, and the process manager that they find. This process is the head. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "node/rank_directory.h"
#include "node/rank_group.h"
#include "support.h"

static exl_rank_group_t *group;
static exl_error_t err;
static sigset_t signals_before;

static int begin(void **state)
{
    (void)exl_test_begin(state);
    err.text[0] = '\0';
    (void)prctl(PR_SET_CHILD_SUBREAPER, 1);
    return sigprocmask(SIG_SETMASK, NULL, &signals_before);
}

static int end(void **state)
{
    (void)sigprocmask(SIG_SETMASK, &signals_before, NULL);
    return exl_test_end(state);
}

/* ---- in a rank ---- */

static int answered[2]; /* where ranks say that they have */

static void tell(exl_channel_t *channel, uint8_t type, uint64_t id, const char *text)
{
    exl_payload_t *payload = text ? exl_test_payload(text) : NULL;
    if (exl_channel_queue(channel, (exl_frame_t){.type = type, .id = id}, payload, NULL, 0, false) < 0 ||
        exl_channel_flush(channel) < 0)
        _exit(70);
    exl_payload_unref(payload);
}

static void request(int fd, const char *line)
{
    char answer[256];
    if (write(fd, line, strlen(line)) < 0 || read(fd, answer, sizeof answer) <= 0)
        _exit(71);
}

static const char *text_of(const exl_message_t *message)
{
    static char text[256];
    exl_payload_view_t view;
    if (!message->payload || exl_payload_map(message->payload) < 0 || exl_payload_view(message->payload, &view) < 0)
        _exit(72);
    (void)snprintf(text, sizeof text, "%.*s", (int)view.body_size, (const char *)view.body);
    return text;
}

/* "WORD N": whether rank N is to do what the word says. */
static bool is_told(const char *text, const char *word, const exl_rank_place_t *place)
{
    size_t length = strlen(word);
    return strncmp(text, word, length) == 0 && (uint32_t)atoi(text + length) == place->rank;
}

static void start_mpi(const exl_rank_place_t *place, const char *how)
{
    if (is_told(how, "dies ", place))
        _exit(7);
    if (is_told(how, "is told to end ", place))
        (void)raise(SIGTERM);
    if (is_told(how, "babbles ", place))
        request(place->pmi_fd, "these words are no request\n");
    request(place->pmi_fd, "cmd=init pmi_version=1 pmi_subversion=1\n");
    request(place->pmi_fd, "cmd=barrier_in\n");
}

static void run_call(exl_channel_t *channel, const exl_rank_place_t *place, const exl_message_t *message)
{
    const char *text = text_of(message);
    if (is_told(text, "exit ", place))
        _exit(4);
    if (is_told(text, "abort ", place))
        (void)!write(place->pmi_fd, "cmd=abort exitcode=9\n", 21);
    if (is_told(text, "aborts in vain ", place))
        (void)!write(place->pmi_fd, "cmd=abort exitcode=9\n", 21);
    if (strcmp(text, "echo") != 0 && !strstr(text, "in vain"))
        request(place->pmi_fd, "cmd=barrier_in\n");
    tell(channel, EXL_FRAME_RESULT, message->frame.id, text);
    if (strstr(text, "in vain"))
        (void)!write(answered[1], "", 1);
}

static void run_rank(const exl_rank_place_t *place)
{
    exl_channel_t channel;
    exl_message_t message;
    exl_channel_init(&channel, place->channel_fd);
    while (exl_channel_receive(&channel, &message) == 1) {
        if (message.frame.type == EXL_FRAME_END) {
            request(place->pmi_fd, "cmd=finalize\n");
            _exit(0);
        }
        if (message.frame.type == EXL_FRAME_CALL) {
            run_call(&channel, place, &message);
        } else {
            const char *how = text_of(&message);
            start_mpi(place, how);
            tell(&channel, EXL_FRAME_JOINED, place->rank, NULL);
            if (is_told(how, "fails ", place))
                tell(&channel, EXL_FRAME_SETUP_FAILED, 0, "no place for this rank");
            else
                tell(&channel, EXL_FRAME_READY, place->rank, NULL);
        }
        exl_message_fini(&message);
    }
}

/* ---- in the head ---- */

static int fork_group(uint32_t size, const char *how, exl_payload_t **ret_exception)
{
    int spare = dup(STDERR_FILENO);
    exl_rank_fork_t ranks = {.run = run_rank, .foreign_fd = spare};
    exl_message_t setup = {.frame = {.type = EXL_FRAME_SETUP}, .payload = exl_test_payload(how)};
    assert_int_equal(exl_rank_group_create(size, &group, &err), 0);
    int rc = exl_rank_group_fork(group, &ranks, NULL, 0, &setup, ret_exception, &err);
    exl_payload_unref(setup.payload);
    (void)close(spare);
    return rc;
}

static void start(uint32_t size)
{
    if (fork_group(size, "all is well", NULL) != 0)
        fail_msg("not started: %s", err.text);
}

static void call(const char *text)
{
    exl_payload_t *payload = exl_test_payload(text);
    assert_int_equal(exl_rank_group_send(group, (exl_frame_t){.type = EXL_FRAME_CALL, .id = 1}, payload), 0);
    exl_payload_unref(payload);
}

static void expect_answers(uint32_t size, const char *text)
{
    unsigned seen = 0;
    for (uint32_t i = 0; i < size; i++) {
        uint32_t rank = UINT32_MAX;
        exl_rank_answer_t answer;
        if (exl_rank_group_answer(group, -1, &rank, &answer, &err) != 1)
            fail_msg("no answer: %s", err.text);
        exl_test_assert_body(answer.payload, text);
        exl_payload_unref(answer.payload);
        seen |= 1U << rank;
    }
    assert_int_equal(seen, (1U << size) - 1);
}

static void expect_lost(const char *text)
{
    uint32_t rank;
    exl_rank_answer_t answer;
    assert_true(exl_rank_group_answer(group, -1, &rank, &answer, &err) < 0);
    if (!strstr(err.text, text))
        fail_msg("\"%s\" does not say \"%s\"", err.text, text);
    exl_rank_group_kill(group);
}

static void expect_no_start(int rc, const char *text, bool unused)
{
    assert_true(rc < 0);
    if (!strstr(err.text, text))
        fail_msg("\"%s\" does not say \"%s\"", err.text, text);
    assert_int_equal(exl_rank_group_retract(group), unused);
}

static void start_answer_and_end(void **state)
{
    (void)state;
    for (uint32_t size = 1; size <= 4; size++) {
        start(size);
        call("echo");
        expect_answers(size, "echo");
        call("in the barrier");
        expect_answers(size, "in the barrier");
        int64_t begun_ns = exl_clock_ns();
        exl_rank_group_end(group);
        assert_true(exl_clock_ns() - begun_ns <
                    exl_test_time_factor() * 3 * EXL_NS_PER_S); /* and not its limit of 4 s */
    }
}

static void one_dies_while_the_others_wait_in_the_barrier(void **state)
{
    (void)state;
    start(3);
    call("exit 1");
    expect_lost("MPI rank 1 of 3, process ");
    assert_non_null(strstr(err.text, "exited with status 4"));
}

static void one_aborts(void **state)
{
    (void)state;
    start(3);
    call("abort 2");
    expect_lost("MPI rank 2 of 3 called MPI_Abort with status 9");
}

/* MPI_Abort returns, and the ranks go on to their answers. */
static void answers_after_an_abort_count_for_nothing(void **state)
{
    char bytes[3];
    (void)state;
    assert_int_equal(pipe(answered), 0);
    start(3);
    call("aborts in vain 2");
    exl_test_read(answered[0], bytes, sizeof bytes);
    expect_lost("MPI rank 2 of 3 called MPI_Abort with status 9");
    (void)close(answered[0]);
    (void)close(answered[1]);
}

static void one_dies_before_mpi_has_started(void **state)
{
    (void)state;
    expect_no_start(fork_group(3, "dies 2", NULL), "exited with status 7 while it was starting", true);
}

/* Whoever ends a group signals its ranks as well, and they may go first. */
static void one_is_told_to_end_before_mpi_has_started(void **state)
{
    (void)state;
    expect_no_start(fork_group(3, "is told to end 2", NULL), "was killed by signal 15 while it was starting", false);
}

static void one_does_not_speak_the_protocol(void **state)
{
    (void)state;
    expect_no_start(fork_group(2, "babbles 0", NULL), "MPI rank 0 of 2 does not speak PMI-1", true);
}

/* MPI has started, so the user's code may have run: not to be tried again. */
static void one_cannot_set_itself_up(void **state)
{
    exl_payload_t *exception = NULL;
    (void)state;
    assert_int_equal(fork_group(2, "fails 1", &exception), 1);
    exl_test_assert_body(exception, "no place for this rank");
    exl_payload_unref(exception);
    assert_false(exl_rank_group_retract(group));
}

static void a_group_that_is_told_to_end_is_not_tried_again(void **state)
{
    int never[2];
    (void)state;
    assert_int_equal(pipe(never), 0);
    start(2);
    assert_int_equal(kill(getpid(), SIGTERM), 0);
    assert_true(exl_rank_group_wait(group, never[0], &err) < 0);
    assert_string_equal(err.text, "it was told to end by SIGTERM");
    (void)close(never[0]);
    (void)close(never[1]);
    exl_rank_group_end(group);
}

static pid_t pid_of_child(void)
{
    char path[64], text[64] = "";
    (void)snprintf(path, sizeof path, "/proc/self/task/%d/children", (int)getpid());
    FILE *file = fopen(path, "re");
    assert_non_null(file);
    (void)!fgets(text, sizeof text, file);
    (void)fclose(file);
    return (pid_t)atoi(text);
}

static void a_rank_dies_with_its_head(void **state)
{
    int told[2];
    pid_t rank;
    (void)state;
    assert_int_equal(pipe(told), 0);
    pid_t head = fork();
    if (head == 0) {
        start(1);
        rank = pid_of_child();
        (void)!write(told[1], &rank, sizeof rank);
        for (;;)
            (void)pause();
    }
    exl_test_read(told[0], &rank, sizeof rank);
    assert_int_equal(kill(head, SIGKILL), 0);
    assert_true(exl_test_process_ends(rank));
    exl_test_reap_children();
    (void)close(told[0]);
    (void)close(told[1]);
    exl_rank_directory_sweep(head);
}

#define FORK_TEST(function) cmocka_unit_test_setup_teardown(function, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        FORK_TEST(start_answer_and_end),
        FORK_TEST(one_dies_while_the_others_wait_in_the_barrier),
        FORK_TEST(one_aborts),
        FORK_TEST(answers_after_an_abort_count_for_nothing),
        FORK_TEST(one_dies_before_mpi_has_started),
        FORK_TEST(one_is_told_to_end_before_mpi_has_started),
        FORK_TEST(one_does_not_speak_the_protocol),
        FORK_TEST(one_cannot_set_itself_up),
        FORK_TEST(a_group_that_is_told_to_end_is_not_tried_again),
        FORK_TEST(a_rank_dies_with_its_head),
    };
    return EXL_RUN(tests);
}
