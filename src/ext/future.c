/* future.c: executorlib._core.Future, a concurrent.futures.Future whose result() waits in C.
 *
 * It does not run Future.__init__: a condition, three lists and a dictionary would cost 1.7 KB per call. Instead
 * `_condition`, `_state`, `_waiters`, `_result`, `_exception` and `_done_callbacks` are computed when somebody looks, so
 * that the standard library's wait(), as_completed() and asyncio's wrap_future() find what they expect.
 *
 *   not observed   nobody has touched `_condition`. The task's state is the future's; result() sleeps in the core.
 *   observed       `_condition` was touched, so somebody may sleep on it or have callbacks. From then on the delivery
 *                  thread alone moves the future to its end, under the condition; until it has, `_state` says running.
 *
 * Becoming observed and the task's end meet under the engine's lock (exl_task_observe): exactly one of them comes first.
 * If the end did, the future is completed on the spot, and there is nobody to notify. An observed future is kept alive by
 * the reference that the delivery queue will drop. All fields are protected by the GIL, except the two futex words. */
#include "future.h"

#include <errno.h>
#include <structmember.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/parker.h"
#include "engine/pool.h"
#include "engine/wait.h"
#include "pickling.h"
#include "task/memory_file.h"

static const char *const phase_names[] = {NULL,      "PENDING", "RUNNING", "CANCELLED", "CANCELLED_AND_NOTIFIED",
                                          "FINISHED"};

static exl_state_t *state_of(FutureObject *future)
{
    return exl_state_of_type(Py_TYPE(future));
}

PyObject *exl_future_new(exl_state_t *state, exl_task_t *task, size_t nbytes_sent)
{
    FutureObject *future = (FutureObject *)state->future_type->tp_alloc(state->future_type, 0);
    if (!future)
        return NULL;
    future->task = task;
    future->nbytes_sent = nbytes_sent;
    return (PyObject *)future;
}

static exl_future_phase_t phase_of(FutureObject *future)
{
    if (future->phase != EXL_FUTURE_UNDECIDED)
        return (exl_future_phase_t)future->phase;
    if (!future->task)
        return EXL_FUTURE_PENDING;
    if (!exl_task_done(future->task))
        return exl_task_running(future->task) ? EXL_FUTURE_RUNNING : EXL_FUTURE_PENDING;
    if (future->observed)
        return EXL_FUTURE_RUNNING; /* the delivery thread is about to tell */
    return future->task->outcome == EXL_OUTCOME_CANCELLED ? EXL_FUTURE_CANCELLED_AND_NOTIFIED : EXL_FUTURE_FINISHED;
}

static bool is_final(exl_future_phase_t phase)
{
    return phase >= EXL_FUTURE_CANCELLED;
}

/* ---- unpickling, once ---- */

static PyObject *load_exception(exl_state_t *state, FutureObject *future)
{
    if (future->task->outcome == EXL_OUTCOME_EXCEPTION && future->task->result)
        return exl_error_of_payload(state, future->task->result);
    return exl_error_of_failure(state, future->task);
}

static void load(exl_state_t *state, FutureObject *future)
{
    if (future->task->outcome == EXL_OUTCOME_RESULT) {
        exl_payload_t *payload = exl_task_take_result(future->task);
        if (payload) {
            future->nbytes_received = exl_payload_size(payload);
            future->result = exl_payload_loads(state, payload);
            /* Arrays that live on hold the mapping; the descriptor only while there are enough, for reuse. */
            if (exl_memory_files_scarce(50))
                exl_payload_close_file(payload);
            exl_payload_unref(payload);
        } else {
            PyErr_SetString(PyExc_RuntimeError, "the result has been taken already");
        }
    } else {
        if (future->task->result)
            future->nbytes_received = exl_payload_size(future->task->result);
        future->exception = load_exception(state, future);
    }
    if (PyErr_Occurred()) {
        /* exception() and result() tell the same story: the result could not be unpickled. */
        PyObject *type, *value, *traceback;
        PyErr_Fetch(&type, &value, &traceback);
        PyErr_NormalizeException(&type, &value, &traceback);
        Py_XDECREF(type);
        Py_XDECREF(traceback);
        Py_CLEAR(future->result);
        Py_XSETREF(future->exception, value);
    }
}

