/* source.c: pread or memcpy, after the one check that everything rests on. */
#include "store/source.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    IN_MEMORY = 256 << 10, /* up to this size a file is read at once */
    LARGEST_SPAN = 64 << 20
};

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

static int read_from(int fd, uint64_t offset, uint8_t *bytes, size_t size, exl_error_t *err)
{
    while (size) {
        ssize_t rc = pread(fd, bytes, size, (off_t)offset);
        if (rc < 0 && errno == EINTR)
            continue;
        if (rc < 0)
            return exl_error_set(err, -errno, "%s", strerror(errno));
        if (rc == 0)
            return exl_error_set(err, EXL_EFILE, "it became shorter while it was read");
        bytes += rc;
        offset += (uint64_t)rc;
        size -= (size_t)rc;
    }
    return 0;
}

int exl_source_open(exl_source_t *source, const char *path, exl_error_t *err)
{
    *source = (exl_source_t){.fd = -1};
    int fd = open_regular(path, &source->size, err);
    if (fd < 0)
        return fd;
    source->fd = fd;
    if (source->size > IN_MEMORY)
        return 0;
    int rc = -ENOMEM;
    source->memory = malloc((size_t)source->size + 1);
    if (source->memory)
        rc = read_from(fd, 0, source->memory, (size_t)source->size, err);
    (void)close(fd);
    source->fd = -1;
    if (rc < 0)
        exl_source_close(source);
    return rc;
}

void exl_source_close(exl_source_t *source)
{
    if (source->fd >= 0)
        (void)close(source->fd);
    free(source->memory);
    *source = (exl_source_t){.fd = -1};
}

static int check(const exl_source_t *source, uint64_t offset, uint64_t size, exl_error_t *err)
{
    if (offset <= source->size && size <= source->size - offset)
        return 0;
    return exl_error_set(err, EXL_EFILE, "it is damaged: %" PRIu64 " bytes at %" PRIu64 " are not there", size, offset);
}

int exl_source_read(const exl_source_t *source, uint64_t offset, void *bytes, size_t size, exl_error_t *err)
{
    int rc = check(source, offset, size, err);
    if (rc < 0 || !source->memory)
        return rc < 0 ? rc : read_from(source->fd, offset, bytes, size, err);
    memcpy(bytes, source->memory + offset, size);
    return 0;
}

int exl_source_span(const exl_source_t *source, uint64_t offset, uint64_t size, exl_span_t *ret_span, exl_error_t *err)
{
    exl_span_t span = {NULL, (size_t)size, NULL};
    int rc = check(source, offset, size, err);
    if (rc < 0)
        return rc;
    if (size > LARGEST_SPAN)
        return exl_error_set(err, EXL_EFILE, "it is damaged: a part of its description has %" PRIu64 " bytes", size);
    if (source->memory) {
        span.bytes = source->memory + offset;
    } else {
        if (!(span.owned = malloc((size_t)size + 1)))
            return -ENOMEM;
        if ((rc = read_from(source->fd, offset, span.owned, (size_t)size, err)) < 0) {
            free(span.owned);
            return rc;
        }
        span.bytes = span.owned;
    }
    *ret_span = span;
    return 0;
}

void exl_span_fini(exl_span_t *span)
{
    free(span->owned);
    *span = (exl_span_t){NULL, 0, NULL};
}
