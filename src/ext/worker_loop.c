/* worker_loop.c: the zygote's and the worker's main loops, as Python sees them.
 *
 * A worker reads frames, and between two reads does what a call needs: unpickle, call, pickle. What is done once per
 * process or only when something goes wrong is Python's (executorlib/_worker.py). */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/idmap.h"
#include "base/spin.h"
#include "finish.h"
#include "node/claim.h"
#include "node/gate.h"
#include "node/head.h"
#include "node/rank_group.h"
#include "node/zygote_server.h"
#include "output.h"
#include "own_modules.h"
#include "pickling.h"
#include "task/memory_file.h"
#include "wire/channel.h"

/* Imports that take less than this are not worth a template. */
enum { SLOW_IMPORT_NS = 1000000 };

/* Unpickled when first used, and kept: calls on one worker share it. */
typedef struct {
    exl_payload_t *payload; /* owned */
    PyObject *object;       /* owned, or NULL */
} function_t;

typedef struct {
    exl_state_t *state;
    exl_channel_t channel;
    exl_claim_t *claim;           /* NULL for one process per call */
    exl_idmap_t functions;        /* id -> function_t, owned: functions by value */
    uint64_t function_id;         /* of the next call, if the driver named one */
    exl_payload_t **dependencies; /* owned, of the next call */
    PyObject **values;            /* owned, unpickled on demand */
    uint32_t ndependencies, capacity;
    PyObject *options; /* bytes, of the next call, or NULL */
    PyObject *entry;   /* of the next call in a cache, or NULL */
    PyObject *presets; /* dict: what the initializer made, and the worker's id */
    bool initialized;  /* the initializer made some */
    bool rank;         /* one of an MPI group */
    exl_spin_t spin;   /* waiting for the next call */
} worker_t;

static worker_t *present; /* a process is one worker */

/* A child that the user's function forked and that came back out of it must not answer: the parent will. */
static bool is_forked_child;

static void after_fork_in_child(void)
{
    is_forked_child = true;
}

static void leave_if_forked(void)
{
    if (is_forked_child)
        _exit(0);
}

static void send_frame(worker_t *worker, uint8_t type, uint64_t id, exl_payload_t *payload)
{
    int rc;
    Py_BEGIN_ALLOW_THREADS rc = payload ? exl_payload_seal(payload) : 0;
    if (rc == 0)
        rc = exl_channel_queue(&worker->channel, (exl_frame_t){.type = type, .id = id}, payload, NULL, 0, false);
    if (rc == 0)
        rc = exl_channel_flush(&worker->channel);
    Py_END_ALLOW_THREADS if (rc < 0 && rc != EXL_ECLOSED)
    {
        (void)fprintf(stderr, "executorlib: cannot send an answer: %s\n", exl_strerror(rc));
        _exit(EXIT_FAILURE); /* the driver hears of the exit and fails the call with this text */
    }
}

/* ---- answers ---- */

static PyObject *fetch_raised(void)
{
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    PyErr_NormalizeException(&type, &value, &traceback);
    if (value && traceback)
        (void)PyException_SetTraceback(value, traceback);
    Py_XDECREF(type);
    Py_XDECREF(traceback);
    return value;
}

/* The raised exception as a payload; `call` (may be NULL) goes into the error log. */
static exl_payload_t *dump_raised(exl_state_t *state, PyObject *call, PyObject *options)
{
    exl_payload_t *payload = NULL;
    PyObject *raised = fetch_raised();
    PyObject *bytes = PyObject_CallMethod(state->worker, "dump_exception", "OOO", raised ? raised : Py_None,
                                          call ? call : Py_None, options ? options : Py_None);
    leave_if_forked();
    if (bytes && PyBytes_Check(bytes))
        (void)exl_payload_of_bytes(bytes, &payload);
    Py_XDECREF(bytes);
    Py_XDECREF(raised);
    if (!payload) {
        PyErr_Print();
        (void)fprintf(stderr, "executorlib: an exception could not be passed on\n");
        _exit(EXIT_FAILURE);
    }
    return payload;
}

static void send_exception(worker_t *worker, uint8_t type, uint64_t number, PyObject *call)
{
    exl_payload_t *payload = dump_raised(worker->state, call, worker->options);
    send_frame(worker, type, number, payload);
    exl_payload_unref(payload);
}

