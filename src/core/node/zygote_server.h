/* zygote_server.h: the zygote's side: one single-threaded process that forks workers on request and answers for them.
 *
 * It is the child subreaper of everything its workers start. It reports each worker's exit from waitpid, kills what that
 * worker left behind, and when the driver dies (its pidfd, or the end of the control channel) kills everything and goes.
 * Each worker dies with it (PDEATHSIG; the zygote has one thread, so the signal's thread caveat does not bite). */
#ifndef EXL_NODE_ZYGOTE_SERVER_H
#define EXL_NODE_ZYGOTE_SERVER_H

#include <stdbool.h>
#include <sys/types.h>

#include "task/payload.h"
#include "wire/channel.h"

/* What the host language does around a fork. All run on the only thread; may be NULL. */
typedef struct exl_fork_hooks {
    void (*before)(void);
    void (*in_parent)(void);
    void (*in_child)(void);
    void (*preload)(void); /* once, before the first fork that asks for it: what is preloaded makes each fork slower */
} exl_fork_hooks_t;

/* In the argument of EXL_FRAME_FORK. */
enum exl_fork_argument { EXL_FORK_PRELOADED = 1, EXL_FORK_HEAD = 2, EXL_FORK_LAUNCHER = 4 };

typedef enum exl_role_kind {
    EXL_ROLE_ENDED,   /* still the zygote: the driver has gone or closed; nothing of ours is alive any more */
    EXL_ROLE_WORKER,  /* a forked child, with a call's channel */
    EXL_ROLE_HEAD,    /* the same, which is to start MPI ranks and stand for them */
    EXL_ROLE_TEMPLATE /* a forked child that is to import modules and then serve as a zygote itself */
} exl_role_kind_t;

typedef struct exl_role {
    exl_role_kind_t kind;
    int channel_fd;         /* worker: calls; template: its control channel */
    int claim_fd;           /* worker: -1 for one process per call */
    bool launcher;          /* head: ranks are a launcher's, not its own forks */
    exl_payload_t *payload; /* template: what to set up and import; owned by the caller */
} exl_role_t;

/* Serves until the end, or returns in a child that has been forked. Takes the channel, with what it has received before. */
int exl_zygote_serve(exl_channel_t *control, pid_t driver, const exl_fork_hooks_t *hooks, exl_role_t *ret_role);

#endif
