/* test_rank_group.c: the ranks of a stub launcher: how a group starts, answers and ends. This process is the head. */
#include "node/rank_group.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "node/rank_directory.h"
#include "support.h"

extern char **environ;

enum { MAX_RANKS = 6 };

static exl_rank_group_t *group;
static exl_error_t err;
static exl_payload_t *exception; /* of a rank that could not set itself up */
static sigset_t signals_before;

static int begin(void **state)
{
    (void)exl_test_begin(state);
    err.text[0] = '\0';
    exception = NULL;
    /* As a worker, a head is the subreaper of what it starts. */
    (void)prctl(PR_SET_CHILD_SUBREAPER, 1);
    return sigprocmask(SIG_SETMASK, NULL, &signals_before);
}

static int directories(void);

static int end(void **state)
{
    (void)sigprocmask(SIG_SETMASK, &signals_before, NULL);
    if (directories() != 0) {
        print_error("a directory was left behind\n");
        exl_rank_directory_sweep(getpid());
        (void)exl_test_end(state);
        return -1;
    }
    return exl_test_end(state);
}

/* Those of this process. */
static int directories(void)
{
    char command[128];
    (void)snprintf(command, sizeof command,
                   "exit $(ls -d /dev/shm/executorlib-*-%d-* /tmp/executorlib-*-%d-* 2>/dev/null | wc -l)",
                   (int)getpid(), (int)getpid());
    int status = system(command);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/* ---- short words ---- */

static int launch_as(const char *program, const char *mode, const char *const *ranks, uint32_t size,
                     exl_payload_t **ret_exception)
{
    const char *argv[MAX_RANKS + 4] = {program, mode};
    for (int i = 0; ranks && ranks[i]; i++)
        argv[2 + i] = ranks[i];
    assert_int_equal(exl_rank_group_create(size, &group, &err), 0);
    assert_int_equal(exl_rank_group_size(group), size);
    exl_message_t setup = {.frame = {.type = EXL_FRAME_SETUP}, .payload = exl_test_payload("setup")};
    int rc =
        exl_rank_group_launch(group, (char *const *)(uintptr_t)argv, environ, NULL, 0, &setup, ret_exception, &err);
    exl_payload_unref(setup.payload);
    return rc;
}

#define LAUNCH(size, ...) launch_as(STUB_MPIEXEC, "run", (const char *const[]){__VA_ARGS__, NULL}, size, &exception)

static void start(uint32_t size)
{
    static const char *const numbers[] = {"0", "1", "2", "3", "4", "5", NULL};
    const char *ranks[MAX_RANKS + 1] = {NULL};
    for (uint32_t i = 0; i < size; i++)
        ranks[i] = numbers[i];
    if (launch_as(STUB_MPIEXEC, "run", ranks, size, &exception) != 0)
        fail_msg("not started: %s", err.text);
}

static void call(uint64_t number, const char *text)
{
    exl_payload_t *payload = exl_test_payload(text);
    assert_int_equal(exl_rank_group_send(group, (exl_frame_t){.type = EXL_FRAME_CALL, .id = number}, payload), 0);
    exl_payload_unref(payload);
}

/* The caller drops its payload. */
static exl_rank_answer_t next_answer(uint32_t *ret_rank)
{
    exl_rank_answer_t answer;
    *ret_rank = UINT32_MAX;
    if (exl_rank_group_answer(group, -1, ret_rank, &answer, &err) != 1)
        fail_msg("no answer: %s", err.text);
    return answer;
}

static uint32_t expect_answer(bool raised, const char *text)
{
    uint32_t rank;
    exl_rank_answer_t answer = next_answer(&rank);
    assert_int_equal(answer.raised, raised);
    exl_test_assert_body(answer.payload, text);
    exl_payload_unref(answer.payload);
    return rank;
}

static void expect_any_answers(uint32_t count)
{
    uint32_t rank;
    while (count--)
        exl_payload_unref(next_answer(&rank).payload);
}

/* The group is of no use any more. */
static void expect_end(int rc, const char *text)
{
    assert_true(rc < 0);
    if (!strstr(err.text, text))
        fail_msg("\"%s\" does not say \"%s\"", err.text, text);
    exl_rank_group_kill(group);
}

static void expect_lost(const char *text)
{
    uint32_t rank;
    exl_rank_answer_t answer;
    expect_end(exl_rank_group_answer(group, -1, &rank, &answer, &err), text);
}

static void echo_of_all(uint64_t number, uint32_t size)
{
    unsigned seen = 0;
    call(number, "word");
    for (uint32_t i = 0; i < size; i++)
        seen |= 1U << expect_answer(false, "word");
    assert_int_equal(seen, (1U << size) - 1);
}

/* Whatever else tried to be one of them. */
static void expect_two(int rc)
{
    assert_int_equal(rc, 0);
    echo_of_all(1, 2);
}

static void open_pipe(int ends[2])
{
    assert_int_equal(pipe(ends), 0);
}

static void close_pipe(const int ends[2])
{
    (void)close(ends[0]);
    (void)close(ends[1]);
}

/* ---- starting ---- */

static void starts_answers_and_ends(void **state)
{
    (void)state;
    start(3);
    echo_of_all(1, 3);
    echo_of_all(2, 3);
    exl_rank_group_end(group);
}

static void one_rank_is_a_group_too(void **state)
{
    (void)state;
    start(1);
    echo_of_all(1, 1);
    exl_rank_group_end(group);
}

static void ends_without_a_call(void **state)
{
    (void)state;
    start(2);
    exl_rank_group_end(group);
}

/* Numbers are MPI's: whoever connects first. */
static void ranks_are_known_by_their_numbers(void **state)
{
    (void)state;
    assert_int_equal(LAUNCH(3, "2", "0", "1"), 0);
    call(1, "zero|one|two");
    static const char *const words[] = {"zero", "one", "two"};
    for (int i = 0; i < 3; i++) {
        uint32_t rank;
        exl_rank_answer_t answer = next_answer(&rank);
        assert_true(rank < 3);
        exl_test_assert_body(answer.payload, words[rank]);
        exl_payload_unref(answer.payload);
    }
    exl_rank_group_end(group);
}

static void numbers_twice_are_refused(void **state)
{
    (void)state;
    expect_end(LAUNCH(2, "1", "1"), "do not number from 0 to 1");
}

static void numbers_too_high_are_refused(void **state)
{
    (void)state;
    expect_end(LAUNCH(2, "0", "2"), "do not number from 0 to 1");
}

static void who_does_not_know_the_secret_is_turned_away(void **state)
{
    (void)state;
    expect_two(LAUNCH(2, "0 stranger", "0", "1 stranger", "1"));
    exl_rank_group_end(group);
}

static void who_says_nothing_is_turned_away(void **state)
{
    (void)state;
    expect_two(LAUNCH(2, "0 mute", "0", "1"));
    exl_rank_group_end(group);
}

static void another_user_is_turned_away(void **state)
{
    (void)state;
    if (geteuid() != 0)
        skip(); /* only root can become another user */
    expect_two(LAUNCH(2, "0 foreign", "0", "1"));
    exl_rank_group_end(group);
}

/* Connected, it says nothing: the ranks behind it in the queue must not wait for it. */
static void who_stays_silent_holds_nobody_up(void **state)
{
    (void)state;
    expect_two(LAUNCH(2, "0 silent", "0", "1"));
    exl_rank_group_kill(group);
}

static void a_rank_that_dies_while_starting(void **state)
{
    (void)state;
    expect_end(LAUNCH(2, "0", "1 die"), "ended while it was starting");
}

static void a_rank_that_cannot_set_itself_up(void **state)
{
    (void)state;
    assert_int_equal(LAUNCH(2, "0 fail", "1"), 1);
    exl_test_assert_body(exception, "no place for this rank");
    exl_payload_unref(exception);
    exl_rank_group_kill(group);
}

static void a_rank_that_says_something_else(void **state)
{
    (void)state;
    expect_end(LAUNCH(2, "0 odd", "1"), "something else than that it is ready");
}

static void fewer_ranks_than_asked_for(void **state)
{
    (void)state;
    expect_end(launch_as(STUB_MPIEXEC, "refuse", NULL, 2, NULL), "the MPI launcher exited with status 3");
}

static void a_launcher_that_starts_nobody(void **state)
{
    (void)state;
    expect_end(launch_as(STUB_MPIEXEC, "alone", NULL, 2, NULL), "the MPI launcher exited with status 0");
}

static void a_launcher_that_is_not_there(void **state)
{
    (void)state;
    expect_end(launch_as("/nowhere/mpiexec", "run", NULL, 2, NULL), "cannot start /nowhere/mpiexec");
}

/* ---- calls ---- */

static void answers_come_in_any_order(void **state)
{
    int gate[2];
    char text[64];
    (void)state;
    open_pipe(gate);
    start(3);
    (void)snprintf(text, sizeof text, "wait %d|one|raise two", gate[0]);
    call(1, text);
    unsigned seen = 0;
    for (int i = 0; i < 2; i++) {
        uint32_t rank;
        exl_rank_answer_t answer = next_answer(&rank);
        assert_int_equal(answer.raised, rank == 2);
        exl_payload_unref(answer.payload);
        seen |= 1U << rank;
    }
    assert_int_equal(seen, 6);
    uint32_t rank;
    exl_rank_answer_t answer;
    assert_int_equal(exl_rank_group_answer(group, 1, &rank, &answer, &err), 0);
    exl_test_write(gate[1], ".", 1);
    (void)snprintf(text, sizeof text, "wait %d", gate[0]);
    assert_int_equal(expect_answer(false, text), 0);
    exl_rank_group_end(group);
    close_pipe(gate);
}

static void large_answers_come_whole(void **state)
{
    enum { SIZE = 3 << 20 };
    (void)state;
    start(2);
    call(1, "big 3145728");
    for (int i = 0; i < 2; i++) {
        uint32_t rank;
        exl_rank_answer_t answer = next_answer(&rank);
        exl_payload_view_t view;
        assert_int_equal(exl_payload_map(answer.payload), 0);
        assert_int_equal(exl_payload_view(answer.payload, &view), 0);
        assert_int_equal(view.body_size, SIZE);
        assert_int_equal(view.body[0], 'a' + rank);
        assert_int_equal(view.body[SIZE - 1], 'a' + rank);
        exl_payload_unref(answer.payload);
    }
    exl_rank_group_end(group);
}

static void a_rank_that_exits_in_a_call(void **state)
{
    (void)state;
    start(2);
    call(1, "pause|exit 4");
    expect_lost("MPI rank 1 of 2");
}

static void a_rank_that_is_killed_in_a_call(void **state)
{
    (void)state;
    start(3);
    call(1, "pause|signal 9|pause");
    expect_lost("MPI rank 1 of 3");
}

static void a_rank_that_sends_garbage(void **state)
{
    (void)state;
    start(2);
    call(1, "garbage|pause");
    expect_lost("MPI rank 0 sent is not ours");
}

static void a_rank_that_answers_with_something_else(void **state)
{
    (void)state;
    start(2);
    call(1, "pause|ready");
    expect_lost("MPI rank 1 sent something else than an answer");
}

static void the_launcher_is_killed(void **state)
{
    (void)state;
    start(2);
    call(1, "launcher 9|pause");
    expect_lost("the MPI launcher was killed by signal 9");
}

static void an_answer_given_before_the_end_counts(void **state)
{
    int fd[2];
    char text[64], byte;
    pid_t pid;
    (void)state;
    open_pipe(fd);
    start(2);
    (void)snprintf(text, sizeof text, "word|pid %d", fd[1]);
    call(1, text);
    expect_any_answers(2);
    exl_test_read(fd[0], &pid, sizeof pid);
    (void)snprintf(text, sizeof text, "told %d|pause", fd[1]);
    call(2, text);
    exl_test_read(fd[0], &byte, 1);
    assert_int_equal(kill(pid, SIGKILL), 0);
    assert_true(exl_test_process_ends(pid));
    (void)snprintf(text, sizeof text, "told %d", fd[1]);
    assert_int_equal(expect_answer(false, text), 0);
    expect_lost("MPI rank 1 of 2");
    close_pipe(fd);
}

static void waiting_for_the_engine_hears_of_a_rank(void **state)
{
    int engine[2];
    (void)state;
    open_pipe(engine);
    start(2);
    exl_test_write(engine[1], ".", 1);
    assert_int_equal(exl_rank_group_wait(group, engine[0], &err), 0);
    char byte;
    exl_test_read(engine[0], &byte, 1);
    call(1, "pause|exit 4");
    assert_true(exl_rank_group_wait(group, engine[0], &err) < 0);
    exl_rank_group_kill(group);
    close_pipe(engine);
}

/* ---- the end ---- */

static pid_t daemon_of_rank(int fd[2])
{
    char text[64];
    pid_t pid;
    open_pipe(fd);
    start(2);
    (void)snprintf(text, sizeof text, "daemon %d|word", fd[1]);
    call(1, text);
    expect_any_answers(2);
    exl_test_read(fd[0], &pid, sizeof pid);
    close_pipe(fd);
    assert_true(exl_test_process_lives(pid));
    return pid;
}

static void what_ranks_started_is_killed(void **state)
{
    int fd[2];
    (void)state;
    pid_t pid = daemon_of_rank(fd);
    exl_rank_group_kill(group);
    assert_false(exl_test_process_lives(pid));
}

/* Without delay: the ranks have ended, and nothing that they left is waited for. */
static void what_ranks_started_ends_with_them(void **state)
{
    int fd[2];
    (void)state;
    pid_t pid = daemon_of_rank(fd);
    int64_t begun_ns = exl_clock_ns();
    exl_rank_group_end(group);
    assert_true(exl_clock_ns() - begun_ns < exl_test_time_factor() * 3 * EXL_NS_PER_S); /* and not its limit of 4 s */
    assert_false(exl_test_process_lives(pid));
}

static void an_end_that_a_rank_does_not_heed_is_enforced(void **state)
{
    (void)state;
    start(2);
    call(1, "pause|pause");
    exl_rank_group_end(group);
}

static void a_group_that_was_never_launched(void **state)
{
    (void)state;
    assert_int_equal(exl_rank_group_create(2, &group, &err), 0);
    assert_int_equal(directories(), 1);
    exl_rank_group_kill(group);
}

/* ---- the directory ---- */

static void a_directory_is_removed_with_what_it_links_to(void **state)
{
    char path[EXL_RANK_DIRECTORY_SIZE], link[128], segment[64], other[] = "/tmp/exl-test-XXXXXX";
    (void)state;
    (void)snprintf(segment, sizeof segment, "/dev/shm/mpich_shm_test_%d", (int)getpid());
    FILE *file = fopen(segment, "we");
    if (!file)
        skip();
    (void)fclose(file);
    (void)close(mkstemp(other));
    assert_int_equal(exl_rank_directory_create(path), 0);
    (void)snprintf(link, sizeof link, "%s/segment", path);
    assert_int_equal(symlink(segment, link), 0);
    (void)snprintf(link, sizeof link, "%s/other", path);
    assert_int_equal(symlink(other, link), 0);
    exl_rank_directory_sweep(getpid() + 1);
    assert_int_equal(access(segment, F_OK), 0);
    exl_rank_directory_sweep(getpid());
    assert_int_equal(access(path, F_OK), -1);
    assert_int_equal(access(segment, F_OK), -1);
    assert_int_equal(access(other, F_OK), 0); /* none of MPI's */
    (void)unlink(other);
}

#define GROUP_TEST(function) cmocka_unit_test_setup_teardown(function, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        GROUP_TEST(starts_answers_and_ends),
        GROUP_TEST(one_rank_is_a_group_too),
        GROUP_TEST(ends_without_a_call),
        GROUP_TEST(ranks_are_known_by_their_numbers),
        GROUP_TEST(numbers_twice_are_refused),
        GROUP_TEST(numbers_too_high_are_refused),
        GROUP_TEST(who_does_not_know_the_secret_is_turned_away),
        GROUP_TEST(who_says_nothing_is_turned_away),
        GROUP_TEST(another_user_is_turned_away),
        GROUP_TEST(who_stays_silent_holds_nobody_up),
        GROUP_TEST(a_rank_that_dies_while_starting),
        GROUP_TEST(a_rank_that_cannot_set_itself_up),
        GROUP_TEST(a_rank_that_says_something_else),
        GROUP_TEST(fewer_ranks_than_asked_for),
        GROUP_TEST(a_launcher_that_starts_nobody),
        GROUP_TEST(a_launcher_that_is_not_there),
        GROUP_TEST(answers_come_in_any_order),
        GROUP_TEST(large_answers_come_whole),
        GROUP_TEST(a_rank_that_exits_in_a_call),
        GROUP_TEST(a_rank_that_is_killed_in_a_call),
        GROUP_TEST(a_rank_that_sends_garbage),
        GROUP_TEST(a_rank_that_answers_with_something_else),
        GROUP_TEST(the_launcher_is_killed),
        GROUP_TEST(an_answer_given_before_the_end_counts),
        GROUP_TEST(waiting_for_the_engine_hears_of_a_rank),
        GROUP_TEST(what_ranks_started_is_killed),
        GROUP_TEST(what_ranks_started_ends_with_them),
        GROUP_TEST(an_end_that_a_rank_does_not_heed_is_enforced),
        GROUP_TEST(a_group_that_was_never_launched),
        GROUP_TEST(a_directory_is_removed_with_what_it_links_to),
    };
    return EXL_RUN(tests);
}
