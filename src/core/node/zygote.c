/* zygote.c: one zygote process, its templates, and the workers it answers for. */
#include "node/zygote.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/random.h"
#include "launch/spawn.h"
#include "node/descendants.h"
#include "node/worker.h"
#include "node/zygote_server.h"

enum { MAX_TEMPLATES = 4, MARKER_BYTES = 16, END_GRACE_MS = 5000, DEATH_MS = 100 };

struct exl_zygote {
    exl_list_t link; /* in the node, or in the parent's templates */
    exl_node_t *node;
    unsigned refs;
    char *key;
    char **argv, **envp; /* owned; the last entry of envp is the marker */
    char marker[sizeof "EXECUTORLIB_ZYGOTE=" + 2 * (size_t)MARKER_BYTES];
    exl_zygote_state_t state;
    pid_t pid;
    exl_channel_t control;
    uv_poll_t control_poll, exit_poll;
    bool exit_watched;
    uv_timer_t grace;
    int pidfd;
    unsigned nhandles; /* open libuv handles of the present process */
    exl_stream_t *stderr_stream;
    exl_list_t workers;
    exl_list_t templates;
    unsigned ntemplates;
    /* Of a template only: */
    exl_zygote_t *parent;      /* borrowed */
    uint64_t id, function_key; /* 0: made for persistent workers */
    exl_payload_t *setup, *modules;
};

static void control_cb(uv_poll_t *handle, int status, int events);
static void process_ended(exl_zygote_t *zygote, const int *wait_status);

exl_node_t *exl_zygote_node(exl_zygote_t *zygote)
{
    return zygote->node;
}

static void free_strings(char **strings)
{
    for (char **string = strings; string && *string; string++)
        free(*string);
    free(strings);
}

static void zygote_free(exl_zygote_t *zygote)
{
    exl_list_remove(&zygote->link);
    free_strings(zygote->argv);
    free_strings(zygote->envp);
    free(zygote->key);
    exl_payload_unref(zygote->setup);
    exl_payload_unref(zygote->modules);
    free(zygote);
}

/* A copy with room for one more, or NULL. */
static char **copy_strings(const char *const *strings, const char *last)
{
    size_t count = 0;
    while (strings[count])
        count++;
    char **copy = calloc(count + 2, sizeof *copy);
    for (size_t i = 0; copy && i < count + (last != NULL); i++)
        if (!(copy[i] = strdup(i < count ? strings[i] : last))) {
            free_strings(copy);
            return NULL;
        }
    return copy;
}

static exl_zygote_t *zygote_new(exl_node_t *node)
{
    exl_zygote_t *zygote = calloc(1, sizeof *zygote);
    if (!zygote)
        return NULL;
    exl_list_init(&zygote->link);
    exl_list_init(&zygote->workers);
    exl_list_init(&zygote->templates);
    zygote->node = node;
    zygote->control.fd = -1;
    zygote->pidfd = -1;
    return zygote;
}

/* What exl_marked_kill() looks for if the zygote, the subreaper of all it started, is itself killed. */
static void make_marker(exl_zygote_t *zygote)
{
    unsigned char bytes[MARKER_BYTES];
    if (exl_random(bytes, sizeof bytes) < 0)
        memcpy(bytes, &zygote, sizeof zygote);
    int length = snprintf(zygote->marker, sizeof zygote->marker, "EXECUTORLIB_ZYGOTE=");
    for (size_t i = 0; i < sizeof bytes; i++)
        length += snprintf(zygote->marker + length, sizeof zygote->marker - (size_t)length, "%02x", bytes[i]);
}

