/* arrays.c: see arrays.h. */
#include "arrays.h"

#include <string.h>

/* Larger arrays are not copied but sent out of band (pickling.c), and what NumPy takes for them is lost in the transfer. */
enum { SMALL = 32 * 1024 };

/* Whether `type` is numpy's `name`, which is remembered in `slot`: NumPy is never imported for the sake of asking. */
static bool is_numpy_type(PyObject **slot, PyTypeObject *type, const char *name)
{
    if (*slot)
        return *slot == (PyObject *)type;
    if (strncmp(type->tp_name, "numpy.", 6) != 0 || strcmp(type->tp_name + 6, name) != 0)
        return false;
    PyObject *numpy = PyDict_GetItemString(PyImport_GetModuleDict(), "numpy");
    PyObject *found = numpy ? PyObject_GetAttrString(numpy, name) : NULL;
    if (found == (PyObject *)type)
        *slot = Py_NewRef(found);
    Py_XDECREF(found);
    PyErr_Clear();
    return *slot != NULL;
}

/* The user's own way to pickle a class comes before NumPy's, and so before ours. */
static bool has_reducer(PyTypeObject *type)
{
    PyObject *copyreg = PyDict_GetItemString(PyImport_GetModuleDict(), "copyreg");
    PyObject *table = copyreg ? PyObject_GetAttrString(copyreg, "dispatch_table") : NULL;
    bool has = table && PyDict_Check(table) && PyDict_Contains(table, (PyObject *)type) != 0;
    Py_XDECREF(table);
    PyErr_Clear();
    return has;
}

static bool holds_objects(PyObject *dtype)
{
    PyObject *answer = PyObject_GetAttrString(dtype, "hasobject");
    bool holds = answer != Py_False;
    Py_XDECREF(answer);
    return holds;
}

/* A copy of the bytes of a contiguous, writable array; NULL for others, whose kind the constructor would not keep. */
static PyObject *bytes_of(PyObject *array)
{
    Py_buffer view;
    if (PyObject_GetBuffer(array, &view, PyBUF_C_CONTIGUOUS | PyBUF_WRITABLE) < 0)
        return NULL;
    PyObject *bytes = view.len > 0 && view.len < SMALL ? PyByteArray_FromStringAndSize(view.buf, view.len) : NULL;
    PyBuffer_Release(&view);
    return bytes;
}

static PyObject *reduce_array(exl_state_t *state, PyObject *array)
{
    PyObject *reduced = NULL, *bytes = NULL;
    PyObject *shape = PyObject_GetAttr(array, state->str_shape);
    PyObject *dtype = PyObject_GetAttr(array, state->str_dtype);
    if (shape && dtype && !holds_objects(dtype) && (bytes = bytes_of(array)))
        reduced = Py_BuildValue("O(OOO)", state->ndarray, shape, dtype, bytes);
    Py_XDECREF(bytes);
    Py_XDECREF(dtype);
    Py_XDECREF(shape);
    if (!reduced)
        PyErr_Clear();
    return reduced;
}

PyObject *exl_array_reduce(exl_state_t *state, PyObject *object)
{
    PyTypeObject *type = Py_TYPE(object);
    bool array = is_numpy_type(&state->ndarray, type, "ndarray");
    if ((!array && !is_numpy_type(&state->float64, type, "float64")) || has_reducer(type))
        return NULL;
    return array ? reduce_array(state, object) : Py_BuildValue("O(d)", state->float64, PyFloat_AsDouble(object));
}
