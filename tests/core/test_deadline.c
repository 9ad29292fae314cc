/* test_deadline.c: deadlines on a loop of the test's own. */
#include "engine/deadline.h"

#include "support.h"

static uv_loop_t loop;
static exl_node_t node;
static unsigned changes;

static void changed(void *owner)
{
    assert_ptr_equal(owner, &loop);
    changes++;
}

static int begin(void **state)
{
    static uv_loop_t first; /* brings libuv's own descriptors, which last as long as the process */
    (void)(uv_loop_init(&first) == 0 && uv_loop_close(&first));
    int rc = exl_test_begin(state);
    changes = 0;
    node = (exl_node_t){.loop = &loop, .changed = changed, .owner = &loop};
    return rc | uv_loop_init(&loop);
}

static int end(void **state)
{
    int rc = uv_run(&loop, UV_RUN_DEFAULT);
    return rc | uv_loop_close(&loop) | exl_test_end(state);
}

/* What a deadline tells: when, and in which order. */
struct subject {
    exl_deadline_t *deadline;
    int64_t passed_ns;
    struct subject *other; /* to be stopped */
};

static void note(void *argument)
{
    struct subject *subject = argument;
    subject->passed_ns = exl_clock_ns();
    exl_deadline_stop(subject->deadline);
    subject->deadline = NULL;
    if (subject->other)
        exl_deadline_stop(subject->other->deadline);
}

static void start_at(struct subject *subject, uint32_t ms)
{
    *subject = (struct subject){.passed_ns = 0};
    assert_int_equal(exl_deadline_start(&node, ms, note, subject, &subject->deadline), 0);
}

static void passes_once_and_not_too_early(void **state)
{
    enum { MS = 20 };
    struct subject subject;
    int64_t begun_ns = exl_clock_ns();
    start_at(&subject, MS);
    assert_true(changes > 0);
    assert_int_equal(uv_run(&loop, UV_RUN_DEFAULT), 0);
    assert_true(subject.passed_ns - begun_ns >= MS * EXL_NS_PER_MS);
}

/* The loop's idea of the time may be old. */
static void counts_from_now(void **state)
{
    enum { MS = 10 };
    struct subject clock, subject;
    start_at(&clock, MS);
    int64_t begun_ns = exl_clock_ns();
    while (exl_clock_ns() - begun_ns < 2 * MS * EXL_NS_PER_MS) {
    }
    begun_ns = exl_clock_ns();
    start_at(&subject, MS);
    assert_int_equal(uv_run(&loop, UV_RUN_DEFAULT), 0);
    assert_true(subject.passed_ns - begun_ns >= MS * EXL_NS_PER_MS);
    assert_true(clock.passed_ns <= subject.passed_ns);
}

static void stopped_it_does_not_pass(void **state)
{
    struct subject subject;
    start_at(&subject, 0);
    exl_deadline_stop(subject.deadline);
    exl_deadline_stop(NULL);
    assert_int_equal(uv_run(&loop, UV_RUN_DEFAULT), 0);
    assert_int_equal(subject.passed_ns, 0);
}

/* Both are due in the same round of the loop. */
static void one_may_stop_another(void **state)
{
    struct subject first, second;
    start_at(&first, 0);
    start_at(&second, 0);
    first.other = &second;
    assert_int_equal(uv_run(&loop, UV_RUN_DEFAULT), 0);
    assert_true(first.passed_ns > 0);
    assert_int_equal(second.passed_ns, 0);
}

static void many_pass_in_order(void **state)
{
    enum { COUNT = 50 };
    struct subject subjects[COUNT];
    uint64_t due_ms[COUNT];
    for (uint32_t i = 0; i < COUNT; i++) {
        start_at(&subjects[i], COUNT - i);
        due_ms[i] = uv_now(&loop) + COUNT - i; /* starting one after the other takes time, too */
    }
    assert_int_equal(uv_run(&loop, UV_RUN_DEFAULT), 0);
    for (int i = 0; i < COUNT; i++)
        for (int j = 0; j < COUNT; j++)
            assert_true(due_ms[i] >= due_ms[j] || subjects[i].passed_ns <= subjects[j].passed_ns);
}

#define DEADLINE_TEST(function) cmocka_unit_test_setup_teardown(function, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        DEADLINE_TEST(passes_once_and_not_too_early),
        DEADLINE_TEST(counts_from_now),
        DEADLINE_TEST(stopped_it_does_not_pass),
        DEADLINE_TEST(one_may_stop_another),
        DEADLINE_TEST(many_pass_in_order),
    };
    return EXL_RUN(tests);
}