int exl_zygote_acquire(exl_node_t *node, const exl_zygote_spec_t *spec, exl_zygote_t **ret_zygote)
{
    EXL_LIST_FOREACH(&node->zygotes, link)
    {
        exl_zygote_t *zygote = EXL_CONTAINER(link, exl_zygote_t, link);
        if (strcmp(zygote->key, spec->key) == 0 && zygote->refs) {
            zygote->refs++;
            *ret_zygote = zygote;
            return 0;
        }
    }
    exl_zygote_t *zygote = zygote_new(node);
    if (!zygote)
        return -ENOMEM;
    make_marker(zygote);
    zygote->refs = 1;
    zygote->key = strdup(spec->key);
    zygote->argv = copy_strings(spec->argv, NULL);
    zygote->envp = copy_strings(spec->envp, zygote->marker);
    if (!zygote->key || !zygote->argv || !zygote->envp) {
        zygote_free(zygote);
        return -ENOMEM;
    }
    exl_list_push_back(&node->zygotes, &zygote->link);
    *ret_zygote = zygote;
    return 0;
}

/* ---- the process ---- */

static void handle_closed_cb(uv_handle_t *handle)
{
    exl_zygote_t *zygote = handle->data;
    if (--zygote->nhandles)
        return;
    if (zygote->pidfd >= 0)
        (void)close(zygote->pidfd);
    zygote->pidfd = -1;
    zygote->state = EXL_ZYGOTE_OFFLINE;
    /* Workers asked for meanwhile were refused; the executors ask again. */
    zygote->node->changed(zygote->node->owner);
    if (zygote->refs == 0)
        zygote_free(zygote);
}

static void close_handles(exl_zygote_t *zygote)
{
    uv_close((uv_handle_t *)&zygote->control_poll, handle_closed_cb);
    uv_close((uv_handle_t *)&zygote->grace, handle_closed_cb);
    if (zygote->exit_watched)
        uv_close((uv_handle_t *)&zygote->exit_poll, handle_closed_cb);
    zygote->exit_watched = false;
    zygote->node->changed(zygote->node->owner);
}

static void dispatch(exl_zygote_t *zygote, const exl_message_t *message);

/* What it said before its end, such as which workers it has forked, may not have been read yet. */
static void hear_out(exl_zygote_t *zygote)
{
    exl_message_t message;
    do
        while (exl_channel_next(&zygote->control, &message) > 0) {
            dispatch(zygote, &message);
            exl_message_fini(&message);
        }
    while (exl_channel_fill(&zygote->control) > 0);
}

/* The process has been waited for, or will be by its parent. */
static void process_ended(exl_zygote_t *zygote, const int *wait_status)
{
    bool expected = zygote->state == EXL_ZYGOTE_ENDING;
    hear_out(zygote);
    /* A template that gave up says nothing about its zygote: another is asked for the workers. */
    bool online = zygote->parent || zygote->state != EXL_ZYGOTE_STARTING;
    zygote->state = EXL_ZYGOTE_ENDING;
    if (!expected && !zygote->parent)
        exl_marked_kill(zygote->marker);
    char tail[EXL_TAIL_SIZE + 1] = "";
    if (zygote->stderr_stream)
        tail[exl_stream_tail(zygote->stderr_stream, 0, tail)] = '\0';
    EXL_LIST_FOREACH_SAFE(&zygote->workers, link)
    {
        exl_worker_t *worker = EXL_CONTAINER(link, exl_worker_t, zygote_link);
        if (worker->pid) {
            /* Their parent was the zygote, and nobody has waited for them: the pid is still theirs. */
            (void)kill(worker->pid, SIGKILL);
            exl_await_death(worker->pid, DEATH_MS);
        }
        worker->unborn = online && !worker->pid;
        if (!online)
            worker->foreign_tail = tail;
        exl_worker_exited(worker, online ? NULL : wait_status,
                          online ? "its zygote was killed" : "the zygote, which starts workers, could not start", 0);
    }
    EXL_LIST_FOREACH_SAFE(&zygote->templates, template_link)
    process_ended(EXL_CONTAINER(template_link, exl_zygote_t, link), NULL);
    if (zygote->parent) {
        (void)exl_idmap_remove(&zygote->node->processes, zygote->id);
        exl_list_remove(&zygote->link);
        zygote->parent->ntemplates--;
        zygote->parent = NULL;
    }
    exl_stream_close(zygote->stderr_stream);
    zygote->stderr_stream = NULL;
    close_handles(zygote); /* before the channel: libuv takes the descriptor out of its epoll by number */
    exl_channel_fini(&zygote->control);
}

