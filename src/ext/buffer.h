/* buffer.h: see buffer.c. */
#ifndef EXL_EXT_BUFFER_H
#define EXL_EXT_BUFFER_H

#include "state.h"

extern PyType_Spec exl_buffer_spec;

/* The segment must lie in the payload's region. */
PyObject *exl_buffer_new(PyTypeObject *type, exl_payload_t *payload, exl_segment_t segment);

#endif
