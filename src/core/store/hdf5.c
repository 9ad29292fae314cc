/* hdf5.c: taking turns at the library, and what it is told once. */
#include "store/hdf5.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

enum { MEMORY_INCREMENT = 64 << 10 };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static hid_t disk_access = H5I_INVALID_HID;
static hid_t memory_access = H5I_INVALID_HID;

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

static int start(void)
{
#ifndef EXL_HAVE_HDF5_FILE_LOCKING
    (void)setenv("HDF5_USE_FILE_LOCKING", "FALSE", 0);
#endif
    if (H5open() < 0 || H5Eset_auto2(H5E_DEFAULT, NULL, NULL) < 0)
        return -EIO;
    disk_access = new_access();
    memory_access = new_access();
    if (disk_access < 0 || memory_access < 0 || H5Pset_fapl_core(memory_access, MEMORY_INCREMENT, false) < 0)
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