/* -1 with an exception set if a signal handler raised. */
static int sleep_on(FutureObject *future, _Atomic uint32_t *word, int64_t deadline_ns)
{
    int rc, raised = 0;
    future->nsleepers++;
    do {
        Py_BEGIN_ALLOW_THREADS rc = exl_parker_wait_change(word, 0, deadline_ns);
        Py_END_ALLOW_THREADS if (rc == EXL_EINTERRUPTED) raised = PyErr_CheckSignals();
    } while (rc == EXL_EINTERRUPTED && raised == 0);
    future->nsleepers--;
    return raised < 0 ? -1 : rc == -ETIMEDOUT;
}

static void wake_sleepers(FutureObject *future, _Atomic uint32_t *word)
{
    atomic_store(word, 1);
    if (future->nsleepers)
        exl_parker_wake(word);
}

/* The task is done and was not cancelled. Unpickling may run Python code and so let other threads in: they wait. */
static int unpack(FutureObject *future)
{
    if (future->result || future->exception || !future->task)
        return 0;
    if (future->unpacking)
        return sleep_on(future, &future->unpacked, -1) < 0 ? -1 : 0;
    future->unpacking = true;
    load(state_of(future), future);
    wake_sleepers(future, &future->unpacked);
    return 0;
}

/* ---- observing and settling ---- */

static int notify_waiters(FutureObject *future, bool cancelled)
{
    const char *method = cancelled                                     ? "add_cancelled"
                         : future->task->outcome == EXL_OUTCOME_RESULT ? "add_result"
                                                                       : "add_exception";
    for (Py_ssize_t i = 0; future->waiters && i < PyList_GET_SIZE(future->waiters); i++) {
        PyObject *none = PyObject_CallMethod(PyList_GET_ITEM(future->waiters, i), method, "O", future);
        if (!none)
            return -1;
        Py_DECREF(none);
    }
    PyObject *none = PyObject_CallMethod(future->condition, "notify_all", NULL);
    Py_XDECREF(none);
    return none ? 0 : -1;
}

/* Moves an observed future whose task has ended to its end, once, and calls back. */
static int settle(FutureObject *future)
{
    PyObject *none = PyObject_CallMethod(future->condition, "acquire", NULL);
    if (!none)
        return -1;
    Py_DECREF(none);
    int rc = 0;
    bool mine = !is_final((exl_future_phase_t)future->phase);
    if (mine) {
        bool cancelled = future->task->outcome == EXL_OUTCOME_CANCELLED;
        future->phase = cancelled ? EXL_FUTURE_CANCELLED_AND_NOTIFIED : EXL_FUTURE_FINISHED;
        rc = notify_waiters(future, cancelled);
        wake_sleepers(future, &future->settled);
    }
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    none = PyObject_CallMethod(future->condition, "release", NULL);
    Py_XDECREF(none);
    if (type)
        PyErr_Restore(type, value, traceback);
    if (rc < 0 || !none)
        return -1;
    if (!mine || !future->callbacks || PyList_GET_SIZE(future->callbacks) == 0)
        return 0;
    /* Logs what callbacks raise, as the standard library does. */
    none = PyObject_CallMethod((PyObject *)future, "_invoke_callbacks", NULL);
    Py_XDECREF(none);
    return none ? 0 : -1;
}

static PyObject *deliver_main(PyObject *module, PyObject *unused);

