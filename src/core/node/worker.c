/* worker.c: one worker process as the engine sees it. */
#include "node/worker.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "node/zygote_server.h"
#include "task/memory_file.h"
#include "wire/frame.h"

enum { DEAF_GRACE_MS = 100 };

static void poll_cb(uv_poll_t *handle, int status, int events);

static bool launcher_needed; /* under the engine's lock; for the life of the process */

bool exl_worker_launcher_needed(void)
{
    return launcher_needed;
}

static void watch(exl_worker_t *worker)
{
    bool wanted = exl_channel_backlog(&worker->channel) > 0;
    (void)uv_poll_start(&worker->poll, UV_READABLE | (wanted ? UV_WRITABLE : 0), poll_cb);
    worker->writable_wanted = wanted;
    exl_node_t *node = exl_zygote_node(worker->zygote);
    node->changed(node->owner);
}

static void closed_cb(uv_handle_t *handle)
{
    exl_worker_t *worker = handle->data;
    if (--worker->nhandles)
        return;
    exl_claim_close(worker->claim);
    exl_idmap_fini(&worker->functions);
    free(worker);
}

static void drop_log(exl_worker_t *worker)
{
    if (worker->log_fd >= 0)
        (void)close(worker->log_fd);
    worker->log_fd = -1;
}

/* The last step: nobody refers to the worker any more. */
static void close_worker(exl_worker_t *worker)
{
    exl_node_t *node = exl_zygote_node(worker->zygote);
    assert(!worker->closed);
    worker->closed = true;
    (void)exl_idmap_remove(&node->processes, worker->id);
    exl_list_remove(&worker->zygote_link);
    uv_close((uv_handle_t *)&worker->poll, closed_cb);
    if (worker->nhandles > 1)
        uv_close((uv_handle_t *)&worker->deaf, closed_cb);
    exl_channel_fini(&worker->channel);
    drop_log(worker);
    exl_stream_close(worker->stderr_stream);
    worker->stderr_stream = NULL;
    node->changed(node->owner);
}

/* A worker has done with the file of an answer once it has sent it. Past the budget for descriptors, memory it is. */
static void take_over(exl_payload_t *payload)
{
    if (!payload || exl_payload_fd(payload) < 0)
        return;
    exl_payload_own_file(payload);
    if (exl_memory_files_scarce(100) && exl_payload_map(payload) == 0)
        exl_payload_close_file(payload);
}

static void keep_reason(exl_worker_t *worker, const exl_payload_t *payload)
{
    exl_payload_view_t view;
    if (!payload || !exl_payload_region(payload) || exl_payload_view(payload, &view) < 0)
        return;
    (void)snprintf(worker->told, sizeof worker->told, "%.*s", (int)view.body_size, (const char *)view.body);
    worker->reason = worker->told;
}

static void dispatch(exl_worker_t *worker, exl_message_t *message)
{
    take_over(message->payload);
    switch (message->frame.type) {
    case EXL_FRAME_READY:
        worker->ready = true;
        worker->events->ready(worker);
        break;
    case EXL_FRAME_SETUP_FAILED:
        worker->failed = true;
        if (message->payload)
            worker->events->setup_failed(worker, message->payload);
        break;
    case EXL_FRAME_RESULT:
    case EXL_FRAME_EXCEPTION:
        drop_log(worker);
        if (message->payload)
            worker->events->answer(worker, message->frame.id, message->frame.type == EXL_FRAME_EXCEPTION,
                                   message->payload);
        break;
    case EXL_FRAME_REASON:
        keep_reason(worker, message->payload);
        break;
    case EXL_FRAME_LAUNCHER_NEEDED:
        launcher_needed = true;
        break;
    case EXL_FRAME_IMPORTS:
        if (message->payload)
            worker->events->imports(worker, message->payload);
        break;
    case EXL_FRAME_LOG:
        if (message->frame.nfds != 1)
            break;
        drop_log(worker);
        worker->log_fd = message->fds[0];
        worker->log_start = message->frame.id;
        message->fds[0] = -1;
        message->frame.nfds = 0;
        break;
    default:
        worker->reason = "sent a frame that no worker sends";
        exl_worker_kill(worker, SIGKILL);
    }
    exl_message_fini(message);
}

/* Reads what is there: all of it, or what one look finds. 0: nothing more for now; negative: nothing more ever. */
static int drain(exl_worker_t *worker, bool all)
{
    for (;;) {
        exl_message_t message;
        int rc;
        while ((rc = exl_channel_next(&worker->channel, &message)) > 0)
            dispatch(worker, &message);
        if (rc == 0)
            rc = exl_channel_fill(&worker->channel);
        if (rc <= 0)
            return rc;
        /* A short read nearly always means that the socket is empty: one call to the kernel less. Not always: a read also
         * ends where a frame comes with descriptors. */
        if (!all && rc < EXL_INLINE_MAX / 4) {
            while ((rc = exl_channel_next(&worker->channel, &message)) > 0)
                dispatch(worker, &message);
            return rc;
        }
    }
}

