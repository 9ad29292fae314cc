/* functions.c: the table of shared functions, keyed by code object. See functions.h for what may be shared. */
#include "functions.h"

#include <string.h>

#include "task/shared.h"

/* A function as it was pickled. All references are owned, so that an equal pointer means the same object. */
typedef struct {
    PyObject *globals, *defaults, *annotations, *name, *qualname;
    Py_ssize_t nnames;
    PyObject **names, **values; /* the globals that it names; a NULL value was not there */
    bool in_module;             /* then cloudpickle may have taken it by name */
    exl_shared_t *shared;       /* NULL: cannot be shared, as long as it stays so */
} entry_t;

enum { MAX_DEPTH = 16, MAX_ENTRIES = 4096 };

static void entry_free(entry_t *entry)
{
    Py_XDECREF(entry->globals);
    Py_XDECREF(entry->defaults);
    Py_XDECREF(entry->annotations);
    Py_XDECREF(entry->name);
    Py_XDECREF(entry->qualname);
    for (Py_ssize_t i = 0; i < entry->nnames; i++) {
        Py_XDECREF(entry->names[i]);
        Py_XDECREF(entry->values[i]);
    }
    PyMem_Free(entry->names);
    PyMem_Free(entry->values);
    exl_shared_unref(entry->shared);
    PyMem_Free(entry);
}

static void capsule_destroy(PyObject *capsule)
{
    entry_free(PyCapsule_GetPointer(capsule, NULL));
}

/* ---- what does not change ---- */

/* Something that pickles by name, or a number or text. */
static bool is_constant(exl_state_t *state, PyObject *object, int depth)
{
    if (object == Py_None || PyLong_CheckExact(object) || PyFloat_CheckExact(object) || PyBool_Check(object) ||
        PyUnicode_CheckExact(object) || PyBytes_CheckExact(object) || PyComplex_CheckExact(object) ||
        PyModule_CheckExact(object) || PyCFunction_CheckExact(object))
        return true;
    if (PyFunction_Check(object) || PyType_Check(object))
        return !exl_needs_cloudpickle(state, object);
    if (strcmp(Py_TYPE(object)->tp_name, "numpy.ufunc") == 0)
        return true;
    if (!PyTuple_CheckExact(object) || depth > MAX_DEPTH)
        return false;
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(object); i++)
        if (!is_constant(state, PyTuple_GET_ITEM(object, i), depth + 1))
            return false;
    return true;
}

static int opcode_number(const char *name)
{
    PyObject *opcode = PyImport_ImportModule("opcode");
    PyObject *map = opcode ? PyObject_GetAttrString(opcode, "opmap") : NULL;
    PyObject *number = map ? PyMapping_GetItemString(map, name) : NULL;
    int value = number ? (int)PyLong_AsLong(number) : -1;
    Py_XDECREF(number);
    Py_XDECREF(map);
    Py_XDECREF(opcode);
    return value;
}

/* Code that stores globals would see, on a worker, what an earlier call has stored. */
static bool stores_globals(PyCodeObject *code, int depth)
{
    static int store = -2, delete = -2;
    if (store == -2) {
        store = opcode_number("STORE_GLOBAL");
        delete = opcode_number("DELETE_GLOBAL");
    }
    PyObject *bytes = PyObject_GetAttrString((PyObject *)code, "co_code");
    bool found = !bytes || store < 0 || delete < 0 || depth > MAX_DEPTH;
    for (Py_ssize_t i = 0; !found && i < PyBytes_GET_SIZE(bytes); i += 2) {
        unsigned char opcode = (unsigned char)PyBytes_AS_STRING(bytes)[i];
        found = opcode == store || opcode == delete;
    }
    Py_XDECREF(bytes);
    for (Py_ssize_t i = 0; !found && i < PyTuple_GET_SIZE(code->co_consts); i++) {
        PyObject *inner = PyTuple_GET_ITEM(code->co_consts, i);
        found = PyCode_Check(inner) && stores_globals((PyCodeObject *)inner, depth + 1);
    }
    PyErr_Clear();
    return found;
}

/* ---- entries ---- */

