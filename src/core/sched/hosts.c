/* hosts.c: see hosts.h. A ledger is found by the job, in the process that made it: a child made by fork() has its own. */
#include "sched/hosts.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* As that of the queue, see queue.h. */
enum { PATIENCE = 64 };

struct host {
    char *name; /* owned */
    uint32_t cores, used;
    bool chosen;        /* within choose() only */
    exl_list_t watches; /* of exl_hosts_watch_t */
};

struct exl_hosts {
    exl_list_t link;
    char *job; /* owned */
    pid_t process;
    struct host **hosts; /* owned, and so is each */
    uint32_t count;
    bool awaited;    /* somebody waits for several nodes */
    uint32_t passed; /* … and so often others have taken cores meanwhile */
    exl_list_t users;
};

static exl_list_t ledgers = {&ledgers, &ledgers};

static exl_hosts_t *hosts_of(exl_list_t *link)
{
    return EXL_CONTAINER(link, exl_hosts_t, link);
}

static exl_hosts_t *find(const char *job)
{
    EXL_LIST_FOREACH(&ledgers, link)
    if (hosts_of(link)->process == getpid() && strcmp(hosts_of(link)->job, job) == 0)
        return hosts_of(link);
    return NULL;
}

exl_hosts_t *exl_hosts_join(const char *job, exl_hosts_user_t *user)
{
    exl_hosts_t *hosts = find(job);
    if (!hosts) {
        hosts = calloc(1, sizeof *hosts);
        if (!hosts || !(hosts->job = strdup(job))) {
            free(hosts);
            return NULL;
        }
        hosts->process = getpid();
        exl_list_init(&hosts->users);
        exl_list_push_back(&ledgers, &hosts->link);
    }
    exl_list_push_back(&hosts->users, &user->link);
    return hosts;
}

static void tell(const exl_hosts_t *hosts)
{
    EXL_LIST_FOREACH(&hosts->users, link)
    {
        exl_hosts_user_t *user = EXL_CONTAINER(link, exl_hosts_user_t, link);
        user->freed(user);
    }
}

void exl_hosts_leave(exl_hosts_t *hosts, exl_hosts_user_t *user)
{
    exl_list_remove(&user->link);
    if (!exl_list_empty(&hosts->users)) {
        tell(hosts);
        return;
    }
    exl_list_remove(&hosts->link);
    for (uint32_t i = 0; i < hosts->count; i++) {
        assert(exl_list_empty(&hosts->hosts[i]->watches));
        free(hosts->hosts[i]->name);
        free(hosts->hosts[i]);
    }
    free(hosts->hosts);
    free(hosts->job);
    free(hosts);
}

bool exl_hosts_shared(const exl_hosts_t *hosts)
{
    return hosts->users.next != hosts->users.prev;
}

static struct host *host_new(const char *name, uint32_t cores)
{
    struct host *host = calloc(1, sizeof *host);
    char *copy = strdup(name);
    if (!host || !copy) {
        free(host);
        free(copy);
        return NULL;
    }
    *host = (struct host){.name = copy, .cores = cores};
    exl_list_init(&host->watches);
    return host;
}

int exl_hosts_add(exl_hosts_t *hosts, const char *name, uint32_t cores)
{
    for (uint32_t i = 0; i < hosts->count; i++)
        if (strcmp(hosts->hosts[i]->name, name) == 0)
            return (int)i;
    struct host **grown = realloc(hosts->hosts, (hosts->count + 1) * sizeof(struct host *));
    if (grown)
        hosts->hosts = grown;
    struct host *host = grown ? host_new(name, cores) : NULL;
    if (!host)
        return -ENOMEM;
    hosts->hosts[hosts->count] = host;
    return (int)hosts->count++;
}

const char *exl_hosts_name(const exl_hosts_t *hosts, uint32_t place)
{
    return hosts->hosts[place]->name;
}

