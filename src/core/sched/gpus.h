/* gpus.h: which GPUs of an inventory are taken. Plain bookkeeping; an executor has one ledger.
 *
 * A GPU is known by its place in the inventory; its name (an index, a UUID, a MIG device) is for the driver of the GPU and
 * is never interpreted here. It is either whole for one holder or shared by several, each with so many thousandths of it,
 * together never more than 1000; a shared one is never given whole. */
#ifndef EXL_SCHED_GPUS_H
#define EXL_SCHED_GPUS_H

#include <stdbool.h>
#include <stdint.h>

enum { EXL_GPU_WHOLE = 1000 };

typedef struct exl_gpus {
    uint32_t count;
    char **names;   /* owned */
    uint32_t *used; /* owned; thousandths of each */
} exl_gpus_t;

/* Copies the names. -ENOMEM with nothing changed. An all-zero ledger is an empty one. */
int exl_gpus_init(exl_gpus_t *gpus, const char *const *names, uint32_t count);
void exl_gpus_fini(exl_gpus_t *gpus);

/* `share`: thousandths of each; 0 or EXL_GPU_WHOLE: whole ones. Of shares, several may be of one GPU. */
bool exl_gpus_fit(const exl_gpus_t *gpus, uint32_t count, uint32_t share);

/* What fits is taken and its `count` places in the inventory are written, ascending. Shares go where least is left, so that
 * whole GPUs stay whole as long as can be. */
void exl_gpus_take(exl_gpus_t *gpus, uint32_t count, uint32_t share, uint32_t *ret_places);
void exl_gpus_give(exl_gpus_t *gpus, uint32_t count, uint32_t share, const uint32_t *places);

#endif