static int start_delivery(PyObject *module, exl_state_t *state)
{
    if (state->delivery_thread)
        return 0;
    PyObject *target = PyObject_GetAttrString(module, "_deliver");
    PyObject *arguments = target ? PyTuple_New(0) : NULL;
    PyObject *keywords =
        arguments ? Py_BuildValue("{s:O,s:s,s:O}", "target", target, "name", "executorlib-delivery", "daemon", Py_True)
                  : NULL;
    PyObject *thread = keywords ? PyObject_Call(state->thread_factory, arguments, keywords) : NULL;
    Py_XDECREF(keywords);
    Py_XDECREF(arguments);
    Py_XDECREF(target);
    if (!thread)
        return -1;
    state->delivery_thread = thread; /* before start(), which lets other threads in */
    PyObject *none = PyObject_CallMethod(thread, "start", NULL);
    if (!none)
        Py_CLEAR(state->delivery_thread);
    Py_XDECREF(none);
    return none ? 0 : -1;
}

static int observe(FutureObject *future)
{
    if (future->condition)
        return 0;
    exl_state_t *state = state_of(future);
    PyObject *condition = PyObject_CallNoArgs(state->condition_factory);
    if (!condition)
        return -1;
    if (future->condition) { /* another thread was faster */
        Py_DECREF(condition);
        return 0;
    }
    future->condition = condition;
    if (!future->task || future->phase != EXL_FUTURE_UNDECIDED)
        return 0;
    exl_future_phase_t before = phase_of(future);
    if (exl_task_observe(future->task, future)) {
        future->phase = (uint8_t)(is_final(before) ? before : phase_of(future));
        return 0;
    }
    future->observed = true;
    Py_INCREF(future); /* the delivery queue's */
    PyObject *module = PyType_GetModule(state->future_base);
    return start_delivery(module, state);
}

static void complete(exl_task_t *task)
{
    FutureObject *future = task->observer;
    exl_task_unref(task);
    if (settle(future) < 0)
        PyErr_WriteUnraisable((PyObject *)future);
    Py_DECREF(future);
}

/* The delivery thread's life: until there is no engine any more. */
static PyObject *deliver_main(PyObject *module, PyObject *unused)
{
    (void)unused;
    exl_state_t *state = exl_state_of(module);
    state->delivery_ident = PyThread_get_thread_ident();
    for (;;) {
        exl_task_t *task;
        Py_BEGIN_ALLOW_THREADS task = exl_delivery_next();
        Py_END_ALLOW_THREADS exl_drain_released(state);
        if (!task)
            break;
        complete(task);
    }
    /* Under the GIL: a future that is observed from here on starts a new thread. */
    state->delivery_ident = 0;
    Py_CLEAR(state->delivery_thread);
    Py_RETURN_NONE;
}

PyObject *exl_deliver(PyObject *module, PyObject *unused)
{
    return deliver_main(module, unused);
}

/* Waits for the thread to end, if it is about to. */
int exl_delivery_join(exl_state_t *state)
{
    if (!state->delivery_thread || state->delivery_ident == PyThread_get_thread_ident())
        return 0;
    PyObject *thread = Py_NewRef(state->delivery_thread);
    PyObject *none = PyObject_CallMethod(thread, "join", NULL);
    Py_DECREF(thread);
    Py_XDECREF(none);
    return none ? 0 : -1;
}

/* ---- waiting ---- */

static int raise_of_wait(int rc)
{
    if (rc == EXL_EFORKED)
        (void)exl_raise(rc, NULL);
    return rc == EXL_EFORKED ? -1 : 1;
}

static int wait_for_task(FutureObject *future, int64_t deadline_ns)
{
    for (;;) {
        int rc;
        Py_BEGIN_ALLOW_THREADS rc = exl_task_wait(future->task, deadline_ns);
        Py_END_ALLOW_THREADS if (rc == 0) return 0;
        if (rc != EXL_EINTERRUPTED)
            return raise_of_wait(rc);
        if (PyErr_CheckSignals() < 0)
            return -1;
    }
}

/* 0: final, 1: timed out, -1 with an exception set. */
static int wait_final(FutureObject *future, int64_t deadline_ns)
{
    exl_state_t *state = state_of(future);
    exl_drain_released(state);
    if (is_final((exl_future_phase_t)future->phase))
        return 0;
    int rc = wait_for_task(future, deadline_ns);
    if (rc != 0 || !future->observed)
        return rc;
    /* A callback that asks for another future's result must not wait for its own thread. */
    if (state->delivery_ident == PyThread_get_thread_ident())
        return settle(future);
    return sleep_on(future, &future->settled, deadline_ns);
}

