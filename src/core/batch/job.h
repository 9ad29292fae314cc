/* job.h: one detached job as others see it on the file system, and who may run it.
 *
 * A call with the key K in the directory C has these files:
 *
 *     C/K_i.h5        input: the call. Written before the job is submitted, removed once the output is there.
 *     C/K_o.h5        output: the result or the error. Appears by rename, so it is complete or absent.
 *     C/K/claim.<g>   symbolic link whose target says who runs it, generation g = 1, 2, …
 *     C/K/out.log, err.log   what it wrote to stdout and stderr
 *
 * Claims decide that a call is computed once, however many drivers ask for it and whoever is killed at what time:
 *
 *     | who                    | does                                                                        |
 *     | ---------------------- | --------------------------------------------------------------------------- |
 *     | job, as it starts      | reads the highest claim g; its holder lives -> it goes                        |
 *     |                        | else makes claim g+1 with its own identity; it exists by now -> from the start  |
 *     |                        | then looks for the output; it is there -> it withdraws the claim and goes       |
 *     | job, at its end        | writes the output, then removes input and claims                            |
 *     | driver                 | output there -> result; live claim -> waits for it; else submits a job          |
 *
 * Making a symbolic link is atomic on local and network file systems and brings its content along, so no half-written
 * claim is ever seen. A stale claim is never removed to make room, but superseded by the next number: of all who found it
 * stale exactly one makes that. All functions may block on the file system; any thread. */
#ifndef EXL_BATCH_JOB_H
#define EXL_BATCH_JOB_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"

typedef enum exl_holder {
    EXL_HOLDER_GONE,     /* it ended */
    EXL_HOLDER_LIVES,    /* it is a process here */
    EXL_HOLDER_ELSEWHERE /* on another machine or in another container: this process cannot tell */
} exl_holder_t;

typedef struct exl_claim {
    unsigned generation;
    pid_t pid;
    uint64_t start;     /* of the process, in clock ticks since the boot: tells a reused pid */
    uint64_t namespace; /* in which the pid means something */
    char boot[40];
    char host[72];
} exl_claim_t;

/* What a process, or the calling one for 0, would claim with. -ESRCH: there is none. */
int exl_claim_of(pid_t pid, exl_claim_t *ret_claim);

/* The claim of the highest generation in the folder; -ENOENT: there is none, nor perhaps the folder. */
int exl_claim_read(const char *folder, exl_claim_t *ret_claim);

exl_holder_t exl_claim_holder(const exl_claim_t *claim);

/* Claims for the calling process; the folder is made if missing. Returns 0, or -EBUSY with the holder in `ret_claim`. */
int exl_claim_take(const char *folder, exl_claim_t *ret_claim);

/* Removes the claims up to and with `generation`, and the folder if nothing else is in it. */
void exl_claim_release(const char *folder, unsigned generation);

typedef struct exl_job {
    char *const *argv;
    char *const *envp;
    const char *folder;    /* of claims and logs; made if missing */
    const char *out, *err; /* where stdout and stderr are appended; NULL: the logs in the folder */
} exl_job_t;

/* Starts a process in a session of its own that outlives this one. It is a child of the caller, who is to wait for it
 * (exl_watch_add_process()) as long as he lives. */
int exl_job_start(const exl_job_t *job, pid_t *ret_pid, exl_error_t *err);

#endif
