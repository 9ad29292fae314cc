/* pmi_host.c: see pmi_host.h. */
#include "node/pmi_host.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "launch/pmi.h"

struct connection {
    int fd, rank_fd; /* ours and the rank's; -1: closed */
};

struct exl_pmi_host {
    uint32_t nranks;
    struct connection *connections; /* owned */
    exl_pmi_t *pmi;                 /* owned */
    bool deaf;                      /* a rank does not read its answers */
};

static void close_end(int *fd)
{
    if (*fd >= 0)
        (void)close(*fd);
    *fd = -1;
}

/* A rank waits for its answer before it asks again, so there is room in its socket; one that has gone needs none. */
static void send_answer(void *owner, uint32_t rank, const char *line, size_t size)
{
    exl_pmi_host_t *host = owner;
    ssize_t sent = send(host->connections[rank].fd, line, size, MSG_DONTWAIT | MSG_NOSIGNAL);
    host->deaf |= sent >= 0 ? (size_t)sent < size : errno == EAGAIN;
}

int exl_pmi_host_create(uint32_t nranks, const char *name, exl_pmi_host_t **ret_host)
{
    exl_pmi_host_t *host = calloc(1, sizeof *host);
    if (!host)
        return -ENOMEM;
    host->connections = calloc(nranks, sizeof *host->connections);
    int rc = host->connections ? exl_pmi_create(nranks, name, send_answer, host, &host->pmi) : -ENOMEM;
    for (; rc == 0 && host->nranks < nranks; host->nranks++) {
        int pair[2];
        if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0) {
            rc = -errno;
            break;
        }
        host->connections[host->nranks] = (struct connection){pair[0], pair[1]};
    }
    if (rc < 0) {
        exl_pmi_host_destroy(host);
        return rc;
    }
    *ret_host = host;
    return 0;
}

void exl_pmi_host_destroy(exl_pmi_host_t *host)
{
    for (uint32_t i = 0; i < host->nranks; i++) {
        close_end(&host->connections[i].fd);
        close_end(&host->connections[i].rank_fd);
    }
    if (host->pmi)
        exl_pmi_destroy(host->pmi);
    free(host->connections);
    free(host);
}

int exl_pmi_host_leave(exl_pmi_host_t *host, uint32_t rank)
{
    int fd = host->connections[rank].rank_fd;
    host->connections[rank].rank_fd = -1;
    exl_pmi_host_destroy(host);
    return fd;
}

void exl_pmi_host_open(exl_pmi_host_t *host)
{
    for (uint32_t i = 0; i < host->nranks; i++)
        close_end(&host->connections[i].rank_fd);
}

void exl_pmi_host_watch(const exl_pmi_host_t *host, struct pollfd *fds)
{
    for (uint32_t i = 0; i < host->nranks; i++)
        fds[i] = (struct pollfd){.fd = host->connections[i].fd, .events = POLLIN};
}

static int serve_rank(exl_pmi_host_t *host, uint32_t rank, exl_error_t *err)
{
    char bytes[EXL_PMI_LINE_MAX];
    int status = 0;
    ssize_t got = recv(host->connections[rank].fd, bytes, sizeof bytes, MSG_DONTWAIT);
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return 0;
    if (got <= 0) {
        close_end(&host->connections[rank].fd);
        return 0;
    }
    int rc = exl_pmi_feed(host->pmi, rank, bytes, (size_t)got, &status);
    if (rc == EXL_ECLOSED)
        return exl_error_set(err, rc, "MPI rank %u of %u called MPI_Abort with status %d", rank, host->nranks, status);
    if (rc < 0 || host->deaf)
        return exl_error_set(err, EXL_EPROTOCOL, "MPI rank %u of %u does not speak PMI-1", rank, host->nranks);
    if (rc > 0)
        (void)fprintf(stderr,
                      "executorlib: MPI rank %u wants to spawn processes or to use published names, which needs "
                      "mpiexec: set EXECUTORLIB_MPI_START=mpiexec\n",
                      rank);
    return 0;
}

int exl_pmi_host_serve(exl_pmi_host_t *host, const struct pollfd *fds, exl_error_t *err)
{
    int rc = 0;
    for (uint32_t i = 0; rc == 0 && i < host->nranks; i++)
        if (fds[i].revents)
            rc = serve_rank(host, i, err);
    return rc;
}