static int parse_timeout(PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames, int64_t *ret_deadline_ns)
{
    PyObject *timeout = nargs == 1 ? args[0] : NULL;
    Py_ssize_t nkeywords = kwnames ? PyTuple_GET_SIZE(kwnames) : 0;
    if (nkeywords == 1 && nargs == 0 && PyUnicode_CompareWithASCIIString(PyTuple_GET_ITEM(kwnames, 0), "timeout") == 0)
        timeout = args[0];
    if (nargs + nkeywords > 1 || (nargs + nkeywords == 1 && !timeout)) {
        PyErr_SetString(PyExc_TypeError, "expected at most one argument: timeout");
        return -1;
    }
    *ret_deadline_ns = -1;
    if (!timeout || timeout == Py_None)
        return 0;
    double seconds = PyFloat_AsDouble(timeout);
    if (seconds == -1.0 && PyErr_Occurred())
        return -1;
    if (seconds < 0 || seconds != seconds)
        seconds = 0;
    if (seconds < 1e9)
        *ret_deadline_ns = exl_clock_ns() + (int64_t)(seconds * 1e9);
    return 0;
}

/* Final and unpacked, or -1 with the right exception set. */
static int await_outcome(FutureObject *future, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    int64_t deadline_ns;
    exl_state_t *state = state_of(future);
    if (parse_timeout(args, nargs, kwnames, &deadline_ns) < 0)
        return -1;
    int rc = wait_final(future, deadline_ns);
    if (rc > 0)
        PyErr_SetNone(state->stdlib_timeout_error);
    if (rc != 0)
        return -1;
    exl_future_phase_t phase = phase_of(future);
    if (phase == EXL_FUTURE_CANCELLED || phase == EXL_FUTURE_CANCELLED_AND_NOTIFIED) {
        PyErr_SetNone(state->stdlib_cancelled_error);
        return -1;
    }
    return unpack(future);
}

/* The standard library's own method, for futures that were made by hand. */
static PyObject *call_stdlib(FutureObject *future, const char *name, PyObject *const *args, Py_ssize_t nargs,
                             PyObject *kwnames)
{
    PyObject *method = PyObject_GetAttrString(state_of(future)->stdlib_future, name);
    Py_ssize_t total = nargs + (kwnames ? PyTuple_GET_SIZE(kwnames) : 0);
    PyObject **all = method ? PyMem_Malloc((size_t)(total + 1) * sizeof *all) : NULL;
    PyObject *value = NULL;
    if (all) {
        all[0] = (PyObject *)future;
        for (Py_ssize_t i = 0; i < total; i++)
            all[i + 1] = args[i];
        value = PyObject_Vectorcall(method, all, (size_t)nargs + 1, kwnames);
        PyMem_Free(all);
    }
    Py_XDECREF(method);
    return value;
}

static PyObject *future_result(PyObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    FutureObject *future = (FutureObject *)self;
    if (!future->task)
        return call_stdlib(future, "result", args, nargs, kwnames);
    if (await_outcome(future, args, nargs, kwnames) < 0)
        return NULL;
    if (future->exception) {
        PyErr_SetObject((PyObject *)Py_TYPE(future->exception), future->exception);
        return NULL;
    }
    return Py_NewRef(future->result ? future->result : Py_None);
}

static PyObject *future_exception(PyObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    FutureObject *future = (FutureObject *)self;
    if (!future->task)
        return call_stdlib(future, "exception", args, nargs, kwnames);
    if (await_outcome(future, args, nargs, kwnames) < 0)
        return NULL;
    return Py_NewRef(future->exception ? future->exception : Py_None);
}

/* ---- asking ---- */

