/* fd_limit.h: how many descriptors this process may have open.
 *
 * The soft limit is 1,024 as a rule, for the sake of programs that use select(), and is meant to be raised by those that do not, as far
 * as the hard limit goes. A driver has one descriptor for each of its agents: where these would take much of what the user's
 * program has, they get theirs on top. What is started from here gets the limit that it would have had. */
#ifndef EXL_BASE_FD_LIMIT_H
#define EXL_BASE_FD_LIMIT_H

#include <stdint.h>
#include <sys/types.h>

/* Whether so many could be open at all, beside a few others. */
int exl_fd_limit_allows(uint32_t count); /* 0, -EMFILE */

/* `count` more are needed, or so many not any more. Under the engine's lock; all else from any thread. */
void exl_fd_limit_add(uint32_t count);
void exl_fd_limit_subtract(uint32_t count);

/* The soft limit without what was added. */
uint64_t exl_fd_limit_inherited(void);

/* Gives it to a process that this one has started. */
void exl_fd_limit_give(pid_t child);

#endif
