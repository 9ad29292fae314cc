/* gate.c: two small processes with a loop and relays. */
#include "node/gate.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd_limit.h"
#include "node/descendants.h"
#include "node/door.h"
#include "node/rank_directory.h"
#include "node/relay.h"

/* How long the network may be away, and how long a rank tries to get through. */
enum { GRACE_MS = 60000, CONNECT_LIMIT_MS = 60000, ATTEMPT_MS = 5000, RETRY_MS = 500 };

typedef struct gate {
    uv_loop_t loop;
    exl_node_t node;
    exl_door_t *door;        /* of the head's gate */
    const char *socket_path; /* borrowed */
    int fd, rank_pidfd;      /* of a rank's gate; the former until the relay has it */
    pid_t rank;
    char directory[EXL_RANK_DIRECTORY_SIZE]; /* … where it notes what MPI leaves behind */
    uv_poll_t rank_poll;
    exl_relay_t *relay; /* of a rank's gate, once it is through */
} gate_t;

static void nothing_changed(void *owner)
{
    (void)owner;
}

static int gate_init(gate_t *gate)
{
    int rc = uv_loop_init(&gate->loop);
    gate->node = (exl_node_t){.loop = &gate->loop, .changed = nothing_changed};
    exl_list_init(&gate->node.sockets);
    return rc;
}

/* In the fork: signals as a program has them. */
static void take_signals(void)
{
    sigset_t none;
    (void)sigemptyset(&none);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
    (void)signal(SIGPIPE, SIG_IGN);
}

/* ---- beside the head ---- */

static void rank_left_cb(void *owner, exl_relay_t *relay, int code, const char *reason)
{
    (void)owner;
    (void)reason;
    exl_relay_destroy(relay, code == 0); /* the head hears it as the end of the socket */
}

static int connect_to_head(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof address.sun_path)
        return -ENAMETOOLONG;
    memcpy(address.sun_path, path, strlen(path) + 1);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof address) < 0) {
        (void)close(fd);
        fd = -1;
    }
    return fd;
}

static void arrived_cb(void *owner, exl_connection_t *connection, const exl_frame_t *hello)
{
    gate_t *gate = owner;
    exl_relay_t *relay;
    int fd = hello->id == 0 ? connect_to_head(gate->socket_path) : -1;
    if (fd < 0) {
        exl_connection_destroy(connection, true); /* all ranks are in */
        return;
    }
    exl_connection_tune(exl_connection_fd(connection), GRACE_MS);
    exl_connection_greet(connection, (exl_frame_t){0});
    (void)exl_relay_create(&gate->node, fd, connection, rank_left_cb, gate, &relay);
}

/* Does not return. */
static void guard(const char *socket_path, const exl_ticket_t *ticket, int port_fd)
{
    static const char loopback[] = "127.0.0.1";
    const char *address = strcmp(ticket->addresses, loopback) == 0 ? loopback : "0.0.0.0";
    gate_t gate = {.socket_path = socket_path};
    exl_error_t err = {""};
    int rc = gate_init(&gate);
    if (rc == 0)
        rc = exl_door_open(&gate.node, address, ticket->name, ticket->key, arrived_cb, &gate, &gate.door, &err);
    uint16_t port = rc == 0 ? exl_door_port(gate.door) : 0;
    exl_fd_limit_add(UINT32_MAX); /* two for each rank; nothing is started here */
    if (rc < 0)
        (void)fprintf(stderr, "executorlib: %s\n", err.text);
    if (write(port_fd, &port, sizeof port) != sizeof port || rc < 0)
        _exit(EXIT_FAILURE);
    (void)close(port_fd);
    (void)uv_run(&gate.loop, UV_RUN_DEFAULT);
    _exit(EXIT_SUCCESS);
}

