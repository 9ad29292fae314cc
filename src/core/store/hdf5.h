/* hdf5.h: the HDF5 library as everybody here uses it: one thread at a time, silent, without file locks or plug-ins. */
#ifndef EXL_STORE_HDF5_H
#define EXL_STORE_HDF5_H

#include <hdf5.h>

#include "base/error.h"

/* Attribute of a large field that lies in its file as it is: its checksum. Other readers ignore it. */
#define EXL_HDF5_CHECKSUM "executorlib_checksum"

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
