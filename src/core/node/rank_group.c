/* rank_group.c: see rank_group.h. */
#include "node/rank_group.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/random.h"
#include "launch/pace.h"
#include "launch/spawn.h"
#include "node/descendants.h"
#include "node/gate.h"
#include "node/pmi_host.h"
#include "node/rank_directory.h"

enum { STEP_END_MS = 3000, START_LIMIT_S = 300, HELLO_LIMIT_MS = 1000, NEWS_GRACE_MS = 300, END_LIMIT_MS = 4000 };

struct rank {
    exl_channel_t channel;
    pid_t pid;
    bool ready;
    bool ended;      /* a child of this process that was waited for */
    int wait_status; /* … and how it ended */
    uint32_t number; /* MPI's, once it has joined */
    char place[96];  /* node and step, once it has joined a step; or "" */
};

struct exl_rank_group {
    uint32_t size, connected, nready;
    uint32_t nchildren; /* ranks that this process forked and has not waited for */
    bool joined;        /* MPI has started in a rank */
    bool aborted;       /* by a rank: MPI_Abort may return, and what ranks answer after it means nothing */
    struct rank *ranks; /* owned; in the order of connection until all are ready, then by rank */
    struct pollfd *fds; /* owned; those of wait_once() */
    char directory[EXL_RANK_DIRECTORY_SIZE], address[64 + EXL_TICKET_PATH_MAX];
    char ticket[EXL_TICKET_PATH_MAX]; /* a file; "": there is none */
    const exl_rank_step_t *step;      /* borrowed, or NULL */
    char session[128], segments[128]; /* variables that tell Open MPI where to keep its files */
    char **environment;               /* owned; the strings are not */
    uint8_t secret[EXL_SECRET_SIZE];
    int listener, signal_fd;
    exl_pmi_host_t *host; /* owned; NULL where a launcher has started the ranks */
    int lost;         /* the error, once a rank or the launcher has gone in a call: answers that came before go first */
    exl_error_t loss; /* … and its text */
    pid_t launcher;   /* 0: not started, or waited for */
    bool terminated; /* by SIGTERM, like everything that was started: whoever sent it also ends what does not heed it */
};

/* ---- the door ---- */

static struct sockaddr_un socket_address(const exl_rank_group_t *group)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    (void)snprintf(address.sun_path, sizeof address.sun_path, "%s/ranks", group->directory);
    return address;
}

static void close_door(exl_rank_group_t *group)
{
    if (group->listener < 0)
        return;
    struct sockaddr_un address = socket_address(group);
    (void)close(group->listener);
    (void)unlink(address.sun_path);
    if (group->ticket[0])
        (void)unlink(group->ticket);
    group->listener = -1;
}

static int open_door(exl_rank_group_t *group)
{
    int rc = exl_random(group->secret, sizeof group->secret);
    if (rc < 0)
        return rc;
    struct sockaddr_un address = socket_address(group);
    group->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (group->listener < 0 || bind(group->listener, (struct sockaddr *)&address, sizeof address) < 0 ||
        listen(group->listener, (int)group->size) < 0)
        return -errno;
    int length = snprintf(group->address, sizeof group->address, EXL_RANKS_VARIABLE "=%s:", address.sun_path);
    for (size_t i = 0; i < sizeof group->secret; i++)
        length += snprintf(group->address + length, sizeof group->address - (size_t)length, "%02x", group->secret[i]);
    return 0;
}

