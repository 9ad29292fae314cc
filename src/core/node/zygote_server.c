/* zygote_server.c: fork, reap, report. See zygote_server.h for what it promises. */
#include "node/zygote_server.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/idmap.h"
#include "base/list.h"
#include "node/descendants.h"
#include "node/rank_directory.h"

struct child {
    exl_list_t link; /* in `terminated`, or empty */
    uint64_t id;
    pid_t pid;
    int wait_status;
    bool head;           /* of a group of MPI ranks */
    bool exited;         /* waited for, but not reported as long as something it left behind has time to end */
    bool killed;         /* its grace time is over */
    int64_t deadline_ns; /* terminated: when it is killed; once killed, when to wait no longer for its death */
    unsigned norphans;
};

struct server {
    exl_channel_t control;
    int signal_fd, driver_fd;
    pid_t driver;
    exl_idmap_t by_id, by_pid; /* of struct child, owned by by_id; by_pid has those that have not been waited for */
    exl_list_t terminated;     /* children that were told to end: they and theirs have until their deadline */
    exl_idmap_t orphans;       /* pid -> the terminated child that left it behind, or `nobody` */
    struct child nobody;       /* whose orphans are killed: left by who was not told to end, or by nobody known */
    const exl_fork_hooks_t *hooks;
    bool preloaded;
};

/* DEATH_MS: what got SIGKILL is dead by then, or waits for a device that does not answer. */
enum { FORK_FDS = 2, MAX_ORPHANS = 1024, DEATH_MS = 500 };

static void report(struct server *server, uint8_t type, uint64_t id, uint32_t arg)
{
    /* A failure means that the driver has gone, which the loop hears by itself. */
    (void)exl_channel_queue(&server->control, (exl_frame_t){.type = type, .id = id, .arg = arg}, NULL, NULL, 0, false);
    (void)exl_channel_flush(&server->control);
}

static struct child *child_add(struct server *server, uint64_t id, pid_t pid, bool head)
{
    struct child *child = calloc(1, sizeof *child);
    if (!child)
        return NULL;
    *child = (struct child){.id = id, .pid = pid, .head = head};
    exl_list_init(&child->link);
    if (exl_idmap_put(&server->by_id, id, child) < 0 || exl_idmap_put(&server->by_pid, (uint64_t)pid, child) < 0) {
        (void)exl_idmap_remove(&server->by_id, id);
        free(child);
        return NULL;
    }
    return child;
}

/* Reports its exit and forgets it, with what is left of what it left behind. */
static void bury(struct server *server, struct child *child)
{
    if (child->head)
        exl_rank_directory_sweep(child->pid);
    report(server, EXL_FRAME_EXITED, child->id, (uint32_t)child->wait_status);
    (void)exl_idmap_remove(&server->by_id, child->id);
    exl_list_remove(&child->link);
    free(child);
}

static void kill_with_descendants(pid_t pid, int signal)
{
    exl_descendants_signal(pid, signal);
    (void)kill(pid, signal);
}

/* Of several children that ended at once, the one in whose session the orphan is. */
static struct child *child_of_session(const struct server *server, pid_t orphan)
{
    pid_t session = getsid(orphan);
    EXL_LIST_FOREACH(&server->terminated, link)
    {
        struct child *child = EXL_CONTAINER(link, struct child, link);
        if (child->exited && child->pid == session)
            return child;
    }
    return NULL;
}

struct deaths {
    exl_list_t gone;    /* children that ended by themselves, not reported yet */
    struct child *heir; /* to whom the dead belonged, one with time left where there is one */
    bool several;       /* they belonged to several */
};

/* Children that no fork of ours made are what a dead worker left behind: while it lived, it was their subreaper. They are
 * killed, unless a terminated child left them that still has time; where several have ended, those that cannot be told
 * apart are killed too. */
static void adopt_orphans(struct server *server, const struct deaths *deaths, const pid_t *pids, ssize_t count)
{
    for (ssize_t i = 0; i < count; i++) {
        uint64_t pid = (uint64_t)pids[i];
        if (exl_idmap_get(&server->by_pid, pid) || exl_idmap_get(&server->orphans, pid))
            continue;
        struct child *owner = deaths->several ? child_of_session(server, pids[i]) : deaths->heir;
        if (!owner || !owner->deadline_ns)
            owner = &server->nobody;
        bool kept = exl_idmap_put(&server->orphans, pid, owner) == 0;
        if (kept)
            owner->norphans++;
        if (!kept || owner == &server->nobody || owner->killed)
            kill_with_descendants(pids[i], SIGKILL);
    }
}

