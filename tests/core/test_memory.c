/* test_memory.c: each allocation of a scenario fails once, and nothing crashes, hangs or is left behind.
 *
 * The linker sends the core's calls of malloc and its kin through the functions below (--wrap). */
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/error.h"
#include "base/idmap.h"
#include "engine/engine.h"
#include "node/tee.h"
#include "pool_support.h"
#include "sched/queue.h"
#include "task/graph.h"
#include "wire/channel.h"

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *memory, size_t size);
char *__real_strdup(const char *text);
char *__real_strndup(const char *text, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *memory, size_t size);
char *__wrap_strdup(const char *text);
char *__wrap_strndup(const char *text, size_t size);

static atomic_int until_failure; /* allocations, the failing one included; 0: none fails */

static bool fails(void)
{
    return atomic_load(&until_failure) > 0 && atomic_fetch_sub(&until_failure, 1) == 1;
}

void *__wrap_malloc(size_t size)
{
    return fails() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t count, size_t size)
{
    return fails() ? NULL : __real_calloc(count, size);
}

void *__wrap_realloc(void *memory, size_t size)
{
    return fails() ? NULL : __real_realloc(memory, size);
}

char *__wrap_strdup(const char *text)
{
    return fails() ? NULL : __real_strdup(text);
}

char *__wrap_strndup(const char *text, size_t size)
{
    return fails() ? NULL : __real_strndup(text, size);
}

static int failing; /* which allocation */

/* Runs the scenario with its first allocation failing, then its second, and so on until all succeed. */
static void run_out_of_memory(void (*scenario)(void))
{
    int left;
    failing = 0;
    do {
        atomic_store(&until_failure, ++failing);
        scenario();
        left = atomic_exchange(&until_failure, 0);
    } while (left <= 0);
    assert_true(failing > 1);
}

/* A result of the core under test: fine, or out of memory. */
static bool fine(int rc)
{
    if (rc < 0 && rc != -ENOMEM)
        fail_msg("allocation %d: %s", failing, exl_strerror(rc));
    return rc >= 0;
}

static void containers(void)
{
    exl_buffer_t buffer;
    exl_idmap_t map;
    exl_queue_t queue;
    exl_queue_item_t items[12];
    int pushed = 0, put = 0;
    exl_buffer_init(&buffer);
    exl_idmap_init(&map);
    exl_queue_init(&queue, 1);
    for (size_t i = 0; i < 6; i++) {
        size_t size = exl_buffer_size(&buffer);
        size_t added = fine(exl_buffer_append(&buffer, "0123456789", 10)) ? 10 : 0;
        assert_int_equal(exl_buffer_size(&buffer), size + added);
        if (!exl_buffer_reserve(&buffer, 5000 << i))
            assert_int_equal(exl_buffer_size(&buffer), size + added);
    }
    for (uint64_t id = 1; id < 40; id++)
        put += fine(exl_idmap_put(&map, id, &map));
    assert_int_equal(map.count, put);
    for (size_t i = 0; i < 12; i++) {
        items[i] = (exl_queue_item_t){.order = i, .request = {.cores = (uint32_t)i}};
        pushed += fine(exl_queue_push(&queue, &items[i]));
    }
    assert_int_equal(queue.count, pushed);
    while (exl_queue_pop_before(&queue, UINT64_MAX))
        pushed--;
    assert_int_equal(pushed, 0);
    exl_queue_fini(&queue);
    exl_idmap_fini(&map);
    exl_buffer_fini(&buffer);
}

static void count_release(void *owner)
{
    ++*(int *)owner;
}

static void payloads(void)
{
    static char bytes[100000];
    exl_segment_t body = {bytes, 100}, large = {bytes, sizeof bytes};
    exl_payload_t *payload;
    int released = 0;
    if (fine(exl_payload_create(&body, 1, NULL, 0, NULL, NULL, &payload))) {
        exl_payload_t *copy;
        if (fine(exl_payload_from_region(exl_payload_region(payload), exl_payload_size(payload), &copy)))
            exl_payload_unref(copy);
        exl_payload_unref(payload);
    }
    if (fine(exl_payload_create(&body, 1, &large, 1, count_release, &released, &payload))) {
        bool sealed = fine(exl_payload_seal(payload));
        assert_int_equal(released, sealed);
        exl_payload_unref(payload);
        assert_int_equal(released, 1);
    }
}

static void frames(void)
{
    static char bytes[300];
    exl_segment_t body = {bytes, sizeof bytes};
    exl_payload_t *payload;
    exl_channel_t a, b;
    exl_message_t message;
    int pair[2];
    if (!fine(exl_payload_create(&body, 1, NULL, 0, NULL, NULL, &payload)))
        return;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair), 0);
    exl_channel_init(&a, pair[0]);
    exl_channel_init(&b, pair[1]);
    int queued = 0, received = 0;
    for (uint64_t i = 0; i < 20; i++) {
        int fd = dup(STDERR_FILENO);
        if (fine(exl_channel_queue(&a, (exl_frame_t){.type = EXL_FRAME_CALL, .id = i}, payload, &fd, 1, true)))
            queued++;
        else
            (void)close(fd); /* taken on success only */
    }
    assert_int_equal(exl_channel_flush(&a), 0);
    for (int tries = 0; tries < 200 && received < queued; tries++) {
        int rc = exl_channel_next(&b, &message);
        if (rc == 0)
            rc = exl_channel_fill(&b);
        else if (rc == 1) {
            received++;
            exl_message_fini(&message);
        }
        if (!fine(rc))
            break; /* of no use any more */
    }
    exl_channel_fini(&a);
    exl_channel_fini(&b);
    exl_payload_unref(payload);
}

