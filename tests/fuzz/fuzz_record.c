/* fuzz_record.c: any bytes as each of the records between an agent and its driver. What was read is the same once written and
 * read again.
 *
 * The input's first byte says which record it is. */
#include <assert.h>
#include <string.h>

#include "base/error.h"
#include "wire/record.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The record as it is written; NULL: it is none of this kind. */
static exl_payload_t *again(uint8_t which, const exl_payload_t *payload)
{
    exl_payload_t *written = NULL;
    exl_node_record_t node;
    exl_needs_record_t needs;
    exl_failure_t *failure;
    switch (which % 3) {
    case 0:
        if (exl_node_record_read(payload, &node) == 0) {
            assert(strlen(node.host) <= EXL_HOST_MAX && strlen(node.name) <= EXL_HOST_MAX);
            assert(exl_node_record_write(&node, &written) == 0);
        }
        break;
    case 1:
        if (exl_needs_record_read(payload, &needs) == 0)
            assert(exl_needs_record_write(&needs, &written) == 0);
        break;
    default:
        if (exl_failure_read(payload, &failure) == 0) {
            assert(exl_failure_write(failure, &written) == 0);
            exl_failure_unref(failure);
        }
    }
    assert(!written || exl_payload_map(written) == 0);
    return written;
}

static void check_same(exl_payload_t *one, exl_payload_t *other)
{
    exl_payload_view_t first, second;
    assert(exl_payload_view(one, &first) == 0 && exl_payload_view(other, &second) == 0);
    assert(first.body_size == second.body_size && memcmp(first.body, second.body, first.body_size) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    exl_payload_t *payload = NULL;
    if (size < 1)
        return 0;
    exl_segment_t body = {data + 1, size - 1};
    if (exl_payload_create(&body, 1, NULL, 0, NULL, NULL, &payload) < 0)
        return 0;
    bool sealed = !exl_payload_pinned(payload) || (exl_payload_seal(payload) == 0 && exl_payload_map(payload) == 0);
    exl_payload_t *written = sealed ? again(data[0], payload) : NULL;
    if (written) {
        exl_payload_t *twice = again(data[0], written);
        assert(twice);
        check_same(written, twice);
        exl_payload_unref(twice);
        exl_payload_unref(written);
    }
    exl_payload_unref(payload);
    return 0;
}
