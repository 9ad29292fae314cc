/* test_zygote_server.c: a zygote in a process of its own, asked by an engine that this test plays. */
#include "node/zygote_server.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/error.h"
#include "support.h"
#include "wire/channel.h"

/* ---- the zygote's process ---- */

static struct hook_counts {
    int before, in_parent, in_child, preload;
} hook_counts;

static void count_before(void)
{
    hook_counts.before++;
}

/* Where the zygote says that it has forked, and waits to be killed, if the test is to find it there. */
static int between = -1;

static void count_in_parent(void)
{
    hook_counts.in_parent++;
    if (between < 0)
        return;
    (void)!write(between, "", 1);
    (void)alarm(EXL_TEST_LIMIT_S);
    (void)pause();
}

static void count_in_child(void)
{
    hook_counts.in_child++;
}

static void count_preload(void)
{
    hook_counts.preload++;
}

static const exl_fork_hooks_t hooks = {count_before, count_in_parent, count_in_child, count_preload};

struct report {
    pid_t pid, parent, session;
    struct hook_counts hooks;
    int claim_fd;
    bool sigchld_blocked;
};

static void send_report(const exl_role_t *role)
{
    struct report report = {
        .pid = getpid(), .parent = getppid(), .session = getsid(0), .hooks = hook_counts, .claim_fd = role->claim_fd};
    sigset_t blocked;
    (void)sigprocmask(SIG_SETMASK, NULL, &blocked);
    report.sigchld_blocked = sigismember(&blocked, SIGCHLD);
    (void)!write(role->channel_fd, &report, sizeof report);
}

/* A process that outlives its parent unless somebody kills it: a daemon, as far as the worker can tell. */
static void start_daemon(int channel_fd)
{
    if (fork() != 0)
        return;
    (void)setsid();
    if (fork() != 0)
        _exit(0);
    pid_t pid = getpid();
    (void)!write(channel_fd, &pid, sizeof pid);
    for (;;)
        (void)pause();
}

/* Ignores SIGTERM, or writes a byte when it comes and lives on. */
static void start_child(int channel_fd, bool deaf)
{
    sigset_t set;
    int number;
    (void)sigemptyset(&set);
    (void)sigaddset(&set, SIGTERM);
    (void)sigprocmask(SIG_BLOCK, &set, NULL);
    if (fork() != 0) {
        (void)sigprocmask(SIG_UNBLOCK, &set, NULL);
        return;
    }
    pid_t pid = getpid();
    (void)!write(channel_fd, &pid, sizeof pid);
    if (!deaf) {
        (void)sigwait(&set, &number);
        (void)!write(channel_fd, "T", 1);
    }
    for (;;)
        (void)pause();
}

static volatile sig_atomic_t nterms;

static void count_term(int number)
{
    nterms++;
}

/* Does what each byte from the test says. */
static int worker_main(const exl_role_t *role)
{
    char command;
    while (read(role->channel_fd, &command, 1) == 1) {
        if (command == 'r')
            send_report(role);
        else if (command == 'd')
            start_daemon(role->channel_fd);
        else if (command == 'c' || command == 'i')
            start_child(role->channel_fd, command == 'i');
        else if (command == 's')
            (void)signal(SIGTERM, SIG_IGN);
        else if (command == 'n')
            (void)signal(SIGTERM, count_term);
        else if (command == 't')
            (void)!write(role->channel_fd, &(char){(char)nterms}, 1);
        else if (command == 'e')
            (void)!write(STDERR_FILENO, "err", 3);
        else
            return command - '0';
    }
    return 99;
}

static int zygote_main(int control_fd, pid_t driver)
{
    exl_role_t role = {.kind = EXL_ROLE_ENDED};
    exl_channel_t control;
    exl_channel_init(&control, control_fd);
    int rc = exl_zygote_serve(&control, driver, &hooks, &role);
    if (rc < 0)
        return 100;
    if (role.kind == EXL_ROLE_ENDED)
        return 0;
    if (role.kind == EXL_ROLE_WORKER || role.kind == EXL_ROLE_HEAD)
        return worker_main(&role);
    exl_payload_unref(role.payload);
    return zygote_main(role.channel_fd, driver);
}

