/* result_file.c: reading. A small file is read at once and parsed in memory, a large one through HDF5's own reader. */
#include "store/result_file.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "store/checksum.h"
#include "store/hdf5.h"
#include "store/superblock.h"

enum {
    IN_MEMORY = 256 << 10, /* up to this size a file is read at once */
    LARGEST_CHUNK = 64 << 20,
    BEST_COMPRESSION = 1032 /* gzip never does better: a field cannot be larger than this many times its file */
};

struct exl_result_file {
    hid_t id;
    int fd; /* owned; -1 once the file is in memory */
    uint64_t size;

    /* The field found last. */
    hid_t field;
    size_t field_size;
    bool bare; /* neither HDF5 nor zlib checks it */
};

/* ---- opening ---- */

static int read_all(int fd, uint8_t *bytes, size_t size)
{
    for (size_t have = 0; have < size;) {
        ssize_t rc = pread(fd, bytes + have, size - have, (off_t)have);
        if (rc < 0 && errno == EINTR)
            continue;
        if (rc <= 0)
            return rc < 0 ? -errno : EXL_EFILE;
        have += (size_t)rc;
    }
    return 0;
}

/* Neither a FIFO nor a device may hold up who opens it. */
static int open_regular(const char *path, uint64_t *ret_size, exl_error_t *err)
{
    struct stat status;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0)
        return exl_error_set(err, errno == ENXIO ? EXL_EFILE : -errno, "it is not a regular file");
    int rc = fstat(fd, &status) < 0 ? -errno : 0;
    if (rc == 0 && !S_ISREG(status.st_mode))
        rc = exl_error_set(err, EXL_EFILE, "it is not a regular file");
    if (rc < 0) {
        (void)close(fd);
        return rc;
    }
    *ret_size = (uint64_t)status.st_size;
    return fd;
}

static int open_image(exl_result_file_t *file, uint8_t *image, exl_error_t *err)
{
    hid_t access = H5Pcopy(exl_hdf5_memory_access());
    if (access < 0)
        return exl_hdf5_failed(err, -ENOMEM, "HDF5 cannot open it");
    if (H5Pset_file_image(access, image, file->size) >= 0)
        file->id = H5Fopen("result", H5F_ACC_RDONLY, access);
    int rc = file->id < 0 ? exl_hdf5_failed(err, EXL_EFILE, "it is damaged") : 0;
    (void)H5Pclose(access);
    return rc;
}

/* By its descriptor: the path may mean another file by now. */
static int open_descriptor(exl_result_file_t *file, exl_error_t *err)
{
    char path[32];
    (void)snprintf(path, sizeof path, "/proc/self/fd/%d", file->fd);
    file->id = H5Fopen(path, H5F_ACC_RDONLY, exl_hdf5_disk_access());
    return file->id < 0 ? exl_hdf5_failed(err, EXL_EFILE, "it is damaged") : 0;
}

static int open_hdf5(exl_result_file_t *file, uint8_t *head, size_t size, exl_error_t *err)
{
    int rc = exl_hdf5_enter(err);
    if (rc < 0)
        return rc;
    rc = size == file->size ? open_image(file, head, err) : open_descriptor(file, err);
    exl_hdf5_leave();
    return rc;
}

int exl_result_file_open(const char *path, exl_result_file_t **ret_file, exl_error_t *err)
{
    exl_result_file_t *file = malloc(sizeof *file);
    uint8_t *head = NULL;
    int rc = -ENOMEM;
    if (!file)
        return rc;
    *file = (exl_result_file_t){.id = H5I_INVALID_HID, .fd = -1, .field = H5I_INVALID_HID};
    if ((rc = file->fd = open_regular(path, &file->size, err)) < 0)
        goto error;
    size_t size = file->size <= IN_MEMORY ? file->size : EXL_SUPERBLOCK_MAX;
    rc = -ENOMEM;
    if (!(head = malloc(size + 1)))
        goto error;
    if ((rc = read_all(file->fd, head, size)) < 0) {
        (void)exl_error_set(err, rc, "it became shorter while it was read");
        goto error;
    }
    if ((rc = exl_superblock_check(head, size, file->size, err)) < 0 || (rc = open_hdf5(file, head, size, err)) < 0)
        goto error;
    free(head);
    if (size == file->size) {
        (void)close(file->fd);
        file->fd = -1;
    }
    *ret_file = file;
    return 0;
error:
    free(head);
    exl_result_file_close(file);
    return rc;
}

