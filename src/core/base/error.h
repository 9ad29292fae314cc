/* error.h: the codes and the text in which a failure travels.
 *
 * A fallible function returns 0 (or a count) on success and a negative code on failure: -errno where the kernel said no,
 * or one of the codes below. Codes cross threads, errno does not. Where a person will read the reason, the function takes
 * an optional, caller-owned exl_error_t as its last argument. */
#ifndef EXL_BASE_ERROR_H
#define EXL_BASE_ERROR_H

enum {
    EXL_ERROR_BASE = -10000,
    EXL_ECLOSED = EXL_ERROR_BASE - 1,      /* the peer closed, or the executor was shut down */
    EXL_EPROTOCOL = EXL_ERROR_BASE - 2,    /* bytes that are not a frame of ours */
    EXL_EILLEGAL = EXL_ERROR_BASE - 3,     /* an event that the present state does not allow */
    EXL_EFORKED = EXL_ERROR_BASE - 4,      /* the engine belongs to the parent of this process */
    EXL_ECYCLE = EXL_ERROR_BASE - 5,       /* a dependency on oneself */
    EXL_EINTERRUPTED = EXL_ERROR_BASE - 6, /* a signal arrived while waiting */
    EXL_EFILE = EXL_ERROR_BASE - 7         /* not a result file, or a damaged one */
};

typedef struct exl_error {
    char text[256];
} exl_error_t;

const char *exl_strerror(int code);

/* Formats into `err` (may be NULL) and returns `code`, so that a caller can `return exl_error_set(err, code, …)`. */
int exl_error_set(exl_error_t *err, int code, const char *format, ...) __attribute__((format(printf, 3, 4)));

#endif