static PyObject *future_done(PyObject *self, PyObject *unused)
{
    (void)unused;
    return PyBool_FromLong(is_final(phase_of((FutureObject *)self)));
}

static PyObject *future_running(PyObject *self, PyObject *unused)
{
    (void)unused;
    return PyBool_FromLong(phase_of((FutureObject *)self) == EXL_FUTURE_RUNNING);
}

static PyObject *future_cancelled(PyObject *self, PyObject *unused)
{
    (void)unused;
    exl_future_phase_t phase = phase_of((FutureObject *)self);
    return PyBool_FromLong(phase == EXL_FUTURE_CANCELLED || phase == EXL_FUTURE_CANCELLED_AND_NOTIFIED);
}

static PyObject *future_cancel(PyObject *self, PyObject *unused)
{
    (void)unused;
    FutureObject *future = (FutureObject *)self;
    if (!future->task)
        return call_stdlib(future, "cancel", NULL, 0, NULL);
    int rc = exl_task_cancel(future->task);
    if (rc < 0)
        return exl_raise(rc, NULL);
    if (rc == 0)
        Py_RETURN_FALSE;
    /* The caller of cancel() sees the callbacks called, as in the standard library; the delivery thread finds it done. */
    if (future->observed && settle(future) < 0)
        return NULL;
    Py_RETURN_TRUE;
}

static PyObject *future_terminate(PyObject *self, PyObject *unused)
{
    FutureObject *future = (FutureObject *)self;
    if (!future->task)
        return future_cancel(self, unused);
    int rc;
    Py_BEGIN_ALLOW_THREADS rc = exl_task_terminate(future->task);
    Py_END_ALLOW_THREADS if (rc < 0) return exl_raise(rc, NULL);
    if (rc > 0 && future->observed && exl_task_done(future->task) && settle(future) < 0)
        return NULL;
    return PyBool_FromLong(rc);
}

static PyObject *future_reduce(PyObject *self, PyObject *unused)
{
    (void)unused;
    FutureObject *future = (FutureObject *)self;
    exl_submission_t *submission = exl_submission_present();
    if (!submission || !submission->collects_futures) {
        PyErr_SetString(PyExc_TypeError,
                        "a future can only be pickled as an argument of a call that is being submitted");
        return NULL;
    }
    if (!submission->futures_allowed) {
        PyErr_SetString(PyExc_ValueError,
                        "a future among the arguments needs an executor with disable_dependencies=False");
        return NULL;
    }
    if (!future->task)
        return exl_foreign_future(PyType_GetModule(state_of(future)->future_base), self);
    PyObject *module = PyType_GetModule(state_of(future)->future_base);
    Py_ssize_t index = future->result ? -2 : exl_submission_depend(submission, future->task);
    if (index == -1)
        return NULL;
    if (index == -2) {
        /* The bytes have been unpickled already: the value goes along. */
        if (unpack(future) < 0)
            return NULL;
        return Py_BuildValue("(N(O))", PyObject_GetAttrString(module, "_value"),
                             future->result ? future->result : Py_None);
    }
    return Py_BuildValue("(N(n))", PyObject_GetAttrString(module, "_dependency"), index);
}

/* ---- futures of others ---- */

static void external_destroy(PyObject *capsule)
{
    exl_task_t *task = PyCapsule_GetPointer(capsule, NULL);
    /* The callback was dropped without being called: its future is gone, and will never have a result. */
    exl_external_finish(task, EXL_OUTCOME_CANCELLED, NULL);
    exl_task_unref(task);
}

static exl_payload_t *pickle_value(exl_state_t *state, PyObject *value)
{
    exl_submission_t submission;
    exl_payload_t *payload = NULL;
    exl_submission_init(&submission, state);
    if (exl_submission_dump(&submission, value) == 0 && exl_submission_payload(&submission, &payload) == 0 &&
        exl_payload_seal(payload) < 0) {
        exl_payload_unref(payload);
        payload = NULL;
        PyErr_NoMemory();
    }
    exl_submission_fini(&submission);
    return payload;
}

