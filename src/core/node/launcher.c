/* launcher.c: a child process of this one, and the descriptor that tells of its end. */
#include "node/launcher.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd_limit.h"
#include "launch/spawn.h"

/* The program's parent: should this process be killed, it removes a file that nobody else would, and ends the program, which
 * may wait for a controller that does not answer; first it has some time to end by itself. */
static const char guard[] = "file=$1; ulimit -S -n \"$2\"; shift 2\n" /* before anything is started here */
                            "\"$@\" 3<&- &\n"
                            "program=$!\n"
                            "trap : TERM\n" /* signals are for the group */
                            "exec 2> /dev/null\n"
                            "(\n"
                            "    trap - TERM\n"
                            "    read -r word <&3\n"
                            "    [ -z \"$file\" ] || rm -f -- \"$file\"\n"
                            "    sleep 2; kill -TERM $program; sleep 3; kill -KILL $program\n"
                            ") &\n"
                            "watch=$!\n"
                            "exec 3<&-\n"
                            "wait $program; status=$?\n"
                            "while kill -0 $program; do wait $program; status=$?; done\n"
                            "kill -KILL $watch; wait $watch\n"
                            "exit $status\n";

struct exl_launcher {
    exl_node_t *node; /* borrowed */
    pid_t pid;        /* of the guard, and of the group of both */
    int life;         /* owned: the guard learns from its end that this process has gone; -1: there is none */
    exl_socket_t life_socket;
    int pidfd; /* owned */
    uv_poll_t poll;
    exl_stream_t *stderr_stream; /* owned */
    exl_launcher_cb ended;
    void *owner; /* borrowed */
    char name[64];
};

static void closed_cb(uv_handle_t *handle)
{
    exl_launcher_t *launcher = handle->data;
    (void)close(launcher->pidfd);
    free(launcher);
}

static void close_life(exl_launcher_t *launcher)
{
    if (launcher->life < 0)
        return;
    exl_list_remove(&launcher->life_socket.link);
    (void)close(launcher->life);
    launcher->life = -1;
}

static void describe(const exl_launcher_t *launcher, const int *wait_status, char *text, size_t size)
{
    char tail[EXL_TAIL_SIZE];
    size_t got = exl_stream_tail(launcher->stderr_stream, 0, tail);
    while (got && tail[got - 1] == '\n')
        got--;
    int written = !wait_status ? snprintf(text, size, "%s ended", launcher->name)
                  : WIFSIGNALED(*wait_status)
                      ? snprintf(text, size, "%s was killed by signal %d", launcher->name, WTERMSIG(*wait_status))
                      : snprintf(text, size, "%s ended with exit status %d", launcher->name, WEXITSTATUS(*wait_status));
    if (got)
        (void)snprintf(text + written, size - (size_t)written, ": %.*s", (int)got, tail);
}

static void exit_cb(uv_poll_t *poll, int status, int events)
{
    exl_launcher_t *launcher = poll->data;
    char why[EXL_TAIL_SIZE + 128];
    int wait_status = 0;
    pid_t pid;
    (void)status;
    (void)events;
    do
        pid = waitpid(launcher->pid, &wait_status, WNOHANG);
    while (pid < 0 && errno == EINTR);
    if (pid == 0)
        return;
    describe(launcher, pid > 0 ? &wait_status : NULL, why, sizeof why); /* < 0: the user's program has waited for it */
    exl_stream_close(launcher->stderr_stream);
    close_life(launcher);
    exl_launcher_cb ended = launcher->ended;
    void *owner = launcher->owner;
    uv_close((uv_handle_t *)&launcher->poll, closed_cb);
    launcher->node->changed(launcher->node->owner);
    ended(owner, pid > 0 ? wait_status : 0, why);
}

/* The shell would say so late, and in its own words. */
static int check_program(const char *program, exl_error_t *err)
{
    if (!strchr(program, '/') || access(program, X_OK) == 0)
        return 0;
    return exl_error_set(err, -errno, "cannot start %s: %s", program, strerror(errno));
}

