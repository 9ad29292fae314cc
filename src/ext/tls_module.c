/* tls_module.c: executorlib._tls, which brings OpenSSL to executorlib._core (wire/tls.h says why it is apart). */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "wire/tls_openssl.h"

PyMODINIT_FUNC PyInit__tls(void);

static int execute(PyObject *module)
{
    PyObject *api = PyCapsule_New((void *)&exl_tls_openssl, "executorlib._tls.api", NULL);
    int rc = api ? PyModule_AddObjectRef(module, "api", api) : -1;
    Py_XDECREF(api);
    return rc;
}

static PyModuleDef_Slot slots[] = {{Py_mod_exec, execute}, {0, NULL}};

static struct PyModuleDef definition = {PyModuleDef_HEAD_INIT, .m_name = "executorlib._tls", .m_slots = slots};

PyMODINIT_FUNC PyInit__tls(void)
{
    return PyModuleDef_Init(&definition);
}
