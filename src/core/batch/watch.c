/* watch.c: a loop of its own, which runs in the thread that calls exl_watch_next().
 *
 * folder ── names awaited in it (a tree by name) ── look (thread pool) ── names found
 *
 * A look opens the folder, sets the inotify watch if there is none, and then reads the folder: in this order nothing that
 * appears meanwhile is missed. The mutex protects all that threads share; it is never held across a call to a file system,
 * nor while the loop sleeps. */
#include "batch/watch.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <search.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <uv.h>

#include "base/clock.h"
#include "base/idmap.h"
#include "base/list.h"
#include "batch/file_system.h"

/* Between two scans of a folder: from the first to the last, doubling. With inotify they are for what it may lose. */
enum { FIRST_SCAN_MS = 20, LAST_SCAN_MS = 10000, FIRST_SCAN_NOTIFIED_MS = 2000, LAST_SCAN_NOTIFIED_MS = 60000 };
/* A scan that takes long is made rarely: at most this part of the time goes into it. */
enum { SCAN_SHARE = 20 };
/* Kernels before 5.3 cannot tell that a process has ended: there it is looked for. */
enum { PROCESS_LOOK_MS = 100 };
/* What a look that is under way at the end is given. */
enum { LAST_LOOK_MS = 200 };

static const uint32_t CHANGES = IN_CREATE | IN_MOVED_TO | IN_CLOSE_WRITE;
static const uint32_t LOSSES = IN_DELETE_SELF | IN_MOVE_SELF | IN_UNMOUNT | IN_IGNORED;

typedef struct folder {
    exl_list_t link;
    exl_watch_t *watch;
    char *path;
    void *names; /* tree of wanted_t, by name */
    size_t count;
    int wd; /* inotify's number for it, -1: none */
    bool looking;
    int64_t due_ns, interval_ns;
} folder_t;

typedef struct wanted {
    const char *name; /* within path */
    char *path;
    folder_t *folder;
    uint64_t id;
} wanted_t;

typedef struct process {
    exl_list_t link;
    exl_watch_t *watch;
    uint64_t id;
    pid_t pid;
    int fd; /* pidfd, -1 where there is none */
    uv_poll_t poll;
    bool polled;
} process_t;

typedef struct told {
    exl_list_t link;
    exl_watch_event_t event;
} told_t;

/* What a look takes along: it must not touch the folder, which may go meanwhile. */
typedef struct look {
    uv_work_t work;
    exl_watch_t *watch;
    char *path;
    char *names; /* one after the other, sorted, each with its end; `found` marks those that are there */
    size_t *offsets;
    bool *found;
    size_t count;
    int inotify_fd, wd;
    int64_t took_ns;
} look_t;

struct exl_watch {
    pthread_mutex_t mutex;
    uv_loop_t loop;
    uv_async_t changed;
    uv_timer_t timer;
    uv_poll_t inotify_poll;
    int inotify_fd;
    int looks; /* under way */
    exl_list_t folders;
    exl_list_t processes;     /* watched */
    exl_list_t new_processes; /* to be watched, by the thread with the loop */
    exl_list_t told;
    exl_idmap_t wanted, by_id; /* id -> wanted_t, id -> process_t */
    bool woken;
    bool closing;
};

/* ---- what is told ---- */

static void tell(exl_watch_t *watch, uint64_t id, exl_watch_kind_t kind, int status)
{
    told_t *told = malloc(sizeof *told);
    if (!told)
        return; /* the scan or the caller's next look finds it */
    told->event = (exl_watch_event_t){.id = id, .kind = kind, .status = status};
    exl_list_push_back(&watch->told, &told->link);
}

/* ---- folders and names ---- */

static int compare_names(const void *left, const void *right)
{
    return strcmp(((const wanted_t *)left)->name, ((const wanted_t *)right)->name);
}

