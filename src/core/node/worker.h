/* worker.h: the engine's side of one worker process: its channel, its calls, its end.
 *
 * A worker's end is heard from its zygote, which waited for it; the channel is then read to its last whole answer before
 * `gone` is called, so that an answer given just before the end counts. `gone` is the last callback. */
#ifndef EXL_NODE_WORKER_H
#define EXL_NODE_WORKER_H

#include <stdbool.h>
#include <uv.h>

#include "base/error.h"
#include "base/list.h"
#include "node/claim.h"
#include "node/tee.h"
#include "node/zygote.h"
#include "sched/resources.h"
#include "task/failure.h"
#include "wire/channel.h"

typedef struct exl_worker exl_worker_t;

typedef struct exl_worker_events {
    void (*forked)(exl_worker_t *worker); /* may be NULL */
    void (*ready)(exl_worker_t *worker);
    void (*setup_failed)(exl_worker_t *worker, exl_payload_t *exception);
    /* `payload` is borrowed. */
    void (*answer)(exl_worker_t *worker, uint64_t number, bool raised, exl_payload_t *payload);
    void (*imports)(exl_worker_t *worker, exl_payload_t *modules);
    void (*gone)(exl_worker_t *worker);
} exl_worker_events_t;

struct exl_worker {
    exl_list_t link;        /* in its executor */
    exl_list_t zygote_link; /* in its zygote */
    uint64_t id;
    void *owner; /* borrowed: the executor */
    const exl_worker_events_t *events;
    exl_zygote_t *zygote; /* borrowed; its executor holds a reference */
    uint32_t index;       /* executorlib_worker_id */
    pid_t pid;            /* 0 until forked */
    bool launcher;        /* if it is a head, its ranks are a launcher's */
    bool persistent, head, ready, ending, failed, exited, status_known, closed;
    bool terminated; /* it and what it started have been told to end, and have some time for it */
    bool unborn;     /* its zygote went before it was forked: nobody's fault here, so it is tried again */
    bool flush_due;  /* frames queued in this round, sent at its end */
    int wait_status;
    const char *reason;       /* static text, or `told`: why it could not go on, when the wait status does not say */
    char told[160];           /* what it said itself before it ended */
    int reason_code;          /* … and its error code */
    const char *foreign_tail; /* borrowed, during `gone`: what its zygote wrote to stderr before it failed */
    exl_channel_t channel;
    uv_poll_t poll;
    uv_timer_t deaf; /* runs from the channel's end to the process' */
    unsigned nhandles;
    bool writable_wanted;
    exl_claim_t *claim;          /* owned; NULL for one process per call */
    exl_stream_t *stderr_stream; /* owned */
    int log_fd;                  /* owned or -1: the file that takes the present call's stderr */
    uint64_t log_start;          /* its size as the call began */
    exl_list_t outstanding;      /* tasks, in the order of their numbers */
    uint32_t noutstanding;
    uint32_t noutstanding_bytes;
    struct exl_task *reserved; /* borrowed: its arguments are being copied for this worker */
    uint64_t last_number;
    uint64_t first_of_epoch; /* the first number sent in the present epoch */
    uint32_t epoch;
    uint64_t start_order;  /* calls submitted before this one wait for this start */
    exl_idmap_t functions; /* ids of functions that the worker has */
    struct exl_task *task; /* borrowed: one process per call */
    exl_request_t request; /* what `holding` was taken for */
    exl_holding_t holding; /* owned: its GPUs and processors, which its executor takes and gives back */
};

enum exl_worker_kind {
    EXL_WORKER_PERSISTENT = 1, /* serves call after call */
    EXL_WORKER_PRELOADED = 2,  /* needs what unpickles functions by value */
    EXL_WORKER_HEAD = 4        /* stands for a group of MPI ranks (head.h) */
};

/* Asks `zygote` for a process; `kind` is a set of the above. */
int exl_worker_start(exl_zygote_t *zygote, unsigned kind, const exl_worker_events_t *events, void *owner,
                     exl_worker_t **ret_worker, exl_error_t *err);

/* Whether heads are to use a launcher from now on: one has found out that MPI does not start in ranks that it forks. */
bool exl_worker_launcher_needed(void);

/* Queues the setup (may be NULL), with this process' stdout as it is now. */
int exl_worker_set_up(exl_worker_t *worker, exl_payload_t *setup);

/* Queues a frame; it leaves with exl_worker_flush(). */
int exl_worker_send(exl_worker_t *worker, exl_frame_t frame, exl_payload_t *payload);
void exl_worker_flush(exl_worker_t *worker);

/* No more calls: finish what has begun, then exit. */
void exl_worker_end(exl_worker_t *worker);

/* Kills the worker and everything it started. */
void exl_worker_kill(exl_worker_t *worker, int signal);

/* The same with SIGTERM, and after the grace time SIGKILL. `gone` comes when nothing of it is left. */
void exl_worker_terminate(exl_worker_t *worker, uint32_t grace_ms);

/* Takes the answers that have arrived. */
void exl_worker_read(exl_worker_t *worker);

/* The last number that the worker has begun. */
uint64_t exl_worker_started(const exl_worker_t *worker);

/* Takes back all calls that have not begun; returns the last number that has. Persistent workers only. */
uint64_t exl_worker_recall(exl_worker_t *worker);

/* Why it went, with the tail of what its present call wrote to stderr. NULL when memory is out. */
exl_failure_t *exl_worker_failure(exl_worker_t *worker);

/* From the zygote. */
void exl_worker_forked(exl_worker_t *worker, pid_t pid);
void exl_worker_exited(exl_worker_t *worker, const int *wait_status, const char *reason, int code);

#endif
