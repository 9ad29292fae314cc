/* test_template.c: what persistent workers import is imported once, in a template that they are forked from. */
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "pool_support.h"

enum { MOST_TEMPLATES = 4 };

/* A template is made for a setup: without one there is none. */
static exl_pool_t *crew(uint32_t workers)
{
    return stub_pool((stub_pool_t){.persistent = true, .max_workers = workers, .setup = "as here"});
}

/* Who a worker of the pool was forked from. */
static pid_t parent(exl_pool_t *pool, const char *imports)
{
    return (pid_t)number_from(stub_submit(pool, (stub_call_t){.text = "parent", .imports = imports}));
}

/* Two calls that run at the same time, and so on two workers. */
typedef struct couple {
    gate_t said, gate;
    exl_task_t *tasks[2];
} couple_t;

static couple_t couple_open(void)
{
    return (couple_t){.said = gate_open(), .gate = gate_open()};
}

static void couple_submit(couple_t *couple, exl_pool_t *pool, const char *imports, const char *command)
{
    char text[64];
    (void)snprintf(text, sizeof text, "say %d in; wait %d; %s", couple->said.in, couple->gate.out, command);
    for (int i = 0; i < 2; i++)
        couple->tasks[i] = stub_submit(pool, (stub_call_t){.text = text, .imports = imports});
}

static void couple_close(couple_t *couple)
{
    gate_close(&couple->said);
    gate_close(&couple->gate);
}

static void workers_are_forked_from_one_template(void **state)
{
    couple_t couple = couple_open();
    gate_t imported = gate_open();
    char imports[32];
    (void)snprintf(imports, sizeof imports, "say %d once", imported.in);
    exl_pool_t *pool = crew(2), *plain = crew(1);
    pid_t zygote = parent(plain, NULL);
    couple_submit(&couple, pool, imports, "parent");
    gate_expect(&couple.said, "inin");
    gate_pass(&couple.gate, 2);
    long parents[] = {number_from(couple.tasks[0]), number_from(couple.tasks[1])};
    assert_int_equal(parents[0], parents[1]);
    assert_int_not_equal(parents[0], zygote);
    /* A worker that takes the place of a lost one comes from there too. */
    expect_exit(submit(pool, "exit 1"), 1);
    expect_exit(submit(pool, "exit 1"), 1);
    assert_int_equal(parent(pool, NULL), parents[0]);
    finish(pool);
    finish(plain);
    exl_test_write(imported.in, "!", 1);
    gate_expect(&imported, "once!");
    gate_close(&imported);
    couple_close(&couple);
}

static void what_is_asked_of_it_before_it_is_online_waits(void **state)
{
    couple_t couple = couple_open();
    gate_t importing = gate_open(), import = gate_open();
    char imports[64];
    (void)snprintf(imports, sizeof imports, "say %d in; wait %d", importing.in, import.out);
    exl_pool_t *pool = crew(2);
    couple_submit(&couple, pool, imports, "parent");
    gate_expect(&importing, "in");
    assert_false(exl_task_running(couple.tasks[0]) || exl_task_running(couple.tasks[1]));
    gate_pass(&import, 1);
    gate_expect(&couple.said, "inin");
    gate_pass(&couple.gate, 2);
    assert_int_equal(number_from(couple.tasks[0]), number_from(couple.tasks[1]));
    finish(pool);
    gate_close(&importing);
    gate_close(&import);
    couple_close(&couple);
}

static void workers_come_from_the_zygote_if_it_gives_up(void **state)
{
    const char *const ends[] = {"exit 0", "exit 3", "signal 9", "close; exit 0"};
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
        couple_t couple = couple_open();
        gate_t importing = gate_open(), import = gate_open();
        char imports[64];
        (void)snprintf(imports, sizeof imports, "say %d in; wait %d; %s", importing.in, import.out, ends[i]);
        exl_pool_t *pool = crew(2), *plain = crew(1);
        pid_t zygote = parent(plain, NULL);
        couple_submit(&couple, pool, imports, "parent");
        gate_expect(&importing, "in"); /* both workers have been asked for */
        gate_pass(&import, 1);
        gate_expect(&couple.said, "inin");
        gate_pass(&couple.gate, 2);
        assert_int_equal(number_from(couple.tasks[0]), zygote);
        assert_int_equal(number_from(couple.tasks[1]), zygote);
        finish(pool);
        finish(plain);
        gate_close(&importing);
        gate_close(&import);
        couple_close(&couple);
    }
}

