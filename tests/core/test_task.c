/* test_task.c: every event in every state, and who owns what. */
#include "task/task.h"

#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "support.h"

enum { EVENTS = EXL_TASK_CANCEL + 1, STATES = EXL_TASK_DONE + 1, NO = -1 };

/* The machine as docs/task-life.dot draws it: the state after each event, or NO. */
static const int after[STATES][EVENTS] = {
    [EXL_TASK_CREATED] = {EXL_TASK_WAITING, NO, NO, NO, NO, EXL_TASK_DONE, EXL_TASK_DONE},
    [EXL_TASK_WAITING] = {NO, EXL_TASK_READY, NO, NO, NO, EXL_TASK_DONE, EXL_TASK_DONE},
    [EXL_TASK_READY] = {NO, NO, EXL_TASK_PLACED, NO, NO, EXL_TASK_DONE, EXL_TASK_DONE},
    [EXL_TASK_PLACED] = {NO, NO, NO, EXL_TASK_RUNNING, EXL_TASK_READY, EXL_TASK_DONE, NO},
    [EXL_TASK_RUNNING] = {NO, NO, NO, NO, EXL_TASK_READY, EXL_TASK_DONE, NO},
    [EXL_TASK_DONE] = {NO, NO, NO, NO, NO, NO, NO},
};

static exl_task_t *task_in(exl_task_state_t state)
{
    static const exl_task_event_t path[] = {EXL_TASK_SUBMIT, EXL_TASK_ARGUMENTS, EXL_TASK_PLACE, EXL_TASK_START,
                                            EXL_TASK_FINISH};
    exl_task_t *task = exl_task_create(NULL);
    assert_non_null(task);
    for (size_t i = 0; i < (size_t)state; i++)
        assert_int_equal(exl_task_update(task, path[i]), 0);
    assert_int_equal(exl_task_state(task), state);
    return task;
}

static void every_event_in_every_state(void **state)
{
    for (int from = 0; from < STATES; from++)
        for (int event = 0; event < EVENTS; event++) {
            exl_task_t *task = task_in((exl_task_state_t)from);
            int expected = after[from][event];
            int rc = exl_task_update(task, (exl_task_event_t)event);
            if (rc != (expected == NO ? EXL_EILLEGAL : 0))
                fail_msg("event %d in state %s: %d", event, exl_task_state_to_string((exl_task_state_t)from), rc);
            assert_int_equal(exl_task_state(task), expected == NO ? from : expected);
            assert_int_equal(exl_task_done(task), exl_task_state(task) == EXL_TASK_DONE);
            exl_task_unref(task);
        }
}

static void names(void **state)
{
    assert_string_equal(exl_task_state_to_string(EXL_TASK_CREATED), "created");
    assert_string_equal(exl_task_state_to_string(EXL_TASK_DONE), "done");
    assert_string_equal(exl_task_state_to_string((exl_task_state_t)(EXL_TASK_DONE + 1)), "unknown");
    assert_string_equal(exl_outcome_to_string(EXL_OUTCOME_NONE), "none");
    assert_string_equal(exl_outcome_to_string(EXL_OUTCOME_TERMINATED), "terminated");
    assert_string_equal(exl_outcome_to_string((exl_outcome_t)(EXL_OUTCOME_TERMINATED + 1)), "unknown");
}

static void release(void *owner)
{
    ++*(int *)owner;
}

/* A payload that tells when it goes. */
static exl_payload_t *telling_payload(int *gone)
{
    static char bytes[EXL_INLINE_MAX];
    exl_segment_t body = {bytes, sizeof bytes};
    exl_payload_t *payload = NULL;
    *gone = 0;
    assert_int_equal(exl_payload_create(&body, 1, NULL, 0, release, gone, &payload), 0);
    assert_true(exl_payload_pinned(payload));
    return payload;
}

static void references_its_call(void **state)
{
    int gone;
    exl_payload_t *payload = telling_payload(&gone);
    exl_task_t *task = exl_task_create(payload);
    assert_non_null(task);
    assert_int_equal(task->item.request.cores, 1);
    exl_payload_unref(payload);
    assert_int_equal(gone, 0);
    assert_ptr_equal(exl_task_ref(task), task);
    exl_task_unref(task);
    assert_int_equal(gone, 0);
    exl_task_unref(task);
    assert_int_equal(gone, 1);
    exl_task_unref(NULL);
}

static void drops_its_inputs_once(void **state)
{
    int gone[4];
    exl_task_t *task = exl_task_create(NULL);
    assert_non_null(task);
    task->call = telling_payload(&gone[0]);
    task->functions = malloc(sizeof *task->functions);
    assert_non_null(task->functions);
    task->functions[0] = exl_shared_create(telling_payload(&gone[1]));
    task->nfunctions = 1;
    task->setup = telling_payload(&gone[2]);
    task->options = telling_payload(&gone[3]);
    exl_task_drop_inputs(task);
    exl_task_drop_inputs(task);
    for (int i = 0; i < 4; i++)
        assert_int_equal(gone[i], 1);
    exl_task_unref(task);
}

static void owns_its_result_and_failure(void **state)
{
    int gone;
    exl_task_t *task = exl_task_create(NULL);
    assert_non_null(task);
    task->result = telling_payload(&gone);
    task->failure = exl_failure_create(EXL_BLAME_NODE, 1, NULL, "why", NULL, 0);
    exl_task_drop_inputs(task);
    assert_int_equal(gone, 0);
    exl_task_unref(task);
    assert_int_equal(gone, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        EXL_TEST(every_event_in_every_state),  EXL_TEST(names),
        EXL_TEST(references_its_call),         EXL_TEST(drops_its_inputs_once),
        EXL_TEST(owns_its_result_and_failure),
    };
    return EXL_RUN(tests);
}
