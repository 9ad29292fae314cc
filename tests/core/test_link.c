/* test_link.c: every frame once and in order, whatever happens to the stream. */
#include "wire/link.h"

#include <errno.h>
#include <string.h>

#include "base/error.h"
#include "support.h"

typedef struct pair {
    exl_link_t *a, *b;
} pair_t;

static pair_t two_links(void)
{
    pair_t pair = {exl_link_create(), exl_link_create()};
    assert_non_null(pair.a);
    assert_non_null(pair.b);
    return pair;
}

static void end_both(pair_t *pair)
{
    exl_link_destroy(pair->a);
    exl_link_destroy(pair->b);
}

static void say(exl_link_t *link, uint64_t id, const char *text)
{
    exl_payload_t *payload = text ? exl_test_payload(text) : NULL;
    assert_int_equal(exl_link_send(link, (exl_frame_t){.type = EXL_FRAME_CALL, .id = id}, payload), 0);
    exl_payload_unref(payload);
}

/* Moves at most `limit` bytes in pieces. Returns how many there were. */
static size_t carry(exl_link_t *from, exl_link_t *to, size_t piece, size_t limit)
{
    uint8_t bytes[4096];
    size_t moved = 0;
    while (moved < limit) {
        size_t size = exl_link_take(from, bytes, limit - moved < piece ? limit - moved : piece);
        if (!size)
            break;
        assert_int_equal(exl_link_feed(to, bytes, size), 0);
        moved += size;
    }
    return moved;
}

static void assert_hears(exl_link_t *link, uint64_t id, const char *text)
{
    exl_message_t message;
    assert_int_equal(exl_link_next(link, &message), 1);
    assert_int_equal(message.frame.type, EXL_FRAME_CALL);
    assert_int_equal(message.frame.id, id);
    assert_int_equal(message.payload != NULL, text != NULL);
    if (text) {
        assert_int_equal(exl_payload_map(message.payload), 0);
        exl_test_assert_body(message.payload, text);
    }
    exl_message_fini(&message);
}

static void assert_silent(exl_link_t *link)
{
    exl_message_t message;
    assert_int_equal(exl_link_next(link, &message), 0);
}

static void frames_arrive_in_order(void **state)
{
    for (size_t piece = 1; piece <= 4096; piece *= 4) {
        pair_t pair = two_links();
        assert_false(exl_link_pending(pair.a));
        say(pair.a, 1, "one");
        say(pair.a, 2, NULL);
        say(pair.a, 3, "three");
        assert_true(exl_link_pending(pair.a));
        (void)carry(pair.a, pair.b, piece, SIZE_MAX);
        assert_false(exl_link_pending(pair.a));
        assert_hears(pair.b, 1, "one");
        assert_hears(pair.b, 2, NULL);
        assert_hears(pair.b, 3, "three");
        assert_silent(pair.b);
        assert_int_equal(exl_link_received(pair.b), 3);
        end_both(&pair);
    }
}

static void a_large_payload_arrives_in_a_memory_file(void **state)
{
    enum { SIZE = 3 * EXL_INLINE_MAX };
    pair_t pair = two_links();
    char *text = malloc(SIZE + 1);
    assert_non_null(text);
    for (size_t i = 0; i < SIZE; i++)
        text[i] = (char)('a' + i % 23);
    text[SIZE] = '\0';
    exl_payload_t *payload = exl_test_payload(text);
    assert_int_equal(exl_payload_seal(payload), 0);
    assert_int_equal(exl_link_send(pair.a, (exl_frame_t){.type = EXL_FRAME_CALL, .id = 9}, payload), 0);
    exl_payload_unref(payload);
    (void)carry(pair.a, pair.b, 1000, SIZE_MAX);
    exl_message_t message;
    assert_int_equal(exl_link_next(pair.b, &message), 1);
    assert_true(exl_payload_fd(message.payload) >= 0);
    assert_int_equal(exl_payload_map(message.payload), 0);
    exl_test_assert_body(message.payload, text);
    exl_message_fini(&message);
    free(text);
    end_both(&pair);
}

static void acknowledged_frames_are_let_go(void **state)
{
    pair_t pair = two_links();
    for (uint64_t i = 0; i < 100; i++)
        say(pair.a, i, "text");
    uint64_t backlog = exl_link_backlog(pair.a);
    assert_true(backlog > 100 * EXL_FRAME_SIZE);
    (void)carry(pair.a, pair.b, 4096, SIZE_MAX);
    for (uint64_t i = 0; i < 100; i++)
        assert_hears(pair.b, i, "text");
    assert_int_equal(exl_link_backlog(pair.a), backlog);
    assert_true(exl_link_pending(pair.b)); /* on its own after so many */
    exl_link_acknowledge(pair.b);
    (void)carry(pair.b, pair.a, 4096, SIZE_MAX);
    assert_silent(pair.a);
    assert_int_equal(exl_link_backlog(pair.a), 0);
    exl_link_acknowledge(pair.b);
    assert_false(exl_link_pending(pair.b)); /* nothing new to say */
    end_both(&pair);
}

/* Each tells the other what it has, as the ends of a new stream do. */
static void reconnect(pair_t *pair)
{
    uint64_t a = exl_link_received(pair->a), b = exl_link_received(pair->b);
    assert_int_equal(exl_link_resume(pair->a, b), 0);
    assert_int_equal(exl_link_resume(pair->b, a), 0);
}

static uint64_t hear_all(exl_link_t *link, uint64_t expected)
{
    exl_message_t message;
    int rc;
    while ((rc = exl_link_next(link, &message)) > 0) {
        assert_int_equal(message.frame.id, expected++);
        exl_message_fini(&message);
    }
    assert_int_equal(rc, 0);
    return expected;
}

