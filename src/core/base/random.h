/* random.h: bytes that nobody can guess. */
#ifndef EXL_BASE_RANDOM_H
#define EXL_BASE_RANDOM_H

#include <stddef.h>

/* Fresh from the kernel. 0 or -errno. */
int exl_random(void *ret_bytes, size_t size);

#endif
