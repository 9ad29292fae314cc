/* finish.c: in C, since each function of Python's that a process runs for the first time copies a few pages of the zygote. */
#include "finish.h"

#include <stdbool.h>

static void flush_stream(const char *name)
{
    PyObject *stream = PySys_GetObject(name);
    if (!stream || stream == Py_None)
        return;
    PyObject *none = PyObject_CallMethod(stream, "flush", NULL);
    if (!none)
        PyErr_Clear();
    Py_XDECREF(none);
}

void exl_flush_output(void)
{
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    flush_stream("stdout");
    flush_stream("stderr");
    PyErr_Restore(type, value, traceback);
}

/* Calls module.function(), if the module has been imported. -1 with an exception set. */
static int call_if_imported(const char *name, const char *function)
{
    PyObject *module = PyDict_GetItemString(PyImport_GetModuleDict(), name);
    PyObject *result = module ? PyObject_CallMethod(module, function, NULL) : Py_NewRef(Py_None);
    Py_XDECREF(result);
    return result ? 0 : -1;
}

/* Those who have told nobody that they are closed are open. */
static bool is_closed(PyObject *file)
{
    PyObject *closed = PyObject_GetAttrString(file, "closed");
    bool is = closed && PyObject_IsTrue(closed) == 1;
    Py_XDECREF(closed);
    return is;
}

static void flush_file(PyObject *file)
{
    if (!is_closed(file)) {
        PyObject *none = PyObject_CallMethod(file, "flush", NULL);
        Py_XDECREF(none);
    }
    PyErr_Clear();
}

/* Writes out what open files still hold: the interpreter would close them as it goes. What was there before the fork is
 * frozen and not listed, so few objects are looked at. */
static void flush_files(void)
{
    static const char *const names[] = {"TextIOWrapper", "BufferedWriter", "BufferedRandom"};
    enum { WRITERS = sizeof names / sizeof names[0] };
    PyObject *writers[WRITERS];
    PyObject *io = PyDict_GetItemString(PyImport_GetModuleDict(), "_io");
    PyObject *gc = PyImport_ImportModule("gc");
    PyObject *things = gc ? PyObject_CallMethod(gc, "get_objects", NULL) : NULL;
    for (int i = 0; i < WRITERS; i++)
        writers[i] = io ? PyObject_GetAttrString(io, names[i]) : NULL;
    exl_flush_output();
    for (Py_ssize_t i = 0; things && i < PyList_GET_SIZE(things); i++) {
        PyObject *thing = PyList_GET_ITEM(things, i);
        for (int k = 0; k < WRITERS; k++)
            if (writers[k] && PyObject_TypeCheck(thing, (PyTypeObject *)writers[k]))
                flush_file(thing);
    }
    PyErr_Clear();
}

int exl_finish(void)
{
    if (call_if_imported("threading", "_shutdown") < 0 || call_if_imported("atexit", "_run_exitfuncs") < 0)
        return -1;
    flush_files();
    bool has_mpi = PyDict_GetItemString(PyImport_GetModuleDict(), "mpi4py.MPI");
    return has_mpi ? call_if_imported("executorlib._worker", "end_mpi") : 0;
}

PyObject *exl_finish_process(PyObject *module, PyObject *unused)
{
    (void)module;
    (void)unused;
    if (exl_finish() < 0)
        return NULL;
    Py_RETURN_NONE;
}
