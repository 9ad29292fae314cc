/* test_queue.c: who starts next: order, priority, filling gaps, and nobody starving. */
#include "sched/queue.h"

#include <stdlib.h>

#include "support.h"

enum { PATIENCE = 3, MOST = 64 };

static exl_queue_item_t items[MOST];
static exl_queue_t queue;
static exl_resources_t resources;

static int begin(void **state)
{
    (void)exl_test_begin(state);
    exl_queue_init(&queue, PATIENCE);
    resources = (exl_resources_t){0};
    for (size_t i = 0; i < MOST; i++)
        items[i] = (exl_queue_item_t){.order = 0};
    return 0;
}

static int end(void **state)
{
    exl_queue_fini(&queue);
    return exl_test_end(state);
}

static exl_queue_item_t *push(size_t order, uint32_t cores, int32_t priority)
{
    exl_queue_item_t *item = &items[order];
    *item = (exl_queue_item_t){.order = order, .request = {.cores = cores}, .priority = priority};
    assert_int_equal(exl_queue_push(&queue, item), 0);
    return item;
}

/* The order of what starts now, or 0. */
static uint64_t pop(void)
{
    exl_queue_item_t *item = exl_queue_pop(&queue, &resources);
    return item ? item->order : 0;
}

static uint64_t start(void)
{
    exl_queue_item_t *item = exl_queue_pop(&queue, &resources);
    if (item)
        exl_resources_take(&resources, item->request, NULL);
    return item ? item->order : 0;
}

static void give(size_t order)
{
    exl_resources_give(&resources, items[order].request, NULL);
}

static void assert_pops(const uint64_t *orders)
{
    for (size_t i = 0; orders[i]; i++)
        assert_int_equal(pop(), orders[i]);
    assert_int_equal(pop(), 0);
    assert_int_equal(queue.count, 0);
}

static void an_empty_queue_gives_nothing(void **state)
{
    assert_int_equal(pop(), 0);
    assert_null(exl_queue_first(&queue));
    assert_null(exl_queue_pop_before(&queue, UINT64_MAX));
    assert_int_equal(exl_queue_priority(&queue), INT32_MIN);
}

static void submission_order_whatever_the_width(void **state)
{
    const uint32_t cores[] = {1, 2, 1, 4, 2, 1};
    for (size_t i = 0; i < 6; i++)
        (void)push(i + 1, cores[i], 0);
    assert_int_equal(queue.count, 6);
    assert_pops((const uint64_t[]){1, 2, 3, 4, 5, 6, 0});
}

static void priority_before_submission(void **state)
{
    (void)push(1, 1, 0);
    (void)push(2, 1, -5);
    (void)push(3, 1, 5);
    (void)push(4, 2, 5);
    (void)push(5, 1, INT32_MAX);
    (void)push(6, 1, INT32_MIN);
    assert_int_equal(exl_queue_priority(&queue), INT32_MAX);
    assert_int_equal(exl_queue_first(&queue)->order, 5);
    assert_pops((const uint64_t[]){5, 3, 4, 1, 2, 6, 0});
}

static void what_comes_back_takes_its_old_place(void **state)
{
    for (size_t i = 1; i <= 8; i++)
        (void)push(i, 1, 0);
    exl_queue_item_t *popped[5];
    for (size_t i = 0; i < 5; i++)
        popped[i] = exl_queue_pop(&queue, &resources);
    const size_t way_back[] = {2, 4, 0, 1, 3};
    for (size_t i = 0; i < 5; i++)
        assert_int_equal(exl_queue_push(&queue, popped[way_back[i]]), 0);
    assert_pops((const uint64_t[]){1, 2, 3, 4, 5, 6, 7, 8, 0});
}

static void removal_from_the_middle(void **state)
{
    for (size_t i = 1; i <= 3; i++)
        (void)push(i, 1, 0);
    exl_queue_remove(&queue, &items[2]);
    assert_int_equal(queue.count, 2);
    assert_pops((const uint64_t[]){1, 3, 0});
}

static void pop_before_takes_all_that_are_older(void **state)
{
    (void)push(1, 1, 0);
    (void)push(2, 2, 7);
    (void)push(3, 1, 0);
    (void)push(4, 3, -1);
    bool seen[MOST] = {false};
    for (exl_queue_item_t *item; (item = exl_queue_pop_before(&queue, 3));)
        seen[item->order] = true;
    assert_true(seen[1] && seen[2] && !seen[3] && !seen[4]);
    assert_int_equal(queue.count, 2);
    assert_pops((const uint64_t[]){3, 4, 0});
}

static void a_narrow_call_fills_the_gap_before_a_wide_one(void **state)
{
    resources.cores = 4;
    (void)push(1, 3, 0);
    (void)push(2, 2, 0);
    (void)push(3, 1, 0);
    assert_int_equal(start(), 1);
    assert_int_equal(start(), 3);
    assert_int_equal(start(), 0);
    assert_int_equal(items[2].passed, 1);
    give(1);
    assert_int_equal(start(), 2);
}