static void reap_process(exl_zygote_t *zygote, bool blocking)
{
    int wait_status;
    pid_t pid;
    do
        pid = waitpid(zygote->pid, &wait_status, blocking ? 0 : WNOHANG);
    while (pid < 0 && errno == EINTR);
    if (pid != 0)
        process_ended(zygote, pid > 0 ? &wait_status : NULL); /* < 0: the user's program has waited for it */
}

static void exit_cb(uv_poll_t *handle, int status, int events)
{
    (void)status;
    (void)events;
    reap_process(handle->data, false);
}

static void grace_cb(uv_timer_t *timer)
{
    exl_zygote_t *zygote = timer->data;
    (void)kill(zygote->pid, SIGKILL);
    exl_marked_kill(zygote->marker);
}

static void dispatch(exl_zygote_t *zygote, const exl_message_t *message)
{
    uint64_t id = message->frame.id;
    int wait_status = (int)message->frame.arg;
    void *process = exl_idmap_get(&zygote->node->processes, id);
    if (message->frame.type == EXL_FRAME_ONLINE) {
        if (zygote->state == EXL_ZYGOTE_STARTING)
            zygote->state = EXL_ZYGOTE_ONLINE;
    } else if (!process) {
        return;
    } else if (id & 1) {
        if (message->frame.type == EXL_FRAME_FORKED)
            ((exl_zygote_t *)process)->pid = (pid_t)message->frame.arg;
        else if (((exl_zygote_t *)process)->state != EXL_ZYGOTE_OFFLINE)
            process_ended(process, NULL);
    } else if (message->frame.type == EXL_FRAME_FORKED) {
        exl_worker_forked(process, (pid_t)message->frame.arg);
    } else if (message->frame.type == EXL_FRAME_NOT_FORKED) {
        exl_worker_exited(process, NULL, "the zygote could not fork", -(int)message->frame.arg);
    } else if (message->frame.type == EXL_FRAME_EXITED) {
        exl_worker_exited(process, &wait_status, NULL, 0);
    }
}

static void control_cb(uv_poll_t *handle, int status, int events)
{
    exl_zygote_t *zygote = handle->data;
    int rc = 0;
    if (events & UV_WRITABLE) {
        rc = exl_channel_flush(&zygote->control);
        if (rc == 0)
            (void)uv_poll_start(&zygote->control_poll, UV_READABLE, control_cb);
    }
    if ((events & UV_READABLE) || status < 0) {
        rc = exl_channel_fill(&zygote->control);
        exl_message_t message;
        int next = 0;
        while (zygote->state != EXL_ZYGOTE_ENDING && (next = exl_channel_next(&zygote->control, &message)) > 0) {
            dispatch(zygote, &message);
            exl_message_fini(&message);
        }
        if (next < 0)
            rc = next;
    }
    if (rc >= 0 || zygote->state == EXL_ZYGOTE_ENDING)
        return;
    /* The end of the channel without the end of the process means that it is dying or stuck. */
    (void)uv_poll_stop(&zygote->control_poll);
    if (zygote->parent) {
        process_ended(zygote, NULL);
    } else {
        (void)kill(zygote->pid, SIGKILL);
        if (!zygote->exit_watched)
            reap_process(zygote, true);
    }
}

