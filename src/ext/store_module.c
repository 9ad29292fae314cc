/* store_module.c: executorlib._store, the result files of core/store for Python.
 *
 * A module of its own, since loading HDF5 takes longer than starting a worker. */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <errno.h>
#include <string.h>

#include "store/result_file.h"

PyMODINIT_FUNC PyInit__store(void);

/* ---- errors ---- */

/* An OSError with the name of the file. What is wrong with the file itself has a class of its own in the package, which is
 * imported now: a worker has not. */
static void raise_for(int code, const exl_error_t *err, PyObject *path)
{
    if (code == -ENOMEM) {
        (void)PyErr_NoMemory();
        return;
    }
    bool ours = code == EXL_EFILE;
    const char *text = code < 0 && code > EXL_ERROR_BASE && code != -EIO ? exl_strerror(code)
                       : *err->text                                      ? err->text
                                                                         : exl_strerror(code);
    PyObject *module = ours ? PyImport_ImportModule("executorlib._errors") : NULL;
    PyObject *type = module ? PyObject_GetAttrString(module, "CacheFileError") : Py_NewRef(PyExc_OSError);
    PyErr_Clear();
    PyObject *message = PyUnicode_FromFormat(ours ? "not a readable result file: %s" : "%s", text);
    PyObject *error = message ? PyObject_CallFunction(type, "iOO", ours ? EBADMSG : -code, message, path) : NULL;
    if (error)
        PyErr_SetObject((PyObject *)Py_TYPE(error), error);
    Py_XDECREF(error);
    Py_XDECREF(message);
    Py_XDECREF(type);
    Py_XDECREF(module);
}

/* ---- reading ---- */

static exl_result_file_t *open_file(PyObject *path)
{
    PyObject *encoded;
    exl_error_t err = {""};
    exl_result_file_t *file = NULL;
    int rc;
    if (!PyUnicode_FSConverter(path, &encoded))
        return NULL;
    Py_BEGIN_ALLOW_THREADS;
    rc = exl_result_file_open(PyBytes_AS_STRING(encoded), &file, &err);
    Py_END_ALLOW_THREADS;
    Py_DECREF(encoded);
    if (rc < 0)
        raise_for(rc, &err, path);
    return file;
}

static void close_file(exl_result_file_t *file)
{
    Py_BEGIN_ALLOW_THREADS;
    exl_result_file_close(file);
    Py_END_ALLOW_THREADS;
}

/* 0 too if there is no such field. */
static int read_field(exl_result_file_t *file, PyObject *path, PyObject *name, PyObject *fields)
{
    size_t size = 0;
    exl_error_t err = {""};
    int rc;
    PyObject *encoded = PyUnicode_AsEncodedString(name, "utf-8", "surrogateescape");
    if (!encoded)
        return -1;
    const char *text = PyBytes_AS_STRING(encoded);
    Py_BEGIN_ALLOW_THREADS;
    rc = exl_result_file_find(file, text, &size, &err);
    Py_END_ALLOW_THREADS;
    Py_DECREF(encoded);
    if (rc == 0)
        return 0;
    PyObject *bytes = rc > 0 ? PyBytes_FromStringAndSize(NULL, (Py_ssize_t)size) : NULL;
    if (bytes) {
        char *to = PyBytes_AS_STRING(bytes);
        Py_BEGIN_ALLOW_THREADS;
        rc = exl_result_file_read(file, to, &err);
        Py_END_ALLOW_THREADS;
    }
    if (rc < 0)
        raise_for(rc, &err, path);
    rc = rc < 0 || !bytes ? -1 : PyDict_SetItem(fields, name, bytes);
    Py_XDECREF(bytes);
    return rc;
}

static PyObject *list_names(exl_result_file_t *file)
{
    size_t count = exl_result_file_count(file);
    PyObject *names = PyList_New((Py_ssize_t)count);
    for (size_t i = 0; names && i < count; i++) {
        const char *text = exl_result_file_name(file, i);
        PyObject *name = PyUnicode_DecodeUTF8(text, (Py_ssize_t)strlen(text), "surrogateescape");
        if (name)
            PyList_SET_ITEM(names, (Py_ssize_t)i, name);
        else
            Py_CLEAR(names);
    }
    return names;
}

static PyObject *read_fields(PyObject *module, PyObject *args, PyObject *kwargs)
{
    static char *keywords[] = {"path", "names", NULL};
    PyObject *path, *asked = Py_None;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O|O:read", keywords, &path, &asked))
        return NULL;
    exl_result_file_t *file = open_file(path);
    if (!file)
        return NULL;
    PyObject *names = asked == Py_None ? list_names(file) : PySequence_Fast(asked, "names must be a sequence");
    PyObject *fields = names ? PyDict_New() : NULL;
    for (Py_ssize_t i = 0; fields && i < PySequence_Fast_GET_SIZE(names); i++)
        if (read_field(file, path, PySequence_Fast_GET_ITEM(names, i), fields) < 0)
            Py_CLEAR(fields);
    Py_XDECREF(names);
    close_file(file);
    return fields;
}

