/* test_payload.c: the four places of a payload, its region, and regions that lie. */
#include "task/payload.h"

#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include "support.h"

static atomic_int released;

static void release(void *owner)
{
    assert_ptr_equal(owner, &released);
    atomic_fetch_add(&released, 1);
}

static exl_payload_t *make(const exl_segment_t *body, size_t nbody, const exl_segment_t *buffers, size_t nbuffers)
{
    exl_payload_t *payload = NULL;
    atomic_store(&released, 0);
    assert_int_equal(exl_payload_create(body, nbody, buffers, nbuffers, release, &released, &payload), 0);
    return payload;
}

static uint8_t *pattern(size_t size, uint8_t first)
{
    uint8_t *bytes = malloc(size + 1);
    assert_non_null(bytes);
    for (size_t i = 0; i < size; i++)
        bytes[i] = (uint8_t)(first + i * 7);
    return bytes;
}

static void assert_contents(const exl_payload_t *payload, const exl_segment_t *body, size_t nbody,
                            const exl_segment_t *buffers, size_t nbuffers)
{
    exl_payload_view_t view;
    assert_int_equal(exl_payload_view(payload, &view), 0);
    size_t offset = 0;
    for (size_t i = 0; i < nbody; i++) {
        assert_memory_equal(view.body + offset, body[i].bytes, body[i].size);
        offset += body[i].size;
    }
    assert_int_equal(view.body_size, offset);
    assert_int_equal(view.nbuffers, nbuffers);
    for (size_t i = 0; i < nbuffers; i++) {
        exl_segment_t found = exl_payload_view_buffer(&view, i);
        assert_int_equal(found.size, buffers[i].size);
        assert_int_equal(((const uint8_t *)found.bytes - view.region) % EXL_ALIGNMENT, 0);
        if (found.size)
            assert_memory_equal(found.bytes, buffers[i].bytes, found.size);
    }
}

static void small_ones_are_copied(void **state)
{
    char text[] = "body", more[] = "and more", buffer[] = "buffer";
    exl_segment_t body[] = {{text, 4}, {more, 8}};
    exl_segment_t buffers[] = {{buffer, 6}, {NULL, 0}, {buffer, 1}};
    exl_payload_t *payload = make(body, 2, buffers, 3);
    assert_false(exl_payload_pinned(payload));
    assert_int_equal(exl_payload_fd(payload), -1);
    assert_non_null(exl_payload_region(payload));
    assert_contents(payload, body, 2, buffers, 3);
    memset(text, 0, sizeof text);
    exl_payload_view_t view;
    assert_int_equal(exl_payload_view(payload, &view), 0);
    assert_memory_equal(view.body, "body", 4);
    assert_int_equal(exl_payload_seal(payload), 0);
    assert_int_equal(exl_payload_map(payload), 0);
    assert_int_equal(exl_payload_fd(payload), -1);
    exl_payload_unref(payload);
    assert_int_equal(atomic_load(&released), 0);
}

static void the_limit_of_copying_is_the_regions_size(void **state)
{
    /* A region's prefix without buffers has two words. */
    uint8_t *bytes = pattern(EXL_INLINE_MAX, 1);
    exl_segment_t body = {bytes, EXL_INLINE_MAX - 16};
    exl_payload_t *payload = make(&body, 1, NULL, 0);
    assert_int_equal(exl_payload_size(payload), EXL_INLINE_MAX);
    assert_false(exl_payload_pinned(payload));
    exl_payload_unref(payload);
    assert_int_equal(atomic_load(&released), 0);
    body.size++;
    payload = make(&body, 1, NULL, 0);
    assert_int_equal(exl_payload_size(payload), EXL_INLINE_MAX + 1);
    assert_true(exl_payload_pinned(payload));
    exl_payload_unref(payload);
    assert_int_equal(atomic_load(&released), 1);
    free(bytes);
}

static void pinned_ones_have_no_region_yet(void **state)
{
    uint8_t *bytes = pattern(1 << 20, 1);
    exl_segment_t body = {bytes, 1 << 20};
    exl_payload_view_t view;
    exl_payload_t *payload = make(&body, 1, NULL, 0);
    assert_true(exl_payload_pinned(payload));
    assert_null(exl_payload_region(payload));
    assert_int_equal(exl_payload_fd(payload), -1);
    assert_int_equal(exl_payload_view(payload, &view), EXL_EPROTOCOL);
    exl_payload_unref(payload);
    assert_int_equal(atomic_load(&released), 1);
    free(bytes);
}