/* ---- the test's side ---- */

static exl_channel_t control;
static pid_t zygote;

static int start_zygote(void)
{
    int pair[2];
    pid_t driver = getpid();
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0 || (zygote = fork()) < 0)
        return -1;
    if (zygote == 0) {
        (void)alarm(0);
        (void)close(pair[0]);
        _exit(zygote_main(pair[1], driver));
    }
    (void)close(pair[1]);
    exl_channel_init(&control, pair[0]);
    return 0;
}

static int begin(void **state)
{
    return exl_test_begin(state) | start_zygote();
}

static int end(void **state)
{
    exl_channel_fini(&control);
    int status = 0;
    bool clean = !zygote || (waitpid(zygote, &status, 0) == zygote && status == 0);
    if (!clean)
        print_error("the zygote ended with status %d\n", status);
    return exl_test_end(state) | (clean ? 0 : -1);
}

static exl_frame_t receive_from(exl_channel_t *channel)
{
    exl_message_t message;
    assert_int_equal(exl_channel_receive(channel, &message), 1);
    exl_frame_t frame = message.frame;
    exl_message_fini(&message);
    return frame;
}

static exl_frame_t expect_from(exl_channel_t *channel, uint8_t type, uint64_t id)
{
    exl_frame_t frame = receive_from(channel);
    if (frame.type != type)
        fail_msg("got %s instead of %s", exl_frame_type_to_string(frame.type), exl_frame_type_to_string(type));
    assert_int_equal(frame.id, id);
    return frame;
}

static exl_frame_t expect(uint8_t type, uint64_t id)
{
    return expect_from(&control, type, id);
}

static void request(exl_frame_t frame, const int *fds, unsigned nfds)
{
    assert_int_equal(exl_channel_queue(&control, frame, NULL, fds, nfds, true), 0);
    assert_int_equal(exl_channel_flush(&control), 0);
}

typedef struct worker {
    uint64_t id;
    pid_t pid;
    int channel_fd, stderr_fd;
} worker_t;

static worker_t ask_for_worker(exl_channel_t *channel, uint64_t id, uint32_t arg, bool with_claim)
{
    int pair[2], err[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    assert_int_equal(pipe2(err, O_CLOEXEC), 0);
    int fds[] = {pair[1], err[1], with_claim ? fcntl(pair[1], F_DUPFD_CLOEXEC, 3) : -1};
    exl_frame_t frame = {.type = EXL_FRAME_FORK, .id = id, .arg = arg};
    assert_int_equal(exl_channel_queue(channel, frame, NULL, fds, with_claim ? 3 : 2, true), 0);
    assert_int_equal(exl_channel_flush(channel), 0);
    return (worker_t){.id = id, .channel_fd = pair[0], .stderr_fd = err[0]};
}

static worker_t fork_through(exl_channel_t *channel, uint64_t id, uint32_t arg, bool with_claim)
{
    worker_t worker = ask_for_worker(channel, id, arg, with_claim);
    worker.pid = (pid_t)expect_from(channel, EXL_FRAME_FORKED, id).arg;
    return worker;
}

static worker_t fork_worker(uint64_t id)
{
    return fork_through(&control, id, 0, false);
}

static void forget(const worker_t *worker)
{
    (void)close(worker->channel_fd);
    (void)close(worker->stderr_fd);
}

static void command(const worker_t *worker, char byte)
{
    exl_test_write(worker->channel_fd, &byte, 1);
}

static struct report report_of(const worker_t *worker)
{
    struct report report;
    command(worker, 'r');
    exl_test_read(worker->channel_fd, &report, sizeof report);
    return report;
}

static pid_t daemon_of(const worker_t *worker)
{
    pid_t pid;
    command(worker, 'd');
    exl_test_read(worker->channel_fd, &pid, sizeof pid);
    assert_true(exl_test_process_lives(pid));
    return pid;
}

static int count_fds(pid_t pid)
{
    char path[64];
    int count = 0;
    (void)snprintf(path, sizeof path, "/proc/%d/fd", (int)pid);
    DIR *directory = opendir(path);
    assert_non_null(directory);
    while (readdir(directory))
        count++;
    (void)closedir(directory);
    return count;
}

static void says_when_it_is_online(void **state)
{
    (void)expect(EXL_FRAME_ONLINE, 0);
}

static void forks_and_reports_the_exit_status(void **state)
{
    (void)expect(EXL_FRAME_ONLINE, 0);
    worker_t worker = fork_worker(2);
    struct report report = report_of(&worker);
    assert_int_equal(report.pid, worker.pid);
    assert_int_equal(report.parent, zygote);
    assert_int_equal(report.session, worker.pid);
    assert_int_equal(report.claim_fd, -1);
    assert_false(report.sigchld_blocked);
    command(&worker, '7');
    int status = (int)expect(EXL_FRAME_EXITED, 2).arg;
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 7);
    forget(&worker);
}