/* An exception in the form that workers send: (exception, text of its traceback). */
static exl_payload_t *pickle_raised(exl_state_t *state, PyObject *exception)
{
    PyObject *pair = Py_BuildValue("(Os)", exception, "");
    exl_payload_t *payload = pair ? pickle_value(state, pair) : NULL;
    Py_XDECREF(pair);
    return payload;
}

/* Called with a future that has ended; self is the capsule of the task that stands for it. */
static PyObject *external_done(PyObject *capsule, PyObject *future)
{
    exl_task_t *task = PyCapsule_GetPointer(capsule, NULL);
    exl_state_t *state = PyCapsule_GetContext(capsule);
    PyObject *cancelled = PyObject_CallMethod(future, "cancelled", NULL);
    if (!cancelled)
        return NULL;
    bool was_cancelled = PyObject_IsTrue(cancelled);
    Py_DECREF(cancelled);
    if (was_cancelled) {
        exl_external_finish(task, EXL_OUTCOME_CANCELLED, NULL);
        Py_RETURN_NONE;
    }
    PyObject *exception = PyObject_CallMethod(future, "exception", NULL);
    PyObject *value = exception == Py_None ? PyObject_CallMethod(future, "result", NULL) : NULL;
    bool raised = value == NULL && exception && exception != Py_None;
    exl_payload_t *payload = raised ? pickle_raised(state, exception) : value ? pickle_value(state, value) : NULL;
    Py_XDECREF(exception);
    Py_XDECREF(value);
    if (!payload && PyErr_Occurred()) {
        PyObject *type, *error, *traceback;
        PyErr_Fetch(&type, &error, &traceback);
        PyErr_NormalizeException(&type, &error, &traceback);
        payload = error ? pickle_raised(state, error) : NULL;
        raised = true;
        Py_XDECREF(type);
        Py_XDECREF(error);
        Py_XDECREF(traceback);
    }
    exl_external_finish(task,
                        !payload ? EXL_OUTCOME_CANCELLED
                        : raised ? EXL_OUTCOME_EXCEPTION
                                 : EXL_OUTCOME_RESULT,
                        payload);
    exl_payload_unref(payload);
    PyErr_Clear();
    Py_RETURN_NONE;
}

static PyMethodDef external_done_method = {"external_done", external_done, METH_O, "Passes on the end of a future."};

static exl_task_t *external_task(exl_state_t *state, PyObject *future)
{
    exl_task_t *task = exl_external_create();
    PyObject *capsule = task ? PyCapsule_New(exl_task_ref(task), NULL, external_destroy) : PyErr_NoMemory();
    PyObject *callback = NULL;
    if (capsule && PyCapsule_SetContext(capsule, state) == 0)
        callback = PyCFunction_New(&external_done_method, capsule);
    Py_XDECREF(capsule);
    PyObject *none = callback ? PyObject_CallMethod(future, "add_done_callback", "O", callback) : NULL;
    Py_XDECREF(callback);
    Py_XDECREF(none);
    if (none)
        return task;
    exl_task_unref(task);
    return NULL;
}

PyObject *exl_foreign_future(PyObject *module, PyObject *future)
{
    exl_state_t *state = exl_state_of(module);
    exl_submission_t *submission = exl_submission_present();
    if (!submission || !submission->collects_futures)
        return Py_NewRef(Py_NotImplemented);
    /* A class that knows how to pickle itself, as our selectors do. */
    PyObject *own = PyObject_GetAttr((PyObject *)Py_TYPE(future), state->str_reduce);
    PyObject *general = PyObject_GetAttr((PyObject *)&PyBaseObject_Type, state->str_reduce);
    bool knows = own && own != general;
    Py_XDECREF(own);
    Py_XDECREF(general);
    if (knows && !PyObject_TypeCheck(future, state->future_base))
        return Py_NewRef(Py_NotImplemented);
    if (!submission->futures_allowed) {
        PyErr_SetString(PyExc_ValueError,
                        "a future among the arguments needs an executor with disable_dependencies=False");
        return NULL;
    }
    exl_task_t *task = external_task(state, future);
    if (!task)
        return NULL;
    Py_ssize_t index = exl_submission_depend(submission, task);
    exl_task_unref(task);
    if (index < 0)
        return NULL;
    return Py_BuildValue("(N(n))", PyObject_GetAttrString(module, "_dependency"), index);
}