static void sealing_releases_once_and_keeps_every_byte(void **state)
{
    const size_t sizes[] = {0, 1, 63, 64, 65, 100000, 3};
    enum { NBUFFERS = sizeof sizes / sizeof *sizes };
    exl_segment_t buffers[NBUFFERS];
    uint8_t *bytes = pattern(100000, 9);
    exl_segment_t body[] = {{bytes, 10}, {bytes + 10, 0}, {bytes + 20, 33}};
    for (size_t i = 0; i < NBUFFERS; i++)
        buffers[i] = (exl_segment_t){bytes + (i == 5 ? 0 : i), sizes[i]};
    /* The last buffer empty as well: the file then ends at its alignment. */
    for (size_t nbuffers = 6; nbuffers <= NBUFFERS; nbuffers++) {
        buffers[NBUFFERS - 1].size = 0;
        exl_payload_t *payload = make(body, 3, buffers, nbuffers);
        assert_true(exl_payload_pinned(payload));
        assert_int_equal(exl_payload_seal(payload), 0);
        assert_int_equal(atomic_load(&released), 1);
        assert_false(exl_payload_pinned(payload));
        assert_true(exl_payload_fd(payload) >= 0);
        assert_int_equal(exl_memory_files_open(), 1);
        assert_null(exl_payload_region(payload));
        assert_int_equal(exl_payload_map(payload), 0);
        assert_int_equal(exl_payload_map(payload), 0);
        assert_contents(payload, body, 3, buffers, nbuffers);
        assert_int_equal((uintptr_t)exl_payload_region(payload) % EXL_ALIGNMENT, 0);
        exl_payload_close_file(payload);
        exl_payload_close_file(payload);
        assert_int_equal(exl_payload_fd(payload), -1);
        assert_int_equal(exl_memory_files_open(), 0);
        assert_contents(payload, body, 3, buffers, nbuffers);
        assert_int_equal(exl_payload_seal(payload), 0);
        exl_payload_unref(payload);
        assert_int_equal(atomic_load(&released), 1);
    }
    free(bytes);
}

static void a_mapping_is_writable_and_private(void **state)
{
    uint8_t *bytes = pattern(200000, 3);
    exl_segment_t body = {bytes, 200000};
    exl_payload_t *payload = make(&body, 1, NULL, 0), *copy = NULL;
    exl_payload_view_t view;
    assert_int_equal(exl_payload_seal(payload), 0);
    assert_int_equal(exl_payload_map(payload), 0);
    assert_int_equal(exl_payload_view(payload, &view), 0);
    view.body[7] ^= 0xff;
    int fd = dup(exl_payload_fd(payload));
    assert_int_equal(exl_payload_from_file(fd, exl_payload_size(payload), &copy), 0);
    assert_int_equal(exl_payload_map(copy), 0);
    assert_contents(copy, &body, 1, NULL, 0);
    exl_payload_unref(copy);
    exl_payload_unref(payload);
    free(bytes);
}