static int watch_process(exl_zygote_t *zygote)
{
    uv_loop_t *loop = zygote->node->loop;
    int rc = uv_poll_init(loop, &zygote->control_poll, zygote->control.fd);
    if (rc < 0)
        return rc;
    zygote->control_poll.data = zygote->grace.data = zygote->exit_poll.data = zygote;
    (void)uv_timer_init(loop, &zygote->grace);
    (void)uv_poll_start(&zygote->control_poll, UV_READABLE, control_cb);
    zygote->nhandles = 2;
    zygote->exit_watched = false;
    if (!zygote->parent) {
        zygote->pidfd = (int)syscall(SYS_pidfd_open, zygote->pid, 0);
        zygote->exit_watched = zygote->pidfd >= 0 && uv_poll_init(loop, &zygote->exit_poll, zygote->pidfd) == 0;
        if (zygote->exit_watched) {
            (void)fcntl(zygote->pidfd, F_SETFD, FD_CLOEXEC);
            (void)uv_poll_start(&zygote->exit_poll, UV_READABLE, exit_cb);
            zygote->nhandles++;
        }
    }
    zygote->node->changed(zygote->node->owner);
    return 0;
}

static int start_process(exl_zygote_t *zygote, exl_error_t *err)
{
    int pair[2], stderr_fd = -1;
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
        return exl_error_set(err, -errno, "cannot make a socket: %s", strerror(errno));
    int rc = exl_stream_open(zygote->node->tee, NULL, &zygote->stderr_stream, &stderr_fd);
    if (rc < 0) {
        (void)exl_error_set(err, rc, "cannot make a pipe: %s", exl_strerror(rc));
    } else {
        exl_spawn_t spawn = {.argv = zygote->argv, .envp = zygote->envp, .control_fd = pair[1], .stderr_fd = stderr_fd};
        rc = exl_spawn(&spawn, &zygote->pid, err);
        (void)close(stderr_fd);
    }
    (void)close(pair[1]);
    if (rc < 0) {
        (void)close(pair[0]);
        exl_stream_close(zygote->stderr_stream);
        zygote->stderr_stream = NULL;
        return rc;
    }
    exl_channel_init(&zygote->control, pair[0]);
    zygote->state = EXL_ZYGOTE_STARTING;
    rc = watch_process(zygote);
    if (rc < 0) {
        (void)kill(zygote->pid, SIGKILL);
        (void)waitpid(zygote->pid, NULL, 0);
        zygote->state = EXL_ZYGOTE_OFFLINE;
        exl_channel_fini(&zygote->control);
        exl_stream_close(zygote->stderr_stream);
        zygote->stderr_stream = NULL;
        (void)exl_error_set(err, rc, "cannot watch the zygote: %s", exl_strerror(rc));
    }
    return rc;
}

/* Ends the channel: the zygote then kills whatever is left and goes. The descriptor stays until the handle is closed, which
 * takes its number out of libuv's epoll, whoever has it by then. */
static void end_process(exl_zygote_t *zygote)
{
    zygote->state = EXL_ZYGOTE_ENDING;
    (void)uv_poll_stop(&zygote->control_poll);
    (void)shutdown(zygote->control.fd, SHUT_RDWR);
    uv_update_time(zygote->node->loop); /* which is as old as the engine's last wake-up */
    (void)uv_timer_start(&zygote->grace, grace_cb, END_GRACE_MS, 0);
    zygote->node->changed(zygote->node->owner);
    if (!zygote->exit_watched)
        reap_process(zygote, true);
}

void exl_zygote_release(exl_zygote_t *zygote)
{
    assert(zygote->refs);
    if (--zygote->refs)
        return;
    if (zygote->state == EXL_ZYGOTE_OFFLINE) {
        zygote_free(zygote);
    } else if (zygote->state != EXL_ZYGOTE_ENDING) {
        EXL_LIST_FOREACH_SAFE(&zygote->templates, link)
        process_ended(EXL_CONTAINER(link, exl_zygote_t, link), NULL);
        end_process(zygote);
    }
}