static exl_payload_t *pickle_result(worker_t *worker, PyObject *result)
{
    exl_submission_t submission;
    exl_payload_t *payload = NULL;
    exl_submission_init(&submission, worker->state);
    if (exl_submission_dump(&submission, result) < 0 || exl_submission_payload(&submission, &payload) < 0)
        payload = NULL;
    exl_submission_fini(&submission);
    return payload;
}

/* The error of pickling, which stays the one raised, says what of the result was to blame. */
static void explain_result(worker_t *worker, PyObject *function, PyObject *result)
{
    PyObject *raised = fetch_raised();
    PyObject *none =
        raised ? PyObject_CallMethod(worker->state->worker, "explain_result", "OOO", raised, function, result) : NULL;
    Py_XDECREF(none);
    PyErr_Clear();
    if (raised)
        PyErr_SetObject((PyObject *)Py_TYPE(raised), raised);
    Py_XDECREF(raised);
}

/* ---- one call ---- */

PyObject *exl_dependency_at(size_t i)
{
    if (!present || i >= present->ndependencies || !present->dependencies[i]) {
        PyErr_SetString(PyExc_RuntimeError, "a result of another call is missing");
        return NULL;
    }
    if (!present->values[i])
        present->values[i] = exl_payload_loads(present->state, present->dependencies[i]);
    return Py_XNewRef(present->values[i]);
}

PyObject *exl_dependency(PyObject *module, PyObject *index)
{
    (void)module;
    size_t i = PyLong_AsSize_t(index);
    return PyErr_Occurred() ? NULL : exl_dependency_at(i);
}

/* New reference. A function that cannot be unpickled raises at every use. */
static PyObject *function_of(worker_t *worker, uint64_t id)
{
    function_t *function = exl_idmap_get(&worker->functions, id);
    if (!function) {
        PyErr_SetString(PyExc_RuntimeError, "a function of the call is missing");
        return NULL;
    }
    if (!function->object)
        function->object = exl_payload_loads(worker->state, function->payload);
    return Py_XNewRef(function->object);
}

PyObject *exl_function(PyObject *module, PyObject *id)
{
    (void)module;
    unsigned long long number = PyLong_AsUnsignedLongLong(id);
    if (PyErr_Occurred())
        return NULL;
    if (!present) {
        PyErr_SetString(PyExc_RuntimeError, "only a worker has the functions of calls");
        return NULL;
    }
    return function_of(present, number);
}

static void drop_inputs(worker_t *worker)
{
    for (uint32_t i = 0; i < worker->ndependencies; i++) {
        exl_payload_unref(worker->dependencies[i]);
        Py_XDECREF(worker->values[i]);
    }
    worker->ndependencies = 0;
    Py_CLEAR(worker->options);
    Py_CLEAR(worker->entry);
}

/* Without an initializer, only a function that asks for its worker's id has anything to be filled in. */
static bool takes_worker_id(PyObject *function)
{
    if (!PyFunction_Check(function))
        return false;
    PyObject *names = PyObject_GetAttrString(PyFunction_GET_CODE(function), "co_varnames");
    bool takes = false;
    for (Py_ssize_t i = 0; names && !takes && i < PyTuple_GET_SIZE(names); i++)
        takes = PyUnicode_CompareWithASCIIString(PyTuple_GET_ITEM(names, i), "executorlib_worker_id") == 0;
    Py_XDECREF(names);
    PyErr_Clear();
    return takes;
}

/* Keyed by what the caller gave: presets do not count. */
static int find_entry(worker_t *worker, PyObject *call)
{
    if (!worker->options)
        return 0;
    worker->entry = PyObject_CallMethod(worker->state->worker, "cache_entry", "OO", worker->options, call);
    if (worker->entry == Py_None)
        Py_CLEAR(worker->entry);
    else if (!worker->entry)
        return -1;
    return 0;
}

static int execute_own_modules(const exl_payload_t *payload)
{
    exl_payload_view_t view;
    if (!exl_payload_region(payload) || exl_payload_view(payload, &view) < 0)
        return 0;
    return exl_own_modules_execute(view.body, view.body_size);
}

