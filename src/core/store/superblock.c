/* superblock.c: the versions 0 and 1, and 2 and 3, have their fields in different places. */
#include "store/superblock.h"

#include <inttypes.h>
#include <string.h>

#include "store/lookup3.h"
#include "store/source.h"

#define SIGNATURE ((size_t)8)
#define WIDTH ((size_t)8)          /* bytes of an address, in every file that is written today */
#define NEW_ADDRESSES ((size_t)12) /* base, extension, end, root; then a checksum */
#define NEW_SIZE (NEW_ADDRESSES + 4 * WIDTH + 4)
#define OLD_TAIL (4 * WIDTH + 2 * WIDTH) /* base, free space, end, driver; of the root's entry: name, header */

static const uint8_t signature[SIGNATURE] = {0x89, 'H', 'D', 'F', '\r', '\n', 0x1a, '\n'};

static int damaged(exl_error_t *err)
{
    return exl_error_set(err, EXL_EFILE, "its HDF5 header is damaged");
}

static int check_addresses(uint64_t base, uint64_t end, uint64_t file_size, exl_error_t *err)
{
    if (base != 0)
        return exl_error_set(err, EXL_EFILE, "it is part of another file");
    if (end > file_size)
        return exl_error_set(err, EXL_EFILE, "it is cut short: %" PRIu64 " bytes of %" PRIu64, file_size, end);
    return 0;
}

static int read_old(const uint8_t *head, size_t size, uint64_t file_size, uint64_t *ret_root, exl_error_t *err)
{
    size_t at = head[SIGNATURE] == 0 ? 24 : 28;
    if (size < at + OLD_TAIL || head[13] != WIDTH || head[14] != WIDTH)
        return damaged(err);
    if (exl_le64(head + at + 3 * WIDTH) != UINT64_MAX)
        return exl_error_set(err, EXL_EFILE, "it is an HDF5 file in several parts");
    *ret_root = exl_le64(head + at + 5 * WIDTH);
    return check_addresses(exl_le64(head + at), exl_le64(head + at + 2 * WIDTH), file_size, err);
}

uint64_t exl_superblock_end(const uint8_t *head)
{
    return exl_le64(head + NEW_ADDRESSES + 2 * WIDTH);
}

static int read_new(const uint8_t *head, size_t size, uint64_t file_size, uint64_t *ret_root, exl_error_t *err)
{
    if (size < NEW_SIZE || head[9] != WIDTH || head[10] != WIDTH ||
        exl_lookup3(head, NEW_SIZE - 4) != exl_le32(head + NEW_SIZE - 4))
        return damaged(err);
    if (head[SIGNATURE] == 3 && head[11] != 0)
        return exl_error_set(err, EXL_EFILE, "it is still being written, or its writer was killed");
    *ret_root = exl_le64(head + NEW_ADDRESSES + 3 * WIDTH);
    return check_addresses(exl_le64(head + NEW_ADDRESSES), exl_superblock_end(head), file_size, err);
}

int exl_superblock_root(const uint8_t *head, size_t size, uint64_t file_size, uint64_t *ret_root, exl_error_t *err)
{
    if (file_size == 0)
        return exl_error_set(err, EXL_EFILE, "it is empty");
    if (size <= SIGNATURE || memcmp(head, signature, SIGNATURE) != 0)
        return exl_error_set(err, EXL_EFILE, "it is not an HDF5 file");
    if (head[SIGNATURE] <= 1)
        return read_old(head, size, file_size, ret_root, err);
    if (head[SIGNATURE] <= 3)
        return read_new(head, size, file_size, ret_root, err);
    return exl_error_set(err, EXL_EFILE, "its HDF5 header is of the unknown version %d", head[SIGNATURE]);
}
