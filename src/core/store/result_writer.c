/* result_writer.c: writing. A small file is made in memory and written at once. In a larger one HDF5 writes all but the
 * large fields, for which it leaves room; those go there straight from where they are. */
#include "store/result_file.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/random.h"
#include "store/checksum.h"
#include "store/dataset.h"
#include "store/hdf5.h"
#include "store/superblock.h"

enum {
    COMPACT = 60000,       /* HDF5 stores up to 64 KiB with the dataset's description, which has a checksum */
    IN_MEMORY = 256 << 10, /* a file with less in it is made in memory */
    CHUNK = 1 << 20,
    COMPRESSION = 4,
    MOST_FIELDS = 32,
    SLICE = 8 << 20
};

typedef struct writer {
    const exl_field_t *fields;
    size_t count;
    bool compress, sync;
    int fd; /* of the temporary file */
    uint64_t total;
    haddr_t offsets[MOST_FIELDS]; /* where a large field has its room; HADDR_UNDEF for the others */
} writer_t;

static size_t field_size(const exl_field_t *field)
{
    size_t size = 0;
    for (size_t i = 0; i < field->npieces; i++)
        size += field->pieces[i].iov_len;
    return size;
}

/* ---- datasets ---- */

/* All pieces in a row: `ret_owned` is a copy to be freed, or NULL if there was only one piece. */
static const void *joined(const exl_field_t *field, size_t size, void **ret_owned)
{
    *ret_owned = NULL;
    if (field->npieces == 1)
        return field->pieces[0].iov_base;
    char *bytes = malloc(size + 1), *at = bytes;
    for (size_t i = 0; bytes && i < field->npieces; i++) {
        if (field->pieces[i].iov_len)
            memcpy(at, field->pieces[i].iov_base, field->pieces[i].iov_len);
        at += field->pieces[i].iov_len;
    }
    return *ret_owned = bytes;
}

/* How a dataset is stored that is not compact. */
static hid_t new_layout(size_t size, bool compress)
{
    hsize_t chunk = size < CHUNK ? size : CHUNK;
    hid_t properties = H5Pcreate(H5P_DATASET_CREATE);
    bool fine = H5Pset_obj_track_times(properties, false) >= 0;
    if (compress)
        fine = fine && H5Pset_chunk(properties, 1, &chunk) >= 0 && H5Pset_deflate(properties, COMPRESSION) >= 0;
    else
        fine = fine && H5Pset_alloc_time(properties, H5D_ALLOC_TIME_EARLY) >= 0 &&
               H5Pset_fill_time(properties, H5D_FILL_TIME_NEVER) >= 0;
    if (fine)
        return properties;
    (void)H5Pclose(properties);
    return H5I_INVALID_HID;
}

static int set_checksum(hid_t dataset, const exl_field_t *field)
{
    exl_checksum_t sum;
    exl_checksum_init(&sum);
    for (size_t i = 0; i < field->npieces; i++)
        exl_checksum_add(&sum, field->pieces[i].iov_base, field->pieces[i].iov_len);
    uint64_t value = exl_checksum_value(&sum);
    hid_t space = H5Screate(H5S_SCALAR);
    hid_t attribute =
        space < 0 ? -1 : H5Acreate2(dataset, EXL_DATASET_CHECKSUM, H5T_STD_U64LE, space, H5P_DEFAULT, H5P_DEFAULT);
    int rc = attribute < 0 ? -1 : H5Awrite(attribute, H5T_NATIVE_UINT64, &value);
    if (attribute >= 0)
        (void)H5Aclose(attribute);
    if (space >= 0)
        (void)H5Sclose(space);
    return rc;
}

static int fill_dataset(hid_t dataset, const exl_field_t *field, size_t size)
{
    void *owned;
    if (size == 0)
        return 0;
    const void *bytes = joined(field, size, &owned);
    int rc = bytes ? H5Dwrite(dataset, H5T_STD_U8LE, H5S_ALL, H5S_ALL, H5P_DEFAULT, bytes) : -1;
    free(owned);
    return rc;
}

