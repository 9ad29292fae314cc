/* finish.h: the end of a worker. */
#ifndef EXL_EXT_FINISH_H
#define EXL_EXT_FINISH_H

#include "state.h"

/* What was printed is on its way. Keeps an exception that is set. */
void exl_flush_output(void);

/* Ends as an interpreter ends, except that modules are not torn down: threads joined, exit handlers run, open files
 * flushed. Returns the exit status. */
int exl_finish(exl_state_t *state);

#endif
