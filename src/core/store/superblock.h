/* superblock.h: the first bytes of an HDF5 file. A pure function. */
#ifndef EXL_STORE_SUPERBLOCK_H
#define EXL_STORE_SUPERBLOCK_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

enum { EXL_SUPERBLOCK_MAX = 128 }; /* more bytes are never looked at */

/* The address of the root group's header. EXL_EFILE: no HDF5 file, of a kind that no result file is, cut short, or not
 * closed by its writer. `size` bytes of the head of a file of `file_size` bytes are there. */
int exl_superblock_root(const uint8_t *head, size_t size, uint64_t file_size, uint64_t *ret_root, exl_error_t *err);

/* Where a whole file of ours ends: what HDF5 has in memory may have room behind it. */
uint64_t exl_superblock_end(const uint8_t *head);

#endif
