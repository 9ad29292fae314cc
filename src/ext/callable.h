/* callable.h: what the engine is told of the function of a call, without pickling it. With the GIL. */
#ifndef EXL_EXT_CALLABLE_H
#define EXL_EXT_CALLABLE_H

#include "state.h"

/* How a function was called, kept since calls of one function follow each other. Owned; all NULL at first. */
typedef struct exl_callable_name {
    PyObject *qualname, *module, *name;
} exl_callable_name_t;

/* Calls of one function have one key, so that a template can import for the second what the first imported. Only a hint:
 * a collision costs an import that was not needed. 0: no template. */
uint64_t exl_callable_import_key(exl_state_t *state, PyObject *callable);

/* What a log calls a function: its module, unless that is the main program, and its name; of a partial those of what it calls. New
 * reference, or NULL. */
PyObject *exl_callable_name(exl_state_t *state, PyObject *callable, exl_callable_name_t *last);
void exl_callable_name_fini(exl_callable_name_t *name);

#endif
