/* fuzz_stranger.c: what somebody without the key says to either end of a TLS connection: never does a byte of it become plain
 * text.
 *
 * The input's first byte is the side, the second the size of the pieces. */
#include <assert.h>
#include <string.h>

#include "base/error.h"
#include "wire/tls_openssl.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const uint8_t key[EXL_TLS_KEY_SIZE] = "known to nobody who fuzzes this.";

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const exl_tls_api_t *api = &exl_tls_openssl;
    exl_error_t err = {""};
    exl_tls_t *tls;
    uint8_t bytes[256];
    if (size < 2 || api->create(data[0] % 2 ? EXL_TLS_ACCEPTS : EXL_TLS_CONNECTS, "fuzz", key, &tls, &err) < 0)
        return 0;
    size_t piece = data[1] + 1U;
    int rc = 0;
    for (size_t at = 2; rc >= 0 && at < size; at += piece) {
        rc = api->feed(tls, data + at, size - at < piece ? size - at : piece, &err);
        assert(rc == 0 || (rc == EXL_EPROTOCOL && *err.text));
        assert(!api->established(tls) && api->read(tls, bytes, sizeof bytes) <= 0);
        while (api->take(tls, bytes, sizeof bytes))
            ;
    }
    api->destroy(tls);
    return 0;
}
