/* buffer.c: growable bytes with a read position. Invariant: start <= end <= capacity. */
#include "base/buffer.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { INITIAL_CAPACITY = 4096, KEEP_CAPACITY = 256 * 1024 };

void exl_buffer_init(exl_buffer_t *buffer)
{
    *buffer = (exl_buffer_t){0};
}

void exl_buffer_fini(exl_buffer_t *buffer)
{
    free(buffer->bytes);
    exl_buffer_init(buffer);
}

uint8_t *exl_buffer_reserve(exl_buffer_t *buffer, size_t extra)
{
    size_t used = exl_buffer_size(buffer);
    if (extra > SIZE_MAX / 2 - used)
        return NULL;
    if (buffer->capacity - buffer->end >= extra && buffer->bytes)
        return buffer->bytes + buffer->end;
    /* Moving the unread bytes down is enough when at least half of the buffer has been read already. */
    if (buffer->capacity - used >= extra && buffer->start >= buffer->capacity / 2 && buffer->bytes) {
        memmove(buffer->bytes, buffer->bytes + buffer->start, used);
    } else {
        size_t capacity = buffer->capacity ? buffer->capacity : INITIAL_CAPACITY;
        while (capacity < used + extra)
            capacity *= 2;
        uint8_t *bytes = malloc(capacity);
        if (!bytes)
            return NULL;
        if (buffer->bytes)
            memcpy(bytes, buffer->bytes + buffer->start, used);
        free(buffer->bytes);
        buffer->bytes = bytes;
        buffer->capacity = capacity;
    }
    buffer->start = 0;
    buffer->end = used;
    return buffer->bytes + used;
}

int exl_buffer_append(exl_buffer_t *buffer, const void *bytes, size_t size)
{
    if (size == 0)
        return 0;
    uint8_t *room = exl_buffer_reserve(buffer, size);
    if (!room)
        return -ENOMEM;
    memcpy(room, bytes, size);
    buffer->end += size;
    return 0;
}

void exl_buffer_consume(exl_buffer_t *buffer, size_t size)
{
    assert(size <= exl_buffer_size(buffer));
    buffer->start += size;
    if (buffer->start != buffer->end)
        return;
    buffer->start = buffer->end = 0;
    if (buffer->capacity > KEEP_CAPACITY)
        exl_buffer_fini(buffer);
}