int exl_gate_open(const char *socket_path, exl_ticket_t *ticket, pid_t *ret_pid, exl_error_t *err)
{
    int ends[2];
    pid_t head = getpid();
    uint16_t port = 0;
    int rc = exl_tls_key(ticket->key);
    if (rc == 0 && pipe2(ends, O_CLOEXEC) < 0)
        rc = -errno;
    if (rc != 0)
        return exl_error_set(err, rc, "cannot open a gate for MPI ranks: %s", exl_strerror(rc));
    (void)snprintf(ticket->name, sizeof ticket->name, "executorlib-ranks-%d-%lld", (int)head,
                   (long long)exl_clock_ns());
    pid_t pid = fork();
    if (pid == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        take_signals();
        (void)close(ends[0]);
        if (getppid() == head)
            guard(socket_path, ticket, ends[1]);
        _exit(EXIT_FAILURE);
    }
    rc = pid < 0 ? -errno : 0;
    (void)close(ends[1]);
    if (pid > 0 && read(ends[0], &port, sizeof port) != sizeof port)
        port = 0;
    (void)close(ends[0]);
    if (rc == 0 && port == 0)
        rc = -EIO;
    if (rc < 0)
        return exl_error_set(err, rc, "cannot open a gate for MPI ranks: %s", exl_strerror(rc));
    ticket->port = port;
    *ret_pid = pid;
    return 0;
}

/* ---- beside a rank ---- */

static int dial(const char *address, uint16_t port)
{
    struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = htons(port)};
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
    bool is_v4 = inet_pton(AF_INET, address, &v4.sin_addr) == 1;
    if (!is_v4 && inet_pton(AF_INET6, address, &v6.sin6_addr) != 1)
        return -EINVAL;
    int fd = socket(is_v4 ? AF_INET : AF_INET6, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    struct pollfd waits = {.fd = fd, .events = POLLOUT};
    const struct sockaddr *name = is_v4 ? (const struct sockaddr *)&v4 : (const struct sockaddr *)&v6;
    int failure = 0;
    socklen_t size = sizeof failure;
    if (connect(fd, name, is_v4 ? sizeof v4 : sizeof v6) == 0)
        return fd;
    if (errno != EINPROGRESS)
        failure = errno;
    else if (poll(&waits, 1, ATTEMPT_MS) <= 0)
        failure = ETIMEDOUT;
    else
        (void)getsockopt(fd, SOL_SOCKET, SO_ERROR, &failure, &size);
    if (!failure)
        return fd;
    (void)close(fd);
    return -failure;
}

/* The first of the addresses that answers. */
static int reach(const exl_ticket_t *ticket)
{
    int64_t deadline_ns = exl_clock_ns() + CONNECT_LIMIT_MS * EXL_NS_PER_MS;
    char addresses[EXL_TICKET_ADDRESSES_MAX + 1];
    int rc = -EINVAL;
    do {
        char *save = NULL;
        memcpy(addresses, ticket->addresses, sizeof addresses);
        for (char *one = strtok_r(addresses, " ", &save); one; one = strtok_r(NULL, " ", &save))
            if ((rc = dial(one, ticket->port)) >= 0)
                return rc;
        (void)poll(NULL, 0, RETRY_MS);
    } while (exl_clock_ns() < deadline_ns);
    return rc;
}

static void leave(const gate_t *gate, int status)
{
    exl_rank_directory_remove(gate->directory);
    _exit(status);
}

/* Whatever ended the way to the head, the rank has no more to do. */
static void close_down(gate_t *gate, const char *reason)
{
    if (reason)
        (void)fprintf(stderr, "executorlib: an MPI rank lost the program that it works for: %s\n", reason);
    (void)kill(gate->rank, SIGSTOP); /* what it started behind our back would outlive it */
    exl_descendants_signal(gate->rank, SIGKILL);
    (void)kill(gate->rank, SIGKILL);
    leave(gate, EXIT_FAILURE);
}

static void head_left_cb(void *owner, exl_relay_t *relay, int code, const char *reason)
{
    gate_t *gate = owner;
    if (code < 0)
        close_down(gate, code == EXL_ECLOSED || code == -ECONNRESET ? NULL : reason);
    exl_relay_destroy(relay, true);
    leave(gate, EXIT_SUCCESS);
}