static void falls_back_to_the_heap_without_descriptors(void **state)
{
    struct rlimit limit, none;
    uint8_t *bytes = pattern(200000, 3);
    exl_segment_t body = {bytes, 200000};
    exl_payload_t *payload = make(&body, 1, NULL, 0);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    none = (struct rlimit){.rlim_cur = 0, .rlim_max = limit.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    int rc = exl_payload_seal(payload);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
    assert_int_equal(rc, 0);
    assert_int_equal(exl_payload_fd(payload), -1);
    assert_int_equal(atomic_load(&released), 1);
    assert_contents(payload, &body, 1, NULL, 0);
    exl_payload_unref(payload);
    free(bytes);
}

static void a_file_of_ones_own_is_kept_for_the_next(void **state)
{
    enum { SIZE = 1 << 20 };
    uint8_t *bytes = pattern(SIZE, 3), *other = pattern(SIZE, 77);
    exl_memory_files_keep();
    exl_segment_t body = {bytes, SIZE}, next = {other, SIZE};
    exl_payload_t *payload = make(&body, 1, NULL, 0), *second;
    assert_int_equal(exl_payload_seal(payload), 0);
    int fd = exl_payload_fd(payload);
    exl_payload_own_file(payload);
    assert_int_equal(exl_payload_map(payload), 0);
    exl_payload_unref(payload);
    assert_int_equal(exl_memory_files_open(), 1);
    second = make(&next, 1, NULL, 0);
    assert_int_equal(exl_payload_seal(second), 0);
    assert_int_equal(exl_payload_fd(second), fd);
    assert_int_equal(exl_payload_map(second), 0);
    assert_contents(second, &next, 1, NULL, 0);
    exl_payload_own_file(second);
    exl_payload_share_file(second);
    exl_payload_unref(second);
    assert_int_equal(exl_memory_files_open(), 0);
    exl_memory_files_drop();
    free(bytes);
    free(other);
}

static void the_last_reference_releases(void **state)
{
    uint8_t *bytes = pattern(200000, 3);
    exl_segment_t body = {bytes, 200000};
    exl_payload_t *payload = make(&body, 1, NULL, 0);
    assert_ptr_equal(exl_payload_ref(payload), payload);
    exl_payload_unref(payload);
    assert_int_equal(atomic_load(&released), 0);
    exl_payload_unref(payload);
    assert_int_equal(atomic_load(&released), 1);
    exl_payload_unref(NULL);
    free(bytes);
}

static void refuses_files_that_are_too_short(void **state)
{
    exl_payload_t *payload = NULL;
    int fd = memfd_create("short", MFD_CLOEXEC), ends[2];
    assert_true(fd >= 0);
    assert_int_equal(ftruncate(fd, 99), 0);
    assert_int_equal(exl_payload_from_file(fd, 100, &payload), EXL_EPROTOCOL);
    assert_int_equal(exl_payload_from_file(fd, 15, &payload), EXL_EPROTOCOL);
    assert_int_equal(exl_payload_from_file(fd, SIZE_MAX, &payload), EXL_EPROTOCOL);
    assert_int_equal(exl_payload_from_file(-1, 100, &payload), EXL_EPROTOCOL);
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    assert_int_equal(exl_payload_from_file(ends[0], 100, &payload), EXL_EPROTOCOL);
    assert_null(payload);
    (void)close(ends[0]);
    (void)close(ends[1]);
    (void)close(fd);
}

static int view_of(const uint64_t *words, size_t size)
{
    exl_payload_t *payload = NULL;
    exl_payload_view_t view;
    int rc = exl_payload_from_region(words, size, &payload);
    if (rc < 0)
        return rc;
    rc = exl_payload_view(payload, &view);
    for (size_t i = 0; rc == 0 && i < view.nbuffers; i++) {
        exl_segment_t buffer = exl_payload_view_buffer(&view, i);
        const uint8_t *bytes = buffer.bytes;
        assert_true(bytes >= view.region && bytes + buffer.size <= view.region + size);
    }
    exl_payload_unref(payload);
    return rc;
}

static void refuses_regions_that_do_not_add_up(void **state)
{
    uint64_t words[32] = {0};
    assert_int_equal(view_of(words, 15), EXL_EPROTOCOL);
    assert_int_equal(view_of(words, 0), EXL_EPROTOCOL);
    assert_int_equal(view_of(words, 16), 0);
    words[0] = 1; /* a body outside */
    assert_int_equal(view_of(words, 16), EXL_EPROTOCOL);
    assert_int_equal(view_of(words, 17), 0);
    words[0] = UINT64_MAX;
    assert_int_equal(view_of(words, 256), EXL_EPROTOCOL);
    words[0] = 0;
    const uint64_t numbers[] = {31, 32, UINT64_MAX, UINT64_MAX / 8, UINT64_C(1) << 61, (UINT64_C(1) << 61) - 2};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        words[1] = numbers[i];
        assert_int_equal(view_of(words, 256), EXL_EPROTOCOL);
    }
    words[1] = 1; /* one buffer, at 64 */
    words[2] = 192;
    assert_int_equal(view_of(words, 256), 0);
    words[2] = 193;
    assert_int_equal(view_of(words, 256), EXL_EPROTOCOL);
    words[2] = UINT64_MAX - 63;
    assert_int_equal(view_of(words, 256), EXL_EPROTOCOL);
    words[2] = 0;
    assert_int_equal(view_of(words, 63), EXL_EPROTOCOL); /* an empty buffer, but aligned past the end */
    assert_int_equal(view_of(words, 64), 0);
    words[1] = 2;
    words[2] = 1;
    words[3] = 128;
    assert_int_equal(view_of(words, 255), EXL_EPROTOCOL);
    assert_int_equal(view_of(words, 256), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        EXL_TEST(small_ones_are_copied),
        EXL_TEST(the_limit_of_copying_is_the_regions_size),
        EXL_TEST(pinned_ones_have_no_region_yet),
        EXL_TEST(sealing_releases_once_and_keeps_every_byte),
        EXL_TEST(a_mapping_is_writable_and_private),
        EXL_TEST(falls_back_to_the_heap_without_descriptors),
        EXL_TEST(a_file_of_ones_own_is_kept_for_the_next),
        EXL_TEST(the_last_reference_releases),
        EXL_TEST(refuses_files_that_are_too_short),
        EXL_TEST(refuses_regions_that_do_not_add_up),
    };
    return EXL_RUN(tests);
}
