/* rank_directory.h: where a rank group keeps its socket, and MPI its files: in memory where possible, for this user alone.
 *
 * The name says which process it belongs to, so that the zygote can remove what a head that was killed has left. Shared
 * memory that MPI keeps elsewhere is linked to from the directory, by the ranks themselves, and goes with it. */
#ifndef EXL_NODE_RANK_DIRECTORY_H
#define EXL_NODE_RANK_DIRECTORY_H

#include <sys/types.h>

enum { EXL_RANK_DIRECTORY_SIZE = 64 };

/* For the calling process. 0 or -errno. */
int exl_rank_directory_create(char path[EXL_RANK_DIRECTORY_SIZE]);
void exl_rank_directory_remove(const char *path);

/* Links to MPICH's shared memory that `rank` has mapped; ranks do so themselves once MPI has started. */
void exl_rank_directory_note(const char *path, pid_t rank);

/* Links to the segments that MPICH 5 is going to make for ranks whose PMI store is called like the directory, so that they
 * go even if all die while MPI starts. */
void exl_rank_directory_expect(const char *path);

/* Removes those of a process that has ended. */
void exl_rank_directory_sweep(pid_t owner);

/* Those of this user of whatever processes are not there any more: a scheduler may kill all of a step at once. */
void exl_rank_directory_sweep_all(void);

#endif
