/* test_scale.c: many nodes: every call ends once, and costs as much with a thousand as with ten.
 *
 * Cost is counted, not timed: the compiler has each basic block of the scheduler call __sanitizer_cov_trace_pc(). */
#include <string.h>

#include "pool_support.h"
#include "simulated_agents.h"

enum { CORES = 4, DEPTH = 2, FEW = 10, MANY = 1000, CALLS = 20000, MOST_RATIO = 3, HOUR_MS = 3600 * 1000 };

static _Thread_local uint64_t blocks;

void __sanitizer_cov_trace_pc(void);

void __sanitizer_cov_trace_pc(void)
{
    blocks++;
}

typedef struct load {
    uint32_t gpus;   /* of each call, and on each node */
    uint32_t wide;   /* one call in so many needs all cores of a node; 0: none */
    uint32_t small;  /* one node in so many has one core only; 0: none */
    uint32_t agents; /* so many say at once … */
    uint32_t each;   /* … that so many calls have ended */
    bool late;       /* half of the nodes come when all calls have been given to the others */
    bool limited;    /* calls may take longer than every other node lasts */
    bool shared;     /* another executor uses the nodes, too */
} load_t;

static void freed_cb(exl_hosts_user_t *user)
{
}

static exl_hosts_user_t neighbour = {.freed = freed_cb};

static exl_pool_t *create_in(const char *job, uint32_t nodes, uint32_t depth)
{
    exl_pool_t *pool = NULL;
    exl_error_t err = {""};
    if (simulated_agents_create(&(simulated_fleet_t){.agents = nodes, .depth = depth, .job = job}, &pool, &err) < 0)
        fail_msg("no agents: %s", err.text);
    return pool;
}

static exl_pool_t *create(uint32_t nodes)
{
    return create_in(NULL, nodes, DEPTH);
}

static void destroy(exl_pool_t *pool)
{
    assert_int_equal(exl_pool_shutdown(pool, false), 0);
    assert_int_equal(simulated_agents_finish_all(), 0);
    assert_int_equal(exl_pool_wait_closed(pool, exl_test_soon_ns()), 0);
    exl_pool_release(pool);
    simulated_agents_destroy();
}

static void come(uint32_t nodes, const load_t *load)
{
    exl_node_record_t small = {.cores = 1}, large = {.cores = CORES, .gpus = load->gpus ? CORES : 0};
    for (uint32_t i = 0; i < nodes; i++) {
        large.ends = load->limited;
        large.left_ms = i % 2 ? HOUR_MS : 3 * HOUR_MS;
        simulated_agents_come(1, load->small && i % load->small == 0 ? &small : &large);
    }
}

static exl_task_t *submit_call(exl_pool_t *pool, const load_t *load, uint32_t number)
{
    bool wide = load->wide && number % load->wide == 0;
    return stub_submit(pool, (stub_call_t){.text = "",
                                           .cores = wide ? CORES : 1,
                                           .gpus = load->gpus,
                                           .run_time_ms = load->limited ? 2 * HOUR_MS : 0});
}

/* Blocks per call with so many nodes. */
static double cost(uint32_t nodes, const load_t *load)
{
    exl_pool_t *pool = create_in(load->shared ? "17" : NULL, nodes, DEPTH);
    exl_hosts_t *hosts = load->shared ? exl_hosts_join("17", &neighbour) : NULL;
    exl_task_t **tasks = calloc(CALLS, sizeof(exl_task_t *));
    uint32_t calls = load->late ? nodes / 2 * CORES * DEPTH : CALLS;
    uint64_t ended = 0, before = blocks;
    assert_non_null(tasks);
    assert_true(calls <= CALLS);
    for (uint32_t i = 0; i < calls; i++)
        tasks[i] = submit_call(pool, load, i);
    uint64_t submitting = blocks - before;
    come(load->late ? nodes / 2 : nodes, load);
    if (load->late)
        come(nodes - nodes / 2, load);
    before = blocks;
    while (ended < calls)
        ended += simulated_agents_finish(load->agents, load->each);
    double total = (double)(submitting + blocks - before) / calls;
    assert_int_equal(ended, calls);
    assert_int_equal(exl_pool_pending(pool), 0);
    for (uint32_t i = 0; i < calls; i++) {
        assert_int_equal(tasks[i]->outcome, EXL_OUTCOME_RESULT);
        exl_task_unref(tasks[i]);
    }
    free(tasks);
    destroy(pool);
    if (hosts)
        exl_hosts_leave(hosts, &neighbour);
    return total;
}

static void expect_flat(load_t load)
{
    double few = cost(FEW, &load), many = cost(MANY, &load);
    if (few == 0)
        skip(); /* the compiler cannot count */
    if (many > MOST_RATIO * few)
        fail_msg("a call costs %.0f with %d nodes, %.0f with %d", few, FEW, many, MANY);
}

