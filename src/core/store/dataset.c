/* dataset.c: what the messages of a dataset say. */
#include "store/dataset.h"

#include <string.h>

#include "store/object_header.h"

enum {
    DEFLATE = 1,
    SHUFFLE = 2,
    FLETCHER32 = 3,
    BEST_COMPRESSION = 1032 /* gzip never does better: no dataset is larger than this many times its file */
};

typedef struct description {
    exl_dataset_t *dataset;
    bool has_space, has_type, has_layout;
} description_t;

static int damaged(exl_error_t *err)
{
    return exl_error_set(err, EXL_EFILE, "it is damaged: the description of a field makes no sense");
}

static int not_plain(exl_error_t *err)
{
    return exl_error_set(err, EXL_EFILE, "a field does not hold plain bytes");
}

/* ---- messages ---- */

static int take_space(exl_dataset_t *dataset, const uint8_t *bytes, size_t size, exl_error_t *err)
{
    size_t at = size > 0 && bytes[0] == 1 ? 8 : 4;
    if (size < at || bytes[0] < 1 || bytes[0] > 2)
        return damaged(err);
    if (bytes[1] != 1 || size < at + 8)
        return not_plain(err);
    dataset->size = exl_le64(bytes + at);
    return 0;
}

static int check_type(const uint8_t *bytes, size_t size, exl_error_t *err)
{
    enum { CLASS = 0x0F, INTEGER = 0 };
    if (size < 8)
        return damaged(err);
    return (bytes[0] & CLASS) == INTEGER && exl_le32(bytes + 4) == 1 ? 0 : not_plain(err);
}

/* One piece, described where there could be an index: since HDF5 1.10. */
static int take_single_chunk(exl_dataset_t *dataset, const uint8_t *bytes, size_t size, exl_error_t *err)
{
    enum { FILTERED = 2, SINGLE = 1 };
    if (size < 5)
        return damaged(err);
    size_t width = bytes[4], at = 5 + 2 * width;
    bool filtered = bytes[2] & FILTERED;
    if (bytes[3] != 2 || width < 1 || width > 8 || size < at + 1 + (filtered ? 12 : 0) + 8)
        return not_plain(err);
    if (bytes[at++] != SINGLE)
        return exl_error_set(err, EXL_EFILE, "a field is stored in a way that is not known here");
    dataset->chunk = dataset->stored = exl_le(bytes + 5, width);
    if (filtered) {
        dataset->stored = exl_le64(bytes + at);
        dataset->skipped = exl_le32(bytes + at + 8);
        at += 12;
    }
    dataset->layout = EXL_LAYOUT_CHUNK;
    dataset->address = exl_le64(bytes + at);
    return 0;
}

static int take_layout(exl_dataset_t *dataset, const exl_header_message_t *message, exl_error_t *err)
{
    enum { COMPACT, CONTIGUOUS, CHUNKED };
    const uint8_t *bytes = message->bytes;
    size_t size = message->size;
    if (size < 4 || bytes[0] < 3 || bytes[0] > 4)
        return exl_error_set(err, EXL_EFILE, "a field is stored in a way that is not known here");
    dataset->layout = EXL_LAYOUT_PLAIN;
    if (bytes[1] == COMPACT) {
        dataset->stored = exl_le16(bytes + 2);
        dataset->address = message->offset + 4;
        return dataset->stored <= size - 4 ? 0 : damaged(err);
    }
    if (bytes[1] == CONTIGUOUS && size >= 18) {
        dataset->address = exl_le64(bytes + 2);
        dataset->stored = exl_le64(bytes + 10);
        return 0;
    }
    if (bytes[1] == CHUNKED && bytes[0] == 4)
        return take_single_chunk(dataset, bytes, size, err);
    if (bytes[1] != CHUNKED || size < 19 || bytes[2] != 2) /* one dimension, and the size of an element */
        return not_plain(err);
    dataset->layout = EXL_LAYOUT_CHUNKED;
    dataset->address = exl_le64(bytes + 3);
    dataset->chunk = exl_le32(bytes + 11);
    return 0;
}

