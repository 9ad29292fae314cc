/* Tests of sched/hosts.c. */
#include "sched/hosts.h"

#include "support.h"

typedef struct {
    exl_hosts_user_t user;
    unsigned told;
} user_t;

static void freed_cb(exl_hosts_user_t *user)
{
    EXL_CONTAINER(user, user_t, user)->told++;
}

static exl_hosts_t *three_nodes(user_t *user)
{
    *user = (user_t){.user.freed = freed_cb};
    exl_hosts_t *hosts = exl_hosts_join("17", &user->user);
    assert_non_null(hosts);
    for (int i = 0; i < 3; i++)
        assert_int_equal(exl_hosts_add(hosts, (const char *[]){"n1", "n2", "n3"}[i], 4), i);
    return hosts;
}

static void test_takes_all_or_nothing(void **state)
{
    (void)state;
    user_t user;
    uint32_t one[2], other[2], whole[3];
    exl_hosts_t *hosts = three_nodes(&user);
    assert_int_equal(exl_hosts_add(hosts, "n2", 9), 1); /* known already */
    assert_string_equal(exl_hosts_name(hosts, 2), "n3");
    exl_hosts_take(hosts, 2, 3, one);
    assert_true(exl_hosts_fit(hosts, 1, EXL_WHOLE_NODE));
    assert_false(exl_hosts_fit(hosts, 2, EXL_WHOLE_NODE));
    assert_false(exl_hosts_fit(hosts, 2, 2));
    exl_hosts_take(hosts, 2, 1, other); /* the node with the most to spare is one of them */
    assert_int_equal(other[0], 2);
    assert_false(exl_hosts_fit(hosts, 1, EXL_WHOLE_NODE));
    exl_hosts_give(hosts, 2, 3, one);
    exl_hosts_give(hosts, 2, 1, other);
    assert_int_equal(user.told, 2);
    exl_hosts_take(hosts, 3, EXL_WHOLE_NODE, whole);
    for (uint32_t i = 0; i < 3; i++)
        assert_int_equal(exl_hosts_free(hosts, i), 0);
    exl_hosts_give(hosts, 3, EXL_WHOLE_NODE, whole);
    exl_hosts_leave(hosts, &user.user);
}

static void test_three_pairs_fit_on_three_nodes(void **state)
{
    (void)state;
    user_t user;
    uint32_t pairs[3][2];
    exl_hosts_t *hosts = three_nodes(&user);
    for (int i = 0; i < 3; i++) {
        assert_true(exl_hosts_fit(hosts, 2, 2));
        exl_hosts_take(hosts, 2, 2, pairs[i]);
        assert_int_not_equal(pairs[i][0], pairs[i][1]);
    }
    assert_false(exl_hosts_fit(hosts, 1, 1));
    for (int i = 0; i < 3; i++)
        exl_hosts_give(hosts, 2, 2, pairs[i]);
    exl_hosts_leave(hosts, &user.user);
}

static void test_users_of_one_job_share(void **state)
{
    (void)state;
    user_t one, other = {.user.freed = freed_cb}, stranger = {.user.freed = freed_cb};
    exl_hosts_t *hosts = three_nodes(&one);
    assert_false(exl_hosts_shared(hosts));
    assert_ptr_equal(exl_hosts_join("17", &other.user), hosts);
    assert_true(exl_hosts_shared(hosts));
    exl_hosts_t *elsewhere = exl_hosts_join("18", &stranger.user);
    assert_ptr_not_equal(elsewhere, hosts);
    exl_hosts_use(hosts, 0, 3);
    assert_int_equal(exl_hosts_free(hosts, 0), 1);
    exl_hosts_return(hosts, 0, 3);
    assert_int_equal(other.told, 1);
    assert_int_equal(stranger.told, 0);
    exl_hosts_leave(hosts, &one.user);
    assert_int_equal(other.told, 2); /* it may be alone now */
    exl_hosts_leave(hosts, &other.user);
    exl_hosts_leave(elsewhere, &stranger.user);
}

static void test_nobody_is_passed_for_ever(void **state)
{
    (void)state;
    enum { MORE_THAN_PATIENCE = 100 };
    user_t user;
    uint32_t places[2], passed = 0;
    exl_hosts_t *hosts = three_nodes(&user);
    for (uint32_t i = 0; i < 3; i++)
        exl_hosts_use(hosts, i, 3);
    assert_false(exl_hosts_fit(hosts, 2, 2));
    for (; passed < MORE_THAN_PATIENCE && !exl_hosts_hold_back(hosts); passed++) {
        exl_hosts_use(hosts, 0, 1);
        exl_hosts_return(hosts, 0, 1);
    }
    assert_in_range(passed, 1, MORE_THAN_PATIENCE - 1);
    exl_hosts_return(hosts, 0, 3);
    exl_hosts_return(hosts, 1, 3);
    assert_true(exl_hosts_hold_back(hosts)); /* kept for who waits */
    assert_true(exl_hosts_fit(hosts, 2, 2));
    exl_hosts_take(hosts, 2, 2, places);
    assert_false(exl_hosts_hold_back(hosts));
    assert_int_equal(exl_hosts_free(hosts, 0), 2);
    exl_hosts_give(hosts, 2, 2, places);
    exl_hosts_nobody_waits(hosts);
    exl_hosts_return(hosts, 2, 3);
    exl_hosts_leave(hosts, &user.user);
}

typedef struct watcher {
    exl_hosts_watch_t watch;
    int told;
} watcher_t;

static void changed_cb(exl_hosts_watch_t *watch)
{
    EXL_CONTAINER(watch, watcher_t, watch)->told++;
}

static void test_who_watches_a_node_hears_of_that_one(void **state)
{
    (void)state;
    user_t user;
    watcher_t watchers[2] = {{.watch.changed = changed_cb}, {.watch.changed = changed_cb}};
    uint32_t places[3];
    exl_hosts_t *hosts = three_nodes(&user);
    for (uint32_t i = 0; i < 2; i++) {
        exl_list_init(&watchers[i].watch.link);
        exl_hosts_watch(hosts, i, &watchers[i].watch);
    }
    exl_hosts_use(hosts, 0, 1);
    assert_int_equal(watchers[0].told, 1);
    exl_hosts_return(hosts, 0, 1);
    assert_int_equal(watchers[0].told, 2);
    assert_int_equal(watchers[1].told, 0);
    exl_hosts_take(hosts, 3, EXL_WHOLE_NODE, places);
    exl_hosts_give(hosts, 3, EXL_WHOLE_NODE, places);
    assert_int_equal(watchers[1].told, 2);
    assert_int_equal(exl_hosts_add(hosts, "another", 4), 3); /* the others stay where they are */
    exl_hosts_use(hosts, 1, 1);
    assert_int_equal(watchers[1].told, 3);
    exl_hosts_unwatch(&watchers[1].watch);
    exl_hosts_unwatch(&watchers[1].watch);
    exl_hosts_return(hosts, 1, 1);
    assert_int_equal(watchers[1].told, 3);
    exl_hosts_unwatch(&watchers[0].watch);
    exl_hosts_leave(hosts, &user.user);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_takes_all_or_nothing),
        cmocka_unit_test(test_three_pairs_fit_on_three_nodes),
        cmocka_unit_test(test_users_of_one_job_share),
        cmocka_unit_test(test_nobody_is_passed_for_ever),
        cmocka_unit_test(test_who_watches_a_node_hears_of_that_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