/* The child to which the process belonged that has just been waited for. NULL: one that died together with the child or
 * the orphan that had started it, and so was never known. */
static struct child *note_death(struct server *server, pid_t pid, int wait_status, exl_list_t *gone)
{
    struct child *child = exl_idmap_remove(&server->by_pid, (uint64_t)pid);
    if (!child) {
        child = exl_idmap_remove(&server->orphans, (uint64_t)pid);
        if (child)
            child->norphans--;
        return child;
    }
    child->exited = true;
    child->wait_status = wait_status;
    if (exl_list_empty(&child->link))
        exl_list_push_back(gone, &child->link);
    return child;
}

/* Returns whether there were any. */
static bool note_deaths(struct server *server, struct deaths *deaths)
{
    bool any = false;
    int status;
    for (pid_t pid; (pid = waitpid(-1, &status, WNOHANG)) > 0; any = true) {
        struct child *owner = note_death(server, pid, status, &deaths->gone);
        deaths->several |= owner && deaths->heir && owner != deaths->heir;
        if (owner && (!deaths->heir || owner->deadline_ns))
            deaths->heir = owner;
    }
    return any;
}

static void reap(struct server *server)
{
    pid_t pids[MAX_ORPHANS];
    struct deaths deaths = {0};
    ssize_t count;
    exl_list_init(&deaths.gone);
    (void)note_deaths(server, &deaths);
    /* Nobody died after the children were listed: so whoever left what is seen there is known to be dead, and it is not
     * taken for another one's. */
    do
        count = exl_children_of(getpid(), pids, MAX_ORPHANS);
    while (note_deaths(server, &deaths));
    adopt_orphans(server, &deaths, pids, count < MAX_ORPHANS ? count : MAX_ORPHANS);
    EXL_LIST_FOREACH_SAFE(&deaths.gone, link)
    bury(server, EXL_CONTAINER(link, struct child, link));
    EXL_LIST_FOREACH_SAFE(&server->terminated, link)
    {
        struct child *child = EXL_CONTAINER(link, struct child, link);
        if (child->exited && child->norphans == 0)
            bury(server, child);
    }
}

/* ---- ending a worker with everything that it started ---- */

static void forget_orphans(struct server *server, const struct child *child)
{
    for (size_t i = 0; child->norphans && i < server->orphans.capacity;) {
        /* Removing moves others into the slot. */
        if (server->orphans.slots[i].value == child)
            (void)exl_idmap_remove(&server->orphans, server->orphans.slots[i].id);
        else
            i++;
    }
}

static void kill_now(struct server *server, struct child *child)
{
    child->killed = true;
    child->deadline_ns = exl_clock_ns() + DEATH_MS * EXL_NS_PER_MS;
    if (!child->exited)
        kill_with_descendants(child->pid, SIGKILL);
    for (size_t i = 0; i < server->orphans.capacity; i++)
        if (server->orphans.slots[i].value == child)
            kill_with_descendants((pid_t)server->orphans.slots[i].id, SIGKILL);
}

static void terminate(struct server *server, struct child *child, uint32_t grace_ms)
{
    if (!exl_list_empty(&child->link))
        return;
    exl_list_push_back(&server->terminated, &child->link);
    child->deadline_ns = exl_clock_ns() + (int64_t)grace_ms * EXL_NS_PER_MS;
    if (!child->head) {
        kill_with_descendants(child->pid, SIGTERM);
        return;
    }
    (void)kill(child->pid, SIGTERM); /* before its ranks go, or else it took that for a failure of theirs */
    exl_descendants_signal(child->pid, SIGTERM);
}

/* Kills those whose time is over. Returns how long poll() may wait for the next one, in ms; -1: for ever. */
static int kill_overdue(struct server *server)
{
    int64_t now_ns = exl_clock_ns(), next_ns = INT64_MAX;
    EXL_LIST_FOREACH_SAFE(&server->terminated, link)
    {
        struct child *child = EXL_CONTAINER(link, struct child, link);
        if (child->deadline_ns <= now_ns && !child->killed) {
            kill_now(server, child);
        } else if (child->deadline_ns <= now_ns && child->exited) {
            forget_orphans(server, child);
            bury(server, child);
            continue;
        } else if (child->deadline_ns <= now_ns) {
            continue; /* nothing can be done but wait for its exit */
        }
        if (child->deadline_ns < next_ns)
            next_ns = child->deadline_ns;
    }
    int64_t wait_ms = (next_ns - now_ns) / EXL_NS_PER_MS + 1;
    return next_ns == INT64_MAX ? -1 : wait_ms < INT_MAX ? (int)wait_ms : INT_MAX;
}

