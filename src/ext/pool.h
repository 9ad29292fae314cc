/* pool.h: the object behind executorlib._core.Pool, and what its methods share. With the GIL. */
#ifndef EXL_EXT_POOL_H
#define EXL_EXT_POOL_H

#include "callable.h"
#include "engine/pool.h"
#include "state.h"

typedef struct exl_pool_object {
    PyObject_HEAD exl_pool_t *pool; /* NULL until __init__ has run */
    bool persistent, allow_futures, closed;
    /* The last setup of one-process-per-call calls: the facade passes the same bytes while nothing changed. */
    PyObject *setup;
    exl_payload_t *setup_payload;
    PyObject *imports;          /* f(pickles) says what the first call imports, or NULL once it was asked */
    bool timeline;              /* calls are logged, with the names of their functions */
    exl_callable_name_t callee; /* of the last one */
} exl_pool_object_t;

/* 0, or -1 and an exception: it takes no calls, not yet or not any more. */
int exl_pool_check_open(const exl_pool_object_t *self);

/* The same of one that was never made. After shutdown() calls may still wait for agents. */
int exl_pool_check_made(const exl_pool_object_t *self);

/* An array of borrowed UTF-8 strings, ended by NULL; freed by PyMem_Free(). NULL and an exception. */
const char **exl_strings_of(PyObject *list);

/* None, or NULL and the exception that goes with a negative code. */
PyObject *exl_none_or_raise(int rc);

#endif
