/* plain.h: numbers, short texts and tuples of them, pickled without a pickler.
 *
 * Most calls have a few numbers as arguments, and a number as result. A pickler takes half a microsecond to get ready for
 * them; what they are as a pickle (protocol 5) is a byte or two before their own bytes. */
#ifndef EXL_EXT_PLAIN_H
#define EXL_EXT_PLAIN_H

#include <Python.h>
#include <stddef.h>

/* Writes the pickle of `object` and returns its size; 0, and no exception: a pickler is needed, or the room is too small. */
size_t exl_plain_pickle(PyObject *object, unsigned char *room, size_t capacity);

#endif
