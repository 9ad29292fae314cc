/* batch.c: executorlib._core.Watch, and what Python does with detached jobs. */
#include <errno.h>
#include <stdlib.h>

#include "base/error.h"
#include "batch/job.h"
#include "batch/watch.h"
#include "state.h"

/* ---- Watch ---- */

typedef struct {
    PyObject_HEAD exl_watch_t *watch;
} WatchObject;

static PyObject *watch_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    (void)kwargs;
    if (!PyArg_ParseTuple(args, ":Watch"))
        return NULL;
    WatchObject *self = (WatchObject *)type->tp_alloc(type, 0);
    int rc = self ? exl_watch_create(&self->watch) : 0;
    if (rc < 0) {
        Py_DECREF(self);
        return exl_raise(rc, "no watch for result files");
    }
    return (PyObject *)self;
}

static void watch_dealloc(PyObject *object)
{
    PyTypeObject *type = Py_TYPE(object);
    exl_watch_t *watch = ((WatchObject *)object)->watch;
    Py_BEGIN_ALLOW_THREADS;
    exl_watch_destroy(watch);
    Py_END_ALLOW_THREADS;
    type->tp_free(object);
    Py_DECREF(type);
}

static exl_watch_t *watch_of(PyObject *object)
{
    return ((WatchObject *)object)->watch;
}

static PyObject *done(int rc)
{
    if (rc < 0)
        return exl_raise(rc, NULL);
    Py_RETURN_NONE;
}

static PyObject *watch_add_file(PyObject *self, PyObject *args)
{
    unsigned long long id;
    PyObject *path;
    if (!PyArg_ParseTuple(args, "KO&", &id, PyUnicode_FSConverter, &path))
        return NULL;
    int rc = exl_watch_add_file(watch_of(self), id, PyBytes_AS_STRING(path));
    Py_DECREF(path);
    return done(rc);
}

static PyObject *watch_add_process(PyObject *self, PyObject *args)
{
    unsigned long long id;
    int pid;
    if (!PyArg_ParseTuple(args, "Ki", &id, &pid))
        return NULL;
    int rc = exl_watch_add_process(watch_of(self), id, pid);
    if (rc == -ESRCH)
        Py_RETURN_FALSE;
    return rc < 0 ? exl_raise(rc, NULL) : Py_NewRef(Py_True);
}

static PyObject *watch_remove(PyObject *self, PyObject *id)
{
    unsigned long long number = PyLong_AsUnsignedLongLong(id);
    if (PyErr_Occurred())
        return NULL;
    exl_watch_remove(watch_of(self), number);
    Py_RETURN_NONE;
}

static PyObject *watch_wake(PyObject *self, PyObject *unused)
{
    (void)unused;
    exl_watch_wake(watch_of(self));
    Py_RETURN_NONE;
}

static PyObject *event_tuple(const exl_watch_event_t *event)
{
    if (event->kind == EXL_WATCH_FILE)
        return Py_BuildValue("(KsO)", (unsigned long long)event->id, "file", Py_None);
    if (event->status == EXL_WATCH_UNKNOWN_STATUS)
        return Py_BuildValue("(KsO)", (unsigned long long)event->id, "exit", Py_None);
    return Py_BuildValue("(Ksi)", (unsigned long long)event->id, "exit", event->status);
}

static PyObject *watch_next(PyObject *self, PyObject *args)
{
    enum { AT_ONCE = 64 };
    exl_watch_event_t events[AT_ONCE];
    int timeout_ms = -1, count;
    if (!PyArg_ParseTuple(args, "|i", &timeout_ms))
        return NULL;
    exl_watch_t *watch = watch_of(self);
    Py_BEGIN_ALLOW_THREADS;
    count = exl_watch_next(watch, events, AT_ONCE, timeout_ms);
    Py_END_ALLOW_THREADS;
    PyObject *list = PyList_New(count);
    for (int i = 0; list && i < count; i++) {
        PyObject *tuple = event_tuple(&events[i]);
        if (!tuple)
            Py_CLEAR(list);
        else
            PyList_SET_ITEM(list, i, tuple);
    }
    return list;
}