static void deaf_cb(uv_timer_t *timer)
{
    exl_worker_t *worker = timer->data;
    if (worker->terminated)
        return; /* it is being ended, with more time than this */
    if (!worker->reason)
        worker->reason = "closed its channel to the driver";
    exl_worker_kill(worker, SIGKILL);
}

/* The end of the channel is nearly always the end of the process, of which the zygote is about to tell. A process that
 * lives on has called exec or closed every descriptor: it will never answer, so it is ended. */
static void stop_listening(exl_worker_t *worker, int code)
{
    exl_node_t *node = exl_zygote_node(worker->zygote);
    (void)uv_poll_stop(&worker->poll);
    if (worker->exited || worker->terminated || worker->nhandles > 1)
        return;
    if (code != EXL_ECLOSED) {
        worker->reason = "its channel failed";
        worker->reason_code = code;
    }
    (void)uv_timer_init(node->loop, &worker->deaf);
    worker->deaf.data = worker;
    worker->nhandles++;
    (void)uv_timer_start(&worker->deaf, deaf_cb, DEAF_GRACE_MS, 0);
    node->changed(node->owner);
}

static void poll_cb(uv_poll_t *handle, int status, int events)
{
    exl_worker_t *worker = handle->data;
    if (worker->closed)
        return;
    if (events & UV_WRITABLE)
        exl_worker_flush(worker);
    if ((events & UV_READABLE) || status < 0) {
        int rc = drain(worker, false);
        if (rc < 0 && !worker->closed)
            stop_listening(worker, rc);
    }
}

static int open_channel(exl_worker_t *worker, int *ret_peer)
{
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
        return -errno;
    exl_channel_init(&worker->channel, pair[0]);
    *ret_peer = pair[1];
    worker->nhandles = 1;
    return uv_poll_init(exl_zygote_node(worker->zygote)->loop, &worker->poll, pair[0]);
}