/* ---- what the standard library reads and writes ---- */

static PyObject *get_condition(PyObject *self, void *closure)
{
    (void)closure;
    FutureObject *future = (FutureObject *)self;
    return observe(future) < 0 ? NULL : Py_NewRef(future->condition);
}

static PyObject *get_state(PyObject *self, void *closure)
{
    (void)closure;
    return PyUnicode_InternFromString(phase_names[phase_of((FutureObject *)self)]);
}

static int set_state(PyObject *self, PyObject *value, void *closure)
{
    (void)closure;
    FutureObject *future = (FutureObject *)self;
    for (int phase = EXL_FUTURE_PENDING; value && PyUnicode_Check(value) && phase <= EXL_FUTURE_FINISHED; phase++)
        if (PyUnicode_CompareWithASCIIString(value, phase_names[phase]) == 0) {
            future->phase = (uint8_t)phase;
            return 0;
        }
    PyErr_SetString(PyExc_ValueError, "not a state of a future");
    return -1;
}

static PyObject *get_list(PyObject *self, void *closure)
{
    PyObject **list = (PyObject **)((char *)self + (size_t)closure);
    if (!*list)
        *list = PyList_New(0);
    return Py_XNewRef(*list);
}

static int set_object(PyObject *self, PyObject *value, void *closure)
{
    PyObject **object = (PyObject **)((char *)self + (size_t)closure);
    Py_XSETREF(*object, Py_XNewRef(value));
    return 0;
}

static PyObject *get_outcome(PyObject *self, void *closure)
{
    FutureObject *future = (FutureObject *)self;
    if (future->task && phase_of(future) == EXL_FUTURE_FINISHED && unpack(future) < 0)
        return NULL;
    PyObject *object = *(PyObject **)((char *)self + (size_t)closure);
    return Py_NewRef(object ? object : Py_None);
}

static int set_exception(PyObject *self, PyObject *value, void *closure)
{
    return set_object(self, value == Py_None ? NULL : value, closure);
}

static PyObject *get_nbytes_received(PyObject *self, void *closure)
{
    (void)closure;
    FutureObject *future = (FutureObject *)self;
    if (!future->nbytes_received && future->task && exl_task_done(future->task) && future->task->result)
        future->nbytes_received = exl_payload_size(future->task->result);
    return PyLong_FromSize_t(future->nbytes_received);
}

static PyObject *get_nbytes_sent(PyObject *self, void *closure)
{
    (void)closure;
    return PyLong_FromSize_t(((FutureObject *)self)->nbytes_sent);
}

#define FIELD(name) ((void *)offsetof(FutureObject, name))