static int request(exl_zygote_t *zygote, exl_frame_t frame, exl_payload_t *payload, const int *fds, unsigned nfds)
{
    int rc = exl_channel_queue(&zygote->control, frame, payload, fds, nfds, true);
    if (rc < 0)
        return rc;
    if (exl_channel_flush(&zygote->control) > 0) {
        (void)uv_poll_start(&zygote->control_poll, UV_READABLE | UV_WRITABLE, control_cb);
        zygote->node->changed(zygote->node->owner);
    }
    return 0;
}

void exl_zygote_start(exl_zygote_t *zygote)
{
    if (zygote->state == EXL_ZYGOTE_OFFLINE)
        (void)start_process(zygote, NULL);
}

int exl_zygote_fork(exl_zygote_t *zygote, exl_worker_t *worker, const int *fds, unsigned nfds, uint32_t arg,
                    exl_error_t *err)
{
    int rc = zygote->state == EXL_ZYGOTE_OFFLINE ? start_process(zygote, err) : 0;
    if (rc == 0 && zygote->state == EXL_ZYGOTE_ENDING)
        rc = exl_error_set(err, -EAGAIN, "the zygote is ending");
    if (rc == 0) {
        exl_frame_t frame = {.type = EXL_FRAME_FORK, .id = worker->id, .arg = arg};
        rc = request(zygote, frame, NULL, fds, nfds);
        if (rc == 0) {
            exl_list_push_back(&zygote->workers, &worker->zygote_link);
            return 0;
        }
        (void)exl_error_set(err, rc, "cannot ask the zygote for a worker: %s", exl_strerror(rc));
    }
    for (unsigned i = 0; i < nfds; i++)
        (void)close(fds[i]);
    return rc;
}

static void request_end(exl_zygote_t *zygote, exl_frame_t frame)
{
    /* A template that imports hears nothing. Its workers have no process yet: to end one is to end their wait for it. */
    if (zygote->parent && zygote->state == EXL_ZYGOTE_STARTING) {
        frame.id = zygote->id;
        zygote = zygote->parent;
    }
    if (zygote->state == EXL_ZYGOTE_STARTING || zygote->state == EXL_ZYGOTE_ONLINE)
        (void)request(zygote, frame, NULL, NULL, 0);
}

void exl_zygote_kill(exl_zygote_t *zygote, uint64_t worker_id, int signal)
{
    request_end(zygote, (exl_frame_t){.type = EXL_FRAME_KILL, .id = worker_id, .arg = (uint32_t)signal});
}

void exl_zygote_terminate(exl_zygote_t *zygote, uint64_t worker_id, uint32_t grace_ms)
{
    request_end(zygote, (exl_frame_t){.type = EXL_FRAME_TERMINATE, .id = worker_id, .arg = grace_ms});
}

void exl_zygotes_abandon(exl_list_t *zygotes)
{
    EXL_LIST_FOREACH(zygotes, link)
    {
        exl_zygote_t *zygote = EXL_CONTAINER(link, exl_zygote_t, link);
        if (zygote->control.fd >= 0)
            (void)close(zygote->control.fd);
        if (zygote->pidfd >= 0)
            (void)close(zygote->pidfd);
        EXL_LIST_FOREACH(&zygote->workers, worker_link)
        {
            exl_worker_t *worker = EXL_CONTAINER(worker_link, exl_worker_t, zygote_link);
            if (worker->channel.fd >= 0)
                (void)close(worker->channel.fd);
        }
        exl_zygotes_abandon(&zygote->templates);
    }
}

/* ---- templates ---- */

static bool same_bytes(const exl_payload_t *a, const exl_payload_t *b)
{
    if (a == b)
        return true;
    if (!a || !b || exl_payload_size(a) != exl_payload_size(b) || !exl_payload_region(a) || !exl_payload_region(b))
        return false;
    return memcmp(exl_payload_region(a), exl_payload_region(b), exl_payload_size(a)) == 0;
}

