/* test_gather.c: the list of the ranks' results, byte by byte. */
#include "node/gather.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "support.h"

static const char begin[] = "\x80\x05"
                            "c_executorlib_core\n_gather\n(";

static exl_payload_t *payload_of(const char *body, const exl_segment_t *buffers, size_t nbuffers)
{
    exl_segment_t segment = {body, strlen(body)};
    exl_payload_t *payload = NULL;
    assert_int_equal(exl_payload_create(&segment, 1, buffers, nbuffers, NULL, NULL, &payload), 0);
    return payload;
}

static exl_payload_view_t view_of(exl_payload_t *payload)
{
    exl_payload_view_t view;
    assert_int_equal(exl_payload_map(payload), 0);
    assert_int_equal(exl_payload_view(payload, &view), 0);
    return view;
}

/* Reads what the body says, and compares. */
struct reader {
    const uint8_t *at, *end;
};

static void expect_bytes(struct reader *reader, const void *bytes, size_t size)
{
    assert_true((size_t)(reader->end - reader->at) >= size);
    assert_memory_equal(reader->at, bytes, size);
    reader->at += size;
}

static void expect_part(struct reader *reader, const char *body, size_t nbuffers)
{
    uint8_t length[9] = {0x8e};
    for (int i = 0; i < 8; i++)
        length[1 + i] = (uint8_t)((uint64_t)strlen(body) >> (8 * i));
    expect_bytes(reader, length, sizeof length);
    expect_bytes(reader, body, strlen(body));
    expect_bytes(reader, "(", 1);
    for (size_t i = 0; i < nbuffers; i++)
        expect_bytes(reader, "\x97", 1);
    expect_bytes(reader, "t", 1);
}

static struct reader reader_of(const exl_payload_view_t *view)
{
    struct reader reader = {view->body, view->body + view->body_size};
    expect_bytes(&reader, begin, sizeof begin - 1);
    return reader;
}

static void expect_end(struct reader *reader)
{
    expect_bytes(reader, "tR.", 3);
    assert_ptr_equal(reader->at, reader->end);
}

/* The list of the results, which are released. */
static exl_payload_t *gathered(exl_payload_t *const *results, uint32_t count)
{
    exl_payload_t *list = NULL;
    assert_int_equal(exl_gather(results, count, &list), 0);
    for (uint32_t i = 0; i < count; i++)
        exl_payload_unref(results[i]);
    return list;
}

static void results_stand_in_the_order_of_the_ranks(void **state)
{
    (void)state;
    exl_payload_t *results[] = {exl_test_payload("first"), exl_test_payload(""), exl_test_payload("third")};
    exl_payload_t *list = gathered(results, 3);
    exl_payload_view_t view = view_of(list);
    struct reader reader = reader_of(&view);
    expect_part(&reader, "first", 0);
    expect_part(&reader, "", 0);
    expect_part(&reader, "third", 0);
    expect_end(&reader);
    assert_int_equal(view.nbuffers, 0);
    exl_payload_unref(list);
}

static void buffers_of_all_ranks_follow_in_order(void **state)
{
    (void)state;
    exl_segment_t one[] = {{"aaaa", 4}}, two[] = {{"bb", 2}, {"", 0}};
    exl_payload_t *results[] = {payload_of("one", one, 1), payload_of("none", NULL, 0), payload_of("two", two, 2)};
    exl_payload_t *list = gathered(results, 3);
    exl_payload_view_t view = view_of(list);
    struct reader reader = reader_of(&view);
    expect_part(&reader, "one", 1);
    expect_part(&reader, "none", 0);
    expect_part(&reader, "two", 2);
    expect_end(&reader);
    const char *expected[] = {"aaaa", "bb", ""};
    assert_int_equal(view.nbuffers, 3);
    for (size_t i = 0; i < 3; i++) {
        exl_segment_t buffer = exl_payload_view_buffer(&view, i);
        assert_int_equal(buffer.size, strlen(expected[i]));
        assert_memory_equal(buffer.bytes, expected[i], buffer.size);
    }
    exl_payload_unref(list);
}

/* Above the inline limit the pieces are pinned until sealed: the list must not need them when it is handed out. */
static void large_results_are_copied_at_once(void **state)
{
    (void)state;
    enum { SIZE = 4 * EXL_INLINE_MAX };
    char *bytes[2] = {malloc(SIZE), malloc(SIZE)};
    exl_payload_t *results[2];
    for (int i = 0; i < 2; i++) {
        assert_non_null(bytes[i]);
        memset(bytes[i], 'x' + i, SIZE);
        exl_segment_t buffer = {bytes[i], SIZE};
        results[i] = payload_of("body", &buffer, 1);
        assert_int_equal(exl_payload_seal(results[i]), 0);
        free(bytes[i]);
    }
    exl_payload_t *list = gathered(results, 2);
    assert_false(exl_payload_pinned(list));
    exl_payload_view_t view = view_of(list);
    assert_int_equal(view.nbuffers, 2);
    for (size_t i = 0; i < 2; i++) {
        exl_segment_t buffer = exl_payload_view_buffer(&view, i);
        assert_int_equal(buffer.size, SIZE);
        assert_int_equal(((const char *)buffer.bytes)[0], 'x' + (int)i);
        assert_int_equal(((const char *)buffer.bytes)[SIZE - 1], 'x' + (int)i);
    }
    exl_payload_unref(list);
}

static void no_results_are_an_empty_list(void **state)
{
    (void)state;
    exl_payload_t *list = gathered(NULL, 0);
    exl_payload_view_t view = view_of(list);
    struct reader reader = reader_of(&view);
    expect_end(&reader);
    exl_payload_unref(list);
}

/* Sizes that do not add up come from a broken rank. */
static void a_result_that_lies_is_refused(void **state)
{
    (void)state;
    uint8_t region[64] = {0xff, 0xff, 0xff};
    exl_payload_t *results[2] = {exl_test_payload("sound"), NULL}, *list = NULL;
    assert_int_equal(exl_payload_from_region(region, sizeof region, &results[1]), 0);
    assert_true(exl_gather(results, 2, &list) < 0);
    assert_null(list);
    exl_payload_unref(results[0]);
    exl_payload_unref(results[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        EXL_TEST(results_stand_in_the_order_of_the_ranks), EXL_TEST(buffers_of_all_ranks_follow_in_order),
        EXL_TEST(large_results_are_copied_at_once),        EXL_TEST(no_results_are_an_empty_list),
        EXL_TEST(a_result_that_lies_is_refused),
    };
    return EXL_RUN(tests);
}
