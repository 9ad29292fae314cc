/* arrays.h: small NumPy arrays and scalars, pickled without NumPy's Python code.
 *
 * An array's own __reduce_ex__ goes through Python and costs several microseconds, as much as the rest of a short call.
 * What is pickled here is NumPy's constructor with the bytes, so that any NumPy unpickles it. */
#ifndef EXL_EXT_ARRAYS_H
#define EXL_EXT_ARRAYS_H

#include "state.h"

/* The reduce value of a small array or a float64. NULL without an exception: NumPy's own way is to be taken. */
PyObject *exl_array_reduce(exl_state_t *state, PyObject *object);

#endif
