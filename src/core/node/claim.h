/* claim.h: the page that a driver shares with one persistent worker.
 *
 * Calls are sent ahead so that a worker never waits for the driver between two short calls. They must be taken back when
 * one turns out long. Whether a call was started or taken back is decided by one atomic word, {epoch, started}:
 *
 *   worker   before call (epoch e, number s):  {e, x} -> {e, s}    fails if the driver has recalled: the call is dropped
 *   driver   to recall:                        {e, x} -> {e+1, x}  all calls of epoch e after x are the driver's again
 *
 * So a call starts exactly once, and the driver knows at any time, without asking, which call a worker is at: that is also
 * how it names the guilty one when the worker dies.
 *
 * The same page says where in the worker's stderr the present call began: the driver's reader publishes how many bytes
 * it has taken out of the pipe (`drained`, a sequence lock), the worker adds what is still in the pipe.
 *
 * And, where the driver keeps a timeline, when the last calls began and ended. */
#ifndef EXL_NODE_CLAIM_H
#define EXL_NODE_CLAIM_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/clock.h"

enum {
    EXL_CLAIM_SIZE = 4096,
    EXL_CLAIM_STARTED_BITS = 40,
    EXL_CLAIM_RUNS = 64 /* more than a worker is given at once */
};

/* When a worker was at a call, by the monotonic clock. Valid while `number` is the call's. */
typedef struct exl_claim_run {
    _Atomic uint64_t number;
    _Atomic int64_t began_ns, ended_ns; /* 0: not ended */
} exl_claim_run_t;

typedef struct exl_claim {
    _Atomic uint64_t word;           /* epoch << EXL_CLAIM_STARTED_BITS | started */
    _Atomic uint64_t stderr_mark;    /* position in the stderr stream where the present call began */
    _Atomic uint32_t drain_sequence; /* odd while the reader is at it */
    _Atomic uint64_t drained;        /* bytes read out of the stderr pipe so far */
    _Atomic uint32_t timed;          /* set by the driver: the worker measures its calls */
    exl_claim_run_t runs[EXL_CLAIM_RUNS];
} exl_claim_t;

static inline uint64_t exl_claim_pack(uint64_t epoch, uint64_t started)
{
    return epoch << EXL_CLAIM_STARTED_BITS | started;
}

static inline uint64_t exl_claim_started(const exl_claim_t *claim)
{
    return atomic_load(&claim->word) & ((UINT64_C(1) << EXL_CLAIM_STARTED_BITS) - 1);
}

/* Worker: notes the time at which a call begins, and at which it has an answer. */
void exl_claim_begin(exl_claim_t *claim, uint64_t number);
static inline void exl_claim_end(exl_claim_t *claim, uint64_t number)
{
    if (atomic_load_explicit(&claim->timed, memory_order_relaxed))
        atomic_store(&claim->runs[number % EXL_CLAIM_RUNS].ended_ns, exl_clock_ns());
}

/* Driver: what it has noted of a call. False: nothing, or no longer. */
bool exl_claim_times(const exl_claim_t *claim, uint64_t number, int64_t *ret_began_ns, int64_t *ret_ended_ns);

/* Worker: true if the call is this worker's to run. */
static inline bool exl_claim_start(exl_claim_t *claim, uint32_t epoch, uint64_t number)
{
    uint64_t word = atomic_load(&claim->word);
    while (word >> EXL_CLAIM_STARTED_BITS == epoch)
        if (atomic_compare_exchange_weak(&claim->word, &word, exl_claim_pack(epoch, number))) {
            if (atomic_load_explicit(&claim->timed, memory_order_relaxed))
                exl_claim_begin(claim, number);
            return true;
        }
    return false;
}

/* Driver: from here on no call of `epoch` starts. Returns the number of the last one that did. */
static inline uint64_t exl_claim_recall(exl_claim_t *claim, uint32_t epoch)
{
    uint64_t word = atomic_load(&claim->word), started;
    do
        started = word & ((UINT64_C(1) << EXL_CLAIM_STARTED_BITS) - 1);
    while (!atomic_compare_exchange_weak(&claim->word, &word, exl_claim_pack((uint64_t)epoch + 1, started)));
    return started;
}

/* A memory file with the page in it; the worker gets the descriptor. */
int exl_claim_create(exl_claim_t **ret_claim, int *ret_fd);
int exl_claim_open(int fd, exl_claim_t **ret_claim); /* worker: maps, and closes `fd` */
void exl_claim_close(exl_claim_t *claim);            /* NULL is fine */

/* Worker: notes where stderr stands, as a call begins. */
void exl_claim_mark_stderr(exl_claim_t *claim, int stderr_fd);

#endif
