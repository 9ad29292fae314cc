/* test_journal.c: lines of a timeline log, and the thread that writes them. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/journal.h"
#include "support.h"

static char folder[] = "/tmp/exl-journal-XXXXXX", path[64];

static int make_folder(void **state)
{
    (void)state;
    if (!mkdtemp(folder))
        return -1;
    (void)snprintf(path, sizeof path, "%s/log", folder);
    return 0;
}

static int remove_folder(void **state)
{
    (void)state;
    return rmdir(folder);
}

/* ---- lines ---- */

static const exl_origin_t origin = {.node = "host", .pid = 7, .wall_minus_ns = INT64_C(1700000000) * EXL_NS_PER_S};

static void expect_line(const exl_event_t *event, const char *text, const uint64_t *after, const char *expected)
{
    char line[8192];
    size_t size = exl_event_write(event, &origin, text, after, line);
    assert_true(size <= exl_event_bound(event) && size < sizeof line);
    line[size] = '\0';
    assert_string_equal(line, expected);
}

#define HEAD(name, t)                                                                                                  \
    "{\"event\":\"" name "\",\"time\":170000000" t ".000001,\"t\":" t ".000001002,\"driver\":\"host:7\""

static void a_line_tells_all_of_an_event(void **state)
{
    (void)state;
    const uint64_t after[] = {1, UINT64_MAX};
    exl_event_t submitted = {.kind = EXL_EVENT_SUBMITTED, .t_ns = 5000001002, .executor = 1, .call = 3, .cores = 4};
    submitted.ranks = 2;
    submitted.gpus = 1500;
    submitted.nafter = 2;
    submitted.text_size = 1;
    expect_line(&submitted, "f", after,
                HEAD("submitted", "5") ",\"executor\":1,\"call\":3,\"function\":\"f\",\"cores\":4,\"ranks\":2,"
                                       "\"gpus\":1.500,\"after\":[1,18446744073709551615]}\n");
    exl_event_t started = {.kind = EXL_EVENT_STARTED, .t_ns = 5000001002, .executor = 1, .call = 3, .worker = 2};
    started.pid = 99;
    expect_line(&started, NULL, NULL,
                HEAD("started", "5") ",\"executor\":1,\"call\":3,\"worker\":2,\"pid\":99,\"node\":\"host\"}\n");
    exl_event_t executor = {.kind = EXL_EVENT_EXECUTOR, .t_ns = 5000001002, .executor = 2, .persistent = true};
    executor.cores = 8;
    executor.workers = 4;
    executor.host = 1;
    expect_line(&executor, NULL, NULL,
                HEAD("executor", "5") ",\"executor\":2,\"kind\":\"workers\",\"cores\":8,\"workers\":4,\"host\":1}\n");
}

static void an_end_may_tell_of_the_start(void **state)
{
    (void)state;
    exl_event_t ended = {.kind = EXL_EVENT_FINISHED, .t_ns = 7000001002, .executor = 1, .call = 3, .ran = true};
    ended.began_ns = 6000001002;
    ended.ended_ns = 6500000000;
    ended.starts = true;
    ended.sent = 10;
    expect_line(&ended, NULL, NULL,
                HEAD("started", "6") ",\"executor\":1,\"call\":3,\"worker\":0,\"node\":\"host\"}\n" HEAD(
                    "finished", "7") ",\"executor\":1,\"call\":3,\"worker\":0,\"began\":6.000001002,"
                                     "\"ended\":6.500000000,\"sent\":10,\"received\":0}\n");
}

static void names_are_quoted(void **state)
{
    (void)state;
    exl_event_t lost = {.kind = EXL_EVENT_LOST, .t_ns = 5000001002, .executor = 1, .call = 3, .text_size = 6};
    expect_line(&lost, "a\"\\\n\xc3\xa9", NULL,
                HEAD("lost", "5") ",\"executor\":1,\"call\":3,\"reason\":\"a\\\"\\\\\\u000a\xc3\xa9\"}\n");
    char quoted[12];
    exl_event_quote("\"\"\"\"\"\"\"\"", quoted, sizeof quoted);
    assert_string_equal(quoted, "\\\"\\\"\\\"");
}

/* ---- files ---- */

static exl_journal_t *open_journal(void)
{
    exl_error_t err = {""};
    exl_journal_t *journal = NULL;
    int rc = exl_journal_open(path, &journal, &err);
    if (rc < 0)
        fail_msg("%s", err.text);
    return journal;
}

static void flush(exl_journal_t *journal)
{
    assert_int_equal(exl_journal_flush(journal, exl_test_soon_ns()), 0);
}

static void close_journal(exl_journal_t *journal)
{
    exl_journal_unref(journal);
    assert_int_equal(exl_journals_settle(exl_test_soon_ns()), 0);
}

static void tell(exl_journal_t *journal, uint64_t call)
{
    char name[] = "a function with a name of some length";
    exl_event_t event = {.kind = EXL_EVENT_SUBMITTED, .t_ns = exl_clock_ns(), .executor = 1, .call = call};
    event.text_size = sizeof name - 1;
    exl_journal_tell(journal, &event, name, NULL);
}

/* Counts lines of one kind; the calls in them must be in order. */
static uint64_t count(FILE *file, const char *kind)
{
    char *line = NULL, needle[64];
    size_t capacity = 0;
    uint64_t found = 0, last = 0;
    (void)snprintf(needle, sizeof needle, "{\"event\":\"%s\"", kind);
    rewind(file);
    while (getline(&line, &capacity, file) > 0) {
        if (strncmp(line, needle, strlen(needle)) != 0)
            continue;
        found++;
        const char *call = strstr(line, "\"call\":");
        if (!call)
            continue;
        uint64_t number = strtoull(call + strlen("\"call\":"), NULL, 10);
        assert_true(number > last);
        last = number;
    }
    free(line);
    return found;
}