static folder_t *find_folder(exl_watch_t *watch, const char *path, size_t length)
{
    EXL_LIST_FOREACH(&watch->folders, link)
    {
        folder_t *folder = EXL_CONTAINER(link, folder_t, link);
        if (strncmp(folder->path, path, length) == 0 && folder->path[length] == '\0')
            return folder;
    }
    return NULL;
}

static folder_t *find_or_make_folder(exl_watch_t *watch, const char *path, size_t length)
{
    folder_t *folder = find_folder(watch, path, length);
    if (folder)
        return folder;
    folder = calloc(1, sizeof *folder);
    if (folder)
        folder->path = strndup(path, length);
    if (!folder || !folder->path) {
        free(folder);
        return NULL;
    }
    folder->watch = watch;
    folder->wd = -1;
    exl_list_push_back(&watch->folders, &folder->link);
    return folder;
}

static void forget_folder(folder_t *folder)
{
    exl_list_remove(&folder->link);
    if (folder->wd >= 0)
        (void)inotify_rm_watch(folder->watch->inotify_fd, folder->wd);
    free(folder->path);
    free(folder);
}

static void forget_wanted(wanted_t *wanted)
{
    folder_t *folder = wanted->folder;
    (void)tdelete(wanted, &folder->names, compare_names);
    (void)exl_idmap_remove(&folder->watch->wanted, wanted->id);
    free(wanted->path);
    free(wanted);
    if (--folder->count == 0)
        forget_folder(folder);
}

static wanted_t *find_wanted(folder_t *folder, const char *name)
{
    wanted_t key = {.name = name};
    void *node = tfind(&key, &folder->names, compare_names);
    return node ? *(wanted_t **)node : NULL;
}

static void appeared(wanted_t *wanted)
{
    tell(wanted->folder->watch, wanted->id, EXL_WATCH_FILE, 0);
    forget_wanted(wanted);
}

/* ---- looks: on the thread pool ---- */

static int compare_text(const void *name, const void *entry)
{
    return strcmp(name, *(char *const *)entry);
}

static void mark_found(look_t *look, char **names, const char *name)
{
    char **entry = bsearch(name, names, look->count, sizeof *names, compare_text);
    if (entry)
        look->found[entry - names] = true;
}

static void read_folder(look_t *look, int fd)
{
    DIR *directory = fdopendir(fd);
    char **names = calloc(look->count, sizeof *names);
    if (directory && names) {
        for (size_t i = 0; i < look->count; i++)
            names[i] = look->names + look->offsets[i];
        for (struct dirent *entry; (entry = readdir(directory));)
            mark_found(look, names, entry->d_name);
    }
    free(names);
    if (directory)
        (void)closedir(directory);
    else
        (void)close(fd);
}

static void work_look(uv_work_t *work)
{
    look_t *look = EXL_CONTAINER(work, look_t, work);
    int64_t began_ns = exl_clock_ns();
    int fd = open(look->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd >= 0) {
        /* Fails where the user's limit of watches is reached: then there is the scan. */
        if (look->inotify_fd >= 0 && exl_file_system_is_local(fd))
            look->wd = inotify_add_watch(look->inotify_fd, look->path, CHANGES | LOSSES | IN_ONLYDIR);
        read_folder(look, fd);
    }
    look->took_ns = exl_clock_ns() - began_ns;
}

static void free_look(look_t *look)
{
    free(look->path);
    free(look->names);
    free(look->offsets);
    free(look->found);
    free(look);
}

/* twalk() has no argument of the caller's before twalk_r(), which glibc has since 2.30. */
static _Thread_local look_t *collecting;
static _Thread_local size_t collected_bytes;

static void collect(const void *node, VISIT visit, int depth)
{
    (void)depth;
    if (visit != postorder && visit != leaf)
        return;
    const char *name = (*(wanted_t *const *)node)->name;
    size_t size = strlen(name) + 1;
    if (collecting->names) {
        memcpy(collecting->names + collected_bytes, name, size);
        collecting->offsets[collecting->count++] = collected_bytes;
    }
    collected_bytes += size;
}

