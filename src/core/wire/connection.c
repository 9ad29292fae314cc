/* connection.c: bytes between socket, TLS and link. */
#include "wire/connection.h"

#include <assert.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/buffer.h"

/* RECORD: the plain text of a TLS record. TURN: read at once, so that one peer does not keep the others waiting. */
enum { RECORD = 16 * 1024, READ_SIZE = 64 * 1024, TURN = 4, NOTICED_MS = 30000 };

struct exl_connection {
    int fd;            /* owned */
    exl_tls_t *tls;    /* owned */
    exl_link_t *link;  /* borrowed; NULL until attached */
    exl_buffer_t out;  /* cipher text that the kernel has not taken */
    bool says_hello;   /* `hello` is to be sent once the key is proved */
    exl_frame_t hello; /* our own */
    uint8_t theirs[EXL_FRAME_SIZE];
    size_t theirs_size;
};

int exl_connection_create(int fd, exl_tls_side_t side, const char *name, const uint8_t key[EXL_TLS_KEY_SIZE],
                          exl_connection_t **ret_connection, exl_error_t *err)
{
    exl_connection_t *connection = calloc(1, sizeof *connection);
    if (!connection)
        return exl_error_set(err, -ENOMEM, "out of memory");
    int rc = exl_tls_create(side, name, key, &connection->tls, err);
    if (rc < 0) {
        free(connection);
        return rc;
    }
    connection->fd = fd;
    exl_buffer_init(&connection->out);
    *ret_connection = connection;
    return 0;
}

void exl_connection_destroy(exl_connection_t *connection, bool good_bye)
{
    if (!connection)
        return;
    if (good_bye && exl_tls_close(connection->tls) == 0)
        (void)exl_connection_write(connection);
    (void)close(connection->fd);
    exl_tls_destroy(connection->tls);
    exl_buffer_fini(&connection->out);
    free(connection);
}

int exl_connection_fd(const exl_connection_t *connection)
{
    return connection->fd;
}

void exl_connection_greet(exl_connection_t *connection, exl_frame_t hello)
{
    hello.type = EXL_FRAME_HELLO;
    connection->hello = hello;
    connection->says_hello = true;
}

bool exl_connection_greeted(const exl_connection_t *connection, exl_frame_t *ret_hello)
{
    return connection->theirs_size == EXL_FRAME_SIZE && exl_frame_decode(connection->theirs, ret_hello) == 0;
}

void exl_connection_attach(exl_connection_t *connection, exl_link_t *link)
{
    connection->link = link;
}

/* ---- reading ---- */

/* Exactly the greeting, since what follows it is the link's. 1: it is there. */
static int read_hello(exl_connection_t *connection)
{
    size_t missing = EXL_FRAME_SIZE - connection->theirs_size;
    if (!missing)
        return 1;
    int rc = exl_tls_read(connection->tls, connection->theirs + connection->theirs_size, missing);
    if (rc <= 0)
        return rc;
    connection->theirs_size += (size_t)rc;
    if (connection->theirs_size < EXL_FRAME_SIZE)
        return 0;
    exl_frame_t hello;
    rc = exl_frame_decode(connection->theirs, &hello);
    return rc < 0 || hello.type != EXL_FRAME_HELLO || hello.flags || hello.nfds || hello.size ? EXL_EPROTOCOL : 1;
}

/* Plain text, to where it belongs. >0: something for the link. */
static int digest(exl_connection_t *connection)
{
    int rc = read_hello(connection);
    if (rc <= 0)
        return rc;
    if (!connection->link)
        return 0; /* the owner looks at the greeting first */
    uint8_t text[RECORD];
    rc = exl_tls_read(connection->tls, text, sizeof text);
    if (rc <= 0)
        return rc;
    int fed = exl_link_feed(connection->link, text, (size_t)rc);
    return fed < 0 ? fed : 1;
}

