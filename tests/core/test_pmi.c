/* test_pmi.c: what ranks say to their process manager, and what it answers. */
#include "launch/pmi.h"

#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "support.h"

enum { MAX_RANKS = 3 };

static exl_pmi_t *pmi;
static char said[MAX_RANKS][3 * EXL_PMI_LINE_MAX]; /* to each rank, all lines so far */
static int status;

static void keep(void *owner, uint32_t rank, const char *line, size_t size)
{
    (void)owner;
    size_t length = strlen(said[rank]);
    assert_true(size > 0 && line[size - 1] == '\n' && length + size < sizeof said[rank]);
    memcpy(said[rank] + length, line, size);
    said[rank][length + size] = '\0';
}

static void open_for(uint32_t nranks)
{
    memset(said, 0, sizeof said);
    status = -1;
    assert_int_equal(exl_pmi_create(nranks, "group-7", keep, NULL, &pmi), 0);
}

static int say(uint32_t rank, const char *text)
{
    return exl_pmi_feed(pmi, rank, text, strlen(text), &status);
}

static void expect(uint32_t rank, const char *line)
{
    assert_string_equal(said[rank], line);
    said[rank][0] = '\0';
}

static void ask(uint32_t rank, const char *request, const char *answer)
{
    assert_int_equal(say(rank, request), strstr(answer, "not_supported") != NULL);
    expect(rank, answer);
}

static void every_command_has_its_answer(void **state)
{
    static const char *const pairs[][2] = {
        {"cmd=init pmi_version=1 pmi_subversion=1\n", "cmd=response_to_init pmi_version=1 pmi_subversion=1 rc=0\n"},
        {"cmd=init pmi_version=2 pmi_subversion=0\n", "cmd=response_to_init pmi_version=1 pmi_subversion=1 rc=-1\n"},
        {"cmd=get_maxes\n", "cmd=maxes kvsname_max=256 keylen_max=64 vallen_max=1024 rc=0\n"},
        {"cmd=get_appnum\n", "cmd=appnum appnum=0 rc=0\n"},
        {"cmd=get_my_kvsname\n", "cmd=my_kvsname kvsname=group-7 rc=0\n"},
        {"cmd=get_universe_size\n", "cmd=universe_size size=3 rc=0\n"},
        {"cmd=get kvsname=group-7 key=PMI_process_mapping\n", "cmd=get_result rc=0 value=(vector,(0,1,3))\n"},
        {"cmd=get kvsname=group-7 key=nothing\n", "cmd=get_result rc=-1 msg=key_not_found value=unknown\n"},
        {"cmd=put kvsname=group-7 key=a value=b\n", "cmd=put_result rc=0\n"},
        {"cmd=publish_name service=s port=p\n", "cmd=publish_result info=failed rc=-1 msg=not_supported\n"},
        {"cmd=unpublish_name service=s\n", "cmd=unpublish_result info=failed rc=-1 msg=not_supported\n"},
        {"cmd=lookup_name service=s\n", "cmd=lookup_result info=failed rc=-1 msg=not_supported\n"},
        {"cmd=finalize\n", "cmd=finalize_ack rc=0\n"},
    };
    (void)state;
    open_for(3);
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++)
        ask(1, pairs[i][0], pairs[i][1]);
    exl_pmi_destroy(pmi);
}

static void lines_come_in_pieces_of_any_size(void **state)
{
    static const char text[] = "cmd=put kvsname=k key=one value=1\ncmd=put kvsname=k key=two value=2\n"
                               "cmd=get kvsname=k key=one\ncmd=get kvsname=k key=two\n";
    static const char answers[] = "cmd=put_result rc=0\ncmd=put_result rc=0\n"
                                  "cmd=get_result rc=0 value=1\ncmd=get_result rc=0 value=2\n";
    (void)state;
    for (size_t piece = 1; piece < sizeof text; piece++) {
        open_for(1);
        for (size_t at = 0; at < sizeof text - 1; at += piece) {
            size_t size = sizeof text - 1 - at < piece ? sizeof text - 1 - at : piece;
            assert_int_equal(exl_pmi_feed(pmi, 0, text + at, size, &status), 0);
        }
        expect(0, answers);
        exl_pmi_destroy(pmi);
    }
}

static void what_one_rank_puts_the_others_get(void **state)
{
    (void)state;
    open_for(2);
    ask(0, "cmd=put kvsname=group-7 key=-bc-0 value=a\\ b\\\\c\n", "cmd=put_result rc=0\n");
    ask(1, "cmd=get kvsname=group-7 key=-bc-0\n", "cmd=get_result rc=0 value=a\\ b\\\\c\n");
    ask(0, "cmd=put kvsname=group-7 key=-bc-0 value=other\n", "cmd=put_result rc=0\n");
    ask(1, "cmd=get kvsname=group-7 key=-bc-0\n", "cmd=get_result rc=0 value=other\n");
    ask(1, "cmd=get kvsname=group-7 key=-bc\n", "cmd=get_result rc=-1 msg=key_not_found value=unknown\n");
    exl_pmi_destroy(pmi);
}

static void a_barrier_holds_all_until_the_last(void **state)
{
    (void)state;
    open_for(3);
    for (int round = 0; round < 2; round++) {
        ask(2, "cmd=barrier_in\n", "");
        ask(0, "cmd=barrier_in\n", "");
        expect(2, "");
        assert_int_equal(say(1, "cmd=barrier_in\n"), 0);
        for (uint32_t i = 0; i < 3; i++)
            expect(i, "cmd=barrier_out rc=0\n");
    }
    exl_pmi_destroy(pmi);
}

