/* pickling.h: Python objects to payloads and back.
 *
 * A submission is pickled by the C pickler where everything in it imports by name, and by cloudpickle otherwise (lambdas,
 * functions and classes of __main__, modules registered by value). Which of the two is decided while pickling, by what the
 * pickler meets, so that a large argument is never scanned. Buffers from OUT_OF_BAND bytes on stay where they are: a
 * payload pins them until the call is placed. */
#ifndef EXL_EXT_PICKLING_H
#define EXL_EXT_PICKLING_H

#include "state.h"

struct exl_task;

enum { EXL_SUBMISSION_ROOM = 2, EXL_SUBMISSION_PLAIN = 128 };

/* One pickling under way on this thread. Lives on the stack, and is not moved: most have one chunk and one function, for
 * which there is room in it. */
typedef struct exl_submission {
    struct exl_submission *outer; /* a __reduce__ may itself submit */
    exl_state_t *state;
    bool futures_allowed;  /* false: a future among the arguments is an error */
    bool collects_futures; /* false for results: futures are not dependencies there */
    bool by_value;         /* out: cloudpickle was, or must be, used */
    size_t plain_size;     /* then there is no chunk, but `plain` */
    PyObject **chunks;     /* owned references to bytes */
    size_t nchunks, chunks_capacity;
    PyObject **buffers; /* owned references to PickleBuffers */
    size_t nbuffers, buffers_capacity;
    struct exl_shared **functions; /* references: functions by value that were met */
    size_t nfunctions, functions_capacity;
    struct exl_task **producers; /* referenced and held */
    uint32_t nproducers, producers_capacity;
    size_t size;
    PyObject *chunk_room[EXL_SUBMISSION_ROOM];
    struct exl_shared *function_room[EXL_SUBMISSION_ROOM];
    unsigned char plain[EXL_SUBMISSION_PLAIN];
} exl_submission_t;

int exl_pickling_init(PyObject *module);

/* The submission that this thread is in, or NULL. */
exl_submission_t *exl_submission_present(void);

void exl_submission_init(exl_submission_t *submission, exl_state_t *state);
void exl_submission_fini(exl_submission_t *submission);

/* Pickles `object` into the submission. -1 with an exception set. */
int exl_submission_dump(exl_submission_t *submission, PyObject *object);

/* True if `callable` cannot be imported by name, or is not to be. */
bool exl_needs_cloudpickle(exl_state_t *state, PyObject *callable);

/* Adds a reference to a shared function, once. -1 with an exception set. */
int exl_submission_name(exl_submission_t *submission, struct exl_shared *function);

/* The payload; large bytes are pinned in it, and outlive the submission. -1 with an exception set. */
int exl_submission_payload(exl_submission_t *submission, exl_payload_t **ret_payload);

/* Index of the task among the submission's producers; adds it. -1 with an exception set. */
Py_ssize_t exl_submission_depend(exl_submission_t *submission, struct exl_task *task);

/* Unpickles. Takes no reference; buffers keep the payload alive as long as they are used. */
PyObject *exl_payload_loads(exl_state_t *state, exl_payload_t *payload);

/* A bytes object with the payload's body. */
PyObject *exl_payload_bytes(exl_payload_t *payload);

/* A payload with `bytes` as its body; large ones are sealed at once. -1 with an exception set. */
int exl_payload_of_bytes(PyObject *bytes, exl_payload_t **ret_payload);

/* Frees what other threads released. Holds the GIL. */
void exl_drain_released(exl_state_t *state);

/* Methods of the module. */
PyObject *exl_reducer_override(PyObject *module, PyObject *object);
PyObject *exl_buffer_callback(PyObject *module, PyObject *buffer);
PyObject *exl_submitting(PyObject *module, PyObject *unused);

#endif
