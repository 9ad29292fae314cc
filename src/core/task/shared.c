/* shared.c: payloads with an id. */
#include "task/shared.h"

#include <stdatomic.h>
#include <stdlib.h>

exl_shared_t *exl_shared_create_as(uint64_t id, exl_payload_t *payload)
{
    exl_shared_t *shared = malloc(sizeof *shared);
    if (!shared)
        return NULL;
    *shared = (exl_shared_t){.id = id, .payload = payload};
    atomic_init(&shared->refs, 1);
    return shared;
}

exl_shared_t *exl_shared_create(exl_payload_t *payload)
{
    static _Atomic uint64_t last_id;
    return exl_shared_create_as(atomic_fetch_add(&last_id, 1) + 1, payload);
}

exl_shared_t *exl_shared_ref(exl_shared_t *shared)
{
    atomic_fetch_add_explicit(&shared->refs, 1, memory_order_relaxed);
    return shared;
}

void exl_shared_unref(exl_shared_t *shared)
{
    if (!shared || atomic_fetch_sub_explicit(&shared->refs, 1, memory_order_acq_rel) > 1)
        return;
    exl_payload_unref(shared->payload);
    free(shared);
}
