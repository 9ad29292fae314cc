/* errors.c: how a call that did not return a value looks in Python. The texts and types are the facade's. */
#include <limits.h>
#include <sys/wait.h>
#include <unistd.h>

#include "future.h"
#include "pickling.h"

/* The worker sent (exception, text of its traceback). */
PyObject *exl_error_of_payload(exl_state_t *state, exl_payload_t *payload)
{
    PyObject *pair = exl_payload_loads(state, payload);
    PyObject *exception = NULL, *traceback = NULL;
    if (!pair)
        return NULL;
    if (!PyArg_ParseTuple(pair, "OU", &exception, &traceback) || !PyExceptionInstance_Check(exception)) {
        PyErr_Clear();
        PyErr_SetString(PyExc_RuntimeError, "a worker sent an exception in a form that is not ours");
        Py_DECREF(pair);
        return NULL;
    }
    if (state->remote_cause) {
        PyObject *none = PyObject_CallFunctionObjArgs(state->remote_cause, exception, traceback, NULL);
        Py_XDECREF(none);
        PyErr_Clear();
    }
    Py_INCREF(exception);
    Py_DECREF(pair);
    return exception;
}

static PyObject *number_or_none(bool known, int number)
{
    return known ? PyLong_FromLong(number) : Py_NewRef(Py_None);
}

PyObject *exl_error_of_failure(exl_state_t *state, const exl_task_t *task)
{
    const exl_failure_t *failure = task->failure;
    int status = failure && failure->status_known ? failure->wait_status : 0;
    bool known = failure && failure->status_known;
    const char *kind = task->outcome == EXL_OUTCOME_TERMINATED               ? "terminated"
                       : failure && failure->blame == EXL_BLAME_LIMIT        ? "time_limit"
                       : !failure || failure->blame == EXL_BLAME_ENGINE      ? "broken"
                       : failure->blame == EXL_BLAME_WORKER && !failure->pid ? "start_failed"
                                                                             : "worker_lost";
    const char *where = failure && failure->blame == EXL_BLAME_WORKER ? "while it was being set up" : "";
    const char *tail = failure ? failure->stderr_tail : "";
    PyObject *text = PyUnicode_DecodeUTF8(tail, (Py_ssize_t)strlen(tail), "replace");
    if (!text)
        return NULL;
    char host[HOST_NAME_MAX + 1] = "";
    if (failure && failure->host[0])
        (void)snprintf(host, sizeof host, "%s", failure->host);
    else if (failure && failure->pid)
        (void)gethostname(host, sizeof host - 1);
    PyObject *info = Py_BuildValue(
        "{s:s,s:s,s:i,s:N,s:N,s:N,s:s,s:s,s:I,s:d}", "where", where, "host", host, "pid",
        failure ? (int)failure->pid : 0, "signal", number_or_none(known && WIFSIGNALED(status), WTERMSIG(status)),
        "status", number_or_none(known && WIFEXITED(status), WEXITSTATUS(status)), "stderr", text, "reason",
        failure ? failure->reason : "out of memory", "blame",
        failure ? exl_blame_to_string(failure->blame) : exl_blame_to_string(EXL_BLAME_ENGINE), "restarts",
        failure ? failure->restarts : 0U, "seconds", failure ? failure->limit_ms / 1e3 : 0.0);
    PyObject *error = info && state->error_factory
                          ? PyObject_CallFunction(state->error_factory, "sO", kind, info)
                          : PyObject_CallFunction(PyExc_RuntimeError, "s", failure ? failure->reason : "out of memory");
    Py_XDECREF(info);
    return error;
}
