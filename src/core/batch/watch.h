/* watch.h: tells when awaited files appear, and when processes end.
 *
 * On local file systems inotify tells of files at once. Elsewhere it accepts a watch and stays silent about what other
 * machines do, so which file system a folder is on decides (statfs); and everywhere one scan for all files is the
 * backstop: one reading of each folder with awaited files, soon after the last addition, then ever less often. With
 * nothing awaited nothing wakes up.
 *
 * A file system may hang. Every call to it runs on libuv's thread pool, for at most EXL_WATCH_SCANS folders at a time, so
 * that a folder which never answers takes neither the caller nor the pool.
 *
 * Any thread may add and remove; one at a time may be in exl_watch_next(), where the loop runs. An id stands for one file
 * and one process at most, is not 0, and is told of each at most once. */
#ifndef EXL_BATCH_WATCH_H
#define EXL_BATCH_WATCH_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

typedef struct exl_watch exl_watch_t;

typedef enum exl_watch_kind {
    EXL_WATCH_FILE, /* the file is there */
    EXL_WATCH_EXIT  /* the process has ended */
} exl_watch_kind_t;

/* How a process ended that was not a child of this one. */
enum { EXL_WATCH_UNKNOWN_STATUS = -1 };

typedef struct exl_watch_event {
    uint64_t id;
    exl_watch_kind_t kind;
    int status; /* EXIT: as from waitpid(), which has been called */
} exl_watch_event_t;

enum { EXL_WATCH_SCANS = 2 };

int exl_watch_create(exl_watch_t **ret_watch);

/* Nobody may be in exl_watch_next(). A folder that hangs is left to its thread. */
void exl_watch_destroy(exl_watch_t *watch);

/* A file that is there already may be told late: who cares looks after this call. */
int exl_watch_add_file(exl_watch_t *watch, uint64_t id, const char *path);

/* -ESRCH: no such process. A child is waited for. */
int exl_watch_add_process(exl_watch_t *watch, uint64_t id, pid_t pid);

/* What was already found may still be told. */
void exl_watch_remove(exl_watch_t *watch, uint64_t id);

/* Makes exl_watch_next() return, now or when it is next called. */
void exl_watch_wake(exl_watch_t *watch);

/* Waits up to `timeout_ms` (-1: without limit). Returns how many events were stored; 0 after the time or a wake-up. */
int exl_watch_next(exl_watch_t *watch, exl_watch_event_t *events, int capacity, int timeout_ms);

/* Whether inotify serves the folder of this path: for tests, and to say why results are seen late. */
bool exl_watch_notified(exl_watch_t *watch, const char *path);

#endif