/* (function, args, kwargs), with presets filled in. */
static PyObject *load_call(worker_t *worker, const exl_message_t *message)
{
    PyObject *call = NULL;
    if (message->frame.arg & EXL_CALL_FUNCTION) {
        PyObject *function = function_of(worker, worker->function_id);
        PyObject *arguments = function ? exl_payload_loads(worker->state, message->payload) : NULL;
        if (arguments && PyList_CheckExact(arguments) && PyList_GET_SIZE(arguments) == 2)
            call = PyTuple_Pack(3, function, PyList_GET_ITEM(arguments, 0), PyList_GET_ITEM(arguments, 1));
        else if (arguments)
            call = Py_BuildValue("(OON)", function, arguments, PyDict_New());
        Py_XDECREF(arguments);
        Py_XDECREF(function);
    } else if (worker->claim || execute_own_modules(message->payload) == 0) {
        call = exl_payload_loads(worker->state, message->payload);
    }
    if (call && (!PyTuple_Check(call) || PyTuple_GET_SIZE(call) != 3)) {
        Py_CLEAR(call);
        PyErr_SetString(PyExc_RuntimeError, "the driver sent a call in a form that is not ours");
    }
    if (call && find_entry(worker, call) < 0)
        Py_CLEAR(call);
    if (call && (worker->initialized || takes_worker_id(PyTuple_GET_ITEM(call, 0)))) {
        PyObject *bound = PyObject_CallMethod(worker->state->worker, "bind", "OO", call, worker->presets);
        Py_SETREF(call, bound);
    }
    return call;
}

static void report_imports(worker_t *worker, PyObject *function, Py_ssize_t nmodules, int64_t begun_ns)
{
    PyObject *modules = PyImport_GetModuleDict();
    if (PyDict_GET_SIZE(modules) <= nmodules || exl_clock_ns() - begun_ns < SLOW_IMPORT_NS)
        return;
    exl_payload_t *payload = NULL;
    PyObject *names = PyObject_CallMethod(worker->state->worker, "importable_since", "nO", nmodules, function);
    if (names && PyBytes_Check(names) && PyBytes_GET_SIZE(names) && exl_payload_of_bytes(names, &payload) == 0) {
        send_frame(worker, EXL_FRAME_IMPORTS, 0, payload);
        exl_payload_unref(payload);
    }
    Py_XDECREF(names);
    PyErr_Clear();
}

/* Where the call wants its output; the driver gets the file of stderr, for what a call wrote that did not return. */
static int redirect_output(worker_t *worker, exl_output_t *output)
{
    if (!worker->options)
        return 0;
    if (exl_output_redirect(worker->state, worker->options, output) < 0)
        return -1;
    if (output->log_fd >= 0) {
        exl_frame_t frame = {.type = EXL_FRAME_LOG, .id = output->size};
        (void)exl_channel_queue(&worker->channel, frame, NULL, &output->log_fd, 1, true);
        output->log_fd = -1;
        (void)exl_channel_flush(&worker->channel); /* a failure shows with the answer */
    }
    return 0;
}

/* What a cache has, in a tuple of its own; NULL without an exception if there is none. */
static PyObject *cached_result(worker_t *worker)
{
    PyObject *found = worker->entry ? PyObject_CallMethod(worker->entry, "look", NULL) : NULL;
    PyObject *result = found && PyTuple_Check(found) ? Py_NewRef(PyTuple_GET_ITEM(found, 0)) : NULL;
    Py_XDECREF(found);
    return result;
}

static PyObject *compute(worker_t *worker, PyObject *call)
{
    PyObject *result = cached_result(worker);
    if (result || PyErr_Occurred())
        return result;
    result = PyObject_Call(PyTuple_GET_ITEM(call, 0), PyTuple_GET_ITEM(call, 1), PyTuple_GET_ITEM(call, 2));
    leave_if_forked();
    if (!result || !worker->entry)
        return result;
    PyObject *none = PyObject_CallMethod(worker->entry, "keep", "(O)", result);
    if (!none) {
        explain_result(worker, PyTuple_GET_ITEM(call, 0), result);
        Py_CLEAR(result);
    }
    Py_XDECREF(none);
    return result;
}

