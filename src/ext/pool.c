/* pool.c: executorlib._core.Pool, an executor of the core as a Python object. */
#include "pool.h"

#include <errno.h>
#include <stdlib.h>

#include "agents.h"
#include "base/error.h"
#include "engine/engine.h"
#include "engine/fleet.h"
#include "engine/wait.h"
#include "functions.h"
#include "pickling.h"
#include "sched/cpus.h"

/* What a call needs, in the order in which the facade names it (executorlib/_resources.py, Request.needs). */
enum needs { CORES, RANKS, GPUS, GPU_SHARE, PRIORITY, RUN_TIME_MS, GRACE_MS, PIN, NODES, NODE_CORES, NNEEDS };

typedef struct {
    long needs[NNEEDS];
    PyObject *setup, *options; /* borrowed */
} request_t;

static exl_state_t *state_of(PyObject *self)
{
    return exl_state_of_type(Py_TYPE(self));
}

int exl_pool_check_open(const exl_pool_object_t *self)
{
    if (self->pool && !self->closed)
        return 0;
    PyErr_SetString(PyExc_RuntimeError, "cannot schedule new futures after shutdown");
    return -1;
}

int exl_pool_check_made(const exl_pool_object_t *self)
{
    if (self->pool)
        return 0;
    PyErr_SetString(PyExc_RuntimeError, "the pool was never made");
    return -1;
}

PyObject *exl_none_or_raise(int rc)
{
    if (rc < 0)
        return exl_raise(rc, NULL);
    Py_RETURN_NONE;
}

static int parse_needs(PyObject *tuple, long needs[NNEEDS])
{
    Py_ssize_t count = tuple && PyTuple_Check(tuple) ? PyTuple_GET_SIZE(tuple) : 0;
    if (count != NODES && count != NNEEDS) { /* nodes may be left out */
        PyErr_Format(PyExc_TypeError, "needs must be a tuple of %d or %d integers", NODES, NNEEDS);
        return -1;
    }
    for (int i = 0; i < NNEEDS; i++)
        needs[i] = i < count ? PyLong_AsLong(PyTuple_GET_ITEM(tuple, i)) : 0;
    return PyErr_Occurred() ? -1 : 0;
}

static exl_request_t resources_of(const long needs[NNEEDS])
{
    return (exl_request_t){.cores = (uint32_t)needs[CORES],
                           .gpus = (uint32_t)needs[GPUS],
                           .gpu_share = (uint32_t)needs[GPU_SHARE],
                           .pin = needs[PIN] != 0,
                           .nodes = (uint32_t)needs[NODES],
                           .node_cores = (uint32_t)needs[NODE_CORES]};
}

/* ---- arguments of the constructor ---- */

const char **exl_strings_of(PyObject *list)
{
    PyObject *sequence = PySequence_Fast(list, "expected a list of strings");
    if (!sequence)
        return NULL;
    Py_ssize_t count = PySequence_Fast_GET_SIZE(sequence);
    const char **strings = PyMem_Calloc((size_t)count + 1, sizeof *strings);
    if (!strings)
        PyErr_NoMemory();
    for (Py_ssize_t i = 0; strings && i < count; i++) {
        PyObject *item = PySequence_Fast_GET_ITEM(sequence, i);
        strings[i] = PyBytes_Check(item) ? PyBytes_AsString(item) : PyUnicode_AsUTF8(item);
        if (!strings[i]) {
            PyMem_Free(strings);
            strings = NULL;
        }
    }
    Py_DECREF(sequence); /* the list itself, held by the caller, keeps the strings */
    return strings;
}

static int create(exl_pool_object_t *self, const exl_pool_config_t *config)
{
    exl_error_t err = {""};
    int rc;
    Py_BEGIN_ALLOW_THREADS rc = exl_pool_create(config, &self->pool, &err);
    Py_END_ALLOW_THREADS if (rc < 0) exl_raise(rc, err.text);
    return rc < 0 ? -1 : 0;
}