static void a_wide_call_is_passed_only_so_often(void **state)
{
    resources.cores = 2;
    (void)push(1, 1, 0);
    (void)push(2, 2, 0);
    for (size_t i = 3; i < 20; i++)
        (void)push(i, 1, 0);
    assert_int_equal(start(), 1);
    for (uint64_t i = 3; i < 3 + PATIENCE; i++) {
        assert_int_equal(start(), i);
        give(i);
    }
    assert_int_equal(start(), 0); /* the core is kept free now */
    give(1);
    assert_int_equal(start(), 2);
    assert_int_equal(start(), 0);
    give(2);
    assert_int_equal(start(), 3 + PATIENCE);
}

static void a_second_wide_call_is_not_passed_more_often_than_the_first(void **state)
{
    resources.cores = 4;
    (void)push(1, 1, 0);
    (void)push(2, 1, 0);
    (void)push(3, 3, 0);
    (void)push(4, 4, 0);
    (void)push(5, 4, 0);
    for (size_t i = 6; i < 20; i++)
        (void)push(i, 1, 0);
    assert_int_equal(start(), 1);
    assert_int_equal(start(), 2);
    for (uint64_t i = 6; i < 6 + PATIENCE; i++) {
        assert_int_equal(start(), i);
        give(i);
    }
    give(1);
    assert_int_equal(start(), 3);
    give(3);
    assert_int_equal(start(), 0); /* those have passed the others as well */
    give(2);
    assert_int_equal(start(), 4);
    give(4);
    assert_int_equal(start(), 5);
    give(5);
    assert_int_equal(start(), 6 + PATIENCE);
}

static exl_queue_item_t *push_with_gpus(size_t order, uint32_t gpus, uint32_t share)
{
    exl_queue_item_t *item = &items[order];
    *item = (exl_queue_item_t){.order = order, .request = {.cores = 1, .gpus = gpus, .gpu_share = share}};
    assert_int_equal(exl_queue_push(&queue, item), 0);
    return item;
}

static exl_holding_t holdings[MOST];

static uint64_t start_with_gpus(void)
{
    exl_queue_item_t *item = exl_queue_pop(&queue, &resources);
    if (item)
        assert_int_equal(exl_resources_take(&resources, item->request, &holdings[item->order]), 0);
    return item ? item->order : 0;
}

static void give_with_gpus(size_t order)
{
    exl_resources_give(&resources, items[order].request, &holdings[order]);
    exl_resources_give_gpus(&resources, items[order].request, &holdings[order]);
}

static void who_waits_for_a_gpu_holds_up_nobody_without(void **state)
{
    const char *const names[] = {"a"};
    exl_gpus_t gpus;
    assert_int_equal(exl_gpus_init(&gpus, names, 1), 0);
    resources.gpus = &gpus;
    resources.cores = 2;
    (void)push_with_gpus(1, 1, 0);
    exl_queue_item_t *blocked = push_with_gpus(2, 1, 0);
    for (size_t i = 3; i < 30; i++)
        (void)push(i, 1, 0);
    assert_int_equal(start_with_gpus(), 1);
    for (uint64_t i = 3; i < 30; i++) {
        assert_int_equal(start_with_gpus(), i);
        assert_int_equal(start_with_gpus(), 0);
        give_with_gpus(i);
    }
    assert_int_equal(blocked->passed, 0);
    give_with_gpus(1);
    assert_int_equal(start_with_gpus(), 2);
    give_with_gpus(2);
    exl_gpus_fini(&gpus);
}

static void a_call_for_many_gpus_is_passed_only_so_often(void **state)
{
    const char *const names[] = {"a", "b"};
    exl_gpus_t gpus;
    assert_int_equal(exl_gpus_init(&gpus, names, 2), 0);
    resources.gpus = &gpus;
    (void)push_with_gpus(1, 1, 500);
    (void)push_with_gpus(2, 2, 0);
    for (size_t i = 3; i < 20; i++)
        (void)push_with_gpus(i, 1, 0);
    (void)push(20, 1, 0);
    assert_int_equal(start_with_gpus(), 1);
    assert_int_equal(start_with_gpus(), 3);
    assert_int_equal(start_with_gpus(), 20);
    for (uint64_t i = 4; i < 3 + PATIENCE; i++) {
        give_with_gpus(i - 1);
        assert_int_equal(start_with_gpus(), i);
    }
    give_with_gpus(2 + PATIENCE);
    assert_int_equal(start_with_gpus(), 0); /* the GPU is kept free now */
    give_with_gpus(1);
    assert_int_equal(start_with_gpus(), 2);
    give_with_gpus(2);
    assert_int_equal(start_with_gpus(), 3 + PATIENCE);
    give_with_gpus(3 + PATIENCE);
    exl_gpus_fini(&gpus);
}

static void being_passed_is_not_forgotten_by_a_return(void **state)
{
    resources.cores = 2;
    (void)push(1, 1, 0);
    exl_queue_item_t *wide = push(2, 2, 0);
    (void)push(3, 1, 0);
    assert_int_equal(start(), 1);
    assert_int_equal(start(), 3);
    exl_queue_remove(&queue, wide);
    assert_int_equal(exl_queue_push(&queue, wide), 0);
    assert_int_equal(wide->passed, 1);
}

