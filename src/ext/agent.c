/* agent.c: executorlib._core.serve(), the life of an agent, and the TLS library that it and its driver need. */
#include "agent/agent.h"

#include <string.h>

#include "state.h"
#include "wire/tls.h"

enum { MOST_ADDRESSES = 32 };

/* From executorlib._tls, which stays loaded. */
PyObject *exl_provide_tls(PyObject *module, PyObject *capsule)
{
    (void)module;
    const exl_tls_api_t *api = PyCapsule_GetPointer(capsule, "executorlib._tls.api");
    if (!api)
        return NULL;
    exl_tls_provide(api);
    Py_RETURN_NONE;
}

static int addresses_of(PyObject *list, const char *addresses[MOST_ADDRESSES + 1])
{
    Py_ssize_t count = PyList_GET_SIZE(list);
    if (count > MOST_ADDRESSES)
        count = MOST_ADDRESSES;
    for (Py_ssize_t i = 0; i < count; i++)
        if (!(addresses[i] = PyUnicode_AsUTF8(PyList_GET_ITEM(list, i))))
            return -1;
    addresses[count] = NULL;
    return 0;
}

/* Until the agent is over; signal handlers run meanwhile, and one that raises leaves the agent to the end of the process. */
static int wait_over(exl_agent_t *agent, exl_error_t *err)
{
    for (;;) {
        int rc;
        if (PyErr_CheckSignals() < 0) /* also of those that came before the wait, which they do not end */
            return EXL_EINTERRUPTED;
        Py_BEGIN_ALLOW_THREADS rc = exl_agent_wait(agent, err);
        Py_END_ALLOW_THREADS if (rc != EXL_EINTERRUPTED) return rc;
    }
}

PyObject *exl_serve(PyObject *module, PyObject *args, PyObject *keywords)
{
    static char *names[] = {"pool",  "addresses", "port", "name",      "key",  "index", "grace_ms",
                            "cores", "calls",     "gpus", "all_cores", "node", NULL};
    const char *addresses[MOST_ADDRESSES + 1];
    exl_agent_config_t config = {.addresses = addresses};
    exl_agent_t *agent = NULL;
    exl_error_t err = {""};
    PyObject *pool, *list;
    Py_ssize_t key_size;
    (void)module;
    if (!PyArg_ParseTupleAndKeywords(args, keywords, "OO!$Hsy#IIIIIIz:serve", names, &pool, &PyList_Type, &list,
                                     &config.port, &config.name, &config.key, &key_size, &config.index,
                                     &config.grace_ms, &config.cores, &config.calls, &config.gpus, &config.all_cores,
                                     &config.node) ||
        !(config.pool = exl_pool_of(pool)) || addresses_of(list, addresses) < 0)
        return NULL;
    if (key_size != EXL_TLS_KEY_SIZE)
        return PyErr_Format(PyExc_ValueError, "a key has %d bytes", EXL_TLS_KEY_SIZE);
    int rc;
    Py_BEGIN_ALLOW_THREADS rc = exl_agent_start(&config, &agent, &err);
    Py_END_ALLOW_THREADS if (rc < 0) return exl_raise(rc, err.text);
    rc = wait_over(agent, &err);
    if (rc == EXL_EINTERRUPTED)
        return NULL;
    /* Its calls may still run: then the process is about to end, and what they started with it. */
    if (rc == 0) {
        Py_BEGIN_ALLOW_THREADS exl_agent_destroy(agent);
        Py_END_ALLOW_THREADS
    }
    return PyUnicode_FromString(rc == 0 ? "" : err.text);
}