static exl_zygote_t *find_template(const exl_zygote_t *zygote, uint64_t key, const exl_payload_t *setup)
{
    EXL_LIST_FOREACH(&zygote->templates, link)
    {
        exl_zygote_t *template = EXL_CONTAINER(link, exl_zygote_t, link);
        if (template->function_key == key && same_bytes(template->setup, setup))
            return template;
    }
    return NULL;
}

exl_zygote_t *exl_zygote_for(exl_zygote_t *zygote, uint64_t key, const exl_payload_t *setup)
{
    exl_zygote_t *template = key && setup ? find_template(zygote, key, setup) : NULL;
    return template && template->state == EXL_ZYGOTE_ONLINE ? template : zygote;
}

/* The least recently made one that has no workers goes. */
static bool make_room(exl_zygote_t *zygote)
{
    if (zygote->ntemplates < MAX_TEMPLATES)
        return true;
    EXL_LIST_FOREACH(&zygote->templates, link)
    {
        exl_zygote_t *template = EXL_CONTAINER(link, exl_zygote_t, link);
        if (!exl_list_empty(&template->workers))
            continue;
        process_ended(template, NULL);
        return true;
    }
    return false;
}

static exl_zygote_t *make_template(exl_zygote_t *zygote, uint64_t key, exl_payload_t *setup, exl_payload_t *modules)
{
    int pair[2];
    if (!make_room(zygote) || !exl_payload_region(modules))
        return NULL;
    exl_zygote_t *template = zygote_new(zygote->node);
    if (!template)
        return NULL;
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0) {
        zygote_free(template);
        return NULL;
    }
    exl_channel_init(&template->control, pair[0]);
    template->parent = zygote;
    template->id = exl_node_template_id(zygote->node);
    template->function_key = key;
    template->setup = exl_payload_ref(setup);
    template->modules = exl_payload_ref(modules);
    template->state = EXL_ZYGOTE_STARTING;
    exl_frame_t fork_frame = {.type = EXL_FRAME_TEMPLATE, .id = template->id};
    if (exl_idmap_put(&zygote->node->processes, template->id, template) < 0 || watch_process(template) < 0) {
        (void)exl_idmap_remove(&zygote->node->processes, template->id);
        (void)close(pair[1]);
        exl_channel_fini(&template->control);
        zygote_free(template);
        return NULL;
    }
    exl_list_push_back(&zygote->templates, &template->link);
    zygote->ntemplates++;
    int rc = request(zygote, fork_frame, modules, &pair[1], 1);
    if (rc < 0)
        (void)close(pair[1]);
    /* Its setup comes over its own channel, before any fork. */
    if (rc < 0 || request(template, (exl_frame_t){.type = EXL_FRAME_SETUP}, setup, NULL, 0) < 0) {
        process_ended(template, NULL);
        return NULL;
    }
    return template;
}

void exl_zygote_learn(exl_zygote_t *zygote, uint64_t key, exl_payload_t *setup, exl_payload_t *modules)
{
    if (!zygote->parent && zygote->state == EXL_ZYGOTE_ONLINE && key && setup && !find_template(zygote, key, setup))
        (void)make_template(zygote, key, setup, modules);
}

exl_zygote_t *exl_zygote_prepare(exl_zygote_t *zygote, exl_payload_t *setup, exl_payload_t *modules)
{
    if (zygote->state != EXL_ZYGOTE_STARTING && zygote->state != EXL_ZYGOTE_ONLINE)
        return zygote;
    EXL_LIST_FOREACH(&zygote->templates, link)
    {
        exl_zygote_t *template = EXL_CONTAINER(link, exl_zygote_t, link);
        if (template->function_key == 0 && same_bytes(template->setup, setup) && same_bytes(template->modules, modules))
            return template;
    }
    exl_zygote_t *template = make_template(zygote, 0, setup, modules);
    return template ? template : zygote;
}
