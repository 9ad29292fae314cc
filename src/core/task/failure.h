/* failure.h: why a call ended without an answer from its function, and whose fault that is. Immutable once made,
 * reference-counted, so that a call's dependents share it. */
#ifndef EXL_TASK_FAILURE_H
#define EXL_TASK_FAILURE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

typedef enum exl_blame {
    EXL_BLAME_FUNCTION, /* it killed its process */
    EXL_BLAME_WORKER,   /* the process never got as far as running calls */
    EXL_BLAME_NODE,     /* the zygote went, and its workers with it */
    EXL_BLAME_ENGINE,   /* memory or descriptors ran out on our side */
    EXL_BLAME_LIMIT     /* it ran longer than it may, and was ended */
} exl_blame_t;

typedef struct exl_failure {
    _Atomic uint32_t refs;
    exl_blame_t blame;
    pid_t pid; /* 0: there was no process */
    bool status_known;
    int wait_status;   /* as from waitpid */
    uint32_t limit_ms; /* of EXL_BLAME_LIMIT: how long it may run */
    uint32_t restarts; /* how often the call had been started again before */
    char *host;        /* owned; "": this host */
    char *reason;      /* owned; one line */
    char *stderr_tail; /* owned; "" if nothing was written */
} exl_failure_t;

const char *exl_blame_to_string(exl_blame_t blame);

/* Copies the texts; NULL texts become "". NULL when memory is out. */
exl_failure_t *exl_failure_create(exl_blame_t blame, pid_t pid, const int *wait_status, const char *reason,
                                  const char *stderr_tail, size_t stderr_size);
/* Where it happened, if it was not here; before anybody else sees the failure. -ENOMEM with nothing changed. */
int exl_failure_set_host(exl_failure_t *failure, const char *host, size_t size);

exl_failure_t *exl_failure_ref(exl_failure_t *failure); /* NULL is fine */
void exl_failure_unref(exl_failure_t *failure);         /* NULL is fine */

#endif
