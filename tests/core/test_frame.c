/* test_frame.c: the codec of a frame's header, and every field that can be wrong in it. */
#include "wire/frame.h"

#include <string.h>

#include "base/error.h"
#include "support.h"

static const exl_frame_t sample = {.type = EXL_FRAME_CALL,
                                   .flags = EXL_FRAME_PAYLOAD | EXL_FRAME_FILE,
                                   .nfds = 2,
                                   .arg = 0x04030201,
                                   .epoch = 0x08070605,
                                   .id = UINT64_C(0x1817161514131211),
                                   .size = UINT64_C(0x2524232221)};

static void assert_same(const exl_frame_t *a, const exl_frame_t *b)
{
    assert_int_equal(a->type, b->type);
    assert_int_equal(a->flags, b->flags);
    assert_int_equal(a->nfds, b->nfds);
    assert_int_equal(a->arg, b->arg);
    assert_int_equal(a->epoch, b->epoch);
    assert_int_equal(a->id, b->id);
    assert_int_equal(a->size, b->size);
}

static void has_the_documented_layout(void **state)
{
    static const uint8_t expected[EXL_FRAME_SIZE] = {
        'E',  'X',  'L',  '1',  EXL_FRAME_CALL, 3,    2,    0,    0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x08,
        0x11, 0x12, 0x13, 0x14, 0x15,           0x16, 0x17, 0x18, 0x21, 0x22, 0x23, 0x24, 0x25, 0,    0,    0};
    uint8_t bytes[EXL_FRAME_SIZE];
    exl_frame_encode(&sample, bytes);
    assert_memory_equal(bytes, expected, sizeof bytes);
}

static void survives_the_way_there_and_back(void **state)
{
    for (uint8_t type = 1; type < EXL_FRAME_TYPES; type++)
        for (uint8_t nfds = 0; nfds <= EXL_FRAME_MAX_FDS; nfds++) {
            exl_frame_t frame = {.type = type, .nfds = nfds, .arg = UINT32_MAX, .epoch = UINT32_MAX, .id = UINT64_MAX};
            exl_frame_t decoded;
            uint8_t bytes[EXL_FRAME_SIZE];
            exl_frame_encode(&frame, bytes);
            assert_int_equal(exl_frame_decode(bytes, &decoded), 0);
            assert_same(&decoded, &frame);
        }
}

/* Encodes the sample, sets one byte, and expects a refusal that leaves the output alone. */
static void assert_refused(size_t offset, uint8_t byte)
{
    uint8_t bytes[EXL_FRAME_SIZE];
    exl_frame_t decoded = {.type = 77};
    exl_frame_encode(&sample, bytes);
    assert_int_not_equal(bytes[offset], byte);
    bytes[offset] = byte;
    assert_int_equal(exl_frame_decode(bytes, &decoded), EXL_EPROTOCOL);
    assert_int_equal(decoded.type, 77);
}

static void refuses_another_magic(void **state)
{
    for (size_t i = 0; i < 4; i++)
        for (unsigned bit = 0; bit < 8; bit++)
            assert_refused(i, (uint8_t)("EXL1"[i] ^ (1u << bit)));
}

static void refuses_an_unknown_type(void **state)
{
    assert_refused(4, 0);
    for (unsigned type = EXL_FRAME_TYPES; type < 256; type++)
        assert_refused(4, (uint8_t)type);
}

static void refuses_wrong_flags(void **state)
{
    for (unsigned flags = 0; flags < 256; flags++)
        if (flags != 3 && flags != EXL_FRAME_PAYLOAD)
            assert_refused(5, (uint8_t)flags);
}

static void refuses_wrong_numbers_of_descriptors(void **state)
{
    assert_refused(6, 0); /* a file without a descriptor */
    for (unsigned nfds = EXL_FRAME_MAX_FDS + 1; nfds < 256; nfds++)
        assert_refused(6, (uint8_t)nfds);
}

static void refuses_a_byte_that_must_be_zero(void **state)
{
    for (unsigned byte = 1; byte < 256; byte++)
        assert_refused(7, (uint8_t)byte);
}

static void refuses_a_size_over_the_cap(void **state)
{
    exl_frame_t frame = sample, decoded;
    uint8_t bytes[EXL_FRAME_SIZE];
    frame.size = EXL_FRAME_MAX_PAYLOAD;
    exl_frame_encode(&frame, bytes);
    assert_int_equal(exl_frame_decode(bytes, &decoded), 0);
    const uint64_t too_large[] = {EXL_FRAME_MAX_PAYLOAD + 1, UINT64_C(1) << 63, UINT64_MAX};
    for (size_t i = 0; i < sizeof too_large / sizeof *too_large; i++) {
        frame.size = too_large[i];
        exl_frame_encode(&frame, bytes);
        assert_int_equal(exl_frame_decode(bytes, &decoded), EXL_EPROTOCOL);
    }
}

static void refuses_a_size_without_a_payload(void **state)
{
    exl_frame_t frame = {.type = EXL_FRAME_CALL, .size = 1}, decoded;
    uint8_t bytes[EXL_FRAME_SIZE];
    exl_frame_encode(&frame, bytes);
    assert_int_equal(exl_frame_decode(bytes, &decoded), EXL_EPROTOCOL);
}

static void every_type_has_a_name_of_its_own(void **state)
{
    for (uint8_t type = 1; type < EXL_FRAME_TYPES; type++) {
        assert_string_not_equal(exl_frame_type_to_string(type), "unknown");
        for (uint8_t other = 1; other < type; other++)
            assert_string_not_equal(exl_frame_type_to_string(type), exl_frame_type_to_string(other));
    }
    assert_string_equal(exl_frame_type_to_string(0), "unknown");
    assert_string_equal(exl_frame_type_to_string(EXL_FRAME_TYPES), "unknown");
    assert_string_equal(exl_frame_type_to_string(255), "unknown");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        EXL_TEST(has_the_documented_layout),
        EXL_TEST(survives_the_way_there_and_back),
        EXL_TEST(refuses_another_magic),
        EXL_TEST(refuses_an_unknown_type),
        EXL_TEST(refuses_wrong_flags),
        EXL_TEST(refuses_wrong_numbers_of_descriptors),
        EXL_TEST(refuses_a_byte_that_must_be_zero),
        EXL_TEST(refuses_a_size_over_the_cap),
        EXL_TEST(refuses_a_size_without_a_payload),
        EXL_TEST(every_type_has_a_name_of_its_own),
    };
    return EXL_RUN(tests);
}
