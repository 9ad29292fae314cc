/* rank_group.h: the MPI ranks that run one call together, as the process sees them that started them.
 *
 *   forked by this process         each rank inherits its channel, and finds the others through pmi_host.h
 *   mpiexec -n N python …          each rank connects to a socket in a directory that only this user can enter,
 *     rank 0 ─┐                    and says a secret that it was given once; its user is asked of the kernel
 *     rank 1 ─┼── one channel each: setup, calls, answers
 *     rank 2 ─┘
 *
 * Payloads never travel through MPI, and nothing here makes an MPI call: an idle group sleeps in recvmsg(), and a rank
 * that fails is heard while the others wait in a collective. One group per process; everything that the process started
 * belongs to it. All functions block; the process has one thread. */
#ifndef EXL_NODE_RANK_GROUP_H
#define EXL_NODE_RANK_GROUP_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"
#include "node/zygote_server.h"
#include "task/payload.h"
#include "wire/channel.h"

/* The variable through which a rank learns where to connect: "<path of the socket>:<secret in hexadecimal digits>". */
#define EXL_RANKS_VARIABLE "EXECUTORLIB_RANKS"

typedef struct exl_rank_group exl_rank_group_t;

typedef struct exl_rank_answer {
    bool raised;
    exl_payload_t *payload; /* owned */
} exl_rank_answer_t;

/* What a forked rank is told, which a launcher says in the environment. */
typedef struct exl_rank_place {
    uint32_t rank, nranks;
    int channel_fd, pmi_fd;
    const char *directory; /* for what MPI leaves behind: see rank_directory.h */
} exl_rank_place_t;

typedef struct exl_rank_fork {
    const exl_fork_hooks_t *hooks;
    void (*run)(const exl_rank_place_t *place); /* in the rank; does not return */
    int foreign_fd;                             /* closed there */
} exl_rank_fork_t;

/* Ranks that a launcher starts as a step of a scheduler, in general on other hosts. All strings are borrowed. */
typedef struct exl_rank_step {
    const char *addresses; /* where this host is found, one blank between */
    const char *directory; /* for the ticket (ticket.h) */
    const char *launcher;  /* what it is called in errors */
    const char *pace;      /* file that bounds how many launchers start a second, see pace.h; "": none does */
    uint32_t pace_ms, pace_burst;
} exl_rank_step_t;

/* A place for the files of `nranks` ranks. */
int exl_rank_group_create(uint32_t nranks, exl_rank_group_t **ret_group, exl_error_t *err);
uint32_t exl_rank_group_size(const exl_rank_group_t *group);

/* Forks the ranks, sends each the `first` frames and the setup, and waits until all are ready. 0; 1: a rank could not set
 * itself up, `ret_exception` says why; else an error with its text. */
int exl_rank_group_fork(exl_rank_group_t *group, const exl_rank_fork_t *how, const exl_message_t *first,
                        uint32_t nfirst, const exl_message_t *setup, exl_payload_t **ret_exception, exl_error_t *err);

/* The same with a launcher, started with `envp` and what the ranks need to know beside it: it starts the ranks, which
 * connect. */
int exl_rank_group_launch(exl_rank_group_t *group, char *const *argv, char *const *envp, const exl_message_t *first,
                          uint32_t nfirst, const exl_message_t *setup, exl_payload_t **ret_exception, exl_error_t *err);

/* Before the launch. Such a launcher may take as long as it likes, and is asked to end before it is killed, so that it ends its
 * step. Ranks on other hosts need a TLS library. */
void exl_rank_group_as_step(exl_rank_group_t *group, const exl_rank_step_t *step);

/* Waits until `fd` has something to read. 0, or negative: a rank or the launcher has gone, or SIGTERM has come. */
int exl_rank_group_wait(exl_rank_group_t *group, int fd, exl_error_t *err);

/* Sends a frame to every rank. */
int exl_rank_group_send(exl_rank_group_t *group, exl_frame_t frame, exl_payload_t *payload);

/* Waits for the next answer of any rank to the call that was sent last. `timeout_ms` < 0: without limit. 1: there is one;
 * 0: none in time; negative: a rank or the launcher has gone. The payload is the caller's. */
int exl_rank_group_answer(exl_rank_group_t *group, int timeout_ms, uint32_t *ret_rank, exl_rank_answer_t *ret_answer,
                          exl_error_t *err);

/* Lets the ranks finish, and waits until everything is gone. */
void exl_rank_group_end(exl_rank_group_t *group);

/* Kills everything that this process started; after SIGTERM, which all of it has got, waits for its end instead. */
void exl_rank_group_kill(exl_rank_group_t *group);

/* The same for a group that could not start. True if nothing of the user's has run in any rank, and nobody has told them
 * to end: it can be tried in another way. */
bool exl_rank_group_retract(exl_rank_group_t *group);

#endif