/* 1: there may be more. 0: there is not, for now. */
static int fill(exl_connection_t *connection, exl_error_t *err)
{
    uint8_t bytes[READ_SIZE];
    ssize_t got;
    do
        got = recv(connection->fd, bytes, sizeof bytes, 0);
    while (got < 0 && errno == EINTR);
    if (got == 0) /* without a good-bye: it broke, or its process died */
        return exl_error_set(err, -ECONNRESET, "the connection broke");
    if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
        return 0;
    if (got < 0 && errno == EPIPE) /* a reset that has come after the end of the stream */
        errno = ECONNRESET;
    if (got < 0)
        return exl_error_set(err, -errno, "the connection broke: %s", strerror(errno));
    int rc = exl_tls_feed(connection->tls, bytes, (size_t)got, err);
    return rc < 0 ? rc : (size_t)got == sizeof bytes;
}

int exl_connection_read(exl_connection_t *connection, exl_error_t *err)
{
    int more = 1;
    bool fed = false;
    for (int turn = 0; turn < TURN; turn++) {
        int rc;
        while ((rc = digest(connection)) > 0)
            fed = true;
        if (rc < 0)
            return fed ? 1 : exl_error_set(err, rc, "%s", exl_strerror(rc));
        if (!more)
            return 0;
        more = fill(connection, err);
        if (more < 0)
            return fed ? 1 : more;
    }
    return 1;
}

/* ---- writing ---- */

static int encrypt(exl_connection_t *connection)
{
    uint8_t text[RECORD];
    if (!exl_tls_established(connection->tls))
        return 0;
    if (connection->says_hello) {
        connection->says_hello = false;
        exl_frame_encode(&connection->hello, text);
        return exl_tls_write(connection->tls, text, EXL_FRAME_SIZE);
    }
    size_t size = connection->link ? exl_link_take(connection->link, text, sizeof text) : 0;
    return size ? exl_tls_write(connection->tls, text, size) : 0;
}

static int collect(exl_connection_t *connection)
{
    int rc = exl_tls_pending(connection->tls) ? 0 : encrypt(connection);
    size_t size = exl_tls_pending(connection->tls);
    if (rc < 0 || !size)
        return rc;
    uint8_t *room = exl_buffer_reserve(&connection->out, size);
    if (!room)
        return -ENOMEM;
    connection->out.end += exl_tls_take(connection->tls, room, size);
    return 0;
}

int exl_connection_write(exl_connection_t *connection)
{
    for (;;) {
        int rc = exl_buffer_size(&connection->out) ? 0 : collect(connection);
        size_t size = exl_buffer_size(&connection->out);
        if (rc < 0 || !size)
            return rc;
        ssize_t sent = send(connection->fd, exl_buffer_data(&connection->out), size, MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR)
            continue;
        if (sent < 0)
            return errno == EAGAIN || errno == EWOULDBLOCK ? 1 : -errno;
        exl_buffer_consume(&connection->out, (size_t)sent);
    }
}

void exl_connection_tune(int fd, uint32_t grace_ms)
{
    int noticed_ms = grace_ms / 2 < NOTICED_MS ? (int)(grace_ms / 2) : NOTICED_MS;
    int idle_s = noticed_ms >= 2000 ? noticed_ms / 2000 : 1, probe_s = noticed_ms >= 6000 ? noticed_ms / 6000 : 1;
    const struct {
        int level, name, value;
    } options[] = {{IPPROTO_TCP, TCP_NODELAY, 1},       {SOL_SOCKET, SO_KEEPALIVE, 1},
                   {IPPROTO_TCP, TCP_KEEPIDLE, idle_s}, {IPPROTO_TCP, TCP_KEEPINTVL, probe_s},
                   {IPPROTO_TCP, TCP_KEEPCNT, 3},       {IPPROTO_TCP, TCP_USER_TIMEOUT, noticed_ms}};
    for (size_t i = 0; i < sizeof options / sizeof *options; i++)
        (void)setsockopt(fd, options[i].level, options[i].name, &options[i].value, sizeof options[i].value);
}
