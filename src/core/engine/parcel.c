/* parcel.c: the frames of a call, one after the other. */
#include "engine/parcel.h"

/* A receiver keeps so many functions; then it is told to forget them all. */
enum { MAX_FUNCTIONS = 128 };

static int send(const exl_receiver_t *receiver, exl_frame_t frame, exl_payload_t *payload)
{
    return receiver->send(receiver->owner, frame, payload);
}

static int send_function(const exl_receiver_t *receiver, exl_shared_t *function)
{
    exl_frame_t frame = {.type = EXL_FRAME_FUNCTION, .id = function->id};
    if (exl_idmap_get(receiver->functions, function->id))
        return receiver->wants_names ? send(receiver, frame, NULL) : 0;
    int rc = send(receiver, frame, function->payload);
    return rc < 0 ? rc : exl_idmap_put(receiver->functions, function->id, function);
}

static int send_functions(const exl_receiver_t *receiver, const exl_task_t *task)
{
    int rc = 0;
    if (receiver->functions->count + task->nfunctions > MAX_FUNCTIONS) {
        exl_idmap_fini(receiver->functions);
        rc = send(receiver, (exl_frame_t){.type = EXL_FRAME_FORGET}, NULL);
    }
    for (uint32_t i = 0; rc == 0 && i < task->nfunctions; i++)
        rc = send_function(receiver, task->functions[i]);
    return rc;
}

int exl__parcel_send(const exl_receiver_t *receiver, const exl_task_t *task, exl_frame_t call)
{
    int rc = task->nfunctions ? send_functions(receiver, task) : 0;
    if (rc == 0 && task->function_id) {
        rc = send(receiver, (exl_frame_t){.type = EXL_FRAME_FUNCTION, .id = task->function_id}, NULL);
        call.arg |= EXL_CALL_FUNCTION;
    }
    for (uint32_t i = 0; rc == 0 && i < task->ndependencies; i++)
        rc = send(receiver, (exl_frame_t){.type = EXL_FRAME_DEPENDENCY, .id = call.id, .arg = i},
                  task->dependencies[i].payload);
    if (rc == 0 && task->options)
        rc = send(receiver, (exl_frame_t){.type = EXL_FRAME_OPTIONS, .id = call.id}, task->options);
    return rc < 0 ? rc : send(receiver, call, task->call);
}