/* For ranks on other hosts: what connects them with the socket, and how they find it. */
static int open_gate(exl_rank_group_t *group, exl_error_t *err)
{
    exl_ticket_t ticket = {0};
    char link[2 * EXL_RANK_DIRECTORY_SIZE];
    struct sockaddr_un address = socket_address(group);
    pid_t gate;
    if (strlen(group->step->addresses) > EXL_TICKET_ADDRESSES_MAX)
        return exl_error_set(err, -ENAMETOOLONG, "this host has too many addresses");
    memcpy(ticket.addresses, group->step->addresses, strlen(group->step->addresses));
    memcpy(ticket.secret, group->secret, sizeof ticket.secret);
    int rc = exl_gate_open(address.sun_path, &ticket, &gate, err);
    if (rc == 0)
        rc = exl_ticket_write(&ticket, group->step->directory, group->ticket, err);
    exl_ticket_wipe(&ticket);
    if (rc < 0)
        return rc;
    (void)snprintf(group->address, sizeof group->address, EXL_RANKS_VARIABLE "=@%s", group->ticket);
    (void)snprintf(link, sizeof link, "%s/ticket", group->directory);
    (void)!symlink(group->ticket, link); /* so that it goes with the directory */
    return 0;
}

static bool knows_secret(const exl_rank_group_t *group, const exl_message_t *message)
{
    exl_payload_view_t view;
    if (message->frame.type != EXL_FRAME_HELLO || !message->payload || !exl_payload_region(message->payload) ||
        exl_payload_view(message->payload, &view) < 0 || view.body_size != sizeof group->secret)
        return false;
    uint8_t difference = 0; /* in constant time: who guesses learns nothing from how long it took */
    for (size_t i = 0; i < sizeof group->secret; i++)
        difference |= (uint8_t)(view.body[i] ^ group->secret[i]);
    return difference == 0;
}

/* Its first message. Ranks say it at once; who does not must not hold up those behind it. */
static bool receive_hello(exl_channel_t *channel, exl_message_t *ret_message)
{
    int64_t deadline_ns = exl_clock_ns() + HELLO_LIMIT_MS * EXL_NS_PER_MS;
    for (;;) {
        struct pollfd rank = {.fd = channel->fd, .events = POLLIN};
        int rc = exl_channel_next(channel, ret_message);
        if (rc != 0)
            return rc > 0;
        int64_t left_ns = deadline_ns - exl_clock_ns();
        if (left_ns <= 0 || poll(&rank, 1, (int)(left_ns / EXL_NS_PER_MS) + 1) == 0 ||
            exl_channel_fill_now(channel) < 0)
            return false;
    }
}

/* Takes one connection, if it is a rank's. */
static int admit(exl_rank_group_t *group)
{
    struct ucred peer;
    socklen_t size = sizeof peer;
    int fd = accept4(group->listener, NULL, NULL, SOCK_CLOEXEC);
    if (fd < 0)
        return errno == EINTR || errno == ECONNABORTED ? 0 : -errno;
    exl_channel_t channel;
    exl_message_t message;
    exl_channel_init(&channel, fd);
    bool mine = getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0 && peer.uid == geteuid();
    if (mine && receive_hello(&channel, &message)) {
        mine = knows_secret(group, &message);
        exl_message_fini(&message);
    } else {
        mine = false;
    }
    if (!mine || group->connected == group->size) {
        exl_channel_fini(&channel);
        return 0;
    }
    group->ranks[group->connected++] = (struct rank){.channel = channel, .pid = peer.pid};
    return 0;
}

static void group_free(exl_rank_group_t *group)
{
    for (uint32_t i = 0; i < group->connected; i++)
        exl_channel_fini(&group->ranks[i].channel);
    close_door(group);
    if (group->host)
        exl_pmi_host_destroy(group->host);
    exl_rank_directory_remove(group->directory);
    if (group->signal_fd >= 0)
        (void)close(group->signal_fd);
    free(group->environment);
    free(group->ranks);
    free(group->fds);
    free(group);
}

/* ---- life ---- */

static int watch_children(exl_rank_group_t *group)
{
    sigset_t set;
    (void)sigemptyset(&set);
    (void)sigaddset(&set, SIGCHLD);
    (void)sigaddset(&set, SIGTERM);
    (void)sigprocmask(SIG_BLOCK, &set, NULL);
    group->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    return group->signal_fd < 0 ? -errno : 0;
}

