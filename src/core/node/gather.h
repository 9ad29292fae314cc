/* gather.h: one payload out of many: the list of what the ranks of a group returned.
 *
 * Nothing is unpickled. The body is a pickle of its own, written here: a call of _executorlib_core._gather() with each
 * rank's pickle as bytes and its out-of-band buffers, which are the list's. Opcodes: CPython's Lib/pickletools.py. */
#ifndef EXL_NODE_GATHER_H
#define EXL_NODE_GATHER_H

#include "task/payload.h"

int exl_gather(exl_payload_t *const *payloads, uint32_t count, exl_payload_t **ret_payload);

#endif
