/* own_modules.h: modules of the user's that a template has found and compiled, executed in its forks.
 *
 * What the import system does in Python for each module would be most of what a short call costs its process. */
#ifndef EXL_EXT_OWN_MODULES_H
#define EXL_EXT_OWN_MODULES_H

#include "state.h"

/* In a template: has the modules found that calls of its function import, by `names`, a tuple. They are a hint. */
void exl_own_modules_find(exl_state_t *state, PyObject *names);

/* In a worker, before it unpickles its call: executes them, if the pickle has their names and nothing on the disk has
 * changed. -1 with what a module raised. */
int exl_own_modules_execute(const void *pickle, size_t size);

#endif