static int copy_names(folder_t *folder, look_t *look)
{
    collecting = look;
    collected_bytes = 0;
    twalk(folder->names, collect);
    assert(collected_bytes > 0);
    look->names = malloc(collected_bytes);
    look->offsets = calloc(folder->count, sizeof *look->offsets);
    look->found = calloc(folder->count, sizeof *look->found);
    if (!look->names || !look->offsets || !look->found)
        return -ENOMEM;
    collected_bytes = 0;
    twalk(folder->names, collect);
    return 0;
}

/* ---- when to look ---- */

static void look_where_due(exl_watch_t *watch);

static void take_watch(folder_t *folder, int wd)
{
    if (wd < 0)
        return;
    if (folder->wd >= 0 && folder->wd != wd)
        (void)inotify_rm_watch(folder->watch->inotify_fd, folder->wd);
    folder->wd = wd;
}

static void back_off(folder_t *folder, int64_t took_ns)
{
    int64_t first_ms = folder->wd >= 0 ? FIRST_SCAN_NOTIFIED_MS : FIRST_SCAN_MS;
    int64_t last_ms = folder->wd >= 0 ? LAST_SCAN_NOTIFIED_MS : LAST_SCAN_MS;
    int64_t interval_ns = folder->interval_ns * 2;
    if (interval_ns < first_ms * EXL_NS_PER_MS)
        interval_ns = first_ms * EXL_NS_PER_MS;
    if (interval_ns > last_ms * EXL_NS_PER_MS)
        interval_ns = last_ms * EXL_NS_PER_MS;
    folder->interval_ns = interval_ns;
    folder->due_ns = exl_clock_ns() + (interval_ns > took_ns * SCAN_SHARE ? interval_ns : took_ns * SCAN_SHARE);
}

static void end_look(uv_work_t *work, int status)
{
    (void)status;
    look_t *look = EXL_CONTAINER(work, look_t, work);
    exl_watch_t *watch = look->watch;
    (void)pthread_mutex_lock(&watch->mutex);
    watch->looks--;
    folder_t *folder = find_folder(watch, look->path, strlen(look->path));
    if (folder) {
        folder->looking = false;
        take_watch(folder, look->wd);
        back_off(folder, look->took_ns);
    } else if (look->wd >= 0) {
        (void)inotify_rm_watch(watch->inotify_fd, look->wd);
    }
    for (size_t i = 0; folder && i < look->count; i++) {
        wanted_t *wanted = look->found[i] ? find_wanted(folder, look->names + look->offsets[i]) : NULL;
        if (wanted) {
            bool last = folder->count == 1;
            appeared(wanted);
            if (last)
                folder = NULL;
        }
    }
    if (!watch->closing)
        look_where_due(watch);
    (void)pthread_mutex_unlock(&watch->mutex);
    free_look(look);
}

static void begin_look(folder_t *folder)
{
    exl_watch_t *watch = folder->watch;
    look_t *look = calloc(1, sizeof *look);
    if (!look)
        return;
    look->watch = watch;
    look->path = strdup(folder->path);
    look->inotify_fd = folder->wd < 0 ? watch->inotify_fd : -1;
    look->wd = -1;
    if (!look->path || copy_names(folder, look) < 0 ||
        uv_queue_work(&watch->loop, &look->work, work_look, end_look) < 0) {
        free_look(look);
        back_off(folder, 0);
        return;
    }
    folder->looking = true;
    watch->looks++;
}

static void find_ended_processes(exl_watch_t *watch);

static void on_timer(uv_timer_t *timer)
{
    exl_watch_t *watch = timer->data;
    (void)pthread_mutex_lock(&watch->mutex);
    look_where_due(watch);
    find_ended_processes(watch);
    (void)pthread_mutex_unlock(&watch->mutex);
}

