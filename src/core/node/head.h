/* head.h: the process that stands for a group of MPI ranks in front of the engine.
 *
 * To the engine it is a worker like any other: forked from the zygote, with a channel, a claim page and a stderr, killed
 * and waited for in the same way. It starts the ranks, hands them the engine's frames, and answers with the list of their
 * results. When one rank raises and the others do not, the group is of no use any more (they may wait for it in a
 * collective): the call's exception is sent at once, the group is killed, and the head goes; the next call gets a new one. */
#ifndef EXL_NODE_HEAD_H
#define EXL_NODE_HEAD_H

#include "node/rank_group.h"
#include "node/zygote_server.h"

/* What is to be started, as the host language reads it from the setup. Called once, after stdout is in place. The arrays
 * stay valid. 0; 1: it could not, `exception` says why. */
typedef struct exl_launch_plan {
    char *const *argv; /* of the launcher */
    char *const *envp;
    uint32_t nranks;
    bool is_step; /* the launcher starts a step of a scheduler, also for one rank, which then returns one value */
    exl_rank_step_t step; /* … */
    exl_rank_fork_t fork; /* how to do without the launcher; `run` is NULL: not at all */
    exl_payload_t
        *imports; /* owned by the caller; what took time, and a template may import for later heads; or NULL */
    exl_payload_t *exception; /* owned by the caller */
} exl_launch_plan_t;
/* `nodes`: names of those for the ranks, or NULL: the launcher is to choose. */
typedef int (*exl_plan_cb)(exl_payload_t *setup, bool launcher, exl_payload_t *nodes, exl_launch_plan_t *ret_plan);

/* Serves until the engine has no more calls or the group is lost. Returns the exit status. */
int exl_head_serve(const exl_role_t *role, exl_plan_cb plan);

#endif
