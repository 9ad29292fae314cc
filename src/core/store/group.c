/* group.c: HDF5's older files have a tree of names, whose text is in a heap; newer ones a message for each name. */
#include "store/group.h"

#include <string.h>

#include "store/object_header.h"

enum { DEEPEST = 8, NODE = 24, SYMBOLS = 8, SYMBOL = 40, HEAP = 32 };

typedef struct reader {
    const exl_source_t *source;
    exl_group_t *group;
    uint64_t tree, heap; /* of the older kind, once known */
    bool old;
    exl_span_t names;
    exl_error_t *err;
} reader_t;

static int damaged(exl_error_t *err)
{
    return exl_error_set(err, EXL_EFILE, "it is damaged: the list of its fields makes no sense");
}

static int add(reader_t *reader, const uint8_t *name, size_t size, uint64_t address)
{
    exl_group_t *group = reader->group;
    if (size == 0 || size > EXL_GROUP_NAME_MAX || memchr(name, 0, size))
        return 0;
    if (group->count == EXL_GROUP_MAX)
        return exl_error_set(reader->err, EXL_EFILE, "it has more fields than any result file");
    memcpy(group->entries[group->count].name, name, size);
    group->entries[group->count].name[size] = 0;
    group->entries[group->count++].address = address;
    return 0;
}

/* ---- a message for each name ---- */

static int take_link(reader_t *reader, const uint8_t *bytes, size_t size)
{
    enum { HAS_TYPE = 0x08, HAS_ORDER = 0x04, HAS_CHARSET = 0x10 };
    size_t at = 2;
    if (size < at || bytes[0] != 1)
        return damaged(reader->err);
    unsigned flags = bytes[1];
    size_t width = (size_t)1 << (flags & 3);
    size_t type_at = at;
    at += (flags & HAS_TYPE ? 1 : 0) + (flags & HAS_ORDER ? 8 : 0) + (flags & HAS_CHARSET ? 1 : 0);
    if (size < at + width)
        return damaged(reader->err);
    bool hard = !(flags & HAS_TYPE) || bytes[type_at] == 0;
    uint64_t length = exl_le(bytes + at, width);
    at += width;
    if (length > size - at || (hard && size - at - length < 8))
        return damaged(reader->err);
    uint64_t address = hard ? exl_le64(bytes + at + length) : EXL_GROUP_NO_OBJECT;
    return add(reader, bytes + at, (size_t)length, address);
}

/* Many names are in a heap of their own kind, which no result file needs. */
static int check_link_info(const uint8_t *bytes, size_t size, exl_error_t *err)
{
    size_t at = 2 + (size > 1 && bytes[1] & 1 ? 8 : 0);
    if (size < at + 8)
        return damaged(err);
    if (exl_le64(bytes + at) != UINT64_MAX)
        return exl_error_set(err, EXL_EFILE, "it has more fields than any result file");
    return 0;
}

static int message_cb(const exl_header_message_t *message, void *data, exl_error_t *err)
{
    reader_t *reader = data;
    if (message->shared)
        return damaged(err);
    switch (message->type) {
    case EXL_MESSAGE_LINK:
        return take_link(reader, message->bytes, message->size);
    case EXL_MESSAGE_LINK_INFO:
        return check_link_info(message->bytes, message->size, err);
    case EXL_MESSAGE_SYMBOL_TABLE:
        if (message->size < 16)
            return damaged(err);
        reader->tree = exl_le64(message->bytes);
        reader->heap = exl_le64(message->bytes + 8);
        reader->old = true;
        return 0;
    default:
        return 0;
    }
}

/* ---- a tree of names ---- */

static int open_heap(reader_t *reader)
{
    uint8_t head[HEAP];
    int rc = exl_source_read(reader->source, reader->heap, head, sizeof head, reader->err);
    if (rc < 0)
        return rc;
    if (memcmp(head, "HEAP", 4) != 0)
        return damaged(reader->err);
    return exl_source_span(reader->source, exl_le64(head + 24), exl_le64(head + 8), &reader->names, reader->err);
}

static int take_symbol(reader_t *reader, const uint8_t *symbol)
{
    enum { SOFT_LINK = 2 };
    uint64_t at = exl_le64(symbol);
    if (at >= reader->names.size)
        return damaged(reader->err);
    const uint8_t *name = reader->names.bytes + at;
    const uint8_t *end = memchr(name, 0, reader->names.size - at);
    if (!end)
        return damaged(reader->err);
    uint64_t address = exl_le32(symbol + 16) == SOFT_LINK ? EXL_GROUP_NO_OBJECT : exl_le64(symbol + 8);
    return add(reader, name, (size_t)(end - name), address);
}

static int take_symbols(reader_t *reader, uint64_t address)
{
    uint8_t head[SYMBOLS];
    exl_span_t span;
    int rc = exl_source_read(reader->source, address, head, sizeof head, reader->err);
    if (rc < 0)
        return rc;
    unsigned count = exl_le16(head + 6);
    if (memcmp(head, "SNOD", 4) != 0 || count == 0)
        return damaged(reader->err);
    rc = exl_source_span(reader->source, address + SYMBOLS, (uint64_t)count * SYMBOL, &span, reader->err);
    if (rc < 0)
        return rc;
    for (unsigned i = 0; rc == 0 && i < count; i++)
        rc = take_symbol(reader, span.bytes + (size_t)i * SYMBOL);
    exl_span_fini(&span);
    return rc;
}

/* Every node leads to names, of which there are few: so this ends soon, whatever the file says. */
static int take_node(reader_t *reader, uint64_t address, int level)
{
    enum { KEY = 8, CHILD = 8 };
    uint8_t head[NODE];
    exl_span_t span;
    int rc = exl_source_read(reader->source, address, head, sizeof head, reader->err);
    if (rc < 0)
        return rc;
    unsigned count = exl_le16(head + 6);
    if (memcmp(head, "TREE", 4) != 0 || head[4] != 0 || (level >= 0 && head[5] != level) || head[5] > DEEPEST)
        return damaged(reader->err);
    if (count == 0)
        return level < 0 ? 0 : damaged(reader->err);
    rc = exl_source_span(reader->source, address + NODE, (uint64_t)count * (KEY + CHILD), &span, reader->err);
    if (rc < 0)
        return rc;
    for (unsigned i = 0; rc == 0 && i < count; i++) {
        uint64_t child = exl_le64(span.bytes + (size_t)i * (KEY + CHILD) + KEY);
        rc = head[5] == 0 ? take_symbols(reader, child) : take_node(reader, child, head[5] - 1);
    }
    exl_span_fini(&span);
    return rc;
}

int exl_group_read(const exl_source_t *source, uint64_t header, exl_group_t *group, exl_error_t *err)
{
    reader_t reader = {.source = source, .group = group, .err = err};
    group->count = 0;
    int rc = exl_object_header_read(source, header, message_cb, &reader, err);
    if (rc < 0 || !reader.old)
        return rc;
    rc = open_heap(&reader);
    if (rc == 0)
        rc = take_node(&reader, reader.tree, -1);
    exl_span_fini(&reader.names);
    return rc;
}