static void close_field(exl_result_file_t *file)
{
    if (file->field >= 0)
        (void)H5Dclose(file->field);
    file->field = H5I_INVALID_HID;
}

void exl_result_file_close(exl_result_file_t *file)
{
    if (!file)
        return;
    if (file->id >= 0 && exl_hdf5_enter(NULL) == 0) {
        close_field(file);
        (void)H5Fclose(file->id);
        exl_hdf5_leave();
    }
    if (file->fd >= 0)
        (void)close(file->fd);
    free(file);
}

/* ---- names ---- */

typedef struct names {
    char (*names)[EXL_FIELD_NAME_MAX + 1];
    size_t count;
} names_t;

static herr_t collect_cb(hid_t group, const char *name, const H5L_info_t *link, void *data)
{
    names_t *names = data;
    if (link->type != H5L_TYPE_HARD || strlen(name) > EXL_FIELD_NAME_MAX)
        return 0;
    void *more = realloc(names->names, (names->count + 1) * sizeof *names->names);
    if (!more)
        return -1;
    names->names = more;
    memcpy(names->names[names->count++], name, strlen(name) + 1);
    return 0;
}

int exl_result_file_names(exl_result_file_t *file, int (*name_cb)(const char *name, void *data), void *data,
                          exl_error_t *err)
{
    names_t names = {NULL, 0};
    int rc = exl_hdf5_enter(err);
    if (rc < 0)
        return rc;
    if (H5Literate(file->id, H5_INDEX_NAME, H5_ITER_NATIVE, NULL, collect_cb, &names) < 0)
        rc = exl_hdf5_failed(err, EXL_EFILE, "it is damaged");
    exl_hdf5_leave();
    for (size_t i = 0; rc == 0 && i < names.count; i++)
        rc = name_cb(names.names[i], data);
    free(names.names);
    return rc;
}

/* ---- fields ---- */

/* Bytes, in the file itself, without filters other than those that a cache has. */
static bool is_plain(hid_t properties, H5D_layout_t layout, uint64_t size)
{
    hsize_t chunk;
    if (layout == H5D_COMPACT)
        return true;
    if (layout == H5D_CONTIGUOUS)
        return H5Pget_external_count(properties) == 0;
    if (layout != H5D_CHUNKED || H5Pget_chunk(properties, 1, &chunk) != 1)
        return false;
    if (chunk > LARGEST_CHUNK && chunk > size)
        return false;
    int count = H5Pget_nfilters(properties);
    for (int i = 0; i < count; i++) {
        unsigned flags;
        size_t values = 0;
        H5Z_filter_t filter = H5Pget_filter2(properties, (unsigned)i, &flags, &values, NULL, 0, NULL, NULL);
        if (filter != H5Z_FILTER_DEFLATE && filter != H5Z_FILTER_SHUFFLE && filter != H5Z_FILTER_FLETCHER32)
            return false;
    }
    return count >= 0;
}

static bool is_bytes(hid_t dataset)
{
    hid_t type = H5Dget_type(dataset);
    bool fits = type >= 0 && H5Tget_class(type) == H5T_INTEGER && H5Tget_size(type) == 1;
    if (type >= 0)
        (void)H5Tclose(type);
    return fits;
}

static bool get_length(hid_t dataset, uint64_t *ret_size)
{
    hsize_t size = 0;
    hid_t space = H5Dget_space(dataset);
    bool flat =
        space >= 0 && H5Sget_simple_extent_ndims(space) == 1 && H5Sget_simple_extent_dims(space, &size, NULL) == 1;
    if (space >= 0)
        (void)H5Sclose(space);
    *ret_size = size;
    return flat;
}