int exl_rank_group_create(uint32_t nranks, exl_rank_group_t **ret_group, exl_error_t *err)
{
    exl_rank_group_t *group = calloc(1, sizeof *group);
    if (group) {
        group->ranks = calloc(nranks, sizeof *group->ranks);
        group->fds = calloc(2 * (size_t)nranks + 3, sizeof *group->fds);
    }
    if (!group || !group->ranks || !group->fds) {
        if (group) {
            free(group->ranks);
            free(group->fds);
        }
        free(group);
        return exl_error_set(err, -ENOMEM, "out of memory");
    }
    group->size = nranks;
    group->listener = group->signal_fd = -1;
    int rc = exl_rank_directory_create(group->directory);
    if (rc == 0)
        rc = watch_children(group);
    if (rc < 0) {
        group_free(group);
        return exl_error_set(err, rc, "cannot make a directory for MPI ranks: %s", exl_strerror(rc));
    }
    *ret_group = group;
    return 0;
}

static bool is_set(char *const *environment, const char *variable)
{
    size_t length = strcspn(variable, "=") + 1;
    for (; *environment; environment++)
        if (strncmp(*environment, variable, length) == 0)
            return true;
    return false;
}

static int make_environment(exl_rank_group_t *group, char *const *base)
{
    size_t count = 0;
    while (base[count])
        count++;
    (void)snprintf(group->session, sizeof group->session, "OMPI_MCA_orte_tmpdir_base=%s", group->directory);
    (void)snprintf(group->segments, sizeof group->segments, "OMPI_MCA_btl_vader_backing_directory=%s",
                   group->directory);
    char *added[] = {group->address, group->session, group->segments};
    group->environment = calloc(count + sizeof added / sizeof *added + 1, sizeof *group->environment);
    if (!group->environment)
        return -ENOMEM;
    memcpy(group->environment, base, count * sizeof *base);
    for (size_t i = 0; i < sizeof added / sizeof *added; i++)
        if (!is_set(base, added[i]))
            group->environment[count++] = added[i];
    return 0;
}

uint32_t exl_rank_group_size(const exl_rank_group_t *group)
{
    return group->size;
}

/* ---- the launcher, or the ranks themselves, as children ---- */

static const char *describe_status(int status, char *text, size_t size)
{
    if (WIFSIGNALED(status))
        (void)snprintf(text, size, "was killed by signal %d", WTERMSIG(status));
    else
        (void)snprintf(text, size, "exited with status %d", WEXITSTATUS(status));
    return text;
}

/* Of a rank, in full sentences. */
static int say_gone(const exl_rank_group_t *group, uint32_t rank, exl_error_t *err)
{
    const struct rank *gone = &group->ranks[rank];
    char text[64] = "ended";
    if (gone->ended)
        (void)describe_status(gone->wait_status, text, sizeof text);
    if (gone->place[0])
        return exl_error_set(err, EXL_ECLOSED, "MPI rank %u of %u, on %s, ended", gone->number, group->size,
                             gone->place);
    if (group->nready == group->size)
        return exl_error_set(err, EXL_ECLOSED, "MPI rank %u of %u, process %d, %s", rank, group->size, (int)gone->pid,
                             text);
    return exl_error_set(err, EXL_ECLOSED, "an MPI rank, process %d, %s while it was starting", (int)gone->pid, text);
}

static int note_death(exl_rank_group_t *group, pid_t pid, int status, exl_error_t *err)
{
    char text[64];
    if (pid == group->launcher) {
        group->launcher = 0;
        (void)describe_status(status, text, sizeof text);
        if (group->step && group->size > 1 && !group->joined)
            return exl_error_set(
                err, EXL_ECLOSED,
                "%s %s before MPI had started in any of %u ranks: if its messages name no other cause, "
                "try another way to start MPI, by pmi_mode",
                group->step->launcher, text, group->size);
        return exl_error_set(err, EXL_ECLOSED, "%s %s", group->step ? group->step->launcher : "the MPI launcher", text);
    }
    for (uint32_t i = 0; group->nchildren && i < group->connected; i++)
        if (pid == group->ranks[i].pid && !group->ranks[i].ended) {
            group->ranks[i].ended = true;
            group->ranks[i].wait_status = status;
            group->nchildren--;
            return say_gone(group, i, err);
        }
    return 0; /* what a rank had started and left */
}

