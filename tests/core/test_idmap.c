/* test_idmap.c: the hash map, against a plain array. */
#include "base/idmap.h"

#include <stdlib.h>

#include "support.h"

enum { MODEL_SIZE = 600 };

static void is_empty_at_first(void **state)
{
    exl_idmap_t map;
    exl_idmap_init(&map);
    assert_null(exl_idmap_get(&map, 1));
    assert_null(exl_idmap_get(&map, 0));
    assert_null(exl_idmap_remove(&map, 1));
    exl_idmap_fini(&map);
}

static void replaces(void **state)
{
    exl_idmap_t map;
    int a, b;
    exl_idmap_init(&map);
    assert_int_equal(exl_idmap_put(&map, 7, &a), 0);
    assert_int_equal(exl_idmap_put(&map, 7, &b), 0);
    assert_int_equal(map.count, 1);
    assert_ptr_equal(exl_idmap_get(&map, 7), &b);
    assert_ptr_equal(exl_idmap_remove(&map, 7), &b);
    assert_null(exl_idmap_get(&map, 7));
    assert_null(exl_idmap_remove(&map, 7));
    exl_idmap_fini(&map);
}

static void takes_every_id_but_zero(void **state)
{
    exl_idmap_t map;
    int value;
    const uint64_t ids[] = {1, UINT64_MAX, UINT64_C(1) << 63, UINT64_C(1) << 32, 0xffffffff};
    exl_idmap_init(&map);
    for (size_t i = 0; i < sizeof ids / sizeof *ids; i++)
        assert_int_equal(exl_idmap_put(&map, ids[i], &value), 0);
    for (size_t i = 0; i < sizeof ids / sizeof *ids; i++)
        assert_ptr_equal(exl_idmap_remove(&map, ids[i]), &value);
    assert_int_equal(map.count, 0);
    assert_null(exl_idmap_get(&map, 0));
    assert_null(exl_idmap_remove(&map, 0));
    exl_idmap_fini(&map);
}

/* Random puts and removals: backward-shift deletion must never lose an entry, wrapped around the end or not. */
static void agrees_with_an_array(void **state)
{
    static char values[MODEL_SIZE];
    static void *model[MODEL_SIZE];
    exl_idmap_t map;
    unsigned seed = 12345;
    size_t count = 0;
    exl_idmap_init(&map);
    for (int step = 0; step < 60000; step++) {
        /* A quarter of the range at a time, so that the map fills up and runs empty again. */
        size_t at = 1 + (size_t)rand_r(&seed) % (MODEL_SIZE - 1);
        bool growing = (step / 5000) % 2 == 0;
        bool put = rand_r(&seed) % 4 ? growing : !growing;
        if (put) {
            assert_int_equal(exl_idmap_put(&map, at, &values[at]), 0);
            count += model[at] == NULL;
            model[at] = &values[at];
        } else {
            assert_ptr_equal(exl_idmap_remove(&map, at), model[at]);
            count -= model[at] != NULL;
            model[at] = NULL;
        }
        assert_int_equal(map.count, count);
        if (step % 500 == 0)
            for (size_t i = 1; i < MODEL_SIZE; i++)
                assert_ptr_equal(exl_idmap_get(&map, i), model[i]);
    }
    exl_idmap_fini(&map);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        EXL_TEST(is_empty_at_first),
        EXL_TEST(replaces),
        EXL_TEST(takes_every_id_but_zero),
        EXL_TEST(agrees_with_an_array),
    };
    return EXL_RUN(tests);
}
