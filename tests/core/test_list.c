/* test_list.c: the intrusive list. */
#include "base/list.h"

#include "support.h"

typedef struct node {
    int number;
    exl_list_t link;
} node_t;

static int number_of(exl_list_t *link)
{
    return EXL_CONTAINER(link, node_t, link)->number;
}

static void assert_numbers(exl_list_t *list, const int *numbers, size_t count)
{
    size_t at = 0;
    EXL_LIST_FOREACH(list, link)
    {
        assert_true(at < count);
        assert_int_equal(number_of(link), numbers[at++]);
    }
    assert_int_equal(at, count);
    for (exl_list_t *link = list->prev; link != list; link = link->prev)
        assert_int_equal(number_of(link), numbers[--at]);
}

static void keeps_order(void **state)
{
    node_t nodes[4] = {{.number = 0}, {.number = 1}, {.number = 2}, {.number = 3}};
    exl_list_t list;
    exl_list_init(&list);
    assert_true(exl_list_empty(&list));
    assert_null(exl_list_pop_front(&list));
    exl_list_push_back(&list, &nodes[1].link);
    exl_list_push_back(&list, &nodes[3].link);
    exl_list_push_front(&list, &nodes[0].link);
    exl_list_insert_before(&nodes[3].link, &nodes[2].link);
    assert_numbers(&list, (const int[]){0, 1, 2, 3}, 4);
    for (int i = 0; i < 4; i++)
        assert_int_equal(number_of(exl_list_pop_front(&list)), i);
    assert_true(exl_list_empty(&list));
}

static void removal_is_idempotent(void **state)
{
    node_t a = {.number = 0}, b = {.number = 1};
    exl_list_t list;
    exl_list_init(&list);
    exl_list_init(&a.link);
    exl_list_remove(&a.link);
    exl_list_push_back(&list, &a.link);
    exl_list_push_back(&list, &b.link);
    exl_list_remove(&a.link);
    exl_list_remove(&a.link);
    assert_numbers(&list, (const int[]){1}, 1);
    assert_true(exl_list_empty(&a.link));
}

static void the_safe_walk_allows_removal(void **state)
{
    node_t nodes[5] = {{.number = 0}, {.number = 1}, {.number = 2}, {.number = 3}, {.number = 4}};
    exl_list_t list;
    exl_list_init(&list);
    for (int i = 0; i < 5; i++)
        exl_list_push_back(&list, &nodes[i].link);
    EXL_LIST_FOREACH_SAFE(&list, link)
    if (number_of(link) % 2 == 0)
        exl_list_remove(link);
    assert_numbers(&list, (const int[]){1, 3}, 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        EXL_TEST(keeps_order),
        EXL_TEST(removal_is_idempotent),
        EXL_TEST(the_safe_walk_allows_removal),
    };
    return EXL_RUN(tests);
}