static void run_call(worker_t *worker, const exl_message_t *message)
{
    exl_output_t output = EXL_OUTPUT_UNCHANGED;
    Py_ssize_t nmodules = PyDict_GET_SIZE(PyImport_GetModuleDict());
    int64_t begun_ns = exl_clock_ns();
    if (message->frame.arg & EXL_CALL_REPORT_IMPORTS) {
        PyObject *none = PyObject_CallMethod(worker->state->worker, "watch_imports", NULL);
        Py_XDECREF(none);
        PyErr_Clear();
    }
    PyObject *call = redirect_output(worker, &output) < 0 ? NULL : load_call(worker, message);
    PyObject *result = NULL;
    exl_payload_t *payload = NULL;
    if (call)
        result = compute(worker, call);
    leave_if_forked();
    if (result) {
        payload = pickle_result(worker, result);
        if (!payload)
            explain_result(worker, PyTuple_GET_ITEM(call, 0), result);
    }
    leave_if_forked();
    exl_flush_output();
    if (worker->claim) {
        exl_output_restore(&output); /* a process of one call ends with its files in place */
        exl_claim_end(worker->claim, message->frame.id);
    }
    if (payload && (message->frame.arg & EXL_CALL_REPORT_IMPORTS))
        report_imports(worker, PyTuple_GET_ITEM(call, 0), nmodules, begun_ns);
    if (payload)
        send_frame(worker, EXL_FRAME_RESULT, message->frame.id, payload);
    else
        send_exception(worker, EXL_FRAME_EXCEPTION, message->frame.id, call);
    exl_payload_unref(payload);
    Py_XDECREF(result);
    Py_XDECREF(call);
    exl_drain_released(worker->state);
}

/* ---- frames ---- */

static int keep_dependency(worker_t *worker, exl_message_t *message)
{
    uint32_t index = message->frame.arg;
    if (index != worker->ndependencies || !message->payload)
        return EXL_EPROTOCOL;
    if (index == worker->capacity) {
        uint32_t capacity = worker->capacity ? worker->capacity * 2 : 8;
        exl_payload_t **dependencies = PyMem_Realloc(worker->dependencies, capacity * sizeof *dependencies);
        PyObject **values = dependencies ? PyMem_Realloc(worker->values, capacity * sizeof *values) : NULL;
        if (dependencies)
            worker->dependencies = dependencies;
        if (!values)
            return EXL_EPROTOCOL;
        worker->values = values;
        worker->capacity = capacity;
    }
    worker->dependencies[index] = message->payload;
    worker->values[index] = NULL;
    worker->ndependencies++;
    message->payload = NULL;
    return 0;
}

static void forget_functions(worker_t *worker)
{
    for (size_t i = 0; i < worker->functions.capacity; i++) {
        function_t *function = worker->functions.slots[i].value;
        if (!function)
            continue;
        exl_payload_unref(function->payload);
        Py_XDECREF(function->object);
        PyMem_Free(function);
    }
    exl_idmap_fini(&worker->functions);
}

static bool keep_function(worker_t *worker, exl_message_t *message)
{
    worker->function_id = message->frame.id;
    if (!message->payload || exl_idmap_get(&worker->functions, message->frame.id))
        return true;
    function_t *function = PyMem_Calloc(1, sizeof *function);
    if (!function || exl_idmap_put(&worker->functions, message->frame.id, function) < 0)
        return false;
    function->payload = message->payload;
    message->payload = NULL;
    return true;
}

/* In a step of a scheduler, with where this is. */
static int send_joined(worker_t *worker, uint64_t number)
{
    PyObject *place = PyObject_CallMethod(worker->state->worker, "place", NULL);
    exl_payload_t *payload = NULL;
    if (!place || (PyBytes_GET_SIZE(place) && exl_payload_of_bytes(place, &payload) < 0)) {
        Py_XDECREF(place);
        return -1;
    }
    send_frame(worker, EXL_FRAME_JOINED, number, payload);
    exl_payload_unref(payload);
    Py_DECREF(place);
    return 0;
}

