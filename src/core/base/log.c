/* log.c: formats a line and hands it to the hook. */
#include "base/log.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>

static _Atomic(exl_log_cb) log_hook;

void exl_log_set_hook(exl_log_cb hook)
{
    atomic_store(&log_hook, hook);
}

void exl_log(const char *format, ...)
{
    exl_log_cb hook = atomic_load(&log_hook);
    if (!hook)
        return;
    char text[512];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    hook(text);
}
