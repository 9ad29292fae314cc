/* payload.h: the bytes of a call, of a result, of a function: one pickle stream (the body) and its out-of-band buffers.
 *
 * A payload lives in one of four places and moves only to the right:
 *   pinned  views of the user's objects (large arguments of a call that has not been placed yet)
 *   heap    one region in this process' memory (everything up to EXL_INLINE_MAX, and the fallback without descriptors)
 *   file    one region in a memory file, whose descriptor can be passed to a worker
 *   mapped  that file, mapped private and writable; its descriptor may be closed
 *
 * A region is what is sent: u64 body size, u64 number of buffers, u64 size of each, the body, and each buffer aligned
 * to EXL_ALIGNMENT. Its bytes come from a peer: exl_payload_view() checks every size before it hands out a pointer.
 *
 * References are atomic, so a payload is dropped from any thread. Nothing here takes a lock: what changes a payload
 * (seal, map, close) is called by the one who holds the only reference, or under the engine's lock. */
#ifndef EXL_TASK_PAYLOAD_H
#define EXL_TASK_PAYLOAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

enum { EXL_INLINE_MAX = 64 * 1024, EXL_ALIGNMENT = 64 };

typedef struct exl_payload exl_payload_t;

typedef struct exl_segment {
    const void *bytes;
    size_t size;
} exl_segment_t;

/* Called once, from any thread, when pinned bytes are needed no more. Must not block. */
typedef void (*exl_release_cb)(void *owner);

/* Copies up to EXL_INLINE_MAX bytes. Above that the segments' bytes are pinned: they must stay valid and unmoved until
 * `release(owner)`. exl_payload_pinned() says which; a payload that is not pinned never calls `release`. */
int exl_payload_create(const exl_segment_t *body, size_t nbody, const exl_segment_t *buffers, size_t nbuffers,
                       exl_release_cb release, void *owner, exl_payload_t **ret_payload);

/* A copy of the bytes, as a body without buffers; nothing is pinned. */
int exl_payload_of(const void *bytes, size_t size, exl_payload_t **ret_payload);

/* A copy of a received region. */
int exl_payload_from_region(const void *region, size_t size, exl_payload_t **ret_payload);

/* Takes the descriptor, on success only. Fails with EXL_EPROTOCOL when the file is shorter than `size`. */
int exl_payload_from_file(int fd, size_t size, exl_payload_t **ret_payload);

exl_payload_t *exl_payload_ref(exl_payload_t *payload);
void exl_payload_unref(exl_payload_t *payload); /* NULL is fine */

bool exl_payload_pinned(const exl_payload_t *payload);
size_t exl_payload_size(const exl_payload_t *payload); /* of the region, in bytes */

/* Copies pinned bytes into a memory file, or onto the heap where none can be had; may take long for large data. */
int exl_payload_seal(exl_payload_t *payload);

/* The descriptor of the memory file, borrowed, or -1. */
int exl_payload_fd(const exl_payload_t *payload);

/* The region in memory, or NULL while it is pinned or only in a file. */
const uint8_t *exl_payload_region(const exl_payload_t *payload);

/* Brings a file's region into memory, private and writable. */
int exl_payload_map(exl_payload_t *payload);

/* Closes the descriptor of a mapped payload. Without a descriptor the region is sent by copy. */
void exl_payload_close_file(exl_payload_t *payload);

/* The file is this process' alone from now on: its sender and all others have done with it. When the payload goes, the
 * file is kept for the next large one (memory_file.h). Void once the file is sent on. */
void exl_payload_own_file(exl_payload_t *payload);

/* The file is being sent to another process. */
void exl_payload_share_file(exl_payload_t *payload);

typedef struct exl_payload_view {
    uint8_t *body;
    size_t body_size;
    size_t nbuffers;
    uint8_t *region;
} exl_payload_view_t;

/* The payload must be in memory. EXL_EPROTOCOL when the sizes in it do not add up. */
int exl_payload_view(const exl_payload_t *payload, exl_payload_view_t *ret_view);
exl_segment_t exl_payload_view_buffer(const exl_payload_view_t *view, size_t index);

#endif
