/* tls_openssl.c: OpenSSL's state machine between two memory BIOs. */
#include "wire/tls_openssl.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

struct exl_tls {
    SSL *ssl;      /* owned, with both BIOs */
    BIO *in, *out; /* borrowed from ssl */
    bool broken;
    size_t name_size;
    unsigned char name[EXL_TLS_NAME_MAX];
    uint8_t key[EXL_TLS_KEY_SIZE];
};

/* TLS_AES_128_GCM_SHA256: the cipher whose hash an external key is bound to, unless said otherwise (RFC 8446, 4.2.11). */
static const unsigned char cipher_id[] = {0x13, 0x01};
static const char cipher_name[] = "TLS_AES_128_GCM_SHA256";

/* The key in the form in which OpenSSL takes it. NULL when memory is out. */
static SSL_SESSION *session_of(SSL *ssl)
{
    const exl_tls_t *tls = SSL_get_app_data(ssl);
    const SSL_CIPHER *cipher = SSL_CIPHER_find(ssl, cipher_id);
    SSL_SESSION *session = SSL_SESSION_new();
    if (session && cipher && SSL_SESSION_set1_master_key(session, tls->key, sizeof tls->key) &&
        SSL_SESSION_set_cipher(session, cipher) && SSL_SESSION_set_protocol_version(session, TLS1_3_VERSION))
        return session;
    SSL_SESSION_free(session);
    return NULL;
}

static int use_cb(SSL *ssl, const EVP_MD *digest, const unsigned char **ret_id, size_t *ret_size,
                  SSL_SESSION **ret_session)
{
    const exl_tls_t *tls = SSL_get_app_data(ssl);
    *ret_id = tls->name;
    *ret_size = tls->name_size;
    *ret_session = session_of(ssl);
    return *ret_session != NULL;
}

static int find_cb(SSL *ssl, const unsigned char *id, size_t size, SSL_SESSION **ret_session)
{
    const exl_tls_t *tls = SSL_get_app_data(ssl);
    *ret_session = NULL; /* a stranger: with no certificate to fall back on, the handshake ends */
    if (size == tls->name_size && CRYPTO_memcmp(id, tls->name, size) == 0)
        return (*ret_session = session_of(ssl)) != NULL;
    return 1;
}