/* One that dies in the barrier is not heard here; the others wait until they are killed. */
static void a_barrier_that_one_never_enters(void **state)
{
    (void)state;
    open_for(2);
    ask(0, "cmd=barrier_in\n", "");
    ask(0, "cmd=get kvsname=group-7 key=x\n", "cmd=get_result rc=-1 msg=key_not_found value=unknown\n");
    assert_int_equal(say(0, "cmd=barrier_in\n"), EXL_EPROTOCOL);
    expect(1, "");
    exl_pmi_destroy(pmi);
}

static void abort_tells_its_status(void **state)
{
    (void)state;
    open_for(2);
    ask(0, "cmd=barrier_in\n", "");
    assert_int_equal(say(1, "cmd=abort exitcode=5 message=enough\n"), EXL_ECLOSED);
    assert_int_equal(status, 5);
    assert_int_equal(say(0, "cmd=abort\n"), EXL_ECLOSED);
    assert_int_equal(status, 1);
    exl_pmi_destroy(pmi);
}

static void spawning_is_refused_once(void **state)
{
    static const char one[] = "mcmd=spawn\ntotspawns=1\nspawnssofar=1\nexecname=/bin/a program\narg1=a b\nendcmd\n";
    (void)state;
    open_for(1);
    ask(0, one, "cmd=spawn_result rc=-1 msg=not_supported\n");
    ask(0, "mcmd=spawn\ntotspawns=2\nspawnssofar=1\nendcmd\n", "");
    ask(0, "mcmd=spawn\ntotspawns=2\nspawnssofar=2\nendcmd\n", "cmd=spawn_result rc=-1 msg=not_supported\n");
    ask(0, "cmd=get_appnum\n", "cmd=appnum appnum=0 rc=0\n");
    exl_pmi_destroy(pmi);
}

static void what_is_not_pmi_is_refused(void **state)
{
    static const char *const lines[] = {
        "\n",
        "hello\n",
        "cmd\n",
        "cmd=\n",
        "cmd= get_maxes\n",
        "cmd=unheard_of\n",
        " cmd=get_maxes\n",
        "key=a cmd=get_maxes\n",
        "cmd=get\n",
        "cmd=get kvsname=k key=\n",
        "cmd=put kvsname=k key=a\n",
        "cmd=put kvsname=k value=a\n",
        "mcmd=other\n",
        "GET / HTTP/1.1\r\n",
    };
    (void)state;
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        open_for(1);
        if (say(0, lines[i]) != EXL_EPROTOCOL)
            fail_msg("taken: %s", lines[i]);
        expect(0, "");
        exl_pmi_destroy(pmi);
    }
    open_for(1);
    assert_int_equal(exl_pmi_feed(pmi, 0, "cmd=get_\0maxes\n", 15, &status), EXL_EPROTOCOL);
    exl_pmi_destroy(pmi);
}

static void lengths_have_their_limits(void **state)
{
    static char line[2 * EXL_PMI_LINE_MAX], answer[2 * EXL_PMI_LINE_MAX];
    char long_text[EXL_PMI_LINE_MAX + 1];
    (void)state;
    memset(long_text, 'x', sizeof long_text);
    open_for(1);
    (void)snprintf(line, sizeof line, "cmd=put kvsname=k key=%.64s value=%.2048s\n", long_text, long_text);
    ask(0, line, "cmd=put_result rc=0\n");
    (void)snprintf(line, sizeof line, "cmd=get kvsname=k key=%.64s\n", long_text);
    (void)snprintf(answer, sizeof answer, "cmd=get_result rc=0 value=%.2048s\n", long_text);
    ask(0, line, answer);
    (void)snprintf(line, sizeof line, "cmd=put kvsname=k key=%.65s value=a\n", long_text);
    assert_int_equal(say(0, line), EXL_EPROTOCOL);
    exl_pmi_destroy(pmi);
    open_for(1);
    (void)snprintf(line, sizeof line, "cmd=put kvsname=k key=a value=%.2049s\n", long_text);
    assert_int_equal(say(0, line), EXL_EPROTOCOL);
    exl_pmi_destroy(pmi);
    open_for(1);
    assert_int_equal(exl_pmi_feed(pmi, 0, long_text, sizeof long_text, &status), EXL_EPROTOCOL);
    exl_pmi_destroy(pmi);
}

static void a_rank_cannot_fill_the_memory(void **state)
{
    char line[64];
    int rc = 0, count = 0;
    (void)state;
    open_for(1);
    for (; rc == 0 && count < 100000; count++) {
        (void)snprintf(line, sizeof line, "cmd=put kvsname=k key=%d value=v\n", count);
        rc = say(0, line);
        said[0][0] = '\0';
    }
    assert_int_equal(rc, EXL_EPROTOCOL);
    assert_true(count > 100);
    exl_pmi_destroy(pmi);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        EXL_TEST(every_command_has_its_answer),      EXL_TEST(lines_come_in_pieces_of_any_size),
        EXL_TEST(what_one_rank_puts_the_others_get), EXL_TEST(a_barrier_holds_all_until_the_last),
        EXL_TEST(a_barrier_that_one_never_enters),   EXL_TEST(abort_tells_its_status),
        EXL_TEST(spawning_is_refused_once),          EXL_TEST(what_is_not_pmi_is_refused),
        EXL_TEST(lengths_have_their_limits),         EXL_TEST(a_rank_cannot_fill_the_memory),
    };
    return EXL_RUN(tests);
}
