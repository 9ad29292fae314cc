/* test_buffer.c: growable bytes with a read position. */
#include "base/buffer.h"

#include <string.h>

#include "support.h"

static void fill(exl_buffer_t *buffer, size_t size, uint8_t first)
{
    for (size_t i = 0; i < size; i++) {
        uint8_t byte = (uint8_t)(first + i);
        assert_int_equal(exl_buffer_append(buffer, &byte, 1), 0);
    }
}

static void starts_empty(void **state)
{
    exl_buffer_t buffer;
    exl_buffer_init(&buffer);
    assert_int_equal(exl_buffer_size(&buffer), 0);
    exl_buffer_consume(&buffer, 0);
    assert_int_equal(exl_buffer_append(&buffer, NULL, 0), 0);
    exl_buffer_fini(&buffer);
}

static void gives_back_what_was_appended(void **state)
{
    exl_buffer_t buffer;
    exl_buffer_init(&buffer);
    fill(&buffer, 10000, 3);
    assert_int_equal(exl_buffer_size(&buffer), 10000);
    for (size_t i = 0; i < 10000; i++)
        assert_int_equal(exl_buffer_data(&buffer)[i], (uint8_t)(3 + i));
    exl_buffer_fini(&buffer);
}

static void keeps_unread_bytes_when_it_moves_and_grows(void **state)
{
    exl_buffer_t buffer;
    uint8_t expected = 0;
    exl_buffer_init(&buffer);
    /* Every mix of read position and size, across several growths. */
    for (size_t round = 1; round < 400; round++) {
        uint8_t next = (uint8_t)(expected + exl_buffer_size(&buffer));
        fill(&buffer, round * 3, next);
        for (size_t i = 0; i < exl_buffer_size(&buffer); i++)
            assert_int_equal(exl_buffer_data(&buffer)[i], (uint8_t)(expected + i));
        exl_buffer_consume(&buffer, round * 2);
        expected = (uint8_t)(expected + round * 2);
    }
    exl_buffer_fini(&buffer);
}

static void reserve_gives_room_and_does_not_change_the_size(void **state)
{
    exl_buffer_t buffer;
    exl_buffer_init(&buffer);
    fill(&buffer, 5, 0);
    uint8_t *room = exl_buffer_reserve(&buffer, 100000);
    assert_non_null(room);
    assert_ptr_equal(room, buffer.bytes + buffer.end);
    memset(room, 0xaa, 100000);
    assert_int_equal(exl_buffer_size(&buffer), 5);
    exl_buffer_fini(&buffer);
}

static void gives_a_large_buffer_back_when_it_is_empty(void **state)
{
    exl_buffer_t buffer;
    exl_buffer_init(&buffer);
    assert_non_null(exl_buffer_reserve(&buffer, 1 << 20));
    buffer.end = 1 << 20;
    exl_buffer_consume(&buffer, (1 << 20) - 1);
    assert_true(buffer.capacity >= 1 << 20);
    exl_buffer_consume(&buffer, 1);
    assert_int_equal(buffer.capacity, 0);
    assert_null(buffer.bytes);
    exl_buffer_fini(&buffer);
}

static void refuses_a_size_that_no_memory_has(void **state)
{
    exl_buffer_t buffer;
    exl_buffer_init(&buffer);
    fill(&buffer, 5, 0);
    assert_null(exl_buffer_reserve(&buffer, SIZE_MAX));
    assert_null(exl_buffer_reserve(&buffer, SIZE_MAX / 2));
    assert_int_equal(exl_buffer_size(&buffer), 5);
    exl_buffer_fini(&buffer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        EXL_TEST(starts_empty),
        EXL_TEST(gives_back_what_was_appended),
        EXL_TEST(keeps_unread_bytes_when_it_moves_and_grows),
        EXL_TEST(reserve_gives_room_and_does_not_change_the_size),
        EXL_TEST(gives_a_large_buffer_back_when_it_is_empty),
        EXL_TEST(refuses_a_size_that_no_memory_has),
    };
    return EXL_RUN(tests);
}