/* The names that the code and the code inside it mention, as a set. */
static int collect_names(PyCodeObject *code, PyObject *names, int depth)
{
    if (depth > MAX_DEPTH)
        return -1;
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(code->co_names); i++)
        if (PySet_Add(names, PyTuple_GET_ITEM(code->co_names, i)) < 0)
            return -1;
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(code->co_consts); i++) {
        PyObject *inner = PyTuple_GET_ITEM(code->co_consts, i);
        if (PyCode_Check(inner) && collect_names((PyCodeObject *)inner, names, depth + 1) < 0)
            return -1;
    }
    return 0;
}

static int note_globals(entry_t *entry, PyFunctionObject *function)
{
    PyObject *names = PySet_New(NULL);
    if (!names || collect_names((PyCodeObject *)function->func_code, names, 0) < 0) {
        Py_XDECREF(names);
        return -1;
    }
    Py_ssize_t count = PySet_GET_SIZE(names);
    entry->names = PyMem_Calloc((size_t)count + 1, sizeof *entry->names);
    entry->values = PyMem_Calloc((size_t)count + 1, sizeof *entry->values);
    PyObject *iterator = entry->names && entry->values ? PyObject_GetIter(names) : PyErr_NoMemory();
    for (PyObject *name; iterator && entry->nnames < count && (name = PyIter_Next(iterator)); entry->nnames++) {
        entry->names[entry->nnames] = name;
        entry->values[entry->nnames] = Py_XNewRef(PyDict_GetItemWithError(function->func_globals, name));
    }
    Py_XDECREF(iterator);
    Py_DECREF(names);
    return PyErr_Occurred() ? -1 : 0;
}

/* Whether its module has it under its name, as pickle checks each time. */
static bool is_in_module(const PyFunctionObject *function)
{
    PyObject *module =
        function->func_module ? PyDict_GetItemWithError(PyImport_GetModuleDict(), function->func_module) : NULL;
    PyObject *members = module && PyModule_CheckExact(module) ? PyModule_GetDict(module) : NULL;
    return members && PyDict_GetItemWithError(members, function->func_qualname) == (PyObject *)function;
}

/* Whether the function, and all that it names, is what it was. */
static bool is_current(const entry_t *entry, const PyFunctionObject *function)
{
    if (entry->globals != function->func_globals || entry->defaults != function->func_defaults ||
        entry->name != function->func_name || entry->qualname != function->func_qualname ||
        entry->annotations != function->func_annotations || entry->in_module != is_in_module(function) ||
        function->func_kwdefaults || function->func_closure ||
        (function->func_dict && PyDict_GET_SIZE(function->func_dict)))
        return false;
    for (Py_ssize_t i = 0; i < entry->nnames; i++)
        if (PyDict_GetItemWithError(entry->globals, entry->names[i]) != entry->values[i])
            return false;
    return true;
}

static bool may_be_shared(exl_state_t *state, const entry_t *entry, const PyFunctionObject *function)
{
    if (function->func_closure || function->func_kwdefaults ||
        (function->func_dict && PyDict_GET_SIZE(function->func_dict)) ||
        (function->func_defaults && !is_constant(state, function->func_defaults, 0)) ||
        stores_globals((PyCodeObject *)function->func_code, 0))
        return false;
    for (Py_ssize_t i = 0; i < entry->nnames; i++)
        if (entry->values[i] && !is_constant(state, entry->values[i], 0))
            return false;
    return true;
}

static exl_shared_t *pickle_function(exl_state_t *state, PyObject *object, bool by_value)
{
    exl_submission_t submission;
    exl_payload_t *payload = NULL;
    exl_shared_t *shared = NULL;
    exl_submission_init(&submission, state);
    submission.by_value = by_value;
    if (exl_submission_dump(&submission, object) == 0 && exl_submission_payload(&submission, &payload) == 0) {
        if (exl_payload_seal(payload) == 0)
            shared = exl_shared_create(payload);
        if (!shared)
            exl_payload_unref(payload);
    }
    exl_submission_fini(&submission);
    PyErr_Clear(); /* then it goes by value in the call's own pickle, which tells what is wrong */
    return shared;
}