static void kill_everything(const struct server *server)
{
    for (;;) {
        exl_descendants_signal(getpid(), SIGKILL);
        pid_t pid = waitpid(-1, NULL, 0);
        if (pid < 0 && errno == ECHILD)
            break;
    }
    for (size_t i = 0; i < server->by_id.capacity; i++) {
        const struct child *child = server->by_id.slots[i].value;
        if (child && child->head)
            exl_rank_directory_sweep(child->pid);
    }
}

static void preload(struct server *server)
{
    if (!server->preloaded && server->hooks->preload)
        server->hooks->preload();
    server->preloaded = true;
}

static void close_descriptors(const struct server *server)
{
    if (server->signal_fd >= 0)
        (void)close(server->signal_fd);
    if (server->driver_fd >= 0)
        (void)close(server->driver_fd);
}

static void server_fini(struct server *server)
{
    for (size_t i = 0; i < server->by_id.capacity; i++)
        free(server->by_id.slots[i].value);
    exl_list_init(&server->terminated);
    exl_idmap_fini(&server->orphans);
    exl_idmap_fini(&server->by_pid);
    exl_idmap_fini(&server->by_id);
    exl_channel_fini(&server->control);
    close_descriptors(server);
}

static void block_sigchld(int how)
{
    sigset_t set;
    (void)sigemptyset(&set);
    (void)sigaddset(&set, SIGCHLD);
    (void)sigprocmask(how, &set, NULL);
}

/* In a forked child. The server's memory is left as it is, since to free it would copy a page for each piece; only who
 * looks for leaks would miss that. */
static void leave_to_parent(struct server *server)
{
#ifdef __SANITIZE_ADDRESS__
    server_fini(server);
#else
    exl_channel_abandon(&server->control);
    close_descriptors(server);
#endif
}

/* In a forked child. A subreaper of its own, so that what it starts stays its own until it ends. */
static void become_child(struct server *server, pid_t parent)
{
    leave_to_parent(server);
    block_sigchld(SIG_UNBLOCK);
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        _exit(0);
    (void)prctl(PR_SET_CHILD_SUBREAPER, 1);
    (void)setsid();
}

static void become_worker(struct server *server, pid_t parent, exl_message_t *request, exl_role_t *role)
{
    become_child(server, parent);
    (void)dup2(request->fds[1], STDERR_FILENO);
    (void)close(request->fds[1]);
    *role = (exl_role_t){.kind = request->frame.arg & EXL_FORK_HEAD ? EXL_ROLE_HEAD : EXL_ROLE_WORKER,
                         .channel_fd = request->fds[0],
                         .launcher = request->frame.arg & EXL_FORK_LAUNCHER,
                         .claim_fd = request->frame.nfds > FORK_FDS ? request->fds[FORK_FDS] : -1};
}

/* In the child: until the driver has been told of it. What had begun unknown to the driver would begin once more, should the
 * zygote be killed at this moment. */
static void await_announcement(const int announced[2])
{
    char byte;
    ssize_t got;
    (void)close(announced[1]);
    do
        got = read(announced[0], &byte, 1);
    while (got < 0 && errno == EINTR);
    if (got != 1)
        _exit(0);
    (void)close(announced[0]);
}

static void announce(const int announced[2])
{
    (void)!write(announced[1], "", 1);
    (void)close(announced[0]);
    (void)close(announced[1]);
}

/* Returns true in the child. */
static bool fork_child(struct server *server, exl_message_t *request, exl_role_t *role)
{
    uint64_t id = request->frame.id;
    bool template = request->frame.type == EXL_FRAME_TEMPLATE;
    int announced[2];
    pid_t parent = getpid();
    if (pipe2(announced, O_CLOEXEC) < 0) {
        report(server, EXL_FRAME_NOT_FORKED, id, (uint32_t)errno);
        exl_message_fini(request);
        return false;
    }
    if (server->hooks->before)
        server->hooks->before();
    pid_t pid = fork();
    if (pid == 0) {
        await_announcement(announced);
        if (server->hooks->in_child)
            server->hooks->in_child();
        if (template) {
            become_child(server, parent);
            *role = (exl_role_t){
                .kind = EXL_ROLE_TEMPLATE, .channel_fd = request->fds[0], .claim_fd = -1, .payload = request->payload};
        } else {
            become_worker(server, parent, request, role);
        }
        return true;
    }
    int error = errno;
    if (server->hooks->in_parent)
        server->hooks->in_parent();
    if (pid > 0 && !child_add(server, id, pid, !template && (request->frame.arg & EXL_FORK_HEAD))) {
        (void)kill(pid, SIGKILL);
        error = ENOMEM;
        pid = -1;
    }
    report(server, pid > 0 ? EXL_FRAME_FORKED : EXL_FRAME_NOT_FORKED, id, (uint32_t)(pid > 0 ? pid : error));
    announce(announced);
    exl_message_fini(request);
    return false;
}

