/* assign.c: what a worker has of GPUs and processors, from the moment it is asked for until it is gone. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/buffer.h"
#include "engine/pool_private.h"

static int append_line(exl_buffer_t *text, const char *line)
{
    int rc = exl_buffer_size(text) ? exl_buffer_append(text, "\n", 1) : 0;
    return rc < 0 ? rc : exl_buffer_append(text, line, strlen(line));
}

static int send_text(exl_worker_t *worker, uint8_t type, const exl_buffer_t *text)
{
    exl_payload_t *payload;
    int rc = exl_payload_of(exl_buffer_data(text), exl_buffer_size(text), &payload);
    if (rc < 0)
        return rc;
    rc = exl_worker_send(worker, (exl_frame_t){.type = type}, payload);
    exl_payload_unref(payload);
    return rc;
}

static int send_devices(const exl_pool_t *pool, exl_worker_t *worker, uint32_t count, const uint32_t *places)
{
    exl_buffer_t text;
    exl_buffer_init(&text);
    int rc = append_line(&text, pool->gpu_variable);
    for (uint32_t i = 0; rc == 0 && i < count; i++)
        rc = append_line(&text, exl_gpus_name(&pool->gpus, places[i]));
    if (rc == 0)
        rc = send_text(worker, EXL_FRAME_DEVICES, &text);
    exl_buffer_fini(&text);
    return rc;
}

static int send_pins(exl_worker_t *worker, uint32_t count, const uint32_t *cpus)
{
    exl_buffer_t text;
    exl_buffer_init(&text);
    int rc = 0;
    for (uint32_t i = 0; rc == 0 && i < count; i++) {
        char number[16];
        (void)snprintf(number, sizeof number, "%u", cpus[i]);
        rc = append_line(&text, number);
    }
    if (rc == 0)
        rc = send_text(worker, EXL_FRAME_PINS, &text);
    exl_buffer_fini(&text);
    return rc;
}

static int send_nodes(const exl_pool_t *pool, exl_worker_t *worker, uint32_t count, const uint32_t *places)
{
    exl_buffer_t text;
    exl_buffer_init(&text);
    int rc = 0;
    for (uint32_t i = 0; rc == 0 && i < count; i++)
        rc = append_line(&text, exl_hosts_name(pool->resources.hosts, places[i]));
    if (rc == 0)
        rc = send_text(worker, EXL_FRAME_NODES, &text);
    exl_buffer_fini(&text);
    return rc;
}

int exl__pool_assign(const exl_pool_t *pool, exl_worker_t *worker, exl_request_t request, exl_holding_t *holding)
{
    worker->request = request;
    worker->holding = *holding;
    *holding = (exl_holding_t){0};
    int rc = worker->holding.gpus ? send_devices(pool, worker, request.gpus, worker->holding.gpus) : 0;
    if (rc == 0 && worker->holding.nodes)
        rc = send_nodes(pool, worker, request.nodes, worker->holding.nodes);
    return rc == 0 && worker->holding.cpus ? send_pins(worker, request.cores, worker->holding.cpus) : rc;
}
