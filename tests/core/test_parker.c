/* test_parker.c: sleeping until released, a deadline, or a signal. */
#include "base/parker.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>

#include "base/error.h"
#include "support.h"

static void does_not_sleep_once_released(void **state)
{
    exl_parker_t parker;
    exl_parker_init(&parker);
    exl_parker_release(&parker);
    assert_int_equal(exl_parker_wait(&parker, -1), 0);
    assert_int_equal(exl_parker_wait(&parker, 0), 0);
}

static void gives_up_at_the_deadline(void **state)
{
    exl_parker_t parker;
    exl_parker_init(&parker);
    assert_int_equal(exl_parker_wait(&parker, 0), -ETIMEDOUT);
    int64_t deadline_ns = exl_clock_ns() + 5 * EXL_NS_PER_MS;
    assert_int_equal(exl_parker_wait(&parker, deadline_ns), -ETIMEDOUT);
    assert_true(exl_clock_ns() >= deadline_ns);
}

static void *release(void *argument)
{
    exl_parker_t *parker = argument;
    exl_parker_release(parker);
    exl_parker_wake(&parker->word);
    return NULL;
}

static void is_woken_by_another_thread(void **state)
{
    for (int round = 0; round < 200; round++) {
        exl_parker_t parker;
        pthread_t thread;
        exl_parker_init(&parker);
        assert_int_equal(pthread_create(&thread, NULL, release, &parker), 0);
        assert_int_equal(exl_parker_wait(&parker, exl_test_soon_ns()), 0);
        assert_int_equal(pthread_join(thread, NULL), 0);
    }
}

static void waits_for_any_change_of_a_word(void **state)
{
    _Atomic uint32_t word = 5;
    assert_int_equal(exl_parker_wait_change(&word, 4, -1), 0);
    assert_int_equal(exl_parker_wait_change(&word, 5, 0), -ETIMEDOUT);
}

static _Atomic bool signals_enough;

static void ignore(int signal)
{
    (void)signal;
}

static void *send_signals(void *argument)
{
    /* Again and again: the first may come before the sleeper sleeps. */
    while (!atomic_load(&signals_enough))
        (void)pthread_kill(*(pthread_t *)argument, SIGUSR1);
    return NULL;
}

static void tells_of_a_signal(void **state)
{
    struct sigaction action = {.sa_handler = ignore}, old;
    exl_parker_t parker;
    pthread_t self = pthread_self(), thread;
    exl_parker_init(&parker);
    atomic_store(&signals_enough, false);
    assert_int_equal(sigaction(SIGUSR1, &action, &old), 0);
    assert_int_equal(pthread_create(&thread, NULL, send_signals, &self), 0);
    int rc = exl_parker_wait(&parker, exl_test_soon_ns());
    atomic_store(&signals_enough, true);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(sigaction(SIGUSR1, &old, NULL), 0);
    assert_int_equal(rc, EXL_EINTERRUPTED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        EXL_TEST(does_not_sleep_once_released),
        EXL_TEST(gives_up_at_the_deadline),
        EXL_TEST(is_woken_by_another_thread),
        EXL_TEST(waits_for_any_change_of_a_word),
        EXL_TEST(tells_of_a_signal),
    };
    return EXL_RUN(tests);
}
