/* group.h: the names in the root group of an HDF5 file, and where their objects are. */
#ifndef EXL_STORE_GROUP_H
#define EXL_STORE_GROUP_H

#include "store/source.h"

enum {
    EXL_GROUP_MAX = 64,     /* names; a result file has a dozen */
    EXL_GROUP_NAME_MAX = 63 /* bytes; longer names are left out */
};

#define EXL_GROUP_NO_OBJECT UINT64_MAX /* the address of a link to elsewhere */

typedef struct exl_group {
    struct {
        char name[EXL_GROUP_NAME_MAX + 1];
        uint64_t address; /* of the object's header */
    } entries[EXL_GROUP_MAX];
    size_t count;
} exl_group_t;

/* `header` is the address of the group's. */
int exl_group_read(const exl_source_t *source, uint64_t header, exl_group_t *group, exl_error_t *err);

#endif
