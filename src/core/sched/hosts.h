/* hosts.h: the nodes of one allocation, and what the executors of this process use of them together.
 *
 * Executors in one allocation share one ledger, by the name of the job. A call over several nodes takes all that it needs at once or
 * nothing; those with the most to spare first, so that what is left stays usable for the next. Under the
 * engine's lock. */
#ifndef EXL_SCHED_HOSTS_H
#define EXL_SCHED_HOSTS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"

/* On each of its nodes a call takes all cores. */
#define EXL_WHOLE_NODE UINT32_MAX

typedef struct exl_hosts exl_hosts_t;

/* Who wants to know that cores have become free. */
typedef struct exl_hosts_user {
    exl_list_t link;
    void (*freed)(struct exl_hosts_user *user);
} exl_hosts_user_t;

/* Who wants to know that other cores of one node may be free than before. All zero but for an empty link until it watches. */
typedef struct exl_hosts_watch {
    exl_list_t link;
    void (*changed)(struct exl_hosts_watch *watch);
} exl_hosts_watch_t;

/* The ledger of the job, with `user` among its users. NULL when memory is out. */
exl_hosts_t *exl_hosts_join(const char *job, exl_hosts_user_t *user);
void exl_hosts_leave(exl_hosts_t *hosts, exl_hosts_user_t *user);

/* Whether there is more than one user. */
bool exl_hosts_shared(const exl_hosts_t *hosts);

/* The place of the node, which is added if it is not known yet, or -ENOMEM. */
int exl_hosts_add(exl_hosts_t *hosts, const char *name, uint32_t cores);
const char *exl_hosts_name(const exl_hosts_t *hosts, uint32_t place);

/* Cores that nobody has. */
uint32_t exl_hosts_free(const exl_hosts_t *hosts, uint32_t place);

void exl_hosts_watch(exl_hosts_t *hosts, uint32_t place, exl_hosts_watch_t *watch);
void exl_hosts_unwatch(exl_hosts_watch_t *watch); /* idempotent */

/* Whether so many nodes have so many cores to spare each. If not, those who only take what is free, as cores come free, are to
 * leave it after a while: they are held back, until a call has taken nodes, or nobody waits for any. */
bool exl_hosts_fit(exl_hosts_t *hosts, uint32_t nodes, uint32_t cores);
bool exl_hosts_hold_back(const exl_hosts_t *hosts);
void exl_hosts_nobody_waits(exl_hosts_t *hosts);

/* Takes them, if they fit; their places go to `ret_places`. */
void exl_hosts_take(exl_hosts_t *hosts, uint32_t nodes, uint32_t cores, uint32_t *ret_places);
void exl_hosts_give(exl_hosts_t *hosts, uint32_t nodes, uint32_t cores, const uint32_t *places);

/* Cores of one node, for somebody who is not held back and has looked at exl_hosts_free(). */
void exl_hosts_use(exl_hosts_t *hosts, uint32_t place, uint32_t cores);
void exl_hosts_return(exl_hosts_t *hosts, uint32_t place, uint32_t cores);

#endif
