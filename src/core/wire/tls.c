/* tls.c: the way to whatever library was provided. */
#include "wire/tls.h"

#include <errno.h>
#include <stdatomic.h>

#include "base/random.h"

static _Atomic(const exl_tls_api_t *) provided;

void exl_tls_provide(const exl_tls_api_t *api)
{
    atomic_store(&provided, api);
}

int exl_tls_key(uint8_t ret_key[EXL_TLS_KEY_SIZE])
{
    return exl_random(ret_key, EXL_TLS_KEY_SIZE);
}

int exl_tls_create(exl_tls_side_t side, const char *name, const uint8_t key[EXL_TLS_KEY_SIZE], exl_tls_t **ret_tls,
                   exl_error_t *err)
{
    const exl_tls_api_t *api = atomic_load(&provided);
    if (!api)
        return exl_error_set(err, -ENOSYS, "no TLS library was loaded");
    return api->create(side, name, key, ret_tls, err);
}

/* Whoever has one of these has created it, so the library is there. */
static const exl_tls_api_t *library(void)
{
    return atomic_load_explicit(&provided, memory_order_relaxed);
}

void exl_tls_destroy(exl_tls_t *tls)
{
    if (tls)
        library()->destroy(tls);
}

int exl_tls_feed(exl_tls_t *tls, const void *bytes, size_t size, exl_error_t *err)
{
    return library()->feed(tls, bytes, size, err);
}

int exl_tls_read(exl_tls_t *tls, void *ret_bytes, size_t capacity)
{
    return library()->read(tls, ret_bytes, capacity);
}

int exl_tls_write(exl_tls_t *tls, const void *bytes, size_t size)
{
    return library()->write(tls, bytes, size);
}

int exl_tls_close(exl_tls_t *tls)
{
    return library()->close(tls);
}

size_t exl_tls_pending(const exl_tls_t *tls)
{
    return library()->pending(tls);
}

size_t exl_tls_take(exl_tls_t *tls, void *ret_bytes, size_t capacity)
{
    return library()->take(tls, ret_bytes, capacity);
}

bool exl_tls_established(const exl_tls_t *tls)
{
    return library()->established(tls);
}
