/* test_claim.c: a call is started by the worker or taken back by the driver, never both and never neither. */
#include "node/claim.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <unistd.h>

#include "support.h"

enum { EPOCHS = 1 << (64 - EXL_CLAIM_STARTED_BITS) };

static void starts_what_is_of_its_epoch(void **state)
{
    exl_claim_t claim = {0};
    assert_int_equal(exl_claim_started(&claim), 0);
    assert_true(exl_claim_start(&claim, 0, 1));
    assert_int_equal(exl_claim_started(&claim), 1);
    assert_false(exl_claim_start(&claim, 1, 2));
    assert_int_equal(exl_claim_started(&claim), 1);
}

static void does_not_start_what_was_recalled(void **state)
{
    exl_claim_t claim = {0};
    assert_true(exl_claim_start(&claim, 0, 1));
    assert_int_equal(exl_claim_recall(&claim, 0), 1);
    assert_false(exl_claim_start(&claim, 0, 2));
    assert_int_equal(exl_claim_started(&claim), 1);
    assert_true(exl_claim_start(&claim, 1, 3));
    assert_int_equal(exl_claim_started(&claim), 3);
}

static void the_last_epoch_is_followed_by_the_first(void **state)
{
    exl_claim_t claim = {0};
    const uint64_t large = (UINT64_C(1) << EXL_CLAIM_STARTED_BITS) - 2;
    atomic_store(&claim.word, exl_claim_pack(EPOCHS - 1, large));
    assert_true(exl_claim_start(&claim, EPOCHS - 1, large + 1));
    assert_int_equal(exl_claim_recall(&claim, EPOCHS - 1), large + 1);
    assert_false(exl_claim_start(&claim, EPOCHS - 1, large + 1));
    assert_int_equal(exl_claim_started(&claim), large + 1);
    assert_true(exl_claim_start(&claim, 0, 5));
}

static void the_page_is_shared_through_its_descriptor(void **state)
{
    exl_claim_t *driver = NULL, *worker = NULL;
    int fd = -1;
    assert_int_equal(exl_claim_create(&driver, &fd), 0);
    assert_int_equal(exl_claim_open(fd, &worker), 0);
    assert_true(exl_claim_start(worker, 0, 9));
    assert_int_equal(exl_claim_started(driver), 9);
    assert_int_equal(exl_claim_recall(driver, 0), 9);
    assert_false(exl_claim_start(worker, 0, 10));
    exl_claim_close(driver);
    exl_claim_close(worker);
    exl_claim_close(NULL);
    assert_true(exl_claim_open(-1, &worker) < 0);
}

/* ---- the race: one thread sends calls and takes them back, the other starts them ---- */

/* So many calls, or what a busy machine makes of so many seconds. */
enum { CALLS = 20000, SECONDS = 5, SLOTS = 8, END = UINT32_MAX };

/* A call on its way: what the driver writes into a frame. */
struct sent {
    uint32_t epoch, call;
    uint64_t number;
};

static struct {
    exl_claim_t claim;
    struct sent slots[SLOTS];
    _Atomic uint64_t nsent, nread;
    _Atomic int runs[CALLS];
} race;

static void send(uint32_t epoch, uint64_t number, uint32_t call)
{
    uint64_t at = atomic_load(&race.nsent);
    while (at - atomic_load(&race.nread) == SLOTS)
        (void)sched_yield(); /* there may be but one processor */
    race.slots[at % SLOTS] = (struct sent){.epoch = epoch, .call = call, .number = number};
    atomic_store(&race.nsent, at + 1);
}

static void *worker_main(void *argument)
{
    (void)argument;
    for (uint64_t at = 0;; at++) {
        while (atomic_load(&race.nsent) == at)
            (void)sched_yield();
        struct sent sent = race.slots[at % SLOTS];
        atomic_store(&race.nread, at + 1);
        if (sent.call == END)
            return NULL;
        if (exl_claim_start(&race.claim, sent.epoch, sent.number))
            atomic_fetch_add(&race.runs[sent.call], 1);
    }
}