/* A rank's first step: MPI starts, before any of the user's code runs. -1 with an exception set. */
static int join_ranks(worker_t *worker, PyObject *setup, uint64_t *ret_rank)
{
    PyObject *rank = PyObject_CallMethod(worker->state->worker, "join_ranks", "O", setup);
    unsigned long number = rank ? PyLong_AsUnsignedLong(rank) : 0;
    Py_XDECREF(rank);
    if (PyErr_Occurred())
        return -1;
    *ret_rank = number;
    return send_joined(worker, number);
}

/* The setup that the template has applied for its forks; NULL if there is none, or if each has more to do. */
static PyObject *applied;

static bool is_applied(const exl_message_t *message)
{
    exl_payload_view_t view;
    if (!applied || !message->payload || exl_payload_view(message->payload, &view) < 0 || view.nbuffers)
        return false;
    return view.body_size == (size_t)PyBytes_GET_SIZE(applied) &&
           memcmp(view.body, PyBytes_AS_STRING(applied), view.body_size) == 0;
}

static bool reseed(const worker_t *worker)
{
    if (!PyDict_GetItemString(PyImport_GetModuleDict(), "numpy.random"))
        return true;
    PyObject *none = PyObject_CallMethod(worker->state->worker, "reseed", NULL);
    Py_XDECREF(none);
    return none != NULL;
}

static bool set_up(worker_t *worker, const exl_message_t *message)
{
    if (!worker->rank && !worker->claim && is_applied(message)) {
        worker->presets = Py_BuildValue("{sI}", "executorlib_worker_id", message->frame.arg);
        return worker->presets && reseed(worker);
    }
    PyObject *setup = message->payload ? exl_payload_bytes(message->payload) : PyBytes_FromString("");
    PyObject *presets = NULL;
    uint64_t number = message->frame.id;
    if (setup && (!worker->rank || join_ranks(worker, setup, &number) == 0))
        presets = PyObject_CallMethod(worker->state->worker, worker->rank ? "set_up_rank" : "set_up", "OI", setup,
                                      message->frame.arg);
    Py_XDECREF(setup);
    leave_if_forked();
    exl_flush_output();
    if (!presets) {
        send_exception(worker, EXL_FRAME_SETUP_FAILED, message->frame.id, NULL);
        return false;
    }
    worker->presets = presets;
    worker->initialized = PyDict_GET_SIZE(presets) > 1;
    if (worker->rank || worker->claim)
        send_frame(worker, EXL_FRAME_READY, number, NULL);
    return true;
}

/* GPUs or processors, told before the setup: `method` takes the text, and whether other ranks have got the same. */
static bool take(worker_t *worker, const exl_message_t *message, const char *method)
{
    PyObject *text = message->payload ? exl_payload_bytes(message->payload) : PyBytes_FromString("");
    PyObject *rank = worker->rank ? Py_True : Py_False;
    PyObject *none = text ? PyObject_CallMethod(worker->state->worker, method, "OO", text, rank) : NULL;
    Py_XDECREF(text);
    if (!none)
        send_exception(worker, EXL_FRAME_SETUP_FAILED, message->frame.id, NULL);
    Py_XDECREF(none);
    return none != NULL;
}

/* Returns false when the worker is to end. */
static bool handle(worker_t *worker, exl_message_t *message)
{
    switch (message->frame.type) {
    case EXL_FRAME_DEVICES:
        return take(worker, message, "take_devices");
    case EXL_FRAME_PINS:
        return take(worker, message, "take_cpus");
    case EXL_FRAME_SETUP:
        if (message->frame.nfds > 0)
            (void)dup2(message->fds[0], STDOUT_FILENO);
        return set_up(worker, message);
    case EXL_FRAME_FUNCTION:
        return keep_function(worker, message);
    case EXL_FRAME_FORGET:
        forget_functions(worker);
        return true;
    case EXL_FRAME_DEPENDENCY:
        return keep_dependency(worker, message) == 0;
    case EXL_FRAME_OPTIONS:
        Py_XSETREF(worker->options, message->payload ? exl_payload_bytes(message->payload) : NULL);
        return true;
    case EXL_FRAME_CALL:
        if (!message->payload)
            return false;
        if (worker->claim && !exl_claim_start(worker->claim, message->frame.epoch, message->frame.id)) {
            drop_inputs(worker); /* taken back */
            return true;
        }
        if (worker->claim)
            exl_claim_mark_stderr(worker->claim, STDERR_FILENO);
        /* Begun, so it will not be taken back and given to another: the file of its arguments is ours. */
        if (!worker->rank) /* … unless other ranks read it too */
            exl_payload_own_file(message->payload);
        run_call(worker, message);
        drop_inputs(worker);
        return worker->claim || worker->rank;
    default:
        return false;
    }
}

