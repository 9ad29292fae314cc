/* test_shared.c: payloads that calls name by an id. */
#include "task/shared.h"

#include "support.h"

static void every_one_has_an_id_of_its_own(void **state)
{
    exl_shared_t *first = exl_shared_create(exl_test_payload("one"));
    exl_shared_t *second = exl_shared_create(exl_test_payload("two"));
    assert_int_not_equal(first->id, 0);
    assert_int_not_equal(first->id, second->id);
    uint64_t id = second->id;
    exl_shared_unref(second);
    second = exl_shared_create(exl_test_payload("three"));
    assert_int_not_equal(second->id, id);
    exl_shared_unref(first);
    exl_shared_unref(second);
}

static void count(void *owner)
{
    ++*(int *)owner;
}

static void the_last_reference_drops_the_payload(void **state)
{
    static char bytes[EXL_INLINE_MAX];
    exl_segment_t body = {bytes, sizeof bytes};
    exl_payload_t *payload;
    int gone = 0;
    assert_int_equal(exl_payload_create(&body, 1, NULL, 0, count, &gone, &payload), 0);
    exl_shared_t *shared = exl_shared_create(payload);
    assert_ptr_equal(exl_shared_ref(shared), shared);
    exl_shared_unref(shared);
    assert_int_equal(gone, 0);
    exl_shared_unref(shared);
    assert_int_equal(gone, 1);
    exl_shared_unref(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        EXL_TEST(every_one_has_an_id_of_its_own),
        EXL_TEST(the_last_reference_drops_the_payload),
    };
    return EXL_RUN(tests);
}
