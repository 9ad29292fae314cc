/* agents.c: methods of a pool whose calls are run by agents. */
#include "agents.h"

#include "base/clock.h"
#include "engine/fleet.h"
#include "engine/renewal.h"
#include "pool.h"

int exl_agents_parse(PyObject *tuple, exl_fleet_config_t *fleet)
{
    Py_ssize_t key_size;
    int renewed = 0;
    if (!tuple || tuple == Py_None)
        return 0;
    if (!PyTuple_Check(tuple)) {
        PyErr_SetString(PyExc_TypeError, "fleet must be a tuple");
        return -1;
    }
    if (!PyArg_ParseTuple(tuple, "ssy#IIIp:fleet", &fleet->address, &fleet->name, &fleet->key, &key_size,
                          &fleet->agents, &fleet->depth, &fleet->grace_ms, &renewed))
        return -1;
    fleet->renewed = renewed;
    if (key_size == EXL_TLS_KEY_SIZE && fleet->agents && fleet->depth)
        return 1;
    PyErr_Format(PyExc_ValueError, "a fleet needs a key of %d bytes, agents, and a depth", EXL_TLS_KEY_SIZE);
    return -1;
}

enum { MOST_AGENTS = 65536 };

/* An array for each agent: its ids, and how many. */
static int ids_of(PyObject *list, const uint32_t **ids, uint32_t *nids)
{
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(list); i++) {
        char *bytes;
        Py_ssize_t size;
        if (PyBytes_AsStringAndSize(PyList_GET_ITEM(list, i), &bytes, &size) < 0)
            return -1;
        ids[i] = (const uint32_t *)(const void *)bytes;
        nids[i] = (uint32_t)((size_t)size / sizeof **ids);
    }
    return 0;
}

PyObject *exl_agents_resize(PyObject *object, PyObject *list)
{
    exl_pool_object_t *self = (exl_pool_object_t *)object;
    if (!PyList_Check(list) || PyList_GET_SIZE(list) > MOST_AGENTS)
        return PyErr_Format(PyExc_TypeError, "expected a list, of an item for each agent");
    if (exl_pool_check_open(self) < 0)
        return NULL;
    size_t count = (size_t)PyList_GET_SIZE(list);
    const uint32_t **ids = PyMem_Calloc(count + 1, sizeof *ids);
    uint32_t *nids = PyMem_Calloc(count + 1, sizeof *nids);
    int rc = 0;
    if (!ids || !nids)
        PyErr_NoMemory();
    else if (ids_of(list, ids, nids) == 0 && (rc = exl_fleet_resize(self->pool, ids, nids, (uint32_t)count)) < 0)
        exl_raise(rc, NULL);
    PyMem_Free(ids);
    PyMem_Free(nids);
    if (PyErr_Occurred())
        return NULL;
    Py_RETURN_NONE;
}

PyObject *exl_agents_launch(PyObject *object, PyObject *args)
{
    exl_pool_object_t *self = (exl_pool_object_t *)object;
    PyObject *argv, *envp;
    const char *handover;
    exl_error_t err = {""};
    if (!PyArg_ParseTuple(args, "O!O!z:launch", &PyList_Type, &argv, &PyList_Type, &envp, &handover) ||
        exl_pool_check_open(self) < 0)
        return NULL;
    const char **arguments = exl_strings_of(argv);
    const char **environment = arguments ? exl_strings_of(envp) : NULL;
    int rc = -1;
    if (environment) {
        Py_BEGIN_ALLOW_THREADS rc = exl_fleet_launch(self->pool, arguments, environment, handover, &err);
        Py_END_ALLOW_THREADS if (rc < 0) exl_raise(rc, err.text);
    }
    PyMem_Free(arguments);
    PyMem_Free(environment);
    if (rc < 0)
        return NULL;
    Py_RETURN_NONE;
}

/* ---- agents that are renewed ---- */

PyObject *exl_agents_expect(PyObject *object, PyObject *args)
{
    exl_pool_object_t *self = (exl_pool_object_t *)object;
    unsigned index;
    if (!PyArg_ParseTuple(args, "I:expect_agent", &index) || exl_pool_check_made(self) < 0)
        return NULL;
    return exl_none_or_raise(exl_renewal_expect(self->pool, index));
}

