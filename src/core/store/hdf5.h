/* hdf5.h: the HDF5 library as it is used here, to write: by one thread at a time, silent, without file locks. */
#ifndef EXL_STORE_HDF5_H
#define EXL_STORE_HDF5_H

#include <hdf5.h>

#include "base/error.h"

/* Takes the library; a fork waits for it too. On failure it is not taken. */
int exl_hdf5_enter(exl_error_t *err);
void exl_hdf5_leave(void);

/* The rest is for whoever has taken it. */

/* File access: on disk, or in memory only. Owned by this module. */
hid_t exl_hdf5_disk_access(void);
hid_t exl_hdf5_memory_access(void);

/* Writes what HDF5 says is wrong behind `what` into `err`; returns `code`. */
int exl_hdf5_failed(exl_error_t *err, int code, const char *what);

#endif
