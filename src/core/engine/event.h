/* event.h: one event of a call or an executor, and its line in a timeline log. A pure codec: fields in, JSON out.
 *
 * Every line is one JSON object and begins with what it tells, when, and who tells it:
 *
 *   {"event":"started","time":1700000000.123456,"t":4711.123456789,"driver":"host:4242","executor":1,"call":17,…}
 *
 * `time` is the wall clock, in seconds since 1970; `t` the monotonic clock of the host, in seconds: differences are taken of it. */
#ifndef EXL_ENGINE_EVENT_H
#define EXL_ENGINE_EVENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum exl_event_kind {
    EXL_EVENT_TIMELINE, /* the first line of a driver: who it is */
    EXL_EVENT_EXECUTOR, /* an executor was made, or resized: what it may use */
    EXL_EVENT_SUBMITTED,
    EXL_EVENT_READY, /* the last argument it waited for is there; a call that waits for none is ready when submitted */
    EXL_EVENT_STARTED,  /* see timeline.h on what that means */
    EXL_EVENT_RETURNED, /* it had started, and is in the queue again: lost its worker, or taken back */
    EXL_EVENT_FINISHED,
    EXL_EVENT_FAILED, /* raised, or an argument's call did */
    EXL_EVENT_LOST,
    EXL_EVENT_CANCELLED,
    EXL_EVENT_TERMINATED,
    EXL_EVENT_CLOSED,  /* of an executor */
    EXL_EVENT_DROPPED, /* events that are missing in the log */
    EXL_EVENT_KINDS
} exl_event_kind_t;

/* Fields that a kind does not have are not looked at. */
typedef struct exl_event {
    uint8_t kind;
    bool persistent;      /* EXECUTOR */
    bool ran;             /* it was on a worker: `worker`, `pid` and what follows count */
    bool starts;          /* its start was not told before: a line for that goes first */
    bool lost;            /* RETURNED */
    uint16_t text_size;   /* bytes of the text: SUBMITTED: the function's name; LOST: the reason */
    uint32_t nafter;      /* SUBMITTED: how many calls it takes results of */
    uint32_t executor;    /* its number in this process, from 1 */
    uint32_t worker;      /* the worker's number, as its functions see it; of one process per call: of the process */
    int32_t pid;          /* 0: not forked yet */
    uint32_t cores;       /* of the call, or all of the executor's; TIMELINE: of the process; 0: unknown */
    uint32_t ranks, gpus; /* gpus: in thousandths */
    uint32_t workers;     /* EXECUTOR: how many at once; 0: no limit */
    uint32_t host;        /* EXECUTOR: whose guest it is, or 0 */
    uint64_t call;        /* its number in this process, from 1 */
    uint64_t count;       /* DROPPED: events; RETURNED: restarts */
    int64_t t_ns;         /* monotonic */
    int64_t began_ns, ended_ns; /* as the worker has measured them; 0: it has not */
    uint64_t sent, received;    /* bytes to and from the worker */
} exl_event_t;

/* What all lines of a process have in common. */
typedef struct exl_origin {
    char node[256]; /* JSON text, without quotes */
    int32_t pid;
    int64_t wall_minus_ns; /* wall clock minus monotonic clock */
} exl_origin_t;

const char *exl_event_to_string(uint8_t kind);

/* How long the lines of an event can get. */
size_t exl_event_bound(const exl_event_t *event);

/* Writes one line, or two when the event also starts the call; returns their size, at most exl_event_bound(). `text` is UTF-8. */
size_t exl_event_write(const exl_event_t *event, const exl_origin_t *origin, const char *text, const uint64_t *after,
                       char *line);

/* Copies UTF-8 as the inside of a JSON string, at most `size` - 1 bytes of it, and a zero. */
void exl_event_quote(const char *text, char *quoted, size_t size);

#endif