static int duplicate(int fd)
{
    return fcntl(fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
}

static void start_failed(exl_worker_t *worker, const int *fds, unsigned nfds)
{
    for (unsigned i = 0; i < nfds; i++)
        if (fds[i] >= 0)
            (void)close(fds[i]);
    exl_stream_close(worker->stderr_stream);
    exl_channel_fini(&worker->channel);
    exl_claim_close(worker->claim);
    free(worker);
}

int exl_worker_start(exl_zygote_t *zygote, unsigned kind, const exl_worker_events_t *events, void *owner,
                     exl_worker_t **ret_worker, exl_error_t *err)
{
    bool persistent = kind & EXL_WORKER_PERSISTENT;
    exl_node_t *node = exl_zygote_node(zygote);
    exl_worker_t *worker = calloc(1, sizeof *worker);
    if (!worker)
        return exl_error_set(err, -ENOMEM, "out of memory");
    *worker = (exl_worker_t){.id = exl_node_worker_id(node),
                             .owner = owner,
                             .events = events,
                             .zygote = zygote,
                             .persistent = persistent,
                             .launcher = launcher_needed,
                             .head = kind & EXL_WORKER_HEAD};
    exl_list_init(&worker->link);
    exl_list_init(&worker->zygote_link);
    exl_list_init(&worker->outstanding);
    exl_idmap_init(&worker->functions);
    worker->channel.fd = worker->log_fd = -1;
    worker->poll.data = worker;

    /* channel, stderr, claim: the order in which the zygote expects them */
    int fds[] = {-1, -1, -1};
    int rc = persistent ? exl_claim_create(&worker->claim, &fds[2]) : 0;
    if (rc == 0)
        rc = exl_stream_open(node->tee, worker->claim, &worker->stderr_stream, &fds[1]);
    if (rc == 0)
        rc = exl_idmap_put(&node->processes, worker->id, worker);
    if (rc == 0 && (rc = open_channel(worker, &fds[0])) < 0)
        (void)exl_idmap_remove(&node->processes, worker->id);
    if (rc < 0) {
        start_failed(worker, fds, 3);
        return exl_error_set(err, rc, "cannot prepare a worker: %s", exl_strerror(rc));
    }
    uint32_t arg = (kind & EXL_WORKER_PRELOADED ? EXL_FORK_PRELOADED : 0) |
                   (kind & EXL_WORKER_HEAD ? EXL_FORK_HEAD : 0) | (worker->launcher ? EXL_FORK_LAUNCHER : 0);
    rc = exl_zygote_fork(zygote, worker, fds, persistent ? 3 : 2, arg, err);
    if (rc < 0) {
        close_worker(worker);
        return rc;
    }
    watch(worker);
    *ret_worker = worker;
    return 0;
}

int exl_worker_set_up(exl_worker_t *worker, exl_payload_t *setup)
{
    int fd = duplicate(STDOUT_FILENO);
    exl_frame_t frame = {.type = EXL_FRAME_SETUP, .id = worker->id, .arg = worker->index};
    worker->flush_due = true;
    int rc = exl_channel_queue(&worker->channel, frame, setup, &fd, fd >= 0, true);
    if (rc < 0 && fd >= 0)
        (void)close(fd);
    return rc;
}

int exl_worker_send(exl_worker_t *worker, exl_frame_t frame, exl_payload_t *payload)
{
    worker->flush_due = true;
    return exl_channel_queue(&worker->channel, frame, payload, NULL, 0, false);
}

void exl_worker_flush(exl_worker_t *worker)
{
    worker->flush_due = false;
    /* Errors are the reader's to tell: the end of the channel, and the exit status, are on their way. */
    (void)exl_channel_flush(&worker->channel);
    if ((exl_channel_backlog(&worker->channel) > 0) != worker->writable_wanted && !worker->channel.ended)
        watch(worker);
}

void exl_worker_end(exl_worker_t *worker)
{
    if (worker->ending)
        return;
    worker->ending = true;
    (void)exl_worker_send(worker, (exl_frame_t){.type = EXL_FRAME_END}, NULL);
    exl_worker_flush(worker);
}

void exl_worker_kill(exl_worker_t *worker, int signal)
{
    exl_zygote_kill(worker->zygote, worker->id, signal);
}

void exl_worker_terminate(exl_worker_t *worker, uint32_t grace_ms)
{
    worker->terminated = true;
    exl_zygote_terminate(worker->zygote, worker->id, grace_ms);
}

void exl_worker_read(exl_worker_t *worker)
{
    (void)drain(worker, false); /* the end of the channel is told again */
}

uint64_t exl_worker_started(const exl_worker_t *worker)
{
    return exl_claim_started(worker->claim);
}

uint64_t exl_worker_recall(exl_worker_t *worker)
{
    uint64_t started = exl_claim_recall(worker->claim, worker->epoch);
    worker->epoch = (worker->epoch + 1) & ((UINT32_C(1) << (64 - EXL_CLAIM_STARTED_BITS)) - 1);
    return started;
}

static void describe(const exl_worker_t *worker, char *text, size_t size)
{
    if (worker->reason && worker->reason_code && worker->reason_code != EXL_ECLOSED)
        (void)snprintf(text, size, "%s: %s", worker->reason, exl_strerror(worker->reason_code));
    else if (worker->reason && !worker->pid && worker->status_known)
        (void)snprintf(text, size, "%s: %s %d", worker->reason,
                       WIFSIGNALED(worker->wait_status) ? "killed by signal" : "exit status",
                       WIFSIGNALED(worker->wait_status) ? WTERMSIG(worker->wait_status)
                                                        : WEXITSTATUS(worker->wait_status));
    else if (worker->reason)
        (void)snprintf(text, size, "%s", worker->reason);
    else if (!worker->status_known)
        (void)snprintf(text, size, "its zygote was killed");
    else
        text[0] = '\0'; /* the wait status says it all */
}

/* The last of what the present call wrote into its own file. */
static size_t tail_of_log(const exl_worker_t *worker, char text[EXL_TAIL_SIZE])
{
    struct stat file;
    if (worker->log_fd < 0 || fstat(worker->log_fd, &file) < 0 || (uint64_t)file.st_size <= worker->log_start)
        return 0;
    uint64_t size = (uint64_t)file.st_size, start = worker->log_start;
    if (size - start > EXL_TAIL_SIZE)
        start = size - EXL_TAIL_SIZE;
    ssize_t got = pread(worker->log_fd, text, size - start, (off_t)start);
    return got > 0 ? (size_t)got : 0;
}

static size_t tail_of(exl_worker_t *worker, char text[EXL_TAIL_SIZE])
{
    if (worker->foreign_tail)
        return (size_t)snprintf(text, EXL_TAIL_SIZE, "%s", worker->foreign_tail);
    size_t size = tail_of_log(worker, text);
    uint64_t mark = worker->claim ? atomic_load(&worker->claim->stderr_mark) : 0;
    return size || !worker->stderr_stream ? size : exl_stream_tail(worker->stderr_stream, mark, text);
}

exl_failure_t *exl_worker_failure(exl_worker_t *worker)
{
    char reason[256], tail[EXL_TAIL_SIZE];
    size_t size = tail_of(worker, tail);
    bool lived = worker->ready || (worker->pid && !worker->persistent && !worker->head);
    describe(worker, reason, sizeof reason);
    return exl_failure_create(!worker->status_known && lived ? EXL_BLAME_NODE
                              : lived                        ? EXL_BLAME_FUNCTION
                                                             : EXL_BLAME_WORKER,
                              worker->pid, worker->status_known ? &worker->wait_status : NULL, reason, tail, size);
}

void exl_worker_forked(exl_worker_t *worker, pid_t pid)
{
    worker->pid = pid;
    if (worker->events->forked)
        worker->events->forked(worker);
}

void exl_worker_exited(exl_worker_t *worker, const int *wait_status, const char *reason, int code)
{
    worker->exited = true;
    worker->status_known = wait_status != NULL;
    if (wait_status)
        worker->wait_status = *wait_status;
    if (reason) {
        worker->reason = reason;
        worker->reason_code = code;
    }
    (void)drain(worker, true);
    worker->events->gone(worker);
    close_worker(worker);
}