static void every_call_starts_exactly_once(void **state)
{
    enum { AHEAD = 5 };
    pthread_t thread;
    unsigned seed = 3;
    uint32_t outstanding[AHEAD], epoch = EPOCHS - 50, next = 0, calls = CALLS;
    int64_t enough_ns = exl_clock_ns() + SECONDS * EXL_NS_PER_S;
    uint64_t number = 0;
    int recalls = 0;
    atomic_store(&race.claim.word, exl_claim_pack(epoch, 0));
    assert_int_equal(pthread_create(&thread, NULL, worker_main, NULL), 0);
    uint32_t nout = 0;
    while (next < calls || nout) {
        uint64_t first = number + 1;
        if (exl_clock_ns() > enough_ns)
            calls = next;
        while (nout < AHEAD && next < calls)
            outstanding[nout++] = next++;
        for (uint32_t i = 0; i < nout; i++)
            send(epoch, ++number, outstanding[i]);
        for (int spin = rand_r(&seed) % 200; spin > 0; spin--)
            (void)atomic_load(&race.nread);
        if (rand_r(&seed) % 4 == 0)
            (void)sched_yield(); /* or else the last calls were taken back for ever */
        uint64_t started = exl_claim_recall(&race.claim, epoch);
        epoch = (epoch + 1) % EPOCHS;
        uint32_t begun = started < first ? 0 : (uint32_t)(started - first + 1);
        recalls += begun > 0 && begun < nout;
        for (uint32_t i = begun; i < nout; i++)
            outstanding[i - begun] = outstanding[i];
        nout -= begun;
    }
    send(0, 0, END);
    assert_int_equal(pthread_join(thread, NULL), 0);
    for (uint32_t i = 0; i < calls; i++)
        assert_int_equal(atomic_load(&race.runs[i]), 1);
    assert_true(recalls > 0); /* else it was no race */
}

/* ---- when calls began and ended ---- */

static void calls_are_measured_where_the_driver_asks_for_it(void **state)
{
    exl_claim_t claim = {0};
    int64_t began_ns, ended_ns, before_ns = exl_clock_ns();
    assert_true(exl_claim_start(&claim, 0, 1));
    exl_claim_end(&claim, 1);
    assert_false(exl_claim_times(&claim, 1, &began_ns, &ended_ns));
    atomic_store(&claim.timed, 1);
    assert_true(exl_claim_start(&claim, 0, 2));
    assert_true(exl_claim_times(&claim, 2, &began_ns, &ended_ns));
    assert_true(before_ns <= began_ns && began_ns <= exl_clock_ns() && ended_ns == 0);
    exl_claim_end(&claim, 2);
    assert_true(exl_claim_times(&claim, 2, &began_ns, &ended_ns));
    assert_true(began_ns <= ended_ns && ended_ns <= exl_clock_ns());
}

static void only_the_last_calls_are_remembered(void **state)
{
    exl_claim_t claim = {.timed = 1};
    int64_t began_ns, ended_ns;
    for (uint64_t number = 1; number <= EXL_CLAIM_RUNS + 1; number++)
        assert_true(exl_claim_start(&claim, 0, number));
    assert_false(exl_claim_times(&claim, 1, &began_ns, &ended_ns));
    assert_true(exl_claim_times(&claim, 2, &began_ns, &ended_ns));
}

/* ---- where stderr stands ---- */

static void marks_what_nobody_has_read_yet(void **state)
{
    exl_claim_t claim = {0};
    int ends[2];
    char bytes[4];
    assert_int_equal(pipe(ends), 0);
    exl_test_write(ends[1], "0123456789", 10);
    exl_claim_mark_stderr(&claim, ends[1]);
    assert_int_equal(atomic_load(&claim.stderr_mark), 10);
    exl_test_read(ends[0], bytes, 4);
    atomic_store(&claim.drained, 4);
    exl_claim_mark_stderr(&claim, ends[1]);
    assert_int_equal(atomic_load(&claim.stderr_mark), 10);
    (void)close(ends[0]);
    (void)close(ends[1]);
}

static void a_reader_that_was_stopped_does_not_stop_the_worker(void **state)
{
    exl_claim_t claim = {0};
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    atomic_store(&claim.drain_sequence, 1);
    atomic_store(&claim.stderr_mark, 77);
    exl_claim_mark_stderr(&claim, ends[1]);
    assert_int_equal(atomic_load(&claim.stderr_mark), 77);
    atomic_store(&claim.drain_sequence, 2);
    exl_claim_mark_stderr(&claim, -1);
    assert_int_equal(atomic_load(&claim.stderr_mark), 77);
    (void)close(ends[0]);
    (void)close(ends[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        EXL_TEST(starts_what_is_of_its_epoch),
        EXL_TEST(does_not_start_what_was_recalled),
        EXL_TEST(the_last_epoch_is_followed_by_the_first),
        EXL_TEST(the_page_is_shared_through_its_descriptor),
        EXL_TEST(every_call_starts_exactly_once),
        EXL_TEST(calls_are_measured_where_the_driver_asks_for_it),
        EXL_TEST(only_the_last_calls_are_remembered),
        EXL_TEST(marks_what_nobody_has_read_yet),
        EXL_TEST(a_reader_that_was_stopped_does_not_stop_the_worker),
    };
    return EXL_RUN(tests);
}
