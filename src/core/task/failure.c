/* failure.c: the record of a lost call. */
#include "task/failure.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

const char *exl_blame_to_string(exl_blame_t blame)
{
    switch (blame) {
    case EXL_BLAME_FUNCTION:
        return "function";
    case EXL_BLAME_WORKER:
        return "worker";
    case EXL_BLAME_NODE:
        return "node";
    case EXL_BLAME_ENGINE:
        return "engine";
    case EXL_BLAME_LIMIT:
        return "limit";
    }
    return "unknown";
}

exl_failure_t *exl_failure_create(exl_blame_t blame, pid_t pid, const int *wait_status, const char *reason,
                                  const char *stderr_tail, size_t stderr_size)
{
    exl_failure_t *failure = calloc(1, sizeof *failure);
    if (!failure)
        return NULL;
    atomic_init(&failure->refs, 1);
    failure->blame = blame;
    failure->pid = pid;
    failure->status_known = wait_status != NULL;
    failure->wait_status = wait_status ? *wait_status : 0;
    failure->host = strdup("");
    failure->reason = strdup(reason ? reason : "");
    failure->stderr_tail = strndup(stderr_tail ? stderr_tail : "", stderr_size);
    if (!failure->host || !failure->reason || !failure->stderr_tail) {
        exl_failure_unref(failure);
        return NULL;
    }
    return failure;
}

int exl_failure_set_host(exl_failure_t *failure, const char *host, size_t size)
{
    char *copy = strndup(host, size);
    if (!copy)
        return -ENOMEM;
    free(failure->host);
    failure->host = copy;
    return 0;
}

exl_failure_t *exl_failure_ref(exl_failure_t *failure)
{
    if (failure)
        atomic_fetch_add_explicit(&failure->refs, 1, memory_order_relaxed);
    return failure;
}

void exl_failure_unref(exl_failure_t *failure)
{
    if (!failure || atomic_fetch_sub_explicit(&failure->refs, 1, memory_order_acq_rel) > 1)
        return;
    free(failure->host);
    free(failure->reason);
    free(failure->stderr_tail);
    free(failure);
}
