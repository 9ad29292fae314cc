/* error.c: names of the codes, and the one formatter of error texts. */
#include "base/error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

const char *exl_strerror(int code)
{
    switch (code) {
    case EXL_ECLOSED:
        return "closed";
    case EXL_EPROTOCOL:
        return "malformed frame";
    case EXL_EILLEGAL:
        return "event not allowed in this state";
    case EXL_EFORKED:
        return "this executor belongs to the parent process, which has forked this one";
    case EXL_ECYCLE:
        return "a call cannot depend on itself";
    case EXL_EINTERRUPTED:
        return "interrupted by a signal";
    case EXL_EFILE:
        return "not a result file, or a damaged one";
    default:
        return code < 0 && code > EXL_ERROR_BASE ? strerror(-code) : "unknown error";
    }
}

int exl_error_set(exl_error_t *err, int code, const char *format, ...)
{
    if (err) {
        va_list arguments;
        va_start(arguments, format);
        /* NOLINTNEXTLINE(clang-analyzer-valist.Uninitialized) */
        (void)vsnprintf(err->text, sizeof err->text, format, arguments);
        va_end(arguments);
    }
    return code;
}
