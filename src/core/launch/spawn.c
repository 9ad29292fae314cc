/* spawn.c: posix_spawn with a session of its own. glibc makes it from CLONE_VFORK: nothing of the caller's memory is
 * copied, and no handler of the caller runs in the child. */
#include "launch/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdbool.h>
#include <string.h>
#include <unistd.h>

#include "base/fd_limit.h"

static int set_attributes(posix_spawnattr_t *attributes)
{
    sigset_t none, all;
    (void)sigemptyset(&none);
    (void)sigfillset(&all);
    int rc = posix_spawnattr_setsigmask(attributes, &none);
    if (rc == 0)
        rc = posix_spawnattr_setsigdefault(attributes, &all);
    if (rc == 0)
        rc = posix_spawnattr_setflags(attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSID);
    return rc;
}

static int set_descriptors(posix_spawn_file_actions_t *actions, int stdout_fd, int stderr_fd, int control_fd)
{
    int rc = posix_spawn_file_actions_adddup2(actions, stderr_fd, STDERR_FILENO);
    if (rc == 0 && stdout_fd >= 0)
        rc = posix_spawn_file_actions_adddup2(actions, stdout_fd, STDOUT_FILENO);
    if (rc == 0 && control_fd >= 0)
        rc = posix_spawn_file_actions_adddup2(actions, control_fd, EXL_SPAWN_CONTROL_FD);
    if (rc == 0)
        rc = posix_spawn_file_actions_addopen(actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    return rc;
}

/* Out of the way of 0 to 3, so that no dup2 overwrites a source before it is used. */
static int moved(int fd, bool wanted, int *rc)
{
    int copy = wanted ? fcntl(fd, F_DUPFD_CLOEXEC, EXL_SPAWN_CONTROL_FD + 1) : -1;
    if (wanted && copy < 0)
        *rc = errno;
    return copy;
}

int exl_spawn(const exl_spawn_t *spawn, pid_t *ret_pid, exl_error_t *err)
{
    posix_spawnattr_t attributes;
    posix_spawn_file_actions_t actions;
    int rc = 0;
    int stdout_fd = moved(spawn->stdout_fd, spawn->stdout_fd > 0, &rc);
    int stderr_fd = moved(spawn->stderr_fd, true, &rc);
    int control_fd = moved(spawn->control_fd, spawn->control_fd >= 0, &rc);
    (void)posix_spawnattr_init(&attributes);
    (void)posix_spawn_file_actions_init(&actions);
    if (rc == 0)
        rc = set_attributes(&attributes);
    if (rc == 0)
        rc = set_descriptors(&actions, stdout_fd, stderr_fd, control_fd);
    if (rc == 0)
        rc = posix_spawnp(ret_pid, spawn->argv[0], &actions, &attributes, spawn->argv, spawn->envp);
    if (rc == 0)
        exl_fd_limit_give(*ret_pid);
    (void)posix_spawn_file_actions_destroy(&actions);
    (void)posix_spawnattr_destroy(&attributes);
    if (stdout_fd >= 0)
        (void)close(stdout_fd);
    if (stderr_fd >= 0)
        (void)close(stderr_fd);
    if (control_fd >= 0)
        (void)close(control_fd);
    return rc == 0 ? 0 : exl_error_set(err, -rc, "cannot start %s: %s", spawn->argv[0], strerror(rc));
}
