/* gate.h: the way of MPI ranks on other hosts to the head of their group, and back.
 *
 *   head ── Unix socket ── gate ══════ TLS 1.3 ══════ gate ── socket ── rank
 *                          a child of the head        a process of its own, beside the rank
 *
 * The head and the rank know nothing of it: to both the other is on their host. The gate of the head listens for those who
 * have the key of its ticket, and connects each to the head's socket, where it says the group's secret. It dies with the
 * head. When a rank's gate loses the connection, the program or its host is gone, and it kills the rank and all that this one
 * has started: a launcher such as srun that is killed would leave them. */
#ifndef EXL_NODE_GATE_H
#define EXL_NODE_GATE_H

#include <sys/types.h>

#include "node/rank_directory.h"
#include "node/ticket.h"

/* In the head: forks the gate, which listens on all addresses of this host, or on the loopback interface where the ticket's is
 * that one, and fills in key, name and port of the ticket.
 * `socket_path` is where it takes ranks. TLS must have been provided (tls.h). */
int exl_gate_open(const char *socket_path, exl_ticket_t *ticket, pid_t *ret_pid, exl_error_t *err);

/* In a rank, before it has threads: `ret_fd` is as good as a connection to the head's socket, and the directory as the head's:
 * it goes with the rank. Takes up to a minute if the head's host does not answer. */
int exl_gate_pass(const exl_ticket_t *ticket, int *ret_fd, char ret_directory[EXL_RANK_DIRECTORY_SIZE],
                  exl_error_t *err);

#endif