static int add_field(hid_t file, writer_t *writer, size_t i)
{
    const exl_field_t *field = &writer->fields[i];
    hsize_t size = field_size(field);
    hid_t space = H5Screate_simple(1, &size, NULL);
    bool compact = size <= COMPACT && (!writer->compress || size == 0);
    hid_t properties = compact ? exl_hdf5_compact_creation() : new_layout(size, writer->compress);
    hid_t dataset = H5I_INVALID_HID;
    int rc = -1;
    if (space < 0 || properties < 0)
        goto done;
    dataset = H5Dcreate2(file, field->name, H5T_STD_U8LE, space, H5P_DEFAULT, properties, H5P_DEFAULT);
    if (dataset < 0)
        goto done;
    bool apart = !compact && !writer->compress;
    if (apart && set_checksum(dataset, field) < 0)
        goto done;
    writer->offsets[i] = apart ? H5Dget_offset(dataset) : HADDR_UNDEF;
    rc = apart ? (writer->offsets[i] == HADDR_UNDEF ? -1 : 0) : fill_dataset(dataset, field, size);
done:
    if (dataset >= 0 && H5Dclose(dataset) < 0)
        rc = -1;
    if (properties >= 0 && !compact)
        (void)H5Pclose(properties);
    if (space >= 0)
        (void)H5Sclose(space);
    return rc;
}

static hid_t new_file(const char *path, hid_t access)
{
    return H5Fcreate(path, H5F_ACC_TRUNC, exl_hdf5_file_creation(), access);
}

static int add_fields(hid_t file, writer_t *writer)
{
    for (size_t i = 0; i < writer->count; i++)
        if (add_field(file, writer, i) < 0)
            return -1;
    return H5Fflush(file, H5F_SCOPE_LOCAL);
}

/* ---- bytes ---- */

/* Of a file that is to be on the disk, what has been written is sent there at once, while the rest is being copied. */
static int write_at(const writer_t *writer, const void *bytes, size_t size, off_t offset)
{
    for (const char *at = bytes; size;) {
        ssize_t rc = pwrite(writer->fd, at, size < SLICE ? size : SLICE, offset);
        if (rc < 0 && errno == EINTR)
            continue;
        if (rc < 0)
            return -errno;
        if (writer->sync && rc == SLICE)
            (void)sync_file_range(writer->fd, offset, rc, SYNC_FILE_RANGE_WRITE);
        at += rc;
        offset += rc;
        size -= (size_t)rc;
    }
    return 0;
}

static int write_field(const writer_t *writer, const exl_field_t *field, off_t offset)
{
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < field->npieces; i++) {
        rc = write_at(writer, field->pieces[i].iov_base, field->pieces[i].iov_len, offset);
        offset += (off_t)field->pieces[i].iov_len;
    }
    return rc;
}

static int make_image(writer_t *writer, uint8_t **ret_image, size_t *ret_size, exl_error_t *err)
{
    int rc = exl_hdf5_enter(err);
    if (rc < 0)
        return rc;
    hid_t file = new_file("result", exl_hdf5_memory_access());
    bool fine = file >= 0 && add_fields(file, writer) >= 0;
    if (!fine)
        rc = exl_hdf5_failed(err, -EIO, "HDF5 cannot make the file");
    if (file >= 0 && H5Fclose(file) < 0 && fine)
        rc = exl_hdf5_failed(err, -EIO, "HDF5 cannot make the file");
    uint8_t *bytes = exl_hdf5_take_image();
    exl_hdf5_leave();
    if (rc == 0 && !bytes)
        rc = -ENOMEM;
    if (rc < 0) {
        free(bytes);
        return rc;
    }
    *ret_image = bytes;
    *ret_size = exl_superblock_end(bytes);
    return 0;
}

static int write_small(writer_t *writer, exl_error_t *err)
{
    uint8_t *bytes;
    size_t size;
    int rc = make_image(writer, &bytes, &size, err);
    if (rc < 0)
        return rc;
    for (size_t i = 0; i < writer->count; i++)
        if (writer->offsets[i] != HADDR_UNDEF) {
            uint8_t *at = bytes + writer->offsets[i];
            for (size_t j = 0; j < writer->fields[i].npieces; j++) {
                const struct iovec *piece = &writer->fields[i].pieces[j];
                at = (uint8_t *)mempcpy(at, piece->iov_base, piece->iov_len);
            }
        }
    rc = write_at(writer, bytes, size, 0);
    free(bytes);
    return rc;
}

