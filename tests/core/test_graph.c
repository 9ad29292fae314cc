/* test_graph.c: edges between calls. */
#include "task/graph.h"

#include "base/error.h"
#include "support.h"

static exl_task_t *new_task(void)
{
    exl_task_t *task = exl_task_create(NULL);
    assert_non_null(task);
    return task;
}

static void finish(exl_task_t *task, exl_outcome_t outcome, const char *text)
{
    task->outcome = (uint8_t)outcome;
    task->result = text ? exl_test_payload(text) : NULL;
    assert_int_equal(exl_task_update(task, EXL_TASK_FINISH), 0);
}

static uint32_t refs(const exl_task_t *task)
{
    return atomic_load(&task->refs);
}

static void a_pending_producer_gets_an_edge(void **state)
{
    exl_task_t *producer = new_task(), *consumer = new_task();
    assert_int_equal(exl_graph_link(consumer, &producer, 1), 0);
    assert_int_equal(consumer->npending, 1);
    assert_int_equal(consumer->ndependencies, 1);
    assert_int_equal(refs(producer), 2);
    assert_int_equal(refs(consumer), 2);
    assert_null(exl_graph_failed_producer(consumer));

    finish(producer, EXL_OUTCOME_RESULT, "value");
    exl_edge_t *edge = exl_graph_pop(producer);
    assert_ptr_equal(edge->consumer, consumer);
    assert_int_equal(edge->index, 0);
    exl_graph_resolve(consumer, edge->index);
    exl_edge_destroy(edge);
    assert_null(exl_graph_pop(producer));
    assert_int_equal(consumer->npending, 0);
    assert_int_equal(refs(producer), 1);
    exl_test_assert_body(consumer->dependencies[0].payload, "value");
    exl_task_unref(producer);
    exl_task_unref(consumer);
}

static void a_finished_producer_is_resolved_at_once(void **state)
{
    exl_task_t *producer = new_task(), *consumer = new_task();
    finish(producer, EXL_OUTCOME_RESULT, "value");
    assert_int_equal(exl_graph_link(consumer, &producer, 1), 0);
    assert_int_equal(consumer->npending, 0);
    assert_null(exl_graph_pop(producer));
    assert_null(exl_graph_failed_producer(consumer));
    exl_task_unref(producer);
    exl_test_assert_body(consumer->dependencies[0].payload, "value");
    exl_task_unref(consumer);
}

static void a_failed_producer_is_found(void **state)
{
    exl_task_t *producers[] = {new_task(), new_task(), new_task()};
    exl_task_t *consumer = new_task();
    finish(producers[0], EXL_OUTCOME_RESULT, "value");
    finish(producers[2], EXL_OUTCOME_EXCEPTION, "error");
    assert_int_equal(exl_graph_link(consumer, producers, 3), 0);
    assert_int_equal(consumer->npending, 1);
    assert_ptr_equal(exl_graph_failed_producer(consumer), producers[2]);
    exl_edge_destroy(exl_graph_pop(producers[1]));
    exl_task_unref(consumer);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(refs(producers[i]), 1);
        exl_task_unref(producers[i]);
    }
}

static void one_producer_may_fill_two_arguments(void **state)
{
    exl_task_t *producer = new_task(), *consumer = new_task();
    exl_task_t *producers[] = {producer, producer};
    assert_int_equal(exl_graph_link(consumer, producers, 2), 0);
    assert_int_equal(consumer->npending, 2);
    finish(producer, EXL_OUTCOME_RESULT, "value");
    bool seen[2] = {false, false};
    for (exl_edge_t *edge; (edge = exl_graph_pop(producer));) {
        seen[edge->index] = true;
        exl_graph_resolve(consumer, edge->index);
        exl_edge_destroy(edge);
    }
    assert_true(seen[0] && seen[1]);
    assert_int_equal(consumer->npending, 0);
    exl_task_unref(producer);
    exl_task_unref(consumer);
}

static void refuses_a_call_that_depends_on_itself(void **state)
{
    exl_task_t *task = new_task();
    assert_int_equal(exl_graph_link(task, &task, 1), EXL_ECYCLE);
    assert_int_equal(refs(task), 1);
    exl_task_unref(task);
}

static void no_producers_is_nothing_to_do(void **state)
{
    exl_task_t *task = new_task();
    assert_int_equal(exl_graph_link(task, NULL, 0), 0);
    assert_int_equal(task->npending, 0);
    exl_task_unref(task);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        EXL_TEST(a_pending_producer_gets_an_edge),
        EXL_TEST(a_finished_producer_is_resolved_at_once),
        EXL_TEST(a_failed_producer_is_found),
        EXL_TEST(one_producer_may_fill_two_arguments),
        EXL_TEST(refuses_a_call_that_depends_on_itself),
        EXL_TEST(no_producers_is_nothing_to_do),
    };
    return EXL_RUN(tests);
}