static bool has_unpolled(const exl_watch_t *watch)
{
    EXL_LIST_FOREACH(&watch->processes, link)
    if (!EXL_CONTAINER(link, process_t, link)->polled)
        return true;
    return false;
}

/* Begins what is due, and sets the timer to what is due next. */
static void look_where_due(exl_watch_t *watch)
{
    int64_t now_ns = exl_clock_ns(), next_ns = INT64_MAX;
    EXL_LIST_FOREACH(&watch->folders, link)
    {
        folder_t *folder = EXL_CONTAINER(link, folder_t, link);
        if (folder->looking)
            continue;
        if (folder->due_ns <= now_ns && watch->looks < EXL_WATCH_SCANS)
            begin_look(folder);
        else if (folder->due_ns > now_ns && folder->due_ns < next_ns)
            next_ns = folder->due_ns;
    }
    if (has_unpolled(watch) && next_ns > now_ns + PROCESS_LOOK_MS * EXL_NS_PER_MS)
        next_ns = now_ns + PROCESS_LOOK_MS * EXL_NS_PER_MS;
    if (next_ns == INT64_MAX) {
        (void)uv_timer_stop(&watch->timer);
        return;
    }
    uv_update_time(&watch->loop);
    (void)uv_timer_start(&watch->timer, on_timer, (uint64_t)((next_ns - now_ns) / EXL_NS_PER_MS) + 1, 0);
}

/* ---- inotify ---- */

static folder_t *folder_of_wd(exl_watch_t *watch, int wd)
{
    EXL_LIST_FOREACH(&watch->folders, link)
    {
        folder_t *folder = EXL_CONTAINER(link, folder_t, link);
        if (folder->wd == wd)
            return folder;
    }
    return NULL;
}

/* The folder went, or was moved: what is at its path now is looked at, with the intervals of the beginning. */
static void lose_folder(folder_t *folder, uint32_t mask)
{
    if (!(mask & IN_IGNORED))
        (void)inotify_rm_watch(folder->watch->inotify_fd, folder->wd);
    folder->wd = -1;
    folder->interval_ns = 0;
    folder->due_ns = 0;
}

static void take_change(exl_watch_t *watch, const struct inotify_event *event)
{
    if (event->mask & IN_Q_OVERFLOW) {
        EXL_LIST_FOREACH(&watch->folders, link)
        EXL_CONTAINER(link, folder_t, link)->due_ns = 0;
        return;
    }
    folder_t *folder = folder_of_wd(watch, event->wd);
    if (!folder)
        return;
    if (event->mask & LOSSES) {
        lose_folder(folder, event->mask);
        return;
    }
    wanted_t *wanted = event->len ? find_wanted(folder, event->name) : NULL;
    if (wanted)
        appeared(wanted);
}

static void on_inotify(uv_poll_t *poll, int status, int events)
{
    (void)status;
    (void)events;
    exl_watch_t *watch = poll->data;
    char buffer[16384] __attribute__((aligned(__alignof__(struct inotify_event))));
    (void)pthread_mutex_lock(&watch->mutex);
    for (ssize_t length; (length = read(watch->inotify_fd, buffer, sizeof buffer)) > 0;)
        for (const char *at = buffer; at < buffer + length;) {
            const struct inotify_event *event = (const void *)at;
            take_change(watch, event);
            at += sizeof *event + event->len;
        }
    look_where_due(watch);
    (void)pthread_mutex_unlock(&watch->mutex);
}

/* ---- processes ---- */

static void free_process_after_close(uv_handle_t *handle)
{
    process_t *process = handle->data;
    (void)close(process->fd);
    free(process);
}

static void forget_process(process_t *process)
{
    exl_list_remove(&process->link);
    (void)exl_idmap_remove(&process->watch->by_id, process->id);
    if (process->polled) {
        uv_close((uv_handle_t *)&process->poll, free_process_after_close);
        return;
    }
    if (process->fd >= 0)
        (void)close(process->fd);
    free(process);
}

