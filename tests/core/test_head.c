/* test_head.c: a head in a process of its own, with the ranks of a stub launcher, asked by an engine that this test plays. */
#include "node/head.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "node/claim.h"
#include "node/descendants.h"
#include "node/rank_group.h"
#include "support.h"

extern char **environ;

/* ---- the head's process ---- */

/* The setup's text: "none", or the ranks' arguments, separated by ",". */
static int plan(exl_payload_t *setup, bool launcher, exl_payload_t *nodes, exl_launch_plan_t *ret_plan)
{
    (void)launcher;
    (void)nodes;
    static char text[256];
    static char *argv[8] = {(char *)(uintptr_t)STUB_MPIEXEC, (char *)(uintptr_t) "run"};
    exl_payload_view_t view;
    if (exl_payload_map(setup) < 0 || exl_payload_view(setup, &view) < 0 || view.body_size >= sizeof text)
        return 1;
    memcpy(text, view.body, view.body_size);
    if (strcmp(text, "none") == 0) {
        ret_plan->exception = exl_test_payload("no plan");
        return 1;
    }
    uint32_t count = 0;
    for (char *rank = strtok(text, ","); rank; rank = strtok(NULL, ","))
        argv[2 + count++] = rank;
    *ret_plan = (exl_launch_plan_t){.argv = argv, .envp = environ, .nranks = count};
    return 0;
}

/* ---- the test's side ---- */

static exl_channel_t channel;
static exl_claim_t *claim;
static pid_t head;

static void start_head(bool persistent)
{
    int pair[2], claim_fd = -1;
    claim = NULL;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    if (persistent)
        assert_int_equal(exl_claim_create(&claim, &claim_fd), 0);
    head = fork();
    if (head == 0) {
        (void)alarm(0);
        (void)prctl(PR_SET_CHILD_SUBREAPER, 1);
        (void)close(pair[0]);
        exl_role_t role = {.kind = EXL_ROLE_HEAD, .channel_fd = pair[1], .claim_fd = claim_fd};
        _exit(exl_head_serve(&role, plan));
    }
    (void)close(pair[1]);
    if (claim_fd >= 0)
        (void)close(claim_fd);
    exl_channel_init(&channel, pair[0]);
}

static void send_text(exl_frame_t frame, const char *text)
{
    exl_payload_t *payload = text ? exl_test_payload(text) : NULL;
    assert_int_equal(exl_channel_queue(&channel, frame, payload, NULL, 0, false), 0);
    assert_int_equal(exl_channel_flush(&channel), 0);
    exl_payload_unref(payload);
}

static void send_call(uint64_t number, const char *text)
{
    send_text((exl_frame_t){.type = EXL_FRAME_CALL, .id = number}, text);
}

static exl_payload_t *expect(uint8_t type, uint64_t id)
{
    exl_message_t message;
    assert_int_equal(exl_channel_receive(&channel, &message), 1);
    if (message.frame.type != type)
        fail_msg("%s instead of %s", exl_frame_type_to_string(message.frame.type), exl_frame_type_to_string(type));
    assert_int_equal(message.frame.id, id);
    return message.payload;
}

static void expect_text(uint8_t type, uint64_t id, const char *text)
{
    exl_payload_t *payload = expect(type, id);
    exl_test_assert_body(payload, text);
    exl_payload_unref(payload);
}

static void expect_reason(const char *part)
{
    exl_payload_t *payload = expect(EXL_FRAME_REASON, 0);
    exl_payload_view_t view;
    assert_int_equal(exl_payload_view(payload, &view), 0);
    char text[512] = "";
    memcpy(text, view.body, view.body_size < sizeof text - 1 ? view.body_size : sizeof text - 1);
    if (!strstr(text, part))
        fail_msg("\"%s\" does not say \"%s\"", text, part);
    exl_payload_unref(payload);
}

/* The list of what the ranks returned; all are short. */
static void expect_list(uint64_t number, const char *const *texts, uint32_t count)
{
    exl_payload_t *payload = expect(EXL_FRAME_RESULT, number);
    exl_payload_view_t view;
    assert_int_equal(exl_payload_view(payload, &view), 0);
    const uint8_t *at = view.body + 2 + strlen("c_executorlib_core\n_gather\n(");
    for (uint32_t i = 0; i < count; i++) {
        size_t length = strlen(texts[i]);
        assert_int_equal(at[0], 0x8e);
        assert_int_equal(at[1], length);
        assert_memory_equal(at + 9, texts[i], length);
        at += 9 + length + 2;
    }
    assert_int_equal(at + 3 - view.body, view.body_size);
    exl_payload_unref(payload);
}

