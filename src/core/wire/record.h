/* record.h: what an agent and its driver tell each other besides calls and answers, as the body of a payload. A pure codec;
 * numbers are little-endian, texts have their length before them. */
#ifndef EXL_WIRE_RECORD_H
#define EXL_WIRE_RECORD_H

#include <stdbool.h>
#include <stdint.h>

#include "sched/resources.h"
#include "task/failure.h"
#include "task/payload.h"

enum { EXL_HOST_MAX = 255 };

/* What there is on a node: cores, and how many calls may run at once. One process per call: 0 calls are no limit; persistent
 * workers: these are the calls, and cores are 0. */
typedef struct exl_node_record {
    uint32_t cores, calls, gpus;
    uint32_t pid;       /* of the agent */
    uint32_t all_cores; /* those of the job on the node, of which `cores` may be a part; 0: nobody knows */
    bool ends;          /* what it runs in, as far as is known … */
    uint64_t left_ms;   /* … after so long */
    char host[EXL_HOST_MAX + 1];
    char name[EXL_HOST_MAX + 1]; /* by which the scheduler knows the node, or "" */
} exl_node_record_t;

/* What a call needs; see exl_call_t. */
typedef struct exl_needs_record {
    exl_request_t request;
    uint32_t ranks, run_time_ms, grace_ms;
    int32_t priority;
    bool cloudpickled;
    uint64_t import_key;
} exl_needs_record_t;

/* -ENOMEM. */
int exl_node_record_write(const exl_node_record_t *record, exl_payload_t **ret_payload);
int exl_needs_record_write(const exl_needs_record_t *record, exl_payload_t **ret_payload);
int exl_failure_write(const exl_failure_t *failure, exl_payload_t **ret_payload);

bool exl_needs_record_same(const exl_needs_record_t *record, const exl_needs_record_t *other);

/* EXL_EPROTOCOL for what cannot have been written so, with nothing changed. The payload must be in memory. */
int exl_node_record_read(const exl_payload_t *payload, exl_node_record_t *ret_record);
int exl_needs_record_read(const exl_payload_t *payload, exl_needs_record_t *ret_record);
int exl_failure_read(const exl_payload_t *payload, exl_failure_t **ret_failure); /* also -ENOMEM */

#endif
