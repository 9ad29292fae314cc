/* test_tls.c: two ends that share a key, and everybody who does not. */
#include "wire/tls.h"

#include <errno.h>
#include <openssl/ssl.h>
#include <string.h>

#include "support.h"
#include "wire/tls_openssl.h"

static const char name[] = "executorlib agent 7";

typedef struct ends {
    uint8_t key[EXL_TLS_KEY_SIZE];
    exl_tls_t *client, *server;
} ends_t;

static exl_tls_t *end_of(exl_tls_side_t side, const char *as, const uint8_t *key)
{
    exl_tls_t *tls = NULL;
    exl_error_t err = {""};
    int rc = exl_tls_create(side, as, key, &tls, &err);
    if (rc < 0)
        print_message("%s\n", err.text);
    assert_int_equal(rc, 0);
    return tls;
}

static ends_t two_ends(void)
{
    ends_t ends;
    assert_int_equal(exl_tls_key(ends.key), 0);
    ends.client = end_of(EXL_TLS_CONNECTS, name, ends.key);
    ends.server = end_of(EXL_TLS_ACCEPTS, name, ends.key);
    return ends;
}

static void end_both(ends_t *ends)
{
    exl_tls_destroy(ends->client);
    exl_tls_destroy(ends->server);
}

/* Carries what `from` has to say to `to`, in pieces. The code of the first refusal. */
static int carry(exl_tls_t *from, exl_tls_t *to, size_t piece)
{
    uint8_t bytes[4096];
    assert_true(piece <= sizeof bytes);
    int rc = 0;
    for (size_t size; rc == 0 && (size = exl_tls_take(from, bytes, piece)) > 0;)
        rc = exl_tls_feed(to, bytes, size, NULL);
    return rc;
}

static int shake_hands(exl_tls_t *client, exl_tls_t *server, size_t piece)
{
    int rc = 0;
    while (rc == 0 && (exl_tls_pending(client) || exl_tls_pending(server)))
        if ((rc = carry(client, server, piece)) == 0)
            rc = carry(server, client, piece);
    return rc;
}

static ends_t established(size_t piece)
{
    ends_t ends = two_ends();
    assert_false(exl_tls_established(ends.client) || exl_tls_established(ends.server));
    assert_int_equal(shake_hands(ends.client, ends.server, piece), 0);
    assert_true(exl_tls_established(ends.client) && exl_tls_established(ends.server));
    return ends;
}

static void assert_hears(exl_tls_t *tls, const char *text)
{
    char heard[64];
    int got = exl_tls_read(tls, heard, sizeof heard);
    assert_int_equal(got, (int)strlen(text));
    assert_memory_equal(heard, text, strlen(text));
    assert_int_equal(exl_tls_read(tls, heard, sizeof heard), 0);
}

static void talk(size_t piece)
{
    ends_t ends = established(piece);
    assert_int_equal(exl_tls_write(ends.client, "ping", 4), 0);
    assert_int_equal(carry(ends.client, ends.server, piece), 0);
    assert_hears(ends.server, "ping");
    assert_int_equal(exl_tls_write(ends.server, "pong", 4), 0);
    assert_int_equal(carry(ends.server, ends.client, piece), 0);
    assert_hears(ends.client, "pong");
    end_both(&ends);
}

static void carries_both_ways(void **state)
{
    talk(4096);
}

static void carries_byte_by_byte(void **state)
{
    talk(1);
}

static void carries_much(void **state)
{
    enum { SIZE = 1 << 20 };
    ends_t ends = established(4096);
    uint8_t *sent = malloc(SIZE), *heard = malloc(SIZE);
    assert_non_null(sent);
    assert_non_null(heard);
    for (size_t i = 0; i < SIZE; i++)
        sent[i] = (uint8_t)(i * 2654435761U >> 16);
    assert_int_equal(exl_tls_write(ends.server, sent, SIZE), 0);
    assert_true(exl_tls_pending(ends.server) > SIZE);
    assert_int_equal(carry(ends.server, ends.client, 1000), 0);
    size_t got = 0;
    for (int rc; (rc = exl_tls_read(ends.client, heard + got, SIZE - got)) > 0;)
        got += (size_t)rc;
    assert_int_equal(got, SIZE);
    assert_memory_equal(sent, heard, SIZE);
    free(sent);
    free(heard);
    end_both(&ends);
}

static void nothing_is_said_in_the_clear(void **state)
{
    ends_t ends = established(4096);
    uint8_t bytes[4096];
    assert_int_equal(exl_tls_write(ends.client, "a secret sentence", 17), 0);
    size_t size = exl_tls_take(ends.client, bytes, sizeof bytes);
    assert_true(size > 17);
    assert_null(memmem(bytes, size, "secret", 6));
    end_both(&ends);
}