static void rank_ended_cb(uv_poll_t *poll, int status, int events)
{
    gate_t *gate = poll->data;
    (void)status;
    (void)events;
    if (!gate->relay)
        leave(gate, EXIT_SUCCESS);
    exl_relay_finish(gate->relay);
}

static void met_cb(void *owner, exl_handshake_t *handshake, exl_connection_t *connection, const exl_frame_t *hello,
                   int code, const char *reason)
{
    gate_t *gate = owner;
    (void)handshake;
    if (code < 0 || hello->id != 0)
        close_down(gate, reason);
    exl_connection_tune(exl_connection_fd(connection), GRACE_MS);
    if (exl_relay_create(&gate->node, gate->fd, connection, head_left_cb, gate, &gate->relay) < 0)
        close_down(gate, "out of memory");
}

/* Does not return. */
static void accompany(gate_t *gate, const exl_ticket_t *ticket, int socket)
{
    exl_error_t err = {""};
    exl_handshake_t *handshake;
    int rc = gate_init(gate);
    exl_handshake_config_t config = {.node = &gate->node,
                                     .side = EXL_TLS_CONNECTS,
                                     .name = ticket->name,
                                     .key = ticket->key,
                                     .limit_ms = CONNECT_LIMIT_MS,
                                     .done = met_cb,
                                     .owner = gate};
    if (rc == 0)
        rc = exl_handshake_start(&config, socket, &handshake, &err);
    if (rc < 0)
        close_down(gate, err.text[0] ? err.text : exl_strerror(rc));
    /* Without it (Linux before 5.3) the end of the rank is that of its socket, which its children may hold open. */
    if (gate->rank_pidfd >= 0 && uv_poll_init(&gate->loop, &gate->rank_poll, gate->rank_pidfd) == 0) {
        gate->rank_poll.data = gate;
        (void)uv_poll_start(&gate->rank_poll, UV_READABLE, rank_ended_cb);
    }
    (void)uv_run(&gate->loop, UV_RUN_DEFAULT);
    leave(gate, EXIT_SUCCESS);
}

int exl_gate_pass(const exl_ticket_t *ticket, int *ret_fd, char ret_directory[EXL_RANK_DIRECTORY_SIZE],
                  exl_error_t *err)
{
    int pair[2];
    gate_t gate = {.rank = getpid()};
    int rc = reach(ticket);
    if (rc < 0)
        return exl_error_set(err, rc, "cannot reach the program at %s, port %u: %s", ticket->addresses, ticket->port,
                             exl_strerror(rc));
    int socket = rc;
    gate.rank_pidfd = (int)syscall(SYS_pidfd_open, gate.rank, 0);
    rc = exl_rank_directory_create(gate.directory);
    if (rc == 0 && socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
        rc = -errno;
    /* Nobody's child: the rank may wait for any of its own. */
    pid_t between = rc == 0 ? fork() : 0;
    if (rc == 0 && between == 0) {
        if (fork() != 0)
            _exit(EXIT_SUCCESS);
        take_signals();
        (void)signal(SIGTERM, SIG_IGN); /* of the step: it goes when the rank has */
        (void)setsid();
        exl_rank_directory_sweep_all();
        (void)close(pair[0]);
        gate.fd = pair[1];
        accompany(&gate, ticket, socket);
    }
    if (between < 0)
        rc = -errno;
    (void)close(socket);
    if (gate.rank_pidfd >= 0)
        (void)close(gate.rank_pidfd);
    if (rc != 0)
        return exl_error_set(err, rc, "an MPI rank cannot start what connects it: %s", exl_strerror(rc));
    (void)waitpid(between, NULL, 0);
    (void)close(pair[1]);
    memcpy(ret_directory, gate.directory, sizeof gate.directory);
    *ret_fd = pair[0];
    return 0;
}
