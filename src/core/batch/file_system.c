/* file_system.c: the list is of local ones, since a network file system that is missing from a list of those would make
 * results go unnoticed, and a local one missing here only makes them noticed later. */
#include "batch/file_system.h"

#include <stddef.h>
#include <sys/vfs.h>

static const unsigned long local[] = {
    0xEF53,     /* ext2, ext3, ext4 */
    0x58465342, /* XFS */
    0x9123683E, /* Btrfs */
    0x01021994, /* tmpfs */
    0x858458F6, /* ramfs */
    0x2FC12FC1, /* ZFS */
    0xF2F52010, /* F2FS */
    0x3153464A, /* JFS */
    0x52654973, /* ReiserFS */
    0xCA451A4E, /* bcachefs */
    0x4D44,     /* FAT */
    0x2011BAB0, /* exFAT */
    0x7366746E, /* NTFS of the kernel */
    0x794C7630, /* overlayfs: containers; its layers are local ones as a rule */
};

bool exl_file_system_magic_is_local(unsigned long magic)
{
    for (size_t i = 0; i < sizeof local / sizeof *local; i++)
        if (local[i] == magic)
            return true;
    return false;
}

bool exl_file_system_is_local(int fd)
{
    struct statfs status;
    return fstatfs(fd, &status) == 0 && exl_file_system_magic_is_local((unsigned long)(unsigned)status.f_type);
}
