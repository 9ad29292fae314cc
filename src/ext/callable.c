/* callable.c: see callable.h. No exception is left by anything here: what cannot be found out is not there. */
#include "callable.h"

/* A function that sets variables may do so for the sake of an import: it must not find the module imported already. */
static bool touches_environment(PyCodeObject *code)
{
    static const char *const telling[] = {"environ", "putenv", "unsetenv"};
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(code->co_names); i++)
        for (size_t k = 0; k < sizeof telling / sizeof *telling; k++)
            if (PyUnicode_CompareWithASCIIString(PyTuple_GET_ITEM(code->co_names, i), telling[k]) == 0)
                return true;
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(code->co_consts); i++) {
        PyObject *inner = PyTuple_GET_ITEM(code->co_consts, i);
        if (PyCode_Check(inner) && touches_environment((PyCodeObject *)inner))
            return true;
    }
    return false;
}

uint64_t exl_callable_import_key(exl_state_t *state, PyObject *callable)
{
    PyObject *module = PyObject_GetAttr(callable, state->str_module);
    PyObject *name = module ? PyObject_GetAttr(callable, state->str_qualname) : NULL;
    uint64_t key = 0;
    if (name && PyUnicode_Check(name) && PyUnicode_Check(module)) {
        key = (uint64_t)PyObject_Hash(name) * UINT64_C(1000003) ^ (uint64_t)PyObject_Hash(module);
        if (PyFunction_Check(callable)) {
            PyCodeObject *code = (PyCodeObject *)PyFunction_GET_CODE(callable);
            key = touches_environment(code) ? 0 : (key * UINT64_C(1000003) ^ (uint64_t)code->co_firstlineno) | 1;
        } else {
            key |= 1;
        }
    }
    Py_XDECREF(name);
    Py_XDECREF(module);
    PyErr_Clear();
    return key;
}

/* What a callable wraps: a partial's function, that of a map's batch. NULL without an error: nothing. */
static PyObject *wrapped_by(PyObject *callable)
{
    PyObject *inner = PyObject_GetAttrString(callable, "func");
    if (!inner) {
        PyErr_Clear();
        inner = PyObject_GetAttrString(callable, "function");
    }
    PyErr_Clear();
    return inner;
}

/* Modules that go without saying. */
static bool is_plain(PyObject *module)
{
    return PyUnicode_CompareWithASCIIString(module, "__main__") == 0 ||
           PyUnicode_CompareWithASCIIString(module, "builtins") == 0;
}

static PyObject *name_within(exl_state_t *state, PyObject *callable, exl_callable_name_t *last, int depth)
{
    PyObject *name = PyObject_GetAttr(callable, state->str_qualname);
    PyErr_Clear();
    PyObject *inner = name || depth == 0 ? NULL : wrapped_by(callable);
    if (inner) {
        name = name_within(state, inner, last, depth - 1);
        Py_DECREF(inner);
        return name;
    }
    if (!name)
        name = PyObject_GetAttr((PyObject *)Py_TYPE(callable), state->str_qualname);
    PyObject *module = name ? PyObject_GetAttr(callable, state->str_module) : NULL;
    if (module && PyUnicode_Check(module) && PyUnicode_Check(name) && !is_plain(module)) {
        if (name != last->qualname || module != last->module) {
            Py_XSETREF(last->name, PyUnicode_FromFormat("%U.%U", module, name));
            Py_XSETREF(last->qualname, Py_NewRef(name));
            Py_XSETREF(last->module, Py_NewRef(module));
        }
        Py_SETREF(name, Py_XNewRef(last->name));
    }
    Py_XDECREF(module);
    PyErr_Clear();
    return name;
}

PyObject *exl_callable_name(exl_state_t *state, PyObject *callable, exl_callable_name_t *last)
{
    enum { MAX_DEPTH = 8 };
    return name_within(state, callable, last, MAX_DEPTH);
}

void exl_callable_name_fini(exl_callable_name_t *name)
{
    Py_CLEAR(name->qualname);
    Py_CLEAR(name->module);
    Py_CLEAR(name->name);
}
