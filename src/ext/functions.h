/* functions.h: functions that are pickled once, and then named by an id.
 *
 * Pickling a function of __main__ takes cloudpickle a hundred times longer than the call's arguments take. Its pickle is
 * therefore kept, and sent to a worker once, when it is sure that pickling anew would give the same: the function has no
 * closure, no attributes, and stores no globals, and all that it names are constants, modules, or things that import by
 * name. Each use compares what it names with what it named then: after `scale = 2` the function is pickled again.
 *
 * A function of a module is pickled as its name, which is looked up at both ends and costs more than a small call's arguments.
 * Its pickle is kept too, as long as its module has the function under that name. */
#ifndef EXL_EXT_FUNCTIONS_H
#define EXL_EXT_FUNCTIONS_H

#include "pickling.h"

/* The reduce value that names the function, which is added to the submission. NULL without an exception: it cannot be
 * shared, and goes by value in this call's own pickle. */
PyObject *exl_function_reference(exl_submission_t *submission, PyObject *object);

/* True if exl_function_reference() would name it. */
bool exl_function_is_shared(exl_state_t *state, PyObject *object);

/* What a call of `callable` can name in its place; borrowed. NULL, and no exception: nothing. Either way `ret_by_value` says whether
 * it goes by value, as what cannot be imported by name does. */
struct exl_shared *exl_function_shared(exl_state_t *state, PyObject *callable, bool *ret_by_value);

#endif
