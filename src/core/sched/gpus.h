/* gpus.h: which GPUs of an inventory are taken. Plain bookkeeping; an executor has one ledger. The ledgers of a process see
 * how much of each GPU, by its name, all of them use, so that executors side by side spread over the GPUs there are. Callers
 * hold the engine's lock.
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
    struct exl_gpu **gpus; /* owned references */
    uint32_t *used;        /* owned; thousandths of each */
} exl_gpus_t;

/* Copies the names. -ENOMEM with nothing changed. An all-zero ledger is an empty one. */
int exl_gpus_init(exl_gpus_t *gpus, const char *const *names, uint32_t count);
void exl_gpus_fini(exl_gpus_t *gpus);
const char *exl_gpus_name(const exl_gpus_t *gpus, uint32_t place);

/* `share`: thousandths of each; 0 or EXL_GPU_WHOLE: whole ones. Of shares, several may be of one GPU. */
bool exl_gpus_fit(const exl_gpus_t *gpus, uint32_t count, uint32_t share);

/* What fits is taken and its `count` places in the inventory are written, ascending. Shares go where least is left, so that
 * whole GPUs stay whole as long as can be. Of equals the one that other ledgers use least is taken: in use there is no reason
 * to wait, since an executor may keep its GPUs as long as it lives. */
void exl_gpus_take(exl_gpus_t *gpus, uint32_t count, uint32_t share, uint32_t *ret_places);
void exl_gpus_give(exl_gpus_t *gpus, uint32_t count, uint32_t share, const uint32_t *places);

#endif
