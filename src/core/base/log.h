/* log.h: the only way in which core code speaks. Without a hook, nothing is said. Thread-safe to call; the hook is set
 * once before the first engine starts and must not call back into the core. */
#ifndef EXL_BASE_LOG_H
#define EXL_BASE_LOG_H

typedef void (*exl_log_cb)(const char *text);

void exl_log_set_hook(exl_log_cb hook);
void exl_log(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