static void workers_get_their_own_stderr(void **state)
{
    char text[3];
    (void)expect(EXL_FRAME_ONLINE, 0);
    worker_t a = fork_worker(2), b = fork_worker(4);
    command(&b, 'e');
    exl_test_read(b.stderr_fd, text, 3);
    assert_memory_equal(text, "err", 3);
    forget(&b);
    (void)expect(EXL_FRAME_EXITED, 4);
    command(&a, '0');
    (void)expect(EXL_FRAME_EXITED, 2);
    assert_int_equal(read(a.stderr_fd, text, 3), 0);
    forget(&a);
}

static void a_worker_does_not_hold_another_ones_channel(void **state)
{
    (void)expect(EXL_FRAME_ONLINE, 0);
    worker_t first = fork_worker(2), second = fork_worker(4);
    (void)report_of(&second);
    forget(&first);
    int status = (int)expect(EXL_FRAME_EXITED, 2).arg;
    assert_int_equal(WEXITSTATUS(status), 99);
    forget(&second);
    (void)expect(EXL_FRAME_EXITED, 4);
}

static void persistent_workers_get_a_claim_page(void **state)
{
    (void)expect(EXL_FRAME_ONLINE, 0);
    worker_t worker = fork_through(&control, 2, 0, true);
    assert_true(report_of(&worker).claim_fd > STDERR_FILENO);
    command(&worker, '0');
    (void)expect(EXL_FRAME_EXITED, 2);
    forget(&worker);
}

static void runs_the_hooks_around_a_fork(void **state)
{
    const uint32_t arguments[] = {0, EXL_FORK_PRELOADED, EXL_FORK_PRELOADED, 0};
    (void)expect(EXL_FRAME_ONLINE, 0);
    for (int i = 0; i < 4; i++) {
        uint64_t id = 2 * (uint64_t)i + 2;
        worker_t worker = fork_through(&control, id, arguments[i], false);
        struct report report = report_of(&worker);
        assert_int_equal(report.hooks.before, i + 1);
        assert_int_equal(report.hooks.in_parent, i);
        assert_int_equal(report.hooks.in_child, 1);
        assert_int_equal(report.hooks.preload, i > 0); /* once, when first asked for */
        forget(&worker);
        (void)expect(EXL_FRAME_EXITED, id);
    }
}

static void kills_on_request(void **state)
{
    (void)expect(EXL_FRAME_ONLINE, 0);
    worker_t worker = fork_worker(2);
    pid_t daemon = daemon_of(&worker);
    request((exl_frame_t){.type = EXL_FRAME_KILL, .id = 2, .arg = SIGKILL}, NULL, 0);
    int status = (int)expect(EXL_FRAME_EXITED, 2).arg;
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), SIGKILL);
    assert_true(exl_test_process_ends(daemon));
    forget(&worker);
}

static pid_t child_of(const worker_t *worker, char kind)
{
    pid_t pid;
    command(worker, kind);
    exl_test_read(worker->channel_fd, &pid, sizeof pid);
    return pid;
}

static void terminate(uint64_t id, uint32_t grace_ms)
{
    request((exl_frame_t){.type = EXL_FRAME_TERMINATE, .id = id, .arg = grace_ms}, NULL, 0);
}