/* Whether the dataset is what a field may be; its size, and who checks it. */
static bool describe(exl_result_file_t *file)
{
    uint64_t size;
    if (!is_bytes(file->field) || !get_length(file->field, &size))
        return false;
    hid_t properties = H5Dget_create_plist(file->field);
    if (properties < 0)
        return false;
    H5D_layout_t layout = H5Pget_layout(properties);
    uint64_t most = file->size * (layout == H5D_CHUNKED ? BEST_COMPRESSION : 1);
    bool plain = size <= most && size <= SIZE_MAX / 2 && is_plain(properties, layout, size);
    (void)H5Pclose(properties);
    file->field_size = (size_t)size;
    file->bare = layout == H5D_CONTIGUOUS;
    return plain;
}

/* 1, or 0 if there is no such field. */
static int open_field(exl_result_file_t *file, const char *name, exl_error_t *err)
{
    H5L_info_t link;
    htri_t exists = H5Lexists(file->id, name, H5P_DEFAULT);
    if (exists == 0)
        return 0;
    if (exists < 0 || H5Lget_info(file->id, name, &link, H5P_DEFAULT) < 0)
        return exl_hdf5_failed(err, EXL_EFILE, "it is damaged");
    if (link.type != H5L_TYPE_HARD)
        return exl_error_set(err, EXL_EFILE, "its field %s is a link", name);
    file->field = H5Dopen2(file->id, name, H5P_DEFAULT);
    if (file->field < 0)
        return exl_hdf5_failed(err, EXL_EFILE, "it is damaged");
    if (describe(file))
        return 1;
    close_field(file);
    return exl_error_set(err, EXL_EFILE, "its field %s does not hold plain bytes", name);
}

int exl_result_file_find(exl_result_file_t *file, const char *name, size_t *ret_size, exl_error_t *err)
{
    int rc = exl_hdf5_enter(err);
    if (rc < 0)
        return rc;
    close_field(file);
    rc = open_field(file, name, err);
    exl_hdf5_leave();
    if (rc > 0)
        *ret_size = file->field_size;
    return rc;
}

static bool get_checksum(hid_t dataset, uint64_t *ret_value)
{
    if (H5Aexists(dataset, EXL_HDF5_CHECKSUM) <= 0)
        return false;
    hid_t attribute = H5Aopen(dataset, EXL_HDF5_CHECKSUM, H5P_DEFAULT);
    if (attribute < 0)
        return false;
    hid_t space = H5Aget_space(attribute), type = H5Aget_type(attribute);
    bool found = space >= 0 && type >= 0 && H5Sget_simple_extent_npoints(space) == 1 &&
                 H5Tequal(type, H5T_STD_U64LE) > 0 && H5Aread(attribute, H5T_NATIVE_UINT64, ret_value) >= 0;
    if (type >= 0)
        (void)H5Tclose(type);
    if (space >= 0)
        (void)H5Sclose(space);
    (void)H5Aclose(attribute);
    return found;
}

/* Fields that other libraries have written have none. */
static bool sum_differs(uint64_t expected, const void *bytes, size_t size)
{
    exl_checksum_t sum;
    exl_checksum_init(&sum);
    exl_checksum_add(&sum, bytes, size);
    return exl_checksum_value(&sum) != expected;
}

int exl_result_file_read(exl_result_file_t *file, void *bytes, exl_error_t *err)
{
    uint64_t expected = 0;
    assert(file->field >= 0);
    if (file->field_size == 0)
        return 0;
    int rc = exl_hdf5_enter(err);
    if (rc < 0)
        return rc;
    hid_t type = H5Dget_type(file->field); /* as it is in the file: nothing is converted */
    if (H5Dread(file->field, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, bytes) < 0)
        rc = exl_hdf5_failed(err, EXL_EFILE, "it is damaged");
    bool summed = rc == 0 && file->bare && get_checksum(file->field, &expected);
    if (type >= 0)
        (void)H5Tclose(type);
    exl_hdf5_leave();
    if (summed && sum_differs(expected, bytes, file->field_size))
        rc = exl_error_set(err, EXL_EFILE, "a checksum is wrong");
    return rc;
}