/* Waits for what has ended. EXL_ECLOSED with its text once the launcher or a rank has. */
static int reap(exl_rank_group_t *group, exl_error_t *err)
{
    struct signalfd_siginfo info;
    int status, rc = 0;
    while (read(group->signal_fd, &info, sizeof info) > 0)
        group->terminated |= info.ssi_signo == SIGTERM;
    if (group->terminated)
        rc = exl_error_set(err, EXL_ECLOSED, "it was told to end by SIGTERM");
    for (pid_t pid; (pid = waitpid(-1, &status, WNOHANG)) > 0;) {
        exl_error_t *first = rc == 0 ? err : NULL; /* the others go because it went */
        int gone = note_death(group, pid, status, first);
        rc = rc == 0 ? gone : rc;
    }
    return rc;
}

/* Lets it end its step on all nodes, and say why that ended: killed, it would leave the ranks to themselves. */
static void end_step(exl_rank_group_t *group)
{
    int64_t deadline_ns = exl_clock_ns() + STEP_END_MS * EXL_NS_PER_MS;
    if (!group->terminated)
        (void)kill(group->launcher, SIGTERM);
    for (;;) {
        struct pollfd news = {.fd = group->signal_fd, .events = POLLIN};
        exl_error_t ignored;
        (void)reap(group, &ignored);
        int64_t left_ns = deadline_ns - exl_clock_ns();
        if (!group->launcher || left_ns <= 0)
            return;
        (void)poll(&news, 1, (int)(left_ns / EXL_NS_PER_MS) + 1);
    }
}

static void kill_all(exl_rank_group_t *group)
{
    close_door(group);
    if (group->step && group->launcher)
        end_step(group);
    for (uint32_t i = 0; i < group->connected && group->nready < group->size; i++)
        exl_rank_directory_note(group->directory, group->ranks[i].pid);
    for (;;) {
        if (!group->terminated)
            exl_descendants_signal(getpid(), SIGKILL);
        if (waitpid(-1, NULL, 0) < 0 && errno == ECHILD)
            break;
    }
}

void exl_rank_group_kill(exl_rank_group_t *group)
{
    kill_all(group);
    group_free(group);
}

/* A rank says that it has joined before it goes on to the user's code, so once all are dead it is known. */
static bool has_joined(exl_rank_group_t *group, uint32_t rank)
{
    exl_message_t message;
    bool joined = false;
    while (exl_channel_fill_now(&group->ranks[rank].channel) > 0)
        continue;
    while (exl_channel_next(&group->ranks[rank].channel, &message) > 0) {
        joined |= message.frame.type == EXL_FRAME_JOINED;
        exl_message_fini(&message);
    }
    return joined;
}

/* By a signal that no failure to start MPI comes with. */
static bool ended_from_outside(const exl_rank_group_t *group)
{
    for (uint32_t i = 0; i < group->connected; i++) {
        int status = group->ranks[i].wait_status;
        if (group->ranks[i].ended && WIFSIGNALED(status) &&
            (WTERMSIG(status) == SIGTERM || WTERMSIG(status) == SIGKILL))
            return true;
    }
    return false;
}

bool exl_rank_group_retract(exl_rank_group_t *group)
{
    bool meant = ended_from_outside(group);
    kill_all(group);
    for (uint32_t i = 0; i < group->connected; i++)
        group->joined |= has_joined(group, i);
    bool unused = !group->joined && !group->terminated && !meant;
    group_free(group);
    return unused;
}