static void the_cost_of_a_call_does_not_grow_with_the_nodes(void **state)
{
    expect_flat((load_t){.agents = 8, .each = CORES});
}

static void nor_where_calls_end_one_by_one(void **state)
{
    expect_flat((load_t){.agents = 1, .each = 1});
}

static void nor_that_of_a_call_with_gpus(void **state)
{
    expect_flat((load_t){.gpus = 1, .agents = 1, .each = 1});
}

static void nor_where_calls_and_nodes_differ(void **state)
{
    expect_flat((load_t){.wide = 10, .small = 2, .agents = 1, .each = 1});
}

static void nor_of_sharing_out_what_others_have_not_begun(void **state)
{
    expect_flat((load_t){.late = true, .agents = 1, .each = 1});
}

static void nor_where_every_other_node_ends_too_early(void **state)
{
    expect_flat((load_t){.limited = true, .agents = 1, .each = 1});
}

static void nor_where_executors_share_the_nodes(void **state)
{
    expect_flat((load_t){.shared = true, .agents = 1, .each = 1});
}

/* ---- where calls go ---- */

static void calls_go_where_most_is_to_spare(void **state)
{
    const load_t load = {0};
    exl_task_t *tasks[MANY * 2];
    exl_pool_t *pool = create(MANY);
    come(MANY, &load);
    for (uint32_t i = 0; i < MANY * 2; i++)
        tasks[i] = submit_call(pool, &load, i);
    for (uint32_t i = 0; i < MANY; i++)
        assert_int_equal(simulated_agent_busy(i), 2);
    assert_int_equal(simulated_agents_finish_all(), MANY * 2);
    for (uint32_t i = 0; i < MANY * 2; i++)
        expect_result(tasks[i], "answer");
    destroy(pool);
}

static void a_node_that_comes_late_is_busy_at_once_and_few_are_asked(void **state)
{
    enum { NODES = 100, GIVEN = NODES * CORES * DEPTH };
    const load_t load = {0};
    exl_task_t *tasks[GIVEN];
    exl_pool_t *pool = create(NODES + 1);
    come(NODES, &load);
    for (uint32_t i = 0; i < GIVEN; i++)
        tasks[i] = submit_call(pool, &load, i);
    assert_int_equal(simulated_agents_counts().recalls, 0);
    come(1, &load);
    assert_int_equal(simulated_agents_finish(UINT32_MAX, 0), 0); /* it only gives back */
    assert_int_equal(simulated_agent_busy(NODES), CORES);
    assert_true(simulated_agents_counts().recalls <= CORES);
    assert_int_equal(simulated_agents_finish_all(), GIVEN);
    for (uint32_t i = 0; i < GIVEN; i++)
        expect_result(tasks[i], "answer");
    destroy(pool);
}

/* None of the calls ends before all have begun: each node has to come to its own. */
static void nodes_that_come_while_calls_are_given_back_are_busy_too(void **state)
{
    enum { NODES = 3, CALLS_EACH = 2, GIVEN = NODES * CALLS_EACH };
    const exl_node_record_t node = {.cores = CALLS_EACH};
    exl_task_t *tasks[GIVEN];
    exl_pool_t *pool = create_in(NULL, NODES, GIVEN);
    for (uint32_t i = 0; i < GIVEN; i++)
        tasks[i] = submit_call(pool, &(load_t){0}, i);
    simulated_agents_come(1, &node); /* gets all of them */
    simulated_agents_come(1, &node); /* for which it is asked … */
    simulated_agents_come(1, &node); /* … when there is a third */
    simulated_agents_give_back();
    for (uint32_t i = 0; i < NODES; i++)
        assert_int_equal(simulated_agent_busy(i), CALLS_EACH);
    assert_int_equal(simulated_agents_finish_all(), GIVEN);
    for (uint32_t i = 0; i < GIVEN; i++)
        expect_result(tasks[i], "answer");
    destroy(pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        POOL_TEST(the_cost_of_a_call_does_not_grow_with_the_nodes),
        POOL_TEST(nor_where_calls_end_one_by_one),
        POOL_TEST(nor_that_of_a_call_with_gpus),
        POOL_TEST(nor_where_calls_and_nodes_differ),
        POOL_TEST(nor_of_sharing_out_what_others_have_not_begun),
        POOL_TEST(nor_where_every_other_node_ends_too_early),
        POOL_TEST(nor_where_executors_share_the_nodes),
        POOL_TEST(calls_go_where_most_is_to_spare),
        POOL_TEST(a_node_that_comes_late_is_busy_at_once_and_few_are_asked),
        POOL_TEST(nodes_that_come_while_calls_are_given_back_are_busy_too),
    };
    return EXL_RUN(tests);
}
