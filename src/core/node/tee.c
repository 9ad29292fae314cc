/* tee.c: one thread, one epoll, many pipes. Only the thread frees streams, so an event never names a freed one. */
#include "node/tee.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/list.h"

struct exl_tee {
    pthread_t thread;
    pthread_mutex_t lock;
    int epoll_fd, wake_fd, output_fd;
    bool ending;         /* under lock */
    exl_list_t closing;  /* under lock: streams to carry over and free */
    exl_buffer_t output; /* under lock: read, not yet written */
};

struct exl_stream {
    exl_list_t link;
    exl_tee_t *tee;
    int fd;             /* read end, non-blocking; -1 after its end */
    exl_claim_t *claim; /* borrowed; NULL once closed */
    uint64_t total;     /* bytes read so far */
    char tail[EXL_TAIL_SIZE];
};

enum { READ_SIZE = 16 * 1024, MAX_EVENTS = 32 };

static void remember(exl_stream_t *stream, const char *bytes, size_t size)
{
    for (size_t i = size > EXL_TAIL_SIZE ? size - EXL_TAIL_SIZE : 0; i < size; i++)
        stream->tail[(stream->total + i) % EXL_TAIL_SIZE] = bytes[i];
    stream->total += size;
}

/* A process that the user forked may have the read end too: epoll forgets a descriptor by itself only with the last of
 * them, and would name a freed stream until then. */
static void forget_pipe(exl_stream_t *stream)
{
    if (stream->fd < 0)
        return;
    (void)epoll_ctl(stream->tee->epoll_fd, EPOLL_CTL_DEL, stream->fd, NULL);
    (void)close(stream->fd);
    stream->fd = -1;
}

/* One read, under the lock. Returns false when there is nothing to read now or ever. */
static bool take_some(exl_stream_t *stream)
{
    char bytes[READ_SIZE];
    exl_claim_t *claim = stream->claim;
    if (stream->fd < 0)
        return false;
    if (claim)
        atomic_fetch_add(&claim->drain_sequence, 1);
    ssize_t size = read(stream->fd, bytes, sizeof bytes);
    int error = errno;
    if (size > 0)
        remember(stream, bytes, (size_t)size);
    if (claim) {
        atomic_store(&claim->drained, stream->total);
        atomic_fetch_add(&claim->drain_sequence, 1);
    }
    if (size > 0) {
        (void)exl_buffer_append(&stream->tee->output, bytes, (size_t)size);
        return true;
    }
    if (size == 0 || (error != EAGAIN && error != EINTR))
        forget_pipe(stream);
    return size < 0 && error == EINTR;
}

static void write_out(int fd, const uint8_t *bytes, size_t size)
{
    while (size) {
        ssize_t written = write(fd, bytes, size);
        if (written < 0 && errno == EINTR)
            continue;
        if (written < 0)
            return; /* a driver without stderr: there is nowhere to carry it */
        bytes += written;
        size -= (size_t)written;
    }
}

/* Writes what has been read, without the lock. */
static void pour(exl_tee_t *tee)
{
    exl_buffer_t output = tee->output;
    exl_buffer_init(&tee->output);
    (void)pthread_mutex_unlock(&tee->lock);
    if (exl_buffer_size(&output))
        write_out(tee->output_fd, exl_buffer_data(&output), exl_buffer_size(&output));
    exl_buffer_fini(&output);
    (void)pthread_mutex_lock(&tee->lock);
}

static void stream_free(exl_stream_t *stream)
{
    forget_pipe(stream);
    free(stream);
}

static void finish_closing(exl_tee_t *tee)
{
    for (exl_list_t *link; (link = exl_list_pop_front(&tee->closing));) {
        exl_stream_t *stream = EXL_CONTAINER(link, exl_stream_t, link);
        while (take_some(stream)) {
        }
        stream_free(stream);
    }
}

static void *tee_main(void *argument)
{
    exl_tee_t *tee = argument;
    struct epoll_event events[MAX_EVENTS];
    (void)pthread_mutex_lock(&tee->lock);
    while (!tee->ending || !exl_list_empty(&tee->closing)) {
        (void)pthread_mutex_unlock(&tee->lock);
        int count = epoll_wait(tee->epoll_fd, events, MAX_EVENTS, -1);
        (void)pthread_mutex_lock(&tee->lock);
        for (int i = 0; i < count; i++) {
            uint64_t wakes;
            if (events[i].data.ptr)
                (void)take_some(events[i].data.ptr);
            else
                (void)!read(tee->wake_fd, &wakes, sizeof wakes);
        }
        finish_closing(tee);
        pour(tee);
    }
    (void)pthread_mutex_unlock(&tee->lock);
    return NULL;
}

