/* door.h: where agents come in: a listening socket, and those who are still proving that they have the key.
 *
 * Strangers cost a socket, a few kilobytes and some seconds, and there are never more than EXL_DOOR_STRANGERS of them: the one
 * that has been there longest makes room. Who cannot be let in for want of descriptors waits in the kernel's queue, and a line in the
 * log says so. Under the engine's lock. */
#ifndef EXL_NODE_DOOR_H
#define EXL_NODE_DOOR_H

#include "node/handshake.h"

/* RETRY: until it is tried again where descriptors were lacking. */
enum { EXL_DOOR_STRANGERS = 64, EXL_DOOR_LIMIT_MS = 5000, EXL_DOOR_RETRY_MS = 200 };

typedef struct exl_door exl_door_t;

/* Somebody with the key, and its greeting. Takes the connection. */
typedef void (*exl_door_cb)(void *owner, exl_connection_t *connection, const exl_frame_t *hello);

/* Listens on a free port of `address`: a numeric IPv4 or IPv6 address. `name` and `key` are copied. */
int exl_door_open(exl_node_t *node, const char *address, const char *name, const uint8_t key[EXL_TLS_KEY_SIZE],
                  exl_door_cb arrived, void *owner, exl_door_t **ret_door, exl_error_t *err);
void exl_door_close(exl_door_t *door); /* NULL is fine */

uint16_t exl_door_port(const exl_door_t *door);

#endif