PyObject *exl_agents_dismiss(PyObject *object, PyObject *args)
{
    exl_pool_object_t *self = (exl_pool_object_t *)object;
    unsigned index;
    if (!PyArg_ParseTuple(args, "I:dismiss_agent", &index) || exl_pool_check_made(self) < 0)
        return NULL;
    return exl_none_or_raise(exl_renewal_dismiss(self->pool, index));
}

/* As a worker would send it: bytes of (exception, text of its traceback); None is NULL. */
static int exception_of(PyObject *object, exl_payload_t **ret_payload)
{
    exl_segment_t body;
    char *bytes;
    Py_ssize_t size;
    *ret_payload = NULL;
    if (object == Py_None)
        return 0;
    if (PyBytes_AsStringAndSize(object, &bytes, &size) < 0)
        return -1;
    body = (exl_segment_t){bytes, (size_t)size};
    int rc = exl_payload_create(&body, 1, NULL, 0, NULL, NULL, ret_payload);
    if (rc == 0)
        rc = exl_payload_seal(*ret_payload);
    if (rc < 0)
        (void)exl_raise(rc, NULL);
    return rc;
}

PyObject *exl_agents_bury(PyObject *object, PyObject *args)
{
    exl_pool_object_t *self = (exl_pool_object_t *)object;
    PyObject *exception;
    exl_payload_t *payload;
    unsigned index;
    if (!PyArg_ParseTuple(args, "IO:bury_agent", &index, &exception) || exl_pool_check_made(self) < 0 ||
        exception_of(exception, &payload) < 0)
        return NULL;
    int rc = exl_renewal_bury(self->pool, index, payload);
    exl_payload_unref(payload);
    return exl_none_or_raise(rc);
}

PyObject *exl_agents_fail_waiting(PyObject *object, PyObject *exception)
{
    exl_pool_object_t *self = (exl_pool_object_t *)object;
    exl_payload_t *payload;
    if (exl_pool_check_made(self) < 0 || exception_of(exception, &payload) < 0)
        return NULL;
    int rc = exl_renewal_fail(self->pool, payload);
    exl_payload_unref(payload);
    return exl_none_or_raise(rc);
}

PyObject *exl_agents_watch(PyObject *object, PyObject *args)
{
    exl_pool_object_t *self = (exl_pool_object_t *)object;
    unsigned seen;
    double seconds;
    char *states;
    uint32_t agents = 0;
    bool wanted = false;
    int rc;
    if (!PyArg_ParseTuple(args, "Id:watch_agents", &seen, &seconds) || exl_pool_check_made(self) < 0)
        return NULL;
    if (!(states = PyMem_Malloc(MOST_AGENTS)))
        return PyErr_NoMemory();
    int64_t deadline_ns = seconds < 0 ? -1 : exl_clock_ns() + (int64_t)(seconds * 1e9);
    Py_BEGIN_ALLOW_THREADS rc =
        exl_renewal_watch(self->pool, &seen, deadline_ns, states, MOST_AGENTS, &agents, &wanted);
    Py_END_ALLOW_THREADS PyObject *found = NULL;
    if (rc == 0)
        found = Py_BuildValue("Iy#N", seen, states, (Py_ssize_t)(agents < MOST_AGENTS ? agents : MOST_AGENTS),
                              PyBool_FromLong(wanted));
    else if (rc == EXL_ECLOSED || rc == EXL_EFORKED)
        found = Py_NewRef(Py_None);
    else
        (void)exl_raise(rc, NULL);
    PyMem_Free(states);
    return found;
}

PyObject *exl_agents_port(PyObject *object, void *closure)
{
    (void)closure;
    exl_pool_object_t *self = (exl_pool_object_t *)object;
    return PyLong_FromLong(self->pool ? exl_fleet_port(self->pool) : 0);
}

PyObject *exl_agents_count(PyObject *object, void *closure)
{
    (void)closure;
    exl_pool_object_t *self = (exl_pool_object_t *)object;
    return PyLong_FromUnsignedLong(self->pool ? exl_fleet_agents(self->pool) : 0);
}