enum { LONG_MS = 600000 };

static void terminates_what_obeys_without_waiting(void **state)
{
    (void)expect(EXL_FRAME_ONLINE, 0);
    worker_t worker = fork_worker(2);
    pid_t daemon = daemon_of(&worker);
    terminate(2, LONG_MS);
    assert_int_equal(WTERMSIG((int)expect(EXL_FRAME_EXITED, 2).arg), SIGTERM);
    assert_false(exl_test_process_lives(daemon));
    forget(&worker);
}

static void tells_a_head_and_its_ranks_once_each(void **state)
{
    enum { RANKS = 20 };
    char count, bytes[RANKS];
    (void)expect(EXL_FRAME_ONLINE, 0);
    worker_t head = fork_through(&control, 2, EXL_FORK_HEAD, false);
    for (int i = 0; i < RANKS; i++)
        (void)child_of(&head, 'c');
    command(&head, 'n');
    (void)report_of(&head);
    terminate(2, LONG_MS);
    exl_test_read(head.channel_fd, bytes, RANKS);
    assert_memory_equal(bytes, "TTTTTTTTTTTTTTTTTTTT", RANKS);
    worker_t other = fork_worker(4); /* by then all signals have been sent */
    command(&head, 't');
    exl_test_read(head.channel_fd, &count, 1);
    assert_int_equal(count, 1);
    request((exl_frame_t){.type = EXL_FRAME_KILL, .id = 2, .arg = SIGKILL}, NULL, 0);
    (void)expect(EXL_FRAME_EXITED, 2);
    command(&other, '0');
    (void)expect(EXL_FRAME_EXITED, 4);
    forget(&head);
    forget(&other);
}

static void kills_what_resists_when_its_time_is_over(void **state)
{
    (void)expect(EXL_FRAME_ONLINE, 0);
    for (uint64_t id = 2; id < 10; id += 2) {
        worker_t worker = fork_worker(id);
        pid_t child = child_of(&worker, 'i'), daemon = daemon_of(&worker);
        if (id % 4 == 0)
            command(&worker, 's'); /* the worker itself resists too */
        (void)report_of(&worker);
        int64_t begun_ns = exl_clock_ns();
        terminate(id, 30);
        int status = (int)expect(EXL_FRAME_EXITED, id).arg;
        assert_int_equal(WTERMSIG(status), id % 4 == 0 ? SIGKILL : SIGTERM);
        assert_true(exl_clock_ns() - begun_ns >= 30 * EXL_NS_PER_MS);
        assert_false(exl_test_process_lives(child));
        assert_false(exl_test_process_lives(daemon));
        forget(&worker);
    }
}

/* What one leaves behind has time; what others leave behind has none. */
static void orphans_have_their_own_workers_time(void **state)
{
    char byte;
    (void)expect(EXL_FRAME_ONLINE, 0);
    worker_t patient = fork_worker(2), other = fork_worker(4), hasty = fork_worker(6);
    pid_t tidy = child_of(&patient, 'c'), daemon = daemon_of(&other), stubborn = child_of(&hasty, 'i');
    terminate(2, LONG_MS);
    exl_test_read(patient.channel_fd, &byte, 1);
    assert_true(exl_test_process_ends(patient.pid));
    command(&other, '0');
    (void)expect(EXL_FRAME_EXITED, 4);
    assert_true(exl_test_process_ends(daemon));
    terminate(6, 0);
    (void)expect(EXL_FRAME_EXITED, 6);
    assert_true(exl_test_process_ends(stubborn));
    assert_true(exl_test_process_lives(tidy));
    assert_int_equal(kill(tidy, SIGKILL), 0);
    (void)expect(EXL_FRAME_EXITED, 2);
    forget(&patient);
    forget(&other);
    forget(&hasty);
}

