/* zygote.h: the engine's side of a zygote: start it when first needed, ask it for workers, hear of their ends.
 *
 * A zygote is known by its key (what only exec can change) and shared by all executors that need the same one. Its
 * process comes and goes: started by the first fork that is asked for, started again after it was killed, ended when the
 * last executor has released it. */
#ifndef EXL_NODE_ZYGOTE_H
#define EXL_NODE_ZYGOTE_H

#include <stdbool.h>
#include <uv.h>

#include "base/error.h"
#include "base/list.h"
#include "node/node.h"
#include "wire/channel.h"

typedef struct exl_zygote exl_zygote_t;
struct exl_worker;

typedef enum exl_zygote_state {
    EXL_ZYGOTE_OFFLINE,  /* no process */
    EXL_ZYGOTE_STARTING, /* it has not said so yet, but requests are queued in its channel already */
    EXL_ZYGOTE_ONLINE,
    EXL_ZYGOTE_ENDING /* its channel is closed; waiting for its exit */
} exl_zygote_state_t;

/* What to exec. argv and envp are copied; `environment` entries are "NAME=value". */
typedef struct exl_zygote_spec {
    const char *key;
    const char *const *argv;
    const char *const *envp;
} exl_zygote_spec_t;

/* Returns the zygote of this key with one more reference. */
int exl_zygote_acquire(exl_node_t *node, const exl_zygote_spec_t *spec, exl_zygote_t **ret_zygote);
void exl_zygote_release(exl_zygote_t *zygote);

/* Starts the process ahead of the first fork. A failure is told by the fork, which tries again. */
void exl_zygote_start(exl_zygote_t *zygote);

/* Asks for a worker, `arg` being that of EXL_FRAME_FORK; descriptors are taken. An error means that no process could be started. */
int exl_zygote_fork(exl_zygote_t *zygote, struct exl_worker *worker, const int *fds, unsigned nfds, uint32_t arg,
                    exl_error_t *err);
void exl_zygote_kill(exl_zygote_t *zygote, uint64_t worker_id, int signal);
void exl_zygote_terminate(exl_zygote_t *zygote, uint64_t worker_id, uint32_t grace_ms);

/* In a child made by fork(): closes the descriptors of these zygotes and of their workers. */
void exl_zygotes_abandon(exl_list_t *zygotes);

exl_node_t *exl_zygote_node(exl_zygote_t *zygote);

/* A template that has imported `modules` under `setup`, if one is online; else `zygote` itself. Both are compared by
 * content. `key` is the function's import key. */
exl_zygote_t *exl_zygote_for(exl_zygote_t *zygote, uint64_t key, const exl_payload_t *setup);

/* A template that has imported `modules` under `setup`, made now if there is none, and perhaps still at it: what is asked of
 * it waits. `zygote` itself where none can be made. */
exl_zygote_t *exl_zygote_prepare(exl_zygote_t *zygote, exl_payload_t *setup, exl_payload_t *modules);

/* A call of `key` under `setup` has imported `modules`: make a template that has them. Best effort. */
void exl_zygote_learn(exl_zygote_t *zygote, uint64_t key, exl_payload_t *setup, exl_payload_t *modules);

#endif