#define EXPECT_LIST(number, ...)                                                                                       \
    expect_list(number, (const char *const[]){__VA_ARGS__}, sizeof((const char *const[]){__VA_ARGS__}) / sizeof(char *))

static void set_up(const char *ranks)
{
    send_text((exl_frame_t){.type = EXL_FRAME_SETUP, .id = 5}, ranks);
}

static void start(bool persistent)
{
    start_head(persistent);
    set_up("0,1");
    assert_null(expect(EXL_FRAME_READY, 5));
}

static void expect_end(int status)
{
    int wait_status;
    exl_message_t message;
    assert_true(exl_channel_receive(&channel, &message) < 0);
    exl_channel_fini(&channel);
    assert_int_equal(waitpid(head, &wait_status, 0), head);
    assert_true(WIFEXITED(wait_status));
    assert_int_equal(WEXITSTATUS(wait_status), status);
    exl_claim_close(claim);
}

/* ---- tests ---- */

static void one_call(void **state)
{
    (void)state;
    start(false);
    send_call(1, "zero|one");
    EXPECT_LIST(1, "zero", "one");
    expect_end(0);
}

static void many_calls(void **state)
{
    (void)state;
    start(true);
    for (uint64_t i = 1; i <= 20; i++) {
        send_call(i, "zero|one");
        EXPECT_LIST(i, "zero", "one");
        assert_int_equal(exl_claim_started(claim), i);
    }
    send_text((exl_frame_t){.type = EXL_FRAME_END}, NULL);
    expect_end(0);
}

static void calls_sent_ahead(void **state)
{
    (void)state;
    start(true);
    for (uint64_t i = 1; i <= 5; i++)
        send_call(i, "zero|one");
    for (uint64_t i = 1; i <= 5; i++)
        EXPECT_LIST(i, "zero", "one");
    send_text((exl_frame_t){.type = EXL_FRAME_END}, NULL);
    expect_end(0);
}

static void inputs_reach_every_rank(void **state)
{
    (void)state;
    start(true);
    send_text((exl_frame_t){.type = EXL_FRAME_FUNCTION, .id = 3}, "f");
    send_text((exl_frame_t){.type = EXL_FRAME_DEPENDENCY, .arg = 0}, "a");
    send_text((exl_frame_t){.type = EXL_FRAME_DEPENDENCY, .arg = 1}, "b");
    send_text((exl_frame_t){.type = EXL_FRAME_OPTIONS}, "o");
    send_call(1, "join");
    EXPECT_LIST(1, "f+a+b+o+", "f+a+b+o+");
    send_call(2, "join");
    EXPECT_LIST(2, "", "");
    send_text((exl_frame_t){.type = EXL_FRAME_END}, NULL);
    expect_end(0);
}

static void a_call_taken_back_reaches_no_rank(void **state)
{
    (void)state;
    start(true);
    assert_int_equal(exl_claim_recall(claim, 0), 0);
    send_text((exl_frame_t){.type = EXL_FRAME_DEPENDENCY, .arg = 0}, "of the call taken back");
    send_call(1, "exit 1");
    send_text((exl_frame_t){.type = EXL_FRAME_CALL, .id = 2, .epoch = 1}, "join");
    EXPECT_LIST(2, "", "");
    send_text((exl_frame_t){.type = EXL_FRAME_END}, NULL);
    expect_end(0);
}

/* The exception goes up before the ranks that wait have any chance to. */
static void one_rank_raises(void **state)
{
    (void)state;
    start(true);
    send_call(1, "pause|raise this");
    expect_text(EXL_FRAME_EXCEPTION, 1, "this");
    expect_end(1);
}

static void one_rank_raises_and_the_other_returns(void **state)
{
    (void)state;
    start(true);
    send_call(1, "zero|raise this");
    expect_text(EXL_FRAME_EXCEPTION, 1, "this");
    expect_end(1);
}

