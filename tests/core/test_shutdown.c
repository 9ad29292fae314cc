/* test_shutdown.c: an executor is shut down while its agents come, answer, give back, lose their connections, die and are replaced, in
 * whatever order: it ends, and each call ends once. The agents are simulated, so what a seed does it does each time. */
#include <errno.h>
#include <string.h>

#include "engine/renewal.h"
#include "pool_support.h"
#include "simulated_agents.h"

enum { SEEDS = 1500, MOST_AGENTS = 5, MOST_CALLS = 40, STEPS = 60 };

typedef struct scene {
    uint64_t random;
    exl_pool_t *pool;
    simulated_fleet_t fleet;
    exl_task_t *tasks[MOST_CALLS];
    uint32_t ncalls;
    bool shut;
} scene_t;

/* Below `limit`. */
static uint32_t draw(scene_t *scene, uint32_t limit)
{
    scene->random = scene->random * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (uint32_t)((scene->random >> 33) % limit);
}

static void submit_one(scene_t *scene)
{
    if (scene->ncalls == MOST_CALLS || scene->shut)
        return;
    uint32_t cores = draw(scene, 8) ? 1 : 2;
    scene->tasks[scene->ncalls++] = stub_submit(scene->pool, (stub_call_t){.text = "", .cores = cores});
}

static void come(scene_t *scene, uint32_t index)
{
    exl_node_record_t node = {.cores = 2 + draw(scene, 3)};
    if (scene->fleet.renewed)
        (void)exl_renewal_expect(scene->pool, index);
    (void)simulated_agent_comes(index, &node);
}

static void shut(scene_t *scene)
{
    if (!scene->shut)
        assert_int_equal(exl_pool_shutdown(scene->pool, draw(scene, 3) == 0), 0);
    scene->shut = true;
}

/* Says of all that have gone that they will not come back. */
static void bury(scene_t *scene)
{
    char states[MOST_AGENTS];
    uint32_t seen = 0, agents = 0;
    bool wanted;
    if (!scene->fleet.renewed || exl_fleet_agents(scene->pool) == scene->fleet.agents)
        return;
    (void)exl_renewal_watch(scene->pool, &seen, 0, states, MOST_AGENTS, &agents, &wanted);
    for (uint32_t i = 0; i < agents; i++)
        if (states[i] == 'g')
            (void)exl_renewal_bury(scene->pool, i, NULL);
}

static void act(scene_t *scene)
{
    static const int codes[] = {EXL_ECLOSED, -ECONNRESET, -ETIMEDOUT, EXL_EPROTOCOL};
    uint32_t index = draw(scene, scene->fleet.agents);
    switch (draw(scene, 10)) {
    case 0:
    case 1:
        come(scene, index);
        break;
    case 2:
    case 3:
        submit_one(scene);
        break;
    case 4:
    case 5:
        (void)simulated_agents_finish(draw(scene, 3), draw(scene, 3));
        break;
    case 6:
        simulated_agent_breaks(index, codes[draw(scene, 8) ? 2 : draw(scene, 4)]);
        break;
    case 7:
        simulated_agent_returns(index);
        break;
    case 8:
        if (scene->fleet.renewed && draw(scene, 4) == 0)
            (void)exl_renewal_dismiss(scene->pool, index);
        break;
    default:
        bury(scene);
    }
}

static bool is_closed(scene_t *scene)
{
    return exl_pool_wait_closed(scene->pool, 0) == 0;
}

/* From now on nothing more goes wrong: whoever is missing comes, and all do what they are told. */
static bool settles(scene_t *scene)
{
    for (int round = 0; round < 1000; round++) {
        if (is_closed(scene))
            return true;
        for (uint32_t i = 0; i < scene->fleet.agents; i++) {
            simulated_agent_returns(i);
            bury(scene);
            come(scene, i);
        }
        (void)simulated_agents_finish(UINT32_MAX, 1);
    }
    return false;
}

