/* tee.h: carries the workers' stderr to the driver's, and remembers the last of it.
 *
 * One thread reads all pipes and writes to descriptor 2, which may block as long as it likes: the engine never does. A
 * full terminal or pipe stops the workers that write to it, as it would without us. All streams share one lock, held for
 * a read() from a pipe that has data, never for a write. */
#ifndef EXL_NODE_TEE_H
#define EXL_NODE_TEE_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "node/claim.h"

enum { EXL_TAIL_SIZE = 4096 };

typedef struct exl_tee exl_tee_t;
typedef struct exl_stream exl_stream_t;

/* Starts the thread; `output_fd` is borrowed. */
int exl_tee_create(int output_fd, exl_tee_t **ret_tee);

/* Carries over what the pipes still hold, and joins the thread. All streams must be closed. NULL is fine. */
void exl_tee_destroy(exl_tee_t *tee);

/* In a child made by fork(): closes the descriptors of the reader's own. */
void exl_tee_abandon(exl_tee_t *tee);

/* A new stream; `ret_write_fd` is the caller's to pass on and close. `claim` (borrowed, may be NULL) is told how much was
 * read. */
int exl_stream_open(exl_tee_t *tee, exl_claim_t *claim, exl_stream_t **ret_stream, int *ret_write_fd);

/* The last bytes written after position `mark`, up to EXL_TAIL_SIZE; returns how many. Takes what the pipe holds now. */
size_t exl_stream_tail(exl_stream_t *stream, uint64_t mark, char text[EXL_TAIL_SIZE]);

/* The rest is carried over in the background; `claim` is not touched any more. NULL is fine. */
void exl_stream_close(exl_stream_t *stream);

#endif
