/* output.c: descriptors 1 and 2, exchanged for a call's files and back. */
#include "output.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

static void close_fd(int *fd)
{
    if (*fd >= 0)
        (void)close(*fd);
    *fd = -1;
}

static int exchange(int fd, int place, int *saved)
{
    *saved = fcntl(place, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
    if (*saved >= 0 && dup2(fd, place) >= 0)
        return 0;
    (void)PyErr_SetFromErrno(PyExc_OSError);
    return -1;
}

/* Keeps the file's descriptor: the driver reads there what a call has written that did not return. */
static void keep_log(int *fd, exl_output_t *output)
{
    struct stat file;
    output->size = fstat(*fd, &file) == 0 ? (uint64_t)file.st_size : 0;
    output->log_fd = *fd;
    *fd = -1;
}

int exl_output_redirect(exl_state_t *state, PyObject *options, exl_output_t *output)
{
    int files[2];
    PyObject *pair = PyObject_CallMethod(state->worker, "open_output", "O", options);
    if (!pair || !PyArg_ParseTuple(pair, "ii", &files[0], &files[1])) {
        Py_XDECREF(pair);
        return -1;
    }
    Py_DECREF(pair);
    (void)fflush(stdout);
    int rc = files[0] < 0 ? 0 : exchange(files[0], STDOUT_FILENO, &output->saved[0]);
    if (rc == 0 && files[1] >= 0)
        rc = exchange(files[1], STDERR_FILENO, &output->saved[1]);
    if (rc == 0 && files[1] >= 0)
        keep_log(&files[1], output);
    close_fd(&files[0]);
    close_fd(&files[1]);
    if (rc < 0)
        exl_output_restore(output);
    return rc;
}

void exl_output_restore(exl_output_t *output)
{
    (void)fflush(stdout);
    for (int i = 0; i < 2; i++)
        if (output->saved[i] >= 0)
            (void)dup2(output->saved[i], STDOUT_FILENO + i);
    close_fd(&output->saved[0]);
    close_fd(&output->saved[1]);
    close_fd(&output->log_fd);
}
