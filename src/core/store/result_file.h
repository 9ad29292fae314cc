/* result_file.h: files that hold a call and its result: HDF5, a one-dimensional dataset of bytes for each field.
 *
 * Reading takes files of this library and of others, and trusts none: what is not a regular file, is cut short, or holds
 * anything but plain byte datasets is refused with EXL_EFILE. Writing replaces a file in one step. The system may still
 * hold a new file in memory when the power fails; what is torn then is found by checksums when it is read: HDF5's own
 * cover its metadata and fields up to 60,000 bytes, which are stored in it; an attribute covers each larger field; zlib's
 * those that are compressed. Fields of other writers have what these gave them: zlib's, if they are compressed.
 *
 * Every function may be called from any thread; writers take turns at the HDF5 library, which serves one at a time.
 * Reading and writing block on the disk. No file is ever locked. */
#ifndef EXL_STORE_RESULT_FILE_H
#define EXL_STORE_RESULT_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/uio.h>

#include "base/error.h"

enum { EXL_FIELD_NAME_MAX = 63 };

/* Flags of exl_result_file_write(). */
enum {
    EXL_RESULT_FILE_COMPRESS = 1, /* gzip every field */
    EXL_RESULT_FILE_SYNC = 2      /* return when it would outlast a power cut */
};

/* What a field holds may lie in several pieces. All is borrowed. */
typedef struct exl_field {
    const char *name;
    const struct iovec *pieces;
    size_t npieces;
} exl_field_t;

typedef struct exl_result_file exl_result_file_t;

/* Writes a temporary file beside `path` and renames it; on failure nothing is left. */
int exl_result_file_write(const char *path, const exl_field_t *fields, size_t count, unsigned flags, exl_error_t *err);

/* -ENOENT: no such file. EXL_EFILE: it is no result file, or a damaged one; `err` says what is wrong, without its name. */
int exl_result_file_open(const char *path, exl_result_file_t **ret_file, exl_error_t *err);

/* The fields' names. */
size_t exl_result_file_count(const exl_result_file_t *file);
const char *exl_result_file_name(const exl_result_file_t *file, size_t index);

/* 1 and the size in bytes, or 0 if there is no such field. The field found is the one that read() reads. */
int exl_result_file_find(exl_result_file_t *file, const char *name, size_t *ret_size, exl_error_t *err);

/* Reads all of the field found last. */
int exl_result_file_read(exl_result_file_t *file, void *bytes, exl_error_t *err);

/* NULL is fine. */
void exl_result_file_close(exl_result_file_t *file);

#endif