/* Waits for bytes, at first awake where the last waits were short. */
static int await_message(worker_t *worker, exl_message_t *message)
{
    int64_t begun_ns = exl_clock_ns();
    int rc = 0;
    do
        rc = exl_channel_fill_now(&worker->channel);
    while (rc == 0 && exl_spin_on(&worker->spin, begun_ns));
    rc = rc < 0 ? rc : exl_channel_receive(&worker->channel, message);
    exl_spin_learn(&worker->spin, exl_clock_ns() - begun_ns);
    return rc;
}

/* True when the worker has been told to end, false when its channel has ended. */
static bool serve(worker_t *worker)
{
    present = worker;
    (void)pthread_atfork(NULL, NULL, after_fork_in_child);
    exl_memory_files_keep();
    for (;;) {
        exl_message_t message;
        int rc = exl_channel_next(&worker->channel, &message);
        if (rc == 0) {
            Py_BEGIN_ALLOW_THREADS rc = await_message(worker, &message);
            Py_END_ALLOW_THREADS
        }
        if (rc <= 0)
            return false;
        bool serving = handle(worker, &message);
        exl_message_fini(&message);
        if (!serving)
            return true;
    }
}

static void serve_calls(exl_state_t *state, const exl_role_t *role)
{
    worker_t worker = {.state = state};
    exl_idmap_init(&worker.functions);
    exl_channel_init(&worker.channel, role->channel_fd);
    if (role->claim_fd >= 0 && exl_claim_open(role->claim_fd, &worker.claim) < 0)
        _exit(EXIT_FAILURE);
    (void)serve(&worker);
}

static void finish(void)
{
    int rc = exl_finish();
    leave_if_forked();
    if (rc < 0)
        PyErr_Print();
    exit(rc < 0 ? EXIT_FAILURE : EXIT_SUCCESS);
}

/* ---- the zygote ---- */

static exl_state_t *zygote_state;

static void preload(void)
{
    PyObject *none = PyObject_CallMethod(zygote_state->worker, "preload", NULL);
    if (!none)
        PyErr_Print();
    Py_XDECREF(none);
}

static const exl_fork_hooks_t fork_hooks = {PyOS_BeforeFork, PyOS_AfterFork_Parent, PyOS_AfterFork_Child, preload};

/* In a fork of the head. */
static void run_rank(const exl_rank_place_t *place)
{
    worker_t worker = {.state = zygote_state, .rank = true};
    PyObject *none = PyObject_CallMethod(zygote_state->worker, "become_rank", "IIis", place->rank, place->nranks,
                                         place->pmi_fd, place->directory);
    if (!none) {
        PyErr_Print();
        return;
    }
    Py_DECREF(none);
    exl_idmap_init(&worker.functions);
    exl_channel_init(&worker.channel, place->channel_fd);
    if (serve(&worker))
        finish();
    /* The others may be gone: MPI would wait for them. */
}

/* In the head of a rank group: become what the driver was, and say how ranks are started. */
static bool parse_step(PyObject *step, exl_launch_plan_t *plan)
{
    if (step == Py_None)
        return true;
    plan->is_step = true;
    return PyArg_ParseTuple(step, "yyyyII", &plan->step.addresses, &plan->step.directory, &plan->step.launcher,
                            &plan->step.pace, &plan->step.pace_ms, &plan->step.pace_burst);
}