static void kill_tree(struct server *server, uint64_t id, int signal)
{
    struct child *child = exl_idmap_get(&server->by_id, id);
    if (!child)
        return;
    if (!exl_list_empty(&child->link) && signal == SIGKILL)
        kill_now(server, child); /* its grace time is cut short */
    else if (!child->exited)
        kill_with_descendants(child->pid, signal);
}

/* Returns true in a forked child. */
static bool handle(struct server *server, exl_message_t *request, exl_role_t *role)
{
    struct child *child;
    switch (request->frame.type) {
    case EXL_FRAME_FORK:
        if (request->frame.nfds < FORK_FDS)
            break;
        if (request->frame.arg & EXL_FORK_PRELOADED)
            preload(server);
        return fork_child(server, request, role);
    case EXL_FRAME_TEMPLATE:
        if (request->frame.nfds < 1 || !request->payload)
            break;
        return fork_child(server, request, role);
    case EXL_FRAME_KILL:
        kill_tree(server, request->frame.id, (int)request->frame.arg);
        break;
    case EXL_FRAME_TERMINATE:
        child = exl_idmap_get(&server->by_id, request->frame.id);
        if (child)
            terminate(server, child, request->frame.arg);
        break;
    default:
        break;
    }
    exl_message_fini(request);
    return false;
}

/* Handles every whole message that has arrived. 1 in a forked child, 0, or a negative code. */
static int handle_messages(struct server *server, exl_role_t *role)
{
    exl_message_t request;
    int rc;
    while ((rc = exl_channel_next(&server->control, &request)) > 0)
        if (handle(server, &request, role))
            return 1;
    return rc;
}

static bool driver_lives(const struct server *server)
{
    struct pollfd driver = {.fd = server->driver_fd, .events = POLLIN};
    return server->driver_fd < 0 ? kill(server->driver, 0) == 0 : poll(&driver, 1, 0) == 0;
}

static int serve(struct server *server, exl_role_t *role)
{
    int waiting = handle_messages(server, role);
    if (waiting != 0)
        return waiting;
    for (;;) {
        struct pollfd fds[] = {{.fd = server->control.fd, .events = POLLIN},
                               {.fd = server->signal_fd, .events = POLLIN},
                               {.fd = server->driver_fd, .events = POLLIN}};
        if (poll(fds, 3, kill_overdue(server)) < 0)
            continue;
        if (fds[2].revents)
            return EXL_ECLOSED;
        if (fds[1].revents) {
            struct signalfd_siginfo info;
            (void)!read(server->signal_fd, &info, sizeof info);
            reap(server);
        }
        if (fds[0].revents) {
            int rc = exl_channel_fill(&server->control);
            if (rc > 0)
                rc = handle_messages(server, role);
            if (rc != 0)
                return rc;
        }
    }
}

static int server_init(struct server *server, const exl_channel_t *control, pid_t driver, const exl_fork_hooks_t *hooks)
{
    sigset_t set;
    *server = (struct server){.control = *control, .driver = driver, .hooks = hooks};
    exl_idmap_init(&server->by_id);
    exl_idmap_init(&server->by_pid);
    exl_idmap_init(&server->orphans);
    exl_list_init(&server->terminated);
    (void)prctl(PR_SET_CHILD_SUBREAPER, 1);
    block_sigchld(SIG_BLOCK);
    (void)sigemptyset(&set);
    (void)sigaddset(&set, SIGCHLD);
    server->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    /* Kernels before 5.3 have no pidfd: there the end of the control channel alone tells of the driver's death. */
    server->driver_fd = (int)syscall(SYS_pidfd_open, driver, 0);
    if (server->signal_fd < 0)
        return -errno;
    return driver_lives(server) ? 0 : EXL_ECLOSED;
}

int exl_zygote_serve(exl_channel_t *control, pid_t driver, const exl_fork_hooks_t *hooks, exl_role_t *ret_role)
{
    struct server server;
    int rc = server_init(&server, control, driver, hooks);
    if (rc == 0) {
        report(&server, EXL_FRAME_ONLINE, 0, 0);
        rc = serve(&server, ret_role);
        if (rc == 1)
            return 0;
    }
    kill_everything(&server);
    server_fini(&server);
    *ret_role = (exl_role_t){.kind = EXL_ROLE_ENDED, .channel_fd = -1, .claim_fd = -1};
    return rc == EXL_ECLOSED ? 0 : rc;
}
