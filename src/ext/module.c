/* module.c: executorlib._core, its functions and its state. */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <unistd.h>

#include "base/error.h"
#include "base/log.h"
#include "finish.h"
#include "heap.h"
#include "pickling.h"
#include "sched/cpus.h"
#include "state.h"

PyMODINIT_FUNC PyInit__core(void);

PyObject *exl_raise(int code, const char *text)
{
    PyObject *type = code == -ENOMEM ? PyExc_MemoryError : code > EXL_ERROR_BASE ? PyExc_OSError : PyExc_RuntimeError;
    if (text && *text)
        return PyErr_Format(type, "%s: %s", text, exl_strerror(code));
    return PyErr_Format(type, "%s", exl_strerror(code));
}

exl_state_t *exl_state_of_type(PyTypeObject *type)
{
    /* The future's class is made in Python from ours: look along the bases for one that knows its module. */
    for (; type; type = type->tp_base)
        if ((type->tp_flags & Py_TPFLAGS_HEAPTYPE) && ((PyHeapTypeObject *)type)->ht_module)
            return exl_state_of(((PyHeapTypeObject *)type)->ht_module);
    return NULL;
}

/* ---- what only a driver needs ---- */

/* From a thread without the GIL, under the engine's lock: what the terminal does not take at once is not said. */
static void complain(const char *text)
{
    struct pollfd terminal = {.fd = STDERR_FILENO, .events = POLLOUT};
    if (poll(&terminal, 1, 0) == 1)
        (void)dprintf(STDERR_FILENO, "executorlib: %s\n", text);
}

int exl_driver_init(PyObject *module)
{
    exl_state_t *state = exl_state_of(module);
    if (state->pool_type)
        return 0;
    PyObject *futures = PyImport_ImportModule("concurrent.futures");
    PyObject *threading = futures ? PyImport_ImportModule("threading") : NULL;
    if (threading) {
        state->stdlib_future = PyObject_GetAttrString(futures, "Future");
        state->stdlib_cancelled_error = PyObject_GetAttrString(futures, "CancelledError");
        state->stdlib_timeout_error = PyObject_GetAttrString(futures, "TimeoutError");
        state->condition_factory = PyObject_GetAttrString(threading, "Condition");
        state->thread_factory = PyObject_GetAttrString(threading, "Thread");
    }
    PyObject *functools = threading ? PyImport_ImportModule("functools") : NULL;
    if (functools)
        state->cached_function = (PyTypeObject *)PyObject_GetAttrString(functools, "_lru_cache_wrapper");
    Py_XDECREF(functools);
    Py_XDECREF(futures);
    Py_XDECREF(threading);
    if (!state->stdlib_future || !state->cached_function || !state->stdlib_cancelled_error ||
        !state->stdlib_timeout_error || !state->condition_factory || !state->thread_factory)
        return -1;
    exl_log_set_hook(complain);
    return exl_future_init(module) < 0 || exl_pool_init(module) < 0 ? -1 : 0;
}

/* Future and Pool are made when first asked for: a zygote never asks, and is spared concurrent.futures. */
static PyObject *module_getattr(PyObject *module, PyObject *name)
{
    if (PyUnicode_CompareWithASCIIString(name, "Watch") == 0) {
        PyObject *type = exl_watch_type(module);
        if (type && PyModule_AddObjectRef(module, "Watch", type) < 0)
            Py_CLEAR(type);
        return type;
    }
    exl_state_t *state = exl_state_of(module);
    bool future = PyUnicode_CompareWithASCIIString(name, "Future") == 0;
    if (!future && PyUnicode_CompareWithASCIIString(name, "Pool") != 0)
        return PyErr_Format(PyExc_AttributeError, "module 'executorlib._core' has no attribute '%U'", name);
    if (exl_driver_init(module) < 0)
        return NULL;
    return Py_NewRef((PyObject *)(future ? state->future_type : state->pool_type));
}

static PyObject *set_object(PyObject **slot, PyObject *value)
{
    Py_XSETREF(*slot, Py_NewRef(value));
    Py_RETURN_NONE;
}

static PyObject *set_error_factory(PyObject *module, PyObject *factory)
{
    return set_object(&exl_state_of(module)->error_factory, factory);
}

static PyObject *set_remote_cause(PyObject *module, PyObject *function)
{
    return set_object(&exl_state_of(module)->remote_cause, function);
}

static PyObject *set_cloudpickler(PyObject *module, PyObject *factory)
{
    return set_object(&exl_state_of(module)->cloudpickler_factory, factory);
}