void exl_rank_group_end(exl_rank_group_t *group)
{
    (void)exl_rank_group_send(group, (exl_frame_t){.type = EXL_FRAME_END}, NULL);
    /* The channels stay open: a rank whose channel ends before it is told to would take that for the end of its group. */
    int64_t deadline_ns = exl_clock_ns() + END_LIMIT_MS * EXL_NS_PER_MS;
    for (;;) {
        exl_error_t ignored;
        (void)reap(group, &ignored);
        int64_t left_ns = deadline_ns - exl_clock_ns();
        /* In time, unless a rank waits in MPI_Finalize for what no other is going to do. */
        if ((!group->launcher && !group->nchildren) || left_ns <= 0)
            break;
        nfds_t count = 0;
        if (group->host)
            exl_pmi_host_watch(group->host, group->fds);
        count += group->host ? group->size : 0;
        group->fds[count++] = (struct pollfd){.fd = group->signal_fd, .events = POLLIN};
        if (poll(group->fds, count, (int)(left_ns / EXL_NS_PER_MS) + 1) > 0 && group->host)
            (void)exl_pmi_host_serve(group->host, group->fds, &ignored);
    }
    exl_rank_group_kill(group); /* what the ranks started and left behind */
}

/* The end of its channel. */
static int rank_gone(exl_rank_group_t *group, uint32_t rank, exl_error_t *err)
{
    struct pollfd news = {.fd = group->signal_fd, .events = POLLIN};
    exl_error_t other = {""};
    /* Whoever started it is about to say how it ended: the kernel, or the launcher on stderr before it ends itself. */
    if (!group->ranks[rank].ended && poll(&news, 1, NEWS_GRACE_MS) > 0)
        (void)reap(group, &other);
    if (group->host && other.text[0])
        return exl_error_set(err, EXL_ECLOSED, "%s", other.text);
    int rc = say_gone(group, rank, err);
    size_t length = strlen(err->text);
    if (other.text[0] && group->nready < group->size)
        (void)snprintf(err->text + length, sizeof err->text - length, "; %s", other.text);
    return rc;
}

/* ---- waiting ---- */

/* A whole message that has arrived already, of any rank. */
static int take_message(exl_rank_group_t *group, uint32_t *ret_rank, exl_message_t *ret_message, exl_error_t *err)
{
    for (uint32_t i = 0; i < group->connected; i++) {
        int rc = exl_channel_next(&group->ranks[i].channel, ret_message);
        if (rc < 0)
            return exl_error_set(err, rc, "what MPI rank %u sent is not ours", i);
        *ret_rank = i;
        if (rc > 0)
            return 1;
    }
    return 0;
}

static int read_rank(exl_rank_group_t *group, uint32_t rank, exl_error_t *err)
{
    int rc = exl_channel_fill(&group->ranks[rank].channel);
    return rc < 0 ? rank_gone(group, rank, err) : 0;
}

/* Waits once, for any of: a connection, bytes of a rank, the end of a child, bytes on `other`, which may be -1. 1: those. */
static int wait_once(exl_rank_group_t *group, int other, int timeout_ms, exl_error_t *err)
{
    struct pollfd *fds = group->fds;
    nfds_t count = 0;
    for (; count < group->connected; count++)
        fds[count] = (struct pollfd){.fd = group->ranks[count].channel.fd, .events = POLLIN};
    uint32_t nranks = group->connected;
    struct pollfd *pmi = fds + nranks + 3;
    if (group->host)
        exl_pmi_host_watch(group->host, pmi);
    fds[count++] = (struct pollfd){.fd = group->signal_fd, .events = POLLIN};
    fds[count++] = (struct pollfd){.fd = group->listener, .events = POLLIN}; /* -1 is left out by poll() */
    fds[count++] = (struct pollfd){.fd = other, .events = POLLIN};
    int rc = poll(fds, count + (group->host ? group->size : 0), timeout_ms);
    if (rc == 0)
        return exl_error_set(err, -ETIMEDOUT, "%u of %u MPI ranks were there after %d s", group->nready, group->size,
                             START_LIMIT_S);
    if (rc < 0)
        return errno == EINTR ? 0 : -errno;
    /* A rank that calls MPI_Abort goes right after; a launcher's ranks go because it went. */
    rc = group->host ? exl_pmi_host_serve(group->host, pmi, err) : 0;
    group->aborted |= rc < 0;
    if (rc == 0 && fds[nranks].revents)
        rc = reap(group, err);
    for (uint32_t i = 0; i < nranks; i++)
        if (fds[i].revents && rc == 0)
            rc = read_rank(group, i, err);
        else if (fds[i].revents)
            (void)exl_channel_fill_now(&group->ranks[i].channel); /* what others have said before counts */
    if (rc == 0 && fds[nranks + 1].revents)
        rc = admit(group);
    return rc == 0 && fds[nranks + 2].revents ? 1 : rc;
}