static PyMethodDef watch_methods[] = {
    {"add_file", watch_add_file, METH_VARARGS, "add_file($self, id, path)\n--\n\nTells once when the file is there."},
    {"add_process", watch_add_process, METH_VARARGS,
     "add_process($self, id, pid)\n--\n\nTells once when the process ends; False if there is none."},
    {"remove", watch_remove, METH_O, "Awaits the file of this id no longer."},
    {"wake", watch_wake, METH_NOARGS, "Makes next() return."},
    {"next", watch_next, METH_VARARGS,
     "next($self, timeout_ms=-1)\n--\n\n"
     "Waits for events (id, \"file\" or \"exit\", status as from waitpid() or None); one thread at a time."},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot watch_slots[] = {
    {Py_tp_new, watch_new},
    {Py_tp_dealloc, watch_dealloc},
    {Py_tp_methods, watch_methods},
    {Py_tp_doc, "Tells when awaited files appear and when processes end."},
    {0, NULL},
};

static PyType_Spec watch_spec = {
    .name = "executorlib._core.Watch",
    .basicsize = sizeof(WatchObject),
    .flags = Py_TPFLAGS_DEFAULT,
    .slots = watch_slots,
};

PyObject *exl_watch_type(PyObject *module)
{
    return PyType_FromModuleAndSpec(module, &watch_spec, NULL);
}

/* ---- jobs and claims ---- */

static PyObject *claim_tuple(const exl_claim_t *claim, exl_holder_t holder)
{
    static const char *const names[] = {"gone", "lives", "elsewhere"};
    return Py_BuildValue("(Iiss)", claim->generation, (int)claim->pid, claim->host, names[holder]);
}

PyObject *exl_read_claim(PyObject *module, PyObject *folder)
{
    (void)module;
    PyObject *path;
    exl_claim_t claim;
    exl_holder_t holder = EXL_HOLDER_GONE;
    int rc;
    if (!PyUnicode_FSConverter(folder, &path))
        return NULL;
    Py_BEGIN_ALLOW_THREADS;
    rc = exl_claim_read(PyBytes_AS_STRING(path), &claim);
    if (rc == 0)
        holder = exl_claim_holder(&claim);
    Py_END_ALLOW_THREADS;
    Py_DECREF(path);
    if (rc == -ENOENT)
        Py_RETURN_NONE;
    return rc < 0 ? exl_raise(rc, PyUnicode_AsUTF8(folder)) : claim_tuple(&claim, holder);
}

PyObject *exl_take_claim(PyObject *module, PyObject *folder)
{
    (void)module;
    PyObject *path;
    exl_claim_t claim;
    int rc;
    if (!PyUnicode_FSConverter(folder, &path))
        return NULL;
    Py_BEGIN_ALLOW_THREADS;
    rc = exl_claim_take(PyBytes_AS_STRING(path), &claim);
    Py_END_ALLOW_THREADS;
    Py_DECREF(path);
    if (rc == -EBUSY)
        Py_RETURN_NONE;
    return rc < 0 ? exl_raise(rc, PyUnicode_AsUTF8(folder)) : PyLong_FromUnsignedLong(claim.generation);
}

PyObject *exl_release_claim(PyObject *module, PyObject *args)
{
    (void)module;
    PyObject *path;
    unsigned generation;
    if (!PyArg_ParseTuple(args, "O&I", PyUnicode_FSConverter, &path, &generation))
        return NULL;
    Py_BEGIN_ALLOW_THREADS;
    exl_claim_release(PyBytes_AS_STRING(path), generation);
    Py_END_ALLOW_THREADS;
    Py_DECREF(path);
    Py_RETURN_NONE;
}

/* Both arrays own what they point at; the caller's sequences must stay. */
static char **texts_of(PyObject *sequence)
{
    Py_ssize_t count = PySequence_Fast_GET_SIZE(sequence);
    char **texts = PyMem_Calloc((size_t)count + 1, sizeof *texts);
    if (!texts)
        PyErr_NoMemory();
    for (Py_ssize_t i = 0; texts && i < count; i++) {
        texts[i] = PyBytes_AsString(PySequence_Fast_GET_ITEM(sequence, i));
        if (!texts[i]) {
            PyMem_Free(texts);
            return NULL;
        }
    }
    return texts;
}

PyObject *exl_start_job(PyObject *module, PyObject *args)
{
    (void)module;
    PyObject *argv, *environment;
    exl_job_t job = {0};
    exl_error_t err = {""};
    pid_t pid = 0;
    if (!PyArg_ParseTuple(args, "O!O!yzz", &PyList_Type, &argv, &PyList_Type, &environment, &job.folder, &job.out,
                          &job.err))
        return NULL;
    char **arguments = texts_of(argv), **variables = arguments ? texts_of(environment) : NULL;
    int rc = -ENOMEM;
    if (variables && PyList_GET_SIZE(argv) > 0) {
        job.argv = arguments;
        job.envp = variables;
        Py_BEGIN_ALLOW_THREADS;
        rc = exl_job_start(&job, &pid, &err);
        Py_END_ALLOW_THREADS;
    }
    PyMem_Free(arguments);
    PyMem_Free(variables);
    if (PyErr_Occurred())
        return NULL;
    if (rc < 0) {
        PyObject *error = Py_BuildValue("(is)", -rc, err.text);
        PyErr_SetObject(PyExc_OSError, error);
        Py_XDECREF(error);
        return NULL;
    }
    return PyLong_FromLong(pid);
}
