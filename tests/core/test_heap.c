/* test_heap.c: the order of a heap. */
#include "base/heap.h"

#include "support.h"

enum { COUNT = 64 };

static size_t first_of(const exl_heap_t *heap, const exl_heap_link_t *links)
{
    return (size_t)(exl_heap_first(heap)->link - links);
}

static void the_highest_key_is_first(void **state)
{
    exl_heap_t heap;
    exl_heap_link_t links[COUNT] = {{0}};
    exl_heap_init(&heap);
    assert_null(exl_heap_first(&heap));
    assert_int_equal(exl_heap_reserve(&heap, COUNT), 0);
    for (size_t i = 0; i < COUNT; i++)
        exl_heap_put(&heap, &links[i], i * 37 % COUNT);
    for (size_t key = COUNT; key-- > 0;) {
        assert_int_equal(exl_heap_first(&heap)->key, key);
        assert_int_equal(first_of(&heap, links) * 37 % COUNT, key);
        exl_heap_remove(&heap, &links[first_of(&heap, links)]);
    }
    assert_null(exl_heap_first(&heap));
    exl_heap_fini(&heap);
}

static void among_equals_who_was_put_last_is_last(void **state)
{
    exl_heap_t heap;
    exl_heap_link_t links[COUNT] = {{0}};
    exl_heap_init(&heap);
    assert_int_equal(exl_heap_reserve(&heap, COUNT), 0);
    for (size_t i = 0; i < COUNT; i++)
        exl_heap_put(&heap, &links[i], 5);
    for (size_t i = 0; i < 2 * COUNT; i++) {
        assert_int_equal(first_of(&heap, links), i % COUNT);
        exl_heap_put(&heap, &links[i % COUNT], 5);
    }
    exl_heap_fini(&heap);
}

/* Beside a plain search. */
static void keys_change_in_any_order(void **state)
{
    exl_heap_t heap;
    exl_heap_link_t links[COUNT] = {{0}};
    uint64_t keys[COUNT] = {0}, orders[COUNT] = {0}, random = 1;
    exl_heap_init(&heap);
    assert_int_equal(exl_heap_reserve(&heap, COUNT), 0);
    for (uint64_t round = 1; round < 20000; round++) {
        random = random * UINT64_C(6364136223846793005) + 1442695040888963407;
        size_t at = (random >> 33) % COUNT, best = COUNT;
        if ((random >> 40) % 4) {
            keys[at] = (random >> 50) % 16;
            orders[at] = round;
            exl_heap_put(&heap, &links[at], keys[at]);
        } else {
            orders[at] = 0;
            exl_heap_remove(&heap, &links[at]);
        }
        for (size_t i = 0; i < COUNT; i++)
            if (orders[i] &&
                (best == COUNT || keys[i] > keys[best] || (keys[i] == keys[best] && orders[i] < orders[best])))
                best = i;
        if (best == COUNT)
            assert_null(exl_heap_first(&heap));
        else
            assert_int_equal(first_of(&heap, links), best);
    }
    exl_heap_fini(&heap);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        EXL_TEST(the_highest_key_is_first),
        EXL_TEST(among_equals_who_was_put_last_is_last),
        EXL_TEST(keys_change_in_any_order),
    };
    return EXL_RUN(tests);
}