static void process_ended(process_t *process)
{
    int status;
    pid_t waited = waitpid(process->pid, &status, WNOHANG);
    tell(process->watch, process->id, EXL_WATCH_EXIT, waited == process->pid ? status : EXL_WATCH_UNKNOWN_STATUS);
    forget_process(process);
}

static void on_exit_of(uv_poll_t *poll, int status, int events)
{
    (void)status;
    (void)events;
    process_t *process = poll->data;
    exl_watch_t *watch = process->watch;
    (void)pthread_mutex_lock(&watch->mutex);
    process_ended(process);
    (void)pthread_mutex_unlock(&watch->mutex);
}

static void find_ended_processes(exl_watch_t *watch)
{
    EXL_LIST_FOREACH_SAFE(&watch->processes, link)
    {
        process_t *process = EXL_CONTAINER(link, process_t, link);
        siginfo_t info = {.si_pid = 0};
        if (process->polled)
            continue;
        bool child = waitid(P_PID, (id_t)process->pid, &info, WEXITED | WNOHANG | WNOWAIT) == 0;
        if (child ? info.si_pid != 0 : kill(process->pid, 0) < 0 && errno == ESRCH)
            process_ended(process);
    }
}

static void begin_process(process_t *process)
{
    exl_watch_t *watch = process->watch;
    exl_list_remove(&process->link);
    exl_list_push_back(&watch->processes, &process->link);
    if (process->fd < 0 || uv_poll_init(&watch->loop, &process->poll, process->fd) < 0)
        return;
    process->poll.data = process;
    process->polled = true;
    (void)uv_poll_start(&process->poll, UV_READABLE, on_exit_of);
}

static void on_changed(uv_async_t *async)
{
    exl_watch_t *watch = async->data;
    (void)pthread_mutex_lock(&watch->mutex);
    EXL_LIST_FOREACH_SAFE(&watch->new_processes, link)
    begin_process(EXL_CONTAINER(link, process_t, link));
    look_where_due(watch);
    (void)pthread_mutex_unlock(&watch->mutex);
}

/* ---- for any thread ---- */

/* A new folder is looked at now, another one as soon as after its last look; many additions do not add up. */
static void expect_soon(folder_t *folder)
{
    if (folder->count++ == 0)
        return;
    int64_t first_ms = folder->wd >= 0 ? FIRST_SCAN_NOTIFIED_MS : FIRST_SCAN_MS;
    int64_t due_ns = exl_clock_ns() + first_ms * EXL_NS_PER_MS;
    if (folder->due_ns > due_ns)
        folder->due_ns = due_ns;
    folder->interval_ns = 0;
}

int exl_watch_add_file(exl_watch_t *watch, uint64_t id, const char *path)
{
    const char *slash = strrchr(path, '/');
    wanted_t *wanted = slash ? calloc(1, sizeof *wanted) : NULL;
    if (wanted)
        wanted->path = strdup(path);
    if (!wanted || !wanted->path) {
        free(wanted);
        return slash ? -ENOMEM : -EINVAL;
    }
    wanted->id = id;
    wanted->name = wanted->path + (slash - path) + 1;
    (void)pthread_mutex_lock(&watch->mutex);
    folder_t *folder = find_or_make_folder(watch, path, slash == path ? 1 : (size_t)(slash - path));
    wanted->folder = folder;
    bool added = folder && exl_idmap_put(&watch->wanted, id, wanted) == 0;
    void *node = added ? tsearch(wanted, &folder->names, compare_names) : NULL;
    bool taken = node && *(wanted_t **)node != wanted;
    if (node && !taken) {
        expect_soon(folder);
        (void)uv_async_send(&watch->changed);
    } else if (added) {
        (void)exl_idmap_remove(&watch->wanted, id);
    }
    if (folder && folder->count == 0)
        forget_folder(folder);
    (void)pthread_mutex_unlock(&watch->mutex);
    if (node && !taken)
        return 0;
    free(wanted->path);
    free(wanted);
    return taken ? -EEXIST : -ENOMEM;
}

