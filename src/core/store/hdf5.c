/* hdf5.c: taking turns at the library, and what it is told once. */
#include "store/hdf5.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

enum { MEMORY_INCREMENT = 8 << 10, MANY_FIELDS = 32 };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static hid_t disk_access = H5I_INVALID_HID;
static hid_t memory_access = H5I_INVALID_HID;
static hid_t file_creation = H5I_INVALID_HID;
static hid_t compact_creation = H5I_INVALID_HID;
static uint8_t *image; /* owned */

static void before_fork(void)
{
    (void)pthread_mutex_lock(&lock);
}

static void after_fork(void)
{
    (void)pthread_mutex_unlock(&lock);
}

/* Of the format that HDF5 1.8 and later read: its metadata has checksums. */
static hid_t new_access(void)
{
    hid_t access = H5Pcreate(H5P_FILE_ACCESS);
    if (access < 0)
        return access;
    bool fine = H5Pset_libver_bounds(access, H5F_LIBVER_V18, H5F_LIBVER_V18) >= 0 &&
                H5Pset_fclose_degree(access, H5F_CLOSE_STRONG) >= 0;
#ifdef EXL_HAVE_HDF5_FILE_LOCKING
    fine = fine && H5Pset_file_locking(access, false, true) >= 0;
#endif
    if (fine)
        return access;
    (void)H5Pclose(access);
    return H5I_INVALID_HID;
}

/* HDF5 keeps a file in memory in a buffer of ours, and hands that over when it closes the file. */
static void *image_malloc(size_t size, H5FD_file_image_op_t op, void *unused)
{
    return malloc(size);
}

static void *image_realloc(void *bytes, size_t size, H5FD_file_image_op_t op, void *unused)
{
    return realloc(bytes, size);
}

static herr_t image_free(void *bytes, H5FD_file_image_op_t op, void *unused)
{
    if (op == H5FD_FILE_IMAGE_OP_FILE_CLOSE && !image)
        image = bytes;
    else
        free(bytes);
    return 0;
}

static hid_t new_memory_access(void)
{
    H5FD_file_image_callbacks_t callbacks = {
        .image_malloc = image_malloc, .image_realloc = image_realloc, .image_free = image_free};
    hid_t access = new_access();
    if (access < 0 || (H5Pset_fapl_core(access, MEMORY_INCREMENT, false) >= 0 &&
                       H5Pset_file_image_callbacks(access, &callbacks) >= 0))
        return access;
    (void)H5Pclose(access);
    return H5I_INVALID_HID;
}

/* The names of all fields lie in the root group's own description. */
static bool make_creation_lists(void)
{
    file_creation = H5Pcreate(H5P_FILE_CREATE);
    compact_creation = H5Pcreate(H5P_DATASET_CREATE);
    return H5Pset_link_phase_change(file_creation, MANY_FIELDS, MANY_FIELDS / 2) >= 0 &&
           H5Pset_est_link_info(file_creation, 8, 12) >= 0 && H5Pset_obj_track_times(file_creation, false) >= 0 &&
           H5Pset_obj_track_times(compact_creation, false) >= 0 && H5Pset_layout(compact_creation, H5D_COMPACT) >= 0;
}

static int start(void)
{
#ifndef EXL_HAVE_HDF5_FILE_LOCKING
    (void)setenv("HDF5_USE_FILE_LOCKING", "FALSE", 0);
#endif
    if (H5open() < 0 || H5Eset_auto2(H5E_DEFAULT, NULL, NULL) < 0)
        return -EIO;
    disk_access = new_access();
    memory_access = new_memory_access();
    if (disk_access < 0 || memory_access < 0 || !make_creation_lists())
        return -EIO;
    return -pthread_atfork(before_fork, after_fork, after_fork);
}

int exl_hdf5_enter(exl_error_t *err)
{
    static bool started;
    (void)pthread_mutex_lock(&lock);
    int rc = started ? 0 : start();
    started = rc == 0;
    if (rc == 0)
        return 0;
    (void)pthread_mutex_unlock(&lock);
    return exl_error_set(err, rc, "the HDF5 library does not start");
}

void exl_hdf5_leave(void)
{
    (void)H5Eclear2(H5E_DEFAULT);
    (void)pthread_mutex_unlock(&lock);
}

hid_t exl_hdf5_disk_access(void)
{
    return disk_access;
}

hid_t exl_hdf5_memory_access(void)
{
    return memory_access;
}

hid_t exl_hdf5_file_creation(void)
{
    return file_creation;
}

hid_t exl_hdf5_compact_creation(void)
{
    return compact_creation;
}

uint8_t *exl_hdf5_take_image(void)
{
    uint8_t *bytes = image;
    image = NULL;
    return bytes;
}

/* The first entry is where it went wrong; the others are who had called. */
static herr_t innermost_cb(unsigned n, const H5E_error2_t *entry, void *data)
{
    const char **ret_text = data;
    *ret_text = entry->desc;
    return 1;
}

int exl_hdf5_failed(exl_error_t *err, int code, const char *what)
{
    const char *text = NULL;
    (void)H5Ewalk2(H5E_DEFAULT, H5E_WALK_UPWARD, innermost_cb, &text);
    if (!text)
        return exl_error_set(err, code, "%s", what);
    return exl_error_set(err, code, "%s: %s", what, text);
}
