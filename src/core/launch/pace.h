/* pace.h: programs that are started at a bounded rate, counted over all processes of this user on this host.
 *
 * The count is in a small file: the time at which the next start is due if all had come evenly. Who comes within `burst` starts of
 * it goes at once, others wait for their turn. */
#ifndef EXL_LAUNCH_PACE_H
#define EXL_LAUNCH_PACE_H

#include <stdint.h>

/* Takes a turn at `now_ns` of the monotonic clock. Milliseconds to wait for it; -errno: the file cannot be used. */
int exl_pace_take(const char *path, uint32_t interval_ms, uint32_t burst, int64_t now_ns);

#endif
