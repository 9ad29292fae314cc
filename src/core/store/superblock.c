/* superblock.c: the versions 0 and 1, and 2 and 3, have their fields in different places. */
#include "store/superblock.h"

#include <endian.h>
#include <inttypes.h>
#include <string.h>

enum {
    SIGNATURE = 8,
    WIDTH = 8, /* bytes of an address, in every file that is written today */
    NEW_ADDRESSES = 12
};

static const uint8_t signature[SIGNATURE] = {0x89, 'H', 'D', 'F', '\r', '\n', 0x1a, '\n'};

static uint64_t address(const uint8_t *bytes)
{
    uint64_t value;
    memcpy(&value, bytes, sizeof value);
    return le64toh(value);
}

static int check_addresses(uint64_t base, uint64_t end, uint64_t file_size, exl_error_t *err)
{
    if (base != 0)
        return exl_error_set(err, EXL_EFILE, "it is part of another file");
    if (end > file_size)
        return exl_error_set(err, EXL_EFILE, "it is cut short: %" PRIu64 " bytes of %" PRIu64, file_size, end);
    return 0;
}

static int check_old(const uint8_t *head, size_t size, uint64_t file_size, exl_error_t *err)
{
    size_t at = head[SIGNATURE] == 0 ? 24 : 28;
    if (size < at + 4 * WIDTH || head[13] != WIDTH || head[14] != WIDTH)
        return exl_error_set(err, EXL_EFILE, "its HDF5 header is damaged");
    if (address(head + at + 3 * WIDTH) != UINT64_MAX)
        return exl_error_set(err, EXL_EFILE, "it is an HDF5 file in several parts");
    return check_addresses(address(head + at), address(head + at + 2 * WIDTH), file_size, err);
}

uint64_t exl_superblock_end(const uint8_t *head)
{
    return address(head + NEW_ADDRESSES + 2 * WIDTH);
}

static int check_new(const uint8_t *head, size_t size, uint64_t file_size, exl_error_t *err)
{
    if (size < NEW_ADDRESSES + 4 * WIDTH + 4 || head[9] != WIDTH || head[10] != WIDTH)
        return exl_error_set(err, EXL_EFILE, "its HDF5 header is damaged");
    return check_addresses(address(head + NEW_ADDRESSES), exl_superblock_end(head), file_size, err);
}

int exl_superblock_check(const uint8_t *head, size_t size, uint64_t file_size, exl_error_t *err)
{
    if (file_size == 0)
        return exl_error_set(err, EXL_EFILE, "it is empty");
    if (size <= SIGNATURE || memcmp(head, signature, SIGNATURE) != 0)
        return exl_error_set(err, EXL_EFILE, "it is not an HDF5 file");
    if (head[SIGNATURE] <= 1)
        return check_old(head, size, file_size, err);
    if (head[SIGNATURE] <= 3)
        return check_new(head, size, file_size, err);
    return exl_error_set(err, EXL_EFILE, "its HDF5 header is of the unknown version %d", head[SIGNATURE]);
}
