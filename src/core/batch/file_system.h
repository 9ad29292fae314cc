/* file_system.h: which file systems tell of all changes in a folder. */
#ifndef EXL_BATCH_FILE_SYSTEM_H
#define EXL_BATCH_FILE_SYSTEM_H

#include <stdbool.h>

/* Whether the file system of an open descriptor is changed by this machine only, so that inotify sees everything. */
bool exl_file_system_is_local(int fd);

/* The same by the number of statfs(2). What is unknown counts as not local. */
bool exl_file_system_magic_is_local(unsigned long magic);

#endif
