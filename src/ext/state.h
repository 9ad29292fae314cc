/* state.h: what the extension module knows; one per interpreter, reached through PyModule_GetState().
 *
 * The extension parses arguments, calls the core, and translates. It is loaded in drivers, zygotes and workers: what only
 * a driver needs (concurrent.futures, and so logging) is made at first use, since a zygote must start fast. */
#ifndef EXL_EXT_STATE_H
#define EXL_EXT_STATE_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <stdatomic.h>
#include <stdbool.h>

#include "task/payload.h"

typedef struct exl_kept exl_kept_t;

typedef struct exl_state {
    PyTypeObject *buffer_type, *writer_type;
    PyObject *pickler_class; /* subclass of _pickle.Pickler with our reducer_override and buffer_callback */
    PyObject *loads;         /* _pickle.loads */
    PyObject *writer;        /* the one "file" of all picklers */
    PyObject *pickler;       /* a ready pickler, or NULL while it is in use */
    PyObject *buffer_callback;
    PyObject *str_clear_memo, *str_dump, *str_raw, *str_module, *str_qualname, *str_reduce, *str_cloudpickle;
    PyObject *str_shape, *str_dtype;
    PyObject *ndarray, *float64;    /* numpy's, once one was pickled */
    PyObject *protocol;             /* int 5 */
    _Atomic(exl_kept_t *) released; /* pins that any thread dropped, for the next one with the GIL */

    /* Driver: */
    PyTypeObject *future_base, *future_type, *pool_type;
    PyTypeObject *cached_function; /* what functools.cache makes */
    PyObject *stdlib_future, *stdlib_cancelled_error, *stdlib_timeout_error;
    PyObject *condition_factory, *thread_factory;
    PyObject *by_value_registry; /* cloudpickle's set of modules to be pickled by value, once cloudpickle is loaded */
    PyObject *cloudpickler_factory, *cloudpickler;
    PyObject *error_factory, *remote_cause;
    PyObject *functions;       /* functions.c: code -> capsule of what was pickled */
    PyObject *named_functions; /* function -> capsule of its name's pickle */
    PyObject *delivery_thread; /* NULL when none runs */
    unsigned long delivery_ident;

    /* Worker: */
    PyObject *worker; /* executorlib._worker */
} exl_state_t;

extern struct PyModuleDef exl_core_module;

static inline exl_state_t *exl_state_of(PyObject *module)
{
    return PyModule_GetState(module);
}

/* module.c */
exl_state_t *exl_state_of_type(PyTypeObject *type);
int exl_driver_init(PyObject *module);
PyObject *exl_raise(int code, const char *text);

/* future.c */
int exl_future_init(PyObject *module);
PyObject *exl_deliver(PyObject *module, PyObject *unused);
struct exl_task;
PyObject *exl_future_new(exl_state_t *state, struct exl_task *task, size_t nbytes_sent);
/* New reference to the reduce value of a future inside a submission. */
PyObject *exl_foreign_future(PyObject *module, PyObject *future);
int exl_delivery_join(exl_state_t *state);

/* pool.c */
int exl_pool_init(PyObject *module);
struct exl_pool;
struct exl_pool *exl_pool_of(PyObject *object); /* borrowed; NULL with an error set */

/* agent.c */
PyObject *exl_provide_tls(PyObject *module, PyObject *capsule);
PyObject *exl_serve(PyObject *module, PyObject *args, PyObject *keywords);

/* batch.c */
PyObject *exl_watch_type(PyObject *module);
PyObject *exl_start_job(PyObject *module, PyObject *args);
PyObject *exl_read_claim(PyObject *module, PyObject *folder);
PyObject *exl_take_claim(PyObject *module, PyObject *folder);
PyObject *exl_release_claim(PyObject *module, PyObject *args);

/* worker_loop.c */
PyObject *exl_zygote_main(PyObject *module, PyObject *argument);
PyObject *exl_rank_main(PyObject *module, PyObject *unused);
PyObject *exl_gather_results(PyObject *module, PyObject *const *args, Py_ssize_t nargs);
PyObject *exl_dependency(PyObject *module, PyObject *index);
PyObject *exl_dependency_at(size_t index); /* of the present call; new reference */
PyObject *exl_function(PyObject *module, PyObject *id);

#endif
