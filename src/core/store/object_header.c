/* object_header.c: version 1 (HDF5 1.6 and, by default, all since) and version 2 (with checksums). */
#include "store/object_header.h"

#include <string.h>

#include "store/lookup3.h"

enum {
    MOST_BLOCKS = 32,
    PREFIX_1 = 16,
    PREFIX_2_MAX = 4 + 2 + 16 + 4 + 8, /* signature, version, flags, times, attribute limits, size */
    CHECKSUM = 4,
    HAS_TIMES = 0x20,
    HAS_LIMITS = 0x10,
    HAS_ORDER = 0x04,
    SHARED = 0x02
};

typedef struct block {
    uint64_t offset, size;
} block_t;

typedef struct header {
    const exl_source_t *source;
    int version;
    unsigned flags;
    block_t blocks[MOST_BLOCKS];
    unsigned nblocks;
    exl_header_cb cb;
    void *data;
    exl_error_t *err;
} header_t;

static int damaged(exl_error_t *err)
{
    return exl_error_set(err, EXL_EFILE, "it is damaged: the description of an object makes no sense");
}

static int add_block(header_t *header, uint64_t offset, uint64_t size)
{
    if (header->nblocks == MOST_BLOCKS)
        return damaged(header->err);
    header->blocks[header->nblocks++] = (block_t){offset, size};
    return 0;
}

static int take(header_t *header, const exl_header_message_t *message)
{
    if (message->type != EXL_MESSAGE_CONTINUATION)
        return header->cb(message, header->data, header->err);
    if (message->size < 16 || message->shared)
        return damaged(header->err);
    return add_block(header, exl_le64(message->bytes), exl_le64(message->bytes + 8));
}

/* The messages in `size` bytes at `bytes`, which lie at `offset` of the file. */
static int take_all(header_t *header, const uint8_t *bytes, size_t size, uint64_t offset)
{
    size_t prefix = header->version == 1 ? 8 : header->flags & HAS_ORDER ? 6 : 4;
    for (size_t at = 0; size - at >= prefix;) {
        const uint8_t *head = bytes + at;
        exl_header_message_t message = {
            .type = header->version == 1 ? exl_le16(head) : head[0],
            .shared = head[header->version == 1 ? 4 : 3] & SHARED,
            .bytes = head + prefix,
            .size = exl_le16(head + (header->version == 1 ? 2 : 1)),
            .offset = offset + at + prefix,
        };
        if (message.size > size - at - prefix)
            return damaged(header->err);
        int rc = take(header, &message);
        if (rc < 0)
            return rc;
        at += prefix + message.size;
    }
    return 0;
}

static bool sum_is_right(const exl_span_t *span)
{
    size_t size = span->size - CHECKSUM;
    return exl_lookup3(span->bytes, size) == exl_le32(span->bytes + size);
}

static int take_block(header_t *header, const block_t *block)
{
    exl_span_t span;
    int rc = exl_source_span(header->source, block->offset, block->size, &span, header->err);
    if (rc < 0)
        return rc;
    if (header->version == 1)
        rc = take_all(header, span.bytes, span.size, block->offset);
    else if (span.size < 8 || memcmp(span.bytes, "OCHK", 4) != 0 || !sum_is_right(&span))
        rc = exl_error_set(header->err, EXL_EFILE, "it is damaged: a checksum is wrong");
    else
        rc = take_all(header, span.bytes + 4, span.size - 4 - CHECKSUM, block->offset + 4);
    exl_span_fini(&span);
    return rc;
}

static int start_1(header_t *header, uint64_t address, const uint8_t *prefix)
{
    header->version = 1;
    return add_block(header, address + PREFIX_1, exl_le32(prefix + 8));
}

/* The first block has its checksum together with the prefix. */
static int start_2(header_t *header, uint64_t address, const uint8_t *prefix)
{
    exl_span_t span;
    header->version = 2;
    header->flags = prefix[5];
    size_t at = 6 + (header->flags & HAS_TIMES ? 16 : 0) + (header->flags & HAS_LIMITS ? 4 : 0);
    size_t width = (size_t)1 << (header->flags & 3);
    uint64_t size = exl_le(prefix + at, width);
    at += width;
    if (size > UINT32_MAX)
        return damaged(header->err);
    int rc = exl_source_span(header->source, address, at + size + CHECKSUM, &span, header->err);
    if (rc < 0)
        return rc;
    if (!sum_is_right(&span))
        rc = exl_error_set(header->err, EXL_EFILE, "it is damaged: a checksum is wrong");
    else
        rc = take_all(header, span.bytes + at, (size_t)size, address + at);
    exl_span_fini(&span);
    return rc;
}

int exl_object_header_read(const exl_source_t *source, uint64_t address, exl_header_cb cb, void *data, exl_error_t *err)
{
    uint8_t prefix[PREFIX_2_MAX] = {0};
    header_t header = {.source = source, .cb = cb, .data = data, .err = err};
    if (address >= source->size)
        return damaged(err);
    uint64_t rest = source->size - address;
    int rc = exl_source_read(source, address, prefix, rest < sizeof prefix ? (size_t)rest : sizeof prefix, err);
    if (rc < 0)
        return rc;
    if (memcmp(prefix, "OHDR", 4) == 0 && prefix[4] == 2)
        rc = start_2(&header, address, prefix);
    else if (prefix[0] == 1)
        rc = start_1(&header, address, prefix);
    else
        rc = damaged(err);
    for (unsigned i = 0; rc == 0 && i < header.nblocks; i++)
        rc = take_block(&header, &header.blocks[i]);
    return rc;
}