/* ---- functions ---- */

static int call_cores; /* what the enclosing call was given; 0 outside a worker */
static bool is_worker;

static PyObject *cpu_count(PyObject *module, PyObject *unused)
{
    (void)module;
    (void)unused;
    int usable = exl_cpus_usable();
    return PyLong_FromLong(call_cores > 0 && call_cores < usable ? call_cores : usable);
}

static PyObject *in_worker(PyObject *module, PyObject *unused)
{
    (void)module;
    (void)unused;
    return PyBool_FromLong(is_worker);
}

/* From _worker.py, once it has read the setup. */
static PyObject *enter_worker(PyObject *module, PyObject *cores)
{
    (void)module;
    call_cores = (int)PyLong_AsLong(cores);
    is_worker = true;
    if (PyErr_Occurred())
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *fill_gaps(PyObject *module, PyObject *unused)
{
    (void)module;
    (void)unused;
    exl_heap_fill_gaps();
    Py_RETURN_NONE;
}

static PyObject *identity(PyObject *module, PyObject *object)
{
    (void)module;
    return Py_NewRef(object);
}

static PyObject *select_item(PyObject *module, PyObject *const *args, Py_ssize_t nargs)
{
    (void)module;
    if (nargs != 2) {
        PyErr_SetString(PyExc_TypeError, "select_item(value, item)");
        return NULL;
    }
    return args[0] == Py_None ? Py_NewRef(Py_None) : PyObject_GetItem(args[0], args[1]);
}

static PyMethodDef module_methods[] = {
    {"cpu_count", cpu_count, METH_NOARGS, "Cores that this process, or the enclosing call, may use."},
    {"in_worker", in_worker, METH_NOARGS, "True in a process that executes calls."},
    {"set_error_factory", set_error_factory, METH_O, "f(kind, info) makes the exception of a call that was lost."},
    {"set_remote_cause", set_remote_cause, METH_O, "f(exception, text) attaches a remote traceback."},
    {"set_cloudpickler", set_cloudpickler, METH_O, "f() returns the class that pickles by value."},
    {"foreign_future", exl_foreign_future, METH_O, "The reduce value of a future that is not ours, or NotImplemented."},
    {"submitting", exl_submitting, METH_NOARGS, "True while this thread pickles a submission."},
    {"select_item", (PyCFunction)(void (*)(void))select_item, METH_FASTCALL,
     "value[item], or None if the value is None."},
    {"zygote_main", exl_zygote_main, METH_O, "Serves as a zygote on this descriptor; returns only in the end."},
    {"provide_tls", exl_provide_tls, METH_O, "Takes executorlib._tls.api; before the first fleet or agent."},
    {"serve", (PyCFunction)(void (*)(void))exl_serve, METH_VARARGS | METH_KEYWORDS,
     "serve($module, pool, addresses, *, port, name, key, index, grace_ms, cores, gpus)\n--\n\n"
     "Serves a fleet as its agent, with this pool, until there is nothing to do any more. Returns why it ended: the "
     "empty "
     "string if the driver said so."},
    {"rank_main", exl_rank_main, METH_NOARGS, "Serves as a rank of an MPI group."},
    {"start_job", exl_start_job, METH_VARARGS,
     "start_job(argv, environ, folder, out, err)\n--\n\nStarts a detached process; returns its pid."},
    {"read_claim", exl_read_claim, METH_O,
     "(generation, pid, host, \"gone\", \"lives\" or \"elsewhere\") of who runs the job of a folder, or None."},
    {"take_claim", exl_take_claim, METH_O, "Claims a folder for this process: the generation, or None: it is taken."},
    {"release_claim", exl_release_claim, METH_VARARGS,
     "release_claim(folder, generation)\n--\n\nRemoves the claims up to this one."},
    {"_gather", (PyCFunction)(void (*)(void))exl_gather_results, METH_FASTCALL,
     "The list of what pickles hold: _gather(pickle, its buffers, …)."},
    {"_finish", exl_finish_process, METH_NOARGS, "Does what an interpreter does at its end, but for the teardown."},
    {"_fill_gaps", fill_gaps, METH_NOARGS, "Takes the gaps in this process's memory, before it is forked."},
    {"_enter_worker", enter_worker, METH_O, "Marks this process as a worker whose calls have so many cores."},
    {"_dependency", exl_dependency, METH_O, "In a worker: the value of an argument that another call computed."},
    {"_function", exl_function, METH_O, "In a worker: a function that the driver sent by value."},
    {"_value", identity, METH_O, "The object itself; stands for a future whose value is known."},
    {"_deliver", exl_deliver, METH_NOARGS, "The delivery thread."},
    {"_reducer_override", exl_reducer_override, METH_O, "reducer_override of the C pickler."},
    {"_buffer_callback", exl_buffer_callback, METH_O, "buffer_callback of both picklers."},
    {"__getattr__", module_getattr, METH_O, "Makes Future and Pool at first use."},
    {NULL, NULL, 0, NULL},
};

/* ---- module ---- */

/* What unpickling in a worker calls goes by a top-level name: resolving "executorlib._core" would import the package. */
static int add_alias(PyObject *module)
{
    static const char alias[] = "_executorlib_core";
    static const char *const pickled[] = {"_dependency", "_function", "_gather", "_value", "select_item"};
    PyObject *name = PyUnicode_FromString(alias);
    int rc = name ? PyDict_SetItem(PyImport_GetModuleDict(), name, module) : -1;
    for (size_t i = 0; rc == 0 && i < sizeof pickled / sizeof *pickled; i++) {
        PyObject *function = PyObject_GetAttrString(module, pickled[i]);
        rc = function ? PyObject_SetAttrString(function, "__module__", name) : -1;
        Py_XDECREF(function);
    }
    Py_XDECREF(name);
    return rc;
}

static int module_exec(PyObject *module)
{
    exl_state_t *state = exl_state_of(module);
    struct {
        PyObject **slot;
        const char *text;
    } names[] = {
        {&state->str_clear_memo, "clear_memo"},
        {&state->str_dump, "dump"},
        {&state->str_raw, "raw"},
        {&state->str_module, "__module__"},
        {&state->str_qualname, "__qualname__"},
        {&state->str_reduce, "__reduce__"},
        {&state->str_cloudpickle, "cloudpickle.cloudpickle"},
        {&state->str_shape, "shape"},
        {&state->str_dtype, "dtype"},
    };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (!(*names[i].slot = PyUnicode_InternFromString(names[i].text)))
            return -1;
    return add_alias(module) < 0 ? -1 : exl_pickling_init(module);
}

#define EXL_STATE_OBJECTS(state)                                                                                       \
    {                                                                                                                  \
        (PyObject **)&(state)->buffer_type, (PyObject **)&(state)->writer_type, &(state)->pickler_class,               \
            &(state)->loads, &(state)->writer, &(state)->pickler, &(state)->buffer_callback, &(state)->protocol,       \
            (PyObject **)&(state)->future_base, (PyObject **)&(state)->future_type, (PyObject **)&(state)->pool_type,  \
            &(state)->stdlib_future, &(state)->stdlib_cancelled_error, &(state)->stdlib_timeout_error,                 \
            &(state)->condition_factory, &(state)->thread_factory, &(state)->by_value_registry,                        \
            &(state)->cloudpickler_factory, &(state)->cloudpickler, &(state)->error_factory, &(state)->remote_cause,   \
            &(state)->functions, &(state)->delivery_thread, &(state)->worker, &(state)->ndarray, &(state)->float64,    \
            (PyObject **)&(state)->cached_function                                                                     \
    }

static int module_traverse(PyObject *module, visitproc visit, void *arg)
{
    exl_state_t *state = exl_state_of(module);
    PyObject **objects[] = EXL_STATE_OBJECTS(state);
    for (size_t i = 0; i < sizeof objects / sizeof *objects; i++)
        Py_VISIT(*objects[i]);
    return 0;
}

static int module_clear(PyObject *module)
{
    exl_state_t *state = exl_state_of(module);
    PyObject **objects[] = EXL_STATE_OBJECTS(state);
    for (size_t i = 0; i < sizeof objects / sizeof *objects; i++)
        Py_CLEAR(*objects[i]);
    return 0;
}

static void module_free(void *module)
{
    (void)module_clear(module);
}

static PyModuleDef_Slot module_slots[] = {
    {Py_mod_exec, module_exec},
    {0, NULL},
};

struct PyModuleDef exl_core_module = {
    PyModuleDef_HEAD_INIT,         .m_name = "executorlib._core", .m_doc = "The C core of executorlib.",
    .m_size = sizeof(exl_state_t), .m_methods = module_methods,   .m_slots = module_slots,
    .m_traverse = module_traverse, .m_clear = module_clear,       .m_free = module_free,
};

PyMODINIT_FUNC PyInit__core(void)
{
    return PyModuleDef_Init(&exl_core_module);
}
