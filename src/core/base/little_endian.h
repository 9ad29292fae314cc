/* little_endian.h: numbers as bytes, the lowest first, at any place. */
#ifndef EXL_BASE_LITTLE_ENDIAN_H
#define EXL_BASE_LITTLE_ENDIAN_H

#include <stddef.h>
#include <stdint.h>

/* Of 1 to 8 bytes. */
static inline uint64_t exl_le(const uint8_t *bytes, size_t width)
{
    uint64_t number = 0;
    for (size_t i = 0; i < width; i++)
        number |= (uint64_t)bytes[i] << (8 * i);
    return number;
}

static inline uint16_t exl_le16(const uint8_t *bytes)
{
    return (uint16_t)exl_le(bytes, 2);
}

static inline uint32_t exl_le32(const uint8_t *bytes)
{
    return (uint32_t)exl_le(bytes, 4);
}

static inline uint64_t exl_le64(const uint8_t *bytes)
{
    return exl_le(bytes, 8);
}

static inline void exl_put_le(uint8_t *bytes, uint64_t number, size_t width)
{
    for (size_t i = 0; i < width; i++)
        bytes[i] = (uint8_t)(number >> (8 * i));
}

#endif
