/* spawn.h: starting a program from a process that has threads. */
#ifndef EXL_LAUNCH_SPAWN_H
#define EXL_LAUNCH_SPAWN_H

#include <sys/types.h>

#include "base/error.h"

typedef struct exl_spawn {
    char *const *argv; /* argv[0] is looked up in PATH when it has no slash */
    char *const *envp;
    int control_fd; /* becomes descriptor 3; -1: none */
    int stdout_fd;  /* becomes descriptor 1; 0: stays what it is here */
    int stderr_fd;  /* becomes descriptor 2 */
} exl_spawn_t;

enum { EXL_SPAWN_CONTROL_FD = 3 };

/* The program runs in a session of its own, with all signals at their default and unblocked, and stdin from
 * /dev/null, and may have as many descriptors as this one had at first (fd_limit.h). Returns when it has been exec'ed, or with the reason why not. The descriptors stay the caller's. */
int exl_spawn(const exl_spawn_t *spawn, pid_t *ret_pid, exl_error_t *err);

#endif