static void tasks(void)
{
    exl_task_t *producer = exl_task_create(NULL), *consumer = exl_task_create(NULL);
    int status = 0;
    exl_failure_t *failure = exl_failure_create(EXL_BLAME_NODE, 1, &status, "reason", "tail", 4);
    exl_failure_unref(failure);
    if (producer && consumer) {
        exl_task_t *both[] = {producer, producer};
        (void)fine(exl_graph_link(consumer, both, 2));
        for (exl_edge_t *edge; (edge = exl_graph_pop(producer));)
            exl_edge_destroy(edge);
    }
    exl_task_unref(consumer);
    exl_task_unref(producer);
}

static void streams(void)
{
    exl_tee_t *tee;
    int output[2], fd;
    assert_int_equal(pipe(output), 0);
    if (fine(exl_tee_create(output[1], &tee))) {
        exl_stream_t *stream;
        if (fine(exl_stream_open(tee, NULL, &stream, &fd))) {
            char tail[EXL_TAIL_SIZE];
            exl_test_write(fd, "text", 4);
            assert_int_equal(exl_stream_tail(stream, 0, tail), 4);
            (void)close(fd);
            exl_stream_close(stream);
        }
        exl_tee_destroy(tee);
    }
    (void)close(output[0]);
    (void)close(output[1]);
}

extern char **environ;

static exl_pool_t *try_pool(bool persistent)
{
    const char *argv[] = {STUB_ZYGOTE, NULL};
    exl_pool_config_t config = {.zygote = {.key = "stub", .argv = argv, .envp = (const char *const *)environ},
                                .persistent = persistent,
                                .max_workers = 1,
                                .restart_limit = 1};
    exl_pool_t *pool;
    exl_error_t err = {""};
    return fine(exl_pool_create(&config, &pool, &err)) ? pool : NULL;
}

static exl_task_t *try_submit(exl_pool_t *pool, const char *text, exl_task_t *producer)
{
    exl_segment_t body = {text, strlen(text)};
    exl_call_t call = {.request = {.cores = 1}, .producers = &producer, .nproducers = producer != NULL};
    exl_task_t *task;
    if (!fine(exl_payload_create(&body, 1, NULL, 0, NULL, NULL, &call.call)))
        return NULL;
    bool submitted = fine(exl_pool_submit(pool, &call, &task, NULL));
    exl_payload_unref(call.call);
    return submitted ? task : NULL;
}

/* Whatever is submitted ends, and so does the executor. */
static void calls(bool persistent)
{
    static char large[100001];
    exl_task_t *submitted[4] = {NULL};
    exl_pool_t *pool = try_pool(persistent);
    if (!pool)
        return;
    memset(large, 'x', sizeof large - 1);
    submitted[0] = try_submit(pool, "text", NULL);
    submitted[1] = submitted[0] ? try_submit(pool, "join", submitted[0]) : NULL;
    submitted[2] = try_submit(pool, large, NULL);
    submitted[3] = try_submit(pool, "exit 1", NULL);
    for (int i = 0; i < 4; i++)
        if (submitted[i]) {
            if (exl_task_wait(submitted[i], exl_test_soon_ns()) != 0)
                fail_msg("allocation %d: call %d hangs in state %s", failing, i,
                         exl_task_state_to_string(exl_task_state(submitted[i])));
            exl_task_unref(submitted[i]);
        }
    assert_int_equal(exl_pool_shutdown(pool, false), 0);
    if (exl_pool_wait_closed(pool, exl_test_soon_ns()) != 0)
        fail_msg("allocation %d: the executor does not close", failing);
    exl_pool_release(pool);
    /* The next round starts with an engine of its own. */
    assert_null(exl_delivery_next());
    /* Workers of a zygote that had to be killed come to us; one that lived would keep us here. */
    exl_test_reap_children();
}

static void persistent_calls(void)
{
    calls(true);
}

static void calls_with_a_process_each(void)
{
    calls(false);
}

static void in_containers(void **state)
{
    run_out_of_memory(containers);
}

static void in_payloads(void **state)
{
    run_out_of_memory(payloads);
}

static void in_frames(void **state)
{
    run_out_of_memory(frames);
}

static void in_tasks(void **state)
{
    run_out_of_memory(tasks);
}

static void in_streams(void **state)
{
    run_out_of_memory(streams);
}

static void in_persistent_calls(void **state)
{
    run_out_of_memory(persistent_calls);
}

static void in_calls_with_a_process_each(void **state)
{
    run_out_of_memory(calls_with_a_process_each);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        EXL_TEST(in_containers),
        EXL_TEST(in_payloads),
        EXL_TEST(in_frames),
        EXL_TEST(in_tasks),
        EXL_TEST(in_streams),
        POOL_TEST(in_persistent_calls),
        POOL_TEST(in_calls_with_a_process_each),
    };
    return EXL_RUN(tests);
}