static void all_ranks_raise(void **state)
{
    (void)state;
    start(true);
    send_call(1, "raise this");
    expect_text(EXL_FRAME_EXCEPTION, 1, "this");
    send_call(2, "zero|one");
    EXPECT_LIST(2, "zero", "one");
    send_text((exl_frame_t){.type = EXL_FRAME_END}, NULL);
    expect_end(0);
}

static void a_rank_ends_in_a_call(void **state)
{
    (void)state;
    start(true);
    send_call(1, "pause|exit 4");
    expect_reason("MPI rank 1 of 2");
    expect_end(1);
}

static void the_launcher_ends_in_a_call(void **state)
{
    (void)state;
    start(true);
    send_call(1, "launcher 9|pause");
    expect_reason("the MPI launcher was killed by signal 9");
    expect_end(1);
}

static void a_rank_that_returned_ends_while_idle(void **state)
{
    int fd[2];
    char text[64];
    pid_t rank;
    (void)state;
    assert_int_equal(pipe(fd), 0);
    start(true);
    (void)snprintf(text, sizeof text, "pid %d|one", fd[1]);
    send_call(1, text);
    exl_payload_unref(expect(EXL_FRAME_RESULT, 1));
    exl_test_read(fd[0], &rank, sizeof rank);
    assert_int_equal(kill(rank, SIGKILL), 0);
    expect_reason("MPI rank 0 of 2");
    expect_end(1);
    (void)close(fd[0]);
    (void)close(fd[1]);
}

static void the_ranks_cannot_set_themselves_up(void **state)
{
    (void)state;
    start_head(true);
    set_up("0 fail,1");
    expect_text(EXL_FRAME_SETUP_FAILED, 5, "no place for this rank");
    expect_end(1);
}

static void a_rank_dies_while_starting(void **state)
{
    (void)state;
    start_head(false);
    set_up("0,1 die");
    expect_reason("ended while it was starting");
    expect_end(1);
}

static void there_is_no_plan(void **state)
{
    (void)state;
    start_head(true);
    set_up("none");
    expect_text(EXL_FRAME_SETUP_FAILED, 5, "no plan");
    expect_end(1);
}

static void the_engine_goes_while_ranks_are_idle(void **state)
{
    (void)state;
    start(true);
    (void)shutdown(channel.fd, SHUT_RDWR);
    expect_end(0);
}

static void sigterm_ends_an_idle_group(void **state)
{
    (void)state;
    start(true);
    /* As the zygote does it: to everything at once. */
    exl_descendants_signal(head, SIGTERM);
    assert_int_equal(kill(head, SIGTERM), 0);
    exl_message_t message;
    assert_int_equal(exl_channel_receive(&channel, &message), 1);
    assert_int_equal(message.frame.type, EXL_FRAME_REASON);
    exl_message_fini(&message);
    expect_end(1);
}

static void a_second_setup_ends_it(void **state)
{
    (void)state;
    start(true);
    set_up("0,1");
    expect_end(0);
}

static void a_call_before_the_setup_ends_it(void **state)
{
    (void)state;
    start_head(true);
    send_call(1, "zero");
    expect_end(1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        EXL_TEST(one_call),
        EXL_TEST(many_calls),
        EXL_TEST(calls_sent_ahead),
        EXL_TEST(inputs_reach_every_rank),
        EXL_TEST(a_call_taken_back_reaches_no_rank),
        EXL_TEST(one_rank_raises),
        EXL_TEST(one_rank_raises_and_the_other_returns),
        EXL_TEST(all_ranks_raise),
        EXL_TEST(a_rank_ends_in_a_call),
        EXL_TEST(the_launcher_ends_in_a_call),
        EXL_TEST(a_rank_that_returned_ends_while_idle),
        EXL_TEST(the_ranks_cannot_set_themselves_up),
        EXL_TEST(a_rank_dies_while_starting),
        EXL_TEST(there_is_no_plan),
        EXL_TEST(the_engine_goes_while_ranks_are_idle),
        EXL_TEST(sigterm_ends_an_idle_group),
        EXL_TEST(a_second_setup_ends_it),
        EXL_TEST(a_call_before_the_setup_ends_it),
    };
    return EXL_RUN(tests);
}
