/* descendants.h: finding and ending everything that a process started. Linux: /proc/<pid>/task/<tid>/children, or, on
 * kernels built without it, the parent fields of all of /proc. */
#ifndef EXL_NODE_DESCENDANTS_H
#define EXL_NODE_DESCENDANTS_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* Writes at most `capacity` pids of direct children and returns how many there are, or -errno. */
ssize_t exl_children_of(pid_t pid, pid_t *pids, size_t capacity);

/* Sends `signal` once to each descendant of `pid`, deepest first, not to `pid` itself and not to the caller; looks again until no pass finds a new
 * one. What is born after that is missed: a caller that must get all is their subreaper and calls again as they arrive. */
void exl_descendants_signal(pid_t pid, int signal);

/* Sends SIGKILL to every process of this user whose initial environment holds `marker` ("NAME=value"). The last resort,
 * when the subreaper itself was killed. */
void exl_marked_kill(const char *marker);

/* Waits until a process that was killed, and is not our child, is dead: at most `timeout_ms`. */
void exl_await_death(pid_t pid, int timeout_ms);

#endif