int exl_watch_add_process(exl_watch_t *watch, uint64_t id, pid_t pid)
{
    int fd = (int)syscall(SYS_pidfd_open, pid, 0);
    if (fd < 0 && errno == ESRCH)
        return -ESRCH;
    process_t *process = calloc(1, sizeof *process);
    if (!process) {
        if (fd >= 0)
            (void)close(fd);
        return -ENOMEM;
    }
    if (fd >= 0)
        (void)fcntl(fd, F_SETFD, FD_CLOEXEC);
    *process = (process_t){.watch = watch, .id = id, .pid = pid, .fd = fd};
    (void)pthread_mutex_lock(&watch->mutex);
    exl_list_push_back(&watch->new_processes, &process->link);
    int rc = exl_idmap_put(&watch->by_id, id, process);
    if (rc < 0)
        forget_process(process);
    else
        (void)uv_async_send(&watch->changed);
    (void)pthread_mutex_unlock(&watch->mutex);
    return rc;
}

void exl_watch_remove(exl_watch_t *watch, uint64_t id)
{
    (void)pthread_mutex_lock(&watch->mutex);
    wanted_t *wanted = exl_idmap_get(&watch->wanted, id);
    if (wanted)
        forget_wanted(wanted);
    (void)pthread_mutex_unlock(&watch->mutex);
}

void exl_watch_wake(exl_watch_t *watch)
{
    (void)pthread_mutex_lock(&watch->mutex);
    watch->woken = true;
    (void)uv_async_send(&watch->changed);
    (void)pthread_mutex_unlock(&watch->mutex);
}

bool exl_watch_notified(exl_watch_t *watch, const char *path)
{
    const char *slash = strrchr(path, '/');
    (void)pthread_mutex_lock(&watch->mutex);
    folder_t *folder = slash ? find_folder(watch, path, (size_t)(slash - path)) : NULL;
    bool notified = folder && folder->wd >= 0;
    (void)pthread_mutex_unlock(&watch->mutex);
    return notified;
}

/* ---- the thread with the loop ---- */

static int take_told(exl_watch_t *watch, exl_watch_event_t *events, int capacity, bool *ret_woken)
{
    int count = 0;
    (void)pthread_mutex_lock(&watch->mutex);
    for (exl_list_t *link; count < capacity && (link = exl_list_pop_front(&watch->told)); count++) {
        told_t *told = EXL_CONTAINER(link, told_t, link);
        events[count] = told->event;
        free(told);
    }
    *ret_woken = watch->woken;
    if (count == 0)
        watch->woken = false;
    (void)pthread_mutex_unlock(&watch->mutex);
    return count;
}

/* How long the loop may sleep: until its next timer, or the caller's time is over. */
static int sleep_ms(exl_watch_t *watch, int64_t deadline_ns)
{
    uv_update_time(&watch->loop);
    int timer_ms = uv_backend_timeout(&watch->loop);
    if (deadline_ns == INT64_MAX)
        return timer_ms;
    int64_t left_ms = (deadline_ns - exl_clock_ns() + EXL_NS_PER_MS - 1) / EXL_NS_PER_MS;
    if (left_ms < 0)
        left_ms = 0;
    return timer_ms >= 0 && timer_ms < left_ms ? timer_ms : (int)left_ms;
}

int exl_watch_next(exl_watch_t *watch, exl_watch_event_t *events, int capacity, int timeout_ms)
{
    int64_t deadline_ns = timeout_ms < 0 ? INT64_MAX : exl_clock_ns() + timeout_ms * EXL_NS_PER_MS;
    for (;;) {
        bool woken;
        (void)uv_run(&watch->loop, UV_RUN_NOWAIT);
        int count = take_told(watch, events, capacity, &woken);
        if (count > 0 || woken || exl_clock_ns() >= deadline_ns)
            return count;
        struct pollfd loop = {.fd = uv_backend_fd(&watch->loop), .events = POLLIN};
        (void)poll(&loop, 1, sleep_ms(watch, deadline_ns));
    }
}