/* HDF5's own errno does not come back from it; what the system said last is as near as one gets. */
static int write_frame(writer_t *writer, exl_error_t *err)
{
    char path[32];
    (void)snprintf(path, sizeof path, "/proc/self/fd/%d", writer->fd);
    int rc = exl_hdf5_enter(err);
    if (rc < 0)
        return rc;
    errno = 0;
    hid_t file = new_file(path, exl_hdf5_disk_access());
    bool fine = file >= 0 && add_fields(file, writer) >= 0;
    if (file >= 0 && H5Fclose(file) < 0)
        fine = false;
    int code = errno ? -errno : -EIO;
    if (!fine)
        rc = exl_hdf5_failed(err, code, "HDF5 cannot write the file");
    exl_hdf5_leave();
    return rc;
}

static int write_large(writer_t *writer, exl_error_t *err)
{
    int rc = write_frame(writer, err);
    for (size_t i = 0; rc == 0 && i < writer->count; i++)
        if (writer->offsets[i] != HADDR_UNDEF)
            rc = write_field(writer, &writer->fields[i], (off_t)writer->offsets[i]);
    return rc;
}

/* ---- the file ---- */

/* In the folder of `path`; no listing of a cache takes it for a result. */
static char *temporary_path(const char *path)
{
    char *temporary;
    uint64_t number = 0;
    const char *slash = strrchr(path, '/');
    int folder = slash ? (int)(slash - path) + 1 : 0;
    if (exl_random(&number, sizeof number) < 0)
        return NULL;
    return asprintf(&temporary, "%.*s.executorlib-%016" PRIx64 ".tmp", folder, path, number) < 0 ? NULL : temporary;
}

static int sync_folder(const char *path)
{
    const char *slash = strrchr(path, '/');
    char *folder = slash ? strndup(path, (size_t)(slash - path) + 1) : strdup(".");
    if (!folder)
        return -ENOMEM;
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    free(folder);
    if (fd < 0)
        return -errno;
    int rc = fsync(fd) < 0 && errno != EINVAL ? -errno : 0; /* some file systems cannot */
    (void)close(fd);
    return rc;
}

static int check_fields(writer_t *writer, exl_error_t *err)
{
    if (writer->count > MOST_FIELDS)
        return exl_error_set(err, -E2BIG, "a result file has at most %d fields", MOST_FIELDS);
    for (size_t i = 0; i < writer->count; i++) {
        const char *name = writer->fields[i].name;
        if (!*name || strlen(name) > EXL_FIELD_NAME_MAX || strchr(name, '/') || strcmp(name, ".") == 0)
            return exl_error_set(err, -EINVAL, "a field cannot be called \"%.80s\"", name);
        writer->offsets[i] = HADDR_UNDEF;
        writer->total += field_size(&writer->fields[i]);
    }
    return 0;
}

/* Closes the file, whose writing gave `rc`. */
static int finish(const writer_t *writer, int rc)
{
    if (rc == 0 && writer->sync && fsync(writer->fd) < 0)
        rc = -errno;
    /* NFS and quotas may say no here only. */
    if (close(writer->fd) < 0 && errno != EINTR && rc == 0)
        rc = -errno;
    return rc;
}

int exl_result_file_write(const char *path, const exl_field_t *fields, size_t count, unsigned flags, exl_error_t *err)
{
    writer_t writer = {.fields = fields,
                       .count = count,
                       .compress = flags & EXL_RESULT_FILE_COMPRESS,
                       .sync = flags & EXL_RESULT_FILE_SYNC};
    int rc = check_fields(&writer, err);
    if (rc < 0)
        return rc;
    char *temporary = temporary_path(path);
    if (!temporary)
        return -ENOMEM;
    writer.fd = open(temporary, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOCTTY, 0666);
    rc = writer.fd < 0 ? -errno : 0;
    if (rc == 0) {
        rc = writer.total <= IN_MEMORY ? write_small(&writer, err) : write_large(&writer, err);
        rc = finish(&writer, rc);
        if (rc == 0 && rename(temporary, path) < 0)
            rc = -errno;
        if (rc < 0)
            (void)unlink(temporary);
        else if (writer.sync)
            rc = sync_folder(path);
    }
    free(temporary);
    return rc;
}