static PyGetSetDef future_getset[] = {
    {"_condition", get_condition, NULL, "Made at the first touch, which makes the future observed.", NULL},
    {"_state", get_state, set_state, NULL, NULL},
    {"_waiters", get_list, set_object, NULL, FIELD(waiters)},
    {"_done_callbacks", get_list, set_object, NULL, FIELD(callbacks)},
    {"_result", get_outcome, set_object, NULL, FIELD(result)},
    {"_exception", get_outcome, set_exception, NULL, FIELD(exception)},
    {"_nbytes_sent", get_nbytes_sent, NULL, "Size of the pickled call in bytes.", NULL},
    {"_nbytes_received", get_nbytes_received, NULL, "Size of the pickled result in bytes, 0 until it is there.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

PyDoc_STRVAR(result_doc,
             "result($self, timeout=None)\n--\n\nWaits for the call and returns what it returned.\n\n"
             "timeout: seconds, or None for no limit. Raises TimeoutError, CancelledError, what the function\n"
             "raised (its remote traceback is the __cause__), or ExecutorlibSocketError when the worker was lost.");
PyDoc_STRVAR(exception_doc,
             "exception($self, timeout=None)\n--\n\nWaits for the call and returns what it raised, or None.");

PyDoc_STRVAR(
    terminate_doc,
    "terminate($self)\n--\n\nEnds the call, also one that has begun; returns whether it is ended.\n\n"
    "A call that runs gets SIGTERM, with every process it has started, and SIGKILL after the seconds of its\n"
    "resource \"terminate_grace\"; when all are gone, the future raises CallTerminatedError, and so do calls that\n"
    "take it as argument. A call that has not begun is cancelled. One that has ended stays as it is: False.");

static PyMethodDef future_methods[] = {
    {"result", (PyCFunction)(void (*)(void))future_result, METH_FASTCALL | METH_KEYWORDS, result_doc},
    {"exception", (PyCFunction)(void (*)(void))future_exception, METH_FASTCALL | METH_KEYWORDS, exception_doc},
    {"done", future_done, METH_NOARGS, "True if the call has ended or was cancelled."},
    {"running", future_running, METH_NOARGS, "True while the call is being executed."},
    {"cancelled", future_cancelled, METH_NOARGS, "True if the call was cancelled."},
    {"cancel", future_cancel, METH_NOARGS, "Cancels the call if it has not begun; returns whether it is cancelled."},
    {"terminate", future_terminate, METH_NOARGS, terminate_doc},
    {"__reduce__", future_reduce, METH_NOARGS, "Stands for the result inside a call that is being submitted."},
    {NULL, NULL, 0, NULL},
};

/* ---- type ---- */

static int future_init(PyObject *self, PyObject *args, PyObject *keywords)
{
    (void)self;
    (void)args;
    (void)keywords;
    return 0;
}

static int future_traverse(PyObject *self, visitproc visit, void *arg)
{
    FutureObject *future = (FutureObject *)self;
    Py_VISIT(future->result);
    Py_VISIT(future->exception);
    Py_VISIT(future->condition);
    Py_VISIT(future->waiters);
    Py_VISIT(future->callbacks);
    Py_VISIT(Py_TYPE(self));
    return 0;
}

static int future_clear(PyObject *self)
{
    FutureObject *future = (FutureObject *)self;
    Py_CLEAR(future->result);
    Py_CLEAR(future->exception);
    Py_CLEAR(future->condition);
    Py_CLEAR(future->waiters);
    Py_CLEAR(future->callbacks);
    return 0;
}

static void future_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    if (PyObject_GC_IsTracked(self))
        PyObject_GC_UnTrack(self);
    (void)future_clear(self);
    exl_task_unref(((FutureObject *)self)->task);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyType_Slot future_slots[] = {
    {Py_tp_init, future_init},
    {Py_tp_dealloc, future_dealloc},
    {Py_tp_traverse, future_traverse},
    {Py_tp_clear, future_clear},
    {Py_tp_methods, future_methods},
    {Py_tp_getset, future_getset},
    {Py_tp_doc, "The part of a future that is in C."},
    {0, NULL},
};

static PyType_Spec future_spec = {
    .name = "executorlib._core.FutureBase",
    .basicsize = sizeof(FutureObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
    .slots = future_slots,
};

int exl_future_init(PyObject *module)
{
    exl_state_t *state = exl_state_of(module);
    state->future_base = (PyTypeObject *)PyType_FromModuleAndSpec(module, &future_spec, NULL);
    if (!state->future_base)
        return -1;
    /* Our part first, so that its methods win; the standard library's adds the rest, and isinstance(). */
    state->future_type = (PyTypeObject *)PyObject_CallFunction(
        (PyObject *)&PyType_Type, "s(OO){s:(),s:s,s:s}", "Future", state->future_base, state->stdlib_future,
        "__slots__", "__module__", "executorlib._core", "__doc__",
        "A call that was submitted; a concurrent.futures.Future.");
    return state->future_type ? 0 : -1;
}