static bool configure(SSL_CTX *context)
{
    SSL_CTX_set_options(context, SSL_OP_NO_TICKET | SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
    (void)SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_psk_use_session_callback(context, use_cb);
    SSL_CTX_set_psk_find_session_callback(context, find_cb);
    return SSL_CTX_set_min_proto_version(context, TLS1_3_VERSION) &&
           SSL_CTX_set_max_proto_version(context, TLS1_3_VERSION) && SSL_CTX_set_ciphersuites(context, cipher_name) &&
           SSL_CTX_set_num_tickets(context, 0) && SSL_CTX_set_max_early_data(context, 0);
}

/* One for all, since it knows nothing of keys and names: making it is most of what a stranger would cost us. */
static SSL_CTX *shared_context;

static void make_context(void)
{
    SSL_CTX *context = SSL_CTX_new(TLS_method());
    if (context && configure(context))
        shared_context = context;
    else
        SSL_CTX_free(context);
}

static bool connect_bios(exl_tls_t *tls)
{
    tls->in = BIO_new(BIO_s_mem());
    tls->out = BIO_new(BIO_s_mem());
    if (!tls->in || !tls->out) {
        BIO_free(tls->in);
        BIO_free(tls->out);
        return false;
    }
    /* An empty BIO is a peer that has not sent yet, not one that has gone. */
    (void)BIO_set_mem_eof_return(tls->in, -1);
    (void)BIO_set_mem_eof_return(tls->out, -1);
    SSL_set_bio(tls->ssl, tls->in, tls->out);
    return true;
}

static int broken(exl_tls_t *tls, exl_error_t *err)
{
    char text[160] = "the connection broke the protocol";
    unsigned long code = ERR_peek_last_error();
    if (code)
        ERR_error_string_n(code, text, sizeof text);
    ERR_clear_error();
    tls->broken = true;
    return exl_error_set(err, EXL_EPROTOCOL, "%s: %s",
                         SSL_is_init_finished(tls->ssl) ? "TLS failed" : "the peer was not authenticated", text);
}

/* Goes on with the handshake as far as what has arrived allows. */
static int shake_hands(exl_tls_t *tls, exl_error_t *err)
{
    ERR_clear_error();
    int rc = SSL_do_handshake(tls->ssl);
    if (rc == 1 || SSL_get_error(tls->ssl, rc) == SSL_ERROR_WANT_READ)
        return 0;
    return broken(tls, err);
}

static void destroy(exl_tls_t *tls)
{
    if (!tls)
        return;
    SSL_free(tls->ssl);
    OPENSSL_cleanse(tls->key, sizeof tls->key);
    free(tls);
}

static bool established(const exl_tls_t *tls)
{
    return !tls->broken && SSL_is_init_finished(tls->ssl);
}

static int create(exl_tls_side_t side, const char *name, const uint8_t key[EXL_TLS_KEY_SIZE], exl_tls_t **ret_tls,
                  exl_error_t *err)
{
    size_t name_size = strlen(name);
    if (name_size == 0 || name_size > EXL_TLS_NAME_MAX)
        return exl_error_set(err, -EINVAL, "a name must have 1 to %d bytes", EXL_TLS_NAME_MAX);
    exl_tls_t *tls = calloc(1, sizeof *tls);
    if (!tls)
        return exl_error_set(err, -ENOMEM, "out of memory");
    tls->name_size = name_size;
    memcpy(tls->name, name, name_size); /* NOLINT(bugprone-not-null-terminated-result) */
    memcpy(tls->key, key, sizeof tls->key);
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    (void)pthread_once(&once, make_context);
    if (!shared_context || !(tls->ssl = SSL_new(shared_context)) || !SSL_set_app_data(tls->ssl, tls) ||
        !connect_bios(tls)) {
        ERR_clear_error();
        destroy(tls);
        return exl_error_set(err, -ENOMEM, "TLS cannot be set up");
    }
    if (side == EXL_TLS_CONNECTS)
        SSL_set_connect_state(tls->ssl);
    else
        SSL_set_accept_state(tls->ssl);
    int rc = shake_hands(tls, err);
    if (rc < 0) {
        destroy(tls);
        return rc;
    }
    *ret_tls = tls;
    return 0;
}

static int feed(exl_tls_t *tls, const void *bytes, size_t size, exl_error_t *err)
{
    if (tls->broken)
        return exl_error_set(err, EXL_EPROTOCOL, "the connection has failed before");
    size_t written = 0;
    if (size && !BIO_write_ex(tls->in, bytes, size, &written))
        return exl_error_set(err, -ENOMEM, "out of memory");
    assert(written == size);
    return SSL_is_init_finished(tls->ssl) ? 0 : shake_hands(tls, err);
}

static int read_text(exl_tls_t *tls, void *ret_bytes, size_t capacity)
{
    if (tls->broken)
        return EXL_EPROTOCOL;
    if (!established(tls))
        return 0;
    ERR_clear_error();
    int rc = SSL_read(tls->ssl, ret_bytes, capacity > INT_MAX ? INT_MAX : (int)capacity);
    if (rc > 0)
        return rc;
    switch (SSL_get_error(tls->ssl, rc)) {
    case SSL_ERROR_WANT_READ:
        return 0;
    case SSL_ERROR_ZERO_RETURN:
        return EXL_ECLOSED;
    default:
        return broken(tls, NULL);
    }
}

static int write_text(exl_tls_t *tls, const void *bytes, size_t size)
{
    if (tls->broken || !established(tls))
        return EXL_EILLEGAL;
    size_t written = 0;
    ERR_clear_error();
    if (size && !SSL_write_ex(tls->ssl, bytes, size, &written)) {
        (void)broken(tls, NULL); /* memory BIOs take everything, so it is memory that is out */
        return -ENOMEM;
    }
    return 0;
}

static int say_good_bye(exl_tls_t *tls)
{
    if (tls->broken || !established(tls))
        return EXL_EILLEGAL;
    ERR_clear_error();
    return SSL_shutdown(tls->ssl) < 0 ? broken(tls, NULL) : 0;
}

static size_t pending(const exl_tls_t *tls)
{
    return BIO_ctrl_pending(tls->out);
}

static size_t take(exl_tls_t *tls, void *ret_bytes, size_t capacity)
{
    size_t taken = 0;
    return BIO_read_ex(tls->out, ret_bytes, capacity, &taken) ? taken : 0;
}

const exl_tls_api_t exl_tls_openssl = {create,       destroy, feed, read_text,  write_text,
                                       say_good_bye, pending, take, established};