static void a_cut_anywhere_loses_and_repeats_nothing(void **state)
{
    enum { FRAMES = 40 };
    exl_payload_t *sample = exl_test_payload("x");
    size_t whole = FRAMES * (EXL_FRAME_SIZE + exl_payload_size(sample));
    exl_payload_unref(sample);
    for (size_t cut = 0; cut <= whole; cut++) {
        pair_t pair = two_links();
        for (uint64_t i = 0; i < FRAMES; i++)
            say(pair.a, i, "x");
        (void)carry(pair.a, pair.b, 100, cut);
        uint64_t heard = hear_all(pair.b, 0);
        (void)carry(pair.b, pair.a, 100, cut % EXL_FRAME_SIZE); /* an ack may be cut as well */
        reconnect(&pair);
        say(pair.a, FRAMES, NULL);
        (void)carry(pair.a, pair.b, 4096, SIZE_MAX);
        assert_int_equal(hear_all(pair.b, heard), FRAMES + 1);
        exl_link_acknowledge(pair.b);
        (void)carry(pair.b, pair.a, 4096, SIZE_MAX);
        assert_silent(pair.a);
        assert_int_equal(exl_link_backlog(pair.a), 0);
        end_both(&pair);
    }
}

static void many_cuts_lose_and_repeat_nothing(void **state)
{
    enum { FRAMES = 500 };
    pair_t pair = two_links();
    uint64_t heard_b = 0, heard_a = 0;
    for (uint64_t i = 0; i < FRAMES; i++) {
        say(pair.a, i, i % 3 ? "some text" : NULL);
        say(pair.b, i, NULL);
    }
    for (unsigned turn = 0; heard_b < FRAMES || heard_a < FRAMES; turn++) {
        (void)carry(pair.a, pair.b, 64, turn * 37 % 900);
        heard_b = hear_all(pair.b, heard_b);
        (void)carry(pair.b, pair.a, 64, turn * 53 % 700);
        heard_a = hear_all(pair.a, heard_a);
        if (turn % 3 == 2)
            reconnect(&pair);
        assert_true(turn < 10000);
    }
    end_both(&pair);
}

/* ---- what no peer of ours says ---- */

static void assert_refused(const exl_frame_t *frame, size_t more)
{
    pair_t pair = two_links();
    uint8_t bytes[EXL_FRAME_SIZE + 64] = {0};
    exl_message_t message;
    exl_frame_encode(frame, bytes);
    assert_int_equal(exl_link_feed(pair.a, bytes, EXL_FRAME_SIZE + more), 0);
    assert_int_equal(exl_link_next(pair.a, &message), EXL_EPROTOCOL);
    end_both(&pair);
}

static void malformed_frames_are_refused(void **state)
{
    assert_refused(&(exl_frame_t){.type = EXL_FRAME_CALL, .nfds = 1}, 0);
    assert_refused(
        &(exl_frame_t){.type = EXL_FRAME_CALL, .nfds = 1, .size = 32, .flags = EXL_FRAME_PAYLOAD | EXL_FRAME_FILE}, 0);
    assert_refused(&(exl_frame_t){.type = EXL_FRAME_CALL, .flags = EXL_FRAME_PAYLOAD, .size = 3}, 3);
    assert_refused(&(exl_frame_t){.type = EXL_FRAME_ACK, .id = 1}, 0);
    exl_link_t *link = exl_link_create();
    exl_message_t message;
    assert_int_equal(exl_link_feed(link, "GET / HTTP/1.1\r\nHost: example\r\n\r\n", 33), 0);
    assert_int_equal(exl_link_next(link, &message), EXL_EPROTOCOL);
    exl_link_destroy(link);
}

static void an_ack_of_what_was_not_sent_is_refused(void **state)
{
    pair_t pair = two_links();
    uint8_t bytes[EXL_FRAME_SIZE];
    exl_message_t message;
    say(pair.a, 1, NULL);
    say(pair.a, 2, NULL);
    (void)carry(pair.a, pair.b, 4096, EXL_FRAME_SIZE + 1);
    exl_frame_encode(&(exl_frame_t){.type = EXL_FRAME_ACK, .id = 2}, bytes);
    assert_int_equal(exl_link_feed(pair.a, bytes, sizeof bytes), 0);
    assert_int_equal(exl_link_next(pair.a, &message), EXL_EPROTOCOL);
    end_both(&pair);
}

static void an_impossible_count_is_refused(void **state)
{
    pair_t pair = two_links();
    assert_int_equal(exl_link_resume(pair.a, 1), EXL_EPROTOCOL);
    say(pair.a, 1, NULL);
    say(pair.a, 2, NULL);
    (void)carry(pair.a, pair.b, 4096, SIZE_MAX);
    assert_int_equal(hear_all(pair.b, 1), 3);
    exl_link_acknowledge(pair.b);
    (void)carry(pair.b, pair.a, 4096, SIZE_MAX);
    assert_silent(pair.a);
    assert_int_equal(exl_link_resume(pair.a, 1), EXL_EPROTOCOL); /* it has let go of the second */
    end_both(&pair);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        EXL_TEST(frames_arrive_in_order),
        EXL_TEST(a_large_payload_arrives_in_a_memory_file),
        EXL_TEST(acknowledged_frames_are_let_go),
        EXL_TEST(a_cut_anywhere_loses_and_repeats_nothing),
        EXL_TEST(many_cuts_lose_and_repeat_nothing),
        EXL_TEST(malformed_frames_are_refused),
        EXL_TEST(an_ack_of_what_was_not_sent_is_refused),
        EXL_TEST(an_impossible_count_is_refused),
    };
    return EXL_RUN(tests);
}