static PyObject *names_of(PyObject *module, PyObject *path)
{
    exl_result_file_t *file = open_file(path);
    if (!file)
        return NULL;
    PyObject *names = list_names(file);
    close_file(file);
    return names;
}

/* ---- writing ---- */

typedef struct call {
    exl_field_t *fields;
    struct iovec *pieces;
    Py_buffer *buffers;
    Py_ssize_t nfields, nbuffers;
} call_t;

static bool is_pieces(PyObject *value)
{
    return PyList_CheckExact(value) || PyTuple_CheckExact(value);
}

static int add_piece(call_t *call, PyObject *object)
{
    Py_buffer *buffer = &call->buffers[call->nbuffers];
    if (PyObject_GetBuffer(object, buffer, PyBUF_SIMPLE) < 0)
        return -1;
    call->pieces[call->nbuffers++] = (struct iovec){buffer->buf, (size_t)buffer->len};
    return 0;
}

static int add_value(call_t *call, PyObject *name, PyObject *value)
{
    exl_field_t *field = &call->fields[call->nfields++];
    Py_ssize_t first = call->nbuffers;
    if (!(field->name = PyUnicode_AsUTF8(name)))
        return -1;
    field->pieces = &call->pieces[first];
    if (!is_pieces(value) && add_piece(call, value) < 0)
        return -1;
    for (Py_ssize_t i = 0; is_pieces(value) && i < PySequence_Fast_GET_SIZE(value); i++)
        if (add_piece(call, PySequence_Fast_GET_ITEM(value, i)) < 0)
            return -1;
    field->npieces = (size_t)(call->nbuffers - first);
    return 0;
}

static void call_fini(call_t *call)
{
    for (Py_ssize_t i = 0; i < call->nbuffers; i++)
        PyBuffer_Release(&call->buffers[i]);
    PyMem_Free(call->fields);
    PyMem_Free(call->pieces);
    PyMem_Free(call->buffers);
}

static int call_init(call_t *call, PyObject *dict)
{
    PyObject *name, *value;
    Py_ssize_t at = 0, nfields = PyDict_GET_SIZE(dict), npieces = 0;
    while (PyDict_Next(dict, &at, &name, &value))
        npieces += is_pieces(value) ? PySequence_Fast_GET_SIZE(value) : 1;
    *call = (call_t){.fields = PyMem_New(exl_field_t, nfields + 1),
                     .pieces = PyMem_New(struct iovec, npieces + 1),
                     .buffers = PyMem_New(Py_buffer, npieces + 1)};
    if (!call->fields || !call->pieces || !call->buffers) {
        (void)PyErr_NoMemory();
        return -1;
    }
    for (at = 0; PyDict_Next(dict, &at, &name, &value);)
        if (add_value(call, name, value) < 0)
            return -1;
    return 0;
}

static PyObject *write_fields(PyObject *module, PyObject *args, PyObject *kwargs)
{
    static char *keywords[] = {"path", "fields", "compress", "sync", NULL};
    PyObject *path, *dict, *encoded = NULL;
    int compress = 0, sync = 1, rc = -1;
    exl_error_t err = {""};
    call_t call;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OO!|pp:write", keywords, &path, &PyDict_Type, &dict, &compress,
                                     &sync))
        return NULL;
    if (call_init(&call, dict) == 0 && PyUnicode_FSConverter(path, &encoded)) {
        unsigned flags = (compress ? EXL_RESULT_FILE_COMPRESS : 0U) | (sync ? EXL_RESULT_FILE_SYNC : 0U);
        Py_BEGIN_ALLOW_THREADS;
        rc = exl_result_file_write(PyBytes_AS_STRING(encoded), call.fields, (size_t)call.nfields, flags, &err);
        Py_END_ALLOW_THREADS;
        if (rc < 0)
            raise_for(rc, &err, path);
    }
    Py_XDECREF(encoded);
    call_fini(&call);
    if (rc < 0)
        return NULL;
    Py_RETURN_NONE;
}

/* ---- module ---- */

static PyMethodDef module_methods[] = {
    {"read", (PyCFunction)(void (*)(void))read_fields, METH_VARARGS | METH_KEYWORDS,
     "read(path, names=None): the fields that are there, of those asked for; None asks for all."},
    {"names", names_of, METH_O, "names(path): the names of the fields."},
    {"write", (PyCFunction)(void (*)(void))write_fields, METH_VARARGS | METH_KEYWORDS,
     "write(path, fields, compress=False, sync=True): replaces the file in one step."},
    {NULL, NULL, 0, NULL},
};

static PyModuleDef_Slot module_slots[] = {
    {0, NULL},
};

static struct PyModuleDef store_module = {
    PyModuleDef_HEAD_INIT, .m_name = "executorlib._store", .m_doc = "Result files.",
    .m_size = 0,           .m_methods = module_methods,    .m_slots = module_slots,
};

PyMODINIT_FUNC PyInit__store(void)
{
    return PyModuleDef_Init(&store_module);
}
