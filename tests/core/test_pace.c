/* Tests of launch/pace.c. */
#include "launch/pace.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "support.h"

enum { INTERVAL_MS = 40, BURST = 4 };

static char directory[] = "/tmp/exl-pace-XXXXXX", file[64];
static const int64_t begin_ns = INT64_C(5000000000);

static int setup(void **state)
{
    (void)state;
    if (!mkdtemp(directory))
        return -1;
    (void)snprintf(file, sizeof file, "%s/turns", directory);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    (void)unlink(file);
    return rmdir(directory);
}

static int take(int64_t after_ms)
{
    return exl_pace_take(file, INTERVAL_MS, BURST, begin_ns + after_ms * EXL_NS_PER_MS);
}

static void test_a_burst_goes_at_once_and_then_they_come_evenly(void **state)
{
    (void)state;
    for (int i = 0; i < BURST; i++)
        assert_int_equal(take(0), 0);
    for (int i = 1; i <= 3; i++)
        assert_int_equal(take(0), i * INTERVAL_MS);
    assert_int_equal(take(2 * INTERVAL_MS), 2 * INTERVAL_MS);
    for (int i = 0; i < BURST; i++) /* after a pause there may be a burst again */
        assert_int_equal(take(100 * INTERVAL_MS), 0);
    assert_int_equal(take(100 * INTERVAL_MS), INTERVAL_MS);
}

static void test_what_makes_no_sense_counts_for_nothing(void **state)
{
    (void)state;
    (void)unlink(file);
    assert_int_equal(exl_pace_take(file, INTERVAL_MS, 1, begin_ns * 100000), 0);
    assert_int_equal(take(0), 0); /* of a clock before this one */
    FILE *text = fopen(file, "w");
    assert_non_null(text);
    assert_true(fputs("no", text) > 0);
    assert_int_equal(fclose(text), 0);
    assert_int_equal(take(0), 0);
}

static void test_files_of_others_are_left_alone(void **state)
{
    (void)state;
    assert_int_equal(unlink(file), 0);
    assert_int_equal(symlink("/dev/null", file), 0);
    assert_int_equal(take(0), -ELOOP);
    assert_int_equal(unlink(file), 0);
    assert_int_equal(mkfifo(file, 0600), 0);
    int fd = open(file, O_RDWR | O_CLOEXEC);
    assert_int_equal(flock(fd, LOCK_EX), 0); /* is not waited for */
    assert_int_equal(take(0), -EPERM);
    assert_int_equal(close(fd), 0);
    assert_int_equal(exl_pace_take("/nonesuch/turns", INTERVAL_MS, BURST, 0), -ENOENT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_burst_goes_at_once_and_then_they_come_evenly),
        cmocka_unit_test(test_what_makes_no_sense_counts_for_nothing),
        cmocka_unit_test(test_files_of_others_are_left_alone),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
