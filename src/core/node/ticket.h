/* ticket.h: what MPI ranks on other hosts need to reach the head of their group, in a file that this user alone can read.
 *
 * A launcher such as srun sends the environment and the command line of what it starts through the scheduler, in the clear;
 * so these name the file only. It is in a directory that all hosts share, and gone once all ranks have come. */
#ifndef EXL_NODE_TICKET_H
#define EXL_NODE_TICKET_H

#include <stdint.h>

#include "base/error.h"
#include "wire/tls.h"

enum { EXL_SECRET_SIZE = 32, EXL_TICKET_PATH_MAX = 512, EXL_TICKET_ADDRESSES_MAX = 1024 };

typedef struct exl_ticket {
    uint16_t port;
    uint8_t key[EXL_TLS_KEY_SIZE];   /* of TLS */
    uint8_t secret[EXL_SECRET_SIZE]; /* of the group */
    char name[EXL_TLS_NAME_MAX + 1]; /* what ranks call themselves, see exl_tls_create(); no blanks */
    char addresses[EXL_TICKET_ADDRESSES_MAX +
                   1]; /* of the head's host: numeric, the likeliest first, one blank between */
} exl_ticket_t;

/* A new file in the directory, which is made if it is missing. -errno. */
int exl_ticket_write(const exl_ticket_t *ticket, const char *directory, char ret_path[EXL_TICKET_PATH_MAX],
                     exl_error_t *err);

/* EXL_EPROTOCOL for a file that is not of this kind, -EPERM for one that somebody else may have written or read. */
int exl_ticket_read(const char *path, exl_ticket_t *ret_ticket, exl_error_t *err);

/* Forgets key and secret. */
void exl_ticket_wipe(exl_ticket_t *ticket);

#endif
