/* output.h: files that take what a call and its children write to their stdout and stderr. */
#ifndef EXL_EXT_OUTPUT_H
#define EXL_EXT_OUTPUT_H

#include "state.h"

typedef struct exl_output {
    int saved[2];  /* owned: what descriptors 1 and 2 were before, or -1 */
    int log_fd;    /* owned: the file that takes stderr, readable, or -1 */
    uint64_t size; /* … how long it was before */
} exl_output_t;

#define EXL_OUTPUT_UNCHANGED ((exl_output_t){{-1, -1}, -1, 0})

/* Opens the files that a call's options name, if they do, and puts them in the place of descriptors 1 and 2. What Python
 * and C have buffered must have been flushed. -1 with an exception set, and nothing changed. */
int exl_output_redirect(exl_state_t *state, PyObject *options, exl_output_t *output);

/* Puts back what was there. Python's buffers must have been flushed; C's are here. */
void exl_output_restore(exl_output_t *output);

#endif
