/* shared.h: a payload that many calls refer to by its id: a function that is pickled by value. It is sent to a worker once.
 * References are atomic; the rest never changes. */
#ifndef EXL_TASK_SHARED_H
#define EXL_TASK_SHARED_H

#include "task/payload.h"

typedef struct exl_shared {
    _Atomic uint32_t refs;
    uint64_t id;            /* never reused in a process */
    exl_payload_t *payload; /* owned; sealed */
} exl_shared_t;

/* Takes the payload, on success only. NULL when memory is out. */
exl_shared_t *exl_shared_create(exl_payload_t *payload);
/* One that came from another host: the calls that use it name it by its id there. Takes the payload, on success only. */
exl_shared_t *exl_shared_create_as(uint64_t id, exl_payload_t *payload);
exl_shared_t *exl_shared_ref(exl_shared_t *shared);
void exl_shared_unref(exl_shared_t *shared); /* NULL is fine */

#endif
