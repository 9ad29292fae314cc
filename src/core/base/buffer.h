/* buffer.h: growable bytes with a read position; what a channel reads into and writes from. */
#ifndef EXL_BASE_BUFFER_H
#define EXL_BASE_BUFFER_H

#include <stddef.h>
#include <stdint.h>

typedef struct exl_buffer {
    uint8_t *bytes; /* owned */
    size_t start;   /* first unread byte */
    size_t end;     /* one past the last byte */
    size_t capacity;
} exl_buffer_t;

void exl_buffer_init(exl_buffer_t *buffer);
void exl_buffer_fini(exl_buffer_t *buffer);

/* Makes room for `extra` bytes after `end` and returns where they go, or NULL when memory is out.
 * Unread bytes may move: pointers into the buffer are good until the next reserve. */
uint8_t *exl_buffer_reserve(exl_buffer_t *buffer, size_t extra);

int exl_buffer_append(exl_buffer_t *buffer, const void *bytes, size_t size);

/* Drops `size` unread bytes from the front; gives the memory back when a large buffer has run empty. */
void exl_buffer_consume(exl_buffer_t *buffer, size_t size);

static inline size_t exl_buffer_size(const exl_buffer_t *buffer)
{
    return buffer->end - buffer->start;
}

static inline uint8_t *exl_buffer_data(const exl_buffer_t *buffer)
{
    return buffer->bytes + buffer->start;
}

#endif