/* ---- starting ---- */

static int by_rank(exl_rank_group_t *group, exl_error_t *err)
{
    struct rank *sorted = calloc(group->size, sizeof *sorted);
    int rc = sorted ? 0 : -ENOMEM;
    for (uint32_t i = 0; rc == 0 && i < group->size; i++) {
        uint32_t number = group->ranks[i].number;
        if (number >= group->size || sorted[number].pid)
            rc = EXL_EPROTOCOL;
        else
            sorted[number] = group->ranks[i];
    }
    if (rc < 0) {
        free(sorted);
        return exl_error_set(err, rc, "the MPI ranks do not number from 0 to %u", group->size - 1);
    }
    free(group->ranks);
    group->ranks = sorted;
    return 0;
}

/* Ranks of a step say where they are: what they are to this host are connections. */
static void note_place(struct rank *rank, const exl_message_t *message)
{
    exl_payload_view_t view;
    rank->number = (uint32_t)message->frame.id;
    if (message->payload && exl_payload_map(message->payload) == 0 && exl_payload_view(message->payload, &view) == 0)
        (void)snprintf(rank->place, sizeof rank->place, "%.*s", (int)view.body_size, (const char *)view.body);
}

/* Until it is this launcher's turn. */
static int keep_pace(exl_rank_group_t *group, exl_error_t *err)
{
    const exl_rank_step_t *step = group->step;
    int wait_ms =
        step && step->pace[0] ? exl_pace_take(step->pace, step->pace_ms, step->pace_burst, exl_clock_ns()) : 0;
    int64_t deadline_ns = exl_clock_ns() + wait_ms * EXL_NS_PER_MS;
    int rc = 0;
    /* Where the file cannot be used the start is not bounded; that is no reason not to start. */
    for (int64_t left_ns = deadline_ns - exl_clock_ns(); rc == 0 && left_ns > 0;
         left_ns = deadline_ns - exl_clock_ns()) {
        struct pollfd news = {.fd = group->signal_fd, .events = POLLIN};
        if (poll(&news, 1, (int)(left_ns / EXL_NS_PER_MS) + 1) > 0)
            rc = reap(group, err);
    }
    return rc;
}

void exl_rank_group_as_step(exl_rank_group_t *group, const exl_rank_step_t *step)
{
    group->step = step;
}