static entry_t *entry_new(exl_state_t *state, PyFunctionObject *function)
{
    entry_t *entry = PyMem_Calloc(1, sizeof *entry);
    if (!entry)
        return NULL;
    entry->globals = Py_NewRef(function->func_globals);
    entry->defaults = Py_XNewRef(function->func_defaults);
    entry->annotations = Py_XNewRef(function->func_annotations);
    entry->name = Py_NewRef(function->func_name);
    entry->qualname = Py_NewRef(function->func_qualname);
    entry->in_module = is_in_module(function);
    if (note_globals(entry, function) < 0) {
        entry_free(entry);
        return NULL;
    }
    if (may_be_shared(state, entry, function))
        entry->shared = pickle_function(state, (PyObject *)function, true);
    return entry;
}

static PyObject *bounded(PyObject **table)
{
    if (!*table)
        *table = PyDict_New();
    /* Code that is made anew each time, as by exec(), must not fill the memory. */
    else if (PyDict_GET_SIZE(*table) >= MAX_ENTRIES)
        PyDict_Clear(*table);
    return *table;
}

/* The entry of a function as it is now, or NULL; no exception is left. */
static const entry_t *look_up(exl_state_t *state, PyObject *object)
{
    if (!PyFunction_Check(object))
        return NULL;
    PyFunctionObject *function = (PyFunctionObject *)object;
    PyObject *table = bounded(&state->functions);
    PyObject *capsule = table ? PyDict_GetItemWithError(table, function->func_code) : NULL;
    entry_t *entry = capsule ? PyCapsule_GetPointer(capsule, NULL) : NULL;
    if (entry && is_current(entry, function))
        return entry;
    /* A closure is never shared: not worth an entry, since its code is met with ever new cells. */
    entry = table && !function->func_closure ? entry_new(state, function) : NULL;
    capsule = entry ? PyCapsule_New(entry, NULL, capsule_destroy) : NULL;
    if (entry && !capsule)
        entry_free(entry);
    if (!capsule || PyDict_SetItem(table, function->func_code, capsule) < 0)
        entry = NULL;
    Py_XDECREF(capsule);
    PyErr_Clear();
    return entry;
}

bool exl_function_is_shared(exl_state_t *state, PyObject *object)
{
    const entry_t *entry = look_up(state, object);
    return entry && entry->shared;
}

PyObject *exl_function_reference(exl_submission_t *submission, PyObject *object)
{
    exl_state_t *state = submission->state;
    const entry_t *entry = look_up(state, object);
    if (!entry || !entry->shared || exl_submission_name(submission, entry->shared) < 0)
        return NULL;
    PyObject *module = PyType_GetModule(state->pool_type);
    return Py_BuildValue("(N(K))", PyObject_GetAttrString(module, "_function"), (unsigned long long)entry->shared->id);
}

/* ---- functions that import by name ---- */

static void shared_destroy(PyObject *capsule)
{
    exl_shared_unref(PyCapsule_GetPointer(capsule, NULL));
}

/* No exception is left. */
static exl_shared_t *named(exl_state_t *state, PyObject *function)
{
    PyObject *table = is_in_module((PyFunctionObject *)function) ? bounded(&state->named_functions) : NULL;
    PyObject *capsule = table ? PyDict_GetItemWithError(table, function) : NULL;
    PyErr_Clear();
    if (capsule || !table)
        return capsule ? PyCapsule_GetPointer(capsule, NULL) : NULL;
    exl_shared_t *shared = pickle_function(state, function, false);
    capsule = shared ? PyCapsule_New(shared, NULL, shared_destroy) : NULL;
    if (shared && !capsule)
        exl_shared_unref(shared);
    bool kept = capsule && PyDict_SetItem(table, function, capsule) == 0;
    Py_XDECREF(capsule);
    PyErr_Clear();
    return kept ? shared : NULL;
}

exl_shared_t *exl_function_shared(exl_state_t *state, PyObject *callable, bool *ret_by_value)
{
    *ret_by_value = exl_needs_cloudpickle(state, callable);
    if (!PyFunction_Check(callable))
        return NULL;
    if (!*ret_by_value)
        return named(state, callable);
    const entry_t *entry = look_up(state, callable);
    return entry ? entry->shared : NULL;
}
