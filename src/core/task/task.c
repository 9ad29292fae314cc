/* task.c: the state machine of a call. The table is the specification; docs/task-life.dot draws it. */
#include "task/task.h"

#include <assert.h>
#include <stdlib.h>

#include "base/error.h"

#define BIT(state) (1u << (state))

/* For each event: the states it may come in, and the state it leads to. */
static const struct transition {
    unsigned from;
    exl_task_state_t to;
} transitions[] = {
    [EXL_TASK_SUBMIT] = {BIT(EXL_TASK_CREATED), EXL_TASK_WAITING},
    [EXL_TASK_ARGUMENTS] = {BIT(EXL_TASK_WAITING), EXL_TASK_READY},
    [EXL_TASK_PLACE] = {BIT(EXL_TASK_READY), EXL_TASK_PLACED},
    [EXL_TASK_START] = {BIT(EXL_TASK_PLACED), EXL_TASK_RUNNING},
    [EXL_TASK_RETURN] = {BIT(EXL_TASK_PLACED) | BIT(EXL_TASK_RUNNING), EXL_TASK_READY},
    [EXL_TASK_FINISH] = {BIT(EXL_TASK_DONE) - 1, EXL_TASK_DONE},
    [EXL_TASK_CANCEL] = {BIT(EXL_TASK_CREATED) | BIT(EXL_TASK_WAITING) | BIT(EXL_TASK_READY), EXL_TASK_DONE},
};

const char *exl_task_state_to_string(exl_task_state_t state)
{
    static const char *const names[] = {"created", "waiting", "ready", "placed", "running", "done"};
    return state <= EXL_TASK_DONE ? names[state] : "unknown";
}

const char *exl_outcome_to_string(exl_outcome_t outcome)
{
    static const char *const names[] = {"none", "result", "exception", "lost", "cancelled", "terminated"};
    return outcome <= EXL_OUTCOME_TERMINATED ? names[outcome] : "unknown";
}

exl_task_t *exl_task_create(exl_payload_t *call)
{
    exl_task_t *task = calloc(1, sizeof *task);
    if (!task)
        return NULL;
    exl_list_init(&task->item.link);
    atomic_init(&task->refs, 1);
    atomic_init(&task->state, EXL_TASK_CREATED);
    task->call = call ? exl_payload_ref(call) : NULL;
    task->item.request.cores = 1;
    return task;
}

exl_task_t *exl_task_ref(exl_task_t *task)
{
    atomic_fetch_add_explicit(&task->refs, 1, memory_order_relaxed);
    return task;
}

void exl_task_drop_inputs(exl_task_t *task)
{
    exl_payload_t **inputs[] = {&task->call, &task->setup, &task->options};
    for (size_t i = 0; i < sizeof inputs / sizeof *inputs; i++) {
        exl_payload_unref(*inputs[i]);
        *inputs[i] = NULL;
    }
    for (uint32_t i = 0; i < task->nfunctions; i++)
        exl_shared_unref(task->functions[i]);
    free(task->functions);
    task->functions = NULL;
    task->nfunctions = 0;
    for (uint32_t i = 0; i < task->ndependencies; i++) {
        exl_task_unref(task->dependencies[i].producer);
        exl_payload_unref(task->dependencies[i].payload);
    }
    free(task->dependencies);
    task->dependencies = NULL;
    task->ndependencies = 0;
}

void exl_task_unref(exl_task_t *task)
{
    if (!task || atomic_fetch_sub_explicit(&task->refs, 1, memory_order_acq_rel) > 1)
        return;
    assert(!task->dependents && !task->waiters);
    exl_task_drop_inputs(task);
    exl_payload_unref(task->result);
    exl_failure_unref(task->failure);
    free(task);
}

int exl_task_update(exl_task_t *task, exl_task_event_t event)
{
    const struct transition *transition = &transitions[event];
    if (!(transition->from & BIT(exl_task_state(task))))
        return EXL_EILLEGAL;
    atomic_store_explicit(&task->state, (uint8_t)transition->to, memory_order_release);
    return 0;
}