static int plan_ranks(exl_payload_t *setup, bool launcher, exl_payload_t *nodes, exl_launch_plan_t *ret_plan)
{
    PyObject *bytes = exl_payload_bytes(setup);
    PyObject *names = nodes ? exl_payload_bytes(nodes) : PyBytes_FromString("");
    PyObject *plan = bytes && names ? PyObject_CallMethod(zygote_state->worker, "plan_ranks", "OOO", bytes,
                                                          launcher ? Py_True : Py_False, names)
                                    : NULL;
    Py_XDECREF(names);
    PyObject *list = NULL, *imports = NULL, *step = NULL;
    unsigned int nranks = 0;
    int forks = 0;
    char **argv = NULL;
    if (plan && PyArg_ParseTuple(plan, "IO!pOO", &nranks, &PyList_Type, &list, &forks, &imports, &step) && nranks > 0)
        argv = PyMem_RawCalloc((size_t)PyList_GET_SIZE(list) + 1, sizeof *argv);
    for (Py_ssize_t i = 0; argv && i < PyList_GET_SIZE(list); i++)
        argv[i] = PyBytes_AsString(PyList_GET_ITEM(list, i));
    Py_XDECREF(bytes);
    if (argv && !PyErr_Occurred()) {
        *ret_plan = (exl_launch_plan_t){.argv = argv, .envp = environ, .nranks = nranks}; /* list and step are kept */
        if (forks)
            ret_plan->fork = (exl_rank_fork_t){.hooks = &fork_hooks, .run = run_rank};
        if (PyBytes_Check(imports))
            (void)exl_payload_of_bytes(imports, &ret_plan->imports); /* a hint */
        if (parse_step(step, ret_plan))
            return 0;
    }
    PyMem_RawFree(argv);
    Py_XDECREF(plan);
    ret_plan->exception = dump_raised(zygote_state, NULL, NULL);
    return 1;
}

/* In a fresh template: apply the setup that comes over its channel, import the modules. Forks may have been asked for
 * already: the channel goes on to the zygote's loop. */
static bool become_template(exl_state_t *state, const exl_role_t *role, exl_channel_t *control)
{
    exl_message_t message;
    exl_channel_init(control, role->channel_fd);
    int rc = exl_channel_receive(control, &message);
    if (rc <= 0)
        return false;
    PyObject *setup = message.payload ? exl_payload_bytes(message.payload) : NULL;
    PyObject *modules = exl_payload_bytes(role->payload);
    PyObject *usable =
        setup && modules ? PyObject_CallMethod(state->worker, "become_template", "OO", setup, modules) : NULL;
    bool ready = usable && usable != Py_False;
    if (ready && PyTuple_Check(usable) && PyTuple_GET_SIZE(usable))
        exl_own_modules_find(state, usable);
    PyObject *complete = ready ? PyObject_CallMethod(state->worker, "is_set_up", NULL) : NULL;
    if (complete == Py_True)
        applied = Py_NewRef(setup);
    if (PyErr_Occurred())
        PyErr_Clear();
    Py_XDECREF(complete);
    Py_XDECREF(usable);
    Py_XDECREF(setup);
    Py_XDECREF(modules);
    exl_message_fini(&message);
    exl_payload_unref(role->payload);
    return ready;
}

/* Not imported, which would bring the whole package: the start-up script has loaded it from its file. */
static int find_worker_module(exl_state_t *state)
{
    state->worker = Py_XNewRef(PyDict_GetItemString(PyImport_GetModuleDict(), "executorlib._worker"));
    if (state->worker)
        return 0;
    PyErr_SetString(PyExc_RuntimeError, "executorlib._worker has not been loaded");
    return -1;
}

PyObject *exl_zygote_main(PyObject *module, PyObject *argument)
{
    exl_state_t *state = exl_state_of(module);
    int control_fd = (int)PyLong_AsLong(argument);
    pid_t driver = getppid();
    exl_role_t role;
    if (PyErr_Occurred())
        return NULL;
    if (find_worker_module(state) < 0)
        return NULL;
    zygote_state = state;
    PyObject *none = PyObject_CallMethod(state->worker, "prepare", NULL);
    if (!none)
        return NULL;
    Py_DECREF(none);
    exl_channel_t control;
    exl_channel_init(&control, control_fd);
    int rc = exl_zygote_serve(&control, driver, &fork_hooks, &role);
    while (rc == 0 && role.kind == EXL_ROLE_TEMPLATE) {
        if (!become_template(state, &role, &control))
            _exit(EXIT_SUCCESS);
        rc = exl_zygote_serve(&control, driver, &fork_hooks, &role);
    }
    if (rc < 0)
        return exl_raise(rc, "the zygote cannot go on");
    if (role.kind == EXL_ROLE_WORKER) {
        serve_calls(state, &role);
        finish();
    }
    _exit(role.kind == EXL_ROLE_HEAD ? exl_head_serve(&role, plan_ranks) : EXIT_SUCCESS);
}

