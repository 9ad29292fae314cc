/* pmi.h: the server's side of PMI-1, the text protocol by which the ranks of MPICH and its relatives find one another.
 *
 *   rank    cmd=get kvsname=ranks key=PMI_process_mapping\n        one request, one answer, each a line
 *   server  cmd=get_result rc=0 value=(vector,(0,1,4))\n
 *
 * A codec: bytes go in, lines come out through a callback, nothing blocks, and the memory that ranks can fill is bounded.
 * All ranks are on this node. What needs another process manager (spawning, published names) is refused in the protocol's
 * own words, which MPI turns into an error of the call. */
#ifndef EXL_LAUNCH_PMI_H
#define EXL_LAUNCH_PMI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { EXL_PMI_LINE_MAX = 4096 };

typedef struct exl_pmi exl_pmi_t;

/* A line for one rank, with its newline. Not kept after the return. */
typedef void (*exl_pmi_answer_cb)(void *owner, uint32_t rank, const char *line, size_t size);

/* `name` is the group's and no other's, since libraries derive names of shared memory from it: a word of at most 255
 * letters, copied. 0 or -ENOMEM. */
int exl_pmi_create(uint32_t nranks, const char *name, exl_pmi_answer_cb send, void *owner, exl_pmi_t **ret_pmi);
void exl_pmi_destroy(exl_pmi_t *pmi);

/* Takes what a rank wrote, in pieces of any size. 0; 1: something was refused, as above; EXL_EPROTOCOL: this is not PMI-1, or more than there is room for;
 * EXL_ECLOSED: the rank ends the whole group (MPI_Abort) with `ret_status`. After an error nothing more is taken. */
int exl_pmi_feed(exl_pmi_t *pmi, uint32_t rank, const char *bytes, size_t size, int *ret_status);

#endif
