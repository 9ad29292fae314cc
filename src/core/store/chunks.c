/* chunks.c: the bytes of a dataset, whichever way they lie. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "store/checksum.h"
#include "store/dataset.h"

enum { DEFLATE = 1, FLETCHER32 = 3, NODE = 24, KEY = 24, CHILD = 8, DEEPEST = 16 };

typedef struct reader {
    const exl_source_t *source;
    const exl_dataset_t *dataset;
    uint8_t *bytes;
    uint64_t done;   /* how many are there */
    uint8_t *buffer; /* of a chunk at the end, which is longer than what is needed of it */
    exl_error_t *err;
} reader_t;

static int damaged(exl_error_t *err)
{
    return exl_error_set(err, EXL_EFILE, "it is damaged: the parts of a field do not fit together");
}

/* zlib checks the sum of what it has made. */
static int inflate_all(const uint8_t *from, size_t size, uint8_t *to, size_t expected, exl_error_t *err)
{
    z_stream stream = {.next_in = (Bytef *)(uintptr_t)from, .avail_in = (uInt)size};
    if (size > UINT32_MAX || inflateInit(&stream) != Z_OK)
        return -ENOMEM;
    int rc = Z_OK;
    for (size_t made = 0; rc == Z_OK;) {
        size_t room = expected - made;
        stream.next_out = to + made;
        stream.avail_out = room > UINT32_MAX ? UINT32_MAX : (uInt)room;
        size_t before = stream.avail_out;
        rc = inflate(&stream, Z_NO_FLUSH);
        made += before - stream.avail_out;
        if (rc == Z_STREAM_END && made != expected)
            rc = Z_DATA_ERROR;
    }
    (void)inflateEnd(&stream);
    return rc == Z_STREAM_END ? 0 : exl_error_set(err, EXL_EFILE, "it is damaged: a field cannot be decompressed");
}

/* Undoes the filters, the last one first. Shuffling bytes of one-byte numbers changes nothing. */
static int unfilter(const reader_t *reader, uint32_t skipped, const uint8_t *from, size_t size, uint8_t *to)
{
    const exl_dataset_t *dataset = reader->dataset;
    bool inflated = false;
    for (unsigned i = dataset->nfilters; i-- > 0;) {
        if (skipped >> i & 1)
            continue;
        if (dataset->filters[i] == FLETCHER32) {
            if (size < 4)
                return damaged(reader->err);
            size -= 4;
        } else if (dataset->filters[i] == DEFLATE) {
            if (inflated) /* twice: no result file is */
                return damaged(reader->err);
            /* A sum over the plain bytes comes out of zlib with them: HDF5 always sums last. */
            int rc = inflate_all(from, size, to, (size_t)dataset->chunk, reader->err);
            if (rc < 0)
                return rc;
            inflated = true;
            size = (size_t)dataset->chunk;
        }
    }
    if (size != dataset->chunk)
        return damaged(reader->err);
    if (!inflated)
        memcpy(to, from, size);
    return 0;
}

static int take_chunk(reader_t *reader, uint64_t address, uint64_t stored, uint32_t skipped)
{
    const exl_dataset_t *dataset = reader->dataset;
    uint64_t rest = dataset->size - reader->done;
    bool whole = rest >= dataset->chunk;
    exl_span_t span;
    if (!whole && !reader->buffer && !(reader->buffer = malloc((size_t)dataset->chunk)))
        return -ENOMEM;
    int rc = exl_source_span(reader->source, address, stored, &span, reader->err);
    if (rc < 0)
        return rc;
    uint8_t *to = whole ? reader->bytes + reader->done : reader->buffer;
    rc = unfilter(reader, skipped, span.bytes, span.size, to);
    exl_span_fini(&span);
    if (rc < 0)
        return rc;
    if (!whole)
        memcpy(reader->bytes + reader->done, reader->buffer, (size_t)rest);
    reader->done += whole ? dataset->chunk : rest;
    return 0;
}

static int take_node(reader_t *reader, uint64_t address, int level);

/* Each chunk begins where the one before ended: so none is read twice, and nothing is left out. */
static int take_entry(reader_t *reader, const uint8_t *entry, int level)
{
    uint64_t child = exl_le64(entry + KEY);
    if (level > 0)
        return take_node(reader, child, level - 1);
    if (exl_le64(entry + 8) != reader->done || reader->done >= reader->dataset->size)
        return damaged(reader->err);
    return take_chunk(reader, child, exl_le32(entry), exl_le32(entry + 4));
}

static int take_node(reader_t *reader, uint64_t address, int level)
{
    uint8_t head[NODE];
    exl_span_t span;
    int rc = exl_source_read(reader->source, address, head, sizeof head, reader->err);
    if (rc < 0)
        return rc;
    unsigned count = exl_le16(head + 6);
    if (memcmp(head, "TREE", 4) != 0 || head[4] != 1 || (level >= 0 && head[5] != level) || head[5] > DEEPEST ||
        count == 0)
        return damaged(reader->err);
    rc = exl_source_span(reader->source, address + NODE, (uint64_t)count * (KEY + CHILD), &span, reader->err);
    if (rc < 0)
        return rc;
    for (unsigned i = 0; rc == 0 && i < count; i++)
        rc = take_entry(reader, span.bytes + (size_t)i * (KEY + CHILD), head[5]);
    exl_span_fini(&span);
    return rc;
}

static int check_sum(const exl_dataset_t *dataset, const uint8_t *bytes, exl_error_t *err)
{
    exl_checksum_t sum;
    exl_checksum_init(&sum);
    exl_checksum_add(&sum, bytes, (size_t)dataset->size);
    if (exl_checksum_value(&sum) == dataset->checksum)
        return 0;
    return exl_error_set(err, EXL_EFILE, "it is damaged: the checksum of a field is wrong");
}

int exl_dataset_read(const exl_source_t *source, const exl_dataset_t *dataset, uint8_t *bytes, exl_error_t *err)
{
    reader_t reader = {.source = source, .dataset = dataset, .bytes = bytes, .err = err};
    int rc;
    if (dataset->size == 0)
        return 0;
    if (dataset->layout == EXL_LAYOUT_PLAIN) {
        rc = exl_source_read(source, dataset->address, bytes, (size_t)dataset->size, err);
        return rc == 0 && dataset->summed ? check_sum(dataset, bytes, err) : rc;
    }
    if (dataset->layout == EXL_LAYOUT_CHUNK)
        rc = take_chunk(&reader, dataset->address, dataset->stored, dataset->skipped);
    else
        rc = take_node(&reader, dataset->address, -1);
    free(reader.buffer);
    return rc == 0 && reader.done != dataset->size ? damaged(err) : rc;
}