static int create_with_zygote(exl_pool_object_t *self, const char *key, PyObject *argv, PyObject *envp,
                              exl_pool_config_t *config)
{
    const char **arguments = exl_strings_of(argv);
    const char **environment = arguments ? exl_strings_of(envp) : NULL;
    config->zygote = (exl_zygote_spec_t){.key = key, .argv = arguments, .envp = environment};
    int rc = environment ? create(self, config) : -1;
    PyMem_Free(arguments);
    PyMem_Free(environment);
    return rc;
}

/* (job, names, cores as 32-bit numbers). The arrays are the caller's to free; the strings are the tuple's. */
static int parse_hosts(PyObject *tuple, exl_pool_hosts_t *hosts)
{
    PyObject *names, *cores;
    if (!PyArg_ParseTuple(tuple, "sOO!", &hosts->job, &names, &PyList_Type, &cores))
        return -1;
    hosts->names = exl_strings_of(names);
    uint32_t *counts = hosts->names ? PyMem_Calloc((size_t)PyList_GET_SIZE(cores) + 1, sizeof *counts) : NULL;
    for (Py_ssize_t i = 0; counts && i < PyList_GET_SIZE(cores); i++)
        counts[i] = (uint32_t)PyLong_AsUnsignedLong(PyList_GET_ITEM(cores, i));
    hosts->cores = counts;
    hosts->count = (uint32_t)PyList_GET_SIZE(cores);
    if (counts && !PyErr_Occurred() && PySequence_Size(names) == PyList_GET_SIZE(cores))
        return 0;
    if (!PyErr_Occurred())
        PyErr_SetString(PyExc_ValueError, "each node has a name and a number of cores");
    PyMem_Free((void *)hosts->names);
    PyMem_Free(counts);
    return -1;
}

static int pool_init(PyObject *object, PyObject *args, PyObject *keywords)
{
    static char *names[] = {
        "zygote",         "persistent", "max_cores", "max_workers", "restart_limit", "setup", "allow_futures",
        "exclusive_wide", "imports",    "ranks",     "needs",       "host",          "fleet", "timeline",
        "steps",          "hosts",      NULL};
    exl_pool_object_t *self = (exl_pool_object_t *)object;
    const char *key = NULL;
    PyObject *argv = NULL, *envp = NULL, *setup = NULL, *imports = NULL, *needs = NULL, *host = NULL, *fleet = NULL,
             *hosts = NULL;
    long each[NNEEDS] = {0};
    int persistent = 0, allow_futures = 1, exclusive_wide = 1, steps = 0;
    exl_pool_config_t config = {0};
    exl_fleet_config_t fleet_config = {0};
    if (!PyArg_ParseTupleAndKeywords(args, keywords, "|$(sOO)pIIISppOIOOOzpO:Pool", names, &key, &argv, &envp,
                                     &persistent, &config.max_cores, &config.max_workers, &config.restart_limit, &setup,
                                     &allow_futures, &exclusive_wide, &imports, &config.ranks, &needs, &host, &fleet,
                                     &config.timeline, &steps, &hosts) ||
        (needs && parse_needs(needs, each) < 0))
        return -1;
    int remote = exl_agents_parse(fleet, &fleet_config);
    if (remote < 0)
        return -1;
    config.fleet = remote ? &fleet_config : NULL;
    config.each = resources_of(each);
    config.steps = steps;
    if (host && host != Py_None) {
        if (!Py_IS_TYPE(host, Py_TYPE(object)) || !needs) {
            PyErr_SetString(PyExc_TypeError, "host must be a pool, and needs say what its guest takes there");
            return -1;
        }
        if (exl_pool_check_open((exl_pool_object_t *)host) < 0)
            return -1;
        config.host = ((exl_pool_object_t *)host)->pool;
    }
    if (self->pool || !(key || remote)) {
        PyErr_SetString(PyExc_TypeError,
                        self->pool ? "a pool is initialized once" : "a pool needs a zygote or a fleet");
        return -1;
    }
    self->persistent = config.persistent = persistent;
    self->allow_futures = allow_futures;
    self->timeline = config.timeline != NULL;
    if (imports && imports != Py_None)
        self->imports = Py_NewRef(imports);
    if (setup && PyBytes_GET_SIZE(setup) && exl_payload_of_bytes(setup, &config.setup) < 0)
        return -1;
    exl_pool_hosts_t nodes = {0};
    if (hosts && hosts != Py_None) {
        if (parse_hosts(hosts, &nodes) < 0) {
            exl_payload_unref(config.setup);
            return -1;
        }
        config.hosts = &nodes;
    }
    int rc = remote ? create(self, &config) : create_with_zygote(self, key, argv, envp, &config);
    PyMem_Free((void *)nodes.names);
    PyMem_Free((void *)nodes.cores);
    exl_payload_unref(config.setup);
    return rc;
}