static void a_kill_cuts_the_grace_time_short(void **state)
{
    char byte;
    (void)expect(EXL_FRAME_ONLINE, 0);
    worker_t worker = fork_worker(2);
    pid_t child = child_of(&worker, 'c');
    terminate(2, LONG_MS);
    exl_test_read(worker.channel_fd, &byte, 1);
    terminate(2, 0); /* only the first one counts */
    assert_true(exl_test_process_ends(worker.pid));
    assert_true(exl_test_process_lives(child));
    request((exl_frame_t){.type = EXL_FRAME_KILL, .id = 2, .arg = SIGKILL}, NULL, 0);
    assert_int_equal(WTERMSIG((int)expect(EXL_FRAME_EXITED, 2).arg), SIGTERM);
    assert_false(exl_test_process_lives(child));
    forget(&worker);
    terminate(2, 0);
    terminate(8, 0); /* nobody */
}

static void workers_are_forked_within_anothers_grace_time(void **state)
{
    char byte;
    (void)expect(EXL_FRAME_ONLINE, 0);
    worker_t worker = fork_worker(2);
    pid_t child = child_of(&worker, 'c');
    terminate(2, LONG_MS);
    exl_test_read(worker.channel_fd, &byte, 1);
    worker_t next = fork_worker(4);
    pid_t daemon = daemon_of(&next);
    command(&next, '3');
    assert_int_equal(WEXITSTATUS((int)expect(EXL_FRAME_EXITED, 4).arg), 3);
    assert_true(exl_test_process_ends(daemon));
    assert_true(exl_test_process_lives(child));
    exl_channel_fini(&control); /* the end of everything */
    assert_true(exl_test_process_ends(child));
    forget(&worker);
    forget(&next);
}

static void killing_nobody_is_no_error(void **state)
{
    (void)expect(EXL_FRAME_ONLINE, 0);
    request((exl_frame_t){.type = EXL_FRAME_KILL, .id = 8, .arg = SIGKILL}, NULL, 0);
    worker_t worker = fork_worker(2);
    command(&worker, '0');
    (void)expect(EXL_FRAME_EXITED, 2);
    forget(&worker);
    request((exl_frame_t){.type = EXL_FRAME_KILL, .id = 2, .arg = SIGKILL}, NULL, 0);
}

static void what_a_worker_leaves_behind_is_killed(void **state)
{
    (void)expect(EXL_FRAME_ONLINE, 0);
    worker_t worker = fork_worker(2), other = fork_worker(4);
    pid_t daemon = daemon_of(&worker), others = daemon_of(&other);
    command(&worker, '0');
    (void)expect(EXL_FRAME_EXITED, 2);
    assert_true(exl_test_process_ends(daemon));
    assert_true(exl_test_process_lives(others));
    (void)report_of(&other);
    command(&other, '0');
    (void)expect(EXL_FRAME_EXITED, 4);
    assert_true(exl_test_process_ends(others));
    forget(&worker);
    forget(&other);
}

static void odd_requests_leave_no_descriptor_open(void **state)
{
    (void)expect(EXL_FRAME_ONLINE, 0);
    worker_t worker = fork_worker(2);
    command(&worker, '0');
    (void)expect(EXL_FRAME_EXITED, 2);
    forget(&worker);
    int before = count_fds(zygote);
    for (int i = 0; i < 20; i++) {
        /* Too few descriptors, no modules, and what no driver says. */
        request((exl_frame_t){.type = EXL_FRAME_FORK, .id = 6}, (const int[]){dup(STDERR_FILENO)}, 1);
        request((exl_frame_t){.type = EXL_FRAME_TEMPLATE, .id = 7}, (const int[]){dup(STDERR_FILENO)}, 1);
        request((exl_frame_t){.type = EXL_FRAME_RESULT, .id = 8}, (const int[]){dup(STDERR_FILENO)}, 1);
    }
    worker = fork_worker(10); /* handled after all the others */
    command(&worker, '0');
    (void)expect(EXL_FRAME_EXITED, 10);
    forget(&worker);
    assert_int_equal(count_fds(zygote), before);
}

