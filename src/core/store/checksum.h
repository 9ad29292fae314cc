/* checksum.h: tells whether bytes on disk are those that were written; no protection against someone's intent. */
#ifndef EXL_STORE_CHECKSUM_H
#define EXL_STORE_CHECKSUM_H

#include <stddef.h>
#include <stdint.h>

/* Feed pieces of any size in order; the pieces' borders do not count. */
typedef struct exl_checksum {
    uint64_t lanes[4];
    uint8_t rest[32]; /* bytes not yet summed: fewer than a block */
    uint64_t size;
} exl_checksum_t;

void exl_checksum_init(exl_checksum_t *sum);
void exl_checksum_add(exl_checksum_t *sum, const void *bytes, size_t size);
uint64_t exl_checksum_value(const exl_checksum_t *sum);

#endif