static void pool_dealloc(PyObject *object)
{
    exl_pool_object_t *self = (exl_pool_object_t *)object;
    PyTypeObject *type = Py_TYPE(object);
    if (self->pool) {
        Py_BEGIN_ALLOW_THREADS exl_pool_release(self->pool);
        Py_END_ALLOW_THREADS
    }
    exl_payload_unref(self->setup_payload);
    Py_XDECREF(self->setup);
    Py_XDECREF(self->imports);
    exl_callable_name_fini(&self->callee);
    type->tp_free(object);
    Py_DECREF(type);
}

/* ---- submission ---- */

/* Names the call in the log, if there is one. The text is `*ret_name`'s, which the caller drops after the submission. */
static void name_call(exl_pool_object_t *self, exl_state_t *state, PyObject *callable, exl_call_t *call,
                      PyObject **ret_name)
{
    *ret_name = self->timeline ? exl_callable_name(state, callable, &self->callee) : NULL;
    call->name = *ret_name && PyUnicode_Check(*ret_name) ? PyUnicode_AsUTF8(*ret_name) : NULL;
    PyErr_Clear();
}

static int setup_payload_of(exl_pool_object_t *self, PyObject *setup, exl_payload_t **ret_payload)
{
    if (!setup || setup == Py_None) {
        *ret_payload = NULL;
        return 0;
    }
    if (setup != self->setup) {
        exl_payload_t *payload;
        if (!PyBytes_Check(setup)) {
            PyErr_SetString(PyExc_TypeError, "setup must be bytes");
            return -1;
        }
        if (exl_payload_of_bytes(setup, &payload) < 0)
            return -1;
        exl_payload_unref(self->setup_payload);
        self->setup_payload = payload;
        Py_XSETREF(self->setup, Py_NewRef(setup));
    }
    *ret_payload = exl_payload_ref(self->setup_payload);
    return 0;
}

/* By cloudpickle from the start: what cannot be imported by name, unless its pickle can be shared between calls. */
static bool goes_by_value(exl_state_t *state, PyObject *callable)
{
    return exl_needs_cloudpickle(state, callable) && !exl_function_is_shared(state, callable);
}

/* What all calls of one request share. */
static int prepare(exl_pool_object_t *self, const request_t *request, exl_call_t *call)
{
    *call = (exl_call_t){
        .request = resources_of(request->needs),
        .ranks = (uint32_t)request->needs[RANKS],
        .priority = (int32_t)request->needs[PRIORITY],
        .run_time_ms = (uint32_t)request->needs[RUN_TIME_MS],
        .grace_ms = (uint32_t)request->needs[GRACE_MS],
    };
    if (setup_payload_of(self, request->setup, &call->setup) < 0)
        return -1;
    if (!request->options || request->options == Py_None)
        return 0;
    if (!PyBytes_Check(request->options))
        PyErr_SetString(PyExc_TypeError, "options must be bytes");
    else if (exl_payload_of_bytes(request->options, &call->options) == 0)
        return 0;
    exl_payload_unref(call->setup);
    call->setup = NULL;
    return -1;
}

static void unprepare(exl_call_t *call)
{
    exl_payload_unref(call->setup);
    exl_payload_unref(call->options);
}

static int name_functions(exl_submission_t *submission, const exl_submission_t *shared)
{
    for (size_t i = 0; shared && i < shared->nfunctions; i++)
        if (exl_submission_name(submission, shared->functions[i]) < 0)
            return -1;
    return 0;
}