static void a_template_that_is_killed_later_is_replaced(void **state)
{
    couple_t couple = couple_open();
    exl_pool_t *pool = crew(2);
    pid_t template = parent(pool, "library");
    couple_submit(&couple, pool, NULL, "parent");
    gate_expect(&couple.said, "inin");
    assert_int_equal(kill(template, SIGKILL), 0);
    for (int i = 0; i < 2; i++)
        expect_lost(couple.tasks[i], EXL_BLAME_NODE, "its zygote was killed");
    pid_t next = parent(pool, NULL);
    assert_true(next > 0 && next != template);
    finish(pool);
    couple_close(&couple);
}

static void executors_that_import_the_same_share_it(void **state)
{
    exl_pool_t *first = crew(1), *second = crew(1), *other = crew(1);
    exl_pool_t *elsewhere = stub_pool((stub_pool_t){.persistent = true, .max_workers = 1, .setup = "elsewhere"});
    pid_t template = parent(first, "library");
    assert_int_equal(parent(second, "library"), template);
    assert_int_not_equal(parent(other, "another"), template);
    assert_int_not_equal(parent(elsewhere, "library"), template);
    finish(first);
    assert_int_equal(parent(second, NULL), template);
    finish(second);
    finish(other);
    finish(elsewhere);
}

static void the_first_call_decides(void **state)
{
    exl_pool_t *plain = crew(1), *shared = crew(1);
    pid_t zygote = parent(plain, NULL);
    expect_exit(submit(plain, "exit 1"), 1);
    pid_t template = parent(shared, "library");
    expect_exit(stub_submit(shared, (stub_call_t){.text = "exit 1", .imports = "another"}), 1);
    assert_int_equal(parent(shared, "another"), template);
    assert_int_not_equal(template, zygote);
    finish(plain);
    finish(shared);
}

static void one_process_per_call_has_its_own_way(void **state)
{
    exl_pool_t *plain = crew(1), *pool = stub_pool((stub_pool_t){.max_workers = 1});
    pid_t zygote = parent(plain, NULL);
    assert_int_equal(parent(pool, "library"), zygote);
    finish(plain);
    finish(pool);
}

/* Those with workers stay; who comes too late has workers of the zygote's, which do their own imports. */
static void there_are_only_so_many(void **state)
{
    exl_pool_t *plain = crew(1), *pools[MOST_TEMPLATES + 1];
    pid_t zygote = parent(plain, NULL);
    for (int i = 0; i <= MOST_TEMPLATES; i++) {
        char imports[16];
        (void)snprintf(imports, sizeof imports, "library%d", i);
        pools[i] = crew(1);
        pid_t from = parent(pools[i], imports);
        if (i < MOST_TEMPLATES)
            assert_int_not_equal(from, zygote);
        else
            assert_int_equal(from, zygote);
    }
    finish(pools[0]);
    pools[0] = crew(1);
    assert_int_not_equal(parent(pools[0], "in its place"), zygote);
    for (int i = 0; i <= MOST_TEMPLATES; i++)
        finish(pools[i]);
    finish(plain);
}

/* As long as it imports it hears nothing, so it is the zygote that ends it. */
static void an_executor_closes_while_it_imports_for_ever(void **state)
{
    couple_t couple = couple_open();
    gate_t importing = gate_open();
    char imports[64];
    (void)snprintf(imports, sizeof imports, "say %d in; pause", importing.in);
    exl_pool_t *plain = crew(1), *pool = crew(2);
    assert_true(parent(plain, NULL) > 0); /* which keeps the zygote */
    couple_submit(&couple, pool, imports, "parent");
    gate_expect(&importing, "in");
    assert_int_equal(exl_pool_shutdown(pool, true), 0);
    for (int i = 0; i < 2; i++)
        expect_cancelled(couple.tasks[i]);
    finish(pool);
    expect_result(submit(plain, "text"), "text");
    finish(plain);
    gate_close(&importing);
    couple_close(&couple);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        POOL_TEST(workers_are_forked_from_one_template),
        POOL_TEST(what_is_asked_of_it_before_it_is_online_waits),
        POOL_TEST(workers_come_from_the_zygote_if_it_gives_up),
        POOL_TEST(a_template_that_is_killed_later_is_replaced),
        POOL_TEST(executors_that_import_the_same_share_it),
        POOL_TEST(the_first_call_decides),
        POOL_TEST(one_process_per_call_has_its_own_way),
        POOL_TEST(there_are_only_so_many),
        POOL_TEST(an_executor_closes_while_it_imports_for_ever),
    };
    return EXL_RUN(tests);
}
