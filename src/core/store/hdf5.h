/* hdf5.h: the HDF5 library as it is used here, to write: by one thread at a time, silent, without file locks. */
#ifndef EXL_STORE_HDF5_H
#define EXL_STORE_HDF5_H

#include <hdf5.h>
#include <stdint.h>

#include "base/error.h"

/* Takes the library; a fork waits for it too. On failure it is not taken. */
int exl_hdf5_enter(exl_error_t *err);
void exl_hdf5_leave(void);

/* The rest is for whoever has taken it. */

/* Property lists, owned by this module. Access to a file: on disk, or in memory only. */
hid_t exl_hdf5_disk_access(void);
hid_t exl_hdf5_memory_access(void);

/* How files are made, and datasets whose bytes are stored with their description. */
hid_t exl_hdf5_file_creation(void);
hid_t exl_hdf5_compact_creation(void);

/* The bytes of the file in memory that was closed last; to be freed. NULL if there was none, or no memory.
 * (H5Fget_file_image() gives an image with a wrong checksum, up to 1.14.6.) */
uint8_t *exl_hdf5_take_image(void);

/* Writes what HDF5 says is wrong behind `what` into `err`; returns `code`. */
int exl_hdf5_failed(exl_error_t *err, int code, const char *what);

#endif