/* All pickles of a call: its own and those of the functions it names. */
static PyObject *pickles_of(const exl_submission_t *submission)
{
    PyObject *pickles = PyList_New(0);
    int rc = pickles ? 0 : -1;
    for (size_t i = 0; rc == 0 && i < submission->nchunks; i++)
        rc = PyList_Append(pickles, submission->chunks[i]);
    for (size_t i = 0; rc == 0 && i < submission->nfunctions; i++) {
        PyObject *pickle = exl_payload_bytes(submission->functions[i]->payload);
        rc = pickle ? PyList_Append(pickles, pickle) : -1;
        Py_XDECREF(pickle);
    }
    if (rc < 0)
        Py_CLEAR(pickles);
    return pickles;
}

/* What the first call is going to import, so that it is imported once and not by each worker. A hint: nothing is lost
 * without it. */
static exl_payload_t *imports_of(exl_pool_object_t *self, const exl_submission_t *submission)
{
    exl_payload_t *payload = NULL;
    PyObject *imports = self->imports;
    self->imports = NULL;
    PyObject *pickles = pickles_of(submission);
    PyObject *names = pickles ? PyObject_CallOneArg(imports, pickles) : NULL;
    if (names && PyBytes_Check(names) && PyBytes_GET_SIZE(names))
        (void)exl_payload_of_bytes(names, &payload);
    Py_XDECREF(names);
    Py_XDECREF(pickles);
    Py_DECREF(imports);
    PyErr_Clear();
    return payload;
}

/* Pickles `object` and submits it as `call`, with the functions of `shared` (may be NULL). */
static PyObject *submit(exl_pool_object_t *self, exl_state_t *state, const exl_call_t *shape, PyObject *object,
                        bool by_value, const exl_submission_t *shared)
{
    exl_submission_t submission;
    exl_call_t call = *shape;
    exl_task_t *task = NULL;
    PyObject *future = NULL;
    exl_submission_init(&submission, state);
    submission.collects_futures = true;
    submission.futures_allowed = self->allow_futures;
    submission.by_value = by_value;
    int rc = exl_submission_dump(&submission, object);
    call.cloudpickled |= submission.by_value || submission.nfunctions;
    if (rc == 0 && exl_submission_payload(&submission, &call.call) == 0 && name_functions(&submission, shared) == 0 &&
        exl_pool_check_open(self) == 0) {
        call.functions = submission.functions;
        call.nfunctions = (uint32_t)submission.nfunctions;
        call.producers = submission.producers;
        call.nproducers = submission.nproducers;
        if (self->imports)
            call.imports = imports_of(self, &submission);
        rc = exl_pool_submit(self->pool, &call, &task, NULL);
        if (rc == EXL_ECLOSED)
            PyErr_SetString(PyExc_RuntimeError, "cannot schedule new futures after shutdown");
        else if (rc < 0)
            exl_raise(rc, NULL);
        else if (!(future = exl_future_new(state, task, submission.size)))
            exl_task_unref(task);
    }
    exl_payload_unref(call.imports);
    exl_payload_unref(call.call);
    exl_submission_fini(&submission);
    return future;
}

/* (…, needs, setup=None, options=None), by position. */
static int parse_request(PyObject *const *args, Py_ssize_t nargs, Py_ssize_t nbefore, request_t *request)
{
    PyObject *needs = nargs > nbefore ? args[nbefore] : NULL;
    *request = (request_t){.setup = nargs > nbefore + 1 ? args[nbefore + 1] : NULL,
                           .options = nargs > nbefore + 2 ? args[nbefore + 2] : NULL};
    return parse_needs(needs, request->needs);
}

static PyObject *submit_whole(exl_pool_object_t *self, exl_state_t *state, const exl_call_t *call, bool by_value,
                              PyObject *const *args)
{
    PyObject *triple = PyTuple_Pack(3, args[0], args[1], args[2]);
    PyObject *future = triple ? submit(self, state, call, triple, by_value, NULL) : NULL;
    Py_XDECREF(triple);
    return future;
}

/* The call names its function, and holds its arguments: a tuple, or where there are keywords a list of both. */
static PyObject *submit_named(exl_pool_object_t *self, exl_state_t *state, exl_call_t *call, exl_shared_t *function,
                              PyObject *args, PyObject *kwargs)
{
    exl_submission_t named;
    PyObject *future = NULL;
    exl_submission_init(&named, state);
    PyObject *object = PyDict_GET_SIZE(kwargs) ? Py_BuildValue("[OO]", args, kwargs) : Py_NewRef(args);
    call->function_id = function->id;
    if (object && exl_submission_name(&named, function) == 0)
        future = submit(self, state, call, object, false, &named);
    exl_submission_fini(&named);
    Py_XDECREF(object);
    return future;
}

