/* lookup3.c: the algorithm is in the public domain (burtleburtle.net/bob/c/lookup3.c, hashlittle). */
#include "store/lookup3.h"

#include <endian.h>
#include <string.h>

enum { BLOCK = 12 };

typedef struct state {
    uint32_t a, b, c;
} state_t;

static uint32_t rotated(uint32_t word, int bits)
{
    return word << bits | word >> (32 - bits);
}

static void add(state_t *s, const uint8_t *bytes)
{
    uint32_t words[3];
    memcpy(words, bytes, sizeof words);
    s->a += le32toh(words[0]);
    s->b += le32toh(words[1]);
    s->c += le32toh(words[2]);
}

static void mix(state_t *s)
{
    static const int bits[] = {4, 6, 8, 16, 19, 4};
    uint32_t *x = &s->a, *y = &s->b, *z = &s->c;
    for (int i = 0; i < 6; i++) {
        *x -= *z;
        *x ^= rotated(*z, bits[i]);
        *z += *y;
        uint32_t *first = x;
        x = y;
        y = z;
        z = first;
    }
}

static void finish(state_t *s)
{
    static const int bits[] = {14, 11, 25, 16, 4, 14, 24};
    uint32_t *x = &s->c, *y = &s->b, *z = &s->a;
    for (int i = 0; i < 7; i++) {
        *x ^= *y;
        *x -= rotated(*y, bits[i]);
        uint32_t *first = x;
        x = z;
        z = y;
        y = first;
    }
}

uint32_t exl_lookup3(const uint8_t *bytes, size_t size)
{
    uint8_t rest[BLOCK] = {0};
    uint32_t start = UINT32_C(0xdeadbeef) + (uint32_t)size;
    state_t s = {start, start, start};
    if (size == 0)
        return s.c;
    for (; size > BLOCK; size -= BLOCK, bytes += BLOCK) {
        add(&s, bytes);
        mix(&s);
    }
    memcpy(rest, bytes, size);
    add(&s, rest);
    finish(&s);
    return s.c;
}
