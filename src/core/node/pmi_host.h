/* pmi_host.h: the process manager that ranks find when their head has forked them: PMI-1 over a socket for each rank.
 *
 * Used by one thread; nothing blocks. A rank that has gone is not heard here: its parent waits for it. */
#ifndef EXL_NODE_PMI_HOST_H
#define EXL_NODE_PMI_HOST_H

#include <poll.h>
#include <stdint.h>

#include "base/error.h"

typedef struct exl_pmi_host exl_pmi_host_t;

/* Opens a pair of sockets for each rank of the group, whose `name` no other has. */
int exl_pmi_host_create(uint32_t nranks, const char *name, exl_pmi_host_t **ret_host);
void exl_pmi_host_destroy(exl_pmi_host_t *host);

/* In a fork that is to be a rank: closes all others' sockets, and returns this rank's. */
int exl_pmi_host_leave(exl_pmi_host_t *host, uint32_t rank);

/* Once all ranks have been forked: closes their ends. */
void exl_pmi_host_open(exl_pmi_host_t *host);

/* What to poll: an entry for each rank. */
void exl_pmi_host_watch(const exl_pmi_host_t *host, struct pollfd *fds);

/* Answers what has come. Negative, with a text: a rank wants the end of all, or does not speak PMI-1. */
int exl_pmi_host_serve(exl_pmi_host_t *host, const struct pollfd *fds, exl_error_t *err);

#endif