static PyObject *pool_submit(PyObject *object, PyObject *const *args, Py_ssize_t nargs)
{
    exl_pool_object_t *self = (exl_pool_object_t *)object;
    exl_state_t *state = state_of(object);
    request_t request;
    exl_call_t call;
    if (nargs < 3 || !PyTuple_Check(args[1]) || !PyDict_Check(args[2])) {
        PyErr_SetString(PyExc_TypeError, "submit(fn, args, kwargs, needs, setup=None, options=None)");
        return NULL;
    }
    exl_drain_released(state);
    if (exl_pool_check_open(self) < 0 || parse_request(args, nargs, 3, &request) < 0 ||
        prepare(self, &request, &call) < 0)
        return NULL;
    if (!self->persistent)
        call.import_key = exl_callable_import_key(state, args[0]);
    PyObject *name;
    name_call(self, state, args[0], &call, &name);
    /* A process that serves one call has no use for a function of its own. */
    bool by_value;
    exl_shared_t *function = NULL;
    if (self->persistent)
        function = exl_function_shared(state, args[0], &by_value);
    else
        by_value = goes_by_value(state, args[0]);
    call.cloudpickled = by_value;
    PyObject *future = function ? submit_named(self, state, &call, function, args[1], args[2])
                                : submit_whole(self, state, &call, by_value, args);
    Py_XDECREF(name);
    unprepare(&call);
    return future;
}

/* The function of a map is pickled once, and named by all its calls. One with futures inside cannot be: its dependencies
 * belong to a call. */
static int share_function(exl_submission_t *shared, PyObject *function, exl_call_t *call)
{
    exl_payload_t *payload;
    shared->collects_futures = true;
    shared->by_value = goes_by_value(shared->state, function);
    if (exl_submission_dump(shared, function) < 0)
        return -1;
    call->cloudpickled = shared->by_value || shared->nfunctions;
    if (shared->nproducers)
        return 0;
    if (exl_submission_payload(shared, &payload) < 0)
        return -1;
    int rc = exl_payload_seal(payload);
    exl_shared_t *callable = rc < 0 ? NULL : exl_shared_create(payload);
    if (!callable) {
        exl_payload_unref(payload);
        (void)exl_raise(rc < 0 ? rc : -ENOMEM, NULL);
        return -1;
    }
    rc = exl_submission_name(shared, callable);
    call->function_id = callable->id;
    exl_shared_unref(callable);
    return rc;
}

static int map_items(exl_pool_object_t *self, const exl_submission_t *shared, const exl_call_t *call,
                     PyObject *function, PyObject *tuples, PyObject *futures)
{
    PyObject *nothing = PyDict_New();
    PyObject *arguments;
    int rc = nothing ? 0 : -1;
    while (rc == 0 && (arguments = PyIter_Next(tuples))) {
        PyObject *object = call->function_id ? Py_NewRef(arguments) : PyTuple_Pack(3, function, arguments, nothing);
        bool by_value = !call->function_id && shared->by_value;
        PyObject *future = object ? submit(self, shared->state, call, object, by_value, shared) : NULL;
        rc = future ? PyList_Append(futures, future) : -1;
        Py_XDECREF(future);
        Py_XDECREF(object);
        Py_DECREF(arguments);
    }
    Py_XDECREF(nothing);
    return rc < 0 || PyErr_Occurred() ? -1 : 0;
}

static void cancel_all(PyObject *futures)
{
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(futures); i++) {
        PyObject *cancelled = PyObject_CallMethod(PyList_GET_ITEM(futures, i), "cancel", NULL);
        Py_XDECREF(cancelled);
    }
    PyErr_Restore(type, value, traceback);
}

