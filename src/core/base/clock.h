/* clock.h: monotonic time in nanoseconds. */
#ifndef EXL_BASE_CLOCK_H
#define EXL_BASE_CLOCK_H

#include <stdint.h>
#include <time.h>

#define EXL_NS_PER_S INT64_C(1000000000)
#define EXL_NS_PER_MS INT64_C(1000000)

static inline int64_t exl_clock_ns(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * EXL_NS_PER_S + now.tv_nsec;
}

#endif