static void a_good_bye_is_heard(void **state)
{
    ends_t ends = established(4096);
    char byte;
    assert_int_equal(exl_tls_close(ends.client), 0);
    assert_int_equal(carry(ends.client, ends.server, 4096), 0);
    assert_int_equal(exl_tls_read(ends.server, &byte, 1), EXL_ECLOSED);
    assert_int_equal(exl_tls_read(ends.client, &byte, 1), 0);
    end_both(&ends);
}

static void nothing_is_written_before_hands_are_shaken(void **state)
{
    ends_t ends = two_ends();
    char byte;
    assert_int_equal(exl_tls_write(ends.client, "early", 5), EXL_EILLEGAL);
    assert_int_equal(exl_tls_close(ends.client), EXL_EILLEGAL);
    assert_int_equal(exl_tls_read(ends.server, &byte, 1), 0);
    end_both(&ends);
}

/* ---- those who are not let in ---- */

static void assert_refused(exl_tls_t *client, exl_tls_t *server)
{
    char byte;
    assert_int_equal(shake_hands(client, server, 4096), EXL_EPROTOCOL);
    assert_false(exl_tls_established(server));
    assert_int_equal(exl_tls_write(server, "no", 2), EXL_EILLEGAL);
    assert_true(exl_tls_read(server, &byte, 1) <= 0);
    /* What is left is an alert; it makes nobody a friend. */
    (void)shake_hands(server, client, 4096);
    assert_false(exl_tls_established(client));
}

static void another_key_is_refused(void **state)
{
    ends_t ends = two_ends();
    ends.key[31] ^= 1;
    exl_tls_t *stranger = end_of(EXL_TLS_CONNECTS, name, ends.key);
    assert_refused(stranger, ends.server);
    assert_int_equal(exl_tls_feed(ends.server, "more", 4, NULL), EXL_EPROTOCOL);
    exl_tls_destroy(stranger);
    end_both(&ends);
}

static void another_name_is_refused(void **state)
{
    ends_t ends = two_ends();
    static const char *const others[] = {"executorlib agent 8", "executorlib agent", "executorlib agent 77"};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        exl_tls_t *server = end_of(EXL_TLS_ACCEPTS, name, ends.key);
        exl_tls_t *stranger = end_of(EXL_TLS_CONNECTS, others[i], ends.key);
        assert_refused(stranger, server);
        exl_tls_destroy(stranger);
        exl_tls_destroy(server);
    }
    end_both(&ends);
}

static void an_impostor_that_accepts_is_refused(void **state)
{
    ends_t ends = two_ends();
    ends.key[0] ^= 1;
    exl_tls_t *impostor = end_of(EXL_TLS_ACCEPTS, name, ends.key);
    assert_int_equal(shake_hands(ends.client, impostor, 4096), EXL_EPROTOCOL);
    assert_false(exl_tls_established(ends.client));
    exl_tls_destroy(impostor);
    end_both(&ends);
}

static void garbage_is_refused(void **state)
{
    ends_t ends = two_ends();
    static const char *const texts[] = {"GET / HTTP/1.1\r\n\r\n", "EXL1\1\0\0\0\0\0\0\0", "\x80\x04K\x01."};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        exl_tls_t *server = end_of(EXL_TLS_ACCEPTS, name, ends.key);
        char block[64] = {0};
        memcpy(block, texts[i], strlen(texts[i]));
        assert_int_equal(exl_tls_feed(server, block, sizeof block, NULL), EXL_EPROTOCOL);
        assert_false(exl_tls_established(server));
        exl_tls_destroy(server);
    }
    end_both(&ends);
}

/* All that a client has said, said again to a server with the same key. */
static void a_recording_is_refused(void **state)
{
    ends_t ends = two_ends();
    uint8_t recording[8192];
    size_t size = 0, spoken = 0;
    for (int turn = 0; turn < 3; turn++) {
        size += spoken = exl_tls_take(ends.client, recording + size, sizeof recording - size);
        assert_int_equal(exl_tls_feed(ends.server, recording + size - spoken, spoken, NULL), 0);
        assert_int_equal(carry(ends.server, ends.client, 4096), 0);
        if (turn == 1)
            assert_int_equal(exl_tls_write(ends.client, "run this", 8), 0);
    }
    assert_hears(ends.server, "run this");

    char byte;
    exl_tls_t *server = end_of(EXL_TLS_ACCEPTS, name, ends.key);
    assert_int_equal(exl_tls_feed(server, recording, size, NULL), EXL_EPROTOCOL);
    assert_false(exl_tls_established(server));
    assert_true(exl_tls_read(server, &byte, 1) < 0);
    exl_tls_destroy(server);
    end_both(&ends);
}

