/* memory_file.h: anonymous files that carry large payloads between processes, and their reuse.
 *
 * Most of the cost of a new file is the kernel's: it allocates and later frees every page. A process that has received a
 * file, and is known to be the only one that still uses it, keeps it and writes its next large payload into it; so with
 * large arguments and results the same pages go back and forth. How much is kept is bounded, in number and in bytes.
 *
 * A private mapping of a reused file would change under its reader. Hence a file that was open when this process forked
 * is never reused: the child may still look at it, or map it later. All functions may be called from any thread. */
#ifndef EXL_TASK_MEMORY_FILE_H
#define EXL_TASK_MEMORY_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A file with room for `size` bytes: a kept one whose content is stale, or a new one. -1 when the budget is spent or the
 * kernel refuses. */
int exl_memory_file_open(size_t size);

/* A descriptor that came from another process counts from here on. */
void exl_memory_file_adopt(void);

void exl_memory_file_close(int fd);

/* Keeps the file for exl_memory_file_open(), if there is room, or closes it. */
void exl_memory_file_recycle(int fd, size_t size);

/* From now on files are kept; before, and after drop(), which closes those that are, they are not. */
void exl_memory_files_keep(void);
void exl_memory_files_drop(void);

/* How often this process has forked: compare before and after to know whether a mapping may have been inherited. */
uint32_t exl_memory_file_forks(void);

/* Whether more than this share (of 100) of the descriptors that we allow ourselves is in use: payloads are then mapped and
 * closed on arrival. */
bool exl_memory_files_scarce(int percent);

/* Files that are open, kept ones included. */
int exl_memory_files_open(void);

#endif
