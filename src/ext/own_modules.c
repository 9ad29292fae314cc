/* own_modules.c: import without the search. */
#include "own_modules.h"

#include <stdint.h>
#include <string.h>
#include <sys/stat.h>

/* As _own_modules.find() returns them. */
typedef struct {
    PyObject *name, *spec, *module, *code, *parent, *last, *stamps;
} own_module_t;

static PyObject *modules; /* list; NULL: none */

void exl_own_modules_find(exl_state_t *state, PyObject *names)
{
    PyObject *finder = PyObject_CallMethod(state->worker, "load_own", "s", "_own_modules");
    PyObject *found = finder ? PyObject_CallMethod(finder, "find", "(O)", names) : NULL;
    if (found && PyList_Check(found) && PyList_GET_SIZE(found))
        modules = Py_NewRef(found);
    Py_XDECREF(found);
    Py_XDECREF(finder);
    PyErr_Clear();
}

static bool parse(PyObject *tuple, own_module_t *ret)
{
    return PyArg_ParseTuple(tuple, "UOOOUUO!", &ret->name, &ret->spec, &ret->module, &ret->code, &ret->parent,
                            &ret->last, &PyTuple_Type, &ret->stamps);
}

static bool unchanged(PyObject *stamps)
{
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(stamps); i++) {
        const char *path;
        long long then_ns, now_ns = -1;
        struct stat place;
        if (!PyArg_ParseTuple(PyTuple_GET_ITEM(stamps, i), "yL", &path, &then_ns))
            return false;
        if (stat(path, &place) == 0)
            now_ns = (long long)place.st_mtim.tv_sec * 1000000000 + place.st_mtim.tv_nsec;
        if (now_ns != then_ns)
            return false;
    }
    return true;
}

/* As importlib does once it has the code. */
static int execute(const own_module_t *own)
{
    PyObject *all = PyImport_GetModuleDict();
    PyObject *namespace = PyModule_GetDict(own->module);
    if (PyDict_SetItemString(namespace, "__builtins__", PyEval_GetBuiltins()) < 0 ||
        PyObject_SetAttrString(own->spec, "_initializing", Py_True) < 0 ||
        PyDict_SetItem(all, own->name, own->module) < 0)
        return -1;
    PyObject *none = PyEval_EvalCode(own->code, namespace, namespace);
    if (!none) {
        PyObject *type, *value, *traceback;
        PyErr_Fetch(&type, &value, &traceback);
        if (PyDict_DelItem(all, own->name) < 0)
            PyErr_Clear();
        PyErr_Restore(type, value, traceback);
        return -1;
    }
    Py_DECREF(none);
    if (PyObject_SetAttrString(own->spec, "_initializing", Py_False) < 0)
        return -1;
    PyObject *parent = PyDict_GetItem(all, own->parent), *made = PyDict_GetItem(all, own->name);
    return parent && made ? PyObject_SetAttr(parent, own->last, made) : 0;
}

/* What is pickled by name has the name of its module in the pickle. */
static bool mentions(const void *pickle, size_t size, PyObject *name)
{
    Py_ssize_t length;
    const char *text = PyUnicode_AsUTF8AndSize(name, &length);
    return text && memmem(pickle, size, text, (size_t)length);
}

int exl_own_modules_execute(const void *pickle, size_t size)
{
    Py_ssize_t count = modules ? PyList_GET_SIZE(modules) : 0;
    own_module_t own;
    if (count && (!parse(PyList_GET_ITEM(modules, count - 1), &own) || !mentions(pickle, size, own.name)))
        count = 0;
    for (Py_ssize_t i = 0; i < count; i++) {
        if (!parse(PyList_GET_ITEM(modules, i), &own) || PyDict_Contains(PyImport_GetModuleDict(), own.name) ||
            !unchanged(own.stamps))
            break; /* the import system sees to the rest */
        if (execute(&own) < 0)
            return -1;
    }
    PyErr_Clear();
    return 0;
}
