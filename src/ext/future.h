/* future.h: see future.c. */
#ifndef EXL_EXT_FUTURE_H
#define EXL_EXT_FUTURE_H

#include "state.h"
#include "task/task.h"

/* What Python sees as `_state`. UNDECIDED: ask the task. */
typedef enum exl_future_phase {
    EXL_FUTURE_UNDECIDED,
    EXL_FUTURE_PENDING, /* set by hand, without a task */
    EXL_FUTURE_RUNNING,
    EXL_FUTURE_CANCELLED,
    EXL_FUTURE_CANCELLED_AND_NOTIFIED,
    EXL_FUTURE_FINISHED
} exl_future_phase_t;

typedef struct {
    PyObject_HEAD exl_task_t *task;            /* owned; NULL for a future made by hand */
    PyObject *result, *exception;              /* what has been unpickled */
    PyObject *condition, *waiters, *callbacks; /* made at the first touch */
    size_t nbytes_sent, nbytes_received;
    _Atomic uint32_t settled;  /* futex: an observed future's phase is final */
    _Atomic uint32_t unpacked; /* futex: result or exception is there */
    uint16_t nsleepers;        /* threads that wait for one of the two */
    uint8_t phase;
    bool observed, unpacking;
} FutureObject;

/* errors.c: what a task's end means in Python. New references; never NULL without an exception set. */
PyObject *exl_error_of_failure(exl_state_t *state, const exl_task_t *task);
PyObject *exl_error_of_payload(exl_state_t *state, exl_payload_t *payload);

#endif