static uint32_t spare(const struct host *host)
{
    return host->cores > host->used ? host->cores - host->used : 0;
}

uint32_t exl_hosts_free(const exl_hosts_t *hosts, uint32_t place)
{
    return spare(hosts->hosts[place]);
}

bool exl_hosts_hold_back(const exl_hosts_t *hosts)
{
    return hosts->awaited && hosts->passed >= PATIENCE;
}

void exl_hosts_watch(exl_hosts_t *hosts, uint32_t place, exl_hosts_watch_t *watch)
{
    exl_list_push_back(&hosts->hosts[place]->watches, &watch->link);
}

void exl_hosts_unwatch(exl_hosts_watch_t *watch)
{
    exl_list_remove(&watch->link);
}

/* `change` may be negative: cores that are used no more. */
static void use(struct host *host, int64_t change)
{
    assert(change >= 0 || host->used >= (uint64_t)-change);
    host->used = (uint32_t)(host->used + change);
    EXL_LIST_FOREACH(&host->watches, link)
    {
        exl_hosts_watch_t *watch = EXL_CONTAINER(link, exl_hosts_watch_t, link);
        watch->changed(watch);
    }
}

static bool has(const struct host *host, uint32_t cores)
{
    return cores == EXL_WHOLE_NODE ? host->used == 0 : spare(host) >= cores;
}

static bool fit(const exl_hosts_t *hosts, uint32_t nodes, uint32_t cores)
{
    uint32_t found = 0;
    for (uint32_t i = 0; i < hosts->count; i++)
        found += has(hosts->hosts[i], cores);
    return found >= nodes;
}

bool exl_hosts_fit(exl_hosts_t *hosts, uint32_t nodes, uint32_t cores)
{
    bool fits = fit(hosts, nodes, cores);
    hosts->awaited |= !fits;
    return fits;
}

void exl_hosts_nobody_waits(exl_hosts_t *hosts)
{
    bool held_back = exl_hosts_hold_back(hosts);
    hosts->awaited = false;
    hosts->passed = 0;
    if (held_back)
        tell(hosts);
}

static uint32_t choose(const exl_hosts_t *hosts, uint32_t cores)
{
    uint32_t best = UINT32_MAX;
    for (uint32_t i = 0; i < hosts->count; i++) {
        const struct host *host = hosts->hosts[i];
        if (!host->chosen && has(host, cores) && (best == UINT32_MAX || spare(host) > spare(hosts->hosts[best])))
            best = i;
    }
    return best;
}

void exl_hosts_take(exl_hosts_t *hosts, uint32_t nodes, uint32_t cores, uint32_t *ret_places)
{
    assert(fit(hosts, nodes, cores));
    hosts->passed = 0;
    for (uint32_t i = 0; i < nodes; i++) {
        ret_places[i] = choose(hosts, cores);
        hosts->hosts[ret_places[i]]->chosen = true;
    }
    for (uint32_t i = 0; i < nodes; i++) {
        struct host *host = hosts->hosts[ret_places[i]];
        host->chosen = false;
        use(host, cores == EXL_WHOLE_NODE ? host->cores : cores);
    }
}

void exl_hosts_give(exl_hosts_t *hosts, uint32_t nodes, uint32_t cores, const uint32_t *places)
{
    for (uint32_t i = 0; i < nodes; i++) {
        struct host *host = hosts->hosts[places[i]];
        use(host, -(int64_t)(cores == EXL_WHOLE_NODE ? host->cores : cores));
    }
    tell(hosts);
}

void exl_hosts_use(exl_hosts_t *hosts, uint32_t place, uint32_t cores)
{
    use(hosts->hosts[place], cores);
    hosts->passed += hosts->awaited;
}

void exl_hosts_return(exl_hosts_t *hosts, uint32_t place, uint32_t cores)
{
    use(hosts->hosts[place], -(int64_t)cores);
    tell(hosts);
}
