/* fuzz_payload.c: any bytes as a region: what the view hands out lies inside, in memory and in a file alike. */
#include <assert.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/error.h"
#include "task/payload.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static unsigned touch(const void *bytes, size_t size)
{
    unsigned sum = 0;
    for (size_t i = 0; i < size; i++)
        sum += ((const uint8_t *)bytes)[i];
    return sum;
}

/* Reads everything; the sum of it, or the code of the refusal. */
static int64_t read_payload(exl_payload_t *payload)
{
    exl_payload_view_t view;
    int rc = exl_payload_view(payload, &view);
    if (rc < 0)
        return rc;
    const uint8_t *end = view.region + exl_payload_size(payload);
    assert(view.body >= view.region && view.body + view.body_size <= end);
    int64_t sum = touch(view.body, view.body_size);
    for (size_t i = 0; i < view.nbuffers; i++) {
        exl_segment_t buffer = exl_payload_view_buffer(&view, i);
        const uint8_t *bytes = buffer.bytes;
        assert(bytes >= view.body + view.body_size && bytes + buffer.size <= end);
        assert((size_t)(bytes - view.region) % EXL_ALIGNMENT == 0);
        sum += touch(bytes, buffer.size);
    }
    return sum;
}

static int64_t read_as_file(const uint8_t *data, size_t size)
{
    exl_payload_t *payload;
    int fd = memfd_create("fuzz", MFD_CLOEXEC);
    assert(fd >= 0 && write(fd, data, size) == (ssize_t)size);
    if (exl_payload_from_file(fd, size, &payload) < 0) {
        (void)close(fd);
        return EXL_EPROTOCOL;
    }
    int rc = exl_payload_map(payload);
    assert(rc == 0);
    int64_t sum = read_payload(payload);
    exl_payload_unref(payload);
    return sum;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    exl_payload_t *payload;
    int64_t sum = EXL_EPROTOCOL;
    if (exl_payload_from_region(data, size, &payload) == 0) {
        sum = read_payload(payload);
        exl_payload_unref(payload);
    }
    assert(read_as_file(data, size) == sum);
    return 0;
}