/* ---- its life ---- */

int exl_watch_create(exl_watch_t **ret_watch)
{
    exl_watch_t *watch = calloc(1, sizeof *watch);
    if (!watch)
        return -ENOMEM;
    int rc = uv_loop_init(&watch->loop);
    if (rc < 0) {
        free(watch);
        return rc;
    }
    (void)pthread_mutex_init(&watch->mutex, NULL);
    exl_list_init(&watch->folders);
    exl_list_init(&watch->processes);
    exl_list_init(&watch->new_processes);
    exl_list_init(&watch->told);
    exl_idmap_init(&watch->wanted);
    exl_idmap_init(&watch->by_id);
    watch->changed.data = watch->timer.data = watch->inotify_poll.data = watch;
    (void)uv_timer_init(&watch->loop, &watch->timer);
    rc = uv_async_init(&watch->loop, &watch->changed, on_changed);
    /* Fails where the user's limit of instances is reached: then there is the scan. */
    watch->inotify_fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
    if (rc == 0 && watch->inotify_fd >= 0) {
        rc = uv_poll_init(&watch->loop, &watch->inotify_poll, watch->inotify_fd);
        if (rc == 0)
            rc = uv_poll_start(&watch->inotify_poll, UV_READABLE, on_inotify);
    }
    if (rc < 0) {
        exl_watch_destroy(watch);
        return rc;
    }
    *ret_watch = watch;
    return 0;
}

static void close_handle(uv_handle_t *handle, void *unused)
{
    (void)unused;
    if (!uv_is_closing(handle))
        uv_close(handle, NULL);
}

static void forget_everything(exl_watch_t *watch)
{
    (void)pthread_mutex_lock(&watch->mutex);
    watch->closing = true;
    while (!exl_list_empty(&watch->folders)) {
        folder_t *folder = EXL_CONTAINER(watch->folders.next, folder_t, link);
        /* The last name takes the folder along. */
        for (size_t left = folder->count; left > 0; left--)
            forget_wanted(*(wanted_t **)folder->names); /* NOLINT(clang-analyzer-unix.Malloc) */
    }
    EXL_LIST_FOREACH_SAFE(&watch->new_processes, new)
    forget_process(EXL_CONTAINER(new, process_t, link));
    EXL_LIST_FOREACH_SAFE(&watch->processes, link)
    forget_process(EXL_CONTAINER(link, process_t, link));
    for (exl_list_t *link; (link = exl_list_pop_front(&watch->told));)
        free(EXL_CONTAINER(link, told_t, link));
    (void)pthread_mutex_unlock(&watch->mutex);
}

void exl_watch_destroy(exl_watch_t *watch)
{
    if (!watch)
        return;
    forget_everything(watch);
    uv_walk(&watch->loop, close_handle, NULL);
    int64_t deadline_ns = exl_clock_ns() + LAST_LOOK_MS * EXL_NS_PER_MS;
    while (uv_run(&watch->loop, UV_RUN_NOWAIT) && watch->looks > 0 && exl_clock_ns() < deadline_ns) {
        struct pollfd loop = {.fd = uv_backend_fd(&watch->loop), .events = POLLIN};
        (void)poll(&loop, 1, LAST_LOOK_MS);
    }
    if (watch->looks > 0)
        return; /* it hangs: what it will touch when it ends stays */
    (void)uv_run(&watch->loop, UV_RUN_DEFAULT);
    (void)uv_loop_close(&watch->loop);
    if (watch->inotify_fd >= 0)
        (void)close(watch->inotify_fd);
    exl_idmap_fini(&watch->wanted);
    exl_idmap_fini(&watch->by_id);
    (void)pthread_mutex_destroy(&watch->mutex);
    free(watch);
}