static uint64_t count_in_file(const char *kind)
{
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    uint64_t found = count(file, kind);
    (void)fclose(file);
    return found;
}

static void what_was_told_is_in_the_file_after_a_flush(void **state)
{
    (void)state;
    exl_journal_t *journal = open_journal();
    for (uint64_t call = 1; call <= 10; call++)
        tell(journal, call);
    flush(journal);
    assert_int_equal(count_in_file("timeline"), 1);
    assert_int_equal(count_in_file("submitted"), 10);
    close_journal(journal);
    (void)unlink(path);
}

static void who_opens_a_file_twice_shares_it(void **state)
{
    (void)state;
    exl_journal_t *first = open_journal(), *second = open_journal();
    assert_ptr_equal(first, second);
    tell(first, 1);
    exl_journal_unref(first);
    tell(second, 2);
    flush(second);
    assert_int_equal(count_in_file("timeline"), 1);
    assert_int_equal(count_in_file("submitted"), 2);
    close_journal(second);
    (void)unlink(path);
}

static void what_was_told_before_the_end_is_written(void **state)
{
    (void)state;
    exl_journal_t *journal = open_journal();
    for (uint64_t call = 1; call <= 1000; call++)
        tell(journal, call);
    close_journal(journal);
    assert_int_equal(count_in_file("submitted"), 1000);
    (void)unlink(path);
}

/* Several times around the ring. */
static void nothing_is_lost_while_the_disk_keeps_up(void **state)
{
    (void)state;
    enum { CALLS = 200000 };
    exl_journal_t *journal = open_journal();
    for (uint64_t call = 1; call <= CALLS; call++) {
        tell(journal, call);
        if (call % 10000 == 0)
            flush(journal);
    }
    flush(journal);
    assert_int_equal(count_in_file("submitted"), CALLS);
    assert_int_equal(count_in_file("dropped"), 0);
    close_journal(journal);
    (void)unlink(path);
}

static uint64_t number_dropped(FILE *file)
{
    char *line = NULL;
    size_t capacity = 0;
    uint64_t dropped = 0;
    rewind(file);
    while (getline(&line, &capacity, file) > 0)
        if (strstr(line, "\"event\":\"dropped\""))
            dropped += strtoull(strstr(line, "\"count\":") + strlen("\"count\":"), NULL, 10);
    free(line);
    return dropped;
}

/* Everything that a pipe has for us, until the journal has written all. */
static void drain(int pipe, exl_journal_t *journal, FILE *copy)
{
    char bytes[65536];
    struct pollfd ready = {.fd = pipe, .events = POLLIN};
    bool all = false;
    for (;;) {
        all = all || exl_journal_flush(journal, exl_clock_ns() + EXL_NS_PER_MS) == 0;
        if (poll(&ready, 1, 0) > 0) {
            ssize_t size = read(pipe, bytes, sizeof bytes);
            assert_true(size > 0 && fwrite(bytes, 1, (size_t)size, copy) == (size_t)size);
        } else if (all) {
            return;
        }
    }
}

/* The disk is a pipe that nobody reads: telling does not block, and what had no room is counted. */
static void a_slow_disk_drops_events_and_says_so(void **state)
{
    (void)state;
    enum { CALLS = 150000 };
    assert_int_equal(mkfifo(path, 0600), 0);
    int pipe = open(path, O_RDWR | O_NONBLOCK);
    assert_true(pipe >= 0);
    exl_journal_t *journal = open_journal();
    for (uint64_t call = 1; call <= CALLS; call++)
        tell(journal, call);
    FILE *copy = tmpfile();
    drain(pipe, journal, copy);
    tell(journal, CALLS + 1);
    drain(pipe, journal, copy);
    uint64_t written = count(copy, "submitted"), dropped = number_dropped(copy);
    assert_true(dropped > 0);
    assert_int_equal(written + dropped, CALLS + 1);
    (void)fclose(copy);
    close_journal(journal);
    (void)close(pipe);
    (void)unlink(path);
}

static void a_full_disk_is_no_reason_to_stop(void **state)
{
    (void)state;
    assert_int_equal(symlink("/dev/full", path), 0);
    exl_journal_t *journal = open_journal();
    for (uint64_t call = 1; call <= 1000; call++)
        tell(journal, call);
    flush(journal);
    close_journal(journal);
    (void)unlink(path);
}

static void a_file_that_cannot_be_opened_is_named(void **state)
{
    (void)state;
    exl_error_t err = {""};
    exl_journal_t *journal = NULL;
    assert_int_equal(exl_journal_open("/nonexistent/log", &journal, &err), -ENOENT);
    assert_non_null(strstr(err.text, "/nonexistent/log"));
    assert_null(journal);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        EXL_TEST(a_line_tells_all_of_an_event),
        EXL_TEST(an_end_may_tell_of_the_start),
        EXL_TEST(names_are_quoted),
        EXL_TEST(what_was_told_is_in_the_file_after_a_flush),
        EXL_TEST(who_opens_a_file_twice_shares_it),
        EXL_TEST(what_was_told_before_the_end_is_written),
        EXL_TEST(nothing_is_lost_while_the_disk_keeps_up),
        EXL_TEST(a_slow_disk_drops_events_and_says_so),
        EXL_TEST(a_full_disk_is_no_reason_to_stop),
        EXL_TEST(a_file_that_cannot_be_opened_is_named),
    };
    cmocka_set_test_filter(getenv("EXL_TEST_FILTER"));
    return cmocka_run_group_tests_name(exl_test_name(__FILE__), tests, make_folder, remove_folder);
}
