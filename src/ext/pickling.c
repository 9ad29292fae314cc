/* pickling.c: the two picklers, what they meet, and payloads. See pickling.h. */
#include "pickling.h"

#include <string.h>

#include "arrays.h"
#include "buffer.h"
#include "engine/wait.h"
#include "functions.h"
#include "future.h"
#include "plain.h"
#include "task/task.h"

/* What a pinned payload keeps alive. Released by any thread, freed by the next one that holds the GIL. */
struct exl_kept {
    exl_kept_t *next;
    exl_state_t *state;
    size_t nviews, nchunks;
    Py_buffer *views;
    PyObject **chunks;
};

/* Below OUT_OF_BAND bytes a buffer is copied into the pickle: cheaper than a memory file. A pickler whose memo has grown
 * is thrown away, since emptying the memo costs its size. */
enum { OUT_OF_BAND = 32 * 1024, KEEP_PICKLER_SIZE = 256 * 1024 };

static __thread exl_submission_t *present;

exl_submission_t *exl_submission_present(void)
{
    return present;
}

PyObject *exl_submitting(PyObject *module, PyObject *unused)
{
    (void)module;
    (void)unused;
    return PyBool_FromLong(present && present->collects_futures);
}

/* ---- what a pickler meets ---- */

/* `room`: where the array lies as long as it is small, or NULL. */
static int grow(void *array, const void *room, size_t *capacity, size_t count, size_t size)
{
    if (count < *capacity)
        return 0;
    bool in_room = room && *(void **)array == room;
    size_t wanted = *capacity ? *capacity * 2 : 8;
    void *grown = PyMem_Realloc(in_room ? NULL : *(void **)array, wanted * size);
    if (!grown) {
        PyErr_NoMemory();
        return -1;
    }
    if (in_room)
        memcpy(grown, room, count * size);
    *(void **)array = grown;
    *capacity = wanted;
    return 0;
}

/* file.write() of every pickler. */
static PyObject *writer_write(PyObject *self, PyObject *bytes)
{
    (void)self;
    exl_submission_t *submission = present;
    if (!submission) {
        PyErr_SetString(PyExc_RuntimeError, "nothing is being pickled on this thread");
        return NULL;
    }
    if (grow(&submission->chunks, submission->chunk_room, &submission->chunks_capacity, submission->nchunks,
             sizeof *submission->chunks) < 0)
        return NULL;
    PyObject *chunk = PyBytes_CheckExact(bytes) ? Py_NewRef(bytes) : PyBytes_FromObject(bytes);
    if (!chunk)
        return NULL;
    submission->chunks[submission->nchunks++] = chunk;
    submission->size += (size_t)PyBytes_GET_SIZE(chunk);
    Py_RETURN_NONE;
}