static void the_end_of_the_control_channel_ends_everything(void **state)
{
    (void)expect(EXL_FRAME_ONLINE, 0);
    worker_t workers[5];
    pid_t daemons[5];
    for (uint64_t i = 0; i < 5; i++) {
        workers[i] = fork_worker(2 * i + 2);
        daemons[i] = daemon_of(&workers[i]);
    }
    exl_channel_fini(&control);
    int status;
    assert_int_equal(waitpid(zygote, &status, 0), zygote);
    zygote = 0;
    assert_int_equal(status, 0);
    /* It went last. */
    for (int i = 0; i < 5; i++) {
        assert_false(exl_test_process_lives(workers[i].pid));
        assert_false(exl_test_process_lives(daemons[i]));
        forget(&workers[i]);
    }
}

static void nonsense_on_the_control_channel_ends_everything(void **state)
{
    (void)expect(EXL_FRAME_ONLINE, 0);
    worker_t worker = fork_worker(2);
    exl_test_write(control.fd, "this is not a frame of any kind, is it", 38);
    int status;
    assert_int_equal(waitpid(zygote, &status, 0), zygote);
    zygote = 0;
    assert_int_equal(WEXITSTATUS(status), 100);
    assert_false(exl_test_process_lives(worker.pid));
    forget(&worker);
}

/* The channel may stay open in a process that the driver forked: only the driver itself counts. */
static void the_drivers_death_ends_everything(void **state)
{
    int pair[2], gate[2];
    assert_int_equal(pipe(gate), 0);
    pid_t driver = fork();
    if (driver == 0) {
        char byte;
        (void)close(gate[1]);
        _exit((int)read(gate[0], &byte, 1));
    }
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    pid_t orphaned = fork();
    if (orphaned == 0) {
        (void)close(gate[1]);
        (void)close(pair[0]);
        _exit(zygote_main(pair[1], driver));
    }
    exl_channel_t channel;
    exl_channel_init(&channel, pair[0]);
    (void)close(pair[1]);
    (void)expect_from(&channel, EXL_FRAME_ONLINE, 0);
    worker_t worker = fork_through(&channel, 2, 0, false);
    pid_t daemon = daemon_of(&worker);
    (void)close(gate[0]);
    (void)close(gate[1]);
    int status;
    assert_int_equal(waitpid(orphaned, &status, 0), orphaned);
    assert_int_equal(status, 0);
    assert_false(exl_test_process_lives(worker.pid));
    assert_false(exl_test_process_lives(daemon));
    assert_int_equal(waitpid(driver, NULL, 0), driver);
    forget(&worker);
    exl_channel_fini(&channel);
}

static void a_driver_that_is_gone_already_is_noticed(void **state)
{
    int pair[2];
    pid_t driver = fork();
    if (driver == 0)
        _exit(0);
    assert_int_equal(waitpid(driver, NULL, 0), driver);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    pid_t orphaned = fork();
    if (orphaned == 0) {
        (void)close(pair[0]);
        _exit(zygote_main(pair[1], driver));
    }
    int status;
    assert_int_equal(waitpid(orphaned, &status, 0), orphaned);
    assert_int_equal(status, 0);
    (void)close(pair[0]);
    (void)close(pair[1]);
}

/* Or else it would begin once more, on another zygote. */
static void a_worker_does_nothing_that_its_zygote_has_not_announced(void **state)
{
    int door[2];
    char byte;
    assert_int_equal(pipe2(door, O_CLOEXEC), 0);
    between = door[1];
    assert_int_equal(start_zygote(), 0);
    between = -1;
    (void)expect(EXL_FRAME_ONLINE, 0);
    worker_t worker = ask_for_worker(&control, 2, 0, false);
    command(&worker, 'r');
    exl_test_read(door[0], &byte, 1);
    struct pollfd report = {.fd = worker.channel_fd, .events = POLLIN};
    assert_int_equal(poll(&report, 1, 100), 0);
    assert_int_equal(kill(zygote, SIGKILL), 0);
    assert_int_equal(waitpid(zygote, NULL, 0), zygote);
    zygote = 0;
    /* Closed, without the report: with a command unread, as a reset. */
    assert_true(read(worker.channel_fd, &byte, 1) <= 0);
    forget(&worker);
    (void)close(door[0]);
    (void)close(door[1]);
}

