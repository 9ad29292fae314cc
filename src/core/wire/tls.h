/* tls.h: an authenticated, encrypted stream between two ends that share a key: TLS 1.3 with an external pre-shared key.
 *
 * A pure state machine: it knows no socket. What arrived is fed in, what is to be sent is taken out, and between them lies
 * plain text:
 *
 *   socket --feed--> [ TLS ] --read-->  frames
 *   socket <--take-- [ TLS ] <--write-- frames
 *
 * There are no certificates: who does not have the key cannot finish the handshake, and not a byte of theirs becomes plain
 * text. The key exchange is ephemeral (psk_dhe_ke), so a key that leaks later opens no recording. No tickets, no early data, no
 * resumption: each connection proves the key anew, and a recorded handshake is worth nothing. The name of the connecting
 * end goes with the key (RFC 8446, 4.2.11) and is bound into the handshake; the accepting end takes one name only.
 *
 * OpenSSL takes longer to load than a worker to start, and most programs never connect to another host. So it is not linked with the
 * core: whoever needs it provides it first (tls_openssl.h).
 *
 * Not thread-safe: the owner serialises. */
#ifndef EXL_WIRE_TLS_H
#define EXL_WIRE_TLS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

enum { EXL_TLS_KEY_SIZE = 32, EXL_TLS_NAME_MAX = 128 };

typedef struct exl_tls exl_tls_t;

typedef enum exl_tls_side { EXL_TLS_CONNECTS, EXL_TLS_ACCEPTS } exl_tls_side_t;

/* A key fresh from the kernel. 0 or -errno. */
int exl_tls_key(uint8_t ret_key[EXL_TLS_KEY_SIZE]);

/* `name` is that of the connecting end, at most EXL_TLS_NAME_MAX bytes; it and the key are copied. */
int exl_tls_create(exl_tls_side_t side, const char *name, const uint8_t key[EXL_TLS_KEY_SIZE], exl_tls_t **ret_tls,
                   exl_error_t *err);
void exl_tls_destroy(exl_tls_t *tls); /* NULL is fine; forgets the key */

/* Bytes from the peer. 0; EXL_EPROTOCOL once the peer has shown that it does not have the key, or has broken the protocol;
 * -ENOMEM. After an error the stream is of no use; what take() still has (an alert) may be sent. */
int exl_tls_feed(exl_tls_t *tls, const void *bytes, size_t size, exl_error_t *err);

/* Plain text that has arrived. >0: bytes; 0: none now; EXL_ECLOSED: the peer has said good-bye; EXL_EPROTOCOL. */
int exl_tls_read(exl_tls_t *tls, void *ret_bytes, size_t capacity);

/* Plain text to send; only once established(). 0, EXL_EILLEGAL, -ENOMEM. */
int exl_tls_write(exl_tls_t *tls, const void *bytes, size_t size);

/* Says good-bye: tells the peer that this end is done, from a connection that merely broke. */
int exl_tls_close(exl_tls_t *tls);

/* Bytes for the peer that take() has not handed out. */
size_t exl_tls_pending(const exl_tls_t *tls);

/* Moves at most `capacity` of them to `ret_bytes`, returns how many. */
size_t exl_tls_take(exl_tls_t *tls, void *ret_bytes, size_t capacity);

/* Both ends have proved that they have the key. */
bool exl_tls_established(const exl_tls_t *tls);

/* What does all this but exl_tls_key(); the functions are those above. */
typedef struct exl_tls_api {
    int (*create)(exl_tls_side_t side, const char *name, const uint8_t key[EXL_TLS_KEY_SIZE], exl_tls_t **ret_tls,
                  exl_error_t *err);
    void (*destroy)(exl_tls_t *tls);
    int (*feed)(exl_tls_t *tls, const void *bytes, size_t size, exl_error_t *err);
    int (*read)(exl_tls_t *tls, void *ret_bytes, size_t capacity);
    int (*write)(exl_tls_t *tls, const void *bytes, size_t size);
    int (*close)(exl_tls_t *tls);
    size_t (*pending)(const exl_tls_t *tls);
    size_t (*take)(exl_tls_t *tls, void *ret_bytes, size_t capacity);
    bool (*established)(const exl_tls_t *tls);
} exl_tls_api_t;

/* Once, before the first exl_tls_create(), which answers -ENOSYS without. Borrowed for ever. */
void exl_tls_provide(const exl_tls_api_t *api);

#endif
