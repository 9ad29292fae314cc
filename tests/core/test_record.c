/* test_record.c: records there and back, and cut or bent at every byte. */
#include "wire/record.h"

#include <string.h>

#include "support.h"

static const exl_node_record_t node = {.cores = 128, .calls = 12, .gpus = 4, .pid = 4711, .host = "node-17.cluster"};
static const exl_needs_record_t needs = {.request = {.cores = 3, .gpus = 2, .gpu_share = 500, .pin = true},
                                         .ranks = 3,
                                         .run_time_ms = 1500,
                                         .grace_ms = 300,
                                         .priority = -7,
                                         .cloudpickled = true,
                                         .import_key = UINT64_C(0x123456789abcdef)};

static exl_failure_t *failure_of(const char *host)
{
    int status = 9;
    exl_failure_t *failure = exl_failure_create(EXL_BLAME_FUNCTION, 99, &status, "killed", "last words\n", 11);
    assert_non_null(failure);
    assert_int_equal(exl_failure_set_host(failure, host, strlen(host)), 0);
    failure->limit_ms = 5;
    failure->restarts = 2;
    return failure;
}

static void a_node_survives(void **state)
{
    exl_payload_t *payload = NULL;
    exl_node_record_t heard;
    assert_int_equal(exl_node_record_write(&node, &payload), 0);
    assert_int_equal(exl_node_record_read(payload, &heard), 0);
    assert_memory_equal(&heard, &node, sizeof node);
    exl_payload_unref(payload);
}

static void needs_survive(void **state)
{
    exl_payload_t *payload = NULL;
    exl_needs_record_t heard = {0};
    assert_int_equal(exl_needs_record_write(&needs, &payload), 0);
    assert_int_equal(exl_needs_record_read(payload, &heard), 0);
    assert_int_equal(heard.request.cores, 3);
    assert_int_equal(heard.request.gpus, 2);
    assert_int_equal(heard.request.gpu_share, 500);
    assert_true(heard.request.pin && heard.cloudpickled);
    assert_int_equal(heard.ranks, 3);
    assert_int_equal(heard.run_time_ms, 1500);
    assert_int_equal(heard.grace_ms, 300);
    assert_int_equal(heard.priority, -7);
    assert_int_equal(heard.import_key, needs.import_key);
    assert_true(exl_needs_record_same(&heard, &needs));
    exl_payload_unref(payload);
}

static void needs_are_the_same_if_every_one_is(void **state)
{
    exl_needs_record_t others[10];
    for (size_t i = 0; i < 10; i++)
        others[i] = needs;
    others[0].request.cores++;
    others[1].request.gpus++;
    others[2].request.gpu_share++;
    others[3].request.pin = !needs.request.pin;
    others[4].ranks++;
    others[5].run_time_ms++;
    others[6].grace_ms++;
    others[7].priority++;
    others[8].cloudpickled = !needs.cloudpickled;
    others[9].import_key++;
    for (size_t i = 0; i < 10; i++)
        assert_false(exl_needs_record_same(&others[i], &needs));
}

static void a_failure_survives(void **state)
{
    exl_failure_t *failure = failure_of("n2"), *heard = NULL;
    exl_payload_t *payload = NULL;
    assert_int_equal(exl_failure_write(failure, &payload), 0);
    assert_int_equal(exl_failure_read(payload, &heard), 0);
    assert_int_equal(heard->blame, EXL_BLAME_FUNCTION);
    assert_int_equal(heard->pid, 99);
    assert_true(heard->status_known);
    assert_int_equal(heard->wait_status, 9);
    assert_int_equal(heard->limit_ms, 5);
    assert_int_equal(heard->restarts, 2);
    assert_string_equal(heard->host, "n2");
    assert_string_equal(heard->reason, "killed");
    assert_string_equal(heard->stderr_tail, "last words\n");
    exl_failure_unref(failure);
    exl_failure_unref(heard);
    exl_payload_unref(payload);
}

static exl_payload_t *payload_of(const uint8_t *bytes, size_t size)
{
    exl_segment_t body = {bytes, size};
    exl_payload_t *payload = NULL;
    assert_int_equal(exl_payload_create(&body, 1, NULL, 0, NULL, NULL, &payload), 0);
    return payload;
}

static int read_failure(const uint8_t *bytes, size_t size)
{
    exl_payload_t *payload = payload_of(bytes, size);
    exl_failure_t *failure = NULL;
    int rc = exl_failure_read(payload, &failure);
    exl_failure_unref(failure);
    exl_payload_unref(payload);
    return rc;
}

static void a_cut_or_longer_record_is_refused(void **state)
{
    exl_failure_t *failure = failure_of("n2");
    exl_payload_t *payload = NULL;
    exl_payload_view_t view;
    uint8_t longer[256] = {0};
    assert_int_equal(exl_failure_write(failure, &payload), 0);
    assert_int_equal(exl_payload_view(payload, &view), 0);
    for (size_t size = 0; size < view.body_size; size++)
        assert_int_equal(read_failure(view.body, size), EXL_EPROTOCOL);
    memcpy(longer, view.body, view.body_size);
    assert_int_equal(read_failure(longer, view.body_size), 0);
    assert_int_equal(read_failure(longer, view.body_size + 1), EXL_EPROTOCOL);
    exl_failure_unref(failure);
    exl_payload_unref(payload);
}

static void impossible_fields_are_refused(void **state)
{
    exl_failure_t *failure = failure_of("n2");
    exl_payload_t *payload = NULL;
    exl_payload_view_t view;
    assert_int_equal(exl_failure_write(failure, &payload), 0);
    assert_int_equal(exl_payload_view(payload, &view), 0);
    const struct {
        size_t at;
        uint8_t byte;
    } bent[] = {{0, EXL_BLAME_LIMIT + 1}, {1, 2}, {21, 0xff}, {22, 0}, {24, 0}};
    for (size_t i = 0; i < sizeof bent / sizeof *bent; i++) {
        uint8_t kept = view.body[bent[i].at];
        if (kept == bent[i].byte)
            continue;
        view.body[bent[i].at] = bent[i].byte;
        assert_int_equal(read_failure(view.body, view.body_size), EXL_EPROTOCOL);
        view.body[bent[i].at] = kept;
    }
    exl_failure_unref(failure);
    exl_payload_unref(payload);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        EXL_TEST(a_node_survives),
        EXL_TEST(needs_survive),
        EXL_TEST(needs_are_the_same_if_every_one_is),
        EXL_TEST(a_failure_survives),
        EXL_TEST(a_cut_or_longer_record_is_refused),
        EXL_TEST(impossible_fields_are_refused),
    };
    return EXL_RUN(tests);
}