static int take_filters(exl_dataset_t *dataset, const uint8_t *bytes, size_t size, exl_error_t *err)
{
    if (size < 2 || bytes[0] < 1 || bytes[0] > 2)
        return damaged(err);
    bool old = bytes[0] == 1;
    size_t at = old ? 8 : 2;
    unsigned count = bytes[1];
    if (count > EXL_DATASET_FILTERS_MAX)
        return exl_error_set(err, EXL_EFILE, "a field is filtered in a way that is not known here");
    for (unsigned i = 0; i < count; i++) {
        size_t prefix = old ? 8 : 6; /* newer ones have no name, for filters of HDF5's own */
        if (at > size || size - at < prefix)
            return damaged(err);
        unsigned filter = exl_le16(bytes + at);
        if (filter != DEFLATE && filter != SHUFFLE && filter != FLETCHER32)
            return exl_error_set(err, EXL_EFILE, "a field is filtered in a way that is not known here");
        size_t name = old ? exl_le16(bytes + at + 2) : 0;
        size_t nvalues = exl_le16(bytes + at + prefix - 2);
        at += prefix + (name + 7) / 8 * 8 + 4 * (old ? (nvalues + 1) / 2 * 2 : nvalues);
        dataset->filters[i] = (uint16_t)filter;
    }
    dataset->nfilters = count;
    return 0;
}

/* Only ours is of interest: version 3, a single number. */
static void take_attribute(exl_dataset_t *dataset, const uint8_t *bytes, size_t size)
{
    enum { PREFIX = 9, WIDTH = 8 };
    static const char name[] = EXL_DATASET_CHECKSUM;
    if (size < PREFIX + sizeof name || bytes[0] != 3 || exl_le16(bytes + 2) != sizeof name ||
        memcmp(bytes + PREFIX, name, sizeof name) != 0)
        return;
    size_t at = PREFIX + sizeof name + exl_le16(bytes + 4) + exl_le16(bytes + 6);
    if (size < at + WIDTH)
        return;
    dataset->checksum = exl_le64(bytes + at);
    dataset->summed = true;
}

static int message_cb(const exl_header_message_t *message, void *data, exl_error_t *err)
{
    description_t *description = data;
    exl_dataset_t *dataset = description->dataset;
    bool matters = message->type == EXL_MESSAGE_DATASPACE || message->type == EXL_MESSAGE_DATATYPE ||
                   message->type == EXL_MESSAGE_LAYOUT || message->type == EXL_MESSAGE_FILTERS;
    if (message->shared)
        return matters ? not_plain(err) : 0;
    switch (message->type) {
    case EXL_MESSAGE_DATASPACE:
        description->has_space = true;
        return take_space(dataset, message->bytes, message->size, err);
    case EXL_MESSAGE_DATATYPE:
        description->has_type = true;
        return check_type(message->bytes, message->size, err);
    case EXL_MESSAGE_LAYOUT:
        description->has_layout = true;
        return take_layout(dataset, message, err);
    case EXL_MESSAGE_FILTERS:
        return take_filters(dataset, message->bytes, message->size, err);
    case EXL_MESSAGE_ATTRIBUTE:
        take_attribute(dataset, message->bytes, message->size);
        return 0;
    case EXL_MESSAGE_EXTERNAL:
        return exl_error_set(err, EXL_EFILE, "a field is in another file");
    default:
        return 0;
    }
}

/* ---- the whole ---- */

static int check(const exl_source_t *source, const exl_dataset_t *dataset, exl_error_t *err)
{
    bool plain = dataset->layout == EXL_LAYOUT_PLAIN;
    if (dataset->size > source->size * (plain ? 1 : BEST_COMPRESSION) || dataset->size > SIZE_MAX / 2)
        return damaged(err);
    if (plain)
        return dataset->stored == dataset->size && !dataset->nfilters ? 0 : damaged(err);
    /* HDF5 stores chunks as a whole; one that is much larger than its field is no result file's. */
    uint64_t most = dataset->size > (1 << 20) ? dataset->size : (1 << 20);
    if (dataset->chunk == 0 || dataset->chunk > most)
        return damaged(err);
    return dataset->layout == EXL_LAYOUT_CHUNK && dataset->size > dataset->chunk ? damaged(err) : 0;
}

int exl_dataset_describe(const exl_source_t *source, uint64_t header, exl_dataset_t *dataset, exl_error_t *err)
{
    description_t description = {.dataset = dataset};
    *dataset = (exl_dataset_t){.size = 0};
    int rc = exl_object_header_read(source, header, message_cb, &description, err);
    if (rc < 0)
        return rc;
    if (!description.has_space || !description.has_type || !description.has_layout)
        return not_plain(err);
    return check(source, dataset, err);
}