static void a_wider_call_than_all_runs_alone(void **state)
{
    resources.cores = 2;
    (void)push(1, 1, 0);
    (void)push(2, 9, 0);
    assert_int_equal(start(), 1);
    assert_int_equal(start(), 0);
    give(1);
    assert_int_equal(start(), 2);
    (void)push(3, 1, 0);
    assert_int_equal(start(), 0);
    give(2);
    assert_int_equal(start(), 3);
}

static void a_higher_priority_does_not_use_up_patience(void **state)
{
    resources.cores = 2;
    (void)push(1, 1, 0);
    exl_queue_item_t *wide = push(2, 2, 0);
    assert_int_equal(start(), 1);
    for (size_t i = 3; i < 12; i++) {
        (void)push(i, 1, 1);
        assert_int_equal(start(), i);
        give(i);
    }
    assert_int_equal(wide->passed, 0);
}

/* Whatever comes and goes, every call starts, and none is passed more often than patience allows. */
static void nobody_starves(void **state)
{
    enum { CALLS = 20000, WINDOW = 40 };
    unsigned seed = 7;
    static exl_queue_item_t calls[CALLS];
    exl_queue_item_t *running[WINDOW];
    size_t nrunning = 0, submitted = 0, ended = 0;
    resources.cores = 8;
    while (ended < CALLS) {
        while (submitted < CALLS && queue.count < WINDOW / 2) {
            calls[submitted] = (exl_queue_item_t){
                .order = submitted + 1, .request = {.cores = 1 + (uint32_t)rand_r(&seed) % 10}, .priority = 0};
            assert_int_equal(exl_queue_push(&queue, &calls[submitted++]), 0);
        }
        for (exl_queue_item_t *item; nrunning < WINDOW && (item = exl_queue_pop(&queue, &resources));) {
            exl_resources_take(&resources, item->request, NULL);
            assert_true(item->passed <= PATIENCE);
            running[nrunning++] = item;
        }
        assert_true(nrunning > 0);
        size_t at = (size_t)rand_r(&seed) % nrunning;
        exl_resources_give(&resources, running[at]->request, NULL);
        running[at] = running[--nrunning];
        ended++;
    }
    assert_int_equal(queue.count, 0);
    assert_int_equal(resources.cores_used, 0);
}

static void many_kinds_of_calls_do_not_pile_up_lanes(void **state)
{
    for (uint32_t cores = 1; cores <= 5000; cores++) {
        (void)push(1, cores, (int32_t)cores % 7);
        assert_int_equal(pop(), 1);
    }
    assert_true(queue.capacity <= 8);
}

#define QUEUE_TEST(function) cmocka_unit_test_setup_teardown(function, begin, end)

static void nothing_passes_the_barrier(void **state)
{
    exl_queue_t line;
    exl_resources_t four = {.cores = 4};
    exl_queue_item_t calls[3] = {{.order = 1, .request = {.cores = 2}},
                                 {.order = 3, .request = {.cores = 1}},
                                 {.order = 2, .request = {.cores = 1}, .priority = 1}};
    exl_queue_init(&line, 64);
    assert_true(exl_queue_oldest(&line) == UINT64_MAX);
    for (int i = 0; i < 3; i++)
        assert_int_equal(exl_queue_push(&line, &calls[i]), 0);
    assert_int_equal(exl_queue_oldest(&line), 1);
    line.barrier = 2;
    assert_ptr_equal(exl_queue_pop(&line, &four), &calls[2]);
    assert_ptr_equal(exl_queue_pop(&line, &four), &calls[0]);
    assert_null(exl_queue_pop(&line, &four));
    assert_int_equal(exl_queue_oldest(&line), 3);
    line.barrier = 0;
    assert_ptr_equal(exl_queue_pop(&line, &four), &calls[1]);
    exl_queue_fini(&line);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_passes_the_barrier),
        QUEUE_TEST(an_empty_queue_gives_nothing),
        QUEUE_TEST(submission_order_whatever_the_width),
        QUEUE_TEST(priority_before_submission),
        QUEUE_TEST(what_comes_back_takes_its_old_place),
        QUEUE_TEST(removal_from_the_middle),
        QUEUE_TEST(pop_before_takes_all_that_are_older),
        QUEUE_TEST(a_narrow_call_fills_the_gap_before_a_wide_one),
        QUEUE_TEST(a_wide_call_is_passed_only_so_often),
        QUEUE_TEST(a_second_wide_call_is_not_passed_more_often_than_the_first),
        QUEUE_TEST(who_waits_for_a_gpu_holds_up_nobody_without),
        QUEUE_TEST(a_call_for_many_gpus_is_passed_only_so_often),
        QUEUE_TEST(being_passed_is_not_forgotten_by_a_return),
        QUEUE_TEST(a_wider_call_than_all_runs_alone),
        QUEUE_TEST(a_higher_priority_does_not_use_up_patience),
        QUEUE_TEST(nobody_starves),
        QUEUE_TEST(many_kinds_of_calls_do_not_pile_up_lanes),
    };
    return EXL_RUN(tests);
}
