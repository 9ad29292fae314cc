/* heap.c: both allocators of an interpreter, CPython's for small objects and the C library's. */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "heap.h"

#include <stdint.h>
#include <stdlib.h>

/* CPython's: blocks of one size lie in pools, each of which begins with a header. The first block of a pool tells that all
 * before are full. Where another allocator is in its place, the limit ends the search. */
enum { POOL_SIZE = 16384, POOL_HEADER = 48, SMALL_STEP = 16, SMALL_MAX = 512, SMALL_GAPS_SIZE = 8 * POOL_SIZE };

static void fill_pools(size_t size)
{
    for (size_t taken = 0; taken < SMALL_GAPS_SIZE; taken += size) {
        void *block = PyObject_Malloc(size);
        if ((uintptr_t)block % POOL_SIZE == POOL_HEADER) {
            PyObject_Free(block); /* the pool is empty again, and of use to blocks of any size */
            return;
        }
    }
}

/* The C library's: a size that no gap has room for comes from beyond all that is in use. */
enum { LARGE_STEP = 16, LARGE_MIN = 24, LARGE_MAX = 65536, LARGE_GAPS = 16384 };

static void fill_malloc(void)
{
    char *end = malloc(LARGE_MAX);
    int gaps = 0;
    for (size_t size = LARGE_MAX; size >= LARGE_MIN; size -= LARGE_STEP + size / 1024 * 128) {
        char *block = malloc(size);
        while (block && block < end && gaps++ < LARGE_GAPS)
            block = malloc(size);
        free(block);
    }
    free(end);
}

void exl_heap_fill_gaps(void)
{
    for (size_t size = SMALL_STEP; size <= SMALL_MAX; size += SMALL_STEP)
        fill_pools(size);
    fill_malloc();
}
