/* dataset.h: a one-dimensional dataset of bytes in an HDF5 file: how long it is, where it is, its bytes. */
#ifndef EXL_STORE_DATASET_H
#define EXL_STORE_DATASET_H

#include <stdbool.h>

#include "store/source.h"

/* Attribute of a large dataset that lies in its file as it is: the checksum of its bytes. Other readers ignore it. */
#define EXL_DATASET_CHECKSUM "executorlib_checksum"

enum { EXL_DATASET_FILTERS_MAX = 4 };

typedef enum exl_layout {
    EXL_LAYOUT_PLAIN,   /* in one piece, as it is */
    EXL_LAYOUT_CHUNK,   /* one piece, filtered */
    EXL_LAYOUT_CHUNKED, /* pieces of one size, filtered, in a tree */
} exl_layout_t;

typedef struct exl_dataset {
    uint64_t size; /* bytes */
    exl_layout_t layout;
    uint64_t address; /* of the bytes, or of the tree */
    uint64_t stored;  /* how many bytes are at the address, of a layout without tree */
    uint64_t chunk;   /* bytes of a piece */
    uint32_t skipped; /* filters that a single chunk has not gone through, by bit */
    uint16_t filters[EXL_DATASET_FILTERS_MAX];
    unsigned nfilters;
    bool summed;
    uint64_t checksum;
} exl_dataset_t;

/* EXL_EFILE when it is anything else; `err` says what. `header` is the address of the dataset's. */
int exl_dataset_describe(const exl_source_t *source, uint64_t header, exl_dataset_t *dataset, exl_error_t *err);

/* Reads all `dataset->size` bytes, and checks them where that is possible. */
int exl_dataset_read(const exl_source_t *source, const exl_dataset_t *dataset, uint8_t *bytes, exl_error_t *err);

#endif
