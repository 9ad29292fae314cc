/* heap.h: where a process that is forked again and again has its free memory. */
#ifndef EXL_EXT_HEAP_H
#define EXL_EXT_HEAP_H

/* Takes every gap between what is allocated, for good. What a fork allocates then lies together at the end, and it copies a
 * few pages instead of one for each gap that it would fill. */
void exl_heap_fill_gaps(void);

#endif
