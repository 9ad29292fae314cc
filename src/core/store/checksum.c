/* checksum.c: four multiplicative lanes over blocks of 32 bytes: as fast as memory, so that a large result costs no more
 * than its way to the disk. */
#include "store/checksum.h"

#include <endian.h>
#include <string.h>

enum { BLOCK = 32 };

static const uint64_t multiplier = UINT64_C(0x9E3779B97F4A7C15); /* odd, so that a step loses nothing */

static uint64_t step(uint64_t lane, const uint8_t *bytes)
{
    uint64_t word;
    memcpy(&word, bytes, sizeof word);
    lane = (lane ^ le64toh(word)) * multiplier;
    return lane ^ lane >> 29;
}

static void add_blocks(exl_checksum_t *sum, const uint8_t *bytes, size_t count)
{
    uint64_t a = sum->lanes[0], b = sum->lanes[1], c = sum->lanes[2], d = sum->lanes[3];
    for (; count; count--, bytes += BLOCK) {
        a = step(a, bytes);
        b = step(b, bytes + 8);
        c = step(c, bytes + 16);
        d = step(d, bytes + 24);
    }
    sum->lanes[0] = a;
    sum->lanes[1] = b;
    sum->lanes[2] = c;
    sum->lanes[3] = d;
}

void exl_checksum_init(exl_checksum_t *sum)
{
    *sum = (exl_checksum_t){.lanes = {1, 2, 3, 4}};
}

void exl_checksum_add(exl_checksum_t *sum, const void *bytes, size_t size)
{
    const uint8_t *at = bytes;
    size_t have = sum->size % BLOCK;
    sum->size += size;
    if (have) {
        size_t taken = size < BLOCK - have ? size : BLOCK - have;
        memcpy(sum->rest + have, at, taken);
        at += taken;
        size -= taken;
        if (have + taken < BLOCK)
            return;
        add_blocks(sum, sum->rest, 1);
    }
    add_blocks(sum, at, size / BLOCK);
    if (size % BLOCK)
        memcpy(sum->rest, at + size / BLOCK * BLOCK, size % BLOCK);
}

uint64_t exl_checksum_value(const exl_checksum_t *sum)
{
    exl_checksum_t end = *sum;
    size_t have = sum->size % BLOCK;
    if (have) {
        memset(end.rest + have, 0, BLOCK - have);
        add_blocks(&end, end.rest, 1);
    }
    uint64_t value = sum->size;
    for (int i = 0; i < 4; i++) {
        value = (value ^ end.lanes[i]) * multiplier;
        value ^= value >> 32;
    }
    return value;
}
