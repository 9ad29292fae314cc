/* launcher.h: a program that starts others for us (srun, flux run), watched until it ends. Its stderr goes to the driver's,
 * like the workers'. It does not outlive this process by more than some seconds. Under the engine's lock; nothing here waits.
 *
 * A parallel launcher passes signals on to what it has started: SIGTERM asks for an orderly end, SIGKILL leaves it to the
 * agents, which notice that the driver is gone. */
#ifndef EXL_NODE_LAUNCHER_H
#define EXL_NODE_LAUNCHER_H

#include "node/node.h"

typedef struct exl_launcher exl_launcher_t;

/* `why` is text for a person: how it ended, and the last it wrote to stderr. The launcher is gone afterwards. */
typedef void (*exl_launcher_cb)(void *owner, int wait_status, const char *why);

/* `file`, or NULL, is removed should this process be killed while the program runs. */
int exl_launcher_start(exl_node_t *node, const char *const *argv, const char *const *envp, const char *file,
                       exl_launcher_cb ended, void *owner, exl_launcher_t **ret_launcher, exl_error_t *err);

void exl_launcher_signal(exl_launcher_t *launcher, int signal);

#endif