/* Killed itself, a zygote takes its workers along; their daemons are the driver's to find by the marker. */
static void workers_die_with_the_zygote(void **state)
{
    (void)prctl(PR_SET_CHILD_SUBREAPER, 1);
    (void)expect(EXL_FRAME_ONLINE, 0);
    worker_t worker = fork_worker(2);
    (void)report_of(&worker);
    assert_int_equal(kill(zygote, SIGKILL), 0);
    assert_int_equal(waitpid(zygote, NULL, 0), zygote);
    zygote = 0;
    int status;
    assert_int_equal(waitpid(worker.pid, &status, 0), worker.pid);
    assert_int_equal(WTERMSIG(status), SIGKILL);
    (void)prctl(PR_SET_CHILD_SUBREAPER, 0);
    forget(&worker);
}

static void a_template_serves_as_a_zygote(void **state)
{
    int pair[2];
    exl_channel_t channel;
    (void)expect(EXL_FRAME_ONLINE, 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    exl_channel_init(&channel, pair[0]);
    exl_payload_t *modules = exl_test_payload("modules");
    exl_frame_t frame = {.type = EXL_FRAME_TEMPLATE, .id = 3};
    assert_int_equal(exl_channel_queue(&control, frame, modules, &pair[1], 1, true), 0);
    exl_payload_unref(modules);
    assert_int_equal(exl_channel_flush(&control), 0);
    pid_t template = (pid_t)expect(EXL_FRAME_FORKED, 3).arg;
    (void)expect_from(&channel, EXL_FRAME_ONLINE, 0);
    worker_t worker = fork_through(&channel, 2, 0, false);
    assert_int_equal(report_of(&worker).parent, template);
    pid_t daemon = daemon_of(&worker);
    command(&worker, '5');
    assert_int_equal(WEXITSTATUS((int)expect_from(&channel, EXL_FRAME_EXITED, 2).arg), 5);
    assert_true(exl_test_process_ends(daemon));
    exl_channel_fini(&channel);
    assert_int_equal(expect(EXL_FRAME_EXITED, 3).arg, 0);
    forget(&worker);
}

#define ZYGOTE_TEST(function) cmocka_unit_test_setup_teardown(function, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        ZYGOTE_TEST(says_when_it_is_online),
        ZYGOTE_TEST(forks_and_reports_the_exit_status),
        ZYGOTE_TEST(workers_get_their_own_stderr),
        ZYGOTE_TEST(a_worker_does_not_hold_another_ones_channel),
        ZYGOTE_TEST(persistent_workers_get_a_claim_page),
        ZYGOTE_TEST(runs_the_hooks_around_a_fork),
        ZYGOTE_TEST(kills_on_request),
        ZYGOTE_TEST(terminates_what_obeys_without_waiting),
        ZYGOTE_TEST(tells_a_head_and_its_ranks_once_each),
        ZYGOTE_TEST(kills_what_resists_when_its_time_is_over),
        ZYGOTE_TEST(orphans_have_their_own_workers_time),
        ZYGOTE_TEST(a_kill_cuts_the_grace_time_short),
        ZYGOTE_TEST(workers_are_forked_within_anothers_grace_time),
        ZYGOTE_TEST(killing_nobody_is_no_error),
        ZYGOTE_TEST(what_a_worker_leaves_behind_is_killed),
        ZYGOTE_TEST(odd_requests_leave_no_descriptor_open),
        ZYGOTE_TEST(the_end_of_the_control_channel_ends_everything),
        ZYGOTE_TEST(nonsense_on_the_control_channel_ends_everything),
        ZYGOTE_TEST(the_drivers_death_ends_everything),
        ZYGOTE_TEST(a_driver_that_is_gone_already_is_noticed),
        cmocka_unit_test_setup_teardown(a_worker_does_nothing_that_its_zygote_has_not_announced, exl_test_begin, end),
        ZYGOTE_TEST(workers_die_with_the_zygote),
        ZYGOTE_TEST(a_template_serves_as_a_zygote),
    };
    return EXL_RUN(tests);
}
