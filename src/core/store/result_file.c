/* result_file.c: reading. HDF5's own reader is not asked: it crashes on damaged files (1.10.8), and takes longer. */
#include "store/result_file.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "store/dataset.h"
#include "store/group.h"
#include "store/superblock.h"

struct exl_result_file {
    exl_source_t source;
    exl_group_t group;
    exl_dataset_t field; /* found last */
    bool found;
};

static int read_group(exl_result_file_t *file, exl_error_t *err)
{
    uint8_t head[EXL_SUPERBLOCK_MAX];
    uint64_t root = 0;
    size_t size = file->source.size < sizeof head ? (size_t)file->source.size : sizeof head;
    int rc = exl_source_read(&file->source, 0, head, size, err);
    if (rc == 0)
        rc = exl_superblock_root(head, size, file->source.size, &root, err);
    return rc < 0 ? rc : exl_group_read(&file->source, root, &file->group, err);
}

int exl_result_file_open(const char *path, exl_result_file_t **ret_file, exl_error_t *err)
{
    exl_result_file_t *file = malloc(sizeof *file);
    if (!file)
        return -ENOMEM;
    file->found = false;
    int rc = exl_source_open(&file->source, path, err);
    if (rc == 0)
        rc = read_group(file, err);
    if (rc < 0) {
        exl_result_file_close(file);
        return rc;
    }
    *ret_file = file;
    return 0;
}

void exl_result_file_close(exl_result_file_t *file)
{
    if (!file)
        return;
    exl_source_close(&file->source);
    free(file);
}

size_t exl_result_file_count(const exl_result_file_t *file)
{
    return file->group.count;
}

const char *exl_result_file_name(const exl_result_file_t *file, size_t index)
{
    return file->group.entries[index].name;
}

int exl_result_file_find(exl_result_file_t *file, const char *name, size_t *ret_size, exl_error_t *err)
{
    const exl_group_t *group = &file->group;
    size_t i = 0;
    file->found = false;
    while (i < group->count && strcmp(group->entries[i].name, name) != 0)
        i++;
    if (i == group->count)
        return 0;
    if (group->entries[i].address == EXL_GROUP_NO_OBJECT)
        return exl_error_set(err, EXL_EFILE, "its field %s is a link", name);
    int rc = exl_dataset_describe(&file->source, group->entries[i].address, &file->field, err);
    if (rc < 0)
        return rc;
    file->found = true;
    *ret_size = (size_t)file->field.size;
    return 1;
}

int exl_result_file_read(exl_result_file_t *file, void *bytes, exl_error_t *err)
{
    assert(file->found);
    return exl_dataset_read(&file->source, &file->field, bytes, err);
}