static int spawn_guard(exl_launcher_t *launcher, const char *const *argv, const char *const *envp, const char *file,
                       const int life[2], exl_error_t *err)
{
    size_t nargs = 0;
    int stderr_fd = -1;
    char limit[24] = "unlimited";
    uint64_t inherited = exl_fd_limit_inherited();
    if (inherited != RLIM_INFINITY)
        (void)snprintf(limit, sizeof limit, "%llu", (unsigned long long)inherited);
    while (argv[nargs])
        nargs++;
    const char **guarded = calloc(nargs + 7, sizeof *guarded);
    if (!guarded)
        return exl_error_set(err, -ENOMEM, "out of memory");
    const char *const before[] = {"/bin/sh", "-c", guard, launcher->name, file ? file : "", limit};
    memcpy(guarded, before, sizeof before);
    memcpy(guarded + 6, argv, nargs * sizeof *argv);
    int rc = exl_stream_open(launcher->node->tee, NULL, &launcher->stderr_stream, &stderr_fd);
    if (rc < 0)
        (void)exl_error_set(err, rc, "cannot make a pipe: %s", exl_strerror(rc));
    exl_spawn_t spawn = {
        .argv = (char *const *)guarded, .envp = (char *const *)envp, .control_fd = life[0], .stderr_fd = stderr_fd};
    if (rc == 0)
        rc = exl_spawn(&spawn, &launcher->pid, err);
    if (stderr_fd >= 0)
        (void)close(stderr_fd);
    free(guarded);
    return rc;
}

static int start(exl_launcher_t *launcher, const char *const *argv, const char *const *envp, const char *file,
                 exl_error_t *err)
{
    int life[2];
    if (pipe2(life, O_CLOEXEC) < 0)
        return exl_error_set(err, -errno, "cannot make a pipe: %s", strerror(errno));
    int rc = spawn_guard(launcher, argv, envp, file, life, err);
    (void)close(life[0]);
    launcher->life = life[1];
    exl_node_add_socket(launcher->node, &launcher->life_socket, life[1]);
    if (rc < 0)
        return rc;
    launcher->pidfd = (int)syscall(SYS_pidfd_open, launcher->pid, 0);
    if (launcher->pidfd < 0)
        rc = -errno;
    else if (fcntl(launcher->pidfd, F_SETFD, FD_CLOEXEC) == 0)
        rc = uv_poll_init(launcher->node->loop, &launcher->poll, launcher->pidfd);
    if (rc < 0) {
        (void)kill(-launcher->pid, SIGKILL);
        (void)waitpid(launcher->pid, NULL, 0);
        if (launcher->pidfd >= 0)
            (void)close(launcher->pidfd);
        return exl_error_set(err, rc, "cannot watch %s: %s", launcher->name, exl_strerror(rc));
    }
    return 0;
}

int exl_launcher_start(exl_node_t *node, const char *const *argv, const char *const *envp, const char *file,
                       exl_launcher_cb ended, void *owner, exl_launcher_t **ret_launcher, exl_error_t *err)
{
    exl_launcher_t *launcher = calloc(1, sizeof *launcher);
    if (!launcher)
        return exl_error_set(err, -ENOMEM, "out of memory");
    *launcher = (exl_launcher_t){.node = node, .pidfd = -1, .life = -1, .ended = ended, .owner = owner};
    const char *slash = strrchr(argv[0], '/');
    (void)snprintf(launcher->name, sizeof launcher->name, "%s", slash ? slash + 1 : argv[0]);
    int rc = check_program(argv[0], err);
    if (rc == 0)
        rc = start(launcher, argv, envp, file, err);
    if (rc < 0) {
        close_life(launcher);
        exl_stream_close(launcher->stderr_stream);
        free(launcher);
        return rc;
    }
    launcher->poll.data = launcher;
    (void)uv_poll_start(&launcher->poll, UV_READABLE, exit_cb);
    node->changed(node->owner);
    *ret_launcher = launcher;
    return 0;
}

void exl_launcher_signal(exl_launcher_t *launcher, int signal)
{
    (void)kill(-launcher->pid, signal); /* not waited for yet, so the pid is still its own */
}
