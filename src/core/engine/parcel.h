/* parcel.h: what is sent with a call to whoever runs it: functions that it does not have, results that the call takes as
 * arguments, options, and last the call itself. */
#ifndef EXL_ENGINE_PARCEL_H
#define EXL_ENGINE_PARCEL_H

#include "base/idmap.h"
#include "task/task.h"
#include "wire/frame.h"

/* A worker, or an agent. */
typedef struct exl_receiver {
    int (*send)(void *owner, exl_frame_t frame, exl_payload_t *payload); /* queues a frame */
    void *owner;                                                         /* borrowed */
    exl_idmap_t *functions;                                              /* borrowed: those that it has */
    bool wants_names; /* of all functions that the call uses, also of those that it has */
} exl_receiver_t;

/* `call` is the frame of the call itself. The first error of send(), or -ENOMEM. */
int exl__parcel_send(const exl_receiver_t *receiver, const exl_task_t *task, exl_frame_t call);

#endif
