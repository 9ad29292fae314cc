/* record.c: fields in a row. */
#include "wire/record.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"
#include "base/little_endian.h"

/* The longest text that is read: a reason, or a tail of stderr. */
enum { TEXT_MAX = 64 * 1024 };

/* ---- writing ---- */

typedef struct writer {
    exl_buffer_t bytes;
    int rc;
} writer_t;

static void put(writer_t *writer, uint64_t number, size_t size)
{
    uint8_t bytes[8];
    exl_put_le(bytes, number, size);
    if (writer->rc == 0)
        writer->rc = exl_buffer_append(&writer->bytes, bytes, size);
}

static void put_text(writer_t *writer, const char *text)
{
    size_t size = strlen(text);
    put(writer, size, 4);
    if (writer->rc == 0 && size)
        writer->rc = exl_buffer_append(&writer->bytes, text, size);
}

static int finish(writer_t *writer, exl_payload_t **ret_payload)
{
    int rc = writer->rc;
    if (rc == 0) {
        exl_segment_t body = {exl_buffer_data(&writer->bytes), exl_buffer_size(&writer->bytes)};
        rc = exl_payload_create(&body, 1, NULL, 0, NULL, NULL, ret_payload);
        /* Larger ones are pinned to bytes that are about to go. */
        if (rc == 0 && exl_payload_pinned(*ret_payload) && (rc = exl_payload_seal(*ret_payload)) < 0)
            exl_payload_unref(*ret_payload);
    }
    exl_buffer_fini(&writer->bytes);
    return rc;
}

int exl_node_record_write(const exl_node_record_t *record, exl_payload_t **ret_payload)
{
    writer_t writer = {.rc = 0};
    put(&writer, record->cores, 4);
    put(&writer, record->calls, 4);
    put(&writer, record->gpus, 4);
    put(&writer, record->pid, 4);
    put(&writer, record->ends, 1);
    put(&writer, record->left_ms, 8);
    put(&writer, record->all_cores, 4);
    put_text(&writer, record->host);
    put_text(&writer, record->name);
    return finish(&writer, ret_payload);
}

int exl_needs_record_write(const exl_needs_record_t *record, exl_payload_t **ret_payload)
{
    writer_t writer = {.rc = 0};
    put(&writer, record->request.cores, 4);
    put(&writer, record->request.gpus, 4);
    put(&writer, record->request.gpu_share, 4);
    put(&writer, record->request.pin, 1);
    put(&writer, record->cloudpickled, 1);
    put(&writer, record->ranks, 4);
    put(&writer, record->run_time_ms, 4);
    put(&writer, record->grace_ms, 4);
    put(&writer, (uint32_t)record->priority, 4);
    put(&writer, record->import_key, 8);
    return finish(&writer, ret_payload);
}

bool exl_needs_record_same(const exl_needs_record_t *record, const exl_needs_record_t *other)
{
    const exl_request_t *one = &record->request, *two = &other->request;
    return one->cores == two->cores && one->gpus == two->gpus && one->gpu_share == two->gpu_share &&
           one->pin == two->pin && record->ranks == other->ranks && record->run_time_ms == other->run_time_ms &&
           record->grace_ms == other->grace_ms && record->priority == other->priority &&
           record->cloudpickled == other->cloudpickled && record->import_key == other->import_key;
}

int exl_failure_write(const exl_failure_t *failure, exl_payload_t **ret_payload)
{
    writer_t writer = {.rc = 0};
    put(&writer, failure->blame, 1);
    put(&writer, failure->status_known, 1);
    put(&writer, (uint32_t)failure->wait_status, 4);
    put(&writer, (uint32_t)failure->pid, 4);
    put(&writer, failure->limit_ms, 4);
    put(&writer, failure->restarts, 4);
    put_text(&writer, failure->host);
    put_text(&writer, failure->reason);
    put_text(&writer, failure->stderr_tail);
    return finish(&writer, ret_payload);
}

/* ---- reading ---- */

typedef struct reader {
    const uint8_t *bytes;
    size_t left;
    bool failed;
} reader_t;

static reader_t reader_of(const exl_payload_t *payload)
{
    exl_payload_view_t view;
    if (exl_payload_view(payload, &view) < 0)
        return (reader_t){.failed = true};
    return (reader_t){.bytes = view.body, .left = view.body_size};
}