/* 0: all are ready. 1: one could not set itself up. */
static int await_ready(exl_rank_group_t *group, exl_payload_t **ret_exception, exl_error_t *err)
{
    uint32_t from;
    exl_message_t message;
    while (group->nready < group->size) {
        int rc = take_message(group, &from, &message, err);
        if (rc == 0)
            rc = wait_once(group, -1, START_LIMIT_S * 1000, err);
        else if (rc > 0 && message.frame.type == EXL_FRAME_SETUP_FAILED && message.payload) {
            *ret_exception = message.payload;
            return 1;
        } else if (rc > 0 && message.frame.type == EXL_FRAME_JOINED) {
            group->joined = true;
            note_place(&group->ranks[from], &message);
            exl_message_fini(&message);
            continue;
        } else if (rc > 0 && message.frame.type == EXL_FRAME_READY && !group->ranks[from].ready) {
            group->ranks[from].ready = true;
            group->ranks[from].number = (uint32_t)message.frame.id;
            group->nready++;
            exl_message_fini(&message);
            continue;
        } else if (rc > 0) {
            exl_message_fini(&message);
            rc = exl_error_set(err, EXL_EPROTOCOL, "an MPI rank sent something else than that it is ready");
        }
        if (rc < 0)
            return rc;
    }
    return by_rank(group, err);
}

static int set_up(exl_rank_group_t *group, const exl_message_t *first, uint32_t nfirst, const exl_message_t *setup,
                  exl_payload_t **ret_exception, exl_error_t *err)
{
    int rc = 0;
    for (uint32_t i = 0; rc == 0 && i < nfirst; i++)
        rc = exl_rank_group_send(group, first[i].frame, first[i].payload);
    if (rc == 0)
        rc =
            exl_rank_group_send(group, (exl_frame_t){.type = EXL_FRAME_SETUP, .arg = setup->frame.arg}, setup->payload);
    return rc < 0 ? exl_error_set(err, rc, "the setup cannot be sent: %s", exl_strerror(rc))
                  : await_ready(group, ret_exception, err);
}

int exl_rank_group_launch(exl_rank_group_t *group, char *const *argv, char *const *envp, const exl_message_t *first,
                          uint32_t nfirst, const exl_message_t *setup, exl_payload_t **ret_exception, exl_error_t *err)
{
    int rc = open_door(group);
    if (rc < 0)
        return exl_error_set(err, rc, "cannot open a socket for MPI ranks: %s", exl_strerror(rc));
    if (group->step)
        rc = open_gate(group, err);
    if (rc == 0 && make_environment(group, envp) < 0)
        rc = exl_error_set(err, -ENOMEM, "out of memory");
    if (rc == 0)
        rc = keep_pace(group, err);
    exl_spawn_t spawn = {.argv = argv, .envp = group->environment, .control_fd = -1, .stderr_fd = STDERR_FILENO};
    if (rc == 0)
        rc = exl_spawn(&spawn, &group->launcher, err);
    while (rc == 0 && group->connected < group->size)
        rc = wait_once(group, -1, group->step ? -1 : START_LIMIT_S * 1000, err);
    close_door(group);
    return rc < 0 ? rc : set_up(group, first, nfirst, setup, ret_exception, err);
}

/* In the fork. Of what the head has open it keeps its own two sockets; it dies with the head. */
static void become_rank(exl_rank_group_t *group, const exl_rank_fork_t *how, int channel_fd, pid_t head)
{
    exl_rank_place_t place = {.rank = group->connected, .nranks = group->size, .channel_fd = channel_fd};
    sigset_t set;
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != head)
        _exit(EXIT_FAILURE);
    (void)setsid();
    (void)sigemptyset(&set);
    (void)sigaddset(&set, SIGCHLD);
    (void)sigaddset(&set, SIGTERM);
    (void)sigprocmask(SIG_UNBLOCK, &set, NULL);
    for (uint32_t i = 0; i < group->connected; i++)
        (void)close(group->ranks[i].channel.fd);
    (void)close(group->signal_fd);
    (void)close(how->foreign_fd);
    place.pmi_fd = exl_pmi_host_leave(group->host, place.rank);
    place.directory = group->directory;
    how->run(&place);
    _exit(EXIT_FAILURE);
}

