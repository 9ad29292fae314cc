/* place.h: which of several persistent workers gets the next call. A pure function of their loads. */
#ifndef EXL_SCHED_PLACE_H
#define EXL_SCHED_PLACE_H

#include <stddef.h>
#include <stdint.h>

/* `loads`: calls that each worker has been given and has not answered (UINT32_MAX: takes none). Returns the index of the
 * least loaded worker whose load is below `depth`, the first of equals, or -1. */
ptrdiff_t exl_place_least_loaded(const uint32_t *loads, size_t count, uint32_t depth);

/* Of the workers' counts of calls sent ahead and not started, the index of the largest, or -1 when all are 0. */
ptrdiff_t exl_place_most_ahead(const uint32_t *ahead, size_t count);

#endif