static PyObject *pool_map(PyObject *object, PyObject *const *args, Py_ssize_t nargs)
{
    exl_pool_object_t *self = (exl_pool_object_t *)object;
    exl_state_t *state = state_of(object);
    request_t request;
    exl_call_t call;
    if (nargs < 2 || !PyTuple_Check(args[1])) {
        PyErr_SetString(PyExc_TypeError, "map(fn, iterables, needs, setup=None, options=None)");
        return NULL;
    }
    exl_drain_released(state);
    if (exl_pool_check_open(self) < 0 || parse_request(args, nargs, 2, &request) < 0 ||
        prepare(self, &request, &call) < 0)
        return NULL;
    if (!self->persistent)
        call.import_key = exl_callable_import_key(state, args[0]);
    PyObject *name;
    name_call(self, state, args[0], &call, &name);
    PyObject *tuples = PyObject_Call((PyObject *)&PyZip_Type, args[1], NULL);
    PyObject *futures = tuples ? PyList_New(0) : NULL;
    exl_submission_t shared;
    exl_submission_init(&shared, state);
    shared.futures_allowed = self->allow_futures;
    if (futures && (share_function(&shared, args[0], &call) < 0 ||
                    map_items(self, &shared, &call, args[0], tuples, futures) < 0)) {
        cancel_all(futures);
        Py_CLEAR(futures);
    }
    exl_submission_fini(&shared);
    Py_XDECREF(tuples);
    Py_XDECREF(name);
    unprepare(&call);
    return futures;
}

/* ---- life ---- */

/* 0 when `wait` says so, -1 when a signal handler raised. */
static int wait_interruptibly(int (*wait)(void *subject, int64_t deadline_ns), void *subject, int64_t deadline_ns)
{
    for (;;) {
        int rc;
        Py_BEGIN_ALLOW_THREADS rc = wait(subject, deadline_ns);
        Py_END_ALLOW_THREADS if (rc != EXL_EINTERRUPTED) return 0;
        if (PyErr_CheckSignals() < 0)
            return -1;
    }
}

static int wait_closed(void *pool, int64_t deadline_ns)
{
    return exl_pool_wait_closed(pool, deadline_ns);
}

static int wait_ended(void *unused, int64_t deadline_ns)
{
    (void)unused;
    return exl_engine_wait_ended(deadline_ns);
}

static int wait_delivered(void *unused, int64_t deadline_ns)
{
    (void)unused;
    return exl_delivery_flush(deadline_ns);
}

static int wait_for_end(exl_pool_object_t *self, exl_state_t *state)
{
    bool delivering = state->delivery_ident == PyThread_get_thread_ident();
    if (wait_interruptibly(wait_closed, self->pool, -1) < 0)
        return -1;
    /* A callback may close its executor; it cannot wait for itself. */
    if (!delivering && wait_interruptibly(wait_delivered, NULL, -1) < 0)
        return -1;
    if (wait_interruptibly(wait_ended, NULL, -1) < 0)
        return -1;
    exl_drain_released(state);
    exl_engine_lock();
    bool living = exl_engine_living();
    exl_engine_unlock();
    return living || delivering ? 0 : exl_delivery_join(state);
}

