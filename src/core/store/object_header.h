/* object_header.h: what an HDF5 file says about a group or a dataset: a list of messages, in one block or several. */
#ifndef EXL_STORE_OBJECT_HEADER_H
#define EXL_STORE_OBJECT_HEADER_H

#include <stdbool.h>

#include "store/source.h"

enum {
    EXL_MESSAGE_DATASPACE = 0x01,
    EXL_MESSAGE_LINK_INFO = 0x02,
    EXL_MESSAGE_DATATYPE = 0x03,
    EXL_MESSAGE_LINK = 0x06,
    EXL_MESSAGE_EXTERNAL = 0x07,
    EXL_MESSAGE_LAYOUT = 0x08,
    EXL_MESSAGE_FILTERS = 0x0B,
    EXL_MESSAGE_ATTRIBUTE = 0x0C,
    EXL_MESSAGE_CONTINUATION = 0x10,
    EXL_MESSAGE_SYMBOL_TABLE = 0x11
};

typedef struct exl_header_message {
    unsigned type;
    bool shared; /* it lies elsewhere, and the bytes say where */
    const uint8_t *bytes;
    size_t size;
    uint64_t offset; /* of the bytes in the file */
} exl_header_message_t;

/* Returns 0 to go on, or a negative code. */
typedef int (*exl_header_cb)(const exl_header_message_t *message, void *data, exl_error_t *err);

/* Calls back for each message. Checksums, where the version has them, are checked before. */
int exl_object_header_read(const exl_source_t *source, uint64_t address, exl_header_cb cb, void *data,
                           exl_error_t *err);

#endif
