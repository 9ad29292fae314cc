/* finish.h: the end of a worker. */
#ifndef EXL_EXT_FINISH_H
#define EXL_EXT_FINISH_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

/* What was printed is on its way. Keeps an exception that is set. */
void exl_flush_output(void);

/* What an interpreter does at its end, except that modules are not torn down: threads joined, exit handlers run, open files
 * flushed. -1 with an exception set. */
int exl_finish(void);
PyObject *exl_finish_process(PyObject *module, PyObject *unused);

#endif