static uint64_t get(reader_t *reader, size_t size)
{
    if (reader->failed || reader->left < size) {
        reader->failed = true;
        return 0;
    }
    uint64_t number = exl_le(reader->bytes, size);
    reader->bytes += size;
    reader->left -= size;
    return number;
}

static uint32_t get_u32(reader_t *reader)
{
    return (uint32_t)get(reader, 4);
}

static bool get_flag(reader_t *reader)
{
    uint64_t flag = get(reader, 1);
    reader->failed |= flag > 1;
    return flag == 1;
}

/* Borrowed, and not ended by a zero. */
static exl_segment_t get_text(reader_t *reader, size_t most)
{
    size_t size = get_u32(reader);
    if (reader->failed || size > most || size > reader->left || memchr(reader->bytes, '\0', size)) {
        reader->failed = true;
        return (exl_segment_t){"", 0};
    }
    exl_segment_t text = {reader->bytes, size};
    reader->bytes += size;
    reader->left -= size;
    return text;
}

static int end_of(const reader_t *reader)
{
    return reader->failed || reader->left ? EXL_EPROTOCOL : 0;
}

int exl_node_record_read(const exl_payload_t *payload, exl_node_record_t *ret_record)
{
    reader_t reader = reader_of(payload);
    exl_node_record_t record = {.cores = get_u32(&reader)};
    record.calls = get_u32(&reader);
    record.gpus = get_u32(&reader);
    record.pid = get_u32(&reader);
    record.ends = get_flag(&reader);
    record.left_ms = get(&reader, 8);
    record.all_cores = get_u32(&reader);
    exl_segment_t host = get_text(&reader, EXL_HOST_MAX);
    memcpy(record.host, host.bytes, host.size);
    exl_segment_t name = get_text(&reader, EXL_HOST_MAX);
    memcpy(record.name, name.bytes, name.size);
    if (end_of(&reader) < 0)
        return EXL_EPROTOCOL;
    *ret_record = record;
    return 0;
}

int exl_needs_record_read(const exl_payload_t *payload, exl_needs_record_t *ret_record)
{
    reader_t reader = reader_of(payload);
    exl_needs_record_t record = {.ranks = 0};
    record.request.cores = get_u32(&reader);
    record.request.gpus = get_u32(&reader);
    record.request.gpu_share = get_u32(&reader);
    record.request.pin = get_flag(&reader);
    record.cloudpickled = get_flag(&reader);
    record.ranks = get_u32(&reader);
    record.run_time_ms = get_u32(&reader);
    record.grace_ms = get_u32(&reader);
    record.priority = (int32_t)get_u32(&reader);
    record.import_key = get(&reader, 8);
    if (end_of(&reader) < 0)
        return EXL_EPROTOCOL;
    *ret_record = record;
    return 0;
}

int exl_failure_read(const exl_payload_t *payload, exl_failure_t **ret_failure)
{
    reader_t reader = reader_of(payload);
    uint64_t blame = get(&reader, 1);
    bool status_known = get_flag(&reader);
    int wait_status = (int)get_u32(&reader);
    pid_t pid = (pid_t)get_u32(&reader);
    uint32_t limit_ms = get_u32(&reader), restarts = get_u32(&reader);
    exl_segment_t host = get_text(&reader, EXL_HOST_MAX);
    exl_segment_t reason = get_text(&reader, TEXT_MAX), tail = get_text(&reader, TEXT_MAX);
    if (end_of(&reader) < 0 || blame > EXL_BLAME_LIMIT)
        return EXL_EPROTOCOL;
    char *text = strndup(reason.bytes, reason.size);
    exl_failure_t *failure = text ? exl_failure_create((exl_blame_t)blame, pid, status_known ? &wait_status : NULL,
                                                       text, tail.bytes, tail.size)
                                  : NULL;
    free(text);
    if (!failure || exl_failure_set_host(failure, host.bytes, host.size) < 0) {
        exl_failure_unref(failure);
        return -ENOMEM;
    }
    failure->limit_ms = limit_ms;
    failure->restarts = restarts;
    *ret_failure = failure;
    return 0;
}
