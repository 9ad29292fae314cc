/* fuzz_result_file.c: any bytes as a result file: opened, its fields listed and read, in memory and from the disk. */
#include <assert.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "store/result_file.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MOST_BYTES = 64 << 20, BEYOND_MEMORY = 300 << 10 };

static const char *const usual[] = {"function", "input_args", "output", "error", "runtime"};

static void read_field(exl_result_file_t *file, const char *name)
{
    size_t size = 0;
    exl_error_t err;
    if (exl_result_file_find(file, name, &size, &err) <= 0 || size > MOST_BYTES)
        return;
    /* Exactly as many bytes as were announced. */
    uint8_t *bytes = malloc(size);
    int rc = bytes || !size ? exl_result_file_read(file, bytes, &err) : 0;
    assert(rc <= 0);
    free(bytes);
}

static void read_file(const char *path)
{
    exl_error_t err = {""};
    exl_result_file_t *file;
    int rc = exl_result_file_open(path, &file, &err);
    if (rc < 0) {
        assert(*err.text);
        return;
    }
    for (size_t i = 0; i < exl_result_file_count(file); i++)
        read_field(file, exl_result_file_name(file, i));
    for (size_t i = 0; i < sizeof usual / sizeof *usual; i++)
        read_field(file, usual[i]);
    exl_result_file_close(file);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static int fd = -1;
    char path[32];
    if (fd < 0)
        fd = memfd_create("fuzz", MFD_CLOEXEC);
    (void)snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    if (ftruncate(fd, 0) < 0 || pwrite(fd, data, size, 0) != (ssize_t)size)
        return 0;
    read_file(path);
    /* A longer file is read by HDF5 itself. */
    if (ftruncate(fd, BEYOND_MEMORY) == 0)
        read_file(path);
    return 0;
}