static int fork_rank(exl_rank_group_t *group, const exl_rank_fork_t *how)
{
    int pair[2];
    pid_t head = getpid();
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
        return -errno;
    if (how->hooks && how->hooks->before)
        how->hooks->before();
    pid_t pid = fork();
    if (pid == 0) {
        if (how->hooks && how->hooks->in_child)
            how->hooks->in_child();
        (void)close(pair[0]);
        become_rank(group, how, pair[1], head);
    }
    int rc = pid < 0 ? -errno : 0;
    if (how->hooks && how->hooks->in_parent)
        how->hooks->in_parent();
    (void)close(pair[1]);
    if (rc < 0) {
        (void)close(pair[0]);
        return rc;
    }
    struct rank *rank = &group->ranks[group->connected++];
    *rank = (struct rank){.pid = pid};
    exl_channel_init(&rank->channel, pair[0]);
    group->nchildren++;
    return 0;
}

int exl_rank_group_fork(exl_rank_group_t *group, const exl_rank_fork_t *how, const exl_message_t *first,
                        uint32_t nfirst, const exl_message_t *setup, exl_payload_t **ret_exception, exl_error_t *err)
{
    exl_rank_directory_expect(group->directory);
    int rc = exl_pmi_host_create(group->size, strrchr(group->directory, '/') + 1, &group->host);
    while (rc == 0 && group->connected < group->size)
        rc = fork_rank(group, how);
    if (rc < 0)
        return exl_error_set(err, rc, "cannot fork MPI ranks: %s", exl_strerror(rc));
    exl_pmi_host_open(group->host);
    return set_up(group, first, nfirst, setup, ret_exception, err);
}

int exl_rank_group_wait(exl_rank_group_t *group, int fd, exl_error_t *err)
{
    for (;;) {
        int rc = wait_once(group, fd, -1, err);
        if (rc != 0)
            return rc < 0 ? rc : 0;
    }
}

int exl_rank_group_send(exl_rank_group_t *group, exl_frame_t frame, exl_payload_t *payload)
{
    int rc = 0;
    for (uint32_t i = 0; rc == 0 && i < group->connected; i++)
        rc = exl_channel_queue(&group->ranks[i].channel, frame, payload, NULL, 0, false);
    /* A rank that has gone is heard when its answer is awaited. */
    for (uint32_t i = 0; rc == 0 && i < group->connected; i++)
        (void)exl_channel_flush(&group->ranks[i].channel);
    return rc;
}

int exl_rank_group_answer(exl_rank_group_t *group, int timeout_ms, uint32_t *ret_rank, exl_rank_answer_t *ret_answer,
                          exl_error_t *err)
{
    int64_t deadline_ns = timeout_ms < 0 ? INT64_MAX : exl_clock_ns() + timeout_ms * EXL_NS_PER_MS;
    for (;;) {
        exl_message_t message;
        int rc = take_message(group, ret_rank, &message, err);
        if (rc < 0)
            return rc;
        if (rc > 0) {
            if (message.frame.type == EXL_FRAME_LOG) {
                exl_message_fini(&message); /* what ends a group is on its own stderr, not in the files of its ranks */
                continue;
            }
            bool raised = message.frame.type == EXL_FRAME_EXCEPTION;
            if (!raised && group->aborted) {
                exl_message_fini(&message);
                continue;
            }
            if ((raised || message.frame.type == EXL_FRAME_RESULT) && message.payload) {
                *ret_answer = (exl_rank_answer_t){.raised = raised, .payload = message.payload};
                return 1;
            }
            exl_message_fini(&message);
            return exl_error_set(err, EXL_EPROTOCOL, "MPI rank %u sent something else than an answer", *ret_rank);
        }
        if (group->lost < 0) {
            *err = group->loss;
            return group->lost;
        }
        int64_t left_ns = deadline_ns - exl_clock_ns();
        if (left_ns <= 0)
            return 0;
        rc = wait_once(group, -1, timeout_ms < 0 ? -1 : (int)(left_ns / EXL_NS_PER_MS) + 1, err);
        if (rc < 0 && rc != -ETIMEDOUT) {
            group->lost = rc;
            group->loss = *err;
        }
    }
}