static void play(uint64_t seed)
{
    scene_t scene = {.random = seed * UINT64_C(0x9e3779b97f4a7c15) + 1};
    exl_error_t err = {""};
    scene.fleet = (simulated_fleet_t){
        .agents = 1 + draw(&scene, MOST_AGENTS), .depth = 1 + draw(&scene, 8), .renewed = draw(&scene, 2) != 0};
    assert_int_equal(simulated_agents_create(&scene.fleet, &scene.pool, &err), 0);
    uint32_t when = draw(&scene, STEPS);
    for (uint32_t step = 0; step < STEPS; step++) {
        if (step == when)
            shut(&scene);
        act(&scene);
    }
    if (!settles(&scene))
        fail_msg("seed %u: the executor does not end", (unsigned)seed);
    for (uint32_t i = 0; i < scene.ncalls; i++) {
        assert_true(exl_task_done(scene.tasks[i]));
        exl_task_unref(scene.tasks[i]);
    }
    exl_pool_release(scene.pool);
    simulated_agents_destroy();
}

static void it_ends_in_whatever_order_things_happen(void **state)
{
    const char *only = getenv("EXL_TEST_SEED");
    for (uint64_t seed = 0; seed < SEEDS && !only; seed++)
        play(seed);
    if (only)
        play(strtoull(only, NULL, 10));
}

/* Each agent comes to its own, whenever it comes: without that, calls that wait for each other would wait for ever. */
static void until_then_no_agent_idles_while_calls_wait_elsewhere(void **state)
{
    const exl_node_record_t node = {.cores = 2};
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        scene_t scene = {.random = seed * UINT64_C(0x9e3779b97f4a7c15) + 1};
        exl_error_t err = {""};
        scene.fleet = (simulated_fleet_t){.agents = MOST_AGENTS, .depth = 2 + draw(&scene, 15)};
        assert_int_equal(simulated_agents_create(&scene.fleet, &scene.pool, &err), 0);
        for (uint32_t i = 0; i < MOST_AGENTS * node.cores; i++)
            scene.tasks[scene.ncalls++] = stub_submit(scene.pool, (stub_call_t){.text = "", .cores = 1});
        for (uint32_t ncome = 0; ncome < MOST_AGENTS;) {
            uint32_t what = draw(&scene, 4), other = draw(&scene, MOST_AGENTS);
            if (what < 2)
                ncome += simulated_agent_comes(ncome, &node);
            else if (what == 2)
                (void)simulated_agents_finish(1 + draw(&scene, 3), 0); /* gives back, and ends nothing */
            else if (draw(&scene, 2))
                simulated_agent_breaks(other, -ETIMEDOUT);
            else
                simulated_agent_returns(other);
        }
        for (uint32_t i = 0; i < MOST_AGENTS; i++)
            simulated_agent_returns(i);
        simulated_agents_give_back();
        for (uint32_t i = 0; i < MOST_AGENTS; i++)
            if (simulated_agent_busy(i) != node.cores)
                fail_msg("seed %u: agent %u has %u calls", (unsigned)seed, i, simulated_agent_busy(i));
        assert_int_equal(simulated_agents_finish_all(), scene.ncalls);
        assert_int_equal(exl_pool_shutdown(scene.pool, false), 0);
        assert_int_equal(simulated_agents_finish_all(), 0);
        assert_int_equal(exl_pool_wait_closed(scene.pool, exl_test_soon_ns()), 0);
        for (uint32_t i = 0; i < scene.ncalls; i++)
            expect_result(scene.tasks[i], "answer");
        exl_pool_release(scene.pool);
        simulated_agents_destroy();
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        POOL_TEST(it_ends_in_whatever_order_things_happen),
        POOL_TEST(until_then_no_agent_idles_while_calls_wait_elsewhere),
    };
    return EXL_RUN(tests);
}