static void a_reflection_is_refused(void **state)
{
    ends_t ends = two_ends();
    uint8_t bytes[4096];
    size_t size = exl_tls_take(ends.client, bytes, sizeof bytes);
    assert_int_equal(exl_tls_feed(ends.client, bytes, size, NULL), EXL_EPROTOCOL);
    assert_false(exl_tls_established(ends.client));
    end_both(&ends);
}

static void a_changed_byte_is_noticed(void **state)
{
    ends_t ends = established(4096);
    uint8_t bytes[256];
    char heard[64];
    assert_int_equal(exl_tls_write(ends.client, "one million", 11), 0);
    size_t size = exl_tls_take(ends.client, bytes, sizeof bytes);
    bytes[size / 2] ^= 1;
    assert_int_equal(exl_tls_feed(ends.server, bytes, size, NULL), 0);
    assert_int_equal(exl_tls_read(ends.server, heard, sizeof heard), EXL_EPROTOCOL);
    assert_int_equal(exl_tls_read(ends.server, heard, sizeof heard), EXL_EPROTOCOL);
    end_both(&ends);
}

/* Encryption without proof of a key, of whatever version, opens nothing. */
static void a_client_without_the_key_is_refused(void **state)
{
    ends_t ends = two_ends();
    static const int versions[] = {TLS1_2_VERSION, TLS1_3_VERSION};
    for (size_t i = 0; i < sizeof versions / sizeof *versions; i++) {
        SSL_CTX *context = SSL_CTX_new(TLS_method());
        SSL *ssl = SSL_new(context);
        BIO *in = BIO_new(BIO_s_mem()), *out = BIO_new(BIO_s_mem());
        uint8_t bytes[4096];
        assert_true(SSL_set_max_proto_version(ssl, versions[i]));
        SSL_set_bio(ssl, in, out);
        assert_int_equal(SSL_connect(ssl), -1);
        int size = BIO_read(out, bytes, sizeof bytes);
        assert_true(size > 0);
        exl_tls_t *server = end_of(EXL_TLS_ACCEPTS, name, ends.key);
        assert_int_equal(exl_tls_feed(server, bytes, (size_t)size, NULL), EXL_EPROTOCOL);
        assert_false(exl_tls_established(server));
        exl_tls_destroy(server);
        SSL_free(ssl);
        SSL_CTX_free(context);
    }
    end_both(&ends);
}

static void a_bad_name_is_an_error(void **state)
{
    uint8_t key[EXL_TLS_KEY_SIZE] = {0};
    char longest[EXL_TLS_NAME_MAX + 2];
    exl_tls_t *tls = NULL;
    memset(longest, 'x', sizeof longest);
    longest[EXL_TLS_NAME_MAX + 1] = '\0';
    assert_int_equal(exl_tls_create(EXL_TLS_ACCEPTS, "", key, &tls, NULL), -EINVAL);
    assert_int_equal(exl_tls_create(EXL_TLS_ACCEPTS, longest, key, &tls, NULL), -EINVAL);
    assert_null(tls);
    longest[EXL_TLS_NAME_MAX] = '\0';
    assert_int_equal(exl_tls_create(EXL_TLS_ACCEPTS, longest, key, &tls, NULL), 0);
    exl_tls_destroy(tls);
    exl_tls_destroy(NULL);
}

static void keys_differ(void **state)
{
    uint8_t one[EXL_TLS_KEY_SIZE], other[EXL_TLS_KEY_SIZE];
    assert_int_equal(exl_tls_key(one), 0);
    assert_int_equal(exl_tls_key(other), 0);
    assert_memory_not_equal(one, other, sizeof one);
}

int main(void)
{
    exl_tls_provide(&exl_tls_openssl);
    const struct CMUnitTest tests[] = {
        EXL_TEST(carries_both_ways),
        EXL_TEST(carries_byte_by_byte),
        EXL_TEST(carries_much),
        EXL_TEST(nothing_is_said_in_the_clear),
        EXL_TEST(a_good_bye_is_heard),
        EXL_TEST(nothing_is_written_before_hands_are_shaken),
        EXL_TEST(another_key_is_refused),
        EXL_TEST(another_name_is_refused),
        EXL_TEST(an_impostor_that_accepts_is_refused),
        EXL_TEST(garbage_is_refused),
        EXL_TEST(a_recording_is_refused),
        EXL_TEST(a_reflection_is_refused),
        EXL_TEST(a_changed_byte_is_noticed),
        EXL_TEST(a_client_without_the_key_is_refused),
        EXL_TEST(a_bad_name_is_an_error),
        EXL_TEST(keys_differ),
    };
    return EXL_RUN(tests);
}
