/* source.h: the bytes of a file that is not trusted, read by place and size, never past its end.
 *
 * A small file is in memory as a whole. Of a larger one only what is asked for is read; a file that becomes shorter
 * meanwhile gives an error. */
#ifndef EXL_STORE_SOURCE_H
#define EXL_STORE_SOURCE_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/little_endian.h"

typedef struct exl_source {
    int fd;          /* owned; -1 once the file is in memory */
    uint8_t *memory; /* owned or NULL */
    uint64_t size;
} exl_source_t;

/* Some bytes of it, in memory until fini. */
typedef struct exl_span {
    const uint8_t *bytes;
    size_t size;
    uint8_t *owned;
} exl_span_t;

/* Opens a regular file; never waits for what is at the other end of a FIFO or device. -errno, or EXL_EFILE. */
int exl_source_open(exl_source_t *source, const char *path, exl_error_t *err);
void exl_source_close(exl_source_t *source);

/* EXL_EFILE when the file does not have that many bytes there. */
int exl_source_read(const exl_source_t *source, uint64_t offset, void *bytes, size_t size, exl_error_t *err);
int exl_source_span(const exl_source_t *source, uint64_t offset, uint64_t size, exl_span_t *ret_span, exl_error_t *err);
void exl_span_fini(exl_span_t *span);

#endif
