/* tls_openssl.h: the functions of tls.h on OpenSSL, for exl_tls_provide(). */
#ifndef EXL_WIRE_TLS_OPENSSL_H
#define EXL_WIRE_TLS_OPENSSL_H

#include "wire/tls.h"

extern const exl_tls_api_t exl_tls_openssl;

#endif