/* ---- an MPI rank ---- */

static int unhex(const char *digits, uint8_t *bytes, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        unsigned value;
        if (sscanf(digits + 2 * i, "%2x", &value) != 1)
            return -1;
        bytes[i] = (uint8_t)value;
    }
    return 0;
}

/* The head is on this host: the variable has its socket and the secret. */
static int connect_here(const char *value, uint8_t secret[EXL_SECRET_SIZE])
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    const char *colon = value ? strrchr(value, ':') : NULL;
    if (!colon || strlen(colon + 1) != 2 * EXL_SECRET_SIZE || unhex(colon + 1, secret, EXL_SECRET_SIZE) < 0 ||
        (size_t)(colon - value) >= sizeof address.sun_path)
        return EXL_EPROTOCOL;
    memcpy(address.sun_path, value, (size_t)(colon - value));
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    return fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address) < 0 ? -errno : fd;
}

/* It is elsewhere, or may be: the variable names the ticket. */
static int connect_there(exl_state_t *state, const char *path, uint8_t secret[EXL_SECRET_SIZE], exl_error_t *err)
{
    exl_ticket_t ticket;
    char directory[EXL_RANK_DIRECTORY_SIZE], value[EXL_RANK_DIRECTORY_SIZE + 16];
    int fd = -1, rc = exl_ticket_read(path, &ticket, err);
    if (rc < 0)
        return rc;
    PyObject *none = PyObject_CallMethod(state->worker, "load_tls", NULL);
    if (!none) {
        PyErr_Print();
        return exl_error_set(err, -ENOSYS, "an MPI rank cannot load what encrypts its connection");
    }
    Py_DECREF(none);
    rc = exl_gate_pass(&ticket, &fd, directory, err);
    if (rc == 0) {
        memcpy(secret, ticket.secret, EXL_SECRET_SIZE);
        (void)snprintf(value, sizeof value, "%s/ranks:", directory);
        none = PyObject_CallMethod(state->worker, "set_door", "s", value);
        Py_XDECREF(none);
    }
    exl_ticket_wipe(&ticket);
    return rc < 0 ? rc : fd;
}

/* Connects to the group's head and says the secret. join_ranks() takes the variable out of the environment. */
static int join_group(exl_state_t *state, exl_channel_t *channel, exl_error_t *err)
{
    uint8_t secret[EXL_SECRET_SIZE];
    const char *value = getenv(EXL_RANKS_VARIABLE);
    int fd = !value            ? EXL_EPROTOCOL
             : value[0] == '@' ? connect_there(state, value + 1, secret, err)
                               : connect_here(value, secret);
    if (fd < 0)
        return fd;
    exl_channel_init(channel, fd);
    exl_payload_t *hello;
    int rc = exl_payload_of(secret, sizeof secret, &hello);
    if (rc < 0)
        return rc;
    rc = exl_channel_queue(channel, (exl_frame_t){.type = EXL_FRAME_HELLO}, hello, NULL, 0, false);
    exl_payload_unref(hello);
    return rc < 0 ? rc : exl_channel_flush(channel);
}

/* Returns when the group ends in good order, so that the interpreter ends, and with it MPI. */
PyObject *exl_rank_main(PyObject *module, PyObject *unused)
{
    (void)unused;
    exl_state_t *state = exl_state_of(module);
    worker_t worker = {.state = state, .rank = true};
    exl_idmap_init(&worker.functions);
    if (find_worker_module(state) < 0)
        return NULL;
    exl_error_t err = {"an MPI rank cannot connect to the head of its group"};
    int rc = join_group(state, &worker.channel, &err);
    if (rc < 0)
        return exl_raise(rc, err.text);
    if (!serve(&worker))
        _exit(EXIT_FAILURE); /* the others may be gone: MPI would wait for them */
    Py_RETURN_NONE;
}
