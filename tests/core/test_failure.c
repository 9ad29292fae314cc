/* test_failure.c: the record of why a call was lost. */
#include "task/failure.h"

#include <string.h>

#include "support.h"

static void copies_its_texts(void **state)
{
    char reason[] = "reason", tail[] = "tail and more";
    int status = 0x0b;
    exl_failure_t *failure = exl_failure_create(EXL_BLAME_FUNCTION, 77, &status, reason, tail, 4);
    assert_non_null(failure);
    memset(reason, 0, sizeof reason);
    memset(tail, 0, sizeof tail);
    assert_string_equal(failure->reason, "reason");
    assert_string_equal(failure->stderr_tail, "tail");
    assert_int_equal(failure->pid, 77);
    assert_true(failure->status_known);
    assert_int_equal(failure->wait_status, 0x0b);
    assert_int_equal(failure->restarts, 0);
    exl_failure_unref(failure);
}

static void missing_parts_are_empty(void **state)
{
    exl_failure_t *failure = exl_failure_create(EXL_BLAME_ENGINE, 0, NULL, NULL, NULL, 0);
    assert_non_null(failure);
    assert_string_equal(failure->reason, "");
    assert_string_equal(failure->stderr_tail, "");
    assert_false(failure->status_known);
    exl_failure_unref(failure);
}

static void counts_references(void **state)
{
    exl_failure_t *failure = exl_failure_create(EXL_BLAME_ENGINE, 0, NULL, "why", NULL, 0);
    assert_ptr_equal(exl_failure_ref(failure), failure);
    exl_failure_unref(failure);
    assert_string_equal(failure->reason, "why");
    exl_failure_unref(failure);
    assert_null(exl_failure_ref(NULL));
    exl_failure_unref(NULL);
}

static void every_blame_has_a_name(void **state)
{
    assert_string_equal(exl_blame_to_string(EXL_BLAME_FUNCTION), "function");
    assert_string_equal(exl_blame_to_string(EXL_BLAME_WORKER), "worker");
    assert_string_equal(exl_blame_to_string(EXL_BLAME_NODE), "node");
    assert_string_equal(exl_blame_to_string(EXL_BLAME_ENGINE), "engine");
    assert_string_equal(exl_blame_to_string(EXL_BLAME_LIMIT), "limit");
    assert_string_equal(exl_blame_to_string((exl_blame_t)99), "unknown");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        EXL_TEST(copies_its_texts),
        EXL_TEST(missing_parts_are_empty),
        EXL_TEST(counts_references),
        EXL_TEST(every_blame_has_a_name),
    };
    return EXL_RUN(tests);
}
