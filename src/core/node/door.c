/* door.c: accepts, and keeps the queue of strangers short. */
#include "node/door.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"

struct exl_door {
    exl_node_t *node; /* borrowed */
    uv_poll_t poll;
    uv_timer_t retry;
    unsigned nhandles;
    bool complained;
    int fd; /* owned */
    exl_socket_t socket;
    uint16_t port;
    exl_door_cb arrived;
    void *owner; /* borrowed */
    exl_handshake_t *strangers[EXL_DOOR_STRANGERS];
    unsigned nstrangers; /* the first of them has been there longest */
    uint8_t key[EXL_TLS_KEY_SIZE];
    char name[EXL_TLS_NAME_MAX + 1];
};

static void forget(exl_door_t *door, const exl_handshake_t *stranger)
{
    unsigned at = 0;
    while (door->strangers[at] != stranger)
        at++;
    assert(at < door->nstrangers);
    door->nstrangers--;
    memmove(door->strangers + at, door->strangers + at + 1, (door->nstrangers - at) * sizeof *door->strangers);
}

static void done_cb(void *owner, exl_handshake_t *stranger, exl_connection_t *connection, const exl_frame_t *hello,
                    int code, const char *reason)
{
    exl_door_t *door = owner;
    (void)code;
    (void)reason; /* nobody needs to know who failed to get in */
    forget(door, stranger);
    if (connection)
        door->arrived(door->owner, connection, hello);
}

static void let_in(exl_door_t *door, int fd)
{
    exl_handshake_config_t config = {.node = door->node,
                                     .side = EXL_TLS_ACCEPTS,
                                     .name = door->name,
                                     .key = door->key,
                                     .limit_ms = EXL_DOOR_LIMIT_MS,
                                     .done = done_cb,
                                     .owner = door};
    if (door->nstrangers == EXL_DOOR_STRANGERS) {
        exl_handshake_t *oldest = door->strangers[0];
        forget(door, oldest);
        exl_handshake_cancel(oldest);
    }
    exl_connection_tune(fd, UINT32_MAX);
    if (exl_handshake_start(&config, fd, &door->strangers[door->nstrangers], NULL) < 0)
        (void)close(fd);
    else
        door->nstrangers++;
}

static void listen_again(uv_timer_t *retry);

/* The socket stays readable: to look at it again at once would be to do nothing else. */
static void pause_for_want(exl_door_t *door, int error)
{
    struct rlimit limit = {0};
    (void)getrlimit(RLIMIT_NOFILE, &limit);
    if (error == EMFILE && !door->complained)
        exl_log("no more agents or ranks can connect: this process has all %llu files open that it may have; raise the "
                "limit (ulimit -n), or close some",
                (unsigned long long)limit.rlim_cur);
    else if (!door->complained)
        exl_log("no more agents or ranks can connect for now: %s", strerror(error));
    door->complained = true;
    (void)uv_poll_stop(&door->poll);
    uv_update_time(door->node->loop);
    (void)uv_timer_start(&door->retry, listen_again, EXL_DOOR_RETRY_MS, 0);
    door->node->changed(door->node->owner);
}

static void poll_cb(uv_poll_t *poll, int status, int events)
{
    exl_door_t *door = poll->data;
    (void)status;
    (void)events;
    /* One at a time: the loop has others to look after. */
    int fd = accept4(door->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd >= 0)
        let_in(door, fd);
    else if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM)
        pause_for_want(door, errno);
}

static void listen_again(uv_timer_t *retry)
{
    exl_door_t *door = retry->data;
    (void)uv_poll_start(&door->poll, UV_READABLE, poll_cb);
}

static int listen_on(const char *address, uint16_t *ret_port)
{
    struct sockaddr_in v4 = {.sin_family = AF_INET};
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6};
    bool is_v4 = inet_pton(AF_INET, address, &v4.sin_addr) == 1;
    if (!is_v4 && inet_pton(AF_INET6, address, &v6.sin6_addr) != 1)
        return -EINVAL;
    struct sockaddr *name = is_v4 ? (struct sockaddr *)&v4 : (struct sockaddr *)&v6;
    socklen_t size = is_v4 ? sizeof v4 : sizeof v6;
    int fd = socket(name->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    if (bind(fd, name, size) < 0 || listen(fd, SOMAXCONN) < 0 || getsockname(fd, name, &size) < 0) {
        int rc = -errno;
        (void)close(fd);
        return rc;
    }
    *ret_port = ntohs(is_v4 ? v4.sin_port : v6.sin6_port);
    return fd;
}

static void closed_cb(uv_handle_t *handle)
{
    exl_door_t *door = handle->data;
    if (--door->nhandles == 0)
        free(door);
}

int exl_door_open(exl_node_t *node, const char *address, const char *name, const uint8_t key[EXL_TLS_KEY_SIZE],
                  exl_door_cb arrived, void *owner, exl_door_t **ret_door, exl_error_t *err)
{
    if (strlen(name) > EXL_TLS_NAME_MAX)
        return exl_error_set(err, -EINVAL, "a name must have at most %d bytes", EXL_TLS_NAME_MAX);
    exl_door_t *door = calloc(1, sizeof *door);
    if (!door)
        return exl_error_set(err, -ENOMEM, "out of memory");
    *door = (exl_door_t){.node = node, .arrived = arrived, .owner = owner};
    memcpy(door->key, key, sizeof door->key);
    memcpy(door->name, name, strlen(name));
    int rc = door->fd = listen_on(address, &door->port);
    if (rc >= 0 && (rc = uv_poll_init(node->loop, &door->poll, door->fd)) < 0)
        (void)close(door->fd);
    if (rc < 0) {
        free(door);
        return exl_error_set(err, rc, "cannot listen on %s: %s", address, exl_strerror(rc));
    }
    (void)uv_timer_init(node->loop, &door->retry);
    door->nhandles = 2;
    door->poll.data = door->retry.data = door;
    exl_node_add_socket(node, &door->socket, door->fd);
    (void)uv_poll_start(&door->poll, UV_READABLE, poll_cb);
    node->changed(node->owner);
    *ret_door = door;
    return 0;
}

void exl_door_close(exl_door_t *door)
{
    if (!door)
        return;
    while (door->nstrangers)
        exl_handshake_cancel(door->strangers[--door->nstrangers]);
    uv_close((uv_handle_t *)&door->poll, closed_cb);
    uv_close((uv_handle_t *)&door->retry, closed_cb);
    exl_list_remove(&door->socket.link);
    (void)close(door->fd);
    memset(door->key, 0, sizeof door->key);
    door->node->changed(door->node->owner);
}

uint16_t exl_door_port(const exl_door_t *door)
{
    return door->port;
}