static void wake(exl_tee_t *tee)
{
    uint64_t one = 1;
    (void)!write(tee->wake_fd, &one, sizeof one);
}

static int start_thread(exl_tee_t *tee)
{
    /* Signals are for the user's threads: a handler must never run here. */
    sigset_t all, old;
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_BLOCK, &all, &old);
    int rc = -pthread_create(&tee->thread, NULL, tee_main, tee);
    (void)pthread_sigmask(SIG_SETMASK, &old, NULL);
    return rc;
}

static void tee_free(exl_tee_t *tee)
{
    if (tee->epoll_fd >= 0)
        (void)close(tee->epoll_fd);
    if (tee->wake_fd >= 0)
        (void)close(tee->wake_fd);
    exl_buffer_fini(&tee->output);
    (void)pthread_mutex_destroy(&tee->lock);
    free(tee);
}

int exl_tee_create(int output_fd, exl_tee_t **ret_tee)
{
    exl_tee_t *tee = calloc(1, sizeof *tee);
    if (!tee)
        return -ENOMEM;
    (void)pthread_mutex_init(&tee->lock, NULL);
    exl_list_init(&tee->closing);
    exl_buffer_init(&tee->output);
    tee->output_fd = output_fd;
    tee->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    tee->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};
    int rc = tee->epoll_fd < 0 || tee->wake_fd < 0 ? -errno : 0;
    if (rc == 0 && epoll_ctl(tee->epoll_fd, EPOLL_CTL_ADD, tee->wake_fd, &event) < 0)
        rc = -errno;
    if (rc == 0)
        rc = start_thread(tee);
    if (rc < 0)
        tee_free(tee);
    else
        *ret_tee = tee;
    return rc;
}

void exl_tee_destroy(exl_tee_t *tee)
{
    if (!tee)
        return;
    (void)pthread_mutex_lock(&tee->lock);
    tee->ending = true;
    (void)pthread_mutex_unlock(&tee->lock);
    wake(tee);
    (void)pthread_join(tee->thread, NULL);
    tee_free(tee);
}

void exl_tee_abandon(exl_tee_t *tee)
{
    (void)close(tee->epoll_fd);
    (void)close(tee->wake_fd);
}

int exl_stream_open(exl_tee_t *tee, exl_claim_t *claim, exl_stream_t **ret_stream, int *ret_write_fd)
{
    int fds[2];
    exl_stream_t *stream = calloc(1, sizeof *stream);
    if (!stream)
        return -ENOMEM;
    if (pipe2(fds, O_CLOEXEC) < 0) {
        free(stream);
        return -errno;
    }
    exl_list_init(&stream->link);
    stream->tee = tee;
    stream->claim = claim;
    stream->fd = fds[0];
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = stream};
    /* Only the read end: the write end must block its writers, as a terminal does. */
    if (fcntl(fds[0], F_SETFL, O_NONBLOCK) < 0 || epoll_ctl(tee->epoll_fd, EPOLL_CTL_ADD, fds[0], &event) < 0) {
        int rc = -errno;
        (void)close(fds[0]);
        (void)close(fds[1]);
        free(stream);
        return rc;
    }
    *ret_stream = stream;
    *ret_write_fd = fds[1];
    return 0;
}

size_t exl_stream_tail(exl_stream_t *stream, uint64_t mark, char text[EXL_TAIL_SIZE])
{
    exl_tee_t *tee = stream->tee;
    (void)pthread_mutex_lock(&tee->lock);
    bool took = false;
    while (take_some(stream))
        took = true;
    uint64_t first = stream->total > EXL_TAIL_SIZE ? stream->total - EXL_TAIL_SIZE : 0;
    if (first < mark)
        first = mark < stream->total ? mark : stream->total;
    size_t size = (size_t)(stream->total - first);
    for (size_t i = 0; i < size; i++)
        text[i] = stream->tail[(first + i) % EXL_TAIL_SIZE];
    (void)pthread_mutex_unlock(&tee->lock);
    if (took)
        wake(tee);
    return size;
}

void exl_stream_close(exl_stream_t *stream)
{
    if (!stream)
        return;
    exl_tee_t *tee = stream->tee;
    (void)pthread_mutex_lock(&tee->lock);
    stream->claim = NULL;
    exl_list_push_back(&tee->closing, &stream->link);
    (void)pthread_mutex_unlock(&tee->lock);
    wake(tee);
}
