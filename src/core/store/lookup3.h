/* lookup3.h: Bob Jenkins' hash, HDF5's checksum of its own metadata. */
#ifndef EXL_STORE_LOOKUP3_H
#define EXL_STORE_LOOKUP3_H

#include <stddef.h>
#include <stdint.h>

uint32_t exl_lookup3(const uint8_t *bytes, size_t size);

#endif