static PyObject *pool_shutdown(PyObject *object, PyObject *args, PyObject *keywords)
{
    static char *names[] = {"wait", "cancel_futures", NULL};
    exl_pool_object_t *self = (exl_pool_object_t *)object;
    int wait = 1, cancel = 0;
    if (!PyArg_ParseTupleAndKeywords(args, keywords, "|pp:shutdown", names, &wait, &cancel))
        return NULL;
    if (!self->pool)
        Py_RETURN_NONE;
    self->closed = true;
    int rc = exl_pool_shutdown(self->pool, cancel);
    if (rc < 0)
        return exl_raise(rc, NULL);
    if (wait && wait_for_end(self, state_of(object)) < 0)
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *pool_resize(PyObject *object, PyObject *number)
{
    exl_pool_object_t *self = (exl_pool_object_t *)object;
    unsigned long workers = PyLong_AsUnsignedLong(number);
    if (PyErr_Occurred())
        return NULL;
    if (!self->persistent) {
        PyErr_SetString(PyExc_NotImplementedError, "only persistent workers have a number that can be set");
        return NULL;
    }
    if (exl_pool_check_open(self) < 0)
        return NULL;
    int rc = exl_pool_resize(self->pool, (uint32_t)workers);
    if (rc < 0)
        return exl_raise(rc, NULL);
    Py_RETURN_NONE;
}

static PyObject *pool_number_workers(PyObject *object, PyObject *bytes)
{
    exl_pool_object_t *self = (exl_pool_object_t *)object;
    char *ids;
    Py_ssize_t size;
    if (PyBytes_AsStringAndSize(bytes, &ids, &size) < 0 || exl_pool_check_open(self) < 0)
        return NULL;
    int rc = exl_pool_number_workers(self->pool, (const uint32_t *)(const void *)ids,
                                     (uint32_t)((size_t)size / sizeof(uint32_t)));
    if (rc < 0)
        return exl_raise(rc, NULL);
    Py_RETURN_NONE;
}

static PyObject *pool_set_gpus(PyObject *object, PyObject *args)
{
    exl_pool_object_t *self = (exl_pool_object_t *)object;
    const char *variable;
    PyObject *list;
    if (!PyArg_ParseTuple(args, "sO!:set_gpus", &variable, &PyList_Type, &list) || exl_pool_check_open(self) < 0)
        return NULL;
    const char **names = exl_strings_of(list);
    if (!names)
        return NULL;
    int rc = exl_pool_set_gpus(self->pool, variable, names, (uint32_t)PyList_GET_SIZE(list));
    PyMem_Free(names);
    if (rc < 0)
        return exl_raise(rc, NULL);
    Py_RETURN_NONE;
}

static PyObject *pool_set_end(PyObject *object, PyObject *args)
{
    exl_pool_object_t *self = (exl_pool_object_t *)object;
    double seconds;
    if (!PyArg_ParseTuple(args, "d:set_end", &seconds) || exl_pool_check_made(self) < 0)
        return NULL;
    return exl_none_or_raise(exl_pool_set_end(self->pool, seconds > 0 ? (uint64_t)(seconds * 1e3) : 0));
}

static PyObject *pool_pids(PyObject *object, PyObject *unused)
{
    (void)unused;
    exl_pool_object_t *self = (exl_pool_object_t *)object;
    enum { MAX_PIDS = 4096 };
    pid_t *pids = PyMem_Malloc(MAX_PIDS * sizeof *pids);
    if (!pids)
        return PyErr_NoMemory();
    size_t count = self->pool ? exl_pool_pids(self->pool, pids, MAX_PIDS) : 0;
    PyObject *list = PyList_New(0);
    for (size_t i = 0; list && i < count && i < MAX_PIDS; i++) {
        PyObject *pid = PyLong_FromLong(pids[i]);
        if (!pid || PyList_Append(list, pid) < 0)
            Py_CLEAR(list);
        Py_XDECREF(pid);
    }
    PyMem_Free(pids);
    return list;
}

static Py_ssize_t pool_length(PyObject *object)
{
    exl_pool_object_t *self = (exl_pool_object_t *)object;
    return self->pool ? (Py_ssize_t)exl_pool_pending(self->pool) : 0;
}

/* An executor is true even when nothing is pending. */
static int pool_bool(PyObject *object)
{
    (void)object;
    return 1;
}

static PyObject *get_closed(PyObject *object, void *closure)
{
    (void)closure;
    return PyBool_FromLong(((exl_pool_object_t *)object)->closed);
}

static PyObject *get_lost(PyObject *object, void *closure)
{
    (void)closure;
    exl_pool_object_t *self = (exl_pool_object_t *)object;
    return PyBool_FromLong(self->pool && exl_pool_lost(self->pool));
}

exl_pool_t *exl_pool_of(PyObject *object)
{
    exl_pool_object_t *self = (exl_pool_object_t *)object;
    exl_state_t *state = state_of(object);
    if (state && Py_IS_TYPE(object, state->pool_type) && exl_pool_check_open(self) == 0)
        return self->pool;
    if (!PyErr_Occurred())
        PyErr_SetString(PyExc_TypeError, "expected a pool");
    return NULL;
}

static PyMethodDef pool_methods[] = {
    {"submit", (PyCFunction)(void (*)(void))pool_submit, METH_FASTCALL,
     "submit($self, fn, args, kwargs, needs, setup=None, options=None)\n--\n\n"
     "Pickles the call and queues it; returns its Future."},
    {"map", (PyCFunction)(void (*)(void))pool_map, METH_FASTCALL,
     "map($self, fn, iterables, needs, setup=None, options=None)\n--\n\n"
     "Submits fn(*items) for each tuple of the zipped iterables; fn is pickled once. Returns a list of futures."},
    {"shutdown", (PyCFunction)(void (*)(void))pool_shutdown, METH_VARARGS | METH_KEYWORDS,
     "shutdown($self, wait=True, cancel_futures=False)\n--\n\nTakes no more calls; idempotent."},
    {"resize", pool_resize, METH_O, "Sets the number of persistent workers."},
    {"resize_agents", exl_agents_resize, METH_O,
     "Sets the persistent workers of each agent: a list of arrays of their ids, of 32 bits each, as bytes."},
    {"number_workers", pool_number_workers, METH_O,
     "Sets the ids of persistent workers: an array of 32 bits each, as bytes."},
    {"set_gpus", pool_set_gpus, METH_VARARGS,
     "set_gpus($self, variable, names)\n--\n\n"
     "Tells which GPUs there are, and the variable by which a process is told its own; once."},
    {"launch", exl_agents_launch, METH_VARARGS,
     "launch($self, argv, environment, handover)\n--\n\n"
     "Starts what starts the agents of a fleet; its end, if it comes too early, is told by the calls. The file\n"
     "`handover`, or None, is removed when all agents have come."},
    {"expect_agent", exl_agents_expect, METH_VARARGS,
     "expect_agent($self, index)\n--\n\nLets an agent of this index come in, to a place that is vacant."},
    {"dismiss_agent", exl_agents_dismiss, METH_VARARGS,
     "dismiss_agent($self, index)\n--\n\nGives this agent no more calls; it goes when its own have ended."},
    {"bury_agent", exl_agents_bury, METH_VARARGS,
     "bury_agent($self, index, exception)\n--\n\n"
     "This agent has gone: its calls end with the exception, a pickled pair of it and a text, or None."},
    {"fail_waiting", exl_agents_fail_waiting, METH_O,
     "fail_waiting($self, exception)\n--\n\nEnds all calls that wait for an agent with a pickled exception."},
    {"watch_agents", exl_agents_watch, METH_VARARGS,
     "watch_agents($self, seen, timeout)\n--\n\n"
     "Waits until something has changed since `seen`, 0 at first, or so many seconds, for ever if negative. Returns\n"
     "what is seen now, a letter for each place (vacant, awaited, there, gone), and whether calls wait; None at the "
     "end."},
    {"set_end", pool_set_end, METH_VARARGS,
     "set_end($self, seconds)\n--\n\nNo call starts that may last longer than so many seconds from now."},
    {"pids", pool_pids, METH_NOARGS, "Process ids of the live workers."},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef pool_getset[] = {
    {"closed", get_closed, NULL, "True once shutdown() has been called.", NULL},
    {"port", exl_agents_port, NULL, "Where the agents of a fleet come in; 0 without a fleet.", NULL},
    {"agents", exl_agents_count, NULL, "How many agents of the fleet are there.", NULL},
    {"lost", get_lost, NULL, "True once the only worker of a guest was lost.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot pool_slots[] = {
    {Py_tp_init, pool_init},
    {Py_tp_new, PyType_GenericNew},
    {Py_tp_dealloc, pool_dealloc},
    {Py_tp_methods, pool_methods},
    {Py_tp_getset, pool_getset},
    {Py_sq_length, pool_length},
    {Py_nb_bool, pool_bool},
    {Py_tp_doc, "One executor's queue, limits and workers."},
    {0, NULL},
};

static PyType_Spec pool_spec = {
    .name = "executorlib._core.Pool",
    .basicsize = sizeof(exl_pool_object_t),
    .flags = Py_TPFLAGS_DEFAULT,
    .slots = pool_slots,
};

int exl_pool_init(PyObject *module)
{
    exl_state_t *state = exl_state_of(module);
    state->pool_type = (PyTypeObject *)PyType_FromModuleAndSpec(module, &pool_spec, NULL);
    return state->pool_type ? 0 : -1;
}