static PyMethodDef writer_methods[] = {
    {"write", writer_write, METH_O, "Keeps a part of the pickle."},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot writer_slots[] = {
    {Py_tp_methods, writer_methods},
    {Py_tp_doc, "Where picklers write to: the submission of the calling thread."},
    {0, NULL},
};

static PyType_Spec writer_spec = {
    .name = "executorlib._core.Writer",
    .basicsize = sizeof(PyObject),
    .flags = Py_TPFLAGS_DEFAULT,
    .slots = writer_slots,
};

PyObject *exl_buffer_callback(PyObject *module, PyObject *buffer)
{
    (void)module;
    exl_submission_t *submission = present;
    const Py_buffer *view = PyPickleBuffer_GetBuffer(buffer);
    if (!view)
        return NULL;
    if (!submission || view->len < OUT_OF_BAND)
        Py_RETURN_TRUE; /* in band */
    if (grow(&submission->buffers, NULL, &submission->buffers_capacity, submission->nbuffers,
             sizeof *submission->buffers) < 0)
        return NULL;
    submission->buffers[submission->nbuffers++] = Py_NewRef(buffer);
    submission->size += (size_t)view->len;
    Py_RETURN_FALSE;
}

static bool is_main(PyObject *module_name)
{
    return module_name && PyUnicode_Check(module_name) &&
           PyUnicode_CompareWithASCIIString(module_name, "__main__") == 0;
}

static bool is_main_type(exl_state_t *state, PyTypeObject *type)
{
    if (!(type->tp_flags & Py_TPFLAGS_HEAPTYPE))
        return false;
    PyObject *module_name = PyObject_GetAttr((PyObject *)type, state->str_module);
    bool main = is_main(module_name);
    Py_XDECREF(module_name);
    PyErr_Clear();
    return main;
}

/* cloudpickle's set of modules that are pickled by value. The user may have imported cloudpickle before we did. */
static bool has_by_value_modules(exl_state_t *state)
{
    if (!state->by_value_registry) {
        PyObject *cloudpickle = PyDict_GetItemWithError(PyImport_GetModuleDict(), state->str_cloudpickle);
        if (cloudpickle)
            state->by_value_registry = PyObject_GetAttrString(cloudpickle, "_PICKLE_BY_VALUE_MODULES");
        PyErr_Clear(); /* another version of cloudpickle may keep it elsewhere: then nothing is known by value */
    }
    return state->by_value_registry && PyObject_IsTrue(state->by_value_registry) == 1;
}

bool exl_needs_cloudpickle(exl_state_t *state, PyObject *callable)
{
    if (has_by_value_modules(state))
        return true;
    if (PyFunction_Check(callable)) {
        PyFunctionObject *function = (PyFunctionObject *)callable;
        return is_main(function->func_module) ||
               PyUnicode_FindChar(function->func_qualname, '<', 0, PyUnicode_GET_LENGTH(function->func_qualname), 1) >=
                   0;
    }
    return PyType_Check(callable) && is_main_type(state, (PyTypeObject *)callable);
}

/* Called for every object that is neither a number, a string nor a plain container. */
PyObject *exl_reducer_override(PyObject *module, PyObject *object)
{
    exl_state_t *state = exl_state_of(module);
    exl_submission_t *submission = present;
    if (PyFunction_Check(object) || PyType_Check(object)) {
        if (submission && exl_needs_cloudpickle(state, object)) {
            PyObject *reference = submission->collects_futures ? exl_function_reference(submission, object) : NULL;
            if (reference || PyErr_Occurred())
                return reference;
            submission->by_value = true;
            PyErr_SetString(PyExc_ValueError, "to be pickled by value"); /* ends this attempt; never seen outside */
            return NULL;
        }
    } else if (submission && Py_TYPE(object) == state->cached_function) {
        PyObject *inside = PyObject_GetAttrString(object, "__wrapped__");
        submission->by_value = inside && exl_needs_cloudpickle(state, inside);
        Py_XDECREF(inside);
        if (submission->by_value)
            PyErr_SetString(PyExc_ValueError, "to be pickled by value");
        if (PyErr_Occurred())
            return NULL;
    } else if (state->stdlib_future && PyObject_TypeCheck(object, (PyTypeObject *)state->stdlib_future) &&
               !PyObject_TypeCheck(object, state->future_base)) {
        return exl_foreign_future(module, object);
    } else {
        PyObject *reduced = exl_array_reduce(state, object);
        if (reduced || PyErr_Occurred())
            return reduced;
    }
    return Py_NewRef(Py_NotImplemented);
}

/* ---- submissions ---- */

void exl_submission_init(exl_submission_t *submission, exl_state_t *state)
{
    memset(submission, 0, offsetof(exl_submission_t, chunk_room));
    submission->state = state;
    submission->futures_allowed = true;
    submission->chunks = submission->chunk_room;
    submission->functions = submission->function_room;
    submission->chunks_capacity = submission->functions_capacity = EXL_SUBMISSION_ROOM;
}

static void clear(exl_submission_t *submission)
{
    for (size_t i = 0; i < submission->nchunks; i++)
        Py_DECREF(submission->chunks[i]);
    for (size_t i = 0; i < submission->nbuffers; i++)
        Py_DECREF(submission->buffers[i]);
    for (uint32_t i = 0; i < submission->nproducers; i++) {
        exl_task_release_hold(submission->producers[i]);
        exl_task_unref(submission->producers[i]);
    }
    for (size_t i = 0; i < submission->nfunctions; i++)
        exl_shared_unref(submission->functions[i]);
    submission->nchunks = submission->nbuffers = submission->nfunctions = submission->size = submission->plain_size = 0;
    submission->nproducers = 0;
}

void exl_submission_fini(exl_submission_t *submission)
{
    clear(submission);
    if (submission->chunks != submission->chunk_room)
        PyMem_Free(submission->chunks);
    PyMem_Free(submission->buffers);
    PyMem_Free(submission->producers);
    if (submission->functions != submission->function_room)
        PyMem_Free(submission->functions);
}

Py_ssize_t exl_submission_depend(exl_submission_t *submission, struct exl_task *task)
{
    for (uint32_t i = 0; i < submission->nproducers; i++)
        if (submission->producers[i] == task)
            return i;
    size_t capacity = submission->producers_capacity;
    if (grow(&submission->producers, NULL, &capacity, submission->nproducers, sizeof *submission->producers) < 0)
        return -1;
    submission->producers_capacity = (uint32_t)capacity;
    if (!exl_task_hold(task))
        return -2;
    submission->producers[submission->nproducers] = exl_task_ref(task);
    return submission->nproducers++;
}

int exl_submission_name(exl_submission_t *submission, struct exl_shared *function)
{
    for (size_t i = 0; i < submission->nfunctions; i++)
        if (submission->functions[i] == function)
            return 0;
    if (grow(&submission->functions, submission->function_room, &submission->functions_capacity, submission->nfunctions,
             sizeof *submission->functions) < 0)
        return -1;
    submission->functions[submission->nfunctions++] = exl_shared_ref(function);
    return 0;
}

static PyObject *new_pickler(exl_state_t *state, PyObject *class)
{
    PyObject *arguments = PyTuple_Pack(2, state->writer, state->protocol);
    PyObject *keywords = arguments ? PyDict_New() : NULL;
    PyObject *pickler = NULL;
    if (keywords && PyDict_SetItemString(keywords, "buffer_callback", state->buffer_callback) == 0)
        pickler = PyObject_Call(class, arguments, keywords);
    Py_XDECREF(keywords);
    Py_XDECREF(arguments);
    return pickler;
}

static int dump_with(exl_submission_t *submission, PyObject *pickler, PyObject *object)
{
    submission->outer = present;
    present = submission;
    PyObject *none = PyObject_CallMethodOneArg(pickler, submission->state->str_dump, object);
    present = submission->outer;
    Py_XDECREF(none);
    return none ? 0 : -1;
}

static int dump_by_name(exl_submission_t *submission, PyObject *object)
{
    exl_state_t *state = submission->state;
    PyObject *pickler = state->pickler;
    state->pickler = NULL;
    if (!pickler && !(pickler = new_pickler(state, state->pickler_class)))
        return -1;
    int rc = dump_with(submission, pickler, object);
    if (rc == 0 && !state->pickler && submission->size < KEEP_PICKLER_SIZE) {
        PyObject *none = PyObject_CallMethodNoArgs(pickler, state->str_clear_memo);
        Py_XDECREF(none);
        if (none)
            state->pickler = pickler;
        else
            rc = -1;
        return rc;
    }
    Py_DECREF(pickler);
    return rc;
}

/* A driver's own class knows futures of other libraries; a worker has no use for them. */
static int load_cloudpickler(exl_state_t *state)
{
    if (state->cloudpickler)
        return 0;
    if (state->cloudpickler_factory) {
        state->cloudpickler = PyObject_CallNoArgs(state->cloudpickler_factory);
    } else {
        state->cloudpickler = PyObject_CallMethod(state->worker, "cloudpickler", NULL);
    }
    return state->cloudpickler ? 0 : -1;
}

static int dump_by_value(exl_submission_t *submission, PyObject *object)
{
    clear(submission);
    submission->by_value = true;
    if (load_cloudpickler(submission->state) < 0)
        return -1;
    PyObject *pickler = new_pickler(submission->state, submission->state->cloudpickler);
    if (!pickler)
        return -1;
    int rc = dump_with(submission, pickler, object);
    Py_DECREF(pickler);
    return rc;
}

static bool refuses_futures(const exl_submission_t *submission)
{
    return !submission->futures_allowed && PyErr_ExceptionMatches(PyExc_ValueError) && !submission->by_value;
}

/* Futures that have to be pickled otherwise are asked again by the pickler. */
static Py_ssize_t depend(void *data, PyObject *object)
{
    exl_submission_t *submission = data;
    if (!submission->collects_futures || !submission->futures_allowed ||
        Py_TYPE(object) != submission->state->future_type)
        return -1;
    const FutureObject *future = (const FutureObject *)object;
    Py_ssize_t index = future->task && !future->result ? exl_submission_depend(submission, future->task) : -1;
    PyErr_Clear();
    return index;
}

int exl_submission_dump(exl_submission_t *submission, PyObject *object)
{
    if (submission->by_value)
        return dump_by_value(submission, object);
    submission->size = submission->plain_size =
        exl_plain_pickle(object, depend, submission, submission->plain, sizeof submission->plain);
    if (submission->plain_size || dump_by_name(submission, object) == 0)
        return 0;
    if (refuses_futures(submission) || !PyErr_ExceptionMatches(PyExc_Exception))
        return -1;
    /* Cloudpickle may know how; if it does not, its error is the one to tell. */
    PyErr_Clear();
    return dump_by_value(submission, object);
}

/* ---- payloads ---- */

static void pins_free(exl_kept_t *pins)
{
    for (size_t i = 0; i < pins->nviews; i++)
        PyBuffer_Release(&pins->views[i]);
    for (size_t i = 0; i < pins->nchunks; i++)
        Py_DECREF(pins->chunks[i]);
    PyMem_RawFree(pins->views);
    PyMem_RawFree(pins->chunks);
    PyMem_RawFree(pins);
}

/* Any thread, without the GIL. */
static void pins_release(void *owner)
{
    exl_kept_t *pins = owner;
    exl_state_t *state = pins->state;
    pins->next = atomic_load(&state->released);
    while (!atomic_compare_exchange_weak(&state->released, &pins->next, pins)) {
    }
}

void exl_drain_released(exl_state_t *state)
{
    if (!atomic_load_explicit(&state->released, memory_order_relaxed))
        return;
    exl_kept_t *pins = atomic_exchange(&state->released, NULL);
    while (pins) {
        exl_kept_t *next = pins->next;
        pins_free(pins);
        pins = next;
    }
}

static exl_kept_t *pins_of(exl_submission_t *submission)
{
    exl_kept_t *pins = PyMem_RawCalloc(1, sizeof *pins);
    if (pins) {
        pins->state = submission->state;
        pins->views = PyMem_RawCalloc(submission->nbuffers + 1, sizeof *pins->views);
        pins->chunks = PyMem_RawCalloc(submission->nchunks + 1, sizeof *pins->chunks);
    }
    if (!pins || !pins->views || !pins->chunks) {
        if (pins)
            pins_free(pins);
        PyErr_NoMemory();
        return NULL;
    }
    for (size_t i = 0; i < submission->nchunks; i++)
        pins->chunks[pins->nchunks++] = Py_NewRef(submission->chunks[i]);
    for (size_t i = 0; i < submission->nbuffers; i++) {
        /* raw() sees a Fortran-ordered array as the flat bytes that it is. */
        PyObject *raw = PyObject_CallMethodNoArgs(submission->buffers[i], submission->state->str_raw);
        int rc = raw ? PyObject_GetBuffer(raw, &pins->views[i], PyBUF_SIMPLE) : -1;
        Py_XDECREF(raw);
        if (rc < 0) {
            pins_free(pins);
            return NULL;
        }
        pins->nviews++;
    }
    return pins;
}

static int pinned_payload(exl_submission_t *submission, exl_payload_t **ret_payload)
{
    exl_kept_t *pins = pins_of(submission);
    exl_segment_t *segments = pins ? PyMem_RawMalloc((pins->nchunks + pins->nviews + 1) * sizeof *segments) : NULL;
    if (!segments) {
        if (pins) {
            pins_free(pins);
            PyErr_NoMemory();
        }
        return -1;
    }
    for (size_t i = 0; i < pins->nchunks; i++)
        segments[i] = (exl_segment_t){PyBytes_AS_STRING(pins->chunks[i]), (size_t)PyBytes_GET_SIZE(pins->chunks[i])};
    for (size_t i = 0; i < pins->nviews; i++)
        segments[pins->nchunks + i] = (exl_segment_t){pins->views[i].buf, (size_t)pins->views[i].len};
    int rc = exl_payload_create(segments, pins->nchunks, segments + pins->nchunks, pins->nviews, pins_release, pins,
                                ret_payload);
    PyMem_RawFree(segments);
    if (rc < 0 || !exl_payload_pinned(*ret_payload))
        pins_free(pins);
    if (rc < 0)
        exl_raise(rc, "cannot keep the arguments");
    return rc < 0 ? -1 : 0;
}

int exl_submission_payload(exl_submission_t *submission, exl_payload_t **ret_payload)
{
    const void *bytes = submission->plain;
    if (!submission->plain_size) {
        if (submission->nchunks != 1 || submission->nbuffers || submission->size > EXL_INLINE_MAX / 2)
            return pinned_payload(submission, ret_payload);
        bytes = PyBytes_AS_STRING(submission->chunks[0]);
    }
    int rc = exl_payload_of(bytes, submission->size, ret_payload);
    if (rc < 0)
        exl_raise(rc, NULL);
    return rc < 0 ? -1 : 0;
}

int exl_payload_of_bytes(PyObject *bytes, exl_payload_t **ret_payload)
{
    int rc = exl_payload_of(PyBytes_AS_STRING(bytes), (size_t)PyBytes_GET_SIZE(bytes), ret_payload);
    if (rc < 0)
        exl_raise(rc, NULL);
    return rc < 0 ? -1 : 0;
}

static PyObject *list_of_buffers(exl_state_t *state, exl_payload_t *payload, const exl_payload_view_t *view)
{
    PyObject *buffers = PyList_New((Py_ssize_t)view->nbuffers);
    for (size_t i = 0; buffers && i < view->nbuffers; i++) {
        PyObject *buffer = exl_buffer_new(state->buffer_type, payload, exl_payload_view_buffer(view, i));
        if (!buffer)
            Py_CLEAR(buffers);
        else
            PyList_SET_ITEM(buffers, (Py_ssize_t)i, buffer);
    }
    return buffers;
}

PyObject *exl_payload_loads(exl_state_t *state, exl_payload_t *payload)
{
    exl_payload_view_t view;
    int rc = exl_payload_map(payload);
    if (rc == 0)
        rc = exl_payload_view(payload, &view);
    if (rc < 0)
        return exl_raise(rc, "cannot read what another process sent");
    PyObject *object = NULL;
    if (view.nbuffers == 0 && view.body_size <= EXL_SUBMISSION_PLAIN) {
        object = exl_plain_unpickle(view.body, view.body_size, exl_dependency_at);
        if (object || PyErr_Occurred())
            return object;
    }
    PyObject *body = PyMemoryView_FromMemory((char *)view.body, (Py_ssize_t)view.body_size, PyBUF_READ);
    if (!body)
        return NULL;
    if (view.nbuffers == 0) {
        object = PyObject_CallOneArg(state->loads, body);
    } else {
        PyObject *buffers = list_of_buffers(state, payload, &view);
        PyObject *names = buffers ? Py_BuildValue("(s)", "buffers") : NULL;
        PyObject *const arguments[] = {body, buffers};
        if (names)
            object = PyObject_Vectorcall(state->loads, arguments, 1, names);
        Py_XDECREF(names);
        Py_XDECREF(buffers);
    }
    Py_DECREF(body);
    return object;
}

/* What the results of several ranks unpickle through: see node/gather.h. */
PyObject *exl_gather_results(PyObject *module, PyObject *const *args, Py_ssize_t nargs)
{
    exl_state_t *state = exl_state_of(module);
    PyObject *names = nargs % 2 == 0 ? Py_BuildValue("(s)", "buffers") : NULL;
    PyObject *list = names ? PyList_New(nargs / 2) : NULL;
    if (nargs % 2)
        PyErr_SetString(PyExc_TypeError, "_gather(pickle, buffers, …)");
    for (Py_ssize_t i = 0; list && i < nargs / 2; i++) {
        PyObject *const arguments[] = {args[2 * i], args[2 * i + 1]};
        PyObject *result = PyObject_Vectorcall(state->loads, arguments, 1, names);
        if (result)
            PyList_SET_ITEM(list, i, result);
        else
            Py_CLEAR(list);
    }
    Py_XDECREF(names);
    return list;
}

PyObject *exl_payload_bytes(exl_payload_t *payload)
{
    exl_payload_view_t view;
    int rc = exl_payload_map(payload);
    if (rc == 0)
        rc = exl_payload_view(payload, &view);
    if (rc < 0)
        return exl_raise(rc, "cannot read what another process sent");
    return PyBytes_FromStringAndSize((const char *)view.body, (Py_ssize_t)view.body_size);
}

/* ---- set-up ---- */

static int make_pickler_class(PyObject *module, exl_state_t *state, PyObject *pickle)
{
    PyObject *base = PyObject_GetAttrString(pickle, "Pickler");
    /* A builtin function in a class does not bind: it is called with the object alone. */
    PyObject *override = PyObject_GetAttrString(module, "_reducer_override");
    if (base && override)
        state->pickler_class = PyObject_CallFunction((PyObject *)&PyType_Type, "s(O){s:O,s:s}", "CallPickler", base,
                                                     "reducer_override", override, "__module__", "executorlib._core");
    Py_XDECREF(base);
    Py_XDECREF(override);
    return state->pickler_class ? 0 : -1;
}

int exl_pickling_init(PyObject *module)
{
    exl_state_t *state = exl_state_of(module);
    PyObject *pickle = PyImport_ImportModule("_pickle");
    if (!pickle)
        return -1;
    state->loads = PyObject_GetAttrString(pickle, "loads");
    state->buffer_callback = PyObject_GetAttrString(module, "_buffer_callback");
    state->protocol = PyLong_FromLong(5);
    state->buffer_type = (PyTypeObject *)PyType_FromModuleAndSpec(module, &exl_buffer_spec, NULL);
    state->writer_type = (PyTypeObject *)PyType_FromModuleAndSpec(module, &writer_spec, NULL);
    state->writer = state->writer_type ? PyObject_CallNoArgs((PyObject *)state->writer_type) : NULL;
    int rc = make_pickler_class(module, state, pickle);
    Py_DECREF(pickle);
    bool complete = state->loads && state->buffer_callback && state->protocol && state->buffer_type && state->writer;
    return rc == 0 && complete ? 0 : -1;
}
