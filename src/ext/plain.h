/* plain.h: numbers, short texts, results of other calls and tuples of them, pickled and unpickled without a pickler.
 *
 * Most calls have a few numbers as arguments, and a number as result. A pickler takes half a microsecond to get ready for
 * them; what they are as a pickle (protocol 5) is a byte or two before their own bytes. A result of another call is pickled
 * as what asks for it, whose name an unpickler would have to look up: a microsecond and more. */
#ifndef EXL_EXT_PLAIN_H
#define EXL_EXT_PLAIN_H

#include <Python.h>
#include <stddef.h>

/* The number among the call's dependencies of an object that stands for the result of another call; negative, and no
 * exception: it is none, or has to be pickled otherwise. */
typedef Py_ssize_t (*exl_plain_depend_cb)(void *data, PyObject *object);

/* Writes the pickle of `object` and returns its size; 0, and no exception: a pickler is needed, or the room is too small. */
size_t exl_plain_pickle(PyObject *object, exl_plain_depend_cb depend, void *data, unsigned char *room, size_t capacity);

/* Unpickles what exl_plain_pickle() has written. NULL without an exception: it was written by a pickler, or is damaged;
 * with one: what `dependency` raised, or memory. */
PyObject *exl_plain_unpickle(const unsigned char *pickle, size_t size, PyObject *(*dependency)(size_t index));

#endif
